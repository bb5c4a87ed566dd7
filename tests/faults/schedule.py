"""The schedule of a seed: which events happen, and when. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from turnkeeper.testing import Fault

from .events import (
    AddMission,
    Aim,
    Clear,
    CutPower,
    Event,
    Fail,
    FailDisk,
    Hear,
    HoldDisk,
    HoldWire,
    Link,
    Mirror,
    Move,
    Pair,
    Pass,
    Redeliver,
    Retry,
    RunMission,
    Say,
    Stop,
    TellLater,
    Undo,
    Unlink,
    Unpair,
)
from .people import (
    GRANTED,
    MISSIONS,
    NAMES,
    PEOPLE,
    PLACES,
    PLATFORMS,
    STRANGE,
    USERS,
    Person,
    places_of,
    show,
)

__all__ = ["make_schedule"]


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
        who = rng.choice(PEOPLE)
        return Hear(
            self.after_s(),
            self.next_id(),
            who,
            rng.choice(places_of(who)),
            self.behaviour(),
            rng.randrange(20) if rng.random() < 0.2 else None,
        )

    def behaviour(self) -> str:
        rng = self.rng
        match rng.choices(
            ("answer", "silence", "raise", "think", "hang", "say", "user", "here", "work", "long"),
            (30, 4, 4, 6, 3, 12, 6, 5, 3, 8),
        )[0]:
            case "raise":
                return f"raise {rng.choice((1, 1, 2, 9))}"
            case "think":
                return f"think {rng.choice((0.01, 1, 7))}"
            case "say":
                place = rng.choice([*PLACES, GRANTED, STRANGE])
                return f"say {show(place)}"
            case "user":
                return f"tell {rng.choice([*USERS, 'telegram:2', 'slack:1'])}"
            case plain:
                return plain

    def say(self) -> Say:
        rng, number = self.rng, self.next_number()
        session = rng.randrange(12)
        match rng.randrange(5):
            case 0:
                return Say(self.after_s(), number, session)
            case 1:
                user = rng.choice([*USERS, "telegram:2", "slack:1"])
                return Say(self.after_s(), number, session, user=user)
            case _:
                place = rng.choice([*PLACES, *PLACES, GRANTED, GRANTED, STRANGE])
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
        return Move(self.after_s(), self.next_number(), rng.choice([*PLACES, GRANTED]), session)

    def retry(self) -> Retry:
        rng = self.rng
        return Retry(
            self.after_s(),
            self.next_number(),
            rng.randrange(20),
            rng.random() < 0.3,
            rng.random() < 0.5,
        )

    def tell_later(self) -> TellLater:
        rng = self.rng
        status: Literal["delivered", "read", "failed"] = rng.choice(("delivered", "read", "failed"))
        return TellLater(self.after_s(), self.next_number(), rng.randrange(40), status)

    def add_mission(self) -> AddMission:
        rng = self.rng
        return AddMission(
            self.after_s(),
            self.next_number(),
            rng.choice(MISSIONS),
            rng.choice((60, 3600)),
            self.behaviour(),
            rng.choice((None, *PLATFORMS)),
        )

    def run_mission(self) -> RunMission:
        act: Literal["run", "pause", "resume"] = self.rng.choice(("run", "run", "pause", "resume"))
        return RunMission(self.after_s(), self.next_number(), self.rng.choice(MISSIONS), act)

    def instance(self) -> str:
        return self.rng.choice(list(PLATFORMS))

    def person(self) -> Person:
        return self.rng.choice(PEOPLE)

    def kinds(self) -> list[tuple[int, Callable[[], Event]]]:
        """Every kind of event, and how often it comes."""
        rng, after_s, number = self.rng, self.after_s, self.next_number
        return [
            (40, self.hear),
            (18, self.say),
            (5, lambda: Redeliver(after_s(), rng.randrange(40), rng.random() < 0.2)),
            (3, lambda: Mirror(after_s(), number(), rng.randrange(12))),
            (3, lambda: Clear(after_s(), number(), rng.randrange(12))),
            (3, lambda: Aim(after_s(), number(), rng.randrange(12), self.instance())),
            (4, lambda: Link(after_s(), number(), self.person(), rng.choice(USERS))),
            (2, lambda: Unlink(after_s(), number(), self.person())),
            (2, lambda: Pair(after_s(), number(), self.person(), rng.choice(NAMES))),
            (2, lambda: Unpair(after_s(), number(), self.person())),
            (4, self.move),
            (2, lambda: Undo(after_s(), number())),
            (4, self.retry),
            (3, self.tell_later),
            (4, self.add_mission),
            (4, self.run_mission),
            (9, self.fail),
            (3, lambda: HoldWire(after_s(), self.instance(), rng.choice((0.1, 2.0, 15.0)))),
            (3, lambda: HoldDisk(after_s(), rng.choice((0.01, 0.5, 4.0)))),
            (5, self.cut),
            (1, lambda: FailDisk(after_s())),
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
