"""A channel with every power, small enough to be broken on purpose: each habit is a method."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any, cast

import turnkeeper as tk
from turnkeeper.testing import SeenFile

from .whole_platform import LIMIT, Feed, Gone, Lost, Refused, Whole

__all__ = ["WholeChannel"]

logger = logging.getLogger("whole")


class WholeChannel(tk.Channel):
    """Hears a `Whole` and speaks there."""

    platform = "whole"
    powers = tk.ChannelPowers(
        text_limit=LIMIT,
        after_unknown="never",
        late_receipts=True,
        files=True,
        typing_every_s=4.0,
        draft_every_s=1.0,
    )

    def __init__(self, name: str, whole: Whole, token: str) -> None:
        super().__init__(name)
        self.whole = whole
        self.token = token

    def __repr__(self) -> str:
        return f"<WholeChannel {self.name}>"

    @property
    def account(self) -> str | None:
        return hashlib.sha256(self.token.encode()).hexdigest()

    # -- hearing ---------------------------------------------------------------------------------

    async def run(self, deliver: tk.Deliver) -> None:
        feed = await self.connect()
        self.line.up()
        while True:
            await self.hear(await self.next(feed), deliver)

    async def connect(self) -> Feed:
        try:
            return await self.whole.connect(self.token, self.place())
        except Gone as error:
            raise tk.Unreachable(str(error)) from error
        except Refused as error:
            raise tk.Rejected(str(error), reason=error.code) from error

    async def next(self, feed: Feed) -> str:
        try:
            return await feed.next()
        except Gone as error:
            raise tk.Unreachable(str(error)) from error

    def place(self) -> int:
        assert self.watermark is not None
        return int(self.watermark.value or 0)

    async def move(self) -> None:
        """Everything up to the line in hand is done."""
        assert self.watermark is not None
        await self.watermark.move(str(self.place() + 1))

    async def hear(self, line: str, deliver: tk.Deliver) -> None:
        update = self.parsed(line)
        if update is not None:
            await self.handle(update, deliver)
        await self.move()

    def parsed(self, line: str) -> dict[str, Any] | None:
        try:
            found: object = json.loads(line)
        except ValueError:
            return None
        match found:
            case {"kind": str(), "room": str()}:
                return cast("dict[str, Any]", found)
            case _:
                return None

    async def handle(self, update: dict[str, Any], deliver: tk.Deliver) -> None:
        match update["kind"]:
            case "message" if self.is_human(update):
                await self.give(await self.turn(update), deliver)
            case "edited" | "deleted":
                await self.change(update, deliver)
            case "read":
                await self.receipt(update)
            case _:
                logger.debug("skipped %s", update["kind"])

    def is_human(self, update: dict[str, Any]) -> bool:
        return update["user"] != "me" and not update.get("bot")

    async def give(self, turn: tk.InboundTurn, deliver: tk.Deliver) -> None:
        try:
            await deliver(turn)
        except tk.TurnRefused as error:
            if error.retryable:
                raise tk.Unreachable("not accepted now") from error

    async def turn(self, update: dict[str, Any]) -> tk.InboundTurn:
        return tk.InboundTurn(
            address=self.address(update),
            platform=self.platform,
            message_id=self.message_id(update),
            user_id=update["user"],
            text=update["text"],
            direct=self.is_direct(update),
            mentioned=self.is_mentioned(update),
            reply_to=update.get("quotes"),
            attachments=await self.files(update),
        )

    def address(self, update: dict[str, Any]) -> tk.Address:
        return tk.Address(self.name, update["room"], update.get("thread"))

    def message_id(self, update: dict[str, Any]) -> str:
        return str(update["id"])

    def is_direct(self, update: dict[str, Any]) -> bool:
        return not update["room"].startswith("g")

    def is_mentioned(self, update: dict[str, Any]) -> bool:
        return bool(update.get("mention"))

    async def files(self, update: dict[str, Any]) -> tuple[tk.Attachment, ...]:
        file = update.get("file")
        if file is None:
            return ()
        assert self.keep_file is not None
        content = bytes.fromhex(file["content"])
        return (await self.keep_file(content, kind="file", mime=file["mime"], name=file["name"]),)

    async def change(self, update: dict[str, Any], _deliver: tk.Deliver) -> None:
        assert self.on_change is not None
        await self.on_change(
            tk.MessageChange(
                address=self.address(update),
                platform=self.platform,
                message_id=update["id"],
                change_id=str(update["n"]),
                user_id=update["room"],
                text=update.get("text"),
            )
        )

    async def receipt(self, update: dict[str, Any]) -> None:
        assert self.on_receipt is not None
        await self.on_receipt(
            tk.LateReceipt(
                conversation=update["room"], platform_message_id=update["id"], status="read"
            )
        )

    # -- speaking --------------------------------------------------------------------------------

    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        room = outbound.address.conversation
        if outbound.draft is not None:
            await self.whole.change(self.token, room, outbound.draft, outbound.text)
            return tk.Receipt(platform_message_id=outbound.draft)
        file = await self.file(outbound.file) if outbound.file is not None else None
        try:
            message_id = await self.post(outbound, file)
        except Gone as error:
            raise tk.Unreachable(str(error)) from error
        except Lost as error:
            raise tk.LostAnswer(str(error)) from error
        except Refused as error:
            raise self.refusal(error) from error
        return tk.Receipt(platform_message_id=message_id)

    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        return await self.whole.post(
            self.token,
            outbound.address.conversation,
            outbound.text,
            outbound.address.thread,
            outbound.reply_to,
            file,
        )

    async def file(self, file: tk.OutboundFile) -> SeenFile:
        return SeenFile(content=await file.read(), name=file.name, mime=file.mime)

    def refusal(self, error: Refused) -> tk.Unreachable | tk.Rejected | tk.LostAnswer:
        match error.code:
            case "rate_limited":
                return tk.Unreachable(
                    "slower", reason="rate_limited", retry_after_s=error.retry_after_s
                )
            case "server_error":
                return tk.Unreachable("it broke")
            case _:
                return tk.Rejected(error.code, reason=error.code)

    async def typing(self, address: tk.Address, /) -> None:
        await self.whole.show_typing(self.token, address.conversation)

    async def draft(self, draft: tk.Draft, /) -> tk.Receipt:
        room, thread = draft.address.conversation, draft.address.thread
        if draft.shown is None:
            shown = await self.whole.post(self.token, room, draft.text, thread, draft.reply_to)
            return tk.Receipt(platform_message_id=shown)
        await self.whole.change(self.token, room, draft.shown, draft.text)
        return tk.Receipt(platform_message_id=draft.shown)

    async def withdraw(self, address: tk.Address, message_id: str, /) -> None:
        await self.whole.remove(self.token, address.conversation, message_id)

    async def probe(self) -> tuple[tk.Check, ...]:
        try:
            await self.whole.check(self.token)
        except Refused:
            return (tk.Check(what="token", ok=False, detail="the platform does not know it"),)
        return (tk.Check(what="token", ok=True),)
