"""What counts tokens, as the actors know it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

__all__ = ["TokenCounter"]


@runtime_checkable
class TokenCounter(Protocol):
    """Counts the tokens of texts, and never on the loop's thread."""

    @property
    def name(self) -> str:
        """By what rule it counts; stored beside the counts.

        It may change when the counter has to go by another rule. Read it after `count`: then no
        count is taken for a better one than it is.
        """
        ...

    @property
    def exact(self) -> bool:
        """Whether it counts, or else estimates. Changes with `name`."""
        ...

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, in their order. Any string is a text, lone surrogates included.

        Raises:
            Exception: it cannot count; the text says why.
        """
        ...
