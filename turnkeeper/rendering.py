"""The context window as the lists of messages that model providers take.

Strict providers refuse a whole request for one message that is empty, out of turn, or a call of a
tool without its result. What comes from here they accept, whatever happened in the session: notes
between two replies, turns that were never answered, photos without a word.

What the system says is a message at the beginning for OpenAI, and an argument of its own for
Anthropic: see :func:`system_of`.

Both forms merge what one side said in a row, a blank line between, and show a group's messages with
their speakers. Behind a text stands a line for each file that goes with it. Texts of white space
are left out, but for a human's, who did send something. Halves of surrogate pairs, which no request
can carry, become `�`.

A provider that is shown calls of tools may want the tools themselves in the same request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from math import isfinite
from typing import Any, Final, TypeAlias, cast

from .actors.core.attached import attachment_line
from .actors.core.window import Message
from .actors.frozen import fact
from .actors.messages import ToolCall

__all__ = [
    "MAX_DEPTH",
    "MAX_NAME_CHARS",
    "NO_RESULT",
    "NO_TEXT",
    "SHOWN_FROM_HERE",
    "system_of",
    "to_anthropic",
    "to_openai",
]

NO_TEXT: Final = "(no text)"
"""Shown for a human's message without words, where nothing else tells that there is one."""
NO_RESULT: Final = "(no result)"
"""Shown for a tool that gave nothing back."""
SHOWN_FROM_HERE: Final = "(The conversation is shown from here on.)"
"""Said by the user's side where a list may not begin with the assistant. It is true for whoever has
not written yet, and where the window begins after what was asked.
"""
MAX_NAME_CHARS: Final = 64
"""Longest name of a tool that every provider takes."""
MAX_DEPTH: Final = 100
"""Deepest arguments that are given as JSON; parsers refuse what is much deeper."""

_Shown: TypeAlias = dict[str, Any]
_HALVES: Final = re.compile("[\ud800-\udfff]")
_NOT_IN_NAMES: Final = re.compile("[^a-zA-Z0-9_-]")


@fact
class _Call:
    """A call of a tool with everything that providers are strict about."""

    id: str
    """Counted from the first that is shown: calls that the agent adds have ids of other kinds."""
    name: str
    arguments: dict[str, Any]
    result: str


@fact
class _Said:
    """What one side said in a row."""

    role: str
    text: str


_Entry: TypeAlias = _Said | _Call


def to_openai(messages: Sequence[Message], *, system: str | None = None) -> list[dict[str, Any]]:
    """`messages` for Chat Completions of OpenAI, and of the many who take the same form.

    Args:
        messages: `turn.messages`, or the context of a session.
        system: put before what the system says in `messages`, if it says anything.
    """
    shown: list[_Shown] = []
    parts = [_valid(system or ""), system_of(messages)]
    if said := "\n\n".join(part for part in parts if not _blank(part)):
        shown.append({"role": "system", "content": said})
    for entry in _entries(messages):
        if isinstance(entry, _Said):
            shown.append({"role": entry.role, "content": entry.text})
            continue
        if not shown or shown[-1]["role"] != "assistant":
            shown.append({"role": "assistant", "content": None})
        arguments = json.dumps(entry.arguments, ensure_ascii=False)
        function = {"name": entry.name, "arguments": arguments}
        shown[-1]["tool_calls"] = [{"id": entry.id, "type": "function", "function": function}]
        shown.append({"role": "tool", "tool_call_id": entry.id, "content": entry.result})
    return shown


