"""How far each instance has heard its platform: one row for each, kept beside the sessions.

Not derived from any log: it is the platform's own mark, which only the platform understands. A
lost one costs messages heard again, which change nothing.
"""

from __future__ import annotations

import logging
from typing import Final

from .actors.errors import ShuttingDown
from .actors.messages import Instance
from .storage.base import Batch, Store, Table
from .storage.codec import decode, encode
from .storage.errors import CorruptRecord, StorageError
from .storage.keys import hash16

__all__ = ["MAX_WATERMARK_CHARS", "StoredWatermark"]

logger = logging.getLogger("turnkeeper")

MAX_WATERMARK_CHARS: Final = 65_536


class StoredWatermark:
    """The watermark of one instance; see `channels.base.Watermark`."""

    def __init__(self, store: Store, instance: Instance) -> None:
        self._store = store
        self._instance = instance
        self._key = hash16("watermark", instance)
        self._value = self._read()
        self._asked: int = 0
        """How many moves there have been."""
        self._stored: int = 0
        """The last move that is known to be durable, by its number."""

    def __repr__(self) -> str:
        return f"<StoredWatermark of {self._instance}>"

    @property
    def value(self) -> str | None:
        """What was stored last."""
        return self._value

    async def move(self, value: str, /) -> None:
        """Store `value`; returns once it is durable. Of several at once, the last call wins.

        Raises:
            ValueError: it is longer than 65,536 characters.
            ShuttingDown: the store takes nothing more; nothing was stored.
        """
        if len(value) > MAX_WATERMARK_CHARS:
            raise ValueError(
                f"a watermark of {len(value)} characters; {MAX_WATERMARK_CHARS} are allowed"
            )
        if value == self._value and self._stored == self._asked:
            return
        self._asked += 1
        number = self._asked
        batch = Batch()
        batch.put(Table.WATERMARKS, self._key, encode((self._instance, value)))
        try:
            await self._store.commit(batch)
        except StorageError as error:
            raise ShuttingDown(
                f"the watermark of {self._instance!r} is not stored: {error}"
            ) from error
        # Batches are stored in the order of the calls; who waits for them wakes in any order.
        if number > self._stored:
            self._stored, self._value = number, value

    def _read(self) -> str | None:
        data = self._store.get(Table.WATERMARKS, self._key)
        if data is None:
            return None
        try:
            match decode(data, ("watermark", self._instance)):
                case [self._instance, str(value)]:
                    return value
                case found:
                    raise CorruptRecord(f"the watermark of {self._instance!r} is {found!r:.80}")
        except StorageError as error:
            logger.error("%s is heard from where it stands: %s", self._instance, error)  # noqa: TRY400
            return None
