"""How much of its window a session uses: what was measured last, and what is said of it now.

A measurement holds for the context as it was then. What came since is estimated, and so is
everything once the context has begun anew, or its older part was summarised, and nobody has
measured again. The estimate is a token for four bytes of the bound that `weight` has, which is
what plain English comes to; other scripts take more.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ..storage.base import Batch, Reads, Table
from ..storage.codec import decode, encode
from ..storage.errors import CorruptRecord
from ..storage.keys import number_key
from .core.head import Head

__all__ = [
    "ESTIMATED_BYTES",
    "ContextSize",
    "Usage",
    "base_of",
    "load_usage",
    "put_usage",
    "read_usage",
    "size_of",
    "usage_key",
]

ESTIMATED_BYTES: Final = 4
"""Bytes of the bound that are taken for one token where nothing was counted."""


class Usage(NamedTuple):
    """A measurement of a session's context. A tuple, as it is stored."""

    bound: int
    """The head's `context_bound` when it was measured."""
    tokens: int
    """How many tokens the context had."""
    messages: int
    """How many messages it had."""
    base: tuple[int, int]
    """Where the context began then: see :func:`base_of`."""
    counter: str
    """Name of what counted."""


class ContextSize(NamedTuple):
    """How large a context is."""

    tokens: int
    counted: bool
    """Whether every token of it was counted; otherwise it is an estimate."""


def base_of(head: Head) -> tuple[int, int]:
    """The summary and the marker that a context begins with: sequence numbers, 0 for none."""
    return head.summary, head.cleared


def usage_key(stream: int) -> bytes:
    """Key of session number `stream` in `Table.USAGE`."""
    return number_key(stream)


def put_usage(batch: Batch, stream: int, usage: Usage) -> None:
    """Let `batch` keep `usage` as the newest measurement of session number `stream`."""
    batch.put(Table.USAGE, usage_key(stream), encode(tuple(usage)))


def read_usage(payload: object) -> Usage:
    """The measurement whose tuple is `payload`.

    Raises:
        CorruptRecord: it is none.
    """
    match payload:
        case [
            int(bound),
            int(tokens),
            int(messages),
            [int(summary), int(cleared)],
            str(counter),
        ] if min(bound, tokens, messages, summary, cleared) >= 0:
            return Usage(bound, tokens, messages, (summary, cleared), counter)
        case _:
            raise CorruptRecord(f"the measurement of a context is kept as {payload!r:.80}")


def load_usage(store: Reads, stream: int) -> Usage | None:
    """The newest measurement of session number `stream`, or None.

    Raises:
        CorruptRecord: it cannot be read.
    """
    data = store.get(Table.USAGE, usage_key(stream))
    return read_usage(decode(data, ("usage", stream))) if data is not None else None


def size_of(head: Head, usage: Usage | None) -> ContextSize:
    """How large the context of `head` is, joined logs not counted.

    Args:
        head: of the session, as it is now.
        usage: what was measured last, if anything was.
    """
    if usage is None or usage.base != base_of(head) or head.context_bound < usage.bound:
        return ContextSize(head.context_bound // ESTIMATED_BYTES, counted=False)
    since = head.context_bound - usage.bound
    return ContextSize(usage.tokens + since // ESTIMATED_BYTES, counted=since == 0)