def to_anthropic(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """`messages` for Anthropic's Messages, without what the system says: see :func:`system_of`.

    The content is a string, or a list of blocks where a tool was called. If nothing was said yet
    the list is empty. It ends with the assistant where the window does, never within a turn; newer
    models want the user to go on then, and older ones take it for the beginning of their answer.

    Args:
        messages: `turn.messages`, or the context of a session.
    """
    shown: list[_Shown] = []
    for entry in _entries(messages):
        if isinstance(entry, _Said):
            _add(shown, entry.role, {"type": "text", "text": entry.text})
            continue
        called = {"type": "tool_use", "id": entry.id, "name": entry.name, "input": entry.arguments}
        _add(shown, "assistant", called)
        gave = {"type": "tool_result", "tool_use_id": entry.id, "content": entry.result}
        _add(shown, "user", gave)
    for message in shown:
        blocks = message["content"]
        if len(blocks) == 1 and blocks[0]["type"] == "text":
            message["content"] = blocks[0]["text"]
    return shown


def system_of(messages: Sequence[Message]) -> str:
    """What the system says in `messages`: the argument `system` of Anthropic's Messages.

    Empty if it says nothing; the provider wants the argument left out then.

    Args:
        messages: `turn.messages`, or the context of a session.
    """
    said = [_valid(message.text) for message in messages if message.role == "system"]
    return "\n\n".join(text for text in said if not _blank(text))


def _add(shown: list[_Shown], role: str, block: _Shown) -> None:
    """Let `role` go on with `block`; the user speaks first."""
    if not shown and role == "assistant":
        _add(shown, "user", {"type": "text", "text": SHOWN_FROM_HERE})
    if shown and shown[-1]["role"] == role:
        shown[-1]["content"].append(block)
    else:
        shown.append({"role": role, "content": [block]})


def _entries(messages: Sequence[Message]) -> Iterator[_Entry]:
    """What was said in `messages`: no two texts of one side stand beside each other."""
    calls = 0
    visible = (message for message in messages if _is_shown(message))
    for role, row in groupby(visible, key=lambda message: message.role):
        if role != "tool":
            yield _Said(role, "\n\n".join(map(_text, row)))
            continue
        for message in row:
            calls += 1
            yield _call(f"past_call_{calls}", message)


def _is_shown(message: Message) -> bool:
    match message.role:
        case "system":
            return False
        case "assistant":
            return bool(_text(message))
        case _:
            return True


def _text(message: Message) -> str:
    """What a human or the agent said; empty if the agent said nothing."""
    came = [attachment_line(attachment) for attachment in message.attachments]
    if message.role != "user":
        said = message.text.rstrip()
        return _valid("\n".join([said, *came] if said else came))
    if not _blank(message.text):
        said = message.attributed
    elif message.speaker is not None:
        said = f"{message.speaker} says: {NO_TEXT}"
    elif came:
        return _valid("\n".join(came))
    else:
        said = NO_TEXT
    return _valid("\n".join([said, *came]))


def _call(call_id: str, message: Message) -> _Call:
    call = message.tool or ToolCall(name="tool", arguments="{}", result=message.text)
    return _Call(
        id=call_id,
        name=_NOT_IN_NAMES.sub("_", call.name)[:MAX_NAME_CHARS] or "tool",
        arguments=_arguments(call.arguments),
        result=NO_RESULT if _blank(call.result) else _valid(call.result),
    )


def _arguments(text: str) -> dict[str, Any]:
    """The JSON object that `text` is, or else one that holds `text`."""
    try:
        parsed: object = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        if isinstance(parsed, dict):
            return cast("dict[str, Any]", _copied(cast("object", parsed), MAX_DEPTH))
    except (ValueError, RecursionError):
        pass  # whatever the agent wrote down, it has to be shown
    return {"arguments": _valid(text)}


def _copied(value: object, depth: int) -> object:
    """`value`, from JSON, in valid Unicode.

    Raises:
        ValueError: it is deeper than `depth`.
    """
    if isinstance(value, str):
        return _valid(value)
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        raise ValueError("too deep")
    if isinstance(value, list):
        return [_copied(item, depth - 1) for item in cast("list[object]", value)]
    items = cast("dict[str, object]", value).items()
    return {_valid(key): _copied(item, depth - 1) for key, item in items}


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _finite(number: str) -> float:
    value = float(number)
    if not isfinite(value):
        raise ValueError(f"{number} is too large")
    return value


def _valid(text: str) -> str:
    return _HALVES.sub("\ufffd", text)


def _blank(text: str) -> bool:
    return not text.strip()
