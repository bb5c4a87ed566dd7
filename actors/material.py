"""What there is to summarise of a context: its messages in their places, and their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..storage.base import Reads
from .context_logs import Log, family_of, logs_of
from .core.compaction import Base, Piece
from .core.delivery_records import NoteRecord
from .core.head import Head
from .core.records import Record
from .core.shown import Message, summary_of
from .core.weight import OVERHEAD, extra_of, weight_of
from .core.window import Entry, Stretch, place
from .counts import Counts
from .journal import load_head
from .uncovered import MOST_BYTES, is_long, uncovered_of

__all__ = ["Material", "base_of_head", "read_material", "told_of_joined"]


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
    settled: list[int]
    """Of each log, the last turn that is over, and all of which is here."""
    waiting: frozenset[int]
    """Entries of the session's own turns that have not begun: no window shows them yet."""
    joined: tuple[int, int]
    """What the logs that have joined take at most, and how many messages: `told_of_joined`."""
    summaries: list[Message] = field(default_factory=list[Message])
    """The summaries that there are."""
    summary_sizes: dict[int, int] = field(default_factory=dict[int, int])
    """How many tokens each has, by the place of its log in `logs`: at most, until it is counted."""
    uncounted_summaries: list[int] = field(default_factory=list[int])
    """Which of them have no count yet: what another counter counted says nothing."""
    more: bool = False
    """Whether there is more, behind what is here."""

    @property
    def base(self) -> Base:
        """What a summary of it holds for."""
        return base_of_head(self.head)

    @property
    def summary_seq(self) -> int | None:
        """The summary of its own that it begins with."""
        summary = self.logs[0].summary
        return summary[0] if summary is not None else None

    @property
    def summary_tokens(self) -> int:
        """Size of the summaries that there are."""
        return sum(self.summary_sizes.values())

    @property
    def total(self) -> int:
        """Size of the context, as far as it is here, without the turns that wait."""
        waiting = sum(self.tokens[at] for at in self.waiting)
        return self.summary_tokens + sum(self.tokens) - waiting

    @property
    def messages(self) -> int:
        """How many messages that is, without summaries."""
        return len(self.entries) - len(self.waiting)

    def pieces(self) -> list[Piece]:
        """The entries as the decision wants them. What waits is in no window, and takes nothing."""
        return [
            Piece(entry.log, entry.turn, entry.message.seq, 0 if at in self.waiting else tokens)
            for at, (entry, tokens) in enumerate(zip(self.entries, self.tokens, strict=True))
        ]

    def holds(self, reads: Reads) -> bool:
        """Whether what has joined still begins where it did here, and hides no more."""
        own = self.logs[0]
        head = load_head(reads, own.stream)
        now = logs_of(reads, own.stream, head) if head is not None else []
        return list(map(_extent, now[1:])) == list(map(_extent, self.logs[1:]))

    def count(self, at: int, tokens: int) -> int:
        """Take the count of an entry's text; return the size of the entry."""
        self.tokens[at] = tokens + OVERHEAD + self.extras.get(at, 0)
        return self.tokens[at]


def _extent(log: Log) -> tuple[int, int, int, int]:
    return log.stream, log.since_us, log.head.cleared, log.head.veils


def base_of_head(head: Head) -> Base:
    """What a summary of the context of `head` holds for."""
    joined = tuple(sorted(number for number, _ in head.joined or ()))
    return head.summary, head.cleared, head.veils, joined


def told_of_joined(reads: Reads, stream: int, joined: Sequence[int]) -> tuple[int, int]:
    """What logs that have joined take at most, and how many messages, as their heads tell it.

    Where the summary of the session itself holds no more because of one of them, so does what it
    covered: the session's own head cannot know. Both are only good for being compared with what
    they were before: a summary of another log may cover them, and some of them may not be shown.

    Args:
        reads: where the logs are.
        stream: number of the session.
        joined: numbers of those that have joined it.
    """
    heads = [head for number in joined if (head := load_head(reads, number)) is not None]
    bound = sum(head.context_bound for head in heads)
    messages = sum(head.context_messages for head in heads)
    own = load_head(reads, stream) if joined else None
    if own is not None and own.summary and logs_of(reads, stream, own)[0].summary is None:
        bound += own.covered_bound
        messages += own.covered_messages
    return bound, messages


