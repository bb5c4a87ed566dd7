"""What a channel has raised, as its supervisors see it: out of the groups that nurseries make.

A channel that waits for several things at once does so in a nursery, and whatever ends one of them
comes out in a group. What it says of the platform is in there, and counts like an error alone.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from .base import ChannelError, LostAnswer, Rejected, Unreachable
from .pauses import least_pause_s

__all__ = ["channel_error", "stopped_cleanly"]

logger = logging.getLogger("turnkeeper.channels")

_GRAVEST_FIRST: Final = (LostAnswer, Rejected, Unreachable)
"""What may have arrived must not be sent again as if it had not; and who is refused for good is not
helped by trying soon."""


def channel_error(error: BaseException) -> ChannelError | None:
    """The error of the channel contract that `error` is, or holds.

    Returns:
        None if there is anything else in it: a defect. Of several the gravest, and of those that
        are alike the one with the longest pause.
    """
    found: list[ChannelError] = []
    pending = [error]
    while pending:
        one = pending.pop()
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions  # pyright: ignore[reportUnknownMemberType]  (of any kind)
        elif isinstance(one, ChannelError):
            found.append(one)
        else:
            return None
    for kind in _GRAVEST_FIRST:
        alike = [one for one in found if isinstance(one, kind)]
        if alike:
            return max(alike, key=_pause_s)
    return found[0]


@contextmanager
def stopped_cleanly(name: str) -> Generator[None]:
    """Let what is cancelled in the block end with its cancellation, and no error beside it.

    Out of a scope that takes the cancellation away, such an error would come alone, and end the
    runtime. It is logged.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        broken, stopped = group.split(Exception)
        if broken is None or stopped is None:
            raise
        logger.warning("channel %s broke while it stopped", name, exc_info=broken)
        raise stopped from None


def _pause_s(error: ChannelError) -> float:
    return least_pause_s(getattr(error, "retry_after_s", None)) or 0.0
