"""What can happen in a fault run.

An event names nothing that only a running world knows: sessions, deliveries and earlier messages
are picked by number, counted round, when their turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

from turnkeeper.actors.messages import Address
from turnkeeper.testing import Fault

from .people import Person, show

__all__ = [
    "AddMission",
    "Aim",
    "Clear",
    "CutPower",
    "Event",
    "Fail",
    "FailDisk",
    "Hear",
    "HoldDisk",
    "HoldWire",
    "Link",
    "Mirror",
    "Move",
    "Pair",
    "Pass",
    "Redeliver",
    "Retry",
    "RunMission",
    "Say",
    "Stop",
    "TellLater",
    "Undo",
    "Unlink",
    "Unpair",
]


def _shown(value: object) -> str:
    return show(value) if isinstance(value, Address) else str(value)


@dataclass(frozen=True)
class _Event:
    after_s: float
    """Seconds since the event before; 0: at once, while that one is still being worked on."""

    def __str__(self) -> str:
        told = (f"{name}={_shown(value)}" for name, value in vars(self).items())
        return " ".join([type(self).__name__, *islice(told, 1, None)])


@dataclass(frozen=True)
class Hear(_Event):
    """A human writes; the text tells the agent what to do."""

    message_id: str
    who: Person
    place: Address
    behaviour: str
    quotes: int | None = None
    """Which of the messages that have arrived at the place is quoted."""

    @property
    def text(self) -> str:
        return f"{self.message_id}: {self.behaviour}"


@dataclass(frozen=True)
class Redeliver(_Event):
    """A platform delivers an earlier message again, or another one under its id."""

    pick: int
    other_body: bool


@dataclass(frozen=True)
class Say(_Event):
    """The program lets a session speak: to a place, a user, or its active channel."""

    number: int
    session: int
    to: Address | None = None
    user: str | None = None


@dataclass(frozen=True)
class Mirror(_Event):
    number: int
    session: int


@dataclass(frozen=True)
class Clear(_Event):
    number: int
    session: int


@dataclass(frozen=True)
class Aim(_Event):
    """The active channel is set to where a human last wrote at an instance."""

    number: int
    session: int
    instance: str


@dataclass(frozen=True)
class Link(_Event):
    number: int
    who: Person
    user: str


@dataclass(frozen=True)
class Unlink(_Event):
    number: int
    who: Person


@dataclass(frozen=True)
class Pair(_Event):
    number: int
    who: Person
    session_id: str


@dataclass(frozen=True)
class Unpair(_Event):
    number: int
    who: Person


@dataclass(frozen=True)
class Move(_Event):
    number: int
    place: Address
    session: int | None
    """None: where the rules would put it."""


@dataclass(frozen=True)
class Undo(_Event):
    """The newest change is taken back."""

    number: int


@dataclass(frozen=True)
class Retry(_Event):
    """The operator asks for a delivery to be tried again, most often one that needs it."""

    number: int
    pick: int
    any_delivery: bool
    mark_duplicate: bool


@dataclass(frozen=True)
class TellLater(_Event):
    """A platform tells more of a message that it has."""

    number: int
    pick: int
    status: Literal["delivered", "read", "failed"]


@dataclass(frozen=True)
class AddMission(_Event):
    """A mission is added, or becomes another one."""

    number: int
    name: str
    every_s: int
    behaviour: str
    notify: str | None


@dataclass(frozen=True)
class RunMission(_Event):
    """Somebody wants a mission to run now, to pause, or to go on."""

    number: int
    name: str
    act: Literal["run", "pause", "resume"]


@dataclass(frozen=True)
class Fail(_Event):
    """The next sends of an instance fail."""

    instance: str
    fault: Fault | Literal["broken"]
    times: int
    retry_after_s: float | None = None


@dataclass(frozen=True)
class HoldWire(_Event):
    """Every send of an instance hangs for a while."""

    instance: str
    for_s: float


@dataclass(frozen=True)
class HoldDisk(_Event):
    """Nothing becomes durable for a while."""

    for_s: float


@dataclass(frozen=True)
class FailDisk(_Event):
    """The next commit fails, and the runtime ends."""


@dataclass(frozen=True)
class CutPower(_Event):
    """The power goes at the commit after `commits` more, or at once."""

    commits: int
    stored: bool
    """Whether that commit is on the disk."""


@dataclass(frozen=True)
class Stop(_Event):
    """The runtime is stopped and started again."""


@dataclass(frozen=True)
class Pass(_Event):
    """Nothing happens; sessions that are idle leave memory."""


Event: TypeAlias = (
    Hear
    | Redeliver
    | Say
    | Mirror
    | Clear
    | Aim
    | Link
    | Unlink
    | Pair
    | Unpair
    | Move
    | Undo
    | Retry
    | AddMission
    | RunMission
    | TellLater
    | Fail
    | HoldWire
    | HoldDisk
    | FailDisk
    | CutPower
    | Stop
    | Pass
)
