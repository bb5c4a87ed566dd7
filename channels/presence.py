"""What a conversation sees of an agent at work: that somebody is typing, and the reply as it grows.

Owned by the channel actor. None of it is a delivery: nothing here is written down or tried again,
and whatever fails is left at that. A draft that was shown becomes the reply: the first part of the
delivery is edited into it. Where the reply is refused for good, or nobody may have it any more, the
draft is taken back; where it may have arrived, it stays, as it may be the reply. What was shown by
a process that has died stands there as it was, marked as unfinished.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ..actors.deliveries import Deliver
from ..actors.messages import Address, AgentBegan, AgentEnded, AgentSays, TurnId
from .base import Channel, Draft, Receipt
from .failing import channel_error, stopped_cleanly
from .parts import split_text

__all__ = ["UNFINISHED", "Presence"]

logger = logging.getLogger("turnkeeper.channels")

UNFINISHED: Final = " …"
"""Stands behind a reply that is still being made."""
_HASTE_S: Final = 0.25
"""Seconds that an agent has to answer before it is shown at work. Those that need no model do: the
call would be a third of what their turns cost, and as it is called off midway, its connection too.
"""
_CALL_S: Final = 60.0
"""Seconds for one call that shows something; then it has failed."""
_CLAIM_S: Final = 10.0
"""Seconds for which a reply waits for a draft on its way; then it becomes a message of its own."""
_MAX_UNCLAIMED: Final = 1_000
"""Drafts whose reply has not come yet; the oldest is forgotten then, and stays as it is."""


class _Work:
    """One turn that an agent works on."""

    __slots__ = ("address", "latest", "over", "reply_to", "showing", "shown", "typing")

    def __init__(self, address: Address, reply_to: str | None) -> None:
        self.address = address
        self.reply_to = reply_to
        self.latest = ""
        """What has been said up to now."""
        self.shown: str | None = None
        """The platform's id of the message that shows some of it."""
        self.typing: trio.CancelScope | None = None
        self.showing: trio.Event | None = None
        """Set when no state of it is on its way to the platform any more; None before the first."""
        self.over = trio.Event()
        """Set once nothing more is to be shown."""


