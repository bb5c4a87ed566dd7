"""One delivery on its way: its parts, what is known of each, and what its channel says.

First come the parts of its text, then its files, one in each. A file that the channel cannot send
has a line in the text instead.

The parts are made anew in every process, and what has arrived is known by its number alone; so they
depend on nothing but the delivery and what the channel can do. Where the actor may have to mark a
text as one that comes twice, the parts of every long text leave room for that.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Final, TypeGuard, cast, get_args

from ..actors.deliveries import Deliver
from ..actors.frozen import fact
from .base import Channel, ChannelPowers, LostAnswer, Outbound, Receipt, Rejected, Unreachable
from .failing import channel_error, stopped_cleanly
from .file_desk import FileDesk, in_place_of
from .parts import MIN_LIMIT, LimitUnit, split_text, text_size
from .pauses import least_pause_s

__all__ = [
    "AGAIN",
    "LEAST_TEXT_LIMIT",
    "MAX_ID_CHARS",
    "Failure",
    "Parcel",
    "check_powers",
    "is_id",
    "word",
]

logger = logging.getLogger("turnkeeper.channels")

AGAIN: Final = "(again)\n"
"""Stands before a text that may have arrived before, if the channel does not say so itself. On a
line of its own, because what follows may begin with a heading or a block of code."""
LEAST_TEXT_LIMIT: Final = MIN_LIMIT + len(AGAIN)
MAX_ID_CHARS: Final = 1_024
"""Longest id that is taken from a platform."""

_MARKED_BY_ACTOR: Final = frozenset({"never", "reconcile"})
_AFTER_UNKNOWN: Final = (*sorted(_MARKED_BY_ACTOR), "same_id", "labelled")
_REASON_CHARS: Final = 200
"""Longest reason that is kept: it is meant to be a word."""


@fact
class Failure:
    """An attempt after which something is missing."""

    reason: str
    retry_after_s: float | None = None
    final: bool = False
    lost: bool = False
    """Whether what was sent may have arrived all the same."""


class Parcel:
    """A delivery, for as long as its channel has it."""

    __slots__ = (
        "_channel",
        "_desk",
        "_doubtful",
        "_files",
        "_in_all",
        "_texts",
        "arrived",
        "deliver",
        "draft",
        "shortfall",
    )

    def __init__(self, channel: Channel, deliver: Deliver, desk: FileDesk) -> None:
        self.deliver = deliver
        self.arrived = deliver.parts
        """The platform's ids of what has arrived, from the first part on."""
        self.draft: str | None = None
        """The platform's id of the message that has shown its first part as a draft."""
        self._channel = channel
        self._desk = desk
        instead = [in_place_of(file, channel.powers) for file in deliver.files]
        lines = [line for line in instead if line is not None]
        self.shortfall: Final = "file_not_sent" if lines else None
        """What is missing of it when all has arrived: a file that has a line in its place."""
        self._texts = _texts(deliver, lines, channel.powers)
        self._files = [
            file for file, line in zip(deliver.files, instead, strict=True) if line is None
        ]
        self._in_all = len(self._texts) + len(self._files)
        self._doubtful = self._in_all if deliver.ambiguous else 0
        """How many parts, from the first one on, may have arrived since the delivery was opened."""

    def __repr__(self) -> str:
        return f"<Parcel {self.deliver.delivery_id}: {len(self.arrived)} of {self.parts_in_all}>"

    @property
    def parts_in_all(self) -> int:
        """How many parts it has; a channel that splits by itself says so when they have arrived."""
        return max(self._in_all, len(self.arrived))

    @property
    def in_doubt(self) -> bool:
        """Whether what is sent next may have arrived since the delivery was opened."""
        return len(self.arrived) < self._doubtful

    @property
    def may_have_arrived(self) -> bool:
        """Whether what is sent next may have arrived, or had when an operator opened it again."""
        return self.in_doubt or self.deliver.duplicate

    async def attempt(self, number: int) -> Failure | None:
        """Send what is missing, part by part; None once all of it has arrived."""
        if len(self.arrived) >= self._in_all:
            return Failure("text_limit_changed", final=True)  # nobody knows what is missing
        while len(self.arrived) < self._in_all:
            found: tuple[str, ...] | Failure | None = None
            if self.in_doubt and self._channel.powers.after_unknown == "reconcile":
                found = await self._ask(self._channel.reconcile, number)
                if found is None:  # and so nothing behind it has been sent either
                    self._doubtful = 0
            if found is None:
                found = await self._ask(self._channel.send, number)
            if found is None:
                logger.error("%s returned no receipt", self._channel.name)
                found = Failure("no_receipt", lost=True)
            if isinstance(found, Failure):
                if found.lost:
                    self._doubtful = max(self._doubtful, len(self.arrived) + 1)
                return found
            self.arrived += found
        return None

    async def _ask(
        self, ask: Callable[[Outbound], Awaitable[object]], number: int
    ) -> tuple[str, ...] | Failure | None:
        """The ids of what has arrived of the next part, as the channel says."""
        outbound, name = self._outbound(number), self._channel.name
        try:
            async with self._desk.room if outbound.file is not None else nullcontext():
                with stopped_cleanly(name):
                    receipt = await ask(outbound)
        except Exception as error:  # noqa: BLE001 - the edge: it touches no other delivery
            return self._failure(outbound, error)
        if receipt is None:
            return None
        ids = _ids(receipt, outbound, self._channel.powers)
        if ids is None:
            logger.error("%s returned %r as a receipt", name, receipt)
            return Failure("no_receipt", lost=True)
        return ids

    def _failure(self, outbound: Outbound, error: Exception) -> Failure:
        """What an error of the channel says of the bytes."""
        name, said = self._channel.name, channel_error(error)
        if isinstance(said, Unreachable):
            return Failure(word(said.reason), least_pause_s(said.retry_after_s))
        if isinstance(said, Rejected):
            return Failure(word(said.reason), final=True)
        if isinstance(said, LostAnswer):
            logger.warning("%s: no answer for %s: %s", name, outbound.part_id, said)
            return Failure("lost_answer", lost=True)
        # A defect of the channel says nothing of the bytes.
        logger.error("%s broke while sending %s", name, outbound.part_id, exc_info=error)
        return Failure("channel_error", lost=True)

    def _outbound(self, number: int) -> Outbound:
        deliver, at = self.deliver, len(self.arrived)
        assert deliver.address is not None  # what has no place goes to the feed
        text = self._texts[at] if at < len(self._texts) else None
        if text is None:
            file = self._desk.outbound(self._files[at - len(self._texts)])
        else:
            file = None
            if at == len(deliver.parts) and _is_marked_here(deliver, self._channel.powers):
                text = AGAIN + text
        return Outbound(
            delivery_id=deliver.delivery_id,
            address=deliver.address,
            text=text or "",
            reply_to=deliver.reply_to if at == 0 else None,
            attempt=number,
            resend=self.may_have_arrived,
            part=at + 1,
            parts=self._in_all,
            file=file,
            draft=self.draft if at == 0 and file is None else None,
        )