def read_material(
    reads: Reads, stream: int, mark: bytes, most_bytes: int = MOST_BYTES
) -> Material | None:
    """The context of session number `stream` between turns; None if there is no such session.

    Args:
        reads: one moment of the store.
        stream: number of the session.
        mark: of the counter whose counts hold.
        most_bytes: how much of a log is looked at together: see `uncovered`.
    """
    head = load_head(reads, stream)
    if head is None:
        return None
    logs = logs_of(reads, stream, head)
    family = family_of(logs)
    parts = [uncovered_of(reads, log, most_bytes) for log in logs]
    records: dict[tuple[int, int], Record] = {}
    stretches: list[Stretch] = []
    for number, log in enumerate(logs):
        kept: list[tuple[int, Record]] = []
        for seq, record in parts[number].records:
            if isinstance(record, NoteRecord) and record.session_id in family:
                continue
            kept.append((seq, record))
            records[number, seq] = record
        stretches.append(log.stretch(reads, kept, cut=is_long(log.head, most_bytes)))
    # Of the same time, what joined comes first, as in a window; the own log is the last stretch.
    order = [*range(1, len(logs)), 0]
    entries = [
        Entry(order[entry.log], entry.turn, entry.message)
        for entry in place([stretches[at] for at in order], 0, head.session_id)
    ]
    counts = [Counts(reads, log.stream, mark) for log in logs]
    counted = {
        (entry.log, entry.message.seq): counts[entry.log].of(entry.message.seq)
        for entry in sorted(entries, key=lambda entry: -entry.message.seq)
    }
    left_out = [parts[entry.log].left_out.get(entry.message.seq) for entry in entries]
    sizes = [
        weight_of(records[entry.log, entry.message.seq]) if weight is None else weight
        for entry, weight in zip(entries, left_out, strict=True)
    ]
    altered = [logs[entry.log].bounds.get(entry.message.seq) for entry in entries]
    known = [
        counted[entry.log, entry.message.seq] if bound is weight is None else size
        for entry, bound, weight, size in zip(entries, altered, left_out, sizes, strict=True)
    ]
    told = {number: log.summary for number, log in enumerate(logs) if log.summary is not None}
    summary_counts = {number: counts[number].of(seq) for number, (seq, _) in told.items()}
    extras = (extra_of(records[entry.log, entry.message.seq]) for entry in entries)
    return Material(
        head=head,
        logs=logs,
        entries=entries,
        tokens=[
            size if tokens is None else tokens for size, tokens in zip(sizes, known, strict=True)
        ],
        uncounted=[at for at, tokens in enumerate(known) if tokens is None],
        extras={at: extra for at, extra in enumerate(extras) if extra},
        weights=[
            size if bound is None else bound for size, bound in zip(sizes, altered, strict=True)
        ],
        settled=[part.settled for part in parts],
        waiting=_waiting(entries, head),
        joined=told_of_joined(reads, stream, [number for number, _ in head.joined or ()]),
        summaries=[summary_of(*told[number], logs[number].session_id) for number in told],
        summary_sizes={
            number: weight_of(told[number][1]) if count is None else count
            for number, count in summary_counts.items()
        },
        uncounted_summaries=[number for number, count in summary_counts.items() if count is None],
        more=any(part.more for part in parts),
    )


def _waiting(entries: Sequence[Entry], head: Head) -> frozenset[int]:
    """Which entries are of turns behind the oldest one that is not over.

    That one may have begun before a marker, and is not among them then.
    """
    if head.open_turns <= 1:
        return frozenset()
    later = {entry.turn for entry in entries if entry.log == 0 and entry.turn > head.settled}
    waiting = set(sorted(later)[1 - head.open_turns :])
    return frozenset(
        at for at, entry in enumerate(entries) if entry.log == 0 and entry.turn in waiting
    )
