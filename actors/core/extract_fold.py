"""An earlier summary, taken apart again, so that the next one folds it in and does not nest it.

What `extract` wrote is read back section by section. Any other text, such as a model's summary, is
kept sentence by sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from .extract_text import one_line, pieces

__all__ = ["DASH", "HEADINGS", "SEPARATOR", "Folded", "Period", "group_of", "numbered", "unfold"]

DASH: Final = "- "
SEPARATOR: Final = " · "
"""Between names and numbers, of which several stand in one line."""

HEADINGS: Final = {
    "people": "Took part:",
    "earlier": "Summarised before:",
    "first": "Said first:",
    "decisions": "Decisions:",
    "facts": "Facts:",
    "names": "Names and numbers:",
    "notes": "Notes:",
    "calls": "Calls of tools:",
    "files": "Files:",
    "questions": "Open questions:",
    "last": "Said last:",
}
"""The sections in the order in which they are shown."""
_SECTIONS: Final = {heading: section for section, heading in HEADINGS.items()}

_MINUTE: Final = r"(\d{4}-\d\d-\d\d \d\d:\d\d)"
_HEAD: Final = re.compile(
    rf"Conversation(?: (?:from {_MINUTE} to|at) {_MINUTE} UTC)?: (\d{{1,12}}) messages?, "
    r"(\d{1,12}) calls? of tools?, (\d{1,12}) notes?(, and what was summarised before)?\."
)
_COUNTED: Final = re.compile(r"(.{1,400}): (\d{1,12}) messages?", re.ASCII)
_GROUP: Final = r'([\w.-]{1,64}|"(?:[^"\\]|\\.){0,400}")'
_MORE: Final = re.compile(rf"(\d{{1,12}}) more: {_GROUP}", re.ASCII)
_CALL: Final = re.compile(rf"\d{{4}}-\d\d-\d\d {_GROUP}[(]", re.ASCII)
_NOTE: Final = re.compile(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d by {_GROUP}(?=[: ])", re.ASCII)
_HEADER: Final = re.compile(r"\[.*\]")


@dataclass(slots=True)
class Period:
    """From when to when, and how much was said. Times are `2026-03-01 09:12`, in UTC."""

    begin: str = ""
    end: str = ""
    messages: int = 0
    calls: int = 0
    notes: int = 0
    more: bool = False
    """Something was summarised that is not counted here."""

    def add(self, begin: str, end: str) -> None:
        """Let it hold the time from `begin` to `end`."""
        self.begin = min(self.begin or begin, begin)
        self.end = max(self.end, end)

    def text(self) -> str:
        """The first line of a summary."""
        span = f" from {self.begin} to {self.end} UTC" if self.begin else ""
        if self.begin == self.end:
            span = f" at {self.end} UTC" if self.end else ""
        more = ", and what was summarised before" if self.more else ""
        return (
            f"Conversation{span}: {numbered(self.messages, 'message')}, "
            f"{numbered(self.calls, 'call')} of tools, {numbered(self.notes, 'note')}{more}."
        )


@dataclass(slots=True)
class Folded:
    """What an earlier summary, or several, said."""

    period: Period = field(default_factory=Period)
    people: dict[str, int] = field(default_factory=dict[str, int])
    items: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """By section, without what is in `people` and `more`."""
    more: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """By section: how many were left out of each group."""


def numbered(count: int, noun: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def group_of(section: str, text: str) -> str:
    """Under what an item of notes or calls is counted; empty if it is none."""
    found = {"notes": _NOTE, "calls": _CALL}[section].match(text)
    return found[1] if found is not None else ""


def unfold(text: str, folded: Folded) -> None:
    """Add to `folded` what a message of kind `summary` says."""
    section = ""
    counted = False
    for raw in _unbarred(text):
        line = one_line(raw)
        head = None if counted else _HEAD.fullmatch(line)
        if head is not None:
            counted = True
            _add_head(folded.period, head)
        elif line in _SECTIONS:
            section = _SECTIONS[line]
        elif section and line.startswith(DASH):
            _add_item(folded, section, line.removeprefix(DASH))
        elif line:
            section = ""
            earlier = folded.items.setdefault("earlier", [])
            earlier.extend(pieces(line.removeprefix(DASH)))
    folded.period.more |= not counted


def _unbarred(text: str) -> list[str]:
    """The lines of a summary as it was before it was shown behind bars, under a header."""
    lines = text.splitlines()
    if any(line.startswith("|") for line in lines[1:]) and _HEADER.fullmatch(lines[0]):
        del lines[0]
    if not all(line.startswith("|") for line in lines):
        return lines
    return [line[1:].removeprefix(" ") for line in lines]


def _add_head(period: Period, head: re.Match[str]) -> None:
    begin, end, messages, calls, notes, more = head.groups()
    if end:
        period.add(begin or end, end)
    period.messages += int(messages)
    period.calls += int(calls)
    period.notes += int(notes)
    period.more |= more is not None


def _add_item(folded: Folded, section: str, text: str) -> None:
    if section == "people":
        counted = _COUNTED.fullmatch(text)
        if counted is not None:
            folded.people[counted[1]] = folded.people.get(counted[1], 0) + int(counted[2])
        return
    left_out = _MORE.fullmatch(text) if section in ("notes", "calls") else None
    if left_out is not None:
        groups = folded.more.setdefault(section, {})
        groups[left_out[2]] = groups.get(left_out[2], 0) + int(left_out[1])
    elif section == "names":
        folded.items.setdefault(section, []).extend(text.split(SEPARATOR))
    elif text:
        folded.items.setdefault(section, []).append(text)
