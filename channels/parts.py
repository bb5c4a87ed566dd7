"""A long text in parts that a platform takes. Pure: the same text gives the same parts.

A retry after a restart splits again and counts on that, so whoever changes what is decided here
changes deliveries that are on their way.

A part ends where a reader would pause: at a blank line, else a line break, else the end of a
sentence, else a space, each only if it is in the second half of what fits; else anywhere, but never
between a letter and its marks or inside an emoji that fits into one part. Nor does it end inside a
link, an address or a piece of code in a line, if that takes no more than three quarters of a part:
it goes whole into the next one, however short this one gets.

What is lost is white space alone: the run of spaces and line breaks at which a text is cut, and
those at its beginning and end. The indentation of a line that begins a part stays, unless it takes
more than an eighth of the limit. A text that fits stays exactly as it is.

A block of code, between lines of three or more backticks or tildes, goes whole into the next part
if it begins in the second half of one. Where it is cut, the part closes it and the next one opens
it again in the same language; these lines count towards the limit. The block's own last line is
left out where nothing but it would follow. So are blank lines at a block's beginning, if a part
begins with it and they take more than an eighth of the limit; its first line is then written anew.
A block whose first line takes more than half of the limit, or its last more than an eighth, is cut
like other text. So is a block in a quotation.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

from ..actors.frozen import fact
from .parts_wholes import Place, find_wholes

__all__ = ["LANGUAGE", "MIN_LIMIT", "LimitUnit", "split_text", "text_size"]

LimitUnit: TypeAlias = Literal["characters", "utf16", "bytes"]
"""What a platform counts: code points, UTF-16 code units, or bytes of UTF-8."""
MIN_LIMIT: Final = 32
"""Least limit. Half of it for a block's first line, an eighth each for indentation and for the line
that closes the block leave eight bytes, which any two halves of a surrogate pair fit in.
"""

LANGUAGE: Final = re.compile(r"[\w+#.-]{1,32}", re.ASCII)
"""A language, where a block of code begins. Anything else there is shown as a line of it."""

_PAUSES: Final = (
    re.compile(r"(?s:.*)\n[^\S\n]*\n"),
    re.compile(r"(?s:.*)\n"),
    re.compile(r"(?s:.*)(?:[.!?…][\"'”’»)\]*_]*\s|[。！？｡][”’」』）】]*(?=[\s\S]))"),
    re.compile(r"(?s:.*)\s"),
)
"""Up to the last place to pause, the best kind first."""
_OPENING: Final = re.compile(r"^[ \t]*(`{3,}(?=[^`\n]*$)|~{3,})([^\n]*)$", re.MULTILINE)
"""The line that opens a block of code, and its language."""
_CLOSING: Final = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t\r]*$", re.MULTILINE)
"""A line that closes one which was opened with no more of the same."""
_WHITE: Final = re.compile(r"\s*")
_FLAG_LETTERS: Final = "".join(map(chr, range(0x1F1E6, 0x1F200)))
"""Two of them make a flag."""
_JOINER: Final = "\u200d"
_ATTACHED: Final = re.compile(
    "[\u200c\u200d\u0e33\u0eb3\uff9e\uff9f\u1160-\u11ff\ud7b0-\ud7fb\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
)
"""What belongs to the character before it and is no mark: joiners, half-width voice marks, the
vowel AM of Thai and Lao, vowels and ends of Korean syllables, tones of skin, tags of flags.
"""
_PREPENDED: Final = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e]")
"""What belongs to the character behind it: signs over Arabic numbers, a Malayalam R."""
_VIRAMA: Final = 9
"""The class of marks that join the letter before them to the one behind them."""


@fact
class _Block:
    """A block of code, as places in the text."""

    begin: int
    """Of the line that opens it."""
    body: int
    close: int
    """Of the line that closes it; the end of the text if none does."""
    end: int
    """After the last backtick; the end of the text if none closes it."""
    opening: str
    """The line that opens it again."""
    closing: str
    """The line that closes it early."""


def text_size(text: str, unit: LimitUnit) -> int:
    """How much `text` takes. A lone surrogate is one unit of UTF-16, or three bytes."""
    if unit == "characters":
        return len(text)
    if unit == "utf16":
        return len(text.encode("utf-16-le", "surrogatepass")) // 2
    return len(text.encode("utf-8", "surrogatepass"))


def split_text(text: str, limit: int, unit: LimitUnit = "characters") -> tuple[str, ...]:
    """`text` in parts of at most `limit`, in order; none of them is white space only.

    A text of white space has no parts. The time grows with the length of the text, whatever it is.

    Args:
        text: any string, lone surrogates included.
        limit: most that one part may take.
        unit: in which `limit` counts.

    Raises:
        ValueError: `limit` is less than `MIN_LIMIT`.
    """
    if limit < MIN_LIMIT:
        raise ValueError(f"a limit of {limit} is too small to split a text; least is {MIN_LIMIT}")
    if not text or text.isspace():
        return ()
    if len(text) <= limit and text_size(text, unit) <= limit:
        return (text,)
    return tuple(_Splitter(text.rstrip(), limit, unit).parts())


class _Splitter:
    """A text that ends in something visible, on its way into parts."""

    __slots__ = (
        *("_begins", "_blocks", "_limit", "_quiet", "_reserve", "_text", "_unit"),
        *("_whole_begins", "_wholes"),
    )

    def __init__(self, text: str, limit: int, unit: LimitUnit) -> None:
        self._text = text
        self._limit = limit
        self._unit: LimitUnit = unit
        self._blocks = [
            block
            for block in _blocks(text)
            if self._size(block.begin, block.body) <= limit // 2
            and len(block.closing) <= limit // 8
        ]
        self._begins = [block.begin for block in self._blocks]
        self._reserve = max((len(block.closing) for block in self._blocks), default=0)
        """Room that is kept in every part but the last, to close a block."""
        room = limit - self._reserve - limit // 8  # what follows an indentation has no more
        self._wholes = [whole for whole in self._found() if self._size(*whole) <= room]
        self._whole_begins = [begin for begin, _ in self._wholes]
        self._quiet = _quieted(text, self._wholes)
        """The text, with no place to pause inside of what is not to be cut."""

    def parts(self) -> Iterator[str]:
        """The parts, in order."""
        text = self._text
        at = 0
        while at < len(text):
            start, opening = self._entry(at)
            room = self._limit - text_size(opening, self._unit)
            if self._furthest(start, room) == len(text):
                yield opening + text[start:]
                return
            at, block = self._end(start, self._furthest(start, room - self._reserve))
            if block is None:
                yield opening + text[start:at]
                continue
            yield opening + text[start:at] + block.closing
            if self._visible(at) >= block.close:
                at = block.end

    def _found(self) -> Iterator[Place]:
        """What is not to be cut, outside of blocks of code."""
        at = 0
        for block in self._blocks:
            yield from find_wholes(self._text, at, block.begin)
            at = block.end
        yield from find_wholes(self._text, at, len(self._text))

    def _entry(self, at: int) -> tuple[int, str]:
        """Where the part begins that follows what ended at `at`, and what to put before it."""
        text = self._text
        seen = self._visible(at)
        start = self._line_start(at, seen)
        if start is None and at == 0:
            start = 0
        if start is None:
            # a mark may stand on a space, which then is a letter like others
            start = seen - 1 if at < seen and _attached(text, at, seen) else seen
        opening = ""
        block = self._block_at(seen)
        if block is not None and seen < block.body:
            seen = self._visible(block.body)
            if self._size(block.body, seen) <= self._limit // 8:
                return start, opening
            start = self._line_start(block.body, seen) or block.body
        if block is not None:
            opening = block.opening
        if self._size(start, seen) > self._limit // 8:
            start = seen
        return start, opening

    def _end(self, start: int, stop: int) -> tuple[int, _Block | None]:
        """Where the part from `start` ends, at most at `stop`, and the block that is cut there."""
        least = self._least(start)
        whole = self._whole_around(stop)
        if whole is not None and whole[0] >= least:
            stop = whole[0]
        half = max(least, (start + stop) // 2)
        end = self._pause(start, half, stop, least)
        block = self._block_at(end - 1)
        if block is None or end >= block.end:
            return end, None
        end = min(end, block.close)
        if block.begin > start and (block.begin >= half or self._visible(block.body) >= end):
            return self._trimmed(start, block.begin), None
        return self._trimmed(start, end), block

    def _least(self, start: int) -> int:
        """After the first thing that the part from `start` has to show, fences aside."""
        seen = self._visible(start)
        block = self._block_at(seen)
        if block is None:
            return seen + 1
        seen = max(seen, self._visible(block.body))
        return block.end if seen >= block.close else seen + 1

    def _pause(self, start: int, half: int, stop: int, least: int) -> int:
        """The best place to end between `half` and `stop`, or else between `least` and `stop`."""
        text = self._text
        for pause in _PAUSES:
            found = pause.match(self._quiet, half, stop + 1)
            if found is not None:
                end = found.end()
                if text[end - 1].isspace() or not _attached(text, start, end):
                    return self._trimmed(start, end)
        for end in range(stop, least - 1, -1):
            if not _attached(text, start, end) and self._whole_around(end) is None:
                return self._trimmed(start, end)
        return stop - 1 if stop > least and _is_pair(text, stop) else stop

    def _furthest(self, start: int, room: int) -> int:
        """The last place up to which the text from `start` takes no more than `room`."""
        stop = min(start + room, len(self._text))
        if self._size(start, stop) <= room:
            return stop
        sure = start + room // 4  # no character takes more than four bytes or two units
        ends = range(sure, stop)
        return sure - 1 + bisect_right(ends, room, key=lambda end: self._size(start, end))

    def _size(self, start: int, end: int) -> int:
        if self._unit == "characters":
            return end - start
        return text_size(self._text[start:end], self._unit)

    def _visible(self, at: int) -> int:
        """The first place from `at` on that is not white space, or the end of the text."""
        found = _WHITE.match(self._text, at)
        assert found is not None  # nothing is white space too
        return found.end()

    def _trimmed(self, start: int, end: int) -> int:
        """`end` without the white space before it."""
        return start + len(self._text[start:end].rstrip())

    def _line_start(self, at: int, seen: int) -> int | None:
        """Where the line of `seen` begins, if that is after `at`."""
        return self._text.rfind("\n", at, seen) + 1 or None

    def _whole_around(self, place: int) -> Place | None:
        """What is not to be cut and has characters before and behind `place`."""
        index = bisect_left(self._whole_begins, place) - 1
        return self._wholes[index] if index >= 0 and place < self._wholes[index][1] else None

    def _block_at(self, place: int) -> _Block | None:
        """The block of whose lines the character at `place` is."""
        index = bisect_right(self._begins, place) - 1
        if index < 0:
            return None
        block = self._blocks[index]
        return block if place < block.end else None


def _blocks(text: str) -> Iterator[_Block]:
    """The blocks of code in `text`, in order. One that nothing closes goes on to the end."""
    at = 0
    while (opened := _OPENING.search(text, at)) is not None:
        ticks, beside = opened.groups()
        language = "".join(beside.split()[:1])
        body = min(opened.end() + 1, len(text))
        closed = _CLOSING.search(text, body) if body < len(text) else None
        while closed is not None and not closed[1].startswith(ticks):
            closed = _CLOSING.search(text, closed.end())
        close, at = (closed.start(), closed.end(1)) if closed is not None else (len(text),) * 2
        yield _Block(
            begin=opened.start(),
            body=body,
            close=close,
            end=at,
            opening=ticks + (language if LANGUAGE.fullmatch(language) else "") + "\n",
            closing="\n" + ticks,
        )


def _quieted(text: str, wholes: Iterable[Place]) -> str:
    """`text` with letters in place of all between the first and the last character of `wholes`."""
    pieces: list[str] = []
    at = 0
    for begin, end in wholes:
        pieces.append(text[at : begin + 1])
        pieces.append("x" * (end - begin - 2))
        at = max(end - 1, begin + 1)
    pieces.append(text[at:])
    return "".join(pieces)


def _attached(text: str, start: int, place: int) -> bool:
    """Whether the character at `place` belongs to the one before it; `start` is no such place."""
    if place == len(text):
        return False
    before, char = text[place - 1], text[place]
    if before == "\n":
        return False
    if not char.isspace() and (before == _JOINER or _PREPENDED.match(before)):
        return True
    if unicodedata.combining(before) == _VIRAMA and char.isalpha():
        return True
    if char in _FLAG_LETTERS and before in _FLAG_LETTERS:
        row = text[start:place]
        return (len(row) - len(row.rstrip(_FLAG_LETTERS))) % 2 == 1
    return (
        unicodedata.category(char).startswith("M")
        or _ATTACHED.match(char) is not None
        or _is_pair(text, place)
    )


def _is_pair(text: str, place: int) -> bool:
    """Whether two halves of a surrogate pair stand around `place`."""
    return (
        0 < place < len(text)
        and "\ud800" <= text[place - 1] <= "\udbff"
        and "\udc00" <= text[place] <= "\udfff"
    )
