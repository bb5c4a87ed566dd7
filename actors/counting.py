"""Counts texts as the runtime's counter does, or by the bound where that one cannot."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

from .core.weight import bytes_of
from .counts import counter_mark
from .tokens import TokenCounter

__all__ = ["Counting"]

logger = logging.getLogger("turnkeeper.counting")


class Counting:
    """A counter that always has an answer: a byte of UTF-8 is a token at most."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter
        self._told = False

    @property
    def name(self) -> str:
        """Of the counter."""
        return self._counter.name

    @property
    def mark(self) -> bytes:
        """Of the counts that it makes now."""
        return counter_mark(self._counter.name)

    async def count(self, texts: Sequence[str]) -> tuple[list[int], bytes | None]:
        """The tokens of each text, and the mark of who counted; None where these are bounds."""
        try:
            counts = cast("object", await self._counter.count(texts))
            if not isinstance(counts, list) or len(cast("list[object]", counts)) != len(texts):
                raise TypeError(f"{self.name} counted {len(texts)} texts as {counts!r:.80}")
            for tokens in cast("list[object]", counts):
                if type(tokens) is not int or tokens < 0:
                    raise TypeError(f"{self.name} counted {tokens!r:.80} tokens")
        except Exception as error:  # whatever counts is the program's: the window stays safe
            if not self._told:
                self._told = True
                why = " ".join(f"{type(error).__name__}: {error}".split())
                logger.warning("tokens cannot be counted, a byte is taken for one: %s", why)
                logger.debug("why tokens cannot be counted", exc_info=error)
            return [bytes_of(text) for text in texts], None
        return cast("list[int]", counts), self.mark
