"""How fast are tokens counted, beside bare tiktoken, and does the loop notice?

``python -m benchmarks.tokens [--quick] [--json PATH] [--plot PATH]``
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import trio

from benchmarks.report import Figure, Report, read_options
from turnkeeper.tokens.encoding_counter import EncodingCounter
from turnkeeper.tokens.worker import RANK_FILE, shipped_encoding

if TYPE_CHECKING:
    from tiktoken import Encoding

QUESTION: Final = "How fast are tokens counted, beside bare tiktoken?"
ROOT: Final = Path(__file__).resolve().parent.parent
TICK_S: Final = 0.001


def paragraphs() -> list[str]:
    """What people write: the project's own documents and code, a paragraph each."""
    paths = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("actors/**/*.py")])
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return [part for text in texts for part in text.split("\n\n") if part.strip()]


def small_texts(rng: random.Random, chars: int) -> list[str]:
    """Messages: a sentence to a paragraph, `chars` in all."""
    source = paragraphs()
    texts: list[str] = []
    while chars > 0:
        texts.append(rng.choice(source)[: rng.randrange(20, 1000)])
        chars -= len(texts[-1])
    return texts


def large_texts(rng: random.Random, chars: int) -> list[str]:
    """Four texts, such as files that were attached, `chars` in all."""
    source = paragraphs()
    texts: list[str] = []
    for _ in range(4):
        parts: list[str] = []
        length = 0
        while length < chars // 4:
            parts.append(rng.choice(source))
            length += len(parts[-1]) + 2
        texts.append("\n\n".join(parts))
    return texts


def bare_count(encoding: Encoding, texts: Sequence[str]) -> int:
    return sum(len(encoding.encode_ordinary(text)) for text in texts)


async def compared(
    counter: EncodingCounter, encoding: Encoding, texts: Sequence[str], rounds: int
) -> tuple[float, float, float]:
    """Tokens a second of ours and of bare tiktoken, by turns; and the median of their ratios."""
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter()
        expected = bare_count(encoding, texts)
        between = time.perf_counter()
        counted = sum(await counter.count(texts))
        ended = time.perf_counter()
        assert counted == expected, f"{counted} tokens, and not {expected}"
        bare.append(expected / (between - started))
        ours.append(counted / (ended - between))
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    return median(ours), median(bare), median(ratios)


async def longest_tick_ms(work: Callable[[], Awaitable[None]]) -> float:
    """The most that a task which sleeps 1 ms at a time slept too long, while `work` ran."""
    longest_s = 0.0

    async def tick() -> None:
        nonlocal longest_s
        while True:
            started = time.perf_counter()
            await trio.sleep(TICK_S)
            longest_s = max(longest_s, time.perf_counter() - started - TICK_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await trio.lowlevel.checkpoint()
        await work()
        nursery.cancel_scope.cancel()
    return longest_s * 1000


async def measure(report: Report) -> None:
    quick = report.options.quick
    rng = random.Random(report.options.seed)
    chars, rounds = (1_000_000, 5) if quick else (4_000_000, 15)
    async with EncodingCounter() as counter:
        started = time.perf_counter()
        await counter.count(["hello"])
        first_ms = (time.perf_counter() - started) * 1000
        started = time.perf_counter()
        encoding = shipped_encoding(RANK_FILE)
        encoding.encode_ordinary("hello")
        load_ms = (time.perf_counter() - started) * 1000
        for name, texts in (
            ("many small texts", small_texts(rng, chars)),
            ("large texts", large_texts(rng, chars)),
        ):
            ours, bare, ratio = await compared(counter, encoding, texts, rounds)
            report.add(
                Figure(
                    name=name, value=ours, unit="tokens/s", beside="bare tiktoken",
                    beside_value=bare, ratio=ratio, must="≥ 0.8", aim="≥ 0.95",
                )
            )  # fmt: skip
            report.notes.append(
                f"{name}: {len(texts):,} of {sum(map(len, texts)):,} characters in all, "
                f"{rounds} rounds by turns, ratio: median of the rounds'"
            )
    report.add(
        Figure(
            name="first count of a process", value=first_ms, unit="ms", beside="load it here",
            beside_value=load_ms, ratio=first_ms / load_ms,
        )
    )  # fmt: skip
    await measure_loop(report, encoding, large_texts(rng, chars))


async def measure_loop(report: Report, encoding: Encoding, texts: Sequence[str]) -> None:
    """How long the loop stands still: with the counter from its start on, with tiktoken there."""
    held: list[float] = []
    held_bare: list[float] = []
    for _ in range(3):
        async with EncodingCounter() as counter:

            async def count(counter: EncodingCounter = counter) -> None:
                await counter.count(texts)

            held.append(await longest_tick_ms(count))

        async def count_here() -> None:
            await trio.to_thread.run_sync(bare_count, encoding, texts)

        held_bare.append(await longest_tick_ms(count_here))
    report.add(
        Figure(
            name="longest stall of the loop", value=max(held), unit="ms",
            beside="tiktoken in a thread", beside_value=max(held_bare), ratio=max(held),
            must="≤ 20", aim="≤ 5",
        )
    )  # fmt: skip
    report.notes.append(
        "stall: what a sleep of 1 ms took too long, at most, in 3 rounds; ours with the start"
    )


def main() -> None:
    report = Report(question=QUESTION, options=read_options(QUESTION))
    trio.run(measure, report)
    report.finish()


if __name__ == "__main__":
    main()
