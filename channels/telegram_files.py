"""What a message of Telegram's has beside its text: a file; a place, a contact, a poll. Pure.

Source: https://core.telegram.org/bots/api, "Message" and the types of its media; "getFile";
"sendPhoto", "sendAudio", "sendVideo", "sendDocument".
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from ..actors.frozen import message
from .base import OutboundFile
from .incoming_files import IncomingFile, kind_of, mime_in
from .json_fields import (
    Fields,
    chosen,
    degrees,
    fields,
    flag,
    items,
    length,
    needed,
    number,
    text,
)
from .outgoing_files import ANY_TYPE, declared_type, sent_name

__all__ = [
    "DOWNLOAD_LIMIT_BYTES",
    "UPLOAD_LIMIT_BYTES",
    "Upload",
    "file_in",
    "uploads_for",
    "words_for",
]

DOWNLOAD_LIMIT_BYTES: Final = 20_000_000
"""What a bot may fetch; of a larger file it is told the id."""
UPLOAD_LIMIT_BYTES: Final = 50_000_000
"""What a bot may send."""
_PHOTO_LIMIT_BYTES: Final = 10_000_000

_KINDS: Final[dict[str, str | None]] = {
    "animation": "video",
    "video_note": "video",
    "video": "video",
    "audio": "audio",
    "voice": "audio",
    "sticker": "image",
    "document": None,
}
"""Field -> kind, or None if its type says that. An animation comes with a `document` beside it, so
it is looked for first."""
_MIMES: Final = {"animation": "video/mp4", "video_note": "video/mp4", "voice": "audio/ogg"}
_SHOWN_AS_PHOTO: Final = frozenset({"image/jpeg", "image/png", "image/webp"})
_PLAYED_AS_AUDIO: Final = frozenset({"audio/mpeg", "audio/mp3", "audio/mp4", "audio/x-m4a"})
_PLAYED_AS_VIDEO: Final = frozenset({"video/mp4"})
_MAX_OPTIONS: Final = 12


@message
class Upload:
    """How a file is sent."""

    method: str
    field: str
    """The name of the file's parameter."""
    name: str
    mime: str


def file_in(content: Fields) -> IncomingFile | None:
    """The file of a message.

    Raises:
        Malformed: it is not as documented.
    """
    photos = tuple(items(content, "photo"))
    if photos:
        return _described(fields(photos[-1], "photo"), "image", "image/jpeg")  # the largest is last
    for field, kind in _KINDS.items():
        media = chosen(content, field)
        if media is None:
            continue
        mime = _MIMES.get(field) or mime_in(media, "mime_type")
        if field == "sticker":
            return _described(media, *_sticker(media))
        return _described(media, kind or kind_of(mime), mime)
    return None


def _described(media: Fields, kind: str, mime: str | None) -> IncomingFile:
    return IncomingFile(
        kind=kind,
        reference=needed(media, "file_id"),
        mime=mime,
        name=text(media, "file_name"),
        size_bytes=length(media, "file_size"),
    )


def _sticker(media: Fields) -> tuple[str, str]:
    if flag(media, "is_video"):
        return "video", "video/webm"
    if flag(media, "is_animated"):
        return "file", "application/x-tgsticker"
    return "image", "image/webp"


def words_for(content: Fields) -> str:
    """A place, a contact, a poll or a die in words; empty if there is none.

    Raises:
        Malformed: it is not as documented.
    """
    venue = chosen(content, "venue")
    place = chosen(content, "location")
    if place is not None:
        where = f"{degrees(place, 'latitude')}, {degrees(place, 'longitude')}"
        if venue is not None:
            names = (text(venue, "title"), text(venue, "address"))
            where = ", ".join(name for name in (*names, where) if name)
        return f"[location: {where}]"
    contact = chosen(content, "contact")
    if contact is not None:
        told = [text(contact, name) for name in ("first_name", "last_name", "phone_number")]
        return f"[contact: {' '.join(one for one in told if one)}]"
    poll = chosen(content, "poll")
    if poll is not None:
        options = [fields(one, "option") for one in islice(items(poll, "options"), _MAX_OPTIONS)]
        answers = [f"\n- {text(option, 'text') or ''}" for option in options]
        return f"[poll: {text(poll, 'question') or ''}]{''.join(answers)}"
    die = chosen(content, "dice")
    if die is not None:
        return f"[{text(die, 'emoji') or 'dice'}: {number(die, 'value')}]"
    return ""


def uploads_for(file: OutboundFile) -> tuple[Upload, ...]:
    """The ways to send a file, the one that people see best first; the last takes anything.

    Photos lose their name and are compressed, so only a picture that the agent calls one is sent as
    such. Formats that Telegram does not play are sent as documents.
    """
    mime, name = declared_type(file), sent_name(file)
    document = Upload(method="sendDocument", field="document", name=name, mime=mime or ANY_TYPE)
    field = None
    if file.kind == "image" and mime in _SHOWN_AS_PHOTO:
        field = "photo" if file.size_bytes <= _PHOTO_LIMIT_BYTES else None
    elif file.kind == "audio" and mime in _PLAYED_AS_AUDIO:
        field = "audio"
    elif file.kind == "video" and mime in _PLAYED_AS_VIDEO:
        field = "video"
    if field is None:
        return (document,)
    method = f"send{field.capitalize()}"
    return (Upload(method=method, field=field, name=name, mime=mime), document)
