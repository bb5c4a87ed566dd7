"""What a business may ask of the Cloud API: to send, to mark as read, and to keep media."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .whatsapp_fake_errors import GraphError
from .whatsapp_fake_world import Json, Media, Person, SentMessage, World

__all__ = ["Methods", "media_url", "missing_object"]

_BODY_CHARACTERS: Final = 4096
_CAPTION_CHARACTERS: Final = 1024
_CAPTIONED: Final = ("image", "video", "document")
_FILES: Final = (*_CAPTIONED, "audio", "sticker")
_KINDS: Final = ("text", *_FILES, "reaction", "template", "interactive", "location", "contacts")
_MB: Final = 1024 * 1024
_LIMITS: Final[Mapping[str, int]] = {
    "image/jpeg": 5 * _MB,
    "image/png": 5 * _MB,
    "image/webp": _MB // 2,
    "audio/aac": 16 * _MB,
    "audio/amr": 16 * _MB,
    "audio/mpeg": 16 * _MB,
    "audio/mp4": 16 * _MB,
    "audio/ogg": 16 * _MB,
    "video/mp4": 16 * _MB,
    "video/3gpp": 16 * _MB,
    "text/plain": 100 * _MB,
    "application/pdf": 100 * _MB,
    "application/msword": 100 * _MB,
    "application/vnd.ms-excel": 100 * _MB,
    "application/vnd.ms-powerpoint": 100 * _MB,
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": 100 * _MB,
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": 100 * _MB,
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": 100 * _MB,
}
"""The types of media that are taken, and their bytes at most."""


def missing_object(verb: str, object_id: str) -> GraphError:
    """The refusal of an id that is unknown, or another's."""
    return GraphError(
        100,
        message=f"Unsupported {verb} request. Object with ID '{object_id}' does not exist, cannot "
        "be loaded due to missing permissions, or does not support this operation. Please read "
        "the Graph API documentation at https://developers.facebook.com/docs/graph-api",
        subcode=33,
        kind="GraphMethodException",
    )


