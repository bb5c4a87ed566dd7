"""Which counter is meant, and counters that are functions."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
import tiktoken
import trio
from hypothesis import given
from hypothesis import strategies as st

import turnkeeper as tk
from turnkeeper.tokens import CountFailed, counter_of, open_counter
from turnkeeper.tokens.encoding_counter import EncodingCounter
from turnkeeper.tokens.function_counter import FunctionCounter, estimate
from turnkeeper.tokens.worker import RANK_FILE, shipped_encoding

DOCS = Path(__file__).parents[2] / "docs"


class Characters:
    """A counter of somebody else's."""

    def __init__(self) -> None:
        self.name = "characters"
        self.exact = True

    async def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize("spec", [None, "o200k_base"])
def test_the_encoding_of_the_package_is_meant_by_its_name_and_by_none(spec: str | None) -> None:
    counter = counter_of(spec)
    assert isinstance(counter, EncodingCounter)
    assert isinstance(counter, tk.TokenCounter)
    assert (counter.name, counter.exact, counter.pid) == ("o200k_base", True, None)


def test_another_name_means_the_encoding_of_that_name() -> None:
    counter = counter_of("cl100k_base")
    assert isinstance(counter, EncodingCounter)
    assert counter.name == "cl100k_base"


@pytest.mark.parametrize("name", ["", " ", "two words", "../ranks", "bytes", "x" * 101, "é", "a\n"])
def test_a_text_that_can_name_no_encoding_is_refused_with_what_can(name: str) -> None:
    with pytest.raises(ValueError, match="'o200k_base', 'estimate'") as refused:
        counter_of(name)
    assert repr(name)[:100] in str(refused.value)


async def test_a_function_is_called_in_a_thread_and_named_by_its_qualified_name() -> None:
    threads: set[threading.Thread] = set()

    def count(text: str) -> int:
        threads.add(threading.current_thread())
        return words(text)

    counter = counter_of(count)
    assert await counter.count(["one two", "", "three"]) == [2, 0, 1]
    assert threading.current_thread() not in threads
    assert counter.exact
    assert counter.name.endswith(f"{__name__.rpartition('.')[2]}.{count.__qualname__}")


class Callable_:
    def __call__(self, text: str) -> int:
        return len(text)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (len, "builtins.len"),
        (functools.partial(words), f"{__name__}.words"),
        (Callable_(), f"{__name__}.Callable_"),
    ],
)
def test_whatever_can_be_called_has_a_name(function: Callable[[str], int], name: str) -> None:
    assert counter_of(function).name == name


@pytest.mark.parametrize("nonsense", [-1, True, 1.0, "3", None, 2**40])
async def test_what_is_no_number_of_tokens_is_refused_by_name(nonsense: object) -> None:
    def count(text: str) -> int:
        return cast("int", nonsense)

    with pytest.raises(CountFailed) as failed:
        await counter_of(count).count(["text"])
    assert count.__qualname__ in str(failed.value)
    assert repr(nonsense) in str(failed.value)


class Panic(BaseException):
    """As extensions written in Rust raise it: no Exception."""


@pytest.mark.parametrize("error", [LookupError("no table"), Panic("no table")])
async def test_a_function_that_fails_is_named_with_its_reason(error: BaseException) -> None:
    def count(text: str) -> int:
        raise error

    counter = counter_of(count)
    with pytest.raises(CountFailed, match="no table") as failed:
        await counter.count(["text"])
    assert count.__qualname__ in str(failed.value)
    assert failed.value.__cause__ is error


async def test_a_function_is_not_called_again_for_a_count_that_is_cancelled() -> None:
    called: list[str] = []
    entered, release = threading.Event(), threading.Event()

    def count(text: str) -> int:
        called.append(text)
        entered.set()
        release.wait(20)
        return 1

    counter = counter_of(count)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(counter.count, ["first", "never"])
        await trio.to_thread.run_sync(entered.wait, 20)
        nursery.cancel_scope.cancel()
    release.set()
    assert await counter.count(["next"]) == [1]
    assert called == ["first", "next"]