def check_powers(channel: Channel) -> None:
    """Refuse a channel that declares what cannot be.

    Raises:
        ValueError: it does; the text names the channel and what is wrong.
    """
    powers = channel.powers
    limit: object = powers.text_limit
    if limit is not None and (type(limit) is not int or limit < LEAST_TEXT_LIMIT):
        raise ValueError(
            f"channel {channel.name!r} has a text_limit of {limit!r}; "
            f"it must be None or a number from {LEAST_TEXT_LIMIT} on"
        )
    for field, known in (("text_unit", get_args(LimitUnit)), ("after_unknown", _AFTER_UNKNOWN)):
        value: object = getattr(powers, field)
        if value not in known:
            raise ValueError(
                f"channel {channel.name!r} declares {field}={value!r}; there is: {', '.join(known)}"
            )
    files: object = powers.file_limit_bytes
    if files is not None and (type(files) is not int or files < 1):
        raise ValueError(
            f"channel {channel.name!r} has a file_limit_bytes of {files!r}; "
            "it must be None or a number from 1 on"
        )
    for field in ("typing_every_s", "draft_every_s"):
        every_s: object = getattr(powers, field)
        if every_s is not None and not (
            isinstance(every_s, int | float) and 0.1 <= every_s < float("inf")
        ):
            raise ValueError(
                f"channel {channel.name!r} declares {field}={every_s!r}; "
                "it must be None or a number of seconds from 0.1 on"
            )
    if powers.after_unknown == "reconcile" and type(channel).reconcile is Channel.reconcile:
        raise ValueError(
            f"channel {channel.name!r} declares after_unknown='reconcile' and has no reconcile()"
        )


def word(reason: object) -> str:
    """A channel's reason, as far as it can be written down."""
    return str.__str__(reason)[:_REASON_CHARS] if isinstance(reason, str) else "unnamed"


def _texts(deliver: Deliver, lines: Sequence[str], powers: ChannelPowers) -> tuple[str, ...]:
    """The text in parts, `lines` behind it; none if there are only files.

    A text of white space only, which has no parts, stays as it is, if no files go with it.
    """
    text, limit, unit = deliver.text, powers.text_limit, powers.text_unit
    if deliver.files:
        said = [text] if text and not text.isspace() else []
        text = "\n\n".join([*said, "\n".join(lines)] if lines else said)
        if not text:
            return ()
    if limit is None:
        return (text,)
    room = len(AGAIN) if powers.after_unknown in _MARKED_BY_ACTOR else 0
    if deliver.files:  # what has arrived may be the text, in whichever number of parts
        return split_text(text, limit - room, unit) or (text,)
    mark = room if deliver.duplicate else 0
    # a text whose parts have arrived had several, even if it fits without the mark
    if not deliver.parts and len(text) + mark <= limit and text_size(text, unit) + mark <= limit:
        return (text,)
    return split_text(text, limit - room, unit) or (text,)


def _is_marked_here(deliver: Deliver, powers: ChannelPowers) -> bool:
    return deliver.duplicate and powers.after_unknown in _MARKED_BY_ACTOR


def _ids(receipt: object, outbound: Outbound, powers: ChannelPowers) -> tuple[str, ...] | None:
    """The ids that a receipt holds; None if it is none.

    A channel that splits texts by itself has many of one text. Where files follow it, that text is
    a part, and known by one of them.
    """
    if type(receipt) is not Receipt:
        return None
    first, parts = cast("tuple[object, object]", (receipt.platform_message_id, receipt.parts))
    if not is_id(first) or type(parts) is not tuple:
        return None
    if parts == ():
        return (first,)
    ids = cast("tuple[object, ...]", parts)
    if not all(map(is_id, ids)) or first not in ids:
        return None
    if outbound.parts > 1:
        return (first,) if powers.text_limit is None else None
    return cast("tuple[str, ...]", ids)


def is_id(value: object) -> TypeGuard[str]:
    """Whether `value` can be a platform's id of something."""
    return type(value) is str and 0 < len(value) <= MAX_ID_CHARS
