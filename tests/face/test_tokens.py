"""Counts by the encoding of the package: real processes, real kills."""

from __future__ import annotations

import gc
import logging
import lzma
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import tiktoken
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from turnkeeper.actors import Kernel, TrioActor
from turnkeeper.tokens import CountFailed, EncodingUnavailable
from turnkeeper.tokens.encoding_counter import EncodingCounter
from turnkeeper.tokens.pieces import MAX_PIECE_CHARS
from turnkeeper.tokens.worker import RANK_FILE

from .encodings import bare_encoding

GONE_WITHIN_S: Final = 20.0
SENTENCES: Final = (
    "The quick brown fox jumps over the lazy dog, and doesn't look back: it's 12,345.67 m.",
    "Größe und Straße — „Fußgängerübergänge“ sind's, die wir brauchen.",
    "L'été dernier, à Noël, où es-tu allé ? Ça m'a coûté 1 234,50 €.",
    "¿Dónde está mañana el niño? ¡Aquí!",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "我们同意明天下午三点见面,请带上合同。",
    "いろはにほへと ちりぬるを。東京タワーは333メートル。",
    "키스의 고유조건은 입술끼리 만나야 하고",
    "نص حكيم له سر قاطع وذو شأن عظيم",
    "עטלף אבק נס דרך מזגן",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
    "👩‍👩‍👧‍👦 went to 🏳️‍🌈 with e\u0301 and 👍🏽!!!",
    "def count(self, texts: list[str]) -> int:\n\treturn sum(map(len, texts))  # O(n)\n\n\n",
    "https://example.org/a/b?c=d&e=%20f#g  \r\n\r\n   <|endoftext|>  I'LL 'Tis\u00a0x\x00y",
)


@pytest.fixture(scope="module")
def bare() -> tiktoken.Encoding:
    return bare_encoding("o200k_base")


@pytest.fixture
async def counter() -> AsyncGenerator[EncodingCounter]:
    async with EncodingCounter() as counter:
        yield counter


@pytest.fixture(scope="module")
def lasting_counter() -> Generator[EncodingCounter]:
    """One process for many short loops, one after the other."""
    counter = EncodingCounter()
    yield counter
    trio.run(counter.aclose)


def tokens(bare: tiktoken.Encoding, texts: Sequence[str]) -> list[int]:
    return [len(bare.encode_ordinary(text)) for text in texts]


