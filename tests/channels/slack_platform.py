"""The wire of the Slack channel: a Slack of our own, over real HTTP and WebSockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from turnkeeper import Channel
from turnkeeper.channels.limiter import Rate
from turnkeeper.channels.slack import SlackChannel
from turnkeeper.channels.slack_api import SlackRates
from turnkeeper.testing import Failure, Seen, SeenFile, Wire

from ..peers.slack_fake import SlackFake, open_slack_fake
from ..peers.slack_fake_world import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET, Json

__all__ = ["HASTY", "SlackWire", "make_slack", "open_slack_wire"]

HASTY: Final = SlackRates(
    channel=Rate(per_s=1_000.0, burst=1_000, scope="place"),
    overall=Rate(per_s=10_000.0, burst=1_000),
    others=Rate(per_s=1_000.0, burst=1_000),
    history=Rate(per_s=1_000.0, burst=1_000),
)
"""No rates to speak of: a Slack of our own has none unless it is told to."""
_SENDS: Final = "chat.postMessage"
_ERRORS: Final = {
    "unreachable": "service_unavailable",
    "server_error": "internal_error",
    "unauthorized": "invalid_auth",
    "forbidden": "restricted_action",
    "gone": "channel_not_found",
}


class SlackWire(Wire):
    """Two people in conversations of their own, and in a channel with each other."""

    secrets = (BOT_TOKEN, APP_TOKEN, SIGNING_SECRET)
    holds = True

    def __init__(self, slack: SlackFake, people: Sequence[str], *, hooked: bool) -> None:
        self.slack = slack
        self.hooked = hooked
        self._people = {slack.world.im(user): user for user in people}
        self.conversations = tuple(self._people)
        self.group = slack.general
        here, there = self.conversations
        self.threads = ((here, self._old_message(here)), (there, self._old_message(there)))
        self._told: dict[str, Json] = {}
        self._deliver = slack.deliveries.deliver
        slack.deliveries.deliver = self._note  # type: ignore[method-assign]

    def _old_message(self, conversation: str) -> str:
        """What was said before the bot came, so that it has not been told of it."""
        place = self.slack.world.places[conversation]
        place.members.discard(self.slack.bot)
        said = self.slack.world.post(conversation, self._people[conversation], "long ago")
        place.members.add(self.slack.bot)
        return said.ts

    def _note(self, event: Json) -> None:
        if event.get("type") == "message" and "subtype" not in event:
            self._told[event["ts"]] = event
        self._deliver(event)

    async def attached(self, channel: Channel) -> None:
        if not self.hooked:
            return
        with trio.fail_after(10):
            while channel.line.state == "starting":  # noqa: ASYNC110  (nobody tells)
                await trio.sleep(0.01)
        assert channel.hook_url is not None
        if not await self.slack.events_to(channel.hook_url):
            return  # nobody listens there, because the token is refused
        with trio.move_on_after(5):  # what comes again is no part of what is said from now on
            while self.slack.deliveries.waiting:
                await self.slack.retry_now()
                await trio.sleep(0.05)

    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        assert reply_to is None  # nothing quotes
        said = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        if mention:
            said = f"<@{self.slack.bot}> {said}"
        return await self.slack.user_says(
            conversation, self._author(conversation), said, thread_ts=thread
        )

    def _author(self, conversation: str) -> str:
        return self._people.get(conversation) or next(iter(self._people.values()))

    async def seen(self, conversation: str) -> Sequence[Seen]:
        shown: list[Seen] = []
        for one in await self.slack.seen(conversation):
            if one.user != self.slack.bot:
                continue
            file = None
            if one.files:
                content = await self.slack.download(one.files[0])
                file = SeenFile(content=content, name=one.files[0].name, mime=one.files[0].mime)
            text = one.text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
            shown.append(Seen(text=text, message_id=one.message_id, thread=one.thread, file=file))
        return shown

    async def redeliver(self, message_id: str, /) -> None:
        self._deliver(self._told[message_id])

    async def disconnect(self) -> None:
        await self.slack.down()

    async def reconnect(self) -> None:
        await self.slack.up()

    async def garbage(self) -> None:
        nonsense: tuple[Any, ...] = (
            {"type": "message", "channel": self.slack.general, "ts": 5, "user": "U1", "text": "?"},
            {"type": "message", "channel": ["C1"], "user": {}, "text": [], "ts": "x"},
            5,
        )
        for event in nonsense:
            self._deliver(event)
        for connection in self.slack.deliveries.connections:
            for frame in ("{", "[]", '{"type": 5, "envelope_id": 6}', '{"a": 1, "a": 2}'):
                await connection.socket.send_text(frame)

    async def unknown_update(self) -> None:
        self._deliver({"type": "huddle_dreamt", "channel": self.slack.general, "dream": {"of": 1}})
        self._deliver(
            {
                "type": "message",
                "subtype": "sung",
                "channel": self.slack.general,
                "user": "U1",
                "text": "la la",
                "ts": self.slack.world.now_ts(),
            }
        )
        for connection in self.slack.deliveries.connections:
            connection.tell({"type": "weather", "envelope_id": "e1", "payload": {"rain": True}})

    async def own_echo(self, text: str, /, *, conversation: str) -> None:
        self.slack.world.post(conversation, self.slack.bot, text)

    async def other_bot_says(self, text: str, /, *, conversation: str) -> None:
        other = await self.slack.add_user("Robot", bot=True)
        self.slack.world.post(conversation, other, text)

    async def edit(self, message_id: str, text: str, /, *, conversation: str) -> None:
        await self.slack.edits(conversation, message_id, text)

    async def delete(self, message_id: str, /, *, conversation: str) -> None:
        await self.slack.deletes(conversation, message_id)

    async def user_sends_file(
        self, name: str, content: bytes, _mime: str, /, *, conversation: str
    ) -> str:
        return await self.slack.user_says(
            conversation, self._author(conversation), "", files=[(name, content)]
        )

    async def fail_next(self, failure: Failure, /) -> None:
        if failure.kind == "rate_limited":
            self.slack.limits(_SENDS, retry_after_s=round(failure.retry_after_s or 1))
        elif failure.kind == "lost_answer":
            self.slack.loses_answers(_SENDS)
        else:
            self.slack.fails(_SENDS, _ERRORS[failure.kind])

    async def hold(self) -> None:
        self.slack.holds(_SENDS)

    async def release(self) -> None:
        self.slack.faults.clear()


class HookedWire(SlackWire):
    """The same with the Events API: there is no connection that could end."""

    disconnect = Wire.disconnect
    reconnect = Wire.reconnect


@asynccontextmanager
async def open_slack_wire(*, hooked: bool = False) -> AsyncGenerator[SlackWire]:
    """A workspace with Ada and Ben."""
    async with open_slack_fake() as slack:
        people = [await slack.add_user("Ada"), await slack.add_user("Ben")]
        wire = (HookedWire if hooked else SlackWire)(slack, people, hooked=hooked)
        slack.deliveries.retries_at_connect = True
        yield wire


def make_slack(wire: SlackWire, name: str, **keys: Any) -> SlackChannel:
    """A channel at that workspace."""
    how = {"signing_secret": SIGNING_SECRET} if wire.hooked else {"app_token": APP_TOKEN}
    options: dict[str, Any] = {
        "token": BOT_TOKEN,
        "api_url": wire.slack.url,
        "rates": HASTY,
        **how,
        **keys,
    }
    return SlackChannel(name, **options)
