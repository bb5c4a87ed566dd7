"""How far an instance has heard its platform, across restarts."""

from __future__ import annotations

from typing import Any

import pytest
import trio

import turnkeeper as tk
from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.keys import hash16
from turnkeeper.storage.memory import MemoryDisk, MemoryStore, open_memory
from turnkeeper.testing import LoopbackChannel
from turnkeeper.watermarks import MAX_WATERMARK_CHARS, StoredWatermark


async def echo(turn: tk.Turn) -> str:
    return turn.text


def mark_of(channel: LoopbackChannel) -> tk.Watermark:
    assert channel.watermark is not None
    return channel.watermark


async def test_a_watermark_is_there_again_after_a_restart_and_each_instance_has_its_own() -> None:
    disk = MemoryDisk()
    for round_ in range(2):
        tg, dc = LoopbackChannel("tg"), LoopbackChannel("dc")
        async with (
            open_memory(disk) as store,
            tk.open_runtime(None, agent=echo, channels=[tg, dc], store=store),
        ):
            assert mark_of(tg).value == (None, "s72_9")[round_]
            assert mark_of(dc).value is None
            await mark_of(tg).move("s72_8")
            await mark_of(tg).move("s72_9")
            assert mark_of(tg).value == "s72_9"


@pytest.mark.parametrize("gives_up", [False, True])
@pytest.mark.parametrize("last", ["old", "new", "newer"])
async def test_of_moves_at_once_the_last_call_wins(last: str, gives_up: bool) -> None:
    tg = LoopbackChannel("tg")
    async with (
        open_memory(MemoryDisk()) as store,
        tk.open_runtime(None, agent=echo, channels=[tg], store=store),
    ):
        for _ in range(20):  # who wakes first is chance
            await mark_of(tg).move("old")
            async with trio.open_nursery() as nursery:
                submitting = trio.Event()

                async def move(begun: trio.Event = submitting) -> None:
                    begun.set()
                    await mark_of(tg).move("new")

                nursery.start_soon(move)
                await submitting.wait()  # and so it is, or was, on its way
                if gives_up:
                    nursery.cancel_scope.cancel()
                else:
                    await mark_of(tg).move(last)
            if gives_up:
                await mark_of(tg).move(last)
            assert mark_of(tg).value == last
            assert StoredWatermark(store, tg.name).value == last


async def test_a_watermark_that_is_too_long_is_refused_and_the_old_one_stays() -> None:
    tg = LoopbackChannel("tg")
    async with (
        open_memory(MemoryDisk()) as store,
        tk.open_runtime(None, agent=echo, channels=[tg], store=store),
    ):
        await mark_of(tg).move("x" * MAX_WATERMARK_CHARS)
        with pytest.raises(ValueError, match="65537 characters; 65536 are allowed"):
            await mark_of(tg).move("y" * (MAX_WATERMARK_CHARS + 1))
        assert mark_of(tg).value == "x" * MAX_WATERMARK_CHARS


async def test_a_watermark_that_is_not_stored_does_not_move() -> None:
    tg = LoopbackChannel("tg")

    async def move_while_the_disk_fails(store: MemoryStore) -> None:
        async with tk.open_runtime(None, agent=echo, channels=[tg], store=store):
            await mark_of(tg).move("1")
            store.fail_next()
            with (
                trio.CancelScope(shield=True),
                pytest.raises(tk.ShuttingDown, match="the watermark of 'tg' is not stored"),
            ):
                await mark_of(tg).move("2")
            await trio.sleep_forever()

    async with open_memory(MemoryDisk()) as store:
        with pytest.raises(tk.RuntimeFailed):
            await move_while_the_disk_fails(store)
    assert mark_of(tg).value == "1"


@pytest.mark.parametrize("row", [b"nonsense", None])
async def test_a_damaged_watermark_is_said_and_heard_from_where_the_platform_stands(
    row: Any, caplog: pytest.LogCaptureFixture
) -> None:
    disk = MemoryDisk()
    async with open_memory(disk) as store:
        if row is not None:
            batch = Batch()
            batch.put(Table.WATERMARKS, hash16("watermark", "tg"), row)
            await store.commit(batch)
        tg = LoopbackChannel("tg")
        async with tk.open_runtime(None, agent=echo, channels=[tg], store=store):
            assert mark_of(tg).value is None
    assert ("tg is heard from where it stands" in caplog.text) == (row is not None)
