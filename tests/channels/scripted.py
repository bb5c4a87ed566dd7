"""A platform that answers each send as a test tells it, and what is told of deliveries."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any, cast

from turnkeeper import ChannelPowers, Outbound, Receipt
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.storage.base import Reads
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import log

__all__ = ["LONG", "Scripted", "outcomes", "receipt_for"]

LONG = " ".join(f"word{number:02}" for number in range(15))
"""104 characters: four parts of at most 32, or three of at most 40."""


class Scripted(LoopbackChannel):
    """Returns, or raises, what `answer` and `found` give; keeps what it was asked."""

    def __init__(
        self,
        powers: ChannelPowers,
        answer: Callable[[Outbound], Any],
        found: Callable[[Outbound], Any] | None = None,
    ) -> None:
        super().__init__("tg", powers=powers)
        self.answer = answer
        self.found = found
        self.sends: list[Outbound] = []
        self.asked: list[Outbound] = []

    async def send(self, outbound: Outbound) -> Receipt:
        """Do as told."""
        self.sends.append(outbound)
        return cast("Receipt", await _give(self.answer(outbound)))

    async def reconcile(self, outbound: Outbound, /) -> Receipt | None:
        """Say what was told."""
        self.asked.append(outbound)
        assert self.found is not None
        return cast("Receipt | None", await _give(self.found(outbound)))


async def _give(answer: Any) -> Any:
    if isawaitable(answer):
        answer = await answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def receipt_for(outbound: Outbound) -> Receipt:
    """What a platform returns that holds the message."""
    return Receipt(platform_message_id=f"p-{outbound.part_id}")


def outcomes(store: Reads) -> list[tuple[str, int, str | None, int]]:
    """What was written down in the first session of deliveries: how many parts had arrived last."""
    return [
        (record.status, record.attempt, record.reason, len(record.parts))
        for record in log(store)
        if isinstance(record, DeliveryRecord)
    ]
