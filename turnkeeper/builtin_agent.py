"""The agent that answers when no other is configured: no model, no key, only memory.

It shows what the runtime keeps: how many turns, from which channels, what was said first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from .actors.core.window import Message
from .agent import Turn

__all__ = ["builtin_agent"]

_QUOTED_CHARS: Final = 60
_WELCOME: Final = (
    "Hello! I am the built-in agent: no model, only a memory that survives restarts.\n"
    "This is turn 1 of session {session}, on {places}. Write again, here or from a second terminal "
    "with `turnkeeper chat`: it stays one conversation.\n"
    "Give me a mind of your own making with `turnkeeper run --agent module:function`."
)


async def builtin_agent(turn: Turn) -> str:
    """Answer in a few lines that prove that the conversation is remembered."""
    said = [message for message in turn.messages if message.role == "user"]
    if turn.mission is not None:
        prompt = _quoted(said[-1])
        return f"Mission {turn.mission} has run {_times(len(said))}; its prompt is “{prompt}”."
    earlier, places, session = said[:-1], _places(said), turn.session.id
    if not earlier:
        return _WELCOME.format(session=session, places=places)
    whole = said[0].session_id is None and said[0].seq <= _FIRST_SEQ
    count = f"turn {len(said)}" if whole else f"at least turn {len(said)}"
    began = "You began with" if whole else "The oldest that I still see is"
    return (
        f"That is {count} of session {session}, on {places}.\n"
        f"{began} “{_quoted(said[0])}”; before this you said “{_quoted(earlier[-1])}”."
        f"{_notes(turn.messages)}"
    )


_FIRST_SEQ: Final = 4
"""Where a session's first message stands in its log: behind its opening, its key and binding."""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _notes(messages: Sequence[Message]) -> str:
    """That somebody else has spoken here since the agent last did, if so."""
    last = next((n for n, m in enumerate(messages[::-1]) if m.kind == "assistant"), len(messages))
    sources = [m.source for m in messages[len(messages) - last :] if m.source is not None]
    if not sources:
        return ""
    return f"\nSince then {_times(len(sources))} somebody spoke here for me: {sources[-1].label}."


def _places(said: Sequence[Message]) -> str:
    counts = Counter(message.instance or "?" for message in said)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _quoted(message: Message) -> str:
    text = " ".join(message.text.split())
    return text if len(text) <= _QUOTED_CHARS else text[: _QUOTED_CHARS - 1].rstrip() + "…"
