"""What a session asks to be done once the records that justify it are durable.

The session's shell performs these after the commit of the step that returned them, in order, and
never before: the output gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..messages import Accepted, DeliveryReported, InboundTurn
from .records import AssistantRecord, Record

__all__ = [
    "AnswerAccepted",
    "AnswerMayRetry",
    "Dispatch",
    "Effect",
    "EndTurn",
    "IsolateTurn",
    "PauseTurn",
    "SettleDelivery",
    "StartTurn",
    "Step",
]


@dataclass(frozen=True, slots=True)
class AnswerAccepted:
    """Tell the channel that its turn is durable."""

    accepted: Accepted


@dataclass(frozen=True, slots=True)
class StartTurn:
    """Give the turn to the agent. Without `turn` the shell reads it from the log."""

    seq: int
    turn: InboundTurn | None
    attempt: int
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class IsolateTurn:
    """Wait until no other last attempt runs, then ask to begin this one."""

    seq: int


@dataclass(frozen=True, slots=True)
class PauseTurn:
    """Ask for the next attempt after a pause."""

    seq: int
    after_s: float


@dataclass(frozen=True, slots=True)
class EndTurn:
    """Tell the turn's channel that the turn is over."""

    seq: int
    turn: InboundTurn
    status: Literal["answered", "silent", "quarantined"]
    delivery_seq: int = 0


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Hand a delivery to its channel. Without `record` the shell reads it from the log."""

    seq: int
    record: AssistantRecord | None
    attempt: int = 1
    ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class SettleDelivery:
    """Tell whoever waits for this delivery what became of it so far."""

    seq: int
    report: DeliveryReported


@dataclass(frozen=True, slots=True)
class AnswerMayRetry:
    """Tell the channel whether the next attempt may begin."""

    granted: bool


Effect: TypeAlias = (
    AnswerAccepted
    | StartTurn
    | IsolateTurn
    | PauseTurn
    | EndTurn
    | Dispatch
    | SettleDelivery
    | AnswerMayRetry
)


class Step:
    """One decision: records to append from `first_seq` on, and what to do once they are durable."""

    __slots__ = ("effects", "first_seq", "records")

    def __init__(self, first_seq: int) -> None:
        self.first_seq = first_seq
        self.records: list[Record] = []
        self.effects: list[Effect] = []

    def __repr__(self) -> str:
        return f"<Step at {self.first_seq}: {self.records} then {self.effects}>"
