"""What was said while nobody heard: read from the channels themselves, and heard as if it came now.

Slack delivers an event again for some minutes only. So whenever nothing could be heard for a while,
every channel that is known is asked for what came after its mark, and for the answers in the
threads in which the agent takes part. What is fetched is heard in its order. What comes live waits
for it in its channel, if it is there in time; for Slack waits for an answer to what is live.

Source: https://docs.slack.dev/reference/methods/conversations.history and `conversations.replies`:
pages, the newest or the oldest first, of messages as they stand now; with no more than 200 in each,
as Slack advises. Answers in threads are not among the messages of the channel.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

import trio

from ..actors.errors import TurnRefused
from ..actors.messages import Instance
from .base import Rejected, Unreachable
from .handover import insist
from .json_fields import Fields, Malformed, chosen, items, text
from .queues import Place
from .slack_api import SlackApi
from .slack_batch import MISSED_MESSAGES, Batch
from .slack_fields import seconds_of, stamp_at
from .slack_hearing import Ear
from .slack_mark import Mark
from .slack_wire import event_in_history

__all__ = ["MISSED_AGE_S", "Missed"]

_logger = logging.getLogger(__name__)

MISSED_AGE_S: Final = 24 * 3600
"""Seconds after which a missed message is not fetched any more."""
_PAGE: Final = 200
_MAX_PAGES: Final = 100
"""Pages of one channel or thread. An app that Slack slows down gets 15 messages with each."""
_HOLD_S: Final = 2.0
"""Seconds for which what comes live waits for what was missed. Slack waits for three."""
_GONE: Final = frozenset({"not_member", "not_found"})


class Missed:
    """Catches up with the channels of one run, one after the other."""

    def __init__(
        self, name: Instance, api: SlackApi, ear: Ear, mark: Mark, nursery: trio.Nursery
    ) -> None:
        """Ask for nothing yet.

        Args:
            name: of the instance.
            api: asked for messages.
            ear: hears them.
            mark: knows the channels, and up to where each is settled.
            nursery: where they are fetched and heard.
        """
        self._name = name
        self._api = api
        self._ear = ear
        self._mark = mark
        self._nursery = nursery
        self._asking = trio.Lock()
        self._busy: set[str] = set()
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"<Missed of {self._name}: {len(self._busy)} channels>"

    def everywhere(self) -> None:
        """Begin to catch up with every known channel, as nothing was heard for a while.

        What comes after this returns is behind what was missed, for `_HOLD_S`.
        """
        until_s = trio.current_time() + _HOLD_S
        for channel in self._mark.progress.all_behind():
            self._begin(channel, until_s)

    def again(self, channel: str) -> None:
        """Begin to catch up with one channel, because something of it was refused or given up."""
        self._mark.progress.fall_behind(channel)
        self._begin(channel, trio.current_time())

    def _begin(self, channel: str, until_s: float) -> None:
        if channel not in self._busy:  # or else it is caught up with once more, as it fell behind
            self._busy.add(channel)
            place = self._ear.stand(channel)
            self._nursery.start_soon(self._work, channel, place, until_s)

    # -- one channel -----------------------------------------------------------------------------

    async def _work(self, channel: str, place: Place, until_s: float) -> None:
        """Catch up with a channel, once more if more was missed meanwhile."""
        progress = self._mark.progress
        try:
            while True:
                ticket = progress.ticket(channel)
                newest = await self._catch_up(channel, place, until_s)
                if progress.caught_up(channel, newest, ticket, trio.current_time()):
                    break
                place, until_s = self._ear.stand(channel), trio.current_time()
        except Rejected as refused:
            self._give_up(channel, refused)
        finally:
            self._busy.discard(channel)
        self._mark.touch()

    async def _catch_up(self, channel: str, place: Place, until_s: float) -> str | None:
        """Hear what is missed in a channel; return the newest of it.

        Args:
            channel: which.
            place: keeps back what comes live behind it.
            until_s: how long it does so for what is not fetched yet.

        Raises:
            Rejected: Slack does not let us read it.
        """
        mark = self._mark.progress.marks.get(channel)
        if mark is None:  # so many other channels were heard that it is not remembered
            place.leave()
            return None
        batch = Batch(self._oldest(channel, mark))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._begin_with, batch, channel)
            async with place:
                with trio.move_on_at(until_s):
                    await batch.ready.wait()
                if batch.ready.is_set():
                    with suppress(TurnRefused):  # what comes live need not wait until it is not
                        await self._hear(batch, channel)
        await self._hear_in_turn(batch, channel)
        if batch.refused is not None:
            raise batch.refused
        joined = [one for one in self._mark.progress.threads_in(channel) if one in batch.answered]
        await self._read(batch, channel, joined)
        await self._hear_in_turn(batch, channel)
        if batch.is_cut:
            self._ear.warn(
                f"over {MISSED_MESSAGES:,} messages were missed in channel {channel}: some of them "
                "were left out"
            )
        return batch.newest

    def _oldest(self, channel: str, mark: str) -> str:
        """From when on messages are fetched."""
        yesterday = stamp_at(Decimal(int(time.time()) - MISSED_AGE_S))
        if seconds_of(mark) >= seconds_of(yesterday):
            return mark
        _logger.info(
            "%s: what was said in channel %s more than a day ago is left out", self._name, channel
        )
        return yesterday

    async def _begin_with(self, batch: Batch, channel: str) -> None:
        """Read a channel, and the threads in it of which we know that the agent takes part."""
        try:
            await self._read(batch, channel, [None, *self._mark.progress.threads_in(channel)])
        except Rejected as refused:
            batch.refused = refused
        batch.ready.set()

    async def _read(self, batch: Batch, channel: str, threads: Sequence[str | None]) -> None:
        """Read threads of a channel, or itself for None; those that are read already are not again.

        Raises:
            Rejected: Slack does not let us.
        """
        async with self._asking:
            for thread in threads:
                if thread in batch.read:
                    continue
                if batch.is_full:
                    batch.is_cut = True
                    return
                batch.read.add(thread)
                try:
                    await self._turn_pages(batch, channel, thread)
                except Rejected as refused:
                    if thread is None or refused.reason != "thread_not_found":
                        raise
                    self._mark.progress.leave(channel, thread)

    async def _turn_pages(self, batch: Batch, channel: str, thread: str | None) -> None:
        """Read all that is new of a channel or a thread, up to the bounds."""
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            try:
                told = await self._page(
                    "conversations.history" if thread is None else "conversations.replies",
                    channel=channel,
                    ts=thread,
                    oldest=batch.oldest,
                    cursor=cursor,
                )
                cursor = self._take_page(batch, told)
            except Malformed as error:
                self._ear.warn(
                    f"a page of missed messages that could not be read was left out: {error}"
                )
                return
            if not cursor:
                return
            if batch.is_full:
                break
        batch.is_cut = True

    def _take_page(self, batch: Batch, told: Fields) -> str | None:
        """Take in a page; return what asks for the next one.

        Raises:
            Malformed: it is none.
        """
        unread = batch.add(items(told, "messages"))
        if unread:
            self._ear.warn(f"{unread} missed messages that could not be read were left out")
        return text(chosen(told, "response_metadata") or {}, "next_cursor")

    async def _page(self, method: str, **parameters: Any) -> Fields:
        """A page; a shorter one where Slack's answer cannot be read, as it may be too long for us.

        Raises:
            Malformed: not even a single message can be read.
            Rejected: Slack does not let us.
        """
        told: Fields = {}
        limit = _PAGE

        async def ask() -> None:
            nonlocal told, limit
            try:
                told = await self._api.read(method, limit=limit, **parameters)
            except Unreachable as error:
                if error.reason == "bad_answer":
                    if limit == 1:
                        raise Malformed(str(error)) from error
                    limit //= 2
                raise

        await insist(self._name, ask)
        return told

    # -- hearing ---------------------------------------------------------------------------------

    async def _hear_in_turn(self, batch: Batch, channel: str) -> None:
        """Hear what is left of a batch, behind what came live before."""

        async def go_on() -> None:
            async with self._ear.stand(channel):
                await self._hear(batch, channel)

        if batch:
            await insist(self._name, go_on)

    async def _hear(self, batch: Batch, channel: str) -> None:
        """Hear what is in a batch, each message until it is settled; it is their turn.

        Raises:
            TurnRefused: one of them is to be heard again later.
        """
        while batch:
            await self._ear.hear_missed(event_in_history(batch.first(), channel))
            batch.settle_first()

    def _give_up(self, channel: str, refused: Rejected) -> None:
        """Go on without what was missed in a channel; say so once, if that can be mended."""
        progress = self._mark.progress
        if refused.reason in _GONE:
            _logger.info("%s: channel %s is not read: %s", self._name, channel, refused)
            progress.forget(channel)
            return
        if str(refused) not in self._told:
            self._told.add(str(refused))
            self._ear.warn(f"what was said while nobody heard is not read: {refused}")
        progress.caught_up(channel, None, progress.ticket(channel), trio.current_time())
