"""A runtime inside a program: how it begins, how it ends, and what it leaves alone."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    Address,
    Channel,
    ConfigError,
    RuntimeFailed,
    ShuttingDown,
    Turn,
    UnknownSession,
    open_runtime,
)
from turnkeeper.actors import Kernel, TrioActor
from turnkeeper.actors.messages import Instance
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo, kinds, on_stage, said


class Odd(BaseException):
    """What no `except Exception` catches."""


@pytest.mark.parametrize(
    "error", [ValueError("mine"), Odd("mine"), ExceptionGroup("g", [KeyError()])]
)
async def test_what_the_body_raises_comes_out_as_it_was_raised(error: BaseException) -> None:
    async def body() -> None:
        async with on_stage(echo, LoopbackChannel("tg")):
            await trio.lowlevel.checkpoint()
            raise error

    with pytest.raises(type(error)) as caught:
        await body()
    assert caught.value is error


async def test_a_cancelled_runtime_ends_at_once_and_keeps_what_it_accepted(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()

    async def hang(_turn: Turn) -> None:
        await trio.sleep_forever()

    for _ in range(5):  # more often than a turn has attempts
        with trio.move_on_after(1) as scope:
            async with on_stage(hang, tg := LoopbackChannel("tg"), disk=disk):
                await tg.receive("hi", message_id="m1")
                await trio.sleep_forever()
        assert scope.cancelled_caught
    assert autojump_clock.current_time() == pytest.approx(5)
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        assert (await tg.next_sent()).text == "hi"
        assert "quarantined" not in kinds(stage.store)


async def test_a_stopping_runtime_lets_agents_and_sends_end(autojump_clock: MockClock) -> None:
    async def agent(turn: Turn) -> str:
        await trio.sleep(2)
        return turn.text

    disk = MemoryDisk()
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg, disk=disk):
        for text in ("one", "two"):
            await tg.receive(text)
    assert [sent.text for sent in tg.sent] == ["one"]
    assert autojump_clock.current_time() == pytest.approx(2)
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        assert (await tg.next_sent()).text == "two"
        assert said(stage.store) == (["one", "two"], ["one", "two"])


async def test_a_stopping_runtime_waits_no_longer_than_its_deadline(
    autojump_clock: MockClock,
) -> None:
    attempts: list[int] = []

    async def agent(turn: Turn) -> str:
        attempts.append(turn.attempt)
        if len(attempts) < 6:
            await trio.sleep_forever()
        return turn.text

    disk = MemoryDisk()
    for life in range(5):
        tg = LoopbackChannel("tg")
        async with on_stage(agent, tg, disk=disk, runtime={"stop_deadline_s": 3.0}):
            if not life:
                await tg.receive("hi")
            await wait_all_tasks_blocked()
    assert autojump_clock.current_time() == pytest.approx(15)
    async with on_stage(agent, tg := LoopbackChannel("tg"), disk=disk):
        assert (await tg.next_sent()).text == "hi"
    assert attempts == [1] * 6  # an interrupted attempt is not counted


async def test_a_runtime_told_to_hurry_waits_for_nothing(autojump_clock: MockClock) -> None:
    async def agent(_turn: Turn) -> None:
        await trio.sleep_forever()

    disk = MemoryDisk()
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg, disk=disk, runtime={"stop_deadline_s": 60.0}) as stage:
        await tg.receive("hi")

        async def second_thought() -> None:
            await trio.sleep(1)
            stage.runtime.hurry()

        stage.runtime.start_soon(second_thought)
    assert autojump_clock.current_time() == pytest.approx(1)


async def test_a_stopped_runtime_takes_nothing_more() -> None:
    tg = LoopbackChannel("tg")
    refused = False

    async def agent(_turn: Turn) -> None:
        nonlocal refused
        stopping.set()
        await wait_all_tasks_blocked()
        try:
            await tg.receive("late", conversation="c2", user_id="u2")
        except ShuttingDown as error:
            refused = error.retryable

    stopping = trio.Event()
    async with on_stage(agent, tg):
        await tg.receive("hi")
        await stopping.wait()
    assert refused


async def test_context_variables_of_the_program_reach_its_agents() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nothing")
    variable.set("something")
    seen: list[str] = []

    async def agent(_turn: Turn) -> None:
        seen.append(variable.get())

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg):
        variable.set("something else")
        await tg.receive("hi")
        await wait_all_tasks_blocked()
    assert seen == ["something"]


# -- several at once -----------------------------------------------------------------------------


async def test_two_runtimes_share_a_loop_and_the_first_may_end_first(tmp_path: Path) -> None:
    opened, first_ended = trio.Event(), trio.Event()
    tg, ws = LoopbackChannel("tg"), LoopbackChannel("ws")

    async def first() -> None:
        async with open_runtime(tmp_path / "first", agent=echo, channels=[tg]):
            await tg.receive("one")
            await tg.next_sent()
            await opened.wait()
        first_ended.set()

    async def second() -> None:
        async with open_runtime(tmp_path / "second", agent=echo, channels=[ws]) as runtime:
            opened.set()
            await first_ended.wait()
            await ws.receive("two")
            assert (await ws.next_sent()).text == "two"
            assert len(await runtime.sessions()) == 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await wait_all_tasks_blocked()
        nursery.start_soon(second)


async def test_runtimes_open_and_close_one_after_the_other_in_one_loop() -> None:
    disk = MemoryDisk()
    for number in range(20):
        async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk):
            await tg.receive(str(number))
            await tg.next_sent()
        with pytest.raises(Exception, match="no kernel is running"):
            Kernel.current()


def test_two_runtimes_run_in_two_threads(tmp_path: Path) -> None:
    results: dict[str, list[str]] = {}

    def run(name: str) -> None:
        async def main() -> None:
            tg = LoopbackChannel("tg")
            async with open_runtime(tmp_path / name, agent=echo, channels=[tg]):
                for number in range(50):
                    await tg.receive(f"{name} {number}")
                results[name] = [(await tg.next_sent()).text for _ in range(50)]

        trio.run(main)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {name: [f"{name} {number}" for number in range(50)] for name in ("a", "b")}


async def test_a_runtime_lives_in_its_programs_own_kernel_and_leaves_it_as_it_was() -> None:
    class Counter(TrioActor):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def on_receive(self, message: object) -> int:
            self.count += 1
            return self.count

    async with Kernel.open() as kernel:
        counter = Counter.start()

        async def agent(turn: Turn) -> str:
            return f"{turn.text} {await counter.ask(turn.text, block=False)}"

        async with on_stage(agent, tg := LoopbackChannel("tg")):
            await tg.receive("hi")
            assert (await tg.next_sent()).text == "hi 1"
        await wait_all_tasks_blocked()
        assert "actors=1 " in repr(kernel)
        assert await counter.ask("again", block=False) == 2


async def test_a_program_that_is_cancelled_around_its_own_kernel_ends_with_its_runtime() -> None:
    with trio.CancelScope() as scope:
        async with Kernel.open(), on_stage(echo, tg := LoopbackChannel("tg")):
            await tg.receive("hi")
            await tg.next_sent()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_runtime_that_stops_while_it_wakes_thousands_of_sessions_leaves_none_behind() -> (
    None
):
    disk = MemoryDisk()
    never = trio.Event()

    async def hang(_turn: Turn) -> None:
        await never.wait()

    async with on_stage(
        hang, tg := LoopbackChannel("tg"), disk=disk, runtime={"stop_deadline_s": 0.0}
    ):
        for number in range(3_000):
            await tg.receive("hi", conversation=f"c{number}", user_id=f"u{number}")
    async with Kernel.open() as kernel:
        async with on_stage(
            hang, LoopbackChannel("tg"), disk=disk, runtime={"stop_deadline_s": 0.0}
        ):
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        assert "actors=0 " in repr(kernel)


# -- sends and views -------------------------------------------------------------------------------


async def test_what_a_session_says_unasked_goes_where_its_human_last_wrote() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi", conversation="c1")
        await tg.next_sent()
        outcome = await stage.runtime.send_message("s1", "by the way")
        assert outcome.status == "delivered"
        assert (await tg.next_sent()).conversation == "c1"
        assert (await stage.runtime.history("s1"))[-2].text == "by the way"


async def test_nobody_is_told_delivered_when_nothing_was(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        send = stage.runtime.send_message
        await tg.receive("hi", conversation="c1")
        await tg.receive("hi", conversation="c2", user_id="u2")
        await tg.next_sent()
        await tg.next_sent()
        with pytest.raises(UnknownSession):
            await send("s99", "psst")
        unbound = Address(instance=Instance("tg"), conversation="nobody")
        assert (await send("s1", "psst", unbound)).reason == "no_recipient"
        other = Address(instance=Instance("tg"), conversation="c2")
        elsewhere = await send("s1", "psst", other)
        assert (elsewhere.status, elsewhere.provenance) == ("delivered", "recorded")
        assert elsewhere.noted_in == "s2"
        assert (await tg.next_sent()).text == "psst"
        tg.fail_next("refused")
        assert (await send("s1", "later")).status == "retrying"
        assert (await tg.next_sent()).text == "later"
        tg.fail_next("timeout_after_send")
        assert (await send("s1", "perhaps")).status == "unknown"
        tg.fail_next("rejected")
        assert (await send("s1", "no")).status == "failed"
    assert autojump_clock.current_time() < 10


@pytest.mark.parametrize("text", [None, 3, b"bytes"])
async def test_what_is_no_text_cannot_be_sent_and_breaks_nothing(text: object) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        with pytest.raises(TypeError, match="text must be a str"):
            await stage.runtime.send_message("s1", text)  # type: ignore[arg-type]
        await tg.receive("ho")
        assert (await tg.next_sent()).text == "ho"


async def test_views_tell_what_there_is() -> None:
    tg = LoopbackChannel("tg", platform="telegram")
    async with on_stage(echo, tg) as stage:
        runtime = stage.runtime
        await tg.receive("hi", conversation="c1", guild="g1", direct=False, user_name="Ann")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        (info,) = await runtime.sessions()
        assert (info.id, info.state, info.agent, info.open_turns) == ("s1", "active", "main", 0)
        assert info.active_channel == Address(instance=Instance("tg"), conversation="c1")
        assert info.records == 5
        history = await runtime.history("s1")
        assert [(r.seq, r.kind) for r in history] == [
            (1, "opened"),
            (2, "bound"),
            (3, "user"),
            (4, "assistant"),
            (5, "delivery"),
        ]
        assert history[2].text == "hi"
        assert history[2].conversation == info.active_channel
        times = [record.at for record in history if record.at is not None]
        assert len(times) == len(history)
        assert times == sorted(times)
        assert [m.text for m in await runtime.context("s1")] == ["hi", "hi"]
        (binding,) = await runtime.bindings()
        assert (binding.guild, binding.direct, binding.platform) == ("g1", False, "telegram")
        assert await runtime.feed() == []
        assert await runtime.deliveries() == []


async def test_every_id_can_be_explained_and_no_other() -> None:
    tg = LoopbackChannel("tg", platform="telegram")
    async with on_stage(echo, tg) as stage:
        explain = stage.runtime.explain
        accepted = await tg.receive("hi", message_id="m1", user_id="u1")
        sent = await tg.next_sent()
        await wait_all_tasks_blocked()
        turn, delivery = await explain(accepted.turn_id), await explain(sent.delivery_id)
        session = await explain("s1")
        assert turn is not None
        assert delivery is not None
        assert session is not None
        assert (turn.kind, delivery.kind, session.kind) == ("turn", "delivery", "session")
        assert "telegram user 'u1' wrote message 'm1' in tg/c1" in turn.lines[0]
        assert "answered; the reply is delivery s1/5" in turn.lines[-1]
        assert "delivered as" in delivery.lines[-1]
        assert "owns tg/c1" in session.lines[-1]
        for nonsense in ("", "s2", "s1/", "s1/0", "s1/99", "s1/x", "/3", "s1/" + "9" * 5_000):
            assert await explain(nonsense) is None


# -- beginnings ------------------------------------------------------------------------------------


async def begin(*channels: Channel, **arguments: Any) -> None:
    async with open_runtime(None, channels=channels, **arguments):
        pytest.fail("it began")


async def test_a_runtime_that_cannot_begin_says_why() -> None:
    async with open_memory() as store:
        wrong: list[tuple[dict[str, Any], str]] = [
            ({}, "give either agent"),
            ({"agent": echo, "agents": {"main": echo}}, "give either agent"),
            ({"agents": {}}, "agents is empty"),
            ({"agent": 3}, "agent 'main' must be callable"),
            ({"agents": {"a": echo, "b": echo}}, "names the agent 'main'; there is: a, b"),
        ]
        for arguments, why in wrong:
            with pytest.raises(ConfigError, match=why):
                await begin(LoopbackChannel("tg"), store=store, **arguments)
    with pytest.raises(ConfigError, match="needs a state_dir, or an open store"):
        await begin(agent=echo)


async def test_two_channels_may_not_have_one_name() -> None:
    channels = [LoopbackChannel("tg"), LoopbackChannel("tg")]
    async with open_memory() as store:
        with pytest.raises(ConfigError, match="two channels are called 'tg'"):
            await begin(*channels, agent=echo, store=store)


async def test_the_only_agent_serves_every_channel_whatever_it_is_called() -> None:
    tg = LoopbackChannel("tg")
    async with (
        open_memory() as store,
        open_runtime(None, agents={"ops": echo}, channels=[tg], store=store) as runtime,
    ):
        await tg.receive("hi")
        assert (await runtime.session("s1")).agent == "ops"
        await tg.next_sent()


async def test_a_disk_that_fails_ends_the_runtime_even_if_the_body_only_sleeps() -> None:
    async def until_the_disk_refuses() -> None:
        async with on_stage(echo, tg := LoopbackChannel("tg")) as stage:
            await tg.receive("hi")
            await tg.next_sent()
            stage.store.fail_next()
            with pytest.raises(ShuttingDown):
                await tg.receive("lost")
            await trio.sleep_forever()

    with pytest.raises(RuntimeFailed, match="the disk refused"):
        await until_the_disk_refuses()
