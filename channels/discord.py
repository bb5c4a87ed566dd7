"""The Discord channel: a bot, which hears through the gateway and speaks through the REST API.

What Discord makes impossible: a session is resumed for a few minutes only. After that, missed
messages are fetched from the channels that were heard before, 1,000 in each and none older than a
day; edits and deletions that happened meanwhile, and first messages in other channels, are never
told. A message whose answer was lost is sent again under the same nonce for two minutes, in which
Discord recognises it; later nobody can tell, and it stays unknown.
"""

from __future__ import annotations

import re
from random import Random
from typing import Final

import trio

from ..actors.messages import Address
from .base import (
    ChannelPowers,
    Check,
    Deliver,
    Draft,
    Outbound,
    Receipt,
    Rejected,
    Unreachable,
)
from .discord_api import DiscordApi
from .discord_files import FileSource
from .discord_gateway import Event, Gateway, Session, next_after_close
from .discord_hearing import Ear
from .discord_markup import TEXT_LIMIT, TEXT_UNIT
from .discord_places import Places
from .discord_socket import Ended, GatewaySocket, checked_gateway_url
from .discord_voice import UPLOAD_LIMIT_BYTES, Voice, channel_of
from .discord_wire import PLATFORM, Reader, me_in
from .handover import Handover, warn
from .http_answer import readable
from .json_fields import fields, number
from .platform_url import platform_url
from .secret import Secret
from .strangers import Strangers
from .token_channel import TokenChannel

__all__ = ["DiscordChannel"]

_DISCORD: Final = "https://discord.com/api/v10"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{8,64}\.[A-Za-z0-9_-]{4,32}\.[A-Za-z0-9_-]{16,128}")

_GUILDS: Final = 1 << 0
_GUILD_MESSAGES: Final = 1 << 9
_DIRECT_MESSAGES: Final = 1 << 12
_MESSAGE_CONTENT: Final = 1 << 15
_MAY_READ_CONTENT: Final = 1 << 18 | 1 << 19
"""Flags of an application that has the intent: GATEWAY_MESSAGE_CONTENT, and the same _LIMITED."""
_SETTLED_S: Final = 5.0
"""Seconds for which a session must have stood on a connection that is taken up again at once. The
second one in a row that ends sooner is left to the runtime, which waits longer and longer."""


