"""What a WhatsApp message says: its text, its file, or in words what is neither. Pure.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
and the pages below it, one for each type.
"""

from __future__ import annotations

from typing import Final

from ..actors.frozen import message
from .incoming_files import IncomingFile, kind_of, mime_in
from .json_fields import Fields, chosen, degrees, fields, items, listed, needed, text

__all__ = ["Said", "said_in"]

_FILES: Final[dict[str, str | None]] = {
    "image": "image",
    "audio": "audio",
    "video": "video",
    "sticker": "image",
    "document": None,
}
"""Type of the message -> kind of the file, or None if its media type says that."""
_MAX_LINES: Final = 30
"""Contacts or ordered things that are told."""


@message
class Said:
    """What there is in a message."""

    text: str
    file: IncomingFile | None = None


def said_in(content: Fields) -> Said | None:
    """What a message says; None if that is nothing to an agent.

    Reactions are nothing; nor is what WhatsApp itself calls unsupported, of which it tells no more
    than that it was sent.

    Raises:
        Malformed: it is not as documented.
    """
    kind = needed(content, "type")
    if kind in _FILES:
        return _file(kind, fields(content.get(kind), kind))
    words = _words(kind, content)
    return Said(text=words) if words else None


def _words(kind: str, content: Fields) -> str | None:
    match kind:
        case "text":
            return needed(fields(content.get("text"), "text"), "body")
        case "button":
            return needed(fields(content.get("button"), "button"), "text")
        case "interactive":
            return _choice(fields(content.get("interactive"), "interactive"))
        case "location":
            return _place(fields(content.get("location"), "location"))
        case "contacts":
            people = listed(content.get("contacts"), "contacts")[:_MAX_LINES]
            return "\n".join(_contact(fields(one, "contact")) for one in people)
        case "order":
            return _order(fields(content.get("order"), "order"))
        case _:
            return None


def _file(kind: str, media: Fields) -> Said:
    mime = mime_in(media, "mime_type")
    return Said(
        text=text(media, "caption") or "",
        file=IncomingFile(
            kind=_FILES[kind] or kind_of(mime),
            reference=needed(media, "id"),
            mime=mime,
            name=text(media, "filename"),
        ),
    )


def _choice(reply: Fields) -> str:
    """The title of what was tapped; or the answers to a form."""
    kind = needed(reply, "type")
    chosen_one = fields(reply.get(kind), kind)
    if kind == "nfm_reply":
        return needed(chosen_one, "response_json")
    return needed(chosen_one, "title")


def _place(place: Fields) -> str:
    where = f"{degrees(place, 'latitude')}, {degrees(place, 'longitude')}"
    names = (text(place, "name"), text(place, "address"), where)
    return f"[location: {', '.join(name for name in names if name)}]"


def _contact(person: Fields) -> str:
    name = chosen(person, "name")
    told = [text(name, "formatted_name") if name is not None else None]
    told += [text(fields(one, "phone"), "phone") for one in items(person, "phones")]
    told += [text(fields(one, "email"), "email") for one in items(person, "emails")]
    return f"[contact: {' '.join(one for one in told if one)}]"


def _order(order: Fields) -> str:
    things = [fields(one, "product") for one in items(order, "product_items")][:_MAX_LINES]
    lines = [f"\n- {one.get('quantity')} x {text(one, 'product_retailer_id')}" for one in things]
    return f"[order: {text(order, 'text') or ''}]{''.join(lines)}"
