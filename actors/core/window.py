"""What the agent sees of a session: its messages, oldest first, the current turn last.

A log is in the order of arrival; a conversation reads in the order of its turns. A reply stands
behind the message that it answers even if the human wrote again meanwhile, and messages that wait
for their own turn are not shown before it. Earlier sessions that were joined to this one are woven
in by time, turn by turn. What an undone link took back is left out, and so is what was said before
the context began anew.

Where older messages have been summarised, the summary stands first, and what it covers is left out.

What belongs to no turn (what others said on the session's behalf, what became of its messages
later, what it said unasked) stands between two turns: before the first one whose agent could know
of it. There it stays in every later window, so that what a model was given before is still the
beginning of what it is given next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import TypeAlias

from ..frozen import fact
from .alterations import Altered
from .asides import SHOWN_RECEIPTS
from .delivery_records import NoteRecord, ReceiptRecord
from .records import Record
from .shown import (
    Message,
    Names,
    Source,
    change_of,
    cut,
    message_of,
    receipt_of,
    summary_of,
)
from .turn_records import AssistantRecord, MissionRecord, UserRecord
from .turns import NEVER, TOLD, Told, Turns
from .veil import Hidden, Veil
from .view_records import ChangedRecord, SummaryRecord

__all__ = ["Entry", "Message", "Source", "Stretch", "build_window", "place"]


@fact
class Stretch:
    """A part of one log that the window shows."""

    session_id: str | None
    """The earlier session whose log it is; None: the session itself."""
    records: Iterable[tuple[int, Record]]
    """Sequence numbers and records, ascending; the current turn's record may stand anywhere."""
    hidden: Sequence[Hidden] = ()
    """What of this log is left out."""
    since_us: int = 0
    """Turns that were asked for before, and what else is older, are left out."""
    quoted: Mapping[int, AssistantRecord] | None = None
    """What was said earlier than `records`, and receipts among them speak of."""
    through: int = 0
    """Turns up to this one are left out: they are covered by a summary."""
    asides: int = 0
    """So is what belongs to no turn, up to this sequence number."""
    summary: tuple[int, SummaryRecord] | None = None
    """The summary of this log that is shown instead, and its sequence number."""
    shortened: Mapping[int, int] | None = None
    """Tokens that are left for some messages, for which there is not enough room."""
    whole: bool = True
    """Whether `records` begin where the log does."""
    altered: Mapping[int, Altered] | None = None
    """Which messages are not shown as they were: what was done to each."""
    origins: Mapping[int, UserRecord] | None = None
    """Messages that are not among `records`, and that changes among these speak of."""


@fact
class Entry:
    """A message in its place."""

    log: int
    """Which of the stretches it is from."""
    turn: int
    """The turn that it belongs to; 0 if it stands between two."""
    message: Message


_Placed: TypeAlias = tuple[int, bool, int, Message]
"""A turn, whether the message belongs to it or stands before it, its place there, the message."""


def build_window(
    stretches: Sequence[Stretch], turn_seq: int, session_id: str | None = None
) -> tuple[Message, ...]:
    """The window for the turn of record `turn_seq` in the session's own log.

    Every log keeps the order of its turns, and no turn is split: its messages stand together where
    the time of its question puts them, or that of its first message where there is no question.
    It never stands before an earlier turn of its log, even if the clock went back in between.
    Turns of the same time are in the order of `stretches`.

    Behind a marker after which the context begins anew, a log shows the turns that began later, and
    before it nothing but what others had said when no turn had begun since.

    Args:
        stretches: at most one of each log. The session's own ends at or after the current turn.
            Turns that are still open in a joined log are shown too.
        turn_seq: the current turn, which is always shown; 0 for the window between turns.
        session_id: the session's own, to name its deliveries.
    """
    summaries = [
        _shortened(stretch, summary_of(*stretch.summary, stretch.session_id))
        for stretch in stretches
        if stretch.summary is not None
    ]
    entries = place(stretches, turn_seq, session_id)
    return (*summaries, *[entry.message for entry in entries])


def _shortened(stretch: Stretch, shown: Message) -> Message:
    """`shown`, or what there is room for."""
    shortened = stretch.shortened
    return cut(shown, shortened[shown.seq]) if shortened and shown.seq in shortened else shown


def place(
    stretches: Sequence[Stretch], turn_seq: int, session_id: str | None = None
) -> list[Entry]:
    """The messages of :func:`build_window` in their places, without the summaries."""
    names: Names = {}
    logs = [
        _Log(stretch, names, stretch.session_id or session_id).in_turns(
            turn_seq if stretch.session_id is None else 0
        )
        for stretch in stretches
    ]
    if len(logs) == 1:
        return [Entry(0, turn if belongs else 0, shown) for turn, belongs, _, shown in logs[0]]
    dated = [
        (at_us, Entry(number, turn, shown))
        for number, log in enumerate(logs)
        for at_us, turn, shown in _dated(log)
    ]
    dated.sort(key=itemgetter(0))
    return [entry for _, entry in dated]