class Presence:
    """The turns of one instance that agents work on.

    Args:
        channel: shows them.
        nursery: where that happens.
        is_free: whether nothing else is on its way to a place: a draft never overtakes a message.
    """

    def __init__(
        self, channel: Channel, nursery: trio.Nursery, is_free: Callable[[Address], bool]
    ) -> None:
        self._channel = channel
        self._nursery = nursery
        self._is_free = is_free
        self._works: OrderedDict[TurnId, _Work] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Presence of {len(self._works)} turns>"

    def __len__(self) -> int:
        return len(self._works)

    def began(self, message: AgentBegan) -> None:
        """An agent has begun; perhaps once more, after an attempt that came to nothing."""
        work = self._works.get(message.turn_id)
        if work is None:
            work = self._works[message.turn_id] = _Work(message.address, message.reply_to)
        if self._channel.powers.typing_every_s is not None and work.typing is None:
            work.typing = trio.CancelScope()
            self._nursery.start_soon(self._type, work, work.typing)

    def says(self, message: AgentSays) -> None:
        """An agent has yielded more of its reply."""
        work = self._works.get(message.turn_id)
        if work is None or self._channel.powers.draft_every_s is None:
            return
        work.latest = message.text
        if work.showing is None and not work.over.is_set():
            work.showing = trio.Event()
            self._nursery.start_soon(self._show, message.turn_id, work, work.showing)

    def ended(self, message: AgentEnded) -> None:
        """An agent has returned; where it has answered, the delivery will follow.

        Told once more, as one that has not answered, where that delivery does not follow after all.
        """
        work = self._works.get(message.turn_id)
        if work is None:
            return
        work.over.set()
        if work.typing is not None:
            work.typing.cancel()
            work.typing = None
        if work.showing is None:
            del self._works[message.turn_id]
        elif not message.answered:
            del self._works[message.turn_id]
            self._nursery.start_soon(self._withdraw, work, work.showing)
        else:
            self._works.move_to_end(message.turn_id)
            self._forget_oldest()

    async def claim(self, turn_id: TurnId | None) -> str | None:
        """The platform's id of the draft that is to become the reply to a turn; None without one.

        Nothing more is shown of it, and what is on its way is waited for, but not for ever: what
        arrives after that would hide the reply, so it is taken back.
        """
        work = self._works.pop(turn_id, None) if turn_id is not None else None
        if work is None:
            return None
        work.over.set()
        if work.typing is not None:
            work.typing.cancel()
        if work.showing is not None:
            with trio.move_on_after(_CLAIM_S):
                await work.showing.wait()
            if not work.showing.is_set():
                self._nursery.start_soon(self._withdraw, work, work.showing)
                return None
        return work.shown

    def give_back(self, reply: Deliver, shown: str | None) -> None:
        """Keep a claimed draft for a reply that was not sent, and may be tried again."""
        turn_id, place = reply.turn_id, reply.address
        if shown is None or turn_id is None or place is None or turn_id in self._works:
            return
        work = self._works[turn_id] = _Work(place, reply.reply_to)
        work.shown = shown
        work.showing = trio.Event()
        work.showing.set()
        work.over.set()
        self._forget_oldest()

    def abandon(self, reply: Deliver, shown: str | None) -> None:
        """Take back what was shown of a reply that will never come.

        Args:
            reply: the delivery that is given up.
            shown: the draft that it has claimed; None if it has none, or has not asked for it.
        """
        if reply.turn_id is not None:
            self.give_back(reply, shown)
            self.ended(AgentEnded(turn_id=reply.turn_id, answered=False))

    # -- tasks -----------------------------------------------------------------------------------

    async def _type(self, work: _Work, scope: trio.CancelScope) -> None:
        every_s = self._channel.powers.typing_every_s
        assert every_s is not None  # else it is not begun
        with scope:
            await trio.sleep(_HASTE_S)
            while True:
                await self._shielded_from_defects(self._channel.typing(work.address))
                await trio.sleep(every_s)

    async def _show(self, turn_id: TurnId, work: _Work, done: trio.Event) -> None:
        every_s = self._channel.powers.draft_every_s
        assert every_s is not None  # else it is not begun
        told = ""
        try:
            while not work.over.is_set():
                if work.latest != told and self._is_free(work.address):
                    told = work.latest
                    draft = Draft(
                        turn_id=turn_id,
                        address=work.address,
                        text=self._shortened(told),
                        reply_to=work.reply_to,
                        shown=work.shown,
                    )
                    receipt = await self._shielded_from_defects(self._channel.draft(draft))
                    if not isinstance(receipt, Receipt):
                        return  # it has failed: no more of it is shown
                    work.shown = receipt.platform_message_id
                with trio.move_on_after(every_s):
                    await work.over.wait()
        finally:
            done.set()

    def _shortened(self, text: str) -> str:
        """As much of an unfinished reply as its first part will hold."""
        powers = self._channel.powers
        text = text.strip() + UNFINISHED
        if powers.text_limit is None:
            return text
        room = powers.text_limit - len(UNFINISHED.encode())
        first, *more = split_text(text, room, powers.text_unit) or (text,)
        return first + UNFINISHED if more else first

    async def _withdraw(self, work: _Work, done: trio.Event) -> None:
        await done.wait()
        if work.shown is not None:
            await self._shielded_from_defects(self._channel.withdraw(work.address, work.shown))

    async def _shielded_from_defects(self, what: Awaitable[object]) -> object:
        """What it returns; None if it fails: a missing sign of life stops no conversation."""
        name = self._channel.name
        try:
            with trio.move_on_after(_CALL_S), stopped_cleanly(name):
                return await what
        except Exception as error:  # the supervisor's edge: the channel's deliveries go on
            said = channel_error(error)
            if said is None:
                logger.exception("%s broke while showing an agent at work", name)
            else:
                logger.debug("%s cannot show that an agent is at work: %s", name, said)
        return None

    def _forget_oldest(self) -> None:
        if len(self._works) > _MAX_UNCLAIMED:
            oldest = next((key for key, work in self._works.items() if work.over.is_set()), None)
            if oldest is not None:
                del self._works[oldest]
