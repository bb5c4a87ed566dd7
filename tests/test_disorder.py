"""Tasks are run in any order and late, and none is forgotten."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from .disorder import disordered


def passes(seed: int) -> list[tuple[int, int]]:
    """The three steps of ten tasks, in the order in which they were taken: task and step."""
    taken: list[tuple[int, int]] = []

    async def step_on(number: int) -> None:
        for step in range(3):
            taken.append((number, step))
            await trio.lowlevel.checkpoint()

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(step_on, number)

    with disordered(seed):
        trio.run(all_of_them)
    return taken


def test_every_task_takes_all_its_steps_in_order() -> None:
    for seed in range(50):
        taken = passes(seed)
        assert len(taken) == 30
        for number in range(10):
            assert [step for who, step in taken if who == number] == [0, 1, 2]


def test_a_seed_is_an_order() -> None:
    assert passes(7) == passes(7)
    assert len({tuple(passes(seed)) for seed in range(20)}) == 20


def test_some_tasks_are_overtaken_by_a_whole_pass() -> None:
    def overtaken(taken: list[tuple[int, int]]) -> bool:
        second = next(at for at, (_, step) in enumerate(taken) if step == 1)
        return any(step == 0 for _, step in taken[second:])

    assert any(overtaken(passes(seed)) for seed in range(20))


@pytest.mark.parametrize("seed", range(5))
def test_a_virtual_clock_waits_for_those_that_are_held_back(seed: int) -> None:
    async def count() -> float:
        done: list[float] = []

        async def work() -> None:
            for _ in range(20):
                await trio.lowlevel.checkpoint()
            done.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(work)
            await trio.sleep(1)
            assert len(done) == 5
        return max(done)

    with disordered(seed):
        assert trio.run(count, clock=trio.testing.MockClock(autojump_threshold=0)) == 0.0
