from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper.channels.lanes import Lanes


async def test_one_conversation_is_heard_in_order_by_one_task_and_others_at_once() -> None:
    heard: list[str] = []
    go_on = {"a": trio.Event(), "b": trio.Event()}

    async def hear(thing: str) -> None:
        await go_on[thing[0]].wait()
        heard.append(thing)

    lanes = Lanes(hear)
    async with trio.open_nursery() as nursery:
        for number in range(100):
            lanes.put("a", f"a{number}", nursery)
        lanes.put("b", "b", nursery)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        assert repr(lanes) == "<Lanes: 2 conversations>"
        go_on["b"].set()
        await wait_all_tasks_blocked()
        assert heard == ["b"]
        go_on["a"].set()
    assert heard == ["b", *(f"a{number}" for number in range(100))]
    assert repr(lanes) == "<Lanes: 0 conversations>"


async def test_what_is_put_while_the_last_thing_is_heard_follows_it() -> None:
    heard: list[int] = []
    lanes: Lanes[int]

    async def hear(thing: int) -> None:
        await trio.lowlevel.checkpoint()
        heard.append(thing)
        if thing < 3:
            lanes.put("a", thing + 1, nursery)

    lanes = Lanes(hear)
    async with trio.open_nursery() as nursery:
        lanes.put("a", 1, nursery)
    assert heard == [1, 2, 3]


async def test_an_error_ends_the_nursery() -> None:
    async def hear(_thing: int) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async def hear_one() -> None:
        async with trio.open_nursery() as nursery:
            Lanes(hear).put("a", 1, nursery)

    with pytest.RaisesGroup(ZeroDivisionError):
        await hear_one()
