"""How large a context may become, as `[session]` says it."""

from __future__ import annotations

from .actors.core.compaction import Limits, limits_of
from .actors.core.weight import prompt_tokens
from .actors.windows import MAX_MESSAGES
from .config_tables import ConfigError, SessionConfig
from .tokens import check_name

__all__ = ["check_counter", "context_limits"]


def context_limits(session: SessionConfig, where: str = "config") -> Limits:
    """How large a context may become.

    Args:
        session: the table.
        where: the file that it is in.

    Raises:
        ConfigError: keys contradict each other; the text names them.
    """
    try:
        return limits_of(
            session.max_context_tokens,
            session.compaction_threshold,
            session.keep_recent_tokens,
            session.summary_tokens,
            system_tokens=prompt_tokens(session.system_prompt or None),
            max_messages=MAX_MESSAGES,
        )
    except ValueError as error:
        raise ConfigError(f"{where}: [session] {error}") from error


def check_counter(session: SessionConfig, where: str = "config") -> None:
    """See that `token_counter` may name an encoding.

    Args:
        session: the table.
        where: the file that it is in.

    Raises:
        ConfigError: it cannot.
    """
    try:
        check_name(session.token_counter)
    except ValueError as error:
        raise ConfigError(f"{where}: [session] {error}") from error
