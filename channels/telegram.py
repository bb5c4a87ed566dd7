"""The Telegram channel: a bot, which hears by long polling or a webhook.

What Telegram makes impossible: bots are never told that a message was deleted; a message whose
answer was lost cannot be found again or recognised when it is sent again, so it stays unknown; an
album comes as one message for each picture, and so as one turn for each; and what is older than 24
hours is not told any more to a bot that was away.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from ..actors.messages import Address
from .base import (
    Channel,
    ChannelPowers,
    Check,
    Deliver,
    Draft,
    LostAnswer,
    Outbound,
    OutboundFile,
    Receipt,
    Rejected,
    Unreachable,
)
from .markdown import clean
from .secret import Secret
from .telegram_api import Parameters, TelegramApi, is_private
from .telegram_fields import Malformed, fields, flag, number, text
from .telegram_files import UPLOAD_LIMIT_BYTES, uploads_for
from .telegram_hearing import Ear, FileSource
from .telegram_hook import MAX_CONNECTIONS, TelegramHook, hook_secret
from .telegram_markup import TEXT_LIMIT, TEXT_UNIT, to_html
from .telegram_polling import Poller
from .telegram_wire import PLATFORM, Reader, me_in

__all__ = ["TelegramChannel"]

_TOKEN: Final = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,128}")
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_FETCH_S: Final = 120.0
"""Seconds for a file while polling; other conversations do not wait for it."""
_HOOKED_FETCH_S: Final = 20.0
"""Seconds for a file while Telegram waits for the answer to its call."""
_LOOK_S: Final = 30.0
"""Seconds between two looks at what Telegram says of the webhook."""
_GROUP_DRAFT_S: Final = 8.0
"""Least seconds between two states of a draft in a group, which may be told 20 things a minute."""


class TelegramChannel(Channel):
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

    def __init__(
        self,
        name: str,
        *,
        token: str,
        api_url: str = "https://api.telegram.org",
        webhook: bool = False,
        allow_bots: bool = False,
        channel_posts: bool = False,
        link_previews: bool = False,
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

        Raises:
            ValueError: the token is none, or the URL is.
        """
        super().__init__(name)
        self._token = Secret.of(token, "token")
        if not _TOKEN.fullmatch(self._token.reveal()):
            raise ValueError("token is none of Telegram's: digits, a colon, letters and digits")
        self._api_url, place = _checked_url(api_url)
        self._api = TelegramApi(self._api_url, self._token)
        self._source = FileSource(self._api, self._api_url, place, self._token)
        self._hook = TelegramHook(hook_secret(self._token, name), self.line) if webhook else None
        self._allow_bots = allow_bots
        self._kinds = ["message", "edited_message"]
        if channel_posts:
            self._kinds += ["channel_post", "edited_channel_post"]
        self._previews = None if link_previews else {"is_disabled": True}
        self._drafted: dict[str, float] = {}

    def __repr__(self) -> str:
        way = "polling" if self._hook is None else "webhook"
        return f"<TelegramChannel {self.name}, {way}: {self.line.state}>"

    @property
    def account(self) -> str:
        """A digest of the token."""
        return sha256(self._token.reveal().encode()).hexdigest()[:32]

    @property
    def hook(self) -> TelegramHook | None:
        """Where Telegram calls, if it does."""
        return self._hook

    @property
    def exposed(self) -> bool:
        """True: anybody can write to a bot."""
        return True

    # -- hearing ---------------------------------------------------------------------------------

    async def run(self, deliver: Deliver) -> None:
        """Hear until cancelled, or until Telegram cannot be heard.

        Raises:
            Unreachable: it cannot now; `conflict` if somebody else fetches the updates.
            Rejected: it refuses: the token is wrong, or it cannot call the webhook's address.
        """
        async with self._api.connected():
            try:
                me = me_in(await self._api.ask("getMe"))
            except Malformed as error:
                raise Unreachable(f"getMe: {error}", reason="bad_answer") from error
            ear = Ear(
                self,
                Reader(self.name, me, allow_bots=self._allow_bots),
                deliver,
                self._source,
                tell=self._tell,
                fetch_s=_FETCH_S if self._hook is None else _HOOKED_FETCH_S,
            )
            if self._hook is not None:
                await self._be_called(self._hook, ear)
            else:
                await self._api.ask("deleteWebhook", {"drop_pending_updates": False})
                self.line.up()
                await Poller(self._api, ear, self.line, self._kinds).run()

    async def _be_called(self, hook: TelegramHook, ear: Ear) -> None:
        """Let Telegram call, and look now and then whether it still can."""
        hook.ear = ear
        try:
            await self._api.ask(
                "setWebhook",
                {
                    "url": self.hook_url,
                    "secret_token": hook_secret(self._token, self.name).reveal(),
                    "allowed_updates": self._kinds,
                    "max_connections": MAX_CONNECTIONS,
                    "drop_pending_updates": False,
                },
            )
            self.line.up()
            while True:
                await trio.sleep(_LOOK_S)
                info = fields(await self._api.ask("getWebhookInfo"), "webhook")
                if text(info, "url") != self.hook_url:
                    self.line.warning = (
                        "another program has taken the webhook of this token away, or polls"
                    )
                    raise Unreachable(self.line.warning, reason="conflict")
                waiting, why = info.get("pending_update_count"), text(info, "last_error_message")
                if waiting and why:
                    self.line.warning = (
                        f"{waiting} updates wait: Telegram's last call failed: {why}"
                    )
        except Malformed as error:
            raise Unreachable(f"getWebhookInfo: {error}", reason="bad_answer") from error
        finally:
            hook.ear = None

    # -- speaking --------------------------------------------------------------------------------

    async def send(self, outbound: Outbound) -> Receipt:
        """Send a text, or a file, or edit a draft into its text.

        Raises:
            Unreachable: nothing was sent: `rate_limited`, or Telegram cannot be reached.
            Rejected: in one word: `blocked`, `kicked`, `not_found`, `moved` …
            LostAnswer: nobody knows, and nobody can find out.
        """
        address, reply_to = outbound.address, outbound.reply_to
        if outbound.file is not None:
            return await self._send_file(outbound.file, address, reply_to)
        if outbound.draft is not None and await self._edit(
            address.conversation, outbound.draft, outbound.text
        ):
            return Receipt(platform_message_id=outbound.draft)
        return await self._say(address, outbound.text, reply_to)

    async def typing(self, address: Address, /) -> None:
        """Show it for five seconds."""
        await self._api.ask(
            "sendChatAction",
            {
                "chat_id": address.conversation,
                "message_thread_id": _number(address.thread),
                "action": "typing",
            },
        )

    async def draft(self, draft: Draft, /) -> Receipt:
        """Send the first state, and edit the later ones into it; fewer of them in a group."""
        chat = draft.address.conversation
        if draft.shown is None:
            return await self._say(draft.address, draft.text, draft.reply_to)
        if (is_private(chat) or self._may_draft(chat)) and not await self._edit(
            chat, draft.shown, draft.text
        ):
            raise Rejected("the draft is gone", reason="message_gone")
        return Receipt(platform_message_id=draft.shown)

    async def withdraw(self, address: Address, message_id: str, /) -> None:
        """Delete a draft."""
        await self._api.write(
            "deleteMessage",
            address.conversation,
            {"message_id": _number(message_id)},
            repeatable=True,
        )

    def _may_draft(self, chat: str) -> bool:
        now = trio.current_time()
        self._drafted = {one: at for one, at in self._drafted.items() if at > now - _GROUP_DRAFT_S}
        return self._drafted.setdefault(chat, now) == now

    async def _tell(self, address: Address, words: str, reply_to: str) -> object:
        return await self._say(address, words, reply_to)

    async def _say(self, address: Address, said: str, reply_to: str | None) -> Receipt:
        return _receipt(
            await self._write_text(
                "sendMessage", address.conversation, said, _where(address, reply_to)
            )
        )

    async def _edit(self, chat: str, message_id: str, said: str) -> bool:
        """Let a message of ours say something else; False if it is there no more."""
        try:
            await self._write_text(
                "editMessageText", chat, said, {"message_id": _number(message_id)}, repeatable=True
            )
        except Rejected as refused:
            if refused.reason == "not_modified":
                return True
            if refused.reason == "message_gone":
                return False
            raise
        return True

    async def _write_text(
        self, method: str, chat: str, said: str, where: Parameters, *, repeatable: bool = False
    ) -> Any:
        """Write a text with its formatting, or without it if Telegram does not take that."""
        plain = {**where, "link_preview_options": self._previews}
        written = {**plain, "text": to_html(said), "parse_mode": "HTML"}
        try:
            return await self._api.write(method, chat, written, repeatable=repeatable)
        except Rejected as refused:
            if refused.reason != "bad_markup":
                raise
        plain["text"] = clean(said)
        return await self._api.write(method, chat, plain, repeatable=repeatable)

    async def _send_file(
        self, file: OutboundFile, address: Address, reply_to: str | None
    ) -> Receipt:
        content = await file.read()
        *better, last = uploads_for(file)
        for upload in (*better, last):
            try:
                return _receipt(
                    await self._api.write(
                        upload.method,
                        address.conversation,
                        _where(address, reply_to),
                        file={upload.field: (upload.name, content, upload.mime)},
                    )
                )
            except Rejected as refused:
                if upload is last or refused.reason != "bad_file":
                    raise
        raise AssertionError("the last way returns or raises")

    # -- the operator ----------------------------------------------------------------------------

    async def probe(self) -> tuple[Check, ...]:
        """Ask who the bot is, and how it is told of messages."""
        try:
            bot = fields(await self._api.ask("getMe"), "bot")
            info = fields(await self._api.ask("getWebhookInfo"), "webhook")
            return (
                Check(what="token", ok=True, detail=f"@{me_in(bot).username}"),
                _groups_check(flag(bot, "can_read_all_group_messages")),
                self._updates_check(text(info, "url") or "", text(info, "last_error_message")),
            )
        except Rejected as refused:
            return (
                Check(what="token", ok=False, detail=f"{refused}; ask @BotFather for the token"),
            )
        except Malformed as error:
            raise Unreachable(f"no answer of Telegram's: {error}", reason="bad_answer") from error

    def _updates_check(self, url: str, failed: str | None) -> Check:
        host = urlsplit(url).hostname
        if self._hook is None:
            return Check(
                what="updates",
                ok=True,
                detail=f"a webhook at {host} is taken away at the start" if url else "polled",
            )
        if failed:
            return Check(
                what="updates", ok=False, detail=f"Telegram could not call {host}: {failed}"
            )
        return Check(what="updates", ok=True, detail=f"Telegram calls {host}" if url else "")


