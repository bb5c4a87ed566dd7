"""The feed as programs have it: awaited, entered, from other threads, and over the socket."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import turnkeeper as tk
from turnkeeper.control import JsonLines, RequestFailed, connect
from turnkeeper.feeding import host_watcher, watch
from turnkeeper.plain import to_json
from turnkeeper.storage.memory import open_memory
from turnkeeper.testing import LoopbackChannel

from .gateway import Gateway

KINDS = ["accepted", "turn_started", "turn_ended", "delivery"]
"""What one turn tells."""


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys)


async def echo(turn: tk.Turn) -> str:
    await trio.lowlevel.checkpoint()
    return turn.text


# -- on trio ---------------------------------------------------------------------------------------


async def test_the_same_call_gives_what_is_shown_and_what_happens() -> None:
    tg = LoopbackChannel("tg")
    async with (
        open_memory() as store,
        tk.open_runtime(None, agent=echo, channels=[tg], store=store) as runtime,
    ):
        assert await runtime.feed() == []
        async with runtime.feed() as events:
            await tg.receive("hi")
            told = [await events.__anext__() for _ in KINDS]
        assert [event.kind for event in told] == KINDS
        assert [event async for event in events] == []


async def test_one_feed_is_watched_once_at_a_time() -> None:
    async with (
        open_memory() as store,
        tk.open_runtime(None, agent=echo, store=store) as runtime,
    ):
        feed = runtime.feed()
        async with feed:
            with pytest.raises(RuntimeError, match="watched already"):
                await feed.__aenter__()
        async with feed:
            pass


async def test_events_become_json() -> None:
    tg = LoopbackChannel("tg")
    async with (
        open_memory() as store,
        tk.open_runtime(None, agent=echo, channels=[tg], store=store) as runtime,
        runtime.feed() as events,
    ):
        await tg.receive("\x1b[31mhi\udce9", conversation="c1")
        for _ in KINDS:
            event = await events.__anext__()
            line = to_json(event)
            assert line.isascii()
            known: dict[str, Any] = json.loads(line)
            assert set(known) == {
                *("number", "at", "kind", "session_id", "id", "instance", "conversation"),
                *("thread", "mission", "text", "detail"),
            }
            assert (known["number"], known["detail"]) == (event.number, event.detail)
            assert known["at"].endswith("Z")


# -- from other threads ----------------------------------------------------------------------------


def test_a_thread_follows_what_happens(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg")
    with tk.start_in_thread(tmp_path / "state", agent=echo, channels=[tg]) as handle:
        with handle.events() as events:
            handle.call(partial(tg.receive, "hi"))
            assert [next(events).kind for _ in KINDS] == KINDS
        assert list(events) == []
        assert handle.feed() == []


def test_a_thread_that_is_too_slow_is_told(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg")
    with (
        tk.start_in_thread(tmp_path / "state", agent=echo, channels=[tg]) as handle,
        handle.events(max_behind=2) as events,
    ):
        handle.call(partial(tg.receive, "hi"))
        handle.call(tg.next_sent)
        assert [next(events).number, next(events).number] == [1, 2]
        with pytest.raises(tk.FeedLagged) as lagged:
            next(events)
        assert lagged.value.last == 2


def test_a_thread_that_follows_ends_with_the_runtime(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg")
    told: list[tk.FeedEvent] = []
    watching = threading.Event()

    def follow(handle: tk.Handle) -> None:
        with handle.events() as events:
            watching.set()
            told.extend(events)

    with tk.start_in_thread(tmp_path / "state", agent=echo, channels=[tg]) as handle:
        thread = threading.Thread(target=follow, args=[handle])
        thread.start()
        assert watching.wait(10)
        handle.call(partial(tg.receive, "hi"))
        handle.call(tg.next_sent)
    thread.join(10)
    assert not thread.is_alive()
    assert [event.kind for event in told] == KINDS


# -- over the control socket -----------------------------------------------------------------------


async def test_whoever_watches_over_the_socket_is_told_until_the_runtime_stops(
    gateway: Gateway,
) -> None:
    told: list[Any] = []
    watching = trio.Event()

    async def follow() -> None:
        async with connect(gateway.state_dir) as lines:
            assert lines is not None
            async for event in watch(lines):
                if event is None:
                    watching.set()
                else:
                    told.append(event["kind"])

    async with trio.open_nursery() as nursery, gateway.up():
        nursery.start_soon(follow)
        await watching.wait()
        await gateway.say("tg", "ann")
        while len(told) < len(KINDS):
            await trio.lowlevel.checkpoint()
    assert told == KINDS


async def test_a_watcher_that_leaves_is_forgotten(gateway: Gateway) -> None:
    async with gateway.up() as runtime:
        bus = runtime._engine.bus  # pyright: ignore[reportPrivateUsage]
        async with connect(gateway.state_dir) as lines:
            assert lines is not None
            events = watch(lines)
            assert await events.__anext__() is None
            (watcher,) = bus.subscribers
            await events.aclose()
        with trio.fail_after(10):
            while watcher in bus.subscribers:
                await trio.lowlevel.checkpoint()
        await gateway.say("tg", "ann")


async def test_a_watcher_that_does_not_read_is_told_that_it_was_too_slow() -> None:
    tg = LoopbackChannel("tg")
    ours, theirs = trio.socket.socketpair()
    near, far = trio.SocketStream(ours), trio.SocketStream(theirs)
    near.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 1)
    async with (
        open_memory() as store,
        tk.open_runtime(None, agent=echo, channels=[tg], store=store) as runtime,
        near,
        far,
        trio.open_nursery() as nursery,
    ):
        refused: list[RequestFailed] = []

        async def host() -> None:
            try:
                await host_watcher(runtime.feed(max_behind=10), JsonLines(near))
            except RequestFailed as error:
                refused.append(error)
                await near.aclose()

        nursery.start_soon(host)
        lines = JsonLines(far)
        await wait_all_tasks_blocked()
        for number in range(50):
            await tg.receive("x" * 300, conversation=f"c{number % 5}", user_id=f"u{number % 5}")
        await wait_all_tasks_blocked()
        assert len(tg.sent) == 50, "the runtime went on"
        numbers: list[int] = []
        while (told := await lines.receive()) is not None:
            if "event" in told:
                numbers.append(told["event"]["number"])
        assert numbers == list(range(1, len(numbers) + 1))
        assert 10 <= len(numbers) < 200
        (error,) = refused
        assert error.kind == "lagged"
        assert f"number {len(numbers)}" in str(error)
