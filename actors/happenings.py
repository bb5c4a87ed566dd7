"""What has happened, for whoever watches: one shape for everything that the feed tells.

Made from the effects of a session's step, once that step is durable, so that nobody is told what a
crash could take back. Reads what it needs from the log: nothing is prepared that nobody asked for.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from .core.attached import told_of
from .core.delivery_records import NoteRecord, ReceiptRecord
from .core.effects import (
    AnswerAccepted,
    AnswerChanged,
    AnswerMirrored,
    AnswerMission,
    AnswerSummarised,
    Effect,
    EndTurn,
    SettleDelivery,
    StartTurn,
    TellNote,
)
from .core.records import Record, address_of
from .core.turn_records import AssistantRecord, MissionRecord, UserRecord
from .core.view_records import ChangedRecord, CommandRecord, SummaryRecord
from .frozen import message
from .messages import Address, InboundTurn, SessionId, split_record_id

__all__ = ["MAX_TEXT_CHARS", "FeedEvent", "FeedKind", "Reporter", "noted", "rendered", "trouble"]

MAX_TEXT_CHARS: Final = 200
"""Characters of a text that an event carries; the log has all of it."""

FeedKind: TypeAlias = Literal[
    "accepted",
    "turn_started",
    "turn_ended",
    "delivery",
    "note",
    "receipt",
    "changed",
    "summary",
    "rendered",
    "error",
]


@message
class FeedEvent:
    """Something that has happened.

    `accepted`: a turn is durable. `turn_started`: it is given to the agent, which may have to wait
    for room. `turn_ended`: the turn is over. `delivery`: what became of an attempt to send.
    `note`: a session has a note of what was said on its behalf. `receipt`: the platform has
    told more of a delivery later. `changed`: a human has edited or deleted a message.
    `summary`: the older part of a context is summarised. `rendered`: something stands in the
    console feed. `error`: something broke.
    """

    kind: FeedKind
    at: datetime
    """When it was durable."""
    session_id: str | None
    """Of a note: the session that has it. None where it concerns no session."""
    id: str | None
    """The turn, the delivery or the summary that it is about: `s1/4`."""
    instance: str | None
    conversation: str | None
    thread: str | None
    mission: str | None
    """The mission whose run it is part of."""
    text: str
    """What was said, or what is wrong: its first 200 characters."""
    detail: Mapping[str, Any]
    """What else there is to say, by kind.

    - `turn_started`: `attempt`
    - `turn_ended`: `status` (`answered`, `silent`, `quarantined`), `delivery_id`, `error`
    - `delivery`: `status`, `reason`, `attempt`, `platform_message_id`, `parts` (the platform's ids
      of those that have arrived), `parts_in_all`, `turn_id` (what it answers, or was asked in),
      `noted_in`
    - `note`: `source`, `from_session`, `status`, `record`
    - `receipt`: `status`, `reason`, `platform_message_id`
    - `changed`: `status` (`edited`, `deleted`), `by` (a user id, or None), `record`; its `id` is
      that of the message's turn, its `text` what the message says now
    - `summary`: `by` (`extract` for the built-in one), `messages` and `covered_tokens` (what it
      stands for), `tokens` (its own size), `turn_id` (which waited for it), `fault` (why it is not
      the summariser's, or None)
    - `error`: `of` (`turn`, `session`, `channel`, `store`), and for a channel `restarts_in_s`
    """
    number: int = 0
    """Its place in the order: 1 for the first that anybody has watched in this runtime, and no
    number is left out. The bus gives it."""


class Reporter:
    """Tells what the steps of one session mean to those who watch."""

    def __init__(
        self, session_id: SessionId, at_us: int, record_at: Callable[[int], Record | None]
    ) -> None:
        """Report on a session.

        Args:
            session_id: the session.
            at_us: the time.
            record_at: reads its log; None for what cannot be read.
        """
        self._session_id = session_id
        self._at_us = at_us
        self._record_at = record_at

    def events(self, effect: Effect) -> Iterator[FeedEvent]:
        """What `effect` tells. The records that justify it are durable."""
        match effect:
            case AnswerAccepted(accepted):
                if not accepted.duplicate:
                    yield from self._accepted(accepted.turn_id)
            case AnswerMission(turn_id):
                yield from self._accepted(turn_id)
            case StartTurn(seq, _, attempt):
                yield self._turn("turn_started", seq, {"attempt": attempt})
            case EndTurn():
                yield from self._ended(effect)
            case SettleDelivery():
                yield self._settled(effect)
            case AnswerSummarised(seq):
                summary = self._record_at(seq) if seq else None
                if isinstance(summary, SummaryRecord):
                    yield self._summarised(seq, summary)
            case AnswerChanged(seq):
                yield from self._changed(seq)
            case AnswerMirrored(seq) | TellNote(seq):
                note = self._record_at(seq)
                if isinstance(note, NoteRecord):
                    yield noted(self._session_id, seq, note, self._at_us)
            case _:
                pass

    def receipt(self, record: ReceiptRecord) -> FeedEvent:
        """What the platform has told later."""
        said = self._record_at(record.delivery_seq)
        return _event(
            "receipt",
            self._at_us,
            session_id=self._session_id,
            record_id=f"{self._session_id}/{record.delivery_seq}",
            place=address_of(said) if isinstance(said, AssistantRecord) else None,
            text=told_of(said) if isinstance(said, AssistantRecord) else "",
            detail={
                "status": record.status,
                "reason": record.reason,
                "platform_message_id": record.platform_message_id,
            },
        )

    def _changed(self, seq: int) -> Iterator[FeedEvent]:
        record = self._record_at(seq)
        if not isinstance(record, ChangedRecord):
            return
        said = self._record_at(record.message_seq)
        yield _event(
            "changed",
            self._at_us,
            session_id=self._session_id,
            record_id=f"{self._session_id}/{record.message_seq}",
            place=address_of(said) if isinstance(said, UserRecord) else None,
            text=record.text or "",
            detail={
                "status": "deleted" if record.text is None else "edited",
                "by": record.by,
                "record": f"{self._session_id}/{seq}",
            },
        )

    def _summarised(self, seq: int, record: SummaryRecord) -> FeedEvent:
        waited = record.for_turn
        return _event(
            "summary",
            self._at_us,
            session_id=self._session_id,
            record_id=f"{self._session_id}/{seq}",
            text=record.text,
            detail={
                "by": record.by,
                "messages": record.covered_messages,
                "covered_tokens": record.covered_tokens,
                "tokens": record.tokens,
                "turn_id": f"{self._session_id}/{waited}" if waited else None,
                "fault": record.fault,
            },
        )

    def _accepted(self, turn_id: str) -> Iterator[FeedEvent]:
        parts = split_record_id(turn_id)
        seq = parts[1] if parts is not None else 0
        if not isinstance(self._record_at(seq), CommandRecord):  # which is no turn
            yield self._turn("accepted", seq, {})

    def _turn(self, kind: FeedKind, seq: int, detail: Mapping[str, Any]) -> FeedEvent:
        turn = self._record_at(seq)
        return _event(
            kind,
            self._at_us,
            session_id=self._session_id,
            record_id=f"{self._session_id}/{seq}",
            place=address_of(turn) if isinstance(turn, UserRecord) else None,
            mission=turn.mission if isinstance(turn, MissionRecord) else None,
            text=turn.text if isinstance(turn, UserRecord | MissionRecord) else "",
            detail=detail,
        )

    def _ended(self, effect: EndTurn) -> Iterator[FeedEvent]:
        turn = effect.turn
        place = turn.address if isinstance(turn, InboundTurn) else None
        mission = turn.mission if not isinstance(turn, InboundTurn) else None
        turn_id = f"{self._session_id}/{effect.seq}"
        said = self._record_at(effect.delivery_seq) if effect.delivery_seq else None
        yield _event(
            "turn_ended",
            self._at_us,
            session_id=self._session_id,
            record_id=turn_id,
            place=place,
            mission=mission,
            text=told_of(said) if isinstance(said, AssistantRecord) else "",
            detail={
                "status": effect.status,
                "delivery_id": f"{self._session_id}/{effect.delivery_seq}"
                if effect.delivery_seq
                else None,
                "error": effect.error,
            },
        )
        if effect.status == "quarantined":
            yield trouble(
                "turn",
                effect.error or "",
                self._at_us,
                session_id=self._session_id,
                record_id=turn_id,
                place=place,
                mission=mission,
            )

    def _settled(self, effect: SettleDelivery) -> FeedEvent:
        report, said = effect.report, self._record_at(effect.seq)
        place, asked = report.address, 0
        if isinstance(said, AssistantRecord):
            place, asked = place or address_of(said), said.turn_seq or said.during
        turn = self._record_at(asked) if asked else None
        return _event(
            "delivery",
            self._at_us,
            session_id=self._session_id,
            record_id=f"{self._session_id}/{effect.seq}",
            place=place,
            mission=turn.mission if isinstance(turn, MissionRecord) else None,
            text=told_of(said) if isinstance(said, AssistantRecord) else "",
            detail={
                "status": report.status,
                "reason": report.reason,
                "attempt": report.attempt,
                "platform_message_id": report.platform_message_id,
                "parts": list(report.parts),
                "parts_in_all": report.parts_in_all,
                "turn_id": f"{self._session_id}/{asked}" if asked else None,
                "noted_in": effect.noted_in,
            },
        )


def noted(owner: SessionId, seq: int, note: NoteRecord, at_us: int) -> FeedEvent:
    """A note stands in the log of `owner`, as record `seq`."""
    return _event(
        "note",
        at_us,
        session_id=owner,
        record_id=note.delivery_id,
        place=address_of(note),
        mission=note.mission,
        text=note.text,
        detail={
            "source": note.source,
            "from_session": note.session_id,
            "status": note.status,
            "record": f"{owner}/{seq}",
        },
    )


def rendered(session_id: SessionId, delivery_id: str, text: str, at_us: int) -> FeedEvent:
    """Something stands in the console feed."""
    return _event("rendered", at_us, session_id=session_id, record_id=delivery_id, text=text)


def trouble(
    of: Literal["turn", "session", "channel", "store"],
    error: BaseException | str,
    at_us: int,
    *,
    session_id: str | None = None,
    record_id: str | None = None,
    place: Address | None = None,
    instance: str | None = None,
    mission: str | None = None,
    **detail: Any,
) -> FeedEvent:
    """Something broke."""
    text = error if isinstance(error, str) else _in_words(error)
    return _event(
        "error",
        at_us,
        session_id=session_id,
        record_id=record_id,
        place=place,
        instance=instance,
        mission=mission,
        text=text,
        detail={"of": of, **detail},
    )


def _in_words(error: BaseException) -> str:
    """What an exception says, also where it cannot be shown."""
    return "".join(traceback.format_exception_only(error)).strip()


def _event(  # noqa: PLR0913  (the fields of one event)
    kind: FeedKind,
    at_us: int,
    *,
    session_id: str | None = None,
    record_id: str | None = None,
    place: Address | None = None,
    instance: str | None = None,
    mission: str | None = None,
    text: str = "",
    detail: Mapping[str, Any] | None = None,
) -> FeedEvent:
    return FeedEvent(
        kind=kind,
        at=datetime.fromtimestamp(at_us / 1e6, UTC),
        session_id=session_id,
        id=record_id,
        instance=place.instance if place is not None else instance,
        conversation=place.conversation if place is not None else None,
        thread=place.thread if place is not None else None,
        mission=mission,
        text=text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…",
        detail=detail or {},
    )
