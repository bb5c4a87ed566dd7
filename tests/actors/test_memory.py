"""What an agent keeps of a session: durable before it returns, and nobody else's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import MemoryFull, StorageError, Turn, UnknownSession, views
from turnkeeper.actors.core.memory import MAX_KEYS, MAX_VALUE_BYTES, memory_of
from turnkeeper.actors.core.view_records import ForgottenRecord, MemoryRecord
from turnkeeper.actors.kernel import ActorDeadError
from turnkeeper.actors.memory_rows import load_memory, memory_key
from turnkeeper.storage.base import Batch, Reads, Table
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from .stage import Stage, crashed, kinds, log, on_stage
from .test_acting import assert_sound

Work = Callable[[Turn], Awaitable[str | None]]


class Agent:
    """Does what it is told by the next turn; answers with what went wrong."""

    def __init__(self, *works: Work) -> None:
        self.works = list(works)

    async def __call__(self, turn: Turn) -> str | None:
        return await self.works.pop(0)(turn) if self.works else turn.text


async def play(*works: Work, disk: MemoryDisk | None = None) -> MemoryDisk:
    """Let an agent do one work a turn; each is over before the next begins."""
    disk = disk or MemoryDisk()
    tg = LoopbackChannel("tg")
    agent = Agent(*works)
    async with on_stage(agent, tg, disk=disk) as stage:
        for number in range(len(works)):
            await tg.receive(f"turn {number}", conversation="c1", user_id="u1")
            await wait_all_tasks_blocked()
        assert not agent.works
        assert [sent.text for sent in tg.sent] == ["done"] * len(works)
        assert_rows_follow(stage.store)
        assert_sound(stage.store)
    return disk


def assert_rows_follow(store: Reads, stream: int = 1) -> dict[str, str]:
    """The rows are what the log says; return them."""
    kept = load_memory(store, stream)
    assert kept == memory_of(log(store, stream))
    return kept


async def test_what_is_kept_is_read_at_once_and_in_later_turns() -> None:
    async def write(turn: Turn) -> str:
        assert turn.memory.get("city") is None
        await turn.memory.set("city", "Oslo")
        await turn.memory.set("name", "Ada")
        await turn.memory.set("city", "Bergen")
        assert turn.memory.get("city") == "Bergen"
        return "done"

    async def read(turn: Turn) -> str:
        memory = turn.memory
        assert memory.items() == (("city", "Bergen"), ("name", "Ada"))
        assert memory.keys() == ("city", "name")
        assert (len(memory), "name" in memory, "street" in memory) == (2, True, False)
        assert memory.get("street", 7) == 7
        return "done"

    disk = await play(write, read)
    await play(read, disk=disk)


async def test_a_record_names_the_turn_in_which_it_was_kept() -> None:
    async def write(turn: Turn) -> str:
        await turn.memory.set("city", "Oslo")
        assert await turn.memory.delete("city") is True
        assert await turn.memory.delete("city") is False
        await turn.memory.set("city", "Rome")
        assert await turn.memory.clear() == 1
        assert await turn.memory.clear() == 0
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(write, tg) as stage:
        accepted = await tg.receive("hi")
        await tg.next_sent()
        turn_seq = int(accepted.turn_id.partition("/")[2])
        told = [r for r in log(stage.store) if isinstance(r, MemoryRecord | ForgottenRecord)]
        shown = [(r.key, r.value, r.during) if isinstance(r, MemoryRecord) else r.by for r in told]
        assert shown == [
            ("city", "Oslo", turn_seq),
            ("city", None, turn_seq),
            ("city", "Rome", turn_seq),
            f"turn {accepted.turn_id}",
        ]
        assert assert_rows_follow(stage.store) == {}


async def test_the_value_that_is_there_already_is_not_written_again() -> None:
    async def write(turn: Turn) -> str:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(turn.memory.set, "city", "Oslo")
        await turn.memory.set("city", "Oslo")
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(write, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        assert kinds(stage.store).count("memory") == 1


async def test_nothing_returns_before_it_is_durable() -> None:
    finished: list[str] = []
    held = trio.Event()

    async def write(turn: Turn) -> str:
        async def keep(key: str) -> None:
            await turn.memory.set(key, "v")
            finished.append(key)

        await held.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, "a")
            nursery.start_soon(keep, "a")
            await wait_all_tasks_blocked()
            assert turn.memory.get("a") is None
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(write, tg) as stage:
        await tg.receive("hi")
        stage.store.hold()
        held.set()
        await wait_all_tasks_blocked()
        assert finished == []
        lost = crashed(stage.disk)
        stage.store.release()
        await tg.next_sent()
        assert finished == ["a", "a"]
    async with on_stage(Agent(), disk=lost) as stage:
        assert load_memory(stage.store, 1) == {}


async def test_what_may_not_be_kept_is_refused_and_nothing_is_stored() -> None:
    async def write(turn: Turn) -> str:
        memory: Any = turn.memory
        for key, value, error in (
            ("", "v", ValueError),
            ("k" * 201, "v", ValueError),
            (7, "v", TypeError),
            ("k", None, TypeError),
            ("k", b"v", TypeError),
            ("k", "é" * MAX_VALUE_BYTES, ValueError),
        ):
            with pytest.raises(error):
                await memory.set(key, value)
        with pytest.raises(TypeError):
            memory.get(7)
        return "done"

    disk = await play(write)
    async with on_stage(Agent(), disk=disk) as stage:
        assert "memory" not in kinds(stage.store)


async def test_bounds_count_what_is_on_its_way_to_the_disk() -> None:
    refused: list[str] = []

    async def fill(turn: Turn) -> str:
        async def keep(key: str) -> None:
            try:
                await turn.memory.set(key, "v" * 10)
            except MemoryFull as error:
                refused.append(str(error))

        async with trio.open_nursery() as nursery:
            for number in range(MAX_KEYS + 5):
                nursery.start_soon(keep, f"k{number}")
        return "done"

    async def on(turn: Turn) -> str:
        assert len(turn.memory) == MAX_KEYS
        with pytest.raises(MemoryFull):
            await turn.memory.set("one more", "v")
        assert await turn.memory.clear() == MAX_KEYS
        await turn.memory.set("one more", "v")
        return "done"

    disk = await play(fill, on)
    assert len(refused) == 5
    assert {"at most 1,000 keys" in text for text in refused} == {True}
    async with on_stage(Agent(), disk=disk) as stage:
        assert assert_rows_follow(stage.store) == {"one more": "v"}


async def test_a_cleared_context_and_a_restart_leave_what_is_kept() -> None:
    tg = LoopbackChannel("tg")
    disk = MemoryDisk()

    async def write(turn: Turn) -> str:
        await turn.memory.set("city", "Oslo")
        return "done"

    async with on_stage(write, tg, disk=disk) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        await stage.runtime.clear("s1")
        after = crashed(disk)
    for left in (disk, after):
        async with on_stage(write, disk=left) as stage:
            assert await stage.runtime.memory("s1") == {"city": "Oslo"}


async def test_the_window_never_shows_what_is_kept() -> None:
    async def write(turn: Turn) -> str:
        await turn.memory.set("secret", "swordfish")
        await turn.memory.clear()
        return "done"

    async def read(turn: Turn) -> str:
        assert [message.role for message in turn.messages] == ["user", "assistant", "user"]
        assert not any("swordfish" in message.text for message in turn.messages)
        return "done"

    await play(write, read)


async def test_each_session_has_its_own_also_where_one_goes_on_in_another() -> None:
    async def write(turn: Turn) -> str:
        await turn.memory.set("who", turn.context.user_id)
        await turn.memory.set(turn.context.user_id, "here")
        return ",".join(turn.memory.keys())

    async def read(turn: Turn) -> str:
        return ",".join(turn.memory.keys())

    tg = LoopbackChannel("tg")
    async with on_stage(Agent(write, write, read), tg) as stage:
        for user in ("u1", "u2"):
            await tg.receive("hi", conversation=f"c-{user}", user_id=user)
            assert (await tg.next_sent()).text == f"{user},who"
        await stage.runtime.move_binding("tg", "c-u2", session_id="s1")
        await tg.receive("who am I?", conversation="c-u2", user_id="u2")
        assert (await tg.next_sent()).text == "u1,who"
        assert await stage.runtime.memory("s2") == {"u2": "here", "who": "u2"}
        assert_sound(stage.store)


async def test_a_mission_keeps_its_own() -> None:
    async def agent(turn: Turn) -> str:
        before = turn.memory.get("runs", "0")
        await turn.memory.set("runs", str(int(before) + 1))
        return before

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        await stage.runtime.add_mission("m", "every 1h", "look")
        for _ in range(2):
            await stage.runtime.run_mission("m")
        mission = (await stage.runtime.mission("m")).session_id
        assert await stage.runtime.memory(mission) == {"runs": "2"}
        assert await stage.runtime.memory("s1") == {"runs": "1"}


async def test_the_order_of_the_log_decides_where_an_operator_empties_it_meanwhile() -> None:
    results: list[object] = []

    async def write(turn: Turn) -> str:
        await turn.memory.set("before", "v")
        stage.store.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(turn.memory.set, "meanwhile", "v")
            await wait_all_tasks_blocked()
            nursery.start_soon(clear)
            await wait_all_tasks_blocked()
            nursery.start_soon(turn.memory.set, "after", "v")
            await wait_all_tasks_blocked()
            stage.store.release()
        return "done"

    async def clear() -> None:
        results.append(await stage.runtime.clear_memory("s1"))

    tg = LoopbackChannel("tg")
    async with on_stage(write, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        assert results == [2]
        assert assert_rows_follow(stage.store) == {"after": "v"}
        assert await stage.runtime.clear_memory("s1", by="operator") == 1
        last = log(stage.store)[-1]
        assert isinstance(last, ForgottenRecord)
        assert last.by == "operator"


async def test_a_session_that_is_not_there_has_no_memory() -> None:
    async with on_stage(Agent()) as stage:
        with pytest.raises(UnknownSession):
            await stage.runtime.memory("s1")
        with pytest.raises(UnknownSession):
            await stage.runtime.clear_memory("s1")


async def test_a_session_that_broke_loses_nothing_that_was_acknowledged(
    autojump_clock: MockClock,
) -> None:
    kept: dict[str, str] = {}

    async def write(turn: Turn) -> str:
        number = turn.attempt * 10
        while True:
            number += 1
            try:
                await turn.memory.set(f"k{number % 7}", str(number))
            except ActorDeadError:
                continue  # it may be stored, or not
            kept[f"k{number % 7}"] = str(number)
            assert turn.memory.get(f"k{number % 7}") == str(number)
            if number % 10 == 5:
                (await stage.runtime.session_ref("s1")).tell("what no session understands")
            if number % 10 == 9:
                return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(write, tg) as stage:
        await tg.receive("hi")
        await trio.sleep(60)
        assert assert_rows_follow(stage.store).items() >= kept.items()
        assert len(kept) == 7


async def test_a_session_that_left_memory_comes_back_to_be_emptied(
    autojump_clock: MockClock,
) -> None:
    async def write(turn: Turn) -> str:
        await turn.memory.set("city", "Oslo")
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(write, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        await trio.sleep(24 * 3600)
        assert await stage.runtime.clear_memory("s1") == 1
        assert assert_rows_follow(stage.store) == {}


async def test_a_damaged_row_is_named_and_can_be_emptied_away() -> None:
    async def write(turn: Turn) -> str:
        await turn.memory.set("city", "Oslo")
        await turn.memory.set("name", "Ada")
        return "done"

    async def meet(turn: Turn) -> str:
        assert turn.memory.get("name") == "Ada"
        with pytest.raises(StorageError):
            turn.memory.get("city")
        with pytest.raises(StorageError):
            await turn.memory.set("name", "Bob")
        assert await turn.memory.clear() == 2
        await turn.memory.set("name", "Bob")
        return "done"

    disk = await play(write)
    async with on_stage(Agent(), disk=disk) as stage:
        batch = Batch()
        batch.put(Table.MEMORY, memory_key(1, "city"), b"\x01junk that is no row")
        await stage.store.commit(batch)
    await play(meet, disk=disk)


async def test_history_tells_what_was_kept_in_words() -> None:
    async def write(turn: Turn) -> str:
        await turn.memory.set("city", "Oslo")
        await turn.memory.delete("city")
        await turn.memory.set("city", "")
        await turn.memory.clear()
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(write, tg) as stage:
        accepted = await tg.receive("hi")
        await tg.next_sent()
        shown = views.history(stage.store, "s1") or []
        assert [r.text for r in shown if r.kind in ("memory", "forgotten")] == [
            "city = Oslo",
            "city is kept no more",
            "city = ",
            f"by turn {accepted.turn_id}",
        ]


@pytest.mark.parametrize("seed", range(12))
async def test_a_crash_at_any_moment_keeps_what_was_acknowledged_and_rows_follow(
    seed: int,
) -> None:
    rng = Random(seed)
    print(f"seed {seed}")
    certain: dict[str, str | None] = {}
    doubtful: dict[str, set[str | None]] = {}
    copies: list[tuple[MemoryDisk, dict[str, str | None], dict[str, set[str | None]]]] = []

    def cut(stage: Stage) -> None:
        doubts = {key: set(values) for key, values in doubtful.items()}
        copies.append((crashed(stage.disk), dict(certain), doubts))

    async def change(turn: Turn, key: str, value: str | None) -> None:
        doubtful.setdefault(key, {certain.get(key)}).add(value)
        if value is None:
            await turn.memory.delete(key)
        else:
            await turn.memory.set(key, value)
        certain[key] = value
        del doubtful[key]
        if rng.random() < 0.2:
            cut(stage)

    async def agent(turn: Turn) -> str:
        for number in range(30):
            if rng.random() < 0.2:
                stage.store.hold()
            keys = rng.sample("abcdefgh", 3)
            async with trio.open_nursery() as nursery:
                for key in keys:
                    value = None if rng.random() < 0.3 else f"{number}"
                    nursery.start_soon(change, turn, key, value)
                await wait_all_tasks_blocked()
                cut(stage)
                stage.store.release()
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await tg.receive("hi")
        assert (await tg.next_sent()).text == "done"
        cut(stage)
    for disk, sure, doubts in rng.sample(copies, min(len(copies), 20)):
        async with on_stage(Agent(), disk=disk) as stage:
            kept = assert_rows_follow(stage.store)
            for key in {*sure, *doubts}:
                assert kept.get(key) in doubts.get(key, {sure.get(key)})
