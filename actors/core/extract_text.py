"""A text as the sentences that it is made of, each in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

__all__ = ["MAX_PIECE_CHARS", "clipped", "is_question", "one_line", "pieces", "unclipped"]

MAX_PIECE_CHARS: Final = 400
"""Longest piece: a text that never ends a sentence is cut there. So whatever looks for something
in a piece takes a bounded time, and never holds the interpreter for long.
"""

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufeff\uffa0\U000e0000-\U000e0fff]+"
)
"""What shows nothing, controls a terminal, turns the direction of writing, or is half a letter."""
_END: Final = re.compile(r"(?<=[.!?…\u061f\u037e\u0589\u0964])\s+|(?<=[。！？｡])")
_SHORTENED: Final = re.compile(
    r"(?:^|[\s(])(?:\d{1,2}|\w|[a-z]\.[a-z]|mr|mrs|ms|dr|prof|st|no|nr|tel|etc|ca|bzw|vs|approx"
    r"|art|str|sr|sra|mme|inc|г|ул)\.$",
    re.IGNORECASE,
)
"""What ends with a full stop in the middle of a sentence, a German day of the month included."""
_ASKING: Final = ("?", "？", "\u061f", "\u037e", "\u2047", "\u055e", "か。", "吗", "呢")
_CLOSING: Final = " \"'”’»)]*_"


def one_line(text: str) -> str:
    """`text` in one line of valid Unicode: white space is folded, and what is unseen is left out.

    What joins letters (as in Persian, or in emoji) stays.
    """
    return " ".join(_UNSEEN.sub("", text).split())


def clipped(text: str, most: int, around: str = "") -> str:
    """`text` in at most `most` characters, and `…` where something was cut off.

    The beginning is shown, unless `around` stands behind it: then what is about that.
    """
    if len(text) <= most:
        return text
    if most < 4:
        return "…"[:most]
    at = text.find(around) if around else 0
    if at + len(around) < most:
        return text[: most - 1].rstrip() + "…"
    start = max(0, min(at + len(around) + 20 - most, at - 2, len(text) - most + 1))
    shown = text[start : start + most - 2]
    return f"…{shown.strip()}{'…' if start + most - 2 < len(text) else ''}"


def unclipped(text: str) -> str:
    """`text` without what may be a part of a word only: what stands next to a `…` at its ends."""
    if text.startswith("…"):
        text = text[1:].partition(" ")[2]
    return text[:-1].rpartition(" ")[0] if text.endswith("…") else text


def pieces(text: str) -> Iterator[str]:
    """The sentences of `text`, each in one line of at most `MAX_PIECE_CHARS`.

    A line break ends a sentence. Blocks of code between two fences are left out.
    """
    lines = text.splitlines()
    fences = [at for at, line in enumerate(lines) if line.startswith("```")]
    if len(fences) % 2:
        fences.pop()  # it opens what is never closed
    opening, coded = set(fences[::2]), set(fences)
    code = False
    for at, line in enumerate(lines):
        if at in coded:
            code = at in opening
        elif not code:
            yield from _sentences(line)


def is_question(piece: str) -> bool:
    """Whether a sentence asks, as its last sign says."""
    return piece.rstrip(_CLOSING).endswith(_ASKING)


def _sentences(line: str) -> Iterator[str]:
    for whole in _bounded(one_line(line)):
        held = ""
        for part in _END.split(whole):
            held = f"{held} {part}".strip()
            if held and not _SHORTENED.search(held[-12:]):
                yield held
                held = ""
        if held:
            yield held


def _bounded(line: str) -> Iterator[str]:
    """`line` in parts of `MAX_PIECE_CHARS` at most, cut between two words where that can be."""
    start = 0
    while start < len(line):
        end = start + MAX_PIECE_CHARS
        if end < len(line):
            space = line.rfind(" ", start + MAX_PIECE_CHARS // 2, end)
            end = space if space > 0 else end
        yield line[start:end].strip()
        start = end
