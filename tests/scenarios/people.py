"""Humans, their apps, and an agent that keeps what it was shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeAlias

from trio.testing import wait_all_tasks_blocked

from turnkeeper import Address, DeliveryInfo, FeedEntry, Message, Quoted, Turn
from turnkeeper.actors.core.delivery_records import NoteRecord
from turnkeeper.actors.messages import Instance
from turnkeeper.storage.base import Reads
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.stories import deliveries
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification
from turnkeeper.views import bindings, feed, heads, sessions

from ..actors.stage import START, Stage, crashed, log

__all__ = [
    "End",
    "Listener",
    "Script",
    "actives",
    "apps",
    "assert_sound",
    "bound",
    "fed",
    "foretold",
    "home",
    "left_behind",
    "noted",
    "notes",
    "said_on_behalf",
    "say",
    "saying",
    "texts",
    "troubled",
]

Script: TypeAlias = Callable[[Turn], Awaitable[str | None]]
End: TypeAlias = Literal["stop", "crash"]


class Listener:
    """An agent that keeps what it was given, and answers `re: …` where no script says otherwise."""

    def __init__(self, scripts: dict[str, Script] | None = None) -> None:
        self.scripts = scripts or {}
        """Text of a turn, or prompt of a mission -> what the agent does then."""
        self.shown: dict[str, tuple[Message, ...]] = {}
        """Text of a turn -> its messages."""
        self.quoted: dict[str, Quoted | None] = {}
        self.given: list[str] = []
        """The text of every turn, in order."""

    async def __call__(self, turn: Turn) -> str | None:
        self.given.append(turn.text)
        self.shown[turn.text] = turn.messages
        self.quoted[turn.text] = turn.quoted
        script = self.scripts.get(turn.text)
        return f"re: {turn.text}" if script is None else await script(turn)


def saying(text: str | None) -> Script:
    """What an agent does that says `text`, or nothing."""

    async def script(_turn: Turn) -> str | None:
        return text

    return script


def apps(*names: str) -> tuple[LoopbackChannel, ...]:
    """An instance for each name, of a platform of the same name."""
    return tuple(LoopbackChannel(name, platform=name) for name in names)


def home(instance: str, user_id: str) -> Address:
    """A user's own direct conversation."""
    return Address(Instance(instance), f"dm {user_id}")


async def say(
    channel: LoopbackChannel, text: str, user_id: str = "1", *, reply_to: str | None = None
) -> str:
    """Write in one's own direct conversation; the session, once all is answered."""
    accepted = await channel.receive(
        text, conversation=f"dm {user_id}", user_id=user_id, reply_to=reply_to
    )
    await wait_all_tasks_blocked()
    return accepted.session_id


def left_behind(end: End, stage: Stage) -> MemoryDisk:
    """The disk from which the next life starts: after a clean stop, or after a power cut now."""
    return stage.disk if end == "stop" else crashed(stage.disk)


def assert_sound(store: Reads) -> None:
    """Every log, table and index agrees."""
    now_us = int(START.timestamp() * 1_000_000)
    assert list(Verification(store, now_us).problems()) == []


# -- what can be seen ------------------------------------------------------------------------------


def texts(channel: LoopbackChannel, conversation: str | None = None) -> list[str]:
    """What the human saw, in one conversation or on the whole instance."""
    return [s.text for s in channel.sent if conversation in (None, s.conversation)]


def bound(store: Reads) -> dict[Address, tuple[str, int]]:
    """Owner and version of every binding."""
    return {
        Address(Instance(b.instance), b.conversation, b.thread): (b.session_id, b.version)
        for b in bindings(store)
    }


def actives(store: Reads) -> dict[str, Address | None]:
    """The active channel of every session."""
    return {info.id: info.active_channel for info in sessions(store)}


def notes(store: Reads, session_id: str) -> list[NoteRecord]:
    """Every note in the log of a session."""
    stream = next(stream for stream, head in heads(store) if head.session_id == session_id)
    return [record for record in log(store, stream) if isinstance(record, NoteRecord)]


def troubled(store: Reads) -> list[DeliveryInfo]:
    """What the operator finds under `deliveries`."""
    return deliveries(store)


def fed(store: Reads) -> list[FeedEntry]:
    """The console feed."""
    return feed(store)


def foretold(messages: Iterable[Message], kind: str = "note") -> list[Message]:
    """The messages of one kind."""
    return [message for message in messages if message.kind == kind]


def noted(messages: Iterable[Message]) -> list[str]:
    """The text of every note that the agent was shown, without its header and prefixes."""
    return [
        "\n".join(line.removeprefix("| ") for line in message.text.splitlines()[1:])
        for message in foretold(messages)
    ]


def said_on_behalf(messages: Iterable[Message]) -> list[str]:
    """What the human saw, as the agent knows it: its own answers, and what notes tell."""
    found: list[str] = []
    for message in messages:
        if message.kind == "assistant":
            found.append(message.text)
        elif message.kind == "note":
            found.extend(noted([message]))
    return found
