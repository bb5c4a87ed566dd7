"""turnkeeper from plain threads and from asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pykka
import pytest
import trio

from turnkeeper import (
    Address,
    ConfigError,
    Handle,
    Outcome,
    RuntimeFailed,
    StorageError,
    Turn,
    TurnRefused,
    UnknownSession,
    start_in_thread,
)
from turnkeeper.actors import WouldDeadlock
from turnkeeper.actors.deliveries import SendMessage
from turnkeeper.actors.messages import CatchUp, Instance, SessionId
from turnkeeper.storage.errors import StoreLocked
from turnkeeper.storage.memory import MemoryStore, open_memory
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo


def test_plain_threads_use_a_runtime_together(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg")
    with start_in_thread(tmp_path / "state", agent=echo, channels=[tg]) as handle:

        def human(name: str) -> None:
            for number in range(20):
                handle.call(
                    partial(tg.receive, f"{name} {number}", conversation=name, user_id=name)
                )

        humans = [threading.Thread(target=human, args=(f"c{n}",)) for n in range(4)]
        for thread in humans:
            thread.start()
        for thread in humans:
            thread.join()
        sent = [handle.call(tg.next_sent) for _ in range(80)]
        for name in ("c0", "c1", "c2", "c3"):
            texts = [message.text for message in sent if message.conversation == name]
            assert texts == [f"{name} {number}" for number in range(20)]
        assert len(handle.sessions()) == 4
        assert len(handle.bindings()) == 4


def test_the_handle_offers_what_the_runtime_does(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg")
    with start_in_thread(tmp_path / "state", agent=echo, channels=[tg]) as handle:
        accepted = handle.call(partial(tg.receive, "hi", conversation="c1"))
        handle.call(tg.next_sent)
        assert handle.session("s1").id == accepted.session_id
        opened = [record.kind for record in handle.history("s1")][:4]
        assert opened == ["opened", "keyed", "bound", "user"]
        assert [message.text for message in handle.context("s1")] == ["hi", "hi"]
        binding = handle.binding("tg", "c1")
        assert binding is not None
        assert binding.session_id == "s1"
        assert handle.binding("tg", "c2") is None
        outcome = handle.send_message("s1", "by the way")
        assert outcome.status == "delivered"
        assert outcome.delivery_id is not None
        assert handle.retry_delivery(outcome.delivery_id).reason == "already_arrived"
        nobody = Address(instance=Instance("tg"), conversation="c2")
        assert handle.send_message("s1", "psst", nobody).reason == "no_recipient"
        story = handle.explain("s1/4")
        assert story is not None
        assert story.kind == "turn"
        assert handle.feed() == []
        assert handle.deliveries() == []


def test_actors_are_reached_by_pykka_refs_from_any_thread(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg")
    with start_in_thread(tmp_path / "state", agent=echo, channels=[tg]) as handle:
        handle.call(partial(tg.receive, "hi"))
        handle.call(tg.next_sent)
        session, channel = handle.session_ref("s1"), handle.channel_ref("tg")
        assert isinstance(session, pykka.ActorRef)
        assert session.is_alive()
        assert session.ask(CatchUp()) is None
        assert channel.ask(CatchUp()) == 1
        outcome = session.ask(SendMessage(session_id=SessionId("s1"), text="unasked"))
        assert isinstance(outcome, Outcome)
        assert outcome.status == "delivered"
        future = session.ask(SendMessage(session_id=SessionId("s1"), text="again"), block=False)
        assert future.get(timeout=10).status == "delivered"
        with pytest.raises(KeyError):
            handle.channel_ref("ws")
    assert not session.is_alive()


def test_errors_cross_over_as_they_are(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg")
    with start_in_thread(tmp_path / "state", agent=echo, channels=[tg]) as handle:
        with pytest.raises(UnknownSession, match="'s1'"):
            handle.session("s1")
        with pytest.raises(UnknownSession):
            handle.send_message("s1", "psst")
        with pytest.raises(TurnRefused):
            handle.call(partial(tg.receive, "hi", message_id=""))


def test_a_runtime_that_cannot_begin_raises_in_the_callers_thread(tmp_path: Path) -> None:
    with pytest.raises(ConfigError), start_in_thread(tmp_path / "state"):
        pytest.fail("it began")
    with (
        start_in_thread(tmp_path / "state", agent=echo),
        pytest.raises(StoreLocked),
        start_in_thread(tmp_path / "state", agent=echo),
    ):
        pytest.fail("it began")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(StorageError), start_in_thread(tmp_path / "other", agent=echo):
        pytest.fail("it began")


def test_what_the_body_raises_comes_out_and_the_runtime_stops(tmp_path: Path) -> None:
    before = threading.active_count()
    with (
        pytest.raises(ValueError, match="mine"),
        start_in_thread(tmp_path / "state", agent=echo) as handle,
    ):
        raise ValueError("mine")
    assert threading.active_count() == before
    with pytest.raises(trio.RunFinishedError):
        handle.sessions()


def test_blocking_on_the_runtimes_own_thread_is_refused_instead_of_hanging(tmp_path: Path) -> None:
    refused: list[BaseException] = []

    async def agent(_turn: Turn) -> str:
        for block in (
            lambda: handle.session_ref("s1"),
            lambda: session.ask(CatchUp()),
        ):
            try:
                block()
            except (RuntimeError, WouldDeadlock) as error:
                refused.append(error)
        return "done"

    tg = LoopbackChannel("tg")
    with start_in_thread(tmp_path / "state", agent=agent, channels=[tg]) as handle:
        session = handle.channel_ref("tg")
        handle.call(partial(tg.receive, "hi"))
        handle.call(tg.next_sent)
    assert len(refused) == 2


def test_when_the_runtime_has_failed_the_failure_is_what_comes_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stores: list[MemoryStore] = []

    @asynccontextmanager
    async def open_in_memory(_path: Path) -> AsyncGenerator[MemoryStore]:
        async with open_memory() as store:
            stores.append(store)
            yield store

    async def spoil_the_disk() -> None:
        stores[0].fail_next()

    def program() -> None:
        tg = LoopbackChannel("tg")
        with start_in_thread("state", agent=echo, channels=[tg]) as handle:
            handle.call(spoil_the_disk)
            with pytest.raises(TurnRefused):
                handle.call(partial(tg.receive, "hi"))
            while True:
                handle.sessions()

    monkeypatch.setattr("turnkeeper.opening.open_lmdb", open_in_memory)
    with pytest.raises(RuntimeFailed, match="the disk refused"):
        program()


async def converse(tg: LoopbackChannel, handle: Handle) -> list[str]:
    """An asyncio program's way: every call in a worker thread."""
    call = handle.call
    await asyncio.gather(
        *(
            asyncio.to_thread(
                call, partial(tg.receive, str(n), conversation=f"c{n}", user_id=f"u{n}")
            )
            for n in range(8)
        )
    )
    return sorted([(await asyncio.to_thread(call, tg.next_sent)).text for _ in range(8)])


def test_asyncio_programs_use_it_through_worker_threads(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg")
    with start_in_thread(tmp_path / "state", agent=echo, channels=[tg]) as handle:
        assert asyncio.run(converse(tg, handle)) == [str(n) for n in range(8)]
