"""The channel kit, passed by the channel in memory."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import trio
from trio.testing import MockClock

from turnkeeper import Channel, ChannelPowers
from turnkeeper.testing import ChannelTests, LoopbackChannel

from .loopback_wire import LoopbackWire, open_loopback


class TestLoopbackChannel(ChannelTests[LoopbackWire]):
    """With every power that it can have."""

    powers: ClassVar = ChannelPowers(
        text_limit=200,
        text_unit="utf16",
        after_unknown="reconcile",
        late_receipts=True,
        files=True,
        typing_every_s=5.0,
        draft_every_s=1.0,
    )

    def open_wire(self) -> AbstractAsyncContextManager[LoopbackWire]:
        return open_loopback()

    def make_channel(self, wire: LoopbackWire, name: str) -> Channel:
        return LoopbackChannel(name, powers=self.powers)

    def make_clock(self) -> trio.abc.Clock:
        return MockClock(autojump_threshold=0.0)
