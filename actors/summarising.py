"""Writes summaries: asks the program's summariser, and has one of its own where that fails."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import trio

from .core.asides import summary_text
from .core.compaction import Summariser, SummaryRequest, fault_of
from .core.extract import extract
from .core.weight import OVERHEAD
from .counting import Counting
from .frozen import fact

__all__ = ["BUILT_IN", "Offload", "SummaryWriter", "Written", "in_thread", "words_of"]

logger = logging.getLogger("turnkeeper.compactor")

BUILT_IN: Final = "extract"
"""Who wrote a summary that no summariser of the program's wrote."""
_PAUSE_S: Final = 0.5
_TRIES: Final = 8
"""How often the built-in summary is made shorter, until it fits."""
_LEAST: Final = 16
"""Tokens without which a summary says nothing."""
_CHARS_PER_TOKEN: Final = 16
"""No text of so many characters is short enough; it is not even counted."""
_FAULT_CHARS: Final = 500
_NUMBER: Final = re.compile(r"\d+")
"""What differs between two faults of one kind; so does what is behind a colon."""
_MOST_TOLD: Final = 1_000
"""Faults that are remembered, so as not to warn of them again."""

T = TypeVar("T")
Offload: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments where it does not hold up the loop."""


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run `function` in a thread of its own."""
    return await trio.to_thread.run_sync(function, *args)


@fact
class Written:
    """A summary."""

    text: str
    tokens: int
    """Its size as it is shown."""
    by: str
    """`BUILT_IN`, or the summariser's name."""
    mark: bytes | None
    """Of the counter that counted it; None where `tokens` is a bound."""
    fault: str | None = None
    """Why it is the built-in one, where the program has a summariser."""


class _Size(NamedTuple):
    tokens: int
    mark: bytes | None
    """Of the counter that counted it."""


_NOTHING: Final = _Size(0, None)


class SummaryWriter:
    """Writes one summary at a time for each session."""

    def __init__(
        self,
        counting: Counting,
        summarisers: Mapping[str, Summariser],
        *,
        timeout_s: float,
        attempts: int,
        offload: Offload = in_thread,
        redact: Callable[[str], str] = str,
    ) -> None:
        """A writer.

        Args:
            counting: counts tokens.
            summarisers: by the name of the agent; the built-in one where there is none.
            timeout_s: seconds that a summariser may take for one attempt.
            attempts: how often it is asked before the built-in summary is taken instead.
            offload: runs what takes long.
            redact: takes out of a summariser's error what must not be stored.
        """
        self._counting = counting
        self._summarisers = summarisers
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._offload = offload
        self._redact = redact
        self._told: dict[tuple[str, str], None] = {}
        """Of which session what kind of fault was logged as a warning, the oldest first."""

    async def write(self, request: SummaryRequest, covered: int) -> Written | None:
        """A summary that is within its bounds.

        Args:
            request: what to summarise.
            covered: its size in tokens.

        Returns:
            None if even the built-in summary would be as long as what it summarises.
        """
        least = (await self._size("")).tokens + _LEAST
        if covered <= least:
            return None  # nobody need be asked
        fault: str | None = None
        summariser = self._summarisers.get(request.agent)
        if summariser is not None:
            for attempt in range(self._attempts):
                if attempt:
                    await trio.sleep(_PAUSE_S * 2.0 ** (attempt - 1))
                text, size, fault = await self._ask(summariser, request, covered)
                if fault is None:
                    return Written(text, size.tokens, _name_of(summariser), size.mark)
                self._tell(request.session_id, attempt + 1, fault)
        # Where it is about as long as what it summarises, there would be one after the other.
        most = min(request.max_tokens, max(covered * 3 // 4, least))
        text, size = await self._built_in(request, most)
        if not text or size.tokens >= covered:
            return None
        return Written(text, size.tokens, BUILT_IN, size.mark, fault)

    async def _ask(
        self, summariser: Summariser, request: SummaryRequest, covered: int
    ) -> tuple[str, _Size, str | None]:
        text: Any = None
        try:
            with trio.move_on_after(self._timeout_s) as scope:
                text = await summariser(request)
            if scope.cancelled_caught:
                return "", _NOTHING, f"the summariser did not return within {self._timeout_s:g} s"
        except (
            Exception,
            asyncio.CancelledError,  # let out of a loop of its own; trio has another one
        ) as error:
            logger.info("a summariser failed", exc_info=error)
            return "", _NOTHING, words_of(error, self._redact)
        if type(text) is not str:
            return "", _NOTHING, fault_of(text, 0, covered, request.max_tokens)
        if len(text) > _CHARS_PER_TOKEN * request.max_tokens:
            return "", _NOTHING, f"the summary has {len(text)} characters"
        size = await self._size(text)
        return text, size, fault_of(text, size.tokens, covered, request.max_tokens)

    def _tell(self, session_id: str, attempt: int, fault: str) -> None:
        """Log a fault: as a warning if it is the first of its kind in that session."""
        told = session_id, _NUMBER.sub("#", fault.partition(":")[0])
        level = logging.INFO if told in self._told else logging.WARNING
        self._told[told] = None
        if len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]
        logger.log(level, "summary of %s, try %d: %s", session_id, attempt, fault)

    async def _built_in(self, request: SummaryRequest, most: int) -> tuple[str, _Size]:
        """The built-in summary in `most` tokens, or nearly so if that is very little."""
        chars = 4 * most
        text: str = ""
        for _ in range(_TRIES):
            text = await self._offload(extract, request.messages, chars)
            size = await self._size(text)
            if size.tokens <= most:
                return text, size
            chars = max(min(chars - 64, chars * most // size.tokens), 16)
        text = text[: most // _TRIES].strip()
        return text, await self._size(text)

    async def _size(self, text: str) -> _Size:
        """Tokens of a summary as it is shown."""
        (tokens,), mark = await self._counting.count([summary_text(text)])
        return _Size(tokens + OVERHEAD, mark)


def _name_of(summariser: Summariser) -> str:
    name: object = getattr(summariser, "__qualname__", None)
    return name if type(name) is str else type(summariser).__qualname__


def words_of(error: BaseException, redact: Callable[[str], str] = str) -> str:
    """What went wrong, in one line, short enough to be written down.

    Args:
        error: what was raised.
        redact: takes out of its text what must not be written down.
    """
    try:
        text = str(error)
    except Exception as mute:  # an error may be as broken as what raised it
        logger.info("a %s cannot be shown", type(error).__name__, exc_info=mute)
        text = f"(cannot be shown: {type(mute).__name__})"
    # Before it is cut: the first half of a secret is not recognised.
    shown = redact(f"{type(error).__name__}: {text}")[:_FAULT_CHARS]
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in shown
    )
