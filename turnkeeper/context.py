"""Who is speaking, for any code that runs inside a turn.

The context follows the turn into child tasks and worker threads, and no other turn sees it.
"""

from __future__ import annotations

from contextvars import ContextVar, Token

from .actors.frozen import message

__all__ = [
    "SessionContext",
    "clear_session_context",
    "get_session_context",
    "set_session_context",
]


@message
class SessionContext:
    """The human, the place and the turn."""

    platform: str
    """Transport kind, e.g. `telegram`."""
    instance: str
    """Name of the configured channel."""
    chat_id: str
    """The platform's id of the conversation."""
    chat_name: str | None
    """Its display name; untrusted."""
    thread_id: str | None
    user_id: str
    """The platform's stable id of the human."""
    user_name: str | None
    """Display name; untrusted."""
    unified_user_id: str
    """`platform:user_id`, or the user that the identity is linked to."""
    session_id: str
    turn_id: str


_current: ContextVar[SessionContext | None] = ContextVar("turnkeeper_session", default=None)


def get_session_context() -> SessionContext | None:
    """The context of the turn that this code runs in; None outside of any turn."""
    return _current.get()


def set_session_context(context: SessionContext) -> Token[SessionContext | None]:
    """Make `context` the current one; give the token to :func:`clear_session_context`."""
    return _current.set(context)


def clear_session_context(token: Token[SessionContext | None]) -> None:
    """Restore what was current before the token was made."""
    _current.reset(token)
