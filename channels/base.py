"""The channel contract: two things to implement, everything else declared.

A channel hears (`run`) and speaks (`send`). It keeps no history, decides no routing, retries
nothing and knows no other channel: the channel actor around it does the supervision, the ordering,
the retries and the bookkeeping.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Literal, Protocol, TypeAlias

from ..actors.deliveries import LateReceipt
from ..actors.frozen import message
from ..actors.messages import (
    Accepted,
    Address,
    Attachment,
    DeliveryId,
    InboundTurn,
    Instance,
    MessageChange,
    TurnEnded,
    TurnId,
)
from .hooks import Hook
from .line import Line

__all__ = [
    "Channel",
    "ChannelError",
    "ChannelPowers",
    "Check",
    "Deliver",
    "Draft",
    "KeepFile",
    "LateReceipt",
    "LostAnswer",
    "MessageChange",
    "Outbound",
    "OutboundFile",
    "Receipt",
    "Rejected",
    "TurnEnded",
    "Unreachable",
    "Watermark",
]


@message
class OutboundFile:
    """A file that the agent sends."""

    kind: str
    """`image`, `audio`, `video` or `file`."""
    size_bytes: int
    read: Callable[[], Awaitable[bytes]]
    """All of it. Raises :class:`Rejected` if it is not there any more."""
    mime: str | None = None
    name: str | None = None
    """What it is called; without any path."""


@message
class Outbound:
    """One message to send, once, to one place: a text, or a file."""

    delivery_id: DeliveryId
    address: Address
    text: str
    reply_to: str | None = None
    """Platform id of the message that is being answered."""
    attempt: int = 1
    """1 for the first attempt; more after a definite failure."""
    resend: bool = False
    """True when an earlier attempt may have arrived: use the platform's idempotency, or a label."""
    part: int = 1
    """Which part of a text that `ChannelPowers.text_limit` has split; 1 for the first."""
    parts: int = 1
    """How many parts there are."""
    file: OutboundFile | None = None
    """What to send instead of the text, which is empty then. Only if `ChannelPowers.files`."""
    draft: str | None = None
    """The platform's id of a message that `Channel.draft` has shown: to be edited into this one. If
    that is not possible any more, this is sent as a message of its own."""

    @property
    def part_id(self) -> str:
        """The `delivery_id`, with the part's number behind it if there are several.

        The same in every attempt, and no other part has it: what to give to a platform that
        recognises repeats.
        """
        return self.delivery_id if self.parts == 1 else f"{self.delivery_id}.{self.part}"


@message
class Receipt:
    """The platform's own word that it holds the message."""

    platform_message_id: str
    """Of 1 to 1,024 characters."""
    parts: tuple[str, ...] = ()
    """The platform's ids of all parts, in order, if the channel has split the text by itself. The
    `platform_message_id` is one of them. Only for a channel without a `text_limit`."""


@message
class Draft:
    """What an agent has said so far in a turn that goes on."""

    turn_id: TurnId
    address: Address
    text: str
    """All of it up to now, and marked as unfinished; never longer than `text_limit`."""
    reply_to: str | None = None
    shown: str | None = None
    """The platform's id of the message that shows an earlier state of it; None the first time."""


@message
class Check:
    """One thing that `Channel.probe` has looked at."""

    what: str
    """In a few words: `token`, `may read messages`."""
    ok: bool
    detail: str = ""
    """What was found, or what to do about it; never a secret."""


class Watermark(Protocol):
    """How far a channel has heard its platform; survives restarts."""

    @property
    def value(self) -> str | None:
        """What was stored last; None for an instance that never stored anything."""
        ...

    async def move(self, value: str, /) -> None:
        """Store `value`; returns once it is durable.

        Move it past a message only when `deliver` has returned for it.

        Raises:
            ValueError: it is longer than 65,536 characters.
            ShuttingDown: the runtime is stopping; nothing was stored.
        """
        ...


Deliver: TypeAlias = Callable[[InboundTurn], Awaitable[Accepted]]
"""Hand a turn over. Returns once it is durable; acknowledge to the platform only then.

Raises :class:`~turnkeeper.actors.errors.TurnRefused` (do not acknowledge as handled; say so where
the platform can) and its children; see there.
"""


