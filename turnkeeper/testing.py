"""For tests: a channel that lives in memory, and the tests that every channel has to pass.

The loopback channel keeps the whole contract. What a human would write goes in with
:meth:`LoopbackChannel.receive`, what the human would see is in :attr:`LoopbackChannel.sent`, and
the platform can be made to fail in each way that a real one does.

:class:`ChannelTests` is for whoever writes a channel: see :mod:`.kit`.
"""

from __future__ import annotations

import itertools
import secrets
from collections import deque
from collections.abc import AsyncIterable
from typing import Final, Literal, NamedTuple, TypeAlias

import trio

from .actors.deliveries import LateReceipt, LateStatus
from .actors.messages import (
    Accepted,
    Address,
    Attachment,
    InboundTurn,
    MessageChange,
    TurnId,
)
from .channels.base import (
    Channel,
    ChannelPowers,
    Deliver,
    Draft,
    LostAnswer,
    Outbound,
    OutboundFile,
    Receipt,
    Rejected,
    Unreachable,
)
from .kit import ChannelTests
from .kit_wire import Failure, FailureKind, Seen, SeenFile, Wire

__all__ = [
    "ChannelTests",
    "Failure",
    "FailureKind",
    "Fault",
    "LoopbackChannel",
    "Seen",
    "SeenFile",
    "SentFile",
    "SentMessage",
    "Wire",
]

Fault: TypeAlias = Literal[
    "refused", "timeout_before_send", "timeout_after_send", "rate_limited", "rejected"
]

_FAULTS: Final[frozenset[str]] = frozenset(
    {"refused", "timeout_before_send", "timeout_after_send", "rate_limited", "rejected"}
)


class SentFile(NamedTuple):
    """A file that arrived on the loopback platform."""

    kind: str
    mime: str | None
    name: str | None
    content: bytes


class SentMessage:
    """A message that arrived on the loopback platform."""

    __slots__ = (
        "attempt",
        "conversation",
        "delivery_id",
        "file",
        "message_id",
        "part",
        "parts",
        "reply_to",
        "resend",
        "text",
        "thread",
    )

    def __init__(self, outbound: Outbound, message_id: str, file: SentFile | None = None) -> None:
        self.conversation = outbound.address.conversation
        self.thread = outbound.address.thread
        self.text = outbound.text
        self.delivery_id = outbound.delivery_id
        self.reply_to = outbound.reply_to
        self.message_id = message_id
        """The id which the loopback platform gave it."""
        self.part = outbound.part
        """Which part of a split text it is; 1 for the first."""
        self.parts = outbound.parts
        self.attempt = outbound.attempt
        self.resend = outbound.resend
        """Whether it was sent although it may have arrived before."""
        self.file = file
        """The file that it is, instead of a text."""

    def __repr__(self) -> str:
        what = self.text if self.file is None else self.file.name or self.file.kind
        return f"<SentMessage to {self.conversation!r}: {what!r}>"


