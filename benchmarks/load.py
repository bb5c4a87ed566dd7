"""What the benchmarks of the turn path share: a platform, agents, a closed loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import trio

# It is public in trio.testing, which brings pytest in: that would be 7 MiB of what is measured.
from trio._core._run import wait_all_tasks_blocked

import turnkeeper as tk
from turnkeeper.channels.base import Outbound, Receipt
from turnkeeper.collector import relax_collector
from turnkeeper.storage.base import Batch
from turnkeeper.testing import LoopbackChannel

__all__ = [
    "REPLY",
    "TEXT",
    "AnsweringChannel",
    "Said",
    "agent_that_reads",
    "agent_without_work",
    "conversing",
    "quiet",
    "running",
    "say_all",
    "user_of",
]

TEXT: Final = "Could you remind me tomorrow at nine to water the old fern?"
"""What the human of every turn writes."""
REPLY: Final = "I will remind you tomorrow at nine sharp."
"""What the agent of every turn answers."""


class Said(NamedTuple):
    """One message of a human."""

    conversation: str
    message_id: str


def user_of(conversation: str) -> str:
    """The human of a conversation: each has one of its own, and so each conversation a session."""
    return f"u-{conversation}"


class AnsweringChannel(LoopbackChannel):
    """A loopback platform whose humans can wait for the answer to their own message.

    It counts what was sent and keeps nothing: a heap that grows would be measured with the rest.
    """

    def __init__(self, name: str = "lo") -> None:
        super().__init__(name)
        self.answered = 0
        """Replies that have been sent to the human who asked."""
        self._asked: dict[str | None, trio.Event] = {}

    async def say(self, said: Said) -> None:
        """A human writes; return when the turn was accepted and the reply has been sent."""
        answered = self._asked[said.message_id] = trio.Event()
        await self.receive(
            TEXT,
            conversation=said.conversation,
            user_id=user_of(said.conversation),
            message_id=said.message_id,
        )
        await answered.wait()

    async def send(self, outbound: Outbound) -> Receipt:
        receipt = await super().send(outbound)
        self.sent.clear()
        self._asked.pop(outbound.reply_to).set()
        self.answered += 1
        return receipt


async def agent_without_work(_turn: tk.Turn) -> str:
    """Costs nothing."""
    return REPLY


async def agent_that_reads(turn: tk.Turn) -> str:
    """Looks at its context window, as an agent with a model behind it would."""
    return f"{REPLY} ({len(turn.messages)})"


@asynccontextmanager
async def running(
    directory: Path, channel: LoopbackChannel, agent: tk.Agent = agent_without_work
) -> AsyncGenerator[tk.Runtime]:
    """A runtime with one loopback channel; the collector is as `turnkeeper run` has it."""
    relax_collector()
    async with tk.open_runtime(directory, agent=agent, channels=[channel], seed=1) as runtime:
        yield runtime


def conversing(conversations: int, turns_each: int) -> Iterator[Said]:
    """Every conversation's first message, then every conversation's second one, and so on."""
    for turn in range(turns_each):
        for conversation in range(conversations):
            yield Said(f"chat-{conversation:06}", f"message-{conversation:06}-{turn:04}")


async def say_all(channel: AnsweringChannel, messages: Iterable[Said], in_flight: int) -> None:
    """A closed loop: `in_flight` humans, each of whom takes the next message once answered."""
    shared = iter(messages)

    async def human() -> None:
        for said in shared:
            await channel.say(said)

    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(human)


async def quiet(runtime: tk.Runtime) -> None:
    """Return when nothing is under way: the outcome of the last turn is durable, too."""
    await wait_all_tasks_blocked()
    await runtime.store.commit(Batch())
    await wait_all_tasks_blocked()
