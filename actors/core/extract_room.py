"""Which items of a summary are shown where there is not room for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from zlib import crc32

from ..frozen import fact
from .extract_text import clipped

__all__ = ["Demand", "Item", "choose", "fitted", "shares"]

_LEAST_CHARS: Final = 60
"""A section with less room says nothing that helps."""
_LEAST_ITEM_CHARS: Final = 16


@fact
class Item:
    """One line of a section."""

    text: str
    weight: int = 0
    """The heavier, the sooner it is kept."""
    said: str = ""
    """What of `text` somebody said; it is left out where it is shown already. Empty: all of it."""
    group: str = ""
    """Under what it is counted if it is left out."""


@fact
class Demand:
    """What a section would take."""

    chars: int
    share: int
    """Of the room, in proportion to the shares of the others."""


def shares(demands: Sequence[Demand], room: int) -> list[int]:
    """How many characters each section gets of `room`.

    None gets more than it asks for; what one leaves goes to the others. Where there is too little
    for all, the last go without.
    """
    for count in range(len(demands), 0, -1):
        given = _divided(demands[:count], room)
        if all(
            got >= min(demand.chars, _LEAST_CHARS)
            for got, demand in zip(given, demands, strict=False)
        ):
            return given + [0] * (len(demands) - count)
    return [room] + [0] * (len(demands) - 1) if demands else []


def _divided(demands: Sequence[Demand], room: int) -> list[int]:
    given = [0] * len(demands)
    of_all = sum(demand.share for demand in demands)
    order = sorted(range(len(demands)), key=lambda at: demands[at].chars / demands[at].share)
    for at in order:
        demand = demands[at]
        given[at] = min(demand.chars, room * demand.share // of_all)
        room -= given[at]
        of_all -= demand.share
    return given


def choose(
    items: Sequence[Item], room: int, overhead: int, is_shown: Callable[[str], bool]
) -> list[int]:
    """The places of the items to show, ascending.

    First comes the heaviest one, then in turn the newest, the next heaviest and the oldest, until
    the room is used up. Among equals a checksum decides, which spreads them over the whole time.
    So what is old gets thinner from one summary to the next, and never goes altogether.

    Args:
        items: oldest first.
        room: characters.
        overhead: characters that an item takes beside its text.
        is_shown: whether this was said in the summary already.
    """
    chosen: set[int] = set()
    left = room
    for at in _in_turn(items):
        cost = len(items[at].text) + overhead
        if at in chosen or cost > left or is_shown(items[at].said or items[at].text):
            continue
        chosen.add(at)
        left -= cost
        if left < overhead:
            break
    return sorted(chosen)


def _in_turn(items: Sequence[Item]) -> Iterator[int]:
    heaviest = sorted(
        range(len(items)),
        key=lambda at: (-items[at].weight, crc32(items[at].text.encode("utf-8", "replace"))),
    )
    if items:
        yield max(range(len(items)), key=lambda at: (items[at].weight, at))
    for newest, heavy, oldest in zip(
        range(len(items) - 1, -1, -1), heaviest, range(len(items)), strict=True
    ):
        yield newest
        yield heavy
        yield oldest


def fitted(item: Item, room: int) -> Item | None:
    """`item` cut to `room` characters; None if too little of it would be left."""
    if room < _LEAST_ITEM_CHARS:
        return None
    return Item(clipped(item.text, room), item.weight, item.said, item.group)
