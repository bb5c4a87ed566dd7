"""The channel kit, passed by the channel in memory and by one that can do everything."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
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


def test_programs_that_use_the_loopback_channel_need_no_pytest() -> None:
    program = "import sys; sys.modules['pytest'] = None; import turnkeeper.testing"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_tests_of_the_kit_are_collected_where_they_are_inherited_and_nowhere_else(
    tmp_path: Path,
) -> None:
    module = tmp_path / "test_it.py"
    module.write_text(
        "from turnkeeper.testing import ChannelTests\n\n\nclass TestIt(ChannelTests):\n    pass\n"
    )
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", module],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=True,
    )
    names = [line for line in listed.stdout.splitlines() if "::" in line]
    own = [name for name in dir(ChannelTests) if name.startswith("test_")]
    assert sorted(names) == sorted(f"test_it.py::TestIt::{name}" for name in own)
