"""A channel with a defect harms nothing but itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

import turnkeeper as tk
from turnkeeper.channels.base import TurnEnded
from turnkeeper.testing import LoopbackChannel


class _CannotListen(LoopbackChannel):
    def turn_ended(self, ended: TurnEnded) -> None:
        raise RuntimeError(f"no idea what {ended.turn_id} is")


async def _echo(turn: tk.Turn) -> str:
    return turn.text


async def test_a_channel_that_raises_when_it_hears_of_a_turns_end_still_delivers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    channel = _CannotListen("t", powers=tk.ChannelPowers(hears_turn_ends=True))
    async with tk.open_runtime(tmp_path / "state", agent=_echo, channels=[channel]):
        for text in ("one", "two"):
            await channel.receive(text)
            with trio.fail_after(5):
                assert (await channel.next_sent()).text == text
    assert "no idea what s1/4 is" in caplog.text