async def test_a_counter_that_hangs_does_not_keep_its_end_from_coming() -> None:
    entered, release = threading.Event(), threading.Event()

    def count(text: str) -> int:
        entered.set()
        release.wait(20)
        return 1

    async with trio.open_nursery() as nursery, open_counter(count) as counter:
        nursery.start_soon(counter.count, ["text"])
        await trio.to_thread.run_sync(entered.wait, 20)
        nursery.cancel_scope.cancel()
    release.set()


async def test_one_s_own_counter_is_itself_and_stays_open() -> None:
    mine = Characters()
    assert counter_of(mine) is mine
    async with EncodingCounter() as encoding:
        async with open_counter(encoding) as counter:
            assert counter is encoding
        assert await encoding.count(["hello"]) == [1]


@pytest.mark.parametrize("spec", [None, "estimate", words])
async def test_a_counter_made_of_a_word_is_closed_at_the_end(spec: Any) -> None:
    async with open_counter(spec) as counter:
        assert await counter.count(["hello"]) == [2 if spec == "estimate" else 1]
    with pytest.raises(trio.ClosedResourceError):
        await counter.count(["hello"])


def changed(**attributes: object) -> object:
    counter = Characters()
    for name, value in attributes.items():
        setattr(counter, name, value)
    return counter


async def async_words(text: str) -> int:
    return words(text)


class AsyncCallable:
    async def __call__(self, text: str) -> int:
        return words(text)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (17, "17"),
        (["o200k_base"], "o200k_base"),
        (b"o200k_base", "o200k_base"),
        (Characters, "a class"),
        (changed(name=""), "the name ''"),
        (changed(name=3), "the name 3"),
        (changed(exact="yes"), "'yes' for `exact`"),
        (changed(count=words), "no async method"),
        (async_words, "async function"),
        (AsyncCallable(), "async function"),
    ],
)
def test_anything_else_is_refused_by_name(spec: Any, says: str) -> None:
    with pytest.raises(TypeError) as refused:
        counter_of(spec)
    assert says in str(refused.value)


async def test_an_estimate_says_that_it_is_one() -> None:
    counter = counter_of("estimate")
    assert isinstance(counter, FunctionCounter)
    assert (counter.name, counter.exact) == ("estimate", False)
    assert await counter.count(["", "a", "12345678", "é", "我们", "\ud800"]) == [0, 1, 2, 1, 2, 1]


@given(text=st.text(), times=st.integers(1, 3))
def test_an_estimate_goes_by_the_characters_alone(text: str, times: int) -> None:
    whole = text * times
    ascii_chars = sum(character < "\x80" for character in whole)
    other_bytes = len(whole.encode()) - ascii_chars
    assert estimate(whole) == math.ceil(Fraction(ascii_chars, 4) + Fraction(other_bytes, 3))


def test_an_estimate_of_a_large_text_is_that_of_its_characters() -> None:
    assert estimate("é" * 300_000 + "a" * 300_000) == 275_000


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ((DOCS / "context.md").read_text("utf-8"), 0.9, 1.2),
        (Path(__file__).read_text("utf-8"), 0.9, 1.2),
        ("Ich möchte für den zwölften Mai ein Zimmer in der Nähe des Bahnhofs buchen. ", 1.0, 1.4),
        ("您好，我想预订五月十二日火车站附近的一间双人房。请问早餐是否包含在房价里？", 1.2, 1.6),
        ("Здравствуйте, я хотел бы забронировать номер недалеко от вокзала. ", 1.9, 2.6),
        (" ".join(str(number * 7919) for number in range(400)), 0.4, 0.6),
    ],
    ids=["english", "python", "german", "chinese", "russian", "numbers"],
)
def test_an_estimate_is_as_far_off_as_it_says(text: str, low: float, high: float) -> None:
    counted = len(_o200k().encode_ordinary(text))
    assert low < estimate(text) / counted < high


@functools.cache
def _o200k() -> tiktoken.Encoding:
    return shipped_encoding(RANK_FILE)
