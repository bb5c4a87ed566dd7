"""The channel kit, passed by the channel in memory and by one that can do everything."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import trio
from trio.testing import MockClock

from turnkeeper import Channel, ChannelPowers
from turnkeeper.testing import ChannelTests, LoopbackChannel

from .loopback_wire import LoopbackWire, open_loopback
from .whole_channel import WholeChannel
from .whole_platform import TOKEN, WRONG, Whole, open_whole

PATIENCE_S = 1_000.0
"""Of a clock that jumps: its seconds pass while a file is written, in a thread."""


class TestWholeChannel(ChannelTests[Whole]):
    """Nothing is skipped."""

    patience_s = PATIENCE_S

    def open_wire(self) -> AbstractAsyncContextManager[Whole]:
        return open_whole()

    def make_channel(self, wire: Whole, name: str) -> Channel:
        return WholeChannel(name, wire, TOKEN)

    def make_wrong_channel(self, wire: Whole, name: str) -> Channel:
        return WholeChannel(name, wire, WRONG)

    def make_clock(self) -> trio.abc.Clock:
        return MockClock(autojump_threshold=0.0)


class TestLoopbackChannel(ChannelTests[LoopbackWire]):
    """With every power that it can have."""

    patience_s = PATIENCE_S
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
