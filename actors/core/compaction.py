"""When and where the older part of a context is summarised. Pure.

A cut never splits a turn, never passes one that is open, and leaves the newest messages as they
are. What it covers is named by numbers: of each log, the last turn, and the last of what belongs
to no turn. Everything else stays in the window.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import accumulate
from typing import Final, Literal, NamedTuple, TypeAlias

from ..frozen import fact, message
from .shown import Message

__all__ = [
    "Base",
    "Compacted",
    "Cut",
    "Limits",
    "Piece",
    "Summariser",
    "SummaryRequest",
    "choose_cut",
    "fault_of",
    "limits_of",
]

_KEEP: Final = 0.2
_SUMMARY: Final = 0.03
_LEAST_SUMMARY: Final = 200
_FULL_OF_MESSAGES: Final = 0.85

Base: TypeAlias = tuple[int, int, int, tuple[int, ...]]
"""What a summary was made from: the summary before it, the marker, how many entries are hidden, and
which logs have joined. It holds only for the context that still has these."""


@message
class SummaryRequest:
    """What a summariser is given: the older part of one session's context."""

    session_id: str
    agent: str
    """Who answers in the session: the name of the agent."""
    messages: tuple[Message, ...]
    """What is to be summarised, oldest first. An earlier summary comes first, of kind `summary`:
    what it tells is to be told again. The system prompt is not among them."""
    max_tokens: int
    """How long the summary may be, the line of the runtime that is shown above it included. As the
    runtime's own counter counts it."""


Summariser: TypeAlias = Callable[[SummaryRequest], Awaitable[str]]
"""Writes the summary of the older part of a conversation: an async function, called on the
runtime's loop, so that whatever takes long in it must await. It is called anew after it has raised,
taken longer than `summariser_timeout_s`, or returned a text that is empty, too long, or as long as
what it summarises; several sessions may be summarised at once. What it returns is shown to the
agent as it is, each line behind a bar."""


@message
class Compacted:
    """What became of a compaction that was asked for."""

    status: Literal["compacted", "nothing", "too_short", "changed", "failed"]
    """`compacted`: the summary is durable; `nothing`: there is nothing to summarise but what is
    open, or newest; `too_short`: the summary would be as long; `changed`: the context began anew
    meanwhile, again and again; `failed`: see `fault`."""
    session_id: str
    seq: int | None = None
    """The record of the summary: `runtime.explain("s1/481")` tells of it. None where there is
    none."""
    tokens_before: int = 0
    tokens_after: int = 0
    """Size of the context before and after, in tokens, without the system prompt."""
    messages: int = 0
    """How many messages are summarised that were not before."""
    fault: str | None = None
    """Why the built-in summary stands instead of the summariser's, or why there is none."""


@fact
class Limits:
    """How large a context may become. In tokens, everything counted."""

    max_tokens: int
    trigger_tokens: int
    """From here on, the older part is summarised."""
    keep_recent_tokens: int
    """How much of the newest part stays as it is."""
    summary_tokens: int
    """How long a summary may be."""
    max_messages: int

    @property
    def trigger_messages(self) -> int:
        """From so many messages on, the older part is summarised, however short they are."""
        return int(self.max_messages * _FULL_OF_MESSAGES)

    @property
    def keep_recent_messages(self) -> int:
        """How many of the newest messages stay as they are at most, however short they are."""
        return int(self.trigger_messages * _KEEP)

    @property
    def input_tokens(self) -> int:
        """How much a summariser is given at once."""
        return self.max_tokens - self.summary_tokens


