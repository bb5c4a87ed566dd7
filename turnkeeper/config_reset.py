"""When sessions begin anew by themselves, as `[session]` says it."""

from __future__ import annotations

from .actors.core.reset import BadReset, ResetPolicy, read_policy
from .config_tables import ConfigError, SessionConfig

__all__ = ["reset_policy"]


def reset_policy(session: SessionConfig, where: str = "config") -> ResetPolicy | None:
    """The policy of `[session]`; None if no session ever begins anew by itself.

    Args:
        session: the table.
        where: the file that it is in.

    Raises:
        ConfigError: a key makes no sense; the text names it.
    """
    try:
        return read_policy(
            session.reset_after_idle_s,
            session.reset_daily_at,
            session.reset_zone,
            session.reset_notice,
        )
    except BadReset as error:
        raise ConfigError(f"{where}: [session] {error.key} {error}") from error
