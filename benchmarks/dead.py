"""One dead conversation among thousands of living ones: is it felt by the others?

A *block* is one send in each of some conversations, none of which is the dead one. While it runs,
many sends wait for the dead conversation, in one of several manners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Final, Literal, NamedTuple, TypeAlias, get_args

import trio

import turnkeeper as tk
from benchmarks.disk import Disk
from benchmarks.load import REPLY, quiet, running
from benchmarks.sending import Errand, SendingChannel, Speaker, open_conversations, send_all
from turnkeeper.channels.base import Outbound, Receipt, Unreachable

__all__ = ["CONVERSATIONS", "IN_FLIGHT", "WAITING", "Blocks", "Manner", "measure_blocks"]

CONVERSATIONS: Final = 10_000
IN_FLIGHT: Final = 64
WAITING: Final = 100
"""Sends that wait for the dead conversation, each of another session."""

Manner: TypeAlias = Literal["alive", "alive again", "hangs", "fails"]
"""What becomes of a send to the one conversation: as everywhere (twice, to see how much two blocks
of one manner differ), no answer ever, an error."""


class MortalChannel(SendingChannel):
    """A platform one of whose conversations can die."""

    def __init__(self) -> None:
        super().__init__()
        self._manner: Manner = "alive"
        self._dead: str | None = None
        self._alive = trio.Event()

    def die(self, conversation: str, manner: Manner) -> None:
        """Let `conversation` be dead from now on."""
        self._dead, self._manner, self._alive = conversation, manner, trio.Event()

    def revive(self) -> None:
        """Let it be as the others again; what hangs goes on."""
        dead, self._dead = self._dead, None
        self._alive.set()
        if dead is not None and self.on_reachable is not None:
            self.on_reachable(dead)

    async def send(self, outbound: Outbound) -> Receipt:
        if outbound.address.conversation == self._dead:
            if self._manner == "fails":
                raise Unreachable("nobody is there")
            await self._alive.wait()
        return await super().send(outbound)


class Block(NamedTuple):
    """How long the sends of one block took, in milliseconds."""

    p50: float
    p99: float


@dataclass(slots=True)
class Blocks:
    """The blocks of each manner; those of one round are neighbours in time."""

    of: dict[Manner, list[Block]] = field(
        default_factory=lambda: {manner: [] for manner in get_args(Manner)}
    )

    def p50(self, manner: Manner) -> float:
        return median(block.p50 for block in self.of[manner])

    def p99(self, manner: Manner) -> float:
        return median(block.p99 for block in self.of[manner])

    def ratios(self, manner: Manner) -> tuple[float, float]:
        """Both figures beside those of the same round's block in which all were alive."""
        pairs = list(zip(self.of[manner], self.of["alive"], strict=True))
        return (
            median(ours.p50 / theirs.p50 for ours, theirs in pairs),
            median(ours.p99 / theirs.p99 for ours, theirs in pairs),
        )


async def measure_blocks(
    directory: Path, disk: Disk, rng: Random, *, rounds: int, sends: int
) -> Blocks:
    """In each round one block of every manner, each of `sends` sends; their order goes round."""
    channel, blocks = MortalChannel(), Blocks()
    manners = list(blocks.of)
    async with running(directory, channel) as runtime:
        speakers = await open_conversations(runtime, channel, CONVERSATIONS)
        await one_block(runtime, channel, speakers[:sends], speakers[sends:], "alive")  # warms up
        for _ in range(rounds):
            disk.measure(20)
            manners.append(manners.pop(0))
            for manner in manners:
                chosen = rng.sample(speakers, sends + WAITING)
                block = await one_block(runtime, channel, chosen[:sends], chosen[sends:], manner)
                blocks.of[manner].append(block)
    return blocks


async def one_block(
    runtime: tk.Runtime,
    channel: MortalChannel,
    living: Sequence[Speaker],
    others: Sequence[Speaker],
    manner: Manner,
) -> Block:
    """Send once in the conversation of each of `living`, while others write to a dead one."""
    dead = others[0].place
    async with trio.open_nursery() as nursery:
        if manner in ("hangs", "fails"):
            channel.die(dead.conversation, manner)
            for session_id, _ in others[:WAITING]:
                nursery.start_soon(runtime.send_message, session_id, REPLY, dead)
        await quiet(runtime)
        todo = [Errand(session_id, None) for session_id, _ in living]
        times = await send_all(runtime, todo, IN_FLIGHT)
        channel.revive()
    await quiet(runtime)
    return Block(median(times), quantiles(times, n=100)[98])
