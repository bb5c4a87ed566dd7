"""The wire of a loopback channel: a platform that keeps what nobody has taken yet."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from turnkeeper import Address, Attachment, Channel, MessageChange, TurnRefused
from turnkeeper.testing import Failure, Fault, LoopbackChannel, Seen, SeenFile, Wire

__all__ = ["LoopbackWire", "open_loopback"]

_FAULTS: Final[dict[str, Fault]] = {
    "rate_limited": "rate_limited",
    "unreachable": "refused",
    "server_error": "timeout_before_send",
    "unauthorized": "rejected",
    "forbidden": "rejected",
    "gone": "rejected",
    "lost_answer": "timeout_after_send",
}


@dataclass
class Said:
    """A message of a human."""

    text: str
    message_id: str
    conversation: str
    thread: str | None = None
    reply_to: str | None = None
    mention: bool = False
    file: tuple[str, bytes, str] | None = None


class LoopbackWire(Wire):
    """Tells messages in their order, and one again that was refused, for as long as a life lasts.

    What the agent has said stays here when its channel is gone.
    """

    group = "g1"
    threads = (("c1", "t1"), ("c1", "t2"))
    quotes = True
    holds = True

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._ids = itertools.count(1)
        self._pending: deque[Said] = deque()
        self._by_id: dict[str, Said] = {}
        self._lives: list[LoopbackChannel] = []
        self._news = trio.Event()
        self._pump: trio.CancelScope | None = None
        self._held = False

    @property
    def _channel(self) -> LoopbackChannel:
        return self._lives[-1]

    async def attached(self, channel: Channel) -> None:
        """A new life: what is pending is told from its first on."""
        assert isinstance(channel, LoopbackChannel)
        if self._pump is not None:
            self._pump.cancel()
        self._pump = trio.CancelScope()
        if self._held:
            channel.hold()
        self._lives.append(channel)
        await self._nursery.start(self._tell_all, self._pump, channel)

    async def _tell_all(
        self,
        pump: trio.CancelScope,
        channel: LoopbackChannel,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        with pump:
            task_status.started()
            while True:
                while not self._pending:
                    self._news = trio.Event()
                    await self._news.wait()
                try:
                    await self._tell(channel, self._pending[0])
                except TurnRefused as error:
                    if error.retryable:
                        return  # it is told again in the next life
                self._pending.popleft()

    async def _tell(self, channel: LoopbackChannel, said: Said) -> None:
        attachments: tuple[Attachment, ...] = ()
        if said.file is not None:
            name, content, mime = said.file
            attachments = (await channel.keep(content, mime=mime, name=name),)
        await channel.receive(
            said.text,
            conversation=said.conversation,
            thread=said.thread,
            message_id=said.message_id,
            reply_to=said.reply_to,
            direct=said.conversation != self.group,
            mentioned=said.mention,
            attachments=attachments,
        )

    def _say(self, said: Said) -> str:
        self._by_id[said.message_id] = said
        self._pending.append(said)
        self._news.set()
        return said.message_id

    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        message_id = f"m{next(self._ids)}"
        return self._say(Said(text, message_id, conversation, thread, reply_to, mention))

    async def user_sends_file(
        self, name: str, content: bytes, mime: str, /, *, conversation: str
    ) -> str:
        message_id = f"m{next(self._ids)}"
        return self._say(Said("", message_id, conversation, file=(name, content, mime)))

    async def seen(self, conversation: str) -> Sequence[Seen]:
        shown: dict[str, Seen] = {}
        for channel in self._lives:
            for draft in channel.drafts:
                if draft.address.conversation == conversation:
                    shown[channel.draft_ids[draft.turn_id]] = Seen(
                        text=draft.text, message_id=channel.draft_ids[draft.turn_id]
                    )
            for message in channel.sent:
                if message.conversation == conversation:
                    shown[message.message_id] = Seen(
                        text=message.text,
                        message_id=message.message_id,
                        reply_to=message.reply_to,
                        thread=message.thread,
                        file=None
                        if message.file is None
                        else SeenFile(
                            content=message.file.content,
                            name=message.file.name,
                            mime=message.file.mime,
                        ),
                    )
            for withdrawn in channel.withdrawn:
                shown.pop(withdrawn, None)
        return list(shown.values())

    async def redeliver(self, message_id: str, /) -> None:
        self._say(self._by_id[message_id])

    async def fail_next(self, failure: Failure, /) -> None:
        self._channel.fail_next(_FAULTS[failure.kind], retry_after_s=failure.retry_after_s)

    async def hold(self) -> None:
        self._held = True

    async def release(self) -> None:
        self._held = False

    async def typing(self, conversation: str, /) -> int:
        return sum(
            address.conversation == conversation
            for channel in self._lives
            for address in channel.typed
        )

    async def read(self, message_id: str, /, *, conversation: str) -> None:
        await self._channel.receipt(message_id, "read", conversation)

    async def edit(self, message_id: str, text: str, /, *, conversation: str) -> None:
        await self._change(message_id, text, conversation)

    async def delete(self, message_id: str, /, *, conversation: str) -> None:
        await self._change(message_id, None, conversation)

    async def _change(self, message_id: str, text: str | None, conversation: str) -> None:
        channel = self._channel
        assert channel.on_change is not None
        await channel.on_change(
            MessageChange(
                address=Address(channel.name, conversation, self._by_id[message_id].thread),
                platform=channel.platform,
                message_id=message_id,
                change_id=f"change-{next(self._ids)}",
                user_id="u1",
                text=text,
            )
        )


@asynccontextmanager
async def open_loopback() -> AsyncGenerator[LoopbackWire]:
    """A platform in memory for as long as the block lasts."""
    async with trio.open_nursery() as nursery:
        yield LoopbackWire(nursery)
        nursery.cancel_scope.cancel()
