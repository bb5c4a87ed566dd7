"""WhatsApp's webhooks, read: turns, changes, what became of our messages, or nothing to us. Pure.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
and the pages below it: text, edit, revoke, system, status, group, errors, unsupported; who is who:
https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final, TypeAlias

from ..actors.frozen import message
from ..actors.messages import Address, InboundTurn, Instance, MessageChange
from .base import LateReceipt
from .heard import Heard, shown_name
from .http_answer import quoted
from .json_fields import Fields, Malformed, chosen, fields, items, listed, needed, text
from .whatsapp_content import said_in
from .whatsapp_errors import reason_of

__all__ = ["PLATFORM", "Batch", "Later", "News", "NumberChanged", "Reader"]

PLATFORM: Final = "whatsapp"
_ACCOUNT: Final = "whatsapp_business_account"
_MAX_ID_CHARS: Final = 1_024
_SECONDS: Final = re.compile(r"[0-9]{1,12}")


@message
class Later:
    """What became of a message of ours."""

    receipts: tuple[LateReceipt, ...]
    """One for each name of its conversation: by the human's number, and by their other id."""


@message
class NumberChanged:
    """A human goes on under another number, which is another conversation."""

    conversation: str
    to: str


News: TypeAlias = Heard | MessageChange | Later | NumberChanged


@message
class Batch:
    """All that one call tells."""

    news: tuple[tuple[str, News], ...]
    """Each with its conversation; those of humans in the order in which they were said, as far as
    the seconds tell, and behind them what became of ours."""
    wrong: tuple[str, ...] = ()
    """What was left out because it was not as documented, in words."""
    complaints: tuple[str, ...] = ()
    """What WhatsApp says is wrong with the number or the account."""


_Timed: TypeAlias = tuple[int, str, News]


class Reader:
    """Reads webhooks for one business number."""

    def __init__(self, instance: Instance, phone_number_id: str) -> None:
        self._instance = instance
        self._phone_number_id = phone_number_id

    def __repr__(self) -> str:
        return f"<Reader of {self._instance} for number {self._phone_number_id}>"

    def read(self, body: object) -> Batch:
        """What a call tells. One piece that is malformed does not spoil the others.

        Raises:
            Malformed: nothing of it can be read.
        """
        told = fields(body, "body")
        if told.get("object") != _ACCOUNT:
            return Batch(news=())
        timed: list[_Timed] = []
        later: list[_Timed] = []
        wrong: list[str] = []
        complaints: list[str] = []
        for value in self._values(listed(told.get("entry"), "entry"), wrong):
            try:
                complaints += [_complaint(fields(one, "error")) for one in items(value, "errors")]
            except Malformed as error:
                wrong.append(str(error))
            for name, into in (("messages", timed), ("statuses", later)):
                try:
                    pieces = list(items(value, name))
                except Malformed as error:
                    wrong.append(str(error))
                    continue
                for piece in pieces:
                    try:
                        content = fields(piece, name)
                        read = self._message if into is timed else self._status
                        news = read(content, value)
                        if news is not None:
                            into.append(news)
                    except Malformed as error:
                        wrong.append(str(error))
        timed.sort(key=lambda one: one[0])  # stable: within a second as they came
        return Batch(
            news=tuple((conversation, news) for _, conversation, news in (*timed, *later)),
            wrong=tuple(wrong),
            complaints=tuple(complaints),
        )

    def _values(self, entries: list[object], wrong: list[str]) -> Generator[Fields]:
        """What the changes of our number hold."""
        for entry in entries:
            try:
                changes = list(items(fields(entry, "entry"), "changes"))
            except Malformed as error:
                wrong.append(str(error))
                continue
            for change in changes:
                try:
                    told = fields(change, "change")
                    if told.get("field") != "messages":
                        continue
                    value = fields(told.get("value"), "value")
                    number = needed(fields(value.get("metadata"), "metadata"), "phone_number_id")
                    if number != self._phone_number_id:
                        wrong.append(f"a change of another number, {number[:40]!r}")
                        continue
                except Malformed as error:
                    wrong.append(str(error))
                    continue
                yield value

    def _message(self, content: Fields, value: Fields) -> _Timed | None:
        if content.get("group_id") is not None:
            return None  # only conversations of one human with the business are heard
        sender = _identity(content, "from", "from_user_id")
        metadata = fields(value.get("metadata"), "metadata")
        if sender == _digits(text(metadata, "display_phone_number") or ""):
            return None  # what the business itself has said, on another device
        at = _seconds(content)
        if content.get("type") == "system":
            return _number_change(sender, at, fields(content.get("system"), "system"))
        address = Address(self._instance, sender)
        message_id = _id(content, "id")
        change = _change(address, sender, message_id, content)
        if change is not None:
            return at, sender, change
        said = said_in(content)
        if said is None:
            return None
        context = chosen(content, "context")
        turn = InboundTurn(
            address=address,
            platform=PLATFORM,
            message_id=message_id,
            user_id=sender,
            text=said.text,
            user_name=_name(value, sender),
            reply_to=None if context is None else text(context, "id") or None,
        )
        files = () if said.file is None else (said.file,)
        return at, sender, Heard(turn=turn, files=files)

    @staticmethod
    def _status(content: Fields, _value: Fields) -> _Timed | None:
        """Delivered, read or failed; that it was sent, we know."""
        names = [text(content, name) for name in ("recipient_id", "recipient_user_id")]
        conversations = [name for name in names if name]
        if not conversations:
            raise Malformed("recipient_id is missing")
        message_id = _id(content, "id")
        match needed(content, "status"):
            case "delivered" | "read" as status:
                receipts = tuple(
                    LateReceipt(conversation=one, platform_message_id=message_id, status=status)
                    for one in conversations
                )
            case "failed":
                errors = [fields(one, "error") for one in items(content, "errors")]
                reason = reason_of(errors[0].get("code")) if errors else "rejected"
                receipts = tuple(
                    LateReceipt(
                        conversation=one,
                        platform_message_id=message_id,
                        status="failed",
                        reason=reason,
                    )
                    for one in conversations
                )
            case _:
                return None
        return 0, f"to {conversations[0]}", Later(receipts=receipts)


