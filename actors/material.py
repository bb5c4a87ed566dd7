"""What there is to summarise of a context: its messages in their places, and their sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ..storage.base import Reads
from .core.compaction import Base, Piece
from .core.head import Head
from .core.records import NoteRecord, Record
from .core.shown import Message, summary_of
from .core.turns import TOLD, ended_by
from .core.weight import OVERHEAD, extra_of, weight_of
from .core.window import Entry, place
from .counts import Counts
from .journal import load_head, load_records
from .windows import Log, family_of, logs_of, told_of

__all__ = ["Material", "base_of_head", "read_material"]

_MOST: Final = 20_000
"""Messages of a log that are looked at together: more than a window ever shows."""


@dataclass(slots=True, eq=False)
class Material:
    """A context between two summaries."""

    head: Head
    logs: list[Log]
    """The session's own is the first."""
    entries: list[Entry]
    """The messages that no summary covers, oldest first; their logs are places in `logs`."""
    tokens: list[int]
    """Of each entry, once it is counted."""
    uncounted: list[int]
    """Which entries have no count yet."""
    extras: dict[int, int]
    """Tokens of what came with some entries' texts."""
    weights: list[int]
    """How many tokens each entry has at most."""
    summaries: list[Message] = field(default_factory=list[Message])
    """The summaries that there are."""
    more: bool = False
    """Whether there is more, behind what is here."""

    @property
    def base(self) -> Base:
        """What a summary of it holds for."""
        return base_of_head(self.head)

    @property
    def summary_tokens(self) -> int:
        """Size of the summaries that there are."""
        return sum(log.summary[1].tokens for log in self.logs if log.summary is not None)

    @property
    def total(self) -> int:
        """Size of the context, as far as it is here."""
        return self.summary_tokens + sum(self.tokens)

    def pieces(self) -> list[Piece]:
        """The entries as the decision wants them."""
        return [
            Piece(entry.log, entry.turn, entry.message.seq, tokens)
            for entry, tokens in zip(self.entries, self.tokens, strict=True)
        ]

    def count(self, at: int, tokens: int) -> int:
        """Take the count of an entry's text; return the size of the entry."""
        self.tokens[at] = tokens + OVERHEAD + self.extras.get(at, 0)
        return self.tokens[at]


def base_of_head(head: Head) -> Base:
    """What a summary of the context of `head` holds for."""
    joined = tuple(sorted(number for number, _ in head.joined or ()))
    return head.summary, head.cleared, len(head.hidden or ()), joined


def read_material(reads: Reads, stream: int, mark: bytes) -> Material | None:
    """The context of session number `stream` between turns; None if there is no such session.

    Args:
        reads: one moment of the store.
        stream: number of the session.
        mark: of the counter whose counts hold.
    """
    head = load_head(reads, stream)
    if head is None:
        return None
    logs = logs_of(reads, stream, head)
    family = family_of(logs)
    more = False
    records: dict[tuple[int, int], Record] = {}
    stretches = []
    for number, log in enumerate(logs):
        kept: list[tuple[int, Record]] = []
        for seq, record in _oldest_first(reads, log):
            if isinstance(record, NoteRecord) and record.session_id in family:
                continue
            kept.append((seq, record))
            records[number, seq] = record
        more = more or log.head.context_messages > _MOST
        stretches.append(log.stretch(reads, kept))
    # Of the same time, what joined comes first, as in a window; the own log is the last stretch.
    order = [*range(1, len(logs)), 0]
    entries = [
        Entry(order[entry.log], entry.turn, entry.message)
        for entry in place([stretches[at] for at in order], 0, head.session_id)
    ]
    counts = [Counts(reads, log.stream, mark) for log in logs]
    found = {
        (entry.log, entry.message.seq): counts[entry.log].of(entry.message.seq)
        for entry in sorted(entries, key=lambda entry: -entry.message.seq)
    }
    weights = [weight_of(records[entry.log, entry.message.seq]) for entry in entries]
    known = [found[entry.log, entry.message.seq] for entry in entries]
    extras = (extra_of(records[entry.log, entry.message.seq]) for entry in entries)
    return Material(
        head=head,
        logs=logs,
        entries=entries,
        tokens=[
            weight if tokens is None else tokens
            for weight, tokens in zip(weights, known, strict=True)
        ],
        uncounted=[at for at, tokens in enumerate(known) if tokens is None],
        extras={at: extra for at, extra in enumerate(extras) if extra},
        weights=weights,
        summaries=[summary_of(*log.summary, log.session_id) for log in logs if log.summary],
        more=more,
    )


def _oldest_first(reads: Reads, log: Log) -> Iterator[tuple[int, Record]]:
    if log.head.context_messages <= _MOST:
        yield from [(seq, record) for _, seq, record in told_of(reads, log)][::-1]
        return
    told = 0
    start = max(log.through, log.head.cleared) + 1
    for seq, record in load_records(reads, log.stream, start, damaged=_pass_over):
        if record.at_us >= log.since_us and (ended_by(record) or isinstance(record, TOLD)):
            yield seq, record
            told += bool(weight_of(record))
        if told == _MOST:
            return


def _pass_over(_seq: int, _error: Exception) -> None:
    """The windows tell of it: see `windows`."""
