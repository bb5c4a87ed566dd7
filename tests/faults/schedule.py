"""What happens in a fault run: people, places, and a schedule of events that a seed makes.

Pure. A schedule names nothing that only a running world knows: sessions, deliveries and earlier
messages are picked by number, counted round, when their turn comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, NamedTuple, TypeAlias

from turnkeeper.actors.messages import Address, Instance
from turnkeeper.testing import Fault

__all__ = [
    "AGENT_OF",
    "CONFIG",
    "GRANTED",
    "PLATFORMS",
    "STRANGE",
    "Aim",
    "Clear",
    "CutPower",
    "Event",
    "Fail",
    "Hear",
    "HoldDisk",
    "HoldWire",
    "Link",
    "Mirror",
    "Move",
    "Pair",
    "Pass",
    "Person",
    "Redeliver",
    "Retry",
    "Say",
    "Stop",
    "Undo",
    "Unlink",
    "Unpair",
    "human_of",
    "make_schedule",
    "show",
]

PLATFORMS: Final = {
    "tg": ("telegram", "never"),
    "dc": ("discord", "same_id"),
    "sl": ("slack", "labelled"),
}
"""Instance -> its platform, and what may be done about a delivery whose answer was lost."""
AGENT_OF: Final = {"tg": "main", "dc": "main", "sl": "ops"}
GRANTED: Final = Address(Instance("tg"), "announce")
"""Belongs to nobody at first; every agent may speak there."""
STRANGE: Final = Address(Instance("tg"), "nowhere")
"""Belongs to nobody, and nobody may speak there."""
CONFIG: Final = {
    "session": {"idle_after_s": 30.0, "turn_timeout_s": 1e6, "failure_notice": "sorry"},
    "runtime": {"delivery_max_attempts": 3},
    "channels": {"tg": {"send_to": [GRANTED.conversation]}, "sl": {"agent": "ops"}},
}


class Person(NamedTuple):
    platform: str
    user_id: str

    def __str__(self) -> str:
        return f"{self.platform}:{self.user_id}"


_PEOPLE: Final = [
    Person("telegram", "1"),
    Person("telegram", "2"),
    Person("discord", "1"),
    Person("slack", "1"),
]
_USERS: Final = ["alice", "telegram:1", "discord:1"]
_NAMES: Final = ["family", "s1", "s2", "s3"]


def _home(person: Person) -> Instance:
    return next(Instance(name) for name, (kind, _) in PLATFORMS.items() if kind == person.platform)


def _dm(person: Person) -> Address:
    return Address(_home(person), f"dm {person.user_id}")


def human_of(place: Address) -> Person | None:
    """Whose direct conversation a place is; None for a group."""
    return next((person for person in _PEOPLE if _dm(person) == place), None)


def _places_of(person: Person) -> list[Address]:
    home = _home(person)
    places = [_dm(person), _dm(person), Address(home, "group"), Address(home, "group", "topic")]
    return [*places, GRANTED] if home == GRANTED.instance else places


_PLACES: Final = [*map(_dm, _PEOPLE), *(Address(Instance(name), "group") for name in PLATFORMS)]


def show(place: Address) -> str:
    """A place, in one word."""
    return "/".join(part for part in place if part is not None).replace(" ", "-")


# -- events ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Event:
    after_s: float
    """Seconds since the event before; 0: at once, while that one is still being worked on."""


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
    session: int


@dataclass(frozen=True)
class Aim(_Event):
    """The active channel is set to where a human last wrote at an instance."""

    session: int
    instance: str


@dataclass(frozen=True)
class Link(_Event):
    who: Person
    user: str


@dataclass(frozen=True)
class Unlink(_Event):
    who: Person


@dataclass(frozen=True)
class Pair(_Event):
    who: Person
    session_id: str


@dataclass(frozen=True)
class Unpair(_Event):
    who: Person


@dataclass(frozen=True)
class Move(_Event):
    place: Address
    session: int | None
    """None: where the rules would put it."""


@dataclass(frozen=True)
class Undo(_Event):
    """The newest change is taken back."""


@dataclass(frozen=True)
class Retry(_Event):
    """The operator opens a failed or unknown delivery again."""

    pick: int
    mark_duplicate: bool


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
    | Fail
    | HoldWire
    | HoldDisk
    | CutPower
    | Stop
    | Pass
)


# -- schedules -------------------------------------------------------------------------------------


@dataclass
class _Maker:
    rng: Random
    messages: int = 0
    sends: int = 0

    def next_id(self) -> str:
        self.messages += 1
        return f"m{self.messages}"

    def next_number(self) -> int:
        self.sends += 1
        return self.sends

    def after_s(self) -> float:
        rng = self.rng
        return rng.choice((0.0, 0.0, 0.0, round(rng.uniform(0.001, 1), 3), rng.uniform(1, 8) // 1))

    def hear(self) -> Hear:
        rng = self.rng
        who = rng.choice(_PEOPLE)
        return Hear(
            self.after_s(),
            self.next_id(),
            who,
            rng.choice(_places_of(who)),
            self.behaviour(),
            rng.randrange(20) if rng.random() < 0.2 else None,
        )

    def behaviour(self) -> str:
        rng = self.rng
        match rng.choices(
            ("answer", "silence", "raise", "think", "hang", "say", "user", "here", "work"),
            (30, 4, 4, 6, 3, 12, 6, 5, 3),
        )[0]:
            case "raise":
                return f"raise {rng.choice((1, 1, 2, 9))}"
            case "think":
                return f"think {rng.choice((0.01, 1, 7))}"
            case "say":
                place = rng.choice([*_PLACES, GRANTED, STRANGE])
                return "say " + " ".join(part.replace(" ", "-") for part in place if part)
            case "user":
                return f"tell {rng.choice([*_USERS, 'telegram:2', 'slack:1'])}"
            case plain:
                return plain

    def say(self) -> Say:
        rng, number = self.rng, self.next_number()
        session = rng.randrange(12)
        match rng.randrange(5):
            case 0:
                return Say(self.after_s(), number, session)
            case 1:
                user = rng.choice([*_USERS, "telegram:2", "slack:1"])
                return Say(self.after_s(), number, session, user=user)
            case _:
                place = rng.choice([*_PLACES, *_PLACES, GRANTED, GRANTED, STRANGE])
                return Say(self.after_s(), number, session, to=place)

    def fail(self) -> Fail:
        rng = self.rng
        fault: Fault | Literal["broken"] = rng.choice(
            (
                "refused",
                "timeout_before_send",
                "timeout_after_send",
                "timeout_after_send",
                "rate_limited",
                "rejected",
                "broken",
            )
        )
        pause_s = rng.choice((None, 0.5, 20.0)) if fault == "rate_limited" else None
        instance = rng.choice(list(PLATFORMS))
        return Fail(self.after_s(), instance, fault, rng.choice((1, 1, 2, 4)), pause_s)

    def cut(self) -> CutPower:
        rng = self.rng
        return CutPower(self.after_s(), rng.choice((0, 0, 1, 2, 3, 5)), rng.random() < 0.6)

    def move(self) -> Move:
        rng = self.rng
        session = rng.randrange(12) if rng.random() < 0.7 else None
        return Move(self.after_s(), rng.choice([*_PLACES, GRANTED]), session)

    def instance(self) -> str:
        return self.rng.choice(list(PLATFORMS))

    def person(self) -> Person:
        return self.rng.choice(_PEOPLE)

    def kinds(self) -> list[tuple[int, Callable[[], Event]]]:
        """Every kind of event, and how often it comes."""
        rng, after_s = self.rng, self.after_s
        return [
            (40, self.hear),
            (18, self.say),
            (5, lambda: Redeliver(after_s(), rng.randrange(40), rng.random() < 0.2)),
            (3, lambda: Mirror(after_s(), self.next_number(), rng.randrange(12))),
            (3, lambda: Clear(after_s(), rng.randrange(12))),
            (3, lambda: Aim(after_s(), rng.randrange(12), self.instance())),
            (4, lambda: Link(after_s(), self.person(), rng.choice(_USERS))),
            (2, lambda: Unlink(after_s(), self.person())),
            (2, lambda: Pair(after_s(), self.person(), rng.choice(_NAMES))),
            (2, lambda: Unpair(after_s(), self.person())),
            (4, self.move),
            (2, lambda: Undo(after_s())),
            (4, lambda: Retry(after_s(), rng.randrange(20), rng.random() < 0.5)),
            (9, self.fail),
            (3, lambda: HoldWire(after_s(), self.instance(), rng.choice((0.1, 2.0, 15.0)))),
            (3, lambda: HoldDisk(after_s(), rng.choice((0.01, 0.5, 4.0)))),
            (5, self.cut),
            (2, lambda: Stop(after_s())),
            (2, lambda: Pass(after_s() + 61.0)),
        ]


def make_schedule(seed: int) -> list[Event]:
    """The schedule of a seed: 10 to 36 events, the first of which is a human's."""
    rng = Random(seed)
    maker = _Maker(rng)
    kinds = maker.kinds()
    weights = [weight for weight, _ in kinds]
    more = rng.randrange(9, 36)
    return [maker.hear(), *(rng.choices(kinds, weights)[0][1]() for _ in range(more))]