class KeepFile(Protocol):
    """Keeps the files that come with turns."""

    async def __call__(
        self,
        content: bytes | AsyncIterable[bytes],
        /,
        *,
        kind: str,
        mime: str | None = None,
        name: str | None = None,
    ) -> Attachment:
        """Keep a file, durably, and return what to put into its turn.

        The same file is kept once. A turn must name it within twelve hours; if none does it is
        removed. A turn may also name files by the platform's own references: nobody keeps those.

        Args:
            content: the file, or its pieces in their order. If the pieces end with an error,
                nothing is kept, and the error is raised here.
            kind: `image`, `audio`, `video` or `file`.
            mime: the media type, if the platform told one.
            name: what the human calls the file; untrusted, and only shown.

        Raises:
            FileTooLarge: it is longer than the configured `attachment_max_bytes`.
            FileNotKept: there is no room, or no state directory to keep it in.
            ShuttingDown: the runtime is stopping.
        """
        ...


@message
class ChannelPowers:
    """What a channel can do beyond hearing and speaking."""

    text_limit: int | None = None
    """Longest text of one message, in `text_unit`; None without a limit. A longer one is sent in
    parts. At least 40."""
    text_unit: Literal["characters", "utf16", "bytes"] = "characters"
    """What the platform counts: code points, UTF-16 code units, or bytes of UTF-8."""
    after_unknown: Literal["never", "same_id", "labelled", "reconcile"] = "never"
    """Whether what may have arrived is sent again: `never`. `same_id`: yes, because the platform
    recognises its `part_id`. `labelled`: yes, and the channel marks `Outbound.resend` for the
    reader. `reconcile`: once the channel's `reconcile` has found out that it did not arrive."""
    hears_turn_ends: bool = False
    """Whether `turn_ended` and `delivery_dropped` are to be called."""
    late_receipts: bool = False
    """Whether the platform tells more of a message later. Then the ids of plain replies are kept
    too, so that `Channel.on_receipt` knows them."""
    files: bool = False
    """Whether it can send files. Where it cannot, a line of text says what would have come."""
    file_limit_bytes: int | None = None
    """The longest file that it can send; a line of text stands for a longer one."""
    typing_every_s: float | None = None
    """How long the platform shows that somebody is typing: `typing` is called again and again while
    the agent works. None if it cannot show that."""
    draft_every_s: float | None = None
    """Least seconds between two states of a reply that is shown while it is being made: `draft` is
    called then, if the agent yields its reply in pieces. None if messages cannot be edited."""