def await_end(process: int) -> None:
    """Wait until no process has this number; fail if that does not come."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        assert waiting.poll(GONE_WITHIN_S * 1000), f"process {process} is still there"
    finally:
        os.close(descriptor)


async def started(counter: EncodingCounter) -> int:
    """The process of a counter that has counted."""
    assert await counter.count(["hello world"]) == [2]
    assert counter.pid is not None
    return counter.pid


def large_text(seed: int, chars: int) -> str:
    print(f"seed {seed}")
    rng = random.Random(seed)
    parts: list[str] = []
    length = 0
    while length < chars:
        parts.append(rng.choice(SENTENCES) + rng.choice((" ", "\n", "\n\n", "  ")))
        length += len(parts[-1])
    return "".join(parts)


# -- what is counted -----------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.one_of(st.text(), st.sampled_from(SENTENCES)), max_size=20))
def test_any_texts_have_as_many_tokens_as_tiktoken_says(
    bare: tiktoken.Encoding, lasting_counter: EncodingCounter, texts: list[str]
) -> None:
    assert trio.run(lasting_counter.count, texts) == tokens(bare, texts)


async def test_many_small_and_some_large_texts_have_as_many_tokens_as_tiktoken_says(
    bare: tiktoken.Encoding, counter: EncodingCounter
) -> None:
    texts = [*SENTENCES, "", large_text(1, 400_000), *SENTENCES * 500, large_text(2, 20_000)]
    assert await counter.count(texts) == tokens(bare, texts)
    assert (counter.name, counter.exact) == ("o200k_base", True)


async def test_no_texts_have_no_counts_and_need_no_process(counter: EncodingCounter) -> None:
    assert await counter.count([]) == []
    assert counter.pid is None


RUNS: Final = {
    "letters": "a",
    "spaces": " ",
    "newlines": "\n",
    "lines": "\r\n",
    "emoji": "\U0001f600",
    "family": "\U0001f468\u200d\U0001f469\u200d",
    "marks": "\u0301",
    "ideographs": "\u4e2d",
    "digits": "1",
    "dashes": "-",
    "nulls": "\0",
    "surrogates": "\ud800",
    "apostrophes": "'",
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
def test_a_million_times_the_same_is_counted_within_three_tokens_a_cut(
    bare: tiktoken.Encoding, lasting_counter: EncodingCounter, run: str
) -> None:
    (found,) = trio.run(lasting_counter.count, [run * (1_000_000 // len(run))])
    # What tiktoken says of it all it cannot be asked (it panics, or is slow): ask for a twentieth.
    part = run * (20 * MAX_PIECE_CHARS // len(run) // 4)
    expected = len(bare.encode_ordinary(part)) * 1_000_000 / len(part)
    cuts = 1_000_000 // MAX_PIECE_CHARS
    assert abs(found - expected) <= 3 * cuts
    assert lasting_counter.exact


def test_random_bytes_and_every_character_are_counted(lasting_counter: EncodingCounter) -> None:
    noise = random.Random(3).randbytes(1_000_000)
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    texts = [noise.decode("utf-8", "replace"), noise.decode("latin-1"), everything]
    counts = trio.run(lasting_counter.count, texts)
    for text, count in zip(texts, counts, strict=True):
        assert len(text) / 4 < count <= len(text.encode("utf-8", "surrogatepass"))
    assert lasting_counter.exact


async def test_a_lone_surrogate_counts_as_its_replacement(counter: EncodingCounter) -> None:
    texts = ["a \ud83d b", "a \ufffd b", "\ud83d\ude00", "\U0001f600"]
    one, replaced, pair, character = await counter.count(texts)
    assert one == replaced
    assert pair == character


@pytest.mark.parametrize("texts", [["fine", 7], ["fine"] * 10_000 + [7], "a text alone"])
async def test_what_is_no_sequence_of_texts_is_refused_and_the_next_count_is_right(
    counter: EncodingCounter, texts: list[str]
) -> None:
    with pytest.raises(TypeError, match=r"int|one text"):
        await counter.count(texts)
    assert await counter.count(["hello world"]) == [2]


async def test_texts_of_nothing_have_no_tokens(counter: EncodingCounter) -> None:
    assert await counter.count(["", ""]) == [0, 0]


async def test_counts_that_are_asked_for_at_the_same_time_take_turns(
    counter: EncodingCounter,
) -> None:
    await started(counter)
    order: list[str] = []

    async def count(name: str, text: str) -> None:
        await counter.count([text])
        order.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count, "large", large_text(4, 2_000_000))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(count, "small", "hello")
    assert order == ["small", "large"]


# -- the process ---------------------------------------------------------------------------------


async def test_a_process_killed_amid_a_count_is_replaced_and_nothing_is_lost(
    counter: EncodingCounter, bare: tiktoken.Encoding
) -> None:
    first = await started(counter)
    text = large_text(5, 300_000)
    counts: list[int] = []

    async def count() -> None:
        counts.extend(await counter.count([text]))

    os.kill(first, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(first, signal.SIGKILL)
    assert counts == tokens(bare, [text])
    assert counter.pid not in (None, first)
    assert counter.exact


async def test_a_process_that_hangs_is_replaced() -> None:
    async with EncodingCounter(answer_within_s=1.0) as counter:
        first = await started(counter)
        os.kill(first, signal.SIGSTOP)
        assert await counter.count(["hello world"]) == [2]
        assert counter.pid not in (None, first)
    await_end(first)


async def test_a_cancelled_count_ends_at_once_and_disturbs_no_other(
    counter: EncodingCounter,
) -> None:
    process = await started(counter)
    os.kill(process, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(counter.count, ["some text"] * 10_000)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    os.kill(process, signal.SIGCONT)
    assert await counter.count(["hello world", "hello"]) == [2, 1]
    assert counter.pid == process


@pytest.mark.slow
async def test_a_clock_that_runs_ahead_does_not_make_a_process_late(
    autojump_clock: trio.testing.MockClock, counter: EncodingCounter
) -> None:
    await started(counter)
    assert counter.exact


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere/python", ""])
async def test_a_process_that_never_works_leaves_the_bound_and_one_line_in_the_log(
    program: str,
    counter: EncodingCounter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with caplog.at_level(logging.INFO, "turnkeeper"):
        assert await counter.count(["abc", "", "größer", "\ud800", "x" * 400_000]) == [
            3, 0, 8, 3, 400_000,
        ]  # fmt: skip
        monkeypatch.undo()
        assert await counter.count(["hello"]) == [5]
    (line,) = caplog.messages
    assert "o200k_base" in line
    assert "3 times" in line
    assert (counter.name, counter.exact, counter.pid) == ("bytes", False, None)


async def test_the_process_lets_everybody_else_go_first(counter: EncodingCounter) -> None:
    process = await started(counter)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process) == min(own + 10, 19)


async def test_ctrl_c_at_a_terminal_does_not_reach_the_process(counter: EncodingCounter) -> None:
    assert os.getpgid(await started(counter)) != os.getpgid(0)


async def test_closing_ends_the_process_and_whoever_waits_for_it(counter: EncodingCounter) -> None:
    process = await started(counter)
    os.kill(process, signal.SIGSTOP)

    async def count() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await counter.count(["some text"] * 10_000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        nursery.start_soon(count)
        await trio.testing.wait_all_tasks_blocked()
        await counter.aclose()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    with pytest.raises(trio.ClosedResourceError):
        await counter.count(["hello"])
    await counter.aclose()


async def test_closing_while_the_process_starts_leaves_none(counter: EncodingCounter) -> None:
    async def count() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await counter.count(["some text"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await trio.testing.wait_all_tasks_blocked()
        await counter.aclose()
        assert counter.pid is None


async def test_closing_is_done_though_it_is_cancelled(counter: EncodingCounter) -> None:
    process = await started(counter)
    with trio.CancelScope() as scope:
        scope.cancel()
        await counter.aclose()
    await_end(process)


GATEWAY: Final = """
import sys, trio
from turnkeeper.tokens.encoding_counter import EncodingCounter

