"""Files that humans send: kept before their turn, for the session that was given them alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    Agent,
    Attachment,
    Channel,
    FileNotKept,
    FileTooLarge,
    InvalidTurn,
    Runtime,
    ShuttingDown,
    Turn,
    open_runtime,
)
from turnkeeper.actors.blob_rows import is_named, named_in
from turnkeeper.channels.inlet import KEPT_FOR_S
from turnkeeper.storage.blobs import Blobs
from turnkeeper.storage.errors import BlobMissing
from turnkeeper.storage.memory import MemoryDisk, MemoryStore, open_memory
from turnkeeper.sweeping import sweep_blobs, unreferenced
from turnkeeper.testing import LoopbackChannel

CAT = b"a picture of a cat"
CAT_DIGEST = sha256(CAT).digest()
CAT_REFERENCE = f"blob:sha256:{CAT_DIGEST.hex()}"
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


async def echo(turn: Turn) -> str:
    return turn.text


class Stage:
    """A runtime on a store in memory, with a folder for files."""

    def __init__(self, runtime: Runtime, store: MemoryStore, state_dir: Path) -> None:
        self.runtime = runtime
        self.store = store
        self.blobs = Blobs(state_dir, lambda: 0)


@asynccontextmanager
async def on_stage(
    state_dir: Path,
    *channels: Channel,
    agent: Agent = echo,
    disk: MemoryDisk | None = None,
    **config: Any,
) -> AsyncGenerator[Stage]:
    async with (
        open_memory(disk or MemoryDisk()) as store,
        open_runtime(
            state_dir, agent=agent, channels=channels, store=store, config=config
        ) as runtime,
    ):
        yield Stage(runtime, store, state_dir)


def of_platform(reference: str, name: str | None = None) -> Attachment:
    return Attachment(kind="file", reference=reference, name=name)


# -- channels keep ---------------------------------------------------------------------------------


async def test_a_channel_keeps_a_file_and_delivers_it_with_its_turn(tmp_path: Path) -> None:
    seen: list[Attachment] = []

    async def agent(turn: Turn) -> str:
        seen.extend(turn.attachments)
        return "nice"

    async with on_stage(tmp_path, tg := LoopbackChannel("tg"), agent=agent) as stage:
        photo = await tg.keep(CAT, kind="image", mime="image/png", name="cat.png")
        accepted = await tg.receive("look", attachments=(photo,))
        await tg.next_sent()
        (seq,) = named_in(stage.store, CAT_DIGEST, 1)
        assert accepted.turn_id == f"s1/{seq}"
    assert seen == [
        Attachment(
            kind="image",
            reference=CAT_REFERENCE,
            mime="image/png",
            size_bytes=len(CAT),
            name="cat.png",
        )
    ]


async def test_a_file_may_come_in_pieces(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield CAT[:4]
        yield CAT[4:]

    async with on_stage(tmp_path, tg := LoopbackChannel("tg")):
        assert (await tg.keep(pieces())).reference == CAT_REFERENCE


async def test_a_file_that_is_too_long_is_refused_with_the_limit(tmp_path: Path) -> None:
    limits = {"attachment_max_bytes": 17}
    async with on_stage(tmp_path, tg := LoopbackChannel("tg"), runtime=limits) as stage:
        with pytest.raises(FileTooLarge, match="17 bytes, which attachment_max_bytes") as caught:
            await tg.keep(CAT)
        assert caught.value.limit_bytes == 17
        assert list(stage.blobs.older_than(2**62)) == []


async def test_a_runtime_without_a_state_directory_says_that_it_keeps_nothing() -> None:
    tg = LoopbackChannel("tg")
    async with (
        open_memory(MemoryDisk()) as store,
        open_runtime(None, agent=echo, channels=[tg], store=store),
    ):
        with pytest.raises(FileNotKept, match="without a state directory"):
            await tg.keep(CAT)
        await tg.receive("hi", attachments=(of_platform("https://example.org/cat"),))


async def test_a_folder_that_cannot_be_used_is_named_to_the_channel(tmp_path: Path) -> None:
    async with on_stage(tmp_path, tg := LoopbackChannel("tg")):
        (tmp_path / "blobs").write_text("somebody's file")
        with pytest.raises(FileNotKept, match="is not a directory"):
            await tg.keep(CAT)


async def test_a_runtime_that_has_stopped_keeps_nothing(tmp_path: Path) -> None:
    async with on_stage(tmp_path, tg := LoopbackChannel("tg")):
        await tg.receive("hi")
    assert tg.keep_file is not None
    with pytest.raises(ShuttingDown):
        await tg.keep_file(CAT, kind="image")


async def test_nobody_is_given_a_file_for_knowing_its_digest(tmp_path: Path) -> None:
    tg, web = LoopbackChannel("tg"), LoopbackChannel("web")
    async with on_stage(tmp_path, tg, web) as stage:
        photo = await tg.keep(CAT, kind="image")
        with pytest.raises(InvalidTurn, match="'web' has not kept the file"):
            await web.receive("mine", attachments=(photo,))
        with pytest.raises(InvalidTurn, match="has not kept"):
            await tg.receive("mine", attachments=(of_platform("blob:sha256:" + "0" * 64),))
        with pytest.raises(InvalidTurn, match="has not kept"):
            await tg.receive("mine", attachments=(of_platform("blob:anything"),))
        assert not is_named(stage.store, CAT_DIGEST)
        await tg.receive("mine", attachments=(photo,))
        assert is_named(stage.store, CAT_DIGEST)


async def test_a_file_that_was_kept_long_ago_must_be_kept_again(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with on_stage(tmp_path, tg := LoopbackChannel("tg")):
        photo = await tg.keep(CAT, kind="image")
        mock_clock.jump(KEPT_FOR_S - 1)
        await tg.receive("in time", attachments=(photo,))
        mock_clock.jump(1)
        with pytest.raises(InvalidTurn, match="or too long ago"):
            await tg.receive("too late", attachments=(photo,))
        await tg.keep(CAT, kind="image")
        await tg.receive("again", attachments=(photo,))


async def test_what_is_no_attachment_is_refused_and_breaks_nothing(tmp_path: Path) -> None:
    async with on_stage(tmp_path, tg := LoopbackChannel("tg")):
        broken: Any
        for broken in (5, "photo", (None,), (of_platform(b"blob:"),), [of_platform("x")]):  # type: ignore[arg-type]
            with pytest.raises(InvalidTurn):
                await tg.receive("look", attachments=broken)
        await tg.receive("still here")


async def test_a_message_that_is_delivered_again_with_its_file_is_the_same(tmp_path: Path) -> None:
    disk = MemoryDisk()
    for again in (False, True):
        async with on_stage(tmp_path, tg := LoopbackChannel("tg"), disk=disk) as stage:
            photo = await tg.keep(CAT, kind="image")
            accepted = await tg.receive("look", attachments=(photo,), message_id="m1")
            assert accepted.duplicate is again
            (seq,) = named_in(stage.store, CAT_DIGEST, 1)
            assert accepted.turn_id == f"s1/{seq}"


async def test_files_of_the_platform_s_own_have_no_rows(tmp_path: Path) -> None:
    async with on_stage(tmp_path, tg := LoopbackChannel("tg")) as stage:
        await tg.receive("look", attachments=(of_platform("AgADBAAD"), of_platform("x" * 64)))
        assert not is_named(stage.store, b"")


# -- clean-up --------------------------------------------------------------------------------------


async def test_only_files_that_nothing_names_and_that_are_old_go(tmp_path: Path) -> None:
    async with on_stage(tmp_path, tg := LoopbackChannel("tg")) as stage:
        photo = await tg.keep(CAT, kind="image")
        await tg.receive("look", attachments=(photo, photo))
        await tg.keep(b"never delivered")
        (digest,) = unreferenced(stage.store, stage.blobs, 2**62)
        assert digest == sha256(b"never delivered").digest()
        assert unreferenced(stage.store, stage.blobs, 0) == []
        assert await sweep_blobs(stage.store, stage.blobs, 0) == 0
        assert await sweep_blobs(stage.store, stage.blobs, 2**62) == 1
        assert await sweep_blobs(stage.store, stage.blobs, 2**62) == 0
        with pytest.raises(BlobMissing):
            stage.blobs.check(digest)
        stage.blobs.check(CAT_DIGEST)


async def test_a_file_that_no_turn_names_goes_after_a_day(tmp_path: Path) -> None:
    disk, kept = MemoryDisk(), Blobs(tmp_path, lambda: 0)
    for later, left in ((timedelta(), 2), (DAY - SECOND, 2), (DAY + SECOND, 1)):
        tg = LoopbackChannel("tg")
        async with (
            open_memory(disk) as store,
            open_runtime(
                tmp_path, agent=echo, channels=[tg], store=store, clock=partial(time_at, later)
            ),
        ):
            if not later:
                await tg.keep(b"never delivered")
                await tg.receive("look", attachments=(await tg.keep(CAT, kind="image"),))
            await wait_all_tasks_blocked()  # the sweeper has begun, and a stop waits for its thread
        assert len(list(kept.older_than(2**62))) == left
    kept.check(CAT_DIGEST)


def time_at(later: timedelta) -> datetime:
    return datetime(2026, 1, 7, tzinfo=UTC) + later
