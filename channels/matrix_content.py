"""What is sent to Matrix: the contents of messages, of edits, and how they relate to others. Pure.

Source: https://spec.matrix.org/v1.11/client-server-api/, "m.room.message", "Rich replies",
"Threading", "Event replacements", "User and room mentions": an empty `m.mentions` notifies nobody,
whatever stands in the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .matrix_markup import to_body, to_html

__all__ = ["edit", "related", "text_message"]

_FALLBACK_CHARS: Final = 500
"""How much of an edit is told a second time, to clients that know no edits; both must fit."""


def text_message(said: str, msgtype: str) -> dict[str, Any]:
    """A text, with formatting if it has any."""
    content: dict[str, Any] = {"msgtype": msgtype, "body": to_body(said), "m.mentions": {}}
    formatted = to_html(said)
    if formatted is not None:
        content |= {"format": "org.matrix.custom.html", "formatted_body": formatted}
    return content


def related(
    content: Mapping[str, Any], *, thread: str | None, reply_to: str | None
) -> dict[str, Any]:
    """The content of a message in a thread, or of an answer."""
    relation: dict[str, Any] = {}
    if thread is not None:
        relation = {
            "rel_type": "m.thread",
            "event_id": thread,
            "is_falling_back": reply_to is None,
        }
    if reply_to is not None or thread is not None:
        relation["m.in_reply_to"] = {"event_id": reply_to or thread}
    return {**content, "m.relates_to": relation} if relation else dict(content)


def edit(said: str, msgtype: str, event_id: str) -> dict[str, Any]:
    """The content of an event that lets an earlier message say something else."""
    new = text_message(said, msgtype)
    shortened = new["body"][:_FALLBACK_CHARS]
    return {
        "msgtype": msgtype,
        "body": f"* {shortened}{'…' if len(shortened) < len(new['body']) else ''}",
        "m.mentions": {},
        "m.new_content": new,
        "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
    }
