from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper.channels.queues import Queues


async def test_who_stands_first_begins_first_and_other_queues_do_not_wait() -> None:
    queues = Queues()
    began: list[str] = []
    go_on = trio.Event()

    async def stand(conversation: str, name: str) -> None:
        async with place[name]:
            began.append(name)
            await go_on.wait()

    names = ("a1", "a2", "a3", "b1")
    place = {name: queues.stand(name[0]) for name in names}
    async with trio.open_nursery() as nursery:
        for name in reversed(names):
            nursery.start_soon(stand, name[0], name)
        await wait_all_tasks_blocked()
        assert sorted(began) == ["a1", "b1"]
        go_on.set()
    assert [name for name in began if name[0] == "a"] == ["a1", "a2", "a3"]
    assert len(queues) == 0


async def test_whoever_is_cancelled_in_a_queue_leaves_it() -> None:
    queues = Queues()
    first, second, third = (queues.stand("a") for _ in range(3))
    async with first:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with second:
                raise AssertionError
        assert scope.cancelled_caught
    with trio.fail_after(1):
        async with third:
            assert repr(queues) == "<Queues of 1 conversations>"
    assert len(queues) == 0
