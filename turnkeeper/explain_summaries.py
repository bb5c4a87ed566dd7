"""What is explained of a summary: what it stands for, who wrote it, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator

from .actors.core.ownership_records import HiddenRecord, UnlinkedRecord
from .actors.core.view_records import ChangedRecord, ClearRecord, SummaryRecord
from .actors.journal import load_head, load_records
from .storage.base import Reads
from .words import counted, stamp

__all__ = ["summary_lines"]


def summary_lines(
    store: Reads, session_id: str, stream: int, seq: int, record: SummaryRecord
) -> Iterator[str]:
    """What summary `seq` stands for, and what became of it, oldest first; then its text."""
    came = stamp(record.at_us)
    yield f"{came}  {_who(record)}"
    yield (
        f"{came}  it stands for {counted(record.covered_messages, 'message')} of this session: "
        f"{record.covered_tokens:,} tokens, now {record.tokens:,}"
    )
    yield f"{came}  they begin {_begin(store, session_id, stream, seq, record)}"
    if record.through:
        yield f"{came}  and go up to turn {session_id}/{record.through}"
    if record.asides:
        between = "what was said between turns, and belongs to none"
        yield f"{came}  {between}, is covered up to record {session_id}/{record.asides}"
    for number, through, asides, _ in record.others:
        joined = load_head(store, number)
        name = joined.session_id if joined is not None else f"session number {number} (not there)"
        upto = f"up to turn {through}" if through else f"up to record {asides}"
        yield f"{came}  of {name}, which had joined, it covers what was said {upto}"
    if record.for_turn:
        yield f"{came}  turn {session_id}/{record.for_turn} waited for it"
    yield _became(store, session_id, stream, seq)
    yield from (f"| {line}" for line in record.text.splitlines())


def _who(record: SummaryRecord) -> str:
    if record.fault is not None:
        return f"written by the runtime itself, since the summariser failed: {record.fault}"
    if record.by == "extract":
        return "written by the runtime itself, which picks what matters without a model"
    return f"written by {record.by}"


def _begin(store: Reads, session_id: str, stream: int, seq: int, record: SummaryRecord) -> str:
    if record.previous:
        return f"with the summary {session_id}/{record.previous}, which it folds in"
    for earlier_seq, earlier in load_records(
        store, stream, stop=seq, reverse=True, damaged=_pass_over
    ):
        if isinstance(earlier, ClearRecord):
            return f"where the context began anew, at {session_id}/{earlier_seq}"
    return "where the session does"


def _became(store: Reads, session_id: str, stream: int, seq: int) -> str:
    head = load_head(store, stream)
    if head is not None and head.summary == seq:
        return "the context begins with it now"
    for later_seq, later in load_records(store, stream, seq + 1, damaged=_pass_over):
        told = f"{stamp(later.at_us)}  "
        match later:
            case SummaryRecord(previous=previous) if previous == seq:
                return f"{told}it was folded into the summary {session_id}/{later_seq}"
            case ClearRecord():
                return f"{told}the context began anew, at {session_id}/{later_seq}"
            case HiddenRecord() | UnlinkedRecord() | ChangedRecord(was_summarised=True):
                why = "something in it is not to be told any more"
                return f"{told}it is not used since: {why} ({session_id}/{later_seq})"
            case _:
                pass
    return "it is not used any more"


def _pass_over(seq: int, error: Exception) -> None:
    """What cannot be read tells nothing; `verify` names it."""
