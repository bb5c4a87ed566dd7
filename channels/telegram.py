"""The Telegram channel: a bot, which hears by long polling or a webhook.

What Telegram makes impossible: bots are never told that a message was deleted; a message whose
answer was lost cannot be found again or recognised when it is sent again, so it stays unknown; an
album comes as one message for each picture, and so as one turn for each; and what is older than 24
hours is not told any more to a bot that was away.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

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
from .handover import Handover
from .http_answer import readable
from .incoming_files import FETCH_S, HOOKED_FETCH_S
from .json_fields import fields, flag, text
from .platform_url import platform_url
from .secret import Secret
from .strangers import Strangers
from .telegram_api import SendRates, TelegramApi, is_private
from .telegram_errors import CONFLICT
from .telegram_files import UPLOAD_LIMIT_BYTES
from .telegram_hearing import Ear, FileSource
from .telegram_hook import MAX_CONNECTIONS, TelegramHook, hook_secret
from .telegram_markup import TEXT_LIMIT, TEXT_UNIT
from .telegram_polling import Poller
from .telegram_wire import PLATFORM, Reader, me_in
from .telegram_writing import Pen
from .token_channel import TokenChannel

__all__ = ["TelegramChannel"]

_TOKEN: Final = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,128}")
_TAKEN: Final = "another program has taken the webhook of this token away, or polls"
_MOST_CHECK_S: Final = 86_400.0
_GROUP_DRAFT_S: Final = 8.0
"""Least seconds between two states of a draft in a group, which may be told 20 things a minute."""


class TelegramChannel(TokenChannel):
    """One bot."""

    platform = PLATFORM
    powers = ChannelPowers(
        text_limit=TEXT_LIMIT,
        text_unit=TEXT_UNIT,
        after_unknown="never",
        files=True,
        file_limit_bytes=UPLOAD_LIMIT_BYTES,
        typing_every_s=4.5,  # it is shown for five seconds
        draft_every_s=1.5,
    )

    def __init__(  # noqa: PLR0913 - its keys in a configuration
        self,
        name: str,
        *,
        token: str,
        api_url: str = "https://api.telegram.org",
        webhook: bool = False,
        allow_bots: bool = False,
        channel_posts: bool = False,
        link_previews: bool = False,
        webhook_check_s: float = 30.0,
        rates: SendRates | None = None,
    ) -> None:
        """Connect nothing yet.

        Args:
            name: instance name.
            token: what BotFather gave.
            api_url: another Bot API server; plain HTTP on this machine only.
            webhook: whether Telegram calls, under the `public_url` of `[http]`, instead of being
                polled.
            allow_bots: whether what other bots write is heard.
            channel_posts: whether the posts of channels are heard.
            link_previews: whether Telegram may open the links in what the agent says, to show a
                preview: whoever can put a link there learns what stands in it.
            webhook_check_s: seconds between two looks at whether Telegram still calls, and can.
            rates: how fast to write, if not as fast as Telegram allows.

        Raises:
            ValueError: the token, the URL or the seconds are none.
        """
        super().__init__(name, Secret.of(token, "token"))
        if not _TOKEN.fullmatch(self._token.reveal()):
            raise ValueError("token is none of Telegram's: digits, a colon, letters and digits")
        place = platform_url(api_url, "api_url", "https://api.telegram.org")
        self._api = TelegramApi(place.url, self._token, rates or SendRates())
        self._source = FileSource(self, self._api, place.address)
        self._hook = TelegramHook(hook_secret(self._token, name)) if webhook else None
        if not 1.0 <= webhook_check_s <= _MOST_CHECK_S:
            raise ValueError(f"webhook_check_s must be from 1 to {_MOST_CHECK_S:g}")
        self._check_s = webhook_check_s
        self._allow_bots = allow_bots
        self._kinds = ["message", "edited_message"]
        if channel_posts:
            self._kinds += ["channel_post", "edited_channel_post"]
        self._pen = Pen(self._api, link_previews=link_previews)
        self._strangers = Strangers(name, self._pen.say)
        self._drafted: dict[str, float] = {}

    def __repr__(self) -> str:
        way = "polling" if self._hook is None else "webhook"
        return f"<TelegramChannel {self.name}, {way}: {self.line.state}>"

    @property
    def hook(self) -> TelegramHook | None:
        """Where Telegram calls, if it does."""
        return self._hook

    # -- hearing ---------------------------------------------------------------------------------

    async def run(self, deliver: Deliver) -> None:
        """Hear until cancelled, or until Telegram cannot be heard.

        Raises:
            Unreachable: it cannot now; `conflict` if somebody else fetches the updates.
            Rejected: it refuses: the token is wrong, or it cannot call the webhook's address.
        """
        async with self._api.open():
            with readable("getMe"):
                me = me_in(await self._api.ask("getMe"))
            ear = Ear(
                self.name,
                Reader(self.name, me, allow_bots=self._allow_bots),
                self._source,
                Handover(self, deliver, self._strangers),
                fetch_s=FETCH_S if self._hook is None else HOOKED_FETCH_S,
            )
            if self._hook is not None:
                await self._be_called(self._hook, ear)
            else:
                await self._api.ask("deleteWebhook", {"drop_pending_updates": False})
                self.line.up()
                await Poller(self.name, self._api, ear, self.line, self._kinds).run()

    async def _be_called(self, hook: TelegramHook, ear: Ear) -> None:
        """Let Telegram call, and look now and then whether it still can."""
        hook.ear = ear
        try:
            await self._set_webhook()
            self.line.up()
            told = ""
            while True:
                await trio.sleep(self._check_s)
                with readable("getWebhookInfo"):
                    info = fields(await self._api.ask("getWebhookInfo"), "webhook")
                    url, why = text(info, "url"), text(info, "last_error_message")
                if url != self.hook_url:
                    self.line.warning = _TAKEN
                    raise Unreachable(_TAKEN, reason=CONFLICT)
                waiting = info.get("pending_update_count")
                before, told = told, _in_words(waiting, why)
                if told or self.line.warning in (before, _TAKEN):
                    self.line.warning = told
        finally:
            hook.ear = None

    async def _set_webhook(self) -> None:
        """Tell Telegram where to call.

        Raises:
            Unreachable, Rejected: see `result_of`; the latter says where the address comes from.
        """
        wanted = {
            "url": self.hook_url,
            "secret_token": hook_secret(self._token, self.name).reveal(),
            "allowed_updates": self._kinds,
            "max_connections": MAX_CONNECTIONS,
            "drop_pending_updates": False,
        }
        try:
            await self._api.ask("setWebhook", wanted)
        except Rejected as error:
            raise Rejected(f"{error}; see public_url of [http]", reason=error.reason) from error

    # -- speaking --------------------------------------------------------------------------------

    async def send(self, outbound: Outbound) -> Receipt:
        """Send a text, or a file, or edit a draft into its text.

        Raises:
            Unreachable: nothing was sent: `rate_limited`, or Telegram cannot be reached.
            Rejected: in one word: `blocked`, `kicked`, `not_found`, `moved` …
            LostAnswer: nobody knows, and nobody can find out.
        """
        address, shown = outbound.address, outbound.draft
        if outbound.file is not None:
            return await self._pen.send_file(address, outbound.file, outbound.reply_to)
        if shown is not None and await self._pen.edit(address, shown, outbound.text):
            return Receipt(platform_message_id=shown)
        return await self._pen.say(address, outbound.text, outbound.reply_to)

    async def typing(self, address: Address, /) -> None:
        """Show it for five seconds."""
        await self._pen.typing(address)

    async def draft(self, draft: Draft, /) -> Receipt:
        """Send the first state, and edit the later ones into it; fewer of them in a group."""
        if draft.shown is None:
            return await self._pen.say(draft.address, draft.text, draft.reply_to)
        if self._may_draft(draft.address.conversation) and not await self._pen.edit(
            draft.address, draft.shown, draft.text
        ):
            raise Rejected("the draft is gone", reason="message_gone")
        return Receipt(platform_message_id=draft.shown)

    async def withdraw(self, address: Address, message_id: str, /) -> None:
        """Delete a draft."""
        await self._pen.delete(address, message_id)

    def _may_draft(self, chat: str) -> bool:
        if is_private(chat):
            return True
        now = trio.current_time()
        self._drafted = {one: at for one, at in self._drafted.items() if at > now - _GROUP_DRAFT_S}
        return self._drafted.setdefault(chat, now) == now

    # -- the operator ----------------------------------------------------------------------------

    async def probe(self) -> tuple[Check, ...]:
        """Ask who the bot is, and how it is told of messages."""
        try:
            with readable("no answer of Telegram's"):
                bot = fields(await self._api.ask("getMe"), "bot")
                info = fields(await self._api.ask("getWebhookInfo"), "webhook")
                return (
                    Check(what="token", ok=True, detail=f"@{me_in(bot).username}"),
                    _groups_check(flag(bot, "can_read_all_group_messages")),
                    self._updates_check(
                        text(info, "url") or "",
                        text(info, "last_error_message"),
                        waits=bool(info.get("pending_update_count")),
                    ),
                )
        except Rejected as refused:
            return (
                Check(what="token", ok=False, detail=f"{refused}; ask @BotFather for the token"),
            )

    def _updates_check(self, url: str, failed: str | None, *, waits: bool) -> Check:
        """How it is told of messages; Telegram tells of its last failed call for ever after."""
        host = urlsplit(url).hostname
        if self._hook is None:
            return Check(
                what="updates",
                ok=True,
                detail=f"a webhook at {host} is taken away at the start" if url else "polled",
            )
        if failed and waits:
            return Check(
                what="updates", ok=False, detail=f"Telegram could not call {host}: {failed}"
            )
        earlier = f"; an earlier call failed: {failed}" if failed else ""
        detail = f"Telegram calls {host}{earlier}" if url else ""
        return Check(what="updates", ok=True, detail=detail)


def _in_words(waiting: object, why: str | None) -> str:
    return f"{waiting} updates wait: Telegram's last call failed: {why}" if waiting and why else ""


def _groups_check(reads_all: bool) -> Check:
    return Check(
        what="groups",
        ok=True,
        detail="hears everything"
        if reads_all
        else "hears commands, mentions and answers; more with /setprivacy at @BotFather, or as an "
        "administrator",
    )
