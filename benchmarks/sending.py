"""What the benchmarks of sends share: a platform that is written to unasked, and who writes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import trio

import turnkeeper as tk
from benchmarks.load import REPLY, AnsweringChannel, conversing, quiet, say_all
from turnkeeper.actors.messages import Address
from turnkeeper.channels.base import Outbound, Receipt
from turnkeeper.testing import LoopbackChannel

__all__ = ["Errand", "SendingChannel", "Speaker", "errands", "open_conversations", "send_all"]

_OPENING_IN_FLIGHT: Final = 256


class Speaker(NamedTuple):
    """A session and the one conversation that belongs to it."""

    session_id: str
    place: Address


class Errand(NamedTuple):
    """Something that a session is to say, and where: None for its own conversation."""

    session_id: str
    to: Address | None


class SendingChannel(AnsweringChannel):
    """A loopback platform on which not every message is an answer; it keeps nothing either."""

    async def send(self, outbound: Outbound) -> Receipt:
        if outbound.reply_to is not None:
            return await super().send(outbound)
        receipt = await LoopbackChannel.send(self, outbound)
        self.sent.clear()
        return receipt


async def open_conversations(
    runtime: tk.Runtime, channel: AnsweringChannel, conversations: int
) -> list[Speaker]:
    """Let each conversation have one turn, so that it has a session of its own."""
    await say_all(channel, conversing(conversations, 1), _OPENING_IN_FLIGHT)
    await quiet(runtime)
    speakers: list[Speaker] = []
    for said in conversing(conversations, 1):
        bound = await runtime.binding(channel.name, said.conversation)
        if bound is None:
            raise RuntimeError(f"{said.conversation} belongs to nobody")
        speakers.append(Speaker(bound.session_id, Address(channel.name, said.conversation)))
    return speakers


def errands(speakers: Sequence[Speaker], each: int, *, elsewhere: bool) -> Iterator[Errand]:
    """Every session's first send, then every session's second one, and so on.

    Args:
        speakers: the sessions.
        each: sends of each.
        elsewhere: whether they go into the conversation of another session, half of the list away;
            else into their own.
    """
    half = len(speakers) // 2
    for _ in range(each):
        for number, speaker in enumerate(speakers):
            other = speakers[(number + half) % len(speakers)]
            yield Errand(speaker.session_id, other.place if elsewhere else None)


async def send_all(runtime: tk.Runtime, todo: Iterable[Errand], in_flight: int) -> list[float]:
    """A closed loop: `in_flight` programs, each of which sends the next once told of the outcome.

    Returns:
        From asking until the outcome is known, in milliseconds, for each send.
    """
    shared, times = iter(todo), list[float]()

    async def program() -> None:
        for session_id, to in shared:
            began = time.perf_counter()
            outcome = await runtime.send_message(session_id, REPLY, to)
            times.append((time.perf_counter() - began) * 1000)
            if outcome.status != "delivered":
                raise RuntimeError(f"a send by {session_id} ended as {outcome}")

    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(program)
    return times
