"""What a session asks to be done once the records that justify it are durable.

The session's shell performs these after the commit of the step that returned them, in order, and
never before: the output gate.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..deliveries import DeliveryReported
from ..frozen import fact
from ..messages import Accepted, Address, AnyTurn, Cleared, SessionId, TurnId
from .records import Record
from .turn_records import AssistantRecord

__all__ = [
    "AnswerAccepted",
    "AnswerChanged",
    "AnswerCleared",
    "AnswerMayRetry",
    "AnswerMirrored",
    "AnswerMission",
    "AnswerSummarised",
    "AskCompaction",
    "Dispatch",
    "Effect",
    "EndCommand",
    "EndTurn",
    "IsolateTurn",
    "PauseTurn",
    "SettleDelivery",
    "StartTurn",
    "Step",
    "TellNote",
]


@fact
class AnswerAccepted:
    """Tell the channel that its turn is durable."""

    accepted: Accepted


@fact
class StartTurn:
    """Give the turn to the agent. Without `turn` the shell reads it from the log."""

    seq: int
    turn: AnyTurn | None
    attempt: int
    isolated: bool = False


@fact
class IsolateTurn:
    """Wait until no other last attempt runs, then ask to begin this one."""

    seq: int


@fact
class PauseTurn:
    """Ask for the next attempt after a pause."""

    seq: int
    after_s: float


@fact
class EndTurn:
    """Tell the turn's channel, or the scheduler, that the turn is over."""

    seq: int
    turn: AnyTurn
    status: Literal["answered", "silent", "quarantined"]
    delivery_seq: int = 0
    error: str | None = None


@fact
class EndCommand:
    """Tell the channel of a human's command that it has been answered."""

    seq: int
    address: Address
    delivery_seq: int


@fact
class AskCompaction:
    """Let the older part of the context be summarised now, and a human be told what comes of it."""

    address: Address
    """Where it was asked for."""
    message_id: str
    """The message that asked for it."""


@fact
class Dispatch:
    """Hand a delivery to its channel. Without `record` the shell reads it from the log."""

    seq: int
    record: AssistantRecord | None
    attempt: int = 1
    ambiguous: bool = False
    duplicate: bool = False
    parts: tuple[str, ...] = ()


@fact
class SettleDelivery:
    """Tell whoever waits for this delivery what became of it so far."""

    seq: int
    report: DeliveryReported
    noted_in: SessionId | None = None
    """The session whose log has the note of it."""


@fact
class AnswerMayRetry:
    """Tell the channel whether the next attempt may begin."""

    granted: bool


@fact
class AnswerMission:
    """Tell the scheduler that a mission's run is durable."""

    turn_id: TurnId


@fact
class AnswerMirrored:
    """Tell whoever mirrored something where it stands."""

    seq: int


@fact
class AnswerSummarised:
    """Tell the compactor which record holds its summary; 0 if it was not taken."""

    seq: int


@fact
class TellNote:
    """Tell whoever watches of a note that had waited for its session."""

    seq: int


@fact
class AnswerChanged:
    """Tell the channel that the change of a message is durable, as record `seq`."""

    seq: int


@fact
class AnswerCleared:
    """Tell whoever cleared the context since where it begins."""

    cleared: Cleared


Effect: TypeAlias = (
    AnswerAccepted
    | AnswerMission
    | AnswerMirrored
    | TellNote
    | AnswerCleared
    | AnswerChanged
    | AnswerSummarised
    | StartTurn
    | IsolateTurn
    | PauseTurn
    | EndTurn
    | EndCommand
    | AskCompaction
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
