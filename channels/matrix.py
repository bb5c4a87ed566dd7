"""The Matrix channel: an account on a homeserver, which hears by syncing.

What Matrix makes impossible here: rooms with end-to-end encryption cannot be read (a warning names
them); nothing says of an account that it is a bot, except that well-behaved ones send notices,
which are left out; spaces stand in no message, so there is no `guild`; of an edit that was itself
deleted nothing is told; two programs may use one account without noticing each other; and what the
homeserver itself has missed of other homeservers it never tells.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import trio

from ..actors.errors import ShuttingDown
from ..actors.messages import Address
from .base import (
    ChannelError,
    ChannelPowers,
    Check,
    Deliver,
    Draft,
    Outbound,
    OutboundFile,
    Receipt,
    Rejected,
    Unreachable,
)
from .handover import Handover
from .http_answer import id_told, readable
from .json_fields import Fields, Malformed, items, needed
from .matrix_api import CLIENT, MatrixApi
from .matrix_content import edit, related, text_message
from .matrix_files import UPLOAD_LIMIT_BYTES, MediaSource, upload_for
from .matrix_hearing import Ear
from .matrix_mark import Mark
from .matrix_markup import TEXT_LIMIT, TEXT_UNIT
from .matrix_rooms import JoinPolicy, Rooms, name_in, user_in
from .matrix_sync import Syncer
from .matrix_wire import PLATFORM, Me, Reader
from .platform_url import platform_url
from .secret import Secret
from .strangers import Strangers
from .token_channel import TokenChannel

__all__ = ["MatrixChannel"]

_SEND: Final = f"{CLIENT}/rooms/{{room}}/send/m.room.message/{{transaction}}"
_WHOAMI: Final = f"{CLIENT}/account/whoami"
_TYPING_MS: Final = 30_000
_UNTYPING_S: Final = 2.0
"""Seconds that a sent message waits at most for the sign of typing to go out."""


class MatrixChannel(TokenChannel):
    """One account."""

    platform = PLATFORM
    powers = ChannelPowers(
        text_limit=TEXT_LIMIT,
        text_unit=TEXT_UNIT,
        after_unknown="same_id",
        files=True,
        file_limit_bytes=UPLOAD_LIMIT_BYTES,
        typing_every_s=20.0,  # it is shown for thirty
        draft_every_s=2.0,
    )

    def __init__(
        self,
        name: str,
        *,
        homeserver: str,
        access_token: str,
        join_invites: str | Collection[str] = "server",
        allow_bots: bool = False,
        notices: bool = False,
        sends_per_s: float = 10.0,
    ) -> None:
        """Connect nothing yet.

        Args:
            name: instance name.
            homeserver: its URL; plain HTTP on this machine only.
            access_token: of the account.
            join_invites: whose invitations are accepted: `server` for those of people on the same
                homeserver, `all`, `none`, or a list of user ids. Whoever writes in a room must be
                allowed to all the same.
            allow_bots: whether notices are heard, which is what bots send.
            notices: whether to send notices, at which most clients make no sound.
            sends_per_s: how fast to write; as fast as the homeserver allows the account.

        Raises:
            ValueError: one of them is none.
        """
        super().__init__(name, Secret.of(access_token, "access_token"))
        place = platform_url(homeserver, "homeserver", "https://matrix.example.org")
        self._policy = JoinPolicy(join_invites)
        if not 0 < sends_per_s <= 1000:
            raise ValueError("sends_per_s must be above 0, and 1000 at most")
        self._api = MatrixApi(place.url, self._token, sends_per_s)
        self._source = MediaSource(self, place, self._api.headers)
        self._strangers = Strangers(name, self._tell)
        self._mark = Mark(self)
        self._allow_bots = allow_bots
        self._msgtype = "m.notice" if notices else "m.text"
        self._me: str | None = None
        self._rooms: Rooms | None = None
        self._typing: set[str] = set()

    # -- hearing ---------------------------------------------------------------------------------

    async def run(self, deliver: Deliver) -> None:
        """Hear until cancelled, or until the homeserver cannot be heard.

        Raises:
            Unreachable: it cannot now.
            Rejected: it refuses: the token is wrong, or the account is locked.
        """
        async with self._api.open():
            try:
                with readable("no answer of Matrix's"):
                    await self._hear(Handover(self, deliver, self._strangers))
            except ShuttingDown:
                await trio.sleep_forever()  # until this is cancelled

    async def _hear(self, handover: Handover) -> None:
        me = await self._who()
        rooms = self._rooms = Rooms(self._api, me, self._policy)
        await rooms.begin()
        profile = await self._api.find(f"{CLIENT}/profile/{{user}}", {"user": me})
        myself = Me(user_id=me, display_name=name_in(profile))
        reader = Reader(self.name, myself, allow_bots=self._allow_bots)
        ear = Ear(self.name, reader, rooms, self._source, handover)
        await Syncer(self._api, ear, self.line, self._mark).run()

    async def _who(self) -> str:
        self._me = user_in(await self._api.ask(_WHOAMI))
        return self._me

    # -- speaking --------------------------------------------------------------------------------

    async def send(self, outbound: Outbound) -> Receipt:
        """Send a text, or a file, or edit a draft into its text.

        Raises:
            Unreachable: nothing was sent: `rate_limited`, or the homeserver cannot be reached.
            Rejected: in one word: `forbidden`, `not_found`, `too_large`, `unauthorized` …
            LostAnswer: nobody knows. Sent again, it is recognised by its transaction id.
        """
        room = outbound.address.conversation
        content = (
            text_message(outbound.text, self._msgtype)
            if outbound.file is None
            else await self._uploaded(outbound.file)
        )
        receipt = None
        if outbound.draft is not None and await self._is_there(room, outbound.draft):
            change = edit(outbound.text, self._msgtype, outbound.draft)
            await self._write(room, change, await self._transaction(outbound.part_id, "edit"))
            receipt = Receipt(platform_message_id=outbound.draft)
        if receipt is None:
            content = related(content, thread=outbound.address.thread, reply_to=outbound.reply_to)
            transaction = await self._transaction(outbound.part_id, "send")
            receipt = Receipt(platform_message_id=await self._write(room, content, transaction))
        await self._stop_typing(room)
        return receipt

    async def typing(self, address: Address, /) -> None:
        """Show it for thirty seconds, or until something is sent."""
        self._typing.add(address.conversation)
        await self._show_typing(address.conversation, {"typing": True, "timeout": _TYPING_MS})

    async def draft(self, draft: Draft, /) -> Receipt:
        """Send the first state, and edit the later ones into it."""
        room, transaction = draft.address.conversation, uuid4().hex
        if draft.shown is None:
            content = related(
                text_message(draft.text, self._msgtype),
                thread=draft.address.thread,
                reply_to=draft.reply_to,
            )
            return Receipt(platform_message_id=await self._write(room, content, transaction))
        await self._write(room, edit(draft.text, self._msgtype, draft.shown), transaction)
        return Receipt(platform_message_id=draft.shown)

    async def withdraw(self, address: Address, message_id: str, /) -> None:
        """Redact a draft."""
        values = {"room": address.conversation, "event": message_id, "transaction": uuid4().hex}
        path = f"{CLIENT}/rooms/{{room}}/redact/{{event}}/{{transaction}}"
        await self._api.write(path, values, {})

    async def _uploaded(self, file: OutboundFile) -> dict[str, Any]:
        upload = upload_for(file)
        told = await self._api.upload(await file.read(), name=upload.name, mime=upload.mime)
        with readable("the upload"):
            return upload.content(needed(told, "content_uri"))

    async def _transaction(self, part_id: str, what: str) -> str:
        try:
            return await self._mark.transaction(part_id, what)
        except ShuttingDown:
            raise Unreachable("the runtime stops") from None

    async def _write(self, room: str, content: dict[str, Any], transaction: str) -> str:
        told = await self._api.write(_SEND, {"room": room, "transaction": transaction}, content)
        with id_told():
            event_id = needed(told, "event_id")
        if self._rooms is not None:
            self._rooms.note_own(event_id)
        return event_id

    async def _is_there(self, room: str, event_id: str) -> bool:
        """Whether a message still says something; the homeserver would take an edit all the same.

        Raises:
            Unreachable, Rejected: as the homeserver answers.
        """
        path = f"{CLIENT}/rooms/{{room}}/event/{{event}}"
        told = await self._api.find(path, {"room": room, "event": event_id})
        return bool(told and told.get("content"))

    async def _tell(self, address: Address, words: str, reply_to: str) -> object:
        content = text_message(words, "m.notice")
        content = related(content, thread=address.thread, reply_to=reply_to)
        return await self._write(address.conversation, content, uuid4().hex)

    async def _show_typing(self, room: str, content: dict[str, Any]) -> None:
        values = {"room": room, "user": self._me or await self._who()}
        path = f"{CLIENT}/rooms/{{room}}/typing/{{user}}"
        await self._api.ask(path, method="PUT", values=values, json=content)

    async def _stop_typing(self, room: str) -> None:
        """A homeserver shows it for as long as it was told, whatever is said meanwhile."""
        if room in self._typing:
            self._typing.discard(room)
            with trio.move_on_after(_UNTYPING_S), suppress(ChannelError, Malformed):
                await self._show_typing(room, {"typing": False})

    # -- the operator ----------------------------------------------------------------------------

    async def probe(self) -> tuple[Check, ...]:
        """Ask which versions the homeserver speaks, and whose the token is."""
        try:
            with readable("no answer of Matrix's"):
                server = _server_check(await self._api.ask("/_matrix/client/versions"))
                who = await self._api.ask(_WHOAMI)
                return (server, Check(what="token", ok=True, detail=user_in(who)))
        except Rejected as refused:
            what = "homeserver" if refused.reason == "not_found" else "token"
            advice = (
                "is the URL that of a homeserver?" if what == "homeserver" else "log in once more"
            )
            return (Check(what=what, ok=False, detail=f"{refused}; {advice}"),)


def _server_check(told: Fields) -> Check:
    """Whether it speaks a version that has what is used here: v1.1 renamed everything."""
    versions = [one for one in items(told, "versions") if isinstance(one, str)]
    newest = versions[-1] if versions else "none"
    ok = any(version.startswith("v1.") for version in versions)
    return Check(
        what="homeserver",
        ok=ok,
        detail=f"speaks {newest}" if ok else f"speaks {newest}; v1.1 is needed",
    )
