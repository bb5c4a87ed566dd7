"""By what a session is shown: the time, when it counts as idle, and how large its window is.

A runtime has that from its configuration, and writes down what does not change with the time, so
that a store at rest is shown as the newest runtime would show it.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from .actors.frozen import fact
from .actors.windows import WindowRules
from .config import SessionConfig
from .storage.base import Batch, Reads, Store, Table
from .storage.codec import decode, encode
from .storage.errors import CorruptRecord, StorageError

__all__ = ["Outlook", "idle_after_us", "keep_limits", "read_limits", "resting_outlook"]

logger = logging.getLogger("turnkeeper")

_LIMITS_KEY: Final = b"limits"
_MOST_US: Final = 2**62
"""Longer than anybody waits, and no more than a row can hold."""


@fact
class Outlook:
    """What a runtime goes by at one moment."""

    now_us: int
    idle_after_us: int
    """How long nothing has to happen until a session counts as idle."""
    rules: WindowRules
    """How large a window may be, and with what it begins."""

    @property
    def max_context_tokens(self) -> int:
        """Tokens of a full window."""
        return self.rules.max_tokens


def idle_after_us(session: SessionConfig) -> int:
    """Microseconds after which a session counts as idle."""
    return int(min(session.idle_after_s * 1e6, _MOST_US))


async def keep_limits(store: Store, outlook: Outlook) -> None:
    """Write down what holds from now on, if it is not what is written there already.

    Raises:
        StorageError: the store takes nothing more.
    """
    rules = outlook.rules
    most = min(rules.max_tokens, _MOST_US)
    row = encode((most, outlook.idle_after_us, rules.system, rules.mark))
    if store.get(Table.LIMITS, _LIMITS_KEY) != row:
        batch = Batch()
        batch.put(Table.LIMITS, _LIMITS_KEY, row)
        await store.commit(batch)


def resting_outlook(reads: Reads) -> Outlook:
    """What the newest runtime on this store went by, and the time.

    The defaults if none has written it down; and if that cannot be read, which is logged.
    """
    now_us = time.time_ns() // 1000
    data = reads.get(Table.LIMITS, _LIMITS_KEY)
    try:
        if data is not None:
            return Outlook(now_us, *read_limits(decode(data, ("limits",))))
    except StorageError as error:
        logger.error("sessions are shown by the default limits: %s", error)  # noqa: TRY400
    defaults = SessionConfig()
    return Outlook(now_us, idle_after_us(defaults), WindowRules(defaults.max_context_tokens))


def read_limits(payload: object) -> tuple[int, WindowRules]:
    """Microseconds until a session is idle, and the rules of windows, from their tuple.

    Raises:
        CorruptRecord: it is none.
    """
    match payload:
        case [int(most), int(idle_us), None | str() as system, None | bytes() as mark] if most > 0:
            return idle_us, WindowRules(most, system, mark)
        case _:
            raise CorruptRecord(f"the limits of a runtime are kept as {payload!r:.80}")
