"""Keeps one channel listening: runs it, and runs it again after it broke.

A channel says itself what its platform does (`Channel.line`); what is seen from outside is noted
here: that it was started, that it has ended, and when it is run again.
"""

from __future__ import annotations

import logging
from random import Random
from typing import Final

import trio

from .actors.bus import Bus
from .actors.happenings import trouble
from .actors.services import NowUs
from .channels.base import Channel, ChannelError, Rejected, Unreachable
from .channels.failing import channel_error, stopped_cleanly
from .channels.inlet import Inlet
from .channels.pauses import least_pause_s
from .channels.secret import redact

__all__ = ["keep_hearing"]

logger = logging.getLogger("turnkeeper")

_PAUSES_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds before a channel that broke is run again: the first, the second … failure in a row."""
_REFUSED_PAUSE_S: Final = 300.0
"""Seconds before one is run again whose platform refuses it: somebody may have mended it."""
_STEADY_S: Final = 120.0
"""Seconds of running after which a channel's earlier failures are forgotten."""


async def keep_hearing(
    channel: Channel, inlet: Inlet, *, bus: Bus, now_us: NowUs, rng: Random
) -> None:
    """Run `channel` until it has nothing more to hear; again and again if it breaks.

    Pauses grow with every failure in a row and differ by a fifth, so that many channels of one
    platform do not come back at once.
    """
    failures = 0
    while True:
        began = trio.current_time()
        channel.line.begin()
        broke = await _run(channel, inlet)
        if broke is None:
            channel.line.end()
            return
        if trio.current_time() - began > _STEADY_S:
            failures = 0
        said = channel_error(broke)
        refused = isinstance(said, Rejected)
        least_s = _REFUSED_PAUSE_S if refused else 0.0
        if isinstance(said, Unreachable):
            least_s = least_pause_s(said.retry_after_s) or 0.0
        pause_s = max(least_s, _PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
        failures += 1
        jittered_s = pause_s * (1 + 0.2 * rng.random())
        told = _told(channel, broke, said)
        channel.line.down(told, retry_in_s=jittered_s, refused=refused)
        bus.publish(
            trouble("channel", told, now_us(), instance=channel.name, restarts_in_s=pause_s)
        )
        await trio.sleep(jittered_s)


async def _run(channel: Channel, inlet: Inlet) -> Exception | None:
    """Hear until there is nothing more to hear; or why it broke."""
    try:
        with stopped_cleanly(channel.name):
            await channel.run(inlet)
    except Exception as error:  # noqa: BLE001 - the edge: one broken channel touches no other
        return error
    return None


def _told(channel: Channel, broke: Exception, said: ChannelError | None) -> str:
    """Log why a channel broke, and return it in words."""
    if isinstance(said, Unreachable | Rejected):
        words = redact(str(said))
        if isinstance(said, Rejected):
            logger.error("channel %s is refused: %s", channel.name, words)
        else:
            logger.warning("channel %s is not connected: %s", channel.name, words)
        return words
    logger.error("channel %s broke", channel.name, exc_info=broke)
    return redact(f"{type(broke).__name__}: {broke}")