def limits_of(
    max_context_tokens: int,
    threshold: float,
    keep_recent_tokens: int | None,
    summary_tokens: int | None,
    *,
    system_tokens: int,
    max_messages: int,
) -> Limits:
    """The limits that a configuration asks for.

    Args:
        max_context_tokens: size of the window, the system prompt included.
        threshold: share of it from which the older part is summarised.
        keep_recent_tokens: what stays as it is; None for a fifth of what the threshold leaves:
            30,600 of 180,000 at 0.85.
        summary_tokens: how long a summary may be; None for three hundredths, and at least 200.
        system_tokens: size of the system prompt.
        max_messages: most messages of a window.

    Raises:
        ValueError: they contradict each other; the text names the keys.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"compaction_threshold must be between 0 and 1, not {threshold:g}")
    trigger = int(max_context_tokens * threshold) - system_tokens
    keep = keep_recent_tokens
    if keep is None:
        keep = int((max_context_tokens - system_tokens) * _KEEP * threshold)
    summary = summary_tokens
    if summary is None:
        summary = max(int(max_context_tokens * _SUMMARY), _LEAST_SUMMARY)
    if 2 * system_tokens > max_context_tokens:
        raise ValueError(
            f"system_prompt takes up to {system_tokens} of the {max_context_tokens} tokens of "
            "max_context_tokens: it may take half of them"
        )
    if keep + summary >= trigger:
        raise ValueError(
            f"keep_recent_tokens ({keep}) and summary_tokens ({summary}) leave nothing to summarise"
            f" at {trigger} tokens, which is compaction_threshold ({threshold:g}) of "
            f"max_context_tokens ({max_context_tokens}) without the system prompt"
        )
    return Limits(max_context_tokens - system_tokens, trigger, keep, summary, max_messages)


class Piece(NamedTuple):
    """One message of a context that is to be cut."""

    log: int
    turn: int
    """The turn that it belongs to; 0 if it stands between two."""
    seq: int
    tokens: int


@fact
class Cut:
    """What a summary is to cover."""

    covered: tuple[int, ...]
    """Which of the pieces, ascending."""
    through: tuple[int, ...]
    """Of each log, the last turn that is covered; 0 for none."""
    asides: tuple[int, ...]
    """Of each log, the last that is covered of what belongs to no turn; 0 for none."""


def choose_cut(
    pieces: Sequence[Piece],
    settled: Sequence[int],
    *,
    keep_tokens: int,
    input_tokens: int,
    worth_tokens: int = 0,
    keep_messages: int | None = None,
    full: bool = False,
) -> Cut | None:
    """Where to cut a context; None if there is nothing before the cut.

    Args:
        pieces: the messages, oldest first, without earlier summaries.
        settled: of each log, the last turn that is over.
        keep_tokens: how much of the newest part is kept.
        input_tokens: how much can be summarised at once. The turn with which the part becomes worth
            it is, however large.
        worth_tokens: how much has to be covered to be worth a summary, where there is so much.
        keep_messages: how many of the newest messages are kept at most; None for any number.
        full: whether it is better to take from the newest part than to cut nothing worth it.
    """
    sizes = list(accumulate((piece.tokens for piece in pieces), initial=0))
    newest = bisect_left(sizes, sizes[-1] - keep_tokens)
    if keep_messages is not None:
        newest = max(newest, len(pieces) - keep_messages)
    end = min(max(bisect_right(sizes, input_tokens) - 1, 0), newest)
    ends = _ends(pieces, settled)
    longest: Cut | None = None
    for most in (newest, len(pieces)) if full else (newest,):
        within: Cut | None = None
        for at in _tries(ends, sizes, end, most, worth_tokens):
            found = _cut(pieces, settled, at)
            if found is not None:
                within = found
                if sum(pieces[which].tokens for which in found.covered) >= worth_tokens:
                    return found
        longest = longest or within
    return longest


def _ends(pieces: Sequence[Piece], settled: Sequence[int]) -> list[int]:
    """Behind which pieces a cut can be, ascending: asides, and the last of turns that are over."""
    ends: dict[tuple[int, int], int] = {}
    for at, piece in enumerate(pieces, 1):
        if piece.turn <= settled[piece.log]:
            ends[piece.log, piece.turn or -at] = at
    return sorted(ends.values())


def _tries(
    ends: Sequence[int], sizes: Sequence[int], end: int, most: int, worth: int
) -> Iterator[int]:
    """Where to try to cut: at `end`, else behind it, at `most` the latest.

    That is where the part becomes worth it, and where nothing is left before `most`.
    """
    yield end
    behind = ends[bisect_right(ends, end) : bisect_right(ends, most)]
    place = bisect_left(behind, worth, key=lambda at: sizes[at])
    yield from behind[place : place + 1]
    yield from behind[-1:]


def _cut(pieces: Sequence[Piece], settled: Sequence[int], end: int) -> Cut | None:
    """The cut that covers what it can of the first `end` pieces."""
    split = {(piece.log, piece.turn) for piece in pieces[end:] if piece.turn}
    through, asides = [0] * len(settled), [0] * len(settled)
    closed: set[int] = set()
    covered: list[int] = []
    for at, piece in enumerate(pieces[:end]):
        log, turn = piece.log, piece.turn
        if log in closed:
            continue
        if turn and (turn > settled[log] or (log, turn) in split):
            closed.add(log)
            continue
        if turn:
            through[log] = turn
        else:
            asides[log] = piece.seq
        covered.append(at)
    return Cut(tuple(covered), tuple(through), tuple(asides)) if covered else None


def fault_of(text: object, tokens: int, covered_tokens: int, max_tokens: int) -> str | None:
    """What is wrong with a summary; None if nothing is.

    Args:
        text: what the summariser returned.
        tokens: its size, where it is a text.
        covered_tokens: the size of what it summarises.
        max_tokens: how long it may be.
    """
    if type(text) is not str:
        return f"the summariser returned a {type(text).__name__}, not a str"
    if not text or text.isspace():
        return "the summary is empty"
    if tokens > max_tokens:
        return f"the summary has {tokens} tokens; {max_tokens} are allowed"
    if tokens >= covered_tokens:
        return f"the summary has {tokens} tokens, what it summarises only {covered_tokens}"
    return None
