"""Text of strangers, made safe to show on a terminal.

What a human or an agent wrote is stored as it is; whoever prints it passes it through here first.
"""

from __future__ import annotations

import re

__all__ = ["printable"]

_HOSTILE = (
    "\x00-\x1f\x7f-\x9f"  # C0 with ESC and NUL, DEL, C1: they steer the terminal
    "\u2028\u2029"  # line and paragraph separators: they forge a second line
    "\u202a-\u202e\u2066-\u2069"  # bidi embeddings, overrides, isolates: they reorder what is read
    "\ud800-\udfff"  # lone surrogates: no encoding can print them
)
_IN_ONE_LINE = re.compile(f"[{_HOSTILE}]")
_IN_MANY_LINES = re.compile(f"(?![\n\t])[{_HOSTILE}]")


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Escape visibly whatever could steer a terminal or forge what is read.

    Ordinary Unicode stays readable: right-to-left letters and their marks, combining characters,
    emoji with their joiners.

    Args:
        text: any string, lone surrogates included.
        keep_lines: leave line feeds and tabs alone; otherwise the result is one line.
    """
    return (_IN_MANY_LINES if keep_lines else _IN_ONE_LINE).sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
