"""A summary of a conversation that no model makes: what was said, picked and never put anew.

It is what stands for the older part of a conversation where nobody else has summed it up. It says
who took part and when, what was said first and last, what was decided, which questions are open,
which names and numbers came up, what others said on the agent's behalf, what tools gave, and which
files came. An earlier summary is folded in: the structure stays flat, its older items get fewer
from one time to the next, and some of them always stay while there is room.

Every line but the first and the headings begins with `- ` and is one item. What somebody said is
the end of its line, behind who said it. So it cannot pass for another item, for a heading, or for
a line of the runtime, which begins with a bracket.

It repeats what was said, word for word: a password that was told to the agent may stand in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from .extract_fold import DASH, HEADINGS, SEPARATOR, numbered
from .extract_gather import Gathered
from .extract_room import Demand, Item, choose, fitted, shares
from .extract_text import clipped
from .shown import Message

__all__ = ["LOOKED_AT_CHARS", "extract"]

LOOKED_AT_CHARS: Final = 400_000
"""About how much text is looked at. Where there is more, the longest messages are looked at in
part, in their beginnings and ends: so a summary takes no longer than that, whatever is pasted.
"""
_LEAST_LOOKED_AT: Final = 200
"""Characters of each message that are looked at however many there are."""
_LINE_CHARS: Final = 160
"""Longest line of names and numbers, but for a single one that is longer."""
_MOST_NAMES: Final = 2_000
_OVERHEAD: Final = len(DASH) + 1
_SHARES: Final = {
    "first": 16,
    "decisions": 20,
    "earlier": 40,
    "facts": 18,
    "notes": 16,
    "questions": 8,
    "names": 14,
    "last": 8,
    "calls": 8,
    "files": 4,
    "people": 4,
}
"""How the room is divided; in a small one, the last sections are left out."""


def extract(messages: Sequence[Message], max_chars: int) -> str:
    """A summary of `messages` in at most `max_chars` characters; empty only if there are none.

    The same messages give the same summary. Period, counts and who took part do not depend on the
    order of the messages. It takes time in proportion to their texts, holds valid Unicode only,
    and raises nothing, whatever the texts hold.

    Args:
        messages: oldest first. Those of kind `summary` are folded in; the system prompt, of kind
            `system`, is left out.
        max_chars: 200 or more, to say something of use; at least 1 is given.
    """
    if not messages:
        return ""
    gathered = Gathered()
    for message in messages:
        if message.kind == "summary":
            gathered.fold(message.text[: LOOKED_AT_CHARS // 2])
    most = _cap([len(message.text) for message in messages], LOOKED_AT_CHARS)
    for message in messages:
        gathered.add(message, most)
    return _Summary(gathered, max(max_chars, 1)).text()


def _cap(lengths: Iterable[int], room: int) -> int:
    """How many characters of a message may be looked at, for all to fit into `room`."""
    ordered = sorted(lengths)
    for at, length in enumerate(ordered):
        share = room // (len(ordered) - at)
        if length > share:
            return max(share, _LEAST_LOOKED_AT)
        room -= length
    return ordered[-1]


class _Summary:
    """A summary while its sections are filled."""

    def __init__(self, gathered: Gathered, max_chars: int) -> None:
        self._max_chars = max_chars
        self._gathered = gathered
        self._shown = ""
        """What is shown already, to say nothing twice."""
        self._lines: dict[str, list[str]] = {}
        self._items = self._candidates()

    def text(self) -> str:
        """The summary."""
        head = clipped(self._gathered.folded.period.text(), self._max_chars)
        room = self._max_chars - len(head)
        sections = [section for section in _SHARES if self._items.get(section)]
        demands = [Demand(self._demand(section, room), _SHARES[section]) for section in sections]
        left = 0
        for section, given in zip(sections, shares(demands, room), strict=True):
            left += given
            left -= self._fill(section, left)
        lines = [head]
        for section, heading in HEADINGS.items():
            if section in self._lines:
                lines += [heading, *(f"{DASH}{line}" for line in self._lines[section])]
        return "\n".join(lines)

    def _candidates(self) -> dict[str, list[Item]]:
        gathered = self._gathered
        items = {section: list(found.values()) for section, found in gathered.items.items()}
        first = {item.text for item in items.get("first", [])}
        people = sorted(gathered.folded.people.items(), key=lambda one: (-one[1], one[0]))
        return items | {
            "people": [Item(f"{label}: {numbered(count, 'message')}") for label, count in people],
            "names": _heaviest(gathered.terms),
            "questions": gathered.questions,
            "last": [item for item in gathered.last.values() if item.text not in first],
        }

    def _demand(self, section: str, room: int) -> int:
        """What a section takes, as far as there is room for it."""
        chars = len(HEADINGS[section]) + 1
        for item in self._items[section]:
            if chars >= room:
                break
            chars += len(item.text) + _OVERHEAD
        for group, count in self._gathered.folded.more.get(section, {}).items():
            chars += len(_more(group, count)) + _OVERHEAD
        return min(chars, room)

    def _fill(self, section: str, given: int) -> int:
        """Choose the items of a section; how many of the `given` characters it takes."""
        heading = len(HEADINGS[section]) + 1
        room = given - heading
        items = self._items[section]
        more = self._gathered.folded.more.get(section, {})
        kept_free = self._for_counts(items, more, room)
        match section:
            case "people" | "first":
                places = _greedy(items, range(len(items)), room)
            case "last":
                new = [at for at, item in enumerate(items) if not self._is_shown(item.said)]
                places = _greedy(items, reversed(new), room)
            case "questions":
                places = _greedy(items, range(len(items) - 1, -1, -1), room)
            case _:
                places = choose(items, room - kept_free, _OVERHEAD, self._is_shown)
        chosen = {at: items[at] for at in places}
        if not chosen and section != "names":
            chosen = self._cut(section, items, room)
        lines = [item.text for item in chosen.values()]
        if section == "names":
            lines = _packed(lines)
        if kept_free or more:
            left_out = dict(more)
            for at in set(range(len(items))).difference(chosen):
                if items[at].group:
                    left_out[items[at].group] = left_out.get(items[at].group, 0) + 1
            lines = self._counts(left_out, room - _taken(lines)) + lines
        if not lines:
            return 0
        self._lines[section] = lines
        self._shown = "\n".join([self._shown, *lines])
        return heading + _taken(lines)

    def _is_shown(self, said: str) -> bool:
        return said.strip("…") in self._shown

    def _for_counts(self, items: Sequence[Item], more: dict[str, int], room: int) -> int:
        """Characters that are kept free to say how many were left out."""
        shown = [*(item.text for item in items), *(_more(*group) for group in more.items())]
        if _taken(shown) <= room:
            return 0
        groups = more.keys() | {item.group for item in items if item.group}
        return min(room // 3, _taken([_more(group, 99_999) for group in groups]))

    def _cut(self, section: str, items: Sequence[Item], room: int) -> dict[int, Item]:
        """The item that matters most, by its place, cut so that it fits."""
        new = [at for at, item in enumerate(items) if not self._is_shown(item.said or item.text)]
        if not new:
            return {}
        place = new[0] if section == "first" else max(new, key=lambda at: (items[at].weight, at))
        cut = fitted(items[place], room - _OVERHEAD)
        return {place: cut} if cut is not None else {}

    def _counts(self, left_out: dict[str, int], room: int) -> list[str]:
        """How many more there were of each group, as far as there is room to say so."""
        lines: list[str] = []
        for group, count in sorted(left_out.items(), key=lambda one: (-one[1], one[0])):
            line = _more(group, count)
            if len(line) + _OVERHEAD > room:
                break
            room -= len(line) + _OVERHEAD
            lines.append(line)
        return lines


def _heaviest(names: dict[str, int]) -> list[Item]:
    """Those that are worth most, at most `_MOST_NAMES` of them, in their order."""
    kept = set(sorted(names, key=names.__getitem__, reverse=True)[:_MOST_NAMES])
    return [Item(name, weight) for name, weight in names.items() if name in kept]


def _more(group: str, count: int) -> str:
    return f"{count} more: {group}"


def _taken(lines: Sequence[str]) -> int:
    return sum(len(line) + _OVERHEAD for line in lines)


def _greedy(items: Sequence[Item], order: Iterable[int], room: int) -> list[int]:
    """The places of the first that fit, in the order of the items."""
    places: list[int] = []
    for at in order:
        room -= len(items[at].text) + _OVERHEAD
        if room < 0:
            break
        places.append(at)
    return sorted(places)


def _packed(names: Sequence[str]) -> list[str]:
    """Names and numbers, several to a line."""
    lines: list[str] = []
    for name in names:
        if lines and len(lines[-1]) + len(SEPARATOR) + len(name) <= _LINE_CHARS:
            lines[-1] += SEPARATOR + name
        else:
            lines.append(name)
    return lines