class _Log:
    """One log, or a part of it, while its window is made."""

    __slots__ = (
        "_altered",
        "_asked_us",
        "_heard",
        "_names",
        "_said",
        "_session_id",
        "_stretch",
        "_turns",
        "_veil",
    )

    def __init__(self, stretch: Stretch, names: Names, session_id: str | None) -> None:
        self._stretch = stretch
        self._names = names
        self._session_id = session_id
        self._turns = Turns()
        self._veil = Veil(stretch.hidden, whole=stretch.whole) if stretch.hidden else None
        self._asked_us: dict[int, int] = {}
        self._said: dict[int, AssistantRecord] = {**(stretch.quoted or {})}
        """What receipts speak of, by its sequence number."""
        self._altered: Mapping[int, Altered] = stretch.altered or {}
        self._heard: dict[int, UserRecord] = {**(stretch.origins or {})}
        """What changes speak of, by its sequence number."""

    def in_turns(self, current: int) -> list[_Placed]:
        """The messages in the order of their turns, those of turn `current` at the end."""
        stretch = self._stretch
        records = list(stretch.records)
        self._turns = turns = Turns(records)
        placed: list[_Placed] = []
        for seq, record in records:
            if not isinstance(record, TOLD):
                continue
            if isinstance(record, UserRecord | MissionRecord):
                self._asked_us[seq] = record.at_us
            if isinstance(record, UserRecord):
                self._heard[seq] = record
            elif isinstance(record, AssistantRecord):
                self._said[seq] = record
            turn = turns.turn_of(seq, record)
            if turn <= stretch.through if turn else seq <= stretch.asides:
                continue
            where, order = turn or turns.first_after(seq), seq
            if turn and turn == current:
                where, order = NEVER, NEVER if seq == current else seq
            elif 0 < current < turn or self._is_left_out(seq, record, turn):
                continue
            placed.append((where, turn > 0, order, self._shown(seq, record)))
        placed.sort()
        return placed

    def _shown(self, seq: int, record: Told) -> Message:
        shown_in = self._stretch.session_id
        if isinstance(record, ReceiptRecord):
            said = self._said.get(record.delivery_seq)
            return receipt_of(seq, record, shown_in, self._session_id, said)
        if isinstance(record, ChangedRecord):
            of = record.message_seq
            deleted = self._altered.get(of) == "deleted"
            shown = change_of(seq, record, shown_in, self._heard.get(of), deleted=deleted)
        else:
            shown = message_of(seq, record, shown_in, self._names)
        if altered := self._altered.get(seq):
            shown = replace(shown, altered=altered)
        return _shortened(self._stretch, shown)

    def _is_left_out(self, seq: int, record: Told, turn: int) -> bool:
        turns, since_us = self._turns, self._stretch.since_us
        if self._is_hidden(seq, record, turn):
            return True
        if turn:
            return turns.is_cleared(turn) or self._asked_us.get(turn, 0) < since_us
        if record.at_us < since_us:
            return True
        match record:
            case AssistantRecord():
                return seq < turns.cleared
            case ChangedRecord():
                said = self._heard.get(record.message_seq)
                return seq < turns.cleared or (said is not None and said.at_us < since_us)
            case ReceiptRecord() if record.status not in SHOWN_RECEIPTS or self._is_mute(record):
                return True
            case _:
                return turns.is_seen_and_cleared(seq)

    def _is_mute(self, receipt: ReceiptRecord) -> bool:
        """Whether it tells of what the runtime answered for itself, which no window shows."""
        said = self._said.get(receipt.delivery_seq)
        return said is not None and (said.by, said.route) == ("runtime", "command")

    def _is_hidden(self, seq: int, record: Told, turn: int) -> bool:
        veil = self._veil
        if veil is None:
            return False
        match record:
            case UserRecord() | MissionRecord():
                return veil.covers_question(seq, record)
            case ReceiptRecord():
                said = self._said.get(record.delivery_seq)
                if said is None:
                    return veil.covers_unknown(seq)
                return self._is_hidden(
                    record.delivery_seq, said, self._turns.turn_of(record.delivery_seq, said)
                )
            case ChangedRecord():
                return self._is_hidden_change(veil, record)
            case _ if turn:
                return veil.covers_answer(turn)
            case AssistantRecord() | NoteRecord():
                return veil.covers_aside(seq, record)
            case _:
                return False

    def _is_hidden_change(self, veil: Veil, change: ChangedRecord) -> bool:
        heard = self._heard.get(change.message_seq)
        if heard is None:
            return veil.covers_unknown(change.message_seq)
        return veil.hides(change.message_seq, heard)


def _dated(placed: Iterable[_Placed]) -> Iterator[tuple[int, int, Message]]:
    """The messages of one log with the times of their turns, made never to go back, and the turns.

    What stands before a turn has its own time, but never a later one than the turn.
    """
    before = time_us = -1
    asides: list[Message] = []
    for turn, belongs, _, shown in placed:
        if not belongs:
            asides.append(shown)
            continue
        if turn != before:
            before = turn
            turn_us = max(time_us, shown.at_us if turn < NEVER else NEVER)
            for aside in asides:
                time_us = max(time_us, min(aside.at_us, turn_us))
                yield time_us, 0, aside
            asides.clear()
            time_us = turn_us
        yield time_us, turn, shown
    for aside in asides:
        time_us = max(time_us, aside.at_us)
        yield time_us, 0, aside
