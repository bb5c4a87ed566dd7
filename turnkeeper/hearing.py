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
from .channels.base import Channel, Rejected, Unreachable
from .channels.inlet import Inlet

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
    broke: Exception
    while True:
        began = trio.current_time()
        try:
            await channel.run(inlet)
        except Unreachable as error:
            logger.warning("channel %s is not connected: %s", channel.name, error)
            broke, least_s = error, error.retry_after_s or 0.0
        except Rejected as error:
            logger.error("channel %s is refused: %s", channel.name, error)  # noqa: TRY400  (the platform's words say it all)
            broke, least_s = error, _REFUSED_PAUSE_S
        except Exception as error:  # the supervisor's edge: one broken channel touches no other
            logger.exception("channel %s broke", channel.name)
            broke, least_s = error, 0.0
        else:
            channel.line.end()
            return
        if trio.current_time() - began > _STEADY_S:
            failures = 0
        pause_s = max(least_s, _PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
        failures += 1
        jittered_s = pause_s * (1 + 0.2 * rng.random())
        channel.line.down(
            _in_words(broke), retry_in_s=jittered_s, refused=isinstance(broke, Rejected)
        )
        bus.publish(
            trouble("channel", broke, now_us(), instance=channel.name, restarts_in_s=pause_s)
        )
        await trio.sleep(jittered_s)


def _in_words(error: Exception) -> str:
    if isinstance(error, Unreachable | Rejected):
        return str(error)
    return f"{type(error).__name__}: {error}"