async def main():
    async with EncodingCounter() as counter:
        await counter.count(["hello", " " * 1_000_000])
        assert not [name for name in sys.modules if name.startswith("tiktoken")]
        print(counter.pid, flush=True)
        sys.stdin.read()

trio.run(main)
"""


@pytest.fixture
def gateway() -> Generator[Callable[[], subprocess.Popen[str]]]:
    """Starts a program that counts, shows the number of its counter's process, and waits."""
    running: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", GATEWAY]
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_who_counts_loads_no_encoding_itself_and_leaves_nothing_on_the_terminal(
    gateway: Callable[[], subprocess.Popen[str]],
) -> None:
    process = gateway()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""
    await_end(int(output))


def test_the_process_goes_when_whoever_counts_is_killed(
    gateway: Callable[[], subprocess.Popen[str]],
) -> None:
    process = gateway()
    assert process.stdout is not None
    counting = int(process.stdout.readline())
    process.kill()
    await_end(counting)


# -- the encoding --------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["another", "flipped", "cut off", "missing"])
async def test_a_rank_file_with_any_other_content_is_refused(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "ranks.xz"
    content = bytearray(RANK_FILE.read_bytes())
    match damage:
        case "another":
            unpacked = lzma.decompress(content)
            file.write_bytes(lzma.compress(unpacked.replace(b" 0\n", b" 1\n", 1), preset=0))
        case "flipped":
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        case "cut off":
            file.write_bytes(content[:-100])
        case _:
            pass
    async with EncodingCounter(rank_file=file) as counter:
        for _ in range(2):
            with pytest.raises(EncodingUnavailable) as refused:
                await counter.count(["hello"])
            assert "'o200k_base'" in str(refused.value)
            assert str(file) in str(refused.value)
            if damage != "missing":
                assert "446a9538cb6c" in str(refused.value)
            assert counter.pid is None
        assert (counter.name, counter.exact) == ("o200k_base", True)


async def test_an_encoding_that_nobody_knows_is_named() -> None:
    async with EncodingCounter("o299k_base") as counter:
        with pytest.raises(CountFailed, match="'o299k_base' cannot be had: ValueError"):
            await counter.count(["hello"])


async def test_an_encoding_that_cannot_be_fetched_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with EncodingCounter("cl100k_base") as counter:
        with pytest.raises(EncodingUnavailable, match="'cl100k_base' cannot be had: ProxyError"):
            await counter.count(["hello"])


async def test_an_encoding_in_the_cache_of_tiktoken_is_taken_from_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    cached = tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790"
    cached.write_bytes(lzma.decompress(RANK_FILE.read_bytes()))
    async with EncodingCounter("o200k_harmony") as counter:
        assert await counter.count(["hello world", "<|start|>"]) == [2, 5]
        assert counter.name == "o200k_harmony"


# -- the loop ------------------------------------------------------------------------------------


class LongestStep(trio.abc.Instrument):
    """The longest time for which a task kept the loop, in processor seconds of the loop's thread.

    What other processes do to the machine is not in it.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = time.thread_time()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.seconds = max(self.seconds, time.thread_time() - self._began)


@pytest.fixture
def no_garbage() -> Generator[None]:
    """No collection of garbage meanwhile: it grows with what other tests have left behind."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage")
async def test_no_step_of_the_loop_takes_20_ms_whatever_is_counted() -> None:
    longest = LongestStep()
    async with EncodingCounter() as counter:
        trio.lowlevel.add_instrument(longest)
        for text in ("a" * 1_000_000, " " * 1_000_000, "\n" * 1_000_000, "\U0001f600" * 250_000):
            assert await counter.count([text]) > [0]
        await counter.count(SENTENCES * 500)
        trio.lowlevel.remove_instrument(longest)
    assert longest.seconds <= 0.020


@pytest.mark.slow
@pytest.mark.usefixtures("no_garbage")
async def test_an_actor_that_has_much_counted_never_holds_the_loop() -> None:
    large = large_text(6, 2_000_000)

    class Counting(TrioActor):
        async def on_receive(self, message: Any) -> float:
            counted, longest_s = trio.Event(), 0.0

            async def count() -> None:
                async with EncodingCounter() as counter:
                    await counter.count([large, "\U0001f600" * 500_000])
                    await counter.count(SENTENCES * 2_000)
                counted.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(count)
                began_s = time.process_time()
                while not counted.is_set():  # be on the loop, so that whatever stalls it is ours
                    await trio.lowlevel.checkpoint()
                    now_s = time.process_time()
                    longest_s, began_s = max(longest_s, now_s - began_s), now_s
            return longest_s

    # Building an encoding in a thread takes 150 ms, all of them under the interpreter's lock. They
    # are of this process; what others do to the machine is not in them.
    async with Kernel.open():
        assert await Counting.start().ask("count", block=False) < 0.1