class Channel(ABC):
    """One configured transport."""

    platform: str = ""
    """Name of the transport kind, e.g. `telegram`."""
    powers: ChannelPowers = ChannelPowers()
    """What this channel can do."""

    on_reachable: Callable[[str], None] | None = None
    """Set by the channel actor; a channel may call it on the loop with the id of a conversation
    that can be reached again, so that what waits for it need not wait longer."""
    on_receipt: Callable[[LateReceipt], Awaitable[bool]] | None = None
    """Set by the channel actor; await it on the loop when the platform tells more of a message.

    Returns once that is durable, or at once if it was known; False if no delivery is known whose
    message it is. Raises ValueError for what is no late receipt, and
    :class:`~turnkeeper.actors.errors.TurnRefused` when it can be heard again later only.
    """

    on_change: Callable[[MessageChange], Awaitable[bool]] | None = None
    """Set by the channel actor; await it on the loop when a human has edited or deleted a message.

    Returns once that is durable, or at once if it was known; False if no such message was heard
    from this human. Raises ValueError for what is no change, and
    :class:`~turnkeeper.actors.errors.TurnRefused` when it can be heard again later only.
    """
    watermark: Watermark | None = None
    """Set by the runtime before `run` is called."""
    hook_url: str | None = None
    """Set by the runtime before `run` is called, if there is a `hook`: where it can be reached from
    outside, if the configuration says so under `[http]`, else on this machine."""
    keep_file: KeepFile | None = None
    """Set by the runtime; await it on the loop before delivering a turn that came with a file.
    It keeps the file, so that the agent can read it, however long ago it came."""

    def __init__(self, name: str) -> None:
        self.name = Instance(name)
        self.line = Line()
        """How the connection to the platform is: `line.up()` when it stands, `line.down(why)`
        when it does not. The runtime notes by itself that `run` has ended."""

    @staticmethod
    def canonical_user_id(user_id: str, /) -> str:
        """The one spelling of a user id, on a platform where one human has several.

        Asked with what the platform reports and with what operators write, and with what it has
        returned, which it must leave as it is. Whom it takes for one user must never change: what
        was decided of people is stored under it. It must not block.

        Raises:
            ValueError: it is no user id of the platform.
        """
        return user_id

    @property
    def account(self) -> str | None:
        """What two instances must not share: a digest of the token; None if they may."""
        return None

    @property
    def hook(self) -> Hook | None:
        """Who answers the platform's HTTP requests to this instance; None if it sends none."""
        return None

    @property
    def exposed(self) -> bool:
        """Whether people whom the operator does not know can reach it.

        True where it listens beyond this machine, or the platform lets anybody write to it; then it
        starts only with a rule of access. False where it lets in only those who present a secret of
        the configuration.
        """
        return False

    @abstractmethod
    async def run(self, deliver: Deliver) -> None:
        """Hear until cancelled.

        Returning means that no more input will ever come (the end of a piped stdin); raising means
        that the channel broke, and it is run again after a pause, which grows with every failure.

        Raises:
            Unreachable: the platform cannot be reached, or has ended the connection. It is run
                again after `retry_after_s` at least.
            Rejected: the platform refuses for good: the token is wrong, a permission is missing. It
                is run again rarely, in case somebody has mended it.
        """

    @abstractmethod
    async def send(self, outbound: Outbound) -> Receipt:
        """Send one message, or one part of it, and return the platform's receipt.

        Called for one conversation at a time in order, and for different conversations at once. A
        part is sent when the one before it has its receipt.

        Raises:
            Unreachable: nothing left this process; may be tried again.
            Rejected: the platform refused for good.
            LostAnswer: bytes left and no answer came.
        """

    async def typing(self, _address: Address, /) -> None:
        """Show that the agent is at work there, when `powers.typing_every_s`.

        A failure is nobody's concern; it is called again after that time.
        """
        raise NotImplementedError(f"{type(self).__name__} declares typing_every_s")

    async def draft(self, _draft: Draft, /) -> Receipt:
        """Show a reply that is being made, when `powers.draft_every_s`: send it, or edit it.

        What is shown is no delivery: its final text comes to `send`, with `Outbound.draft`. After a
        failure no more of it is shown.
        """
        raise NotImplementedError(f"{type(self).__name__} declares draft_every_s")

    async def withdraw(self, _address: Address, _message_id: str, /) -> None:
        """Take back a draft of which nothing came, when `powers.draft_every_s`."""
        raise NotImplementedError(f"{type(self).__name__} declares draft_every_s")

    async def probe(self) -> tuple[Check, ...]:
        """Look whether token and permissions are right, by calls that change nothing.

        Called without `run`, also while another process runs this instance. What it finds wrong
        is a `Check` that is not `ok`.

        Raises:
            Unreachable: the platform cannot be asked.
        """
        return ()

    async def reconcile(self, _outbound: Outbound, /) -> Receipt | None:
        """Find out whether a message that was sent, and not answered, has arrived.

        Called when `powers.after_unknown` is `reconcile`, with what is sent next if it has not.

        Returns:
            The receipt, if it has arrived; None if the platform vouches that it has not and never
            will.

        Raises:
            Unreachable: nobody can tell now. So does LostAnswer; it is asked again later.
            Rejected: nobody will ever be able to tell.
        """
        raise NotImplementedError(f"{type(self).__name__} declares after_unknown='reconcile'")

    def turn_ended(self, ended: TurnEnded) -> None:
        """Hear that a turn has ended, when `powers.hears_turn_ends`; must not block."""
        raise NotImplementedError(f"{type(self).__name__} declares hears_turn_ends")

    def delivery_dropped(self, _delivery_id: DeliveryId, /) -> None:
        """Hear that a delivery is over without a receipt; must not block.

        Called, as `turn_ended`, when `powers.hears_turn_ends`. Nothing more is sent for it. A
        channel that waits for no reply need not care.
        """
        return


class ChannelError(Exception):
    """Root of what a channel may raise; the child says what became of the bytes."""


class Unreachable(ChannelError):
    """Nothing was sent. `retry_after_s`: seconds to wait at least, where the platform said so."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "channel_down",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Rejected(ChannelError):
    """The platform refused the message for good. `reason` is one word for the receipt."""

    def __init__(self, message: str, *, reason: str = "rejected") -> None:
        super().__init__(message)
        self.reason = reason


class LostAnswer(ChannelError):
    """The message may or may not have arrived."""
