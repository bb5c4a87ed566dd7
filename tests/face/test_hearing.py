"""A channel that breaks is run again; what its platform says decides when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

import turnkeeper as tk
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo, on_stage


class Falling(LoopbackChannel):
    """Its `run` ends with an error each time; it notes when."""

    def __init__(self, name: str, error: Callable[[], Exception]) -> None:
        super().__init__(name)
        self._error = error
        self.began: list[float] = []

    async def run(self, deliver: tk.Deliver) -> None:
        self.began.append(trio.current_time())
        if len(self.began) > 4:
            self.line.up()
            await super().run(deliver)
        raise self._error()

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in zip(self.began, self.began[1:], strict=False)]


@pytest.mark.parametrize(
    ("error", "least"),
    [
        (lambda: ValueError("a defect"), [1, 2, 5, 15]),
        (lambda: tk.Unreachable("gone"), [1, 2, 5, 15]),
        (lambda: tk.Unreachable("busy", retry_after_s=7.0), [7, 7, 7, 15]),
        (lambda: tk.Rejected("401: the token is wrong"), [300, 300, 300, 300]),
    ],
)
async def test_pauses_grow_obey_the_platform_and_differ_a_little(
    error: Callable[[], Exception], least: list[int], autojump_clock: MockClock
) -> None:
    tg = Falling("tg", error)
    async with on_stage(echo, tg):
        await trio.sleep(2_000)
        assert len(tg.pauses) == 4
        for pause, floor in zip(tg.pauses, least, strict=True):
            assert floor <= pause <= floor * 1.2 + 0.01
        assert tg.line.state == "connected"
        assert tg.line.breaks == 4
        assert tg.line.next_try_at_us == 0


async def test_the_line_tells_why_and_until_when_a_channel_is_not_connected(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tg = Falling("tg", lambda: tk.Rejected("401: the token is wrong"))
    async with on_stage(echo, tg):
        await trio.sleep(1)
        assert tg.line.state == "refused"
        assert tg.line.error == "401: the token is wrong"
        assert 300_000_000 <= tg.line.next_try_at_us - tg.line.error_at_us <= 360_000_000
    assert "channel tg is refused: 401: the token is wrong" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_turn_that_was_accepted_was_heard_on_the_line() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg):
        assert tg.line.heard_at_us == 0
        await tg.receive("hi")
        assert tg.line.heard_at_us > 0
