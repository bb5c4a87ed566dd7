"""The feed actor: the console's own log, for what has no channel.

Owns stream 0. A session without an active channel says something: it is appended here, and once
that is durable its outcome is `rendered`.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Final, Literal

from ..storage.base import Batch, Store
from ..storage.codec import encode
from ..storage.errors import StorageError, StoreClosed
from .bus import Bus
from .core.records import pack
from .core.runtime_records import FeedRecord
from .deliveries import Deliver, DeliveryReported
from .happenings import rendered
from .journal import FEED_STREAM, load_records
from .kernel import TrioActor
from .services import NowUs, Ref

__all__ = ["FeedActor"]

_LOOK_BACK: Final = 4_096
"""Newest entries of the feed that are searched for a message which a crash left ambiguous."""


class FeedActor(TrioActor):
    """Appends to the feed."""

    scheduling: ClassVar[Literal["pool", "resident"]] = "resident"

    def __init__(self, store: Store, now_us: NowUs, registry: Ref, bus: Bus) -> None:
        super().__init__()
        self._store = store
        self._now_us = now_us
        self._registry = registry
        self._bus = bus
        self._next_seq = store.last_seq(FEED_STREAM) + 1

    def __str__(self) -> str:
        return "feed"

    def on_receive(self, message: Any) -> None:
        """Show one message."""
        assert isinstance(message, Deliver)
        if message.ambiguous and self._was_shown(message):
            self._tell_shown(message)
            return
        text = _text(message)
        record = FeedRecord(
            at_us=self._now_us(),
            session_id=message.session_id,
            delivery_id=message.delivery_id,
            text=text,
        )
        batch = Batch()
        batch.append(FEED_STREAM, self._next_seq, [encode(pack(record))])
        self._next_seq += 1
        with suppress(StoreClosed):  # as in _shown
            self._store.submit(batch, partial(self._shown, message, text))

    def _was_shown(self, message: Deliver) -> bool:
        newest = load_records(self._store, FEED_STREAM, reverse=True)
        return any(
            isinstance(record, FeedRecord) and record.delivery_id == message.delivery_id
            for _, record in islice(newest, _LOOK_BACK)
        )

    def _shown(self, message: Deliver, text: str, error: StorageError | None) -> None:
        if error is not None:
            return  # the store has failed and the runtime is stopping: the delivery stays open
        if self._bus.subscribers:
            self._bus.publish(
                rendered(message.session_id, message.delivery_id, text, self._now_us())
            )
        self._tell_shown(message)

    def _tell_shown(self, message: Deliver) -> None:
        self._registry.tell(
            DeliveryReported(
                session_id=message.session_id,
                delivery_id=message.delivery_id,
                attempt=message.attempt,
                status="rendered",
                reason="file_not_sent" if message.files else None,
            )
        )


def _text(message: Deliver) -> str:
    """What is shown of a message: a line stands for each of its files."""
    if not message.files:
        return message.text
    lines = [f"[{file.label}: cannot be shown here]" for file in message.files]
    return "\n".join([message.text, *lines] if message.text.strip() else lines)
