"""A conversation of a million tokens, through many compactions, with the real counter and disk."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final

import pytest

from turnkeeper import (
    Message,
    Reply,
    SummaryRequest,
    TokenCounter,
    ToolCall,
    Turn,
    open_runtime,
)
from turnkeeper.actors.core.delivery_records import NoteRecord
from turnkeeper.actors.core.turn_records import AssistantRecord, ToolRecord, UserRecord
from turnkeeper.actors.core.view_records import SummaryRecord
from turnkeeper.actors.core.weight import OVERHEAD
from turnkeeper.actors.journal import load_records
from turnkeeper.storage.lmdb_store import open_reader
from turnkeeper.testing import LoopbackChannel
from turnkeeper.tokens import open_counter
from turnkeeper.verify import Verification

pytestmark = pytest.mark.slow

LIMIT: Final = 100_000
TOKENS: Final = 1_000_000
TEXT: Final = (
    "the plan is to move the meeting with Anna to Thursday because the report of the second "
    "quarter is late again and nobody has checked the numbers für Köln und Zürich, 総計 1 240,50 € "
    "on invoice 2026-114; please remind me to call the office about it before noon"
)
WORDS: Final = TEXT.split()
BACKUP: Final = "The backup of host ostrava-17 failed at 03:12, ticket INC-99417."


@dataclass
class Looking:
    """An agent that counts its windows with the real tokenizer, and keeps what they hold."""

    counter: TokenCounter
    sizes: list[int] = field(default_factory=list[int])
    problems: list[str] = field(default_factory=list[str])
    kinds: set[str] = field(default_factory=set[str])
    said: list[str] = field(default_factory=list[str])
    last: tuple[Message, ...] = ()
    rng: Random = field(default_factory=lambda: Random(7))

    async def __call__(self, turn: Turn) -> Reply:
        self.last = window = turn.messages
        self.kinds.update(message.kind for message in window)
        # Counting all of a window at every turn takes longer than all the rest together.
        if len(self.sizes) % 20 == 0 or window[0].kind != "summary":
            counts = await self.counter.count([message.attributed for message in window])
            size = sum(counts) + OVERHEAD * len(window)
            if size > LIMIT:
                self.problems.append(f"the window of {turn.id} has {size} tokens")
            self.sizes.append(size)
        else:
            self.sizes.append(0)
        if window[-1].text != turn.text or any(message.cut for message in window):
            self.problems.append(f"the window of {turn.id} does not end with it, or is cut")
        self._check_tools(turn, window)
        number = len(self.said)
        self.said.append(f"answer {number}: {sentence(self.rng, 1_500)}")
        call = ToolCall(
            name="look_up", arguments=json.dumps({"n": number}), result=sentence(self.rng, 300)
        )
        return Reply(text=self.said[-1], tools=(call,) if number % 3 == 0 else ())

    def _check_tools(self, turn: Turn, window: tuple[Message, ...]) -> None:
        for call, answer in pairwise(window):
            if call.tool is None:
                continue
            number = json.loads(call.tool.arguments)["n"]
            if not (answer.role == "assistant" and answer.text.startswith(f"answer {number}:")):
                self.problems.append(
                    f"in {turn.id}, call {number} stands before {answer.text[:20]}"
                )


def sentence(rng: Random, words: int) -> str:
    """Some words, in any order."""
    return " ".join(rng.choices(WORDS, k=words))


@dataclass
class Remembering:
    """A summariser that keeps what an assistant would: numbers, hosts and how far it has got."""

    requests: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Messages and characters of each request."""

    async def __call__(self, request: SummaryRequest) -> str:
        self.requests.append((len(request.messages), sum(len(m.text) for m in request.messages)))
        known: set[str] = set()
        for message in request.messages:
            known.update(re.findall(r"INC-\d+|fact-\d+", message.text))
        return f"Known: {' '.join(sorted(known))}. Messages of this part: {len(request.messages)}."


@pytest.mark.parametrize("summariser", ["the program's", "built in"])
async def test_a_million_tokens_are_one_conversation(tmp_path: Path, summariser: str) -> None:
    async with open_counter("o200k_base") as counter:
        await _talk(tmp_path, summariser, Looking(counter))


async def _talk(tmp_path: Path, summariser: str, agent: Looking) -> None:
    tg, remembering = LoopbackChannel("tg", platform="telegram"), Remembering()
    rng = Random(11)
    print("seeds 7 and 11")
    heard: list[str] = []
    total = 0
    async with open_runtime(
        tmp_path,
        agent=agent,
        channels=[tg],
        config={"session": {"max_context_tokens": LIMIT}},
        summariser=remembering if summariser == "the program's" else None,
    ) as runtime:
        await tg.receive("hello")
        await tg.next_sent()
        heard.append("hello")
        before = await runtime.binding("tg", "c1"), (await runtime.sessions())[0].id
        await runtime.mirror_to_session("s1", BACKUP, source="monitoring")
        while total < TOKENS * 4.6:
            number = len(heard)
            text = f"fact-{number} {sentence(rng, 1_200)}"
            await tg.receive(text)
            heard.append(text)
            sent = await tg.next_sent()
            total += len(text) + len(sent.text)
            if number % 50 == 0:
                await runtime.mirror_to_session("s1", f"mirrored {number}", source="calendar")
        assert (await runtime.binding("tg", "c1"), (await runtime.sessions())[0].id) == before
        (info,) = await runtime.sessions()
        assert info.context_tokens < LIMIT
        last = await runtime.context("s1")
        await tg.receive("what do you know?")
        await tg.next_sent()
    assert agent.problems == []
    assert "summary" in agent.kinds
    assert max(agent.sizes) > LIMIT // 2
    with open_reader(tmp_path) as reads:
        assert list(Verification(reads, time.time_ns() // 1_000).problems()) == []
        log = list(load_records(reads, 1))
    assert [seq for seq, _ in log] == list(range(1, len(log) + 1))
    users = [record.text for _, record in log if isinstance(record, UserRecord)]
    assert users == [*heard, "what do you know?"]
    assert [r.text for _, r in log if isinstance(r, AssistantRecord)] == agent.said
    tools = [record for _, record in log if isinstance(record, ToolRecord)]
    assert len(tools) == len(range(0, len(agent.said), 3))
    assert next(r.text for _, r in log if isinstance(r, NoteRecord)) == BACKUP
    summaries = [record for _, record in log if isinstance(record, SummaryRecord)]
    assert len(summaries) >= 10
    assert all(record.fault is None for record in summaries)
    assert all(record.tokens <= LIMIT * 0.03 for record in summaries)
    assert sum(record.covered_tokens for record in summaries) > TOKENS * 0.9
    assert "INC-99417" in summaries[-1].text, "an early note is known after every compaction"
    shown = "\n".join(message.text for message in last)
    assert "INC-99417" in shown
    if summariser == "the program's":
        covered = [number for number in range(1, len(heard)) if f"fact-{number} " not in shown]
        assert covered
        assert all(characters < LIMIT * 6 for _, characters in remembering.requests)