class LoopbackChannel(Channel):
    """A platform in memory.

    Args:
        name: the instance.
        platform: the transport kind that it stands for.
        powers: what the platform can do.
    """

    def __init__(
        self, name: str, *, platform: str = "loopback", powers: ChannelPowers | None = None
    ) -> None:
        super().__init__(name)
        self.platform = platform
        if powers is not None:
            self.powers = powers
        self.sent: list[SentMessage] = []
        self._ids = itertools.count(1)
        self._life = secrets.token_hex(3)  # a platform does not number anew when we restart
        self._unread = 0
        self._arrival = trio.Event()
        self._faults: deque[tuple[Fault | None, float | None]] = deque()
        self._gate: trio.Event | None = None
        self._deliver: Deliver | None = None
        self._running = trio.Event()
        self.typed: list[Address] = []
        """Where it was shown that the agent is typing, each time."""
        self.drafts: list[Draft] = []
        """Every state of an unfinished reply that was shown."""
        self.draft_ids: dict[TurnId, str] = {}
        """The id of the message that has shown the unfinished reply of a turn."""
        self.withdrawn: list[str] = []
        """Ids of the drafts that were taken back."""

    async def run(self, deliver: Deliver) -> None:
        """Be there until cancelled."""
        self._deliver = deliver
        self._running.set()
        self.line.up()
        try:
            await trio.sleep_forever()
        finally:
            self.line.end()
            self._deliver = None
            self._running = trio.Event()

    async def receive(  # noqa: PLR0913  (independent fields, all keywords)
        self,
        text: str,
        *,
        conversation: str = "c1",
        user_id: str = "u1",
        message_id: str | None = None,
        user_name: str | None = None,
        thread: str | None = None,
        guild: str | None = None,
        direct: bool = True,
        mentioned: bool = True,
        reply_to: str | None = None,
        chat_name: str | None = None,
        attachments: tuple[Attachment, ...] = (),
    ) -> Accepted:
        """A human writes. Returns once the turn is durable.

        Without `message_id` the platform numbers the message itself.

        Raises:
            TurnRefused: the turn was not accepted.
        """
        deliver = await self._hearing()
        turn = InboundTurn(
            address=Address(instance=self.name, conversation=conversation, thread=thread),
            platform=self.platform,
            message_id=message_id
            if message_id is not None
            else f"in-{self._life}-{next(self._ids)}",
            user_id=user_id,
            text=text,
            user_name=user_name,
            chat_name=chat_name,
            guild=guild,
            direct=direct,
            mentioned=mentioned,
            reply_to=reply_to,
            attachments=attachments,
        )
        return await deliver(turn)

    async def keep(
        self,
        content: bytes | AsyncIterable[bytes],
        *,
        kind: str = "file",
        mime: str | None = None,
        name: str | None = None,
    ) -> Attachment:
        """Keep a file that a human sends, to be given to :meth:`receive`; see `Channel.keep_file`.

        Raises:
            TurnRefused: it was not kept.
        """
        await self._hearing()
        assert self.keep_file is not None
        return await self.keep_file(content, kind=kind, mime=mime, name=name)

    async def _hearing(self) -> Deliver:
        """Where to deliver to, once a runtime hears."""
        while self._deliver is None:
            await self._running.wait()
        return self._deliver

    async def send(self, outbound: Outbound) -> Receipt:
        """Take a message, or fail as told."""
        if self._gate is not None:
            await self._gate.wait()
        fault, retry_after_s = self._faults.popleft() if self._faults else (None, None)
        match fault:
            case "refused":
                raise Unreachable("connection refused")
            case "timeout_before_send":
                raise Unreachable("timed out while connecting", reason="timeout")
            case "rate_limited":
                raise Unreachable("429", reason="rate_limited", retry_after_s=retry_after_s)
            case "rejected":
                raise Rejected("400: bad request")
            case "timeout_after_send" | None:
                message_id = outbound.draft or f"out-{self._life}-{next(self._ids)}"
                file = await _arrived(outbound.file) if outbound.file is not None else None
                message = SentMessage(outbound, message_id, file)
                self.sent.append(message)
                self._arrival.set()
                if fault is not None:
                    raise LostAnswer("timed out while waiting for the answer")
                return Receipt(platform_message_id=message.message_id)

    async def typing(self, address: Address, /) -> None:
        """Show that the agent is typing."""
        self.typed.append(address)

    async def draft(self, draft: Draft, /) -> Receipt:
        """Show what the agent has said so far."""
        if self._gate is not None:
            await self._gate.wait()
        self.drafts.append(draft)
        shown = draft.shown or f"out-{self._life}-{next(self._ids)}"
        self.draft_ids[draft.turn_id] = shown
        return Receipt(platform_message_id=shown)

    async def withdraw(self, _address: Address, message_id: str, /) -> None:
        """Take a draft back."""
        self.withdrawn.append(message_id)

    async def reconcile(self, outbound: Outbound, /) -> Receipt | None:
        """Whether a message has arrived: this platform knows what it holds."""
        for message in self.sent:
            if (message.delivery_id, message.part) == (outbound.delivery_id, outbound.part):
                return Receipt(platform_message_id=message.message_id)
        return None

    async def receipt(
        self,
        message_id: str,
        status: LateStatus,
        conversation: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """The platform tells more of a message. Returns once that is durable.

        Args:
            message_id: the id which the platform gave the message.
            status: what it tells.
            conversation: where the message is; that of the message in `sent` if left out.
            reason: why it has failed.

        Returns:
            Whether a delivery is known whose message it is.

        Raises:
            ValueError: no message was sent that has this id, and no conversation is given.
        """
        if self.on_receipt is None:
            await self._running.wait()
        assert self.on_receipt is not None
        return await self.on_receipt(
            LateReceipt(
                conversation=conversation or self._message(message_id).conversation,
                platform_message_id=message_id,
                status=status,
                reason=reason,
            )
        )

    async def edits(
        self,
        message_id: str,
        text: str,
        *,
        conversation: str = "c1",
        user_id: str = "u1",
        thread: str | None = None,
        change_id: str | None = None,
    ) -> bool:
        """A human edits a message that was received before. Returns once that is durable.

        Without `change_id` the platform numbers the change itself.

        Returns:
            Whether such a message was heard from this human.

        Raises:
            TurnRefused: it was not heard; it can be told again later.
        """
        return await self._changes(message_id, conversation, thread, change_id, user_id, text)

    async def deletes(
        self,
        message_id: str,
        *,
        conversation: str = "c1",
        user_id: str | None = "u1",
        thread: str | None = None,
        change_id: str | None = None,
    ) -> bool:
        """A human deletes a message; as :meth:`edits`. Without a `user_id` it may be anybody."""
        return await self._changes(message_id, conversation, thread, change_id, user_id, None)

    async def _changes(
        self,
        message_id: str,
        conversation: str,
        thread: str | None,
        change_id: str | None,
        user_id: str | None,
        text: str | None,
    ) -> bool:
        if self.on_change is None:
            await self._running.wait()
        assert self.on_change is not None
        return await self.on_change(
            MessageChange(
                address=Address(instance=self.name, conversation=conversation, thread=thread),
                platform=self.platform,
                message_id=message_id,
                change_id=change_id
                if change_id is not None
                else f"ch-{self._life}-{next(self._ids)}",
                user_id=user_id,
                text=text,
            )
        )

    def _message(self, message_id: str) -> SentMessage:
        for message in self.sent:
            if message.message_id == message_id:
                return message
        raise ValueError(f"no message {message_id!r} was sent; name its conversation")

    async def next_sent(self) -> SentMessage:
        """The next message that this method has not returned yet; waits for it."""
        while self._unread >= len(self.sent):
            if self._arrival.is_set():
                self._arrival = trio.Event()  # one event for everybody who waits
            await self._arrival.wait()
        self._unread += 1
        return self.sent[self._unread - 1]

    def hold(self) -> None:
        """Let every send hang until :meth:`release`."""
        if self._gate is None:
            self._gate = trio.Event()

    def release(self) -> None:
        """Let the sends go on."""
        if self._gate is not None:
            self._gate.set()
            self._gate = None

    def fail_next(
        self,
        fault: Fault,
        times: int = 1,
        retry_after_s: float | None = None,
        *,
        after: int = 0,
    ) -> None:
        """Make the next `times` sends fail.

        Each part of a split text is a send.

        Args:
            fault: `refused` and `timeout_before_send`: nothing arrives. `rate_limited`: nothing
                arrives, and the platform names a pause. `timeout_after_send`: the message arrives
                and the answer is lost. `rejected`: the platform refuses the message for good.
            times: how many sends.
            retry_after_s: the pause of `rate_limited`, in seconds.
            after: how many sends succeed first, from the last fault on that was asked for before.

        Raises:
            ValueError: there is no such fault.
        """
        if fault not in _FAULTS:
            raise ValueError(f"no fault {fault!r}; there are: {', '.join(sorted(_FAULTS))}")
        self._faults.extend((None, None) for _ in range(after))
        self._faults.extend((fault, retry_after_s) for _ in range(times))


async def _arrived(file: OutboundFile) -> SentFile:
    return SentFile(file.kind, file.mime, file.name, await file.read())
