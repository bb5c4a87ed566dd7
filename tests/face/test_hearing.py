"""A channel that breaks is run again; what its platform says decides when."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import trio
from trio.testing import MockClock

import turnkeeper as tk
from turnkeeper.channels.secret import Secret
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo, on_stage


def grouped(*errors: Exception) -> Exception:
    """As a nursery raises them."""
    return ExceptionGroup("in a nursery", [ExceptionGroup("in another", errors)])


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
        (lambda: grouped(tk.Unreachable("busy", retry_after_s=7.0)), [7, 7, 7, 15]),
        (lambda: grouped(tk.Unreachable("gone"), tk.Rejected("403")), [300, 300, 300, 300]),
        (lambda: grouped(tk.Rejected("403"), ValueError("a defect")), [1, 2, 5, 15]),
        (lambda: tk.Unreachable("busy", retry_after_s=-7.0), [1, 2, 5, 15]),
        (lambda: tk.Unreachable("busy", retry_after_s=float("nan")), [1, 2, 5, 15]),
        (lambda: tk.Unreachable("busy", retry_after_s=cast(float, "7")), [1, 2, 5, 15]),
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


@pytest.mark.parametrize("asked_s", [float("inf"), 1e308])
async def test_no_platform_is_left_alone_for_more_than_a_week_because_it_says_so(
    asked_s: float, autojump_clock: MockClock
) -> None:
    tg = Falling("tg", lambda: tk.Unreachable("busy", retry_after_s=asked_s))
    async with on_stage(echo, tg) as stage:
        await trio.sleep(1)
        (status,) = await stage.runtime.channel_statuses()
        assert status.next_try is not None
        await trio.sleep(5 * 8 * 86_400)
        assert len(tg.pauses) == 4
        assert all(7 * 86_400 <= pause <= 9 * 86_400 for pause in tg.pauses)


class Stumbling(LoopbackChannel):
    """Fails in its nursery while it is being stopped."""

    async def run(self, deliver: tk.Deliver) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(super().run, deliver)
            try:
                await trio.sleep_forever()
            finally:
                raise tk.Unreachable("the connection ended midway")


async def test_what_a_channel_raises_while_it_is_stopped_ends_no_runtime(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tg = Stumbling("tg")
    async with on_stage(echo, tg):
        await tg.receive("hi")
        await tg.next_sent()
    assert "channel tg broke while it stopped" in caplog.text


async def test_what_was_to_be_looked_at_is_forgotten_when_a_channel_is_run_again(
    autojump_clock: MockClock,
) -> None:
    def error() -> Exception:
        tg.line.warning = "somebody else uses the token"
        return tk.Unreachable("conflict")

    tg = Falling("tg", error)
    async with on_stage(echo, tg) as stage:
        await trio.sleep(0.5)
        assert tg.line.warning
        await trio.sleep(2_000)
        (status,) = await stage.runtime.channel_statuses()
        assert (status.state, status.warning, status.next_try) == ("connected", None, None)


async def test_no_secret_of_a_channel_gets_out_when_it_breaks(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    token = Secret("1234:very-secret")
    where = f"https://api.example.com/bot{token.reveal()}/getMe"

    def error() -> Exception:
        tg.line.warning = f"look at {where}"
        broken = tk.Unreachable(f"cannot ask {where}")
        broken.__cause__ = OSError(f"no answer of {where}")
        return broken if len(tg.began) % 2 else grouped(broken, ValueError(where))

    tg = Falling("tg", error)
    async with on_stage(echo, tg) as stage, stage.runtime.feed() as events:
        texts: list[str] = []
        await trio.sleep(1.5)
        (status,) = await stage.runtime.channel_statuses()
        texts += [str(status), repr(tg.line)]
        async for event in events:
            texts.append(f"{event}")
            if len(texts) == 4:
                break
    for text in (caplog.text, *texts):
        assert token.reveal() not in text
    assert "look at https" in texts[0]


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