class Methods:
    """The API of one business number; refusals are raised as GraphError."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.statuses: tuple[str, ...] = ("sent", "delivered")
        """What a message that arrives goes through by itself."""
        self.refusals: dict[str, GraphError] = {}
        """How the next message of a kind is refused."""

    def messages(self, body: Json) -> Json:
        """Answer a request to send a message or to mark one as read."""
        if body.get("messaging_product") != "whatsapp":
            raise GraphError(100, message="The parameter messaging_product is required.")
        if "status" in body:
            return self._mark(body)
        person, answered = self._recipient(body)
        kind = body.get("type", "text")
        if kind not in _KINDS:
            allowed = ", ".join(_KINDS).upper()
            raise GraphError(100, message=f"Param type must be one of {{{allowed}}}")
        if kind in self.refusals:
            raise self.refusals.pop(kind)
        content = body.get(kind)
        if content is None:
            raise GraphError(131008, details=f"Parameter '{kind}' is mandatory for type '{kind}'")
        self._check(kind, content)
        if kind == "reaction":
            return self._react(person, answered, content)
        return self._send(person, answered, kind, content, body.get("context"))

    def _recipient(self, body: Json) -> tuple[Person, Json]:
        """The person that a message is to, and how the answer names the person."""
        if body.get("recipient"):
            person = self._world.known_as(body["recipient"])
            if person is None:
                raise GraphError(131009, details="Recipient is not a valid user")
            return person, {"input": body["recipient"], "user_id": person.user_id}
        to = str(body.get("to") or "")
        number = "".join(character for character in to if character.isdigit())
        if not to:
            raise GraphError(100, message="The parameter to is required.")
        if not number:
            raise GraphError(131009, details="Recipient phone number is not valid")
        if number == self._world.phone:
            raise GraphError(131021)
        return self._world.person(number), {"input": to, "wa_id": number}

    def _check(self, kind: str, content: Any) -> None:
        if kind == "text":
            text = content.get("body")
            if not isinstance(text, str) or not text:
                raise GraphError(100, message="The parameter text['body'] is required.")
            _at_most(text, "text['body']", _BODY_CHARACTERS)
        elif kind in _FILES:
            self._check_file(kind, content)
        elif kind == "template":
            name, language = content.get("name"), content.get("language", {}).get("code")
            if (name, language) not in self._world.templates:
                details = f"template name ({name}) does not exist in {language}"
                raise GraphError(132001, details=details)
        elif kind == "reaction" and content.get("message_id") not in self._world.messages:
            raise GraphError(131009, details="Message to react to was not found")
        elif kind == "interactive":
            _at_most(content["body"]["text"], "interactive['body']['text']", _BODY_CHARACTERS)

    def _check_file(self, kind: str, content: Json) -> None:
        if ("id" in content) == ("link" in content):
            raise GraphError(131009, details=f"Provide either id or link for the {kind}")
        if "id" in content and content["id"] not in self._world.media:
            raise GraphError(
                100,
                message=f"Param {kind}['id'] is not a valid whatsapp business account media "
                "attachment ID",
            )
        if "caption" in content:
            if kind not in _CAPTIONED:
                raise GraphError(100, message=f'Unexpected key "caption" on param "{kind}".')
            _at_most(content["caption"], f"{kind}['caption']", _CAPTION_CHARACTERS)

    def _send(
        self, person: Person, answered: Json, kind: str, content: Json, context: Json | None
    ) -> Json:
        replied = (context or {}).get("message_id")
        if replied is not None and not str(replied).startswith("wamid."):
            raise GraphError(131009, details="context message_id is not valid")
        message = SentMessage(
            self._world.new_id(), person.wa_id, True, kind, content, int(self._world.now())
        )
        if replied in self._world.messages:
            message.reply_to = replied  # of what it does not know, nothing is quoted
        person.typing_for = None
        self._carry(person, message)
        sent: Json = {"id": message.id}
        if kind == "template":
            sent["message_status"] = "accepted"
        return {"messaging_product": "whatsapp", "contacts": [answered], "messages": [sent]}

    def _carry(self, person: Person, message: SentMessage) -> None:
        """Let a message arrive; or not, which is told later, not in the answer."""
        failed: GraphError | None = None
        if not person.registered:
            failed = GraphError(131026)
        elif message.kind != "template" and not self._world.window_open(person):
            failed = GraphError(131047)
        if failed is not None:
            self._world.tell_status(message, "failed", failed.told_later())
            return
        self._world.messages[message.id] = message
        for status in self.statuses[:1] if person.blocked else self.statuses:
            self._world.tell_status(message, status)

    def _react(self, person: Person, answered: Json, content: Json) -> Json:
        message = self._world.messages[content["message_id"]]
        emoji = content.get("emoji", "")
        if emoji:
            message.reactions[self._world.phone] = emoji
        else:
            message.reactions.pop(self._world.phone, None)
        reaction = SentMessage(
            self._world.new_id(), person.wa_id, True, "reaction", content, int(self._world.now())
        )
        self._world.tell_status(reaction, "sent")
        return {
            "messaging_product": "whatsapp",
            "contacts": [answered],
            "messages": [{"id": reaction.id}],
        }

    def _mark(self, body: Json) -> Json:
        """Mark a message as read, and show a typing indicator if that is asked for, too."""
        message = self._world.messages.get(str(body.get("message_id")))
        if body["status"] != "read" or message is None or message.mine:
            raise GraphError(131009, details="Message to mark as read was not found")
        for earlier in self._world.messages.values():
            if earlier.person == message.person and not earlier.mine and earlier.at <= message.at:
                earlier.read = True
        if "typing_indicator" in body:
            if body["typing_indicator"].get("type") != "text":
                raise GraphError(
                    100, message="Param typing_indicator['type'] must be one of {TEXT}"
                )
            self._world.person(message.person).typing_for = message.id
        return {"success": True}

    # Media

    def upload(self, product: str, mime: str, content: bytes, name: str) -> Json:
        """Answer an upload."""
        if product != "whatsapp":
            raise GraphError(100, message="The parameter messaging_product is required.")
        limit = _LIMITS.get(mime.partition(";")[0].strip())
        if limit is None:
            allowed = ", ".join(_LIMITS)
            raise GraphError(
                100,
                message="Param file must be a file with one of the following types: "
                f"{allowed}. Received file of type '{mime}'.",
            )
        if not content:
            raise GraphError(131053, details="The file is empty")
        if len(content) > limit:
            raise GraphError(131053, details=f"The file is larger than {limit} bytes")
        return {"id": self._world.keep(content, mime, name, incoming=False).id}

    def media(self, media_id: str, base: str, verb: str) -> Json:
        """Answer what is known of a file, or delete it."""
        media = self._world.media.get(media_id)
        if media is None:
            raise missing_object(verb, media_id)
        if verb == "delete":
            del self._world.media[media_id]
            return {"success": True}
        return {
            "url": media_url(media, base),
            "mime_type": media.mime,
            "sha256": media.sha256,
            "file_size": len(media.content),
            "id": media.id,
            "messaging_product": "whatsapp",
        }

    def number(self, fields: str) -> Json:
        """Answer what is asked of the business number; without `fields`, what is usual."""
        known: Json = {
            "id": self._world.phone_id,
            "display_phone_number": f"+{self._world.phone}",
            "verified_name": "Keeper",
            "quality_rating": "GREEN",
            "code_verification_status": "VERIFIED",
            "platform_type": "CLOUD_API",
            "throughput": {"level": "STANDARD"},
            "status": "CONNECTED",
        }
        if not fields:
            return known
        asked = ("id", *fields.split(","))
        return {key: value for key, value in known.items() if key in asked}


def media_url(media: Media, base: str) -> str:
    """Where a file is downloaded, for a few minutes and with the token only."""
    return f"{base}/whatsapp_business/attachments/?mid={media.id}&hash={media.sha256[:16]}"


def _at_most(text: str, name: str, characters: int) -> None:
    if len(text) > characters:
        raise GraphError(100, message=f"Param {name} must be at most {characters} characters long.")