def _complaint(error: Fields) -> str:
    """An error that belongs to no message, in one line."""
    details = text(chosen(error, "error_data") or {}, "details")
    told = f"{error.get('code')} {text(error, 'title') or ''}".rstrip()
    return quoted(f"{told}: {details}" if details else told)


def _change(
    address: Address, sender: str, message_id: str, content: Fields
) -> MessageChange | None:
    """An edit or a deletion, of which only numbers are told that the app is used with, too."""
    words: str | None
    match content.get("type"):
        case "edit":
            edit = fields(content.get("edit"), "edit")
            said = said_in(fields(edit.get("message"), "message"))
            if said is None:
                return None
            changed, words = edit, said.text
        case "revoke":
            changed, words = fields(content.get("revoke"), "revoke"), None
        case _:
            return None
    return MessageChange(
        address=address,
        platform=PLATFORM,
        message_id=_id(changed, "original_message_id"),
        change_id=message_id,
        user_id=sender,
        text=words,
    )


def _number_change(sender: str, at: int, system: Fields) -> _Timed | None:
    new = shown_name(text(system, "wa_id"))
    if not new:
        return None
    return at, sender, NumberChanged(conversation=sender, to=new)


def _identity(content: Fields, number: str, other: str) -> str:
    """The number of a human, if it is told; else the id by which only this business knows them."""
    return text(content, number) or needed(content, other)


def _name(value: Fields, sender: str) -> str | None:
    """The name that the sender has given themselves."""
    for one in items(value, "contacts"):
        contact = fields(one, "contact")
        if sender in (contact.get("wa_id"), contact.get("user_id")):
            profile = chosen(contact, "profile")
            return None if profile is None else shown_name(text(profile, "name"))
    return None


def _id(content: Fields, name: str) -> str:
    value = needed(content, name)
    if len(value) > _MAX_ID_CHARS:
        raise Malformed(f"{name} is too long")
    return value


def _seconds(content: Fields) -> int:
    told = needed(content, "timestamp")
    if not _SECONDS.fullmatch(told):
        raise Malformed("timestamp is no time")
    return int(told)


def _digits(number: str) -> str:
    return re.sub(r"[^0-9]", "", number)
