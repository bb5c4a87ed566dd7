"""Who takes part in a fault run, and where: people, platforms, places and their configuration."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from turnkeeper.actors.messages import Address, Instance

__all__ = [
    "CONFIG",
    "GRANTED",
    "MISSIONS",
    "NAMES",
    "PEOPLE",
    "PLACES",
    "PLATFORMS",
    "STRANGE",
    "USERS",
    "Person",
    "human_of",
    "place_named",
    "places_of",
    "show",
]

_AfterUnknown: TypeAlias = Literal["never", "same_id", "labelled", "reconcile"]

PLATFORMS: Final[dict[str, tuple[str, tuple[_AfterUnknown, ...]]]] = {
    "tg": ("telegram", ("never", "never", "reconcile")),
    "dc": ("discord", ("same_id",)),
    "sl": ("slack", ("labelled", "labelled", "reconcile")),
}
"""Instance -> its platform, and what may be done about a delivery whose answer was lost."""
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


PEOPLE: Final = [
    Person("telegram", "1"),
    Person("telegram", "2"),
    Person("discord", "1"),
    Person("slack", "1"),
]
USERS: Final = ["alice", "telegram:1", "discord:1"]
MISSIONS: Final = ["daily", "hourly"]
NAMES: Final = ["family", "s1", "s2", "s3"]


def _home(person: Person) -> Instance:
    return next(Instance(name) for name, (kind, _) in PLATFORMS.items() if kind == person.platform)


def _dm(person: Person) -> Address:
    return Address(_home(person), f"dm {person.user_id}")


def human_of(place: Address) -> Person | None:
    """Whose direct conversation a place is; None for a group."""
    return next((person for person in PEOPLE if _dm(person) == place), None)


def places_of(person: Person) -> list[Address]:
    """Where somebody writes; twice as often directly as in each group."""
    home = _home(person)
    places = [_dm(person), _dm(person), Address(home, "group"), Address(home, "group", "topic")]
    return [*places, GRANTED] if home == GRANTED.instance else places


PLACES: Final = [*map(_dm, PEOPLE), *(Address(Instance(name), "group") for name in PLATFORMS)]


def show(place: Address) -> str:
    """A place, in one word."""
    return "/".join(part for part in place if part is not None).replace(" ", "-")


def place_named(shown: str) -> Address:
    """The place that `show` has shown."""
    instance, conversation, *thread = shown.replace("-", " ").split("/")
    return Address(Instance(instance), conversation, *thread)