class DiscordChannel(TokenChannel):
    """One bot."""

    platform = PLATFORM
    powers = ChannelPowers(
        text_limit=TEXT_LIMIT,
        text_unit=TEXT_UNIT,
        after_unknown="reconcile",
        files=True,
        file_limit_bytes=UPLOAD_LIMIT_BYTES,
        typing_every_s=8.0,  # it is shown for ten seconds
        draft_every_s=1.2,
    )

    def __init__(
        self,
        name: str,
        *,
        token: str,
        api_url: str = _DISCORD,
        message_content: bool = True,
        allow_bots: bool = False,
        link_previews: bool = False,
        notify_asker: bool = True,
    ) -> None:
        """Connect nothing yet.

        Args:
            name: instance name.
            token: of the bot, from its page at Discord.
            api_url: another REST API, with its version; plain HTTP on this machine only.
            message_content: whether the Message Content Intent is asked for. Without it, only
                direct messages and those that mention the bot are heard.
            allow_bots: whether what other bots write is heard.
            link_previews: whether Discord may open the links in what the agent says, to show a
                preview: whoever can put a link there learns what stands in it.
            notify_asker: whether who is answered in a guild is notified.

        Raises:
            ValueError: the token is none, or the URL is.
        """
        super().__init__(name, Secret.of(token, "token"))
        if not _TOKEN.fullmatch(self._token.reveal()):
            raise ValueError(
                "token is none of Discord's: three parts with dots between them, without 'Bot'"
            )
        place = platform_url(api_url, "api_url", _DISCORD)
        self._api = DiscordApi(place.url, self._token)
        self._plain = place.is_local
        self._source = FileSource(self, place.address if place.url != _DISCORD else None)
        self._intents = _GUILDS | _GUILD_MESSAGES | _DIRECT_MESSAGES
        if message_content:
            self._intents |= _MESSAGE_CONTENT
        self._allow_bots = allow_bots
        self._voice = Voice(self.name, self._api, previews=link_previews, notifies=notify_asker)
        self._strangers = Strangers(name, self._voice.say)
        self._rng = Random()  # noqa: S311  (jitter)
        self._quick_ends = 0
        """How many connections of this run have ended soon, in a row."""

    # -- hearing ---------------------------------------------------------------------------------

    async def run(self, deliver: Deliver) -> None:
        """Hear until cancelled, or until Discord cannot be heard.

        Raises:
            Unreachable: it cannot now; `no_sessions_left` if the bot has begun too many today.
            Rejected: it refuses: the token is wrong, or an intent is not switched on.
        """
        failed: Unreachable | Rejected
        async with self._api.open():
            with readable("/users/@me"):
                me = me_in(await self._api.ask("GET", "/users/@me"))
            ear = Ear(
                self,
                Reader(self.name, me, allow_bots=self._allow_bots),
                Places(self._api, me),
                self._source,
                self._api,
                Handover(self, deliver, self._strangers),
                echo=self._voice.hear_echo,
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ear.store)
                session, self._quick_ends = ear.progress.session, 0
                try:
                    while True:
                        session = await self._converse(ear, session, nursery)
                except (Unreachable, Rejected) as error:
                    failed = error
                await ear.keep()
                nursery.cancel_scope.cancel()  # what is not settled comes again
            raise failed

    async def _converse(
        self, ear: Ear, session: Session | None, nursery: trio.Nursery
    ) -> Session | None:
        """Hear through one connection; return the session that the next one may resume."""
        gateway = Gateway(session, intents=self._intents, rng=self._rng, now_s=trio.current_time())
        stands_since = float("inf")

        async def hear(event: Event) -> None:
            if gateway.session is not None:
                await ear.hear(event, gateway.session, nursery)

        def gone_on(_resumed: bool) -> None:
            nonlocal stands_since
            stands_since = trio.current_time()
            self.line.up()

        socket = GatewaySocket(gateway, self._token, hear=hear, gone_on=gone_on, warn=self._warn)
        try:
            await self._connect(socket, session)
        except Ended as ended:
            how = next_after_close(ended.code)
            self.line.down(str(ended))
            goes_on = gateway.session if how == "resume" else None
            if goes_on is None:
                ear.progress.lose()
            lasted = trio.current_time() >= stands_since + _SETTLED_S
            was_refused = session is not None and not gateway.stands and goes_on is None
            if not was_refused:
                self._quick_ends = 0 if lasted else self._quick_ends + 1
            if self._quick_ends > 1:
                raise Unreachable(str(ended)) from ended
            await trio.sleep(ended.pause_s)
            return goes_on
        raise AssertionError("a connection ends")

    async def _connect(self, socket: GatewaySocket, session: Session | None) -> None:
        """Hear where a session is to be resumed, and where Discord is reached usually."""
        if session is not None:
            try:
                await socket.run(checked_gateway_url(session.url, plain=self._plain))
            except Unreachable as error:
                self.line.down(str(error))
        await socket.run(await self._gateway_url(begins=session is None))

    async def _gateway_url(self, *, begins: bool) -> str:
        """Where the gateway is.

        Raises:
            Unreachable: Discord does not say, or the bot may not begin another session now.
        """
        with readable("/gateway/bot"):
            told = fields(await self._api.ask("GET", "/gateway/bot"), "gateway")
            limit = fields(told.get("session_start_limit"), "session_start_limit")
            if begins and number(limit, "remaining") < 1:
                # Whoever begins more has the token taken away.
                raise Unreachable(
                    "the bot has begun as many sessions as it may in a day",
                    reason="no_sessions_left",
                    retry_after_s=max(1.0, number(limit, "reset_after") / 1000),
                )
            if number(told, "shards") > 1:
                self._warn("the bot is in so many guilds that Discord recommends shards")
        return checked_gateway_url(str(told.get("url")), plain=self._plain)

    def _warn(self, what: str) -> None:
        warn(self, what)

    # -- speaking --------------------------------------------------------------------------------

    async def send(self, outbound: Outbound) -> Receipt:
        """Send a text, or a file, or edit a draft into its text.

        Raises:
            Unreachable: nothing was sent: `rate_limited`, or Discord cannot be reached.
            Rejected: in one word: `no_access`, `forbidden`, `not_found`, `blocked` …
            LostAnswer: nobody knows yet; see `reconcile`.
        """
        draft = outbound.draft
        if draft is not None and await self._voice.edit(
            channel_of(outbound.address), draft, outbound.text
        ):
            return Receipt(platform_message_id=draft)
        return await self._voice.post(outbound)

    async def reconcile(self, outbound: Outbound, /) -> Receipt:
        """Find out whether a message has arrived, by sending it once more under the same nonce.

        Discord then answers with the message that there is, if there is one.

        Raises:
            Rejected: `lost_answer`, when two minutes have passed: Discord may have forgotten it.
        """
        return await self._voice.post_again(outbound)

    async def typing(self, address: Address, /) -> None:
        """Show it for ten seconds."""
        await self._api.ask("POST", "/channels/{channel}/typing", {"channel": channel_of(address)})

    async def draft(self, draft: Draft, /) -> Receipt:
        """Send the first state, and edit the later ones into it."""
        if draft.shown is None:
            return await self._voice.say(draft.address, draft.text, draft.reply_to)
        if not await self._voice.edit(channel_of(draft.address), draft.shown, draft.text):
            raise Rejected("the draft is gone", reason="message_gone")
        return Receipt(platform_message_id=draft.shown)

    async def withdraw(self, address: Address, message_id: str, /) -> None:
        """Delete a draft."""
        await self._voice.delete(channel_of(address), message_id)

    # -- the operator ----------------------------------------------------------------------------

    async def probe(self) -> tuple[Check, ...]:
        """Ask who the bot is, what it may read, and how many sessions it may begin."""
        try:
            with readable("no answer of Discord's"):
                me = me_in(await self._api.ask("GET", "/users/@me"))
                application = fields(await self._api.ask("GET", "/applications/@me"), "application")
                gateway = fields(await self._api.ask("GET", "/gateway/bot"), "gateway")
                limit = fields(gateway.get("session_start_limit"), "session_start_limit")
                return (
                    Check(what="token", ok=True, detail=me.name),
                    self._content_check(application.get("flags")),
                    _sessions_check(number(limit, "remaining")),
                )
        except Rejected as refused:
            return (
                Check(
                    what="token",
                    ok=False,
                    detail=f"{refused}; make a new token on the bot's page at Discord",
                ),
            )

    def _content_check(self, flags: object) -> Check:
        may = isinstance(flags, int) and bool(flags & _MAY_READ_CONTENT)
        wants = bool(self._intents & _MESSAGE_CONTENT)
        if may or not wants:
            detail = "everything" if wants else "direct messages and mentions of the bot"
            return Check(what="may read messages", ok=True, detail=detail)
        return Check(
            what="may read messages",
            ok=False,
            detail="switch on the Message Content Intent on the bot's page at Discord, under "
            "Privileged Gateway Intents, or set message_content = false",
        )


def _sessions_check(remaining: int) -> Check:
    return Check(
        what="sessions",
        ok=remaining > 0,
        detail=f"{remaining} more can be begun today"
        + ("" if remaining > 0 else "; look for what begins so many, and wait"),
    )
