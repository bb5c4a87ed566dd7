"""Display names as what they are: data that anybody may choose, to be shown and never obeyed."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Final

__all__ = ["MAX_MARKS", "MAX_NAME_CHARS", "clean_name", "quoted_name"]

MAX_NAME_CHARS: Final = 64
"""Longest name that is shown; what is cut off is told by a `…`."""
MAX_MARKS: Final = 4
"""Most combining marks on one letter: enough for any script, too few to climb over other lines."""

_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0d\uffa0"
    "\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""What shows nothing and is no control character: fillers, variation selectors (but for the two
that emoji have), tags. Text and whole names can be hidden in it.
"""
_DROPPED: Final = frozenset({"Cc", "Cf", "Cs"})
_LOOKALIKES: Final = str.maketrans(
    dict.fromkeys("“”„‟″‶❝❞〝〞〟＂", '"')
    | dict.fromkeys("[［【〔", "(")
    | dict.fromkeys("]］】〕", ")")
)
"""Quotes that could pass for the closing one, and the brackets around what the runtime says."""


def clean_name(name: str | None) -> str | None:
    """`name` in one line that stays where it is put; None if nothing of it can be seen.

    White space is folded. What is invisible, turns the direction of writing, or controls a
    terminal is left out, and so are lone surrogates and marks beyond `MAX_MARKS` on one letter.
    Emoji that are joined to one picture come apart.
    """
    if name is None:
        return None
    kept: list[str] = []
    marks = MAX_MARKS  # there is no letter yet that a mark could stand on
    for char in _UNSEEN.sub("", name):
        category = unicodedata.category(char)
        if char.isspace():
            marks = MAX_MARKS
            if kept and kept[-1] != " ":
                kept.append(" ")
        elif category.startswith("M"):
            marks += 1
            if marks <= MAX_MARKS:
                kept.append(char)
        elif category not in _DROPPED:
            marks = 0
            kept.append(char)
    clean = "".join(kept).rstrip()
    if len(clean) > MAX_NAME_CHARS:
        clean = clean[: MAX_NAME_CHARS - 1].rstrip() + "…"
    return clean or None


def quoted_name(name: str | None, user_id: str) -> str:
    r"""The speaker as a JSON string, to stand in a line of text: `"Bob"`, or `"123456789"`.

    The name is cleaned, quotes and backslashes in it are escaped, and brackets are round. Without
    a name it is the id, exactly, in ASCII: whatever else it holds stands there as `\uXXXX`.
    """
    clean = clean_name(name)
    if clean is not None:
        return json.dumps(clean.translate(_LOOKALIKES), ensure_ascii=False)
    return json.dumps(user_id).replace("[", r"\u005b").replace("]", r"\u005d")
