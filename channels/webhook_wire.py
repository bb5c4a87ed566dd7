"""The messages of the webhook channel, both ways, as JSON. Pure."""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

from ..actors.frozen import message
from ..actors.messages import Address, InboundTurn, Instance, MessageChange
from .base import Outbound
from .incoming_files import IncomingFile
from .json_fields import Fields, Malformed, fields, items, listed, needed, text

__all__ = [
    "MAX_ITEMS",
    "PLATFORM",
    "Call",
    "Heard",
    "Item",
    "Wrong",
    "body_of",
    "message_id_of",
    "read_call",
]

PLATFORM: Final = "webhook"
MAX_ITEMS: Final = 100
"""Of one call."""
_MAX_FILES: Final = 16
_MAX_MIME_CHARS: Final = 255
_MAX_URL_CHARS: Final = 2_048
_MAX_NAME_CHARS: Final = 256
_KINDS: Final = frozenset({"image", "audio", "video", "file"})

_PLACE: Final = frozenset({"type", "conversation", "thread", "user", "message_id"})
_KNOWN: Final = {
    "message": _PLACE
    | {
        "text",
        "reply_to",
        "user_name",
        "chat_name",
        "guild",
        "direct",
        "mentioned",
        "attachments",
    },
    "edited": _PLACE | {"text", "change_id"},
    "deleted": _PLACE | {"change_id"},
}
_KNOWN_OF_FILES: Final = frozenset({"url", "kind", "mime", "name"})


@message
class Heard:
    """What a human has said."""

    turn: InboundTurn
    """Without its files."""
    files: tuple[IncomingFile, ...] = ()


@message
class Wrong:
    """What is no item."""

    why: str


Item: TypeAlias = Heard | MessageChange | Wrong


@message
class Call:
    """All that one call tells."""

    items: tuple[Item, ...]
    is_batch: bool
    """Whether they came in a list, and are answered in one."""


def read_call(instance: Instance, body: object, webhook_id: str) -> Call:
    """Read a call.

    Args:
        instance: which hears it.
        body: the JSON that came.
        webhook_id: of the call; the same when it is made again. What has no id of its own has one
            made of it.

    Raises:
        Malformed: it is none, as a whole.
    """
    told = fields(body, "the body")
    if "items" not in told:
        return Call(items=(_read(instance, told, webhook_id),), is_batch=False)
    unknown = sorted(set(told) - {"items"})
    if unknown:
        raise Malformed(f"unknown beside items: {_listed(unknown)}")
    pieces = listed(told["items"], "items")
    if len(pieces) > MAX_ITEMS:
        raise Malformed(f"items has more than {MAX_ITEMS}")
    return Call(
        items=tuple(
            _read(instance, piece, f"{webhook_id}#{number}") for number, piece in enumerate(pieces)
        ),
        is_batch=True,
    )


def _read(instance: Instance, piece: object, own_id: str) -> Item:
    try:
        told = fields(piece, "the item")
        kind = text(told, "type") or "message"
        if kind not in _KNOWN:
            raise Malformed("type must be message, edited or deleted")
        unknown = sorted(set(told) - _KNOWN[kind])
        if unknown:
            raise Malformed(f"unknown: {_listed(unknown)}")
        address = Address(instance, needed(told, "conversation"), text(told, "thread") or None)
        if kind == "message":
            return _message(address, told, own_id)
        return _change(address, told, own_id, deleted=kind == "deleted")
    except Malformed as error:
        return Wrong(why=str(error))


def _message(address: Address, told: Fields, own_id: str) -> Heard:
    files = tuple(_file(fields(one, "attachment")) for one in items(told, "attachments"))
    if len(files) > _MAX_FILES:
        raise Malformed(f"attachments has more than {_MAX_FILES}")
    said = text(told, "text") if files else needed(told, "text")
    return Heard(
        turn=InboundTurn(
            address=address,
            platform=PLATFORM,
            message_id=text(told, "message_id") or own_id,
            user_id=needed(told, "user"),
            text=said or "",
            user_name=_name(told, "user_name"),
            chat_name=_name(told, "chat_name"),
            guild=text(told, "guild") or None,
            direct=_flag(told, "direct"),
            mentioned=_flag(told, "mentioned"),
            reply_to=text(told, "reply_to") or None,
        ),
        files=files,
    )


def _change(address: Address, told: Fields, own_id: str, *, deleted: bool) -> MessageChange:
    said = None if deleted else text(told, "text")
    if said is None and not deleted:
        raise Malformed("text is missing")
    return MessageChange(
        address=address,
        platform=PLATFORM,
        message_id=needed(told, "message_id"),
        change_id=text(told, "change_id") or own_id,
        user_id=(text(told, "user") or None) if deleted else needed(told, "user"),
        text=said,
    )


def _file(told: Fields) -> IncomingFile:
    unknown = sorted(set(told) - _KNOWN_OF_FILES)
    if unknown:
        raise Malformed(f"unknown in an attachment: {_listed(unknown)}")
    url = needed(told, "url")
    if len(url) > _MAX_URL_CHARS:
        raise Malformed(f"url is longer than {_MAX_URL_CHARS:,} characters")
    mime = (text(told, "mime") or "")[:_MAX_MIME_CHARS] or None
    kind = text(told, "kind")
    if kind is None:
        major = (mime or "").partition("/")[0]
        kind = major if major in _KINDS else "file"
    if kind not in _KINDS:
        raise Malformed(f"kind must be one of {_listed(sorted(_KINDS))}")
    return IncomingFile(kind=kind, reference=url, url=url, mime=mime, name=text(told, "name"))


def _name(told: Fields, key: str) -> str | None:
    name = text(told, key)
    return name[:_MAX_NAME_CHARS] if name else None


def _flag(told: Fields, key: str) -> bool:
    value: object = told.get(key)
    if value is not None and not isinstance(value, bool):
        raise Malformed(f"{key} must be true or false")
    return True if value is None else value


def _listed(names: list[str]) -> str:
    """Names for an error; what stands there may be anything."""
    return ", ".join(f"{name[:40]!a}" for name in names[:5])


def message_id_of(outbound: Outbound) -> str:
    """The id of a call: the part's own, in every attempt, without a full stop.

    Names of sessions and numbers have no colon, so no two become one.
    """
    return outbound.part_id.replace(".", ":")


def body_of(instance: Instance, outbound: Outbound) -> bytes:
    """What is told of a message of the agent's."""
    told: dict[str, Any] = {
        "type": "message",
        "instance": instance,
        "delivery_id": outbound.delivery_id,
        "conversation": outbound.address.conversation,
        "thread": outbound.address.thread,
        "text": outbound.text,
        "reply_to": outbound.reply_to,
        "part": outbound.part,
        "parts": outbound.parts,
        "resend": outbound.resend,
    }
    return json.dumps(told, separators=(",", ":")).encode()
