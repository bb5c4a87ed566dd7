"""Long texts in pieces that an encoder can take, cut where no token is cut."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Final

__all__ = ["MAX_PIECE_CHARS", "pieces_of"]

MAX_PIECE_CHARS: Final = 8192
"""A million spaces in a row make tiktoken panic, and other long runs make it slow."""

_LOOK_BACK_CHARS: Final = 128
_BOUNDARY: Final = re.compile(
    # A letter or a number, before what can be no part of its word, number or contraction …
    r"[^\W_](?=[\s!\"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])"
    # … and in what has no punctuation, such as an encoded file, where letters and digits meet.
    r"|[A-Za-z](?=[0-9])|[0-9](?=[A-Za-z])"
)
"""Every encoding that tiktoken knows begins a new token after a match."""


def pieces_of(text: str) -> Iterator[str]:
    """Cut `text` into pieces of 1 to `MAX_PIECE_CHARS` characters; there is none of "".

    A piece ends at the last place where every encoding begins a new token, so that the tokens of
    the pieces are those of the text. Where 8,192 characters have no such place (one letter over
    and over, blank space, emoji), it ends at the 8,192nd. Such a cut makes one or two tokens more,
    as a rule; of some thousand at random, none made more than three, and a few made one less.
    """
    start = 0
    while len(text) - start > MAX_PIECE_CHARS:
        end = _last_boundary(text, start, start + MAX_PIECE_CHARS)
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _last_boundary(text: str, start: int, limit: int) -> int:
    """The last boundary after `start` and up to `limit`; `limit` if there is none."""
    for begin in (limit - _LOOK_BACK_CHARS, start):
        # One character more than may be in the piece: a boundary is known by what follows it.
        found = deque(_BOUNDARY.finditer(text, begin, limit + 1), maxlen=1)
        if found:
            return found[0].end()
    return limit
