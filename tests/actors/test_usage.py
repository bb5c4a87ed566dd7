"""How much of its window a session uses: what is stored of it, and what is said of it."""

from __future__ import annotations

import pytest

from turnkeeper.actors.core.head import Head
from turnkeeper.actors.usage import (
    Usage,
    base_of,
    load_usage,
    put_usage,
    read_usage,
    size_of,
)
from turnkeeper.storage.base import Batch
from turnkeeper.storage.errors import CorruptRecord
from turnkeeper.storage.memory import open_memory


def head(bound: int, *, summary: int = 0, cleared: int = 0) -> Head:
    return Head("s1", "main", 1, 1, 9, 0, 0, 0, 0, 0, bound, None, None, None)._replace(
        summary=summary, cleared=cleared
    )


MEASURED = Usage(1_000, 300, 7, (0, 0), "o200k_base")


async def test_a_measurement_comes_back_as_it_was_put() -> None:
    async with open_memory() as store:
        assert load_usage(store, 3) is None
        batch = Batch()
        put_usage(batch, 3, MEASURED)
        await store.commit(batch)
        assert load_usage(store, 3) == MEASURED


@pytest.mark.parametrize(
    "payload",
    [None, [], "text", [1, 2, 3, [0, 0]], [1, 2, 3, [0], "x"], [1, -2, 3, [0, 0], "x"]],
)
def test_what_is_no_measurement_is_refused(payload: object) -> None:
    with pytest.raises(CorruptRecord, match="measurement of a context"):
        read_usage(payload)


def test_without_a_measurement_four_bytes_of_the_bound_are_a_token() -> None:
    assert size_of(head(403), None) == (100, False)


def test_a_context_is_counted_while_nothing_has_come_since() -> None:
    assert size_of(head(1_000), MEASURED) == (300, True)


def test_what_came_since_the_measurement_is_estimated() -> None:
    assert size_of(head(1_401), MEASURED) == (400, False)


@pytest.mark.parametrize("begins", [{"summary": 5}, {"cleared": 5}])
def test_a_measurement_is_void_once_the_context_begins_elsewhere(begins: dict[str, int]) -> None:
    now = head(2_000, **begins)
    assert base_of(now) != MEASURED.base
    assert size_of(now, MEASURED) == (500, False)


def test_a_measurement_of_more_than_there_is_says_nothing() -> None:
    assert size_of(head(400), MEASURED) == (100, False)
