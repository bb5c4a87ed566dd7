"""Who is speaking, for any code that runs inside a turn.

The context follows the turn at any depth: into child tasks, into `trio.to_thread.run_sync` and
`asyncio.to_thread`, and into what those start. A bare `threading.Thread` is given no context by
Python; run `contextvars.copy_context().run` in it. No other turn sees it, and outside of every
turn there is none: tools must say what they do then.

A task that a turn starts and leaves behind goes on in the context of that turn.
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
    """Transport kind, e.g. `telegram`; `mission` in a mission's run, which no human asked for."""
    instance: str
    """Name of the configured channel; in a run, where its messages go, or empty for the feed."""
    chat_id: str
    """The platform's id of the conversation."""
    chat_name: str | None
    """Its display name, cleaned to one line of at most 64 visible characters. Still untrusted:
    anybody may choose any name, so it identifies nothing and decides nothing."""
    thread_id: str | None
    user_id: str
    """The platform's stable id of the human."""
    user_name: str | None
    """Display name of the human; cleaned and untrusted in the same way."""
    unified_user_id: str
    """`platform:user_id`, or the user that the identity is linked to."""
    session_id: str
    turn_id: str
    mission: str | None = None
    """Name of the mission, in its run. There is no user then: the ids are empty."""


_current: ContextVar[SessionContext | None] = ContextVar("turnkeeper_session", default=None)


def get_session_context() -> SessionContext | None:
    """The context of the turn that this code runs in; None outside of any turn."""
    return _current.get()


def set_session_context(context: SessionContext) -> Token[SessionContext | None]:
    """Make `context` the current one, for an adapter that runs tools on its own.

    It holds for the task or thread that sets it and for what is started there afterwards, until
    the token is given to :func:`clear_session_context`.

    Raises:
        TypeError: `context` is no `SessionContext`.
    """
    if not isinstance(context, SessionContext):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"the context must be a SessionContext, not a {type(context).__name__}")
    return _current.set(context)


def clear_session_context(token: Token[SessionContext | None]) -> None:
    """Restore what was current before the token was made.

    Raises:
        ValueError: the token was used before, or comes from another task, thread or variable.
    """
    try:
        _current.reset(token)
    except RuntimeError as error:
        raise ValueError("this token was used before: each one clears once") from error
    except ValueError as error:
        raise ValueError(
            "this token is from another task or thread: clear the context where it was set"
        ) from error