def _groups_check(reads_all: bool) -> Check:
    return Check(
        what="groups",
        ok=True,
        detail="hears everything"
        if reads_all
        else "hears commands, mentions and answers; more with /setprivacy at @BotFather, or as an "
        "administrator",
    )


def _checked_url(api_url: str) -> tuple[str, str]:
    """The URL without a slash at its end, and its `host:port`.

    Raises:
        ValueError: it is no plain URL, or not encrypted on its way to another machine.
    """
    try:
        url = urlsplit(api_url)
        port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    except ValueError:
        raise ValueError("api_url is no URL") from None
    if not url.hostname or url.username or url.password or url.query or url.fragment:
        raise ValueError("api_url must be like https://api.telegram.org")
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
        raise ValueError("api_url must begin with https://; http:// is for this machine only")
    return api_url.rstrip("/"), f"{url.hostname}:{port}"


def _where(address: Address, reply_to: str | None) -> dict[str, Any]:
    """Topic and answered message; one that is gone is no reason not to answer."""
    answered = _number(reply_to)
    return {
        "message_thread_id": _number(address.thread),
        "reply_parameters": None
        if answered is None
        else {"message_id": answered, "allow_sending_without_reply": True},
    }


def _number(number: str | None) -> int | None:
    """An id as Telegram has it; None for what is none of its ids."""
    return int(number) if number and re.fullmatch(r"[0-9]{1,18}", number) else None


def _receipt(told: object) -> Receipt:
    try:
        return Receipt(platform_message_id=str(number(fields(told, "message"), "message_id")))
    except Malformed as error:
        raise LostAnswer(f"it was taken, and its id not told: {error}") from error
