"""What WhatsApp knows: one business number, people, their messages, media, and webhooks to come.

All of it is plain data, so that it can be kept in a file while its process is killed.
"""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

__all__ = ["Json", "Media", "Person", "Post", "Seen", "SentMessage", "Webhook", "World", "words_of"]

Json: TypeAlias = dict[str, Any]

_WINDOW_S: Final = 24 * 3600
"""How long after a person wrote the business may write what it likes."""


@dataclass(slots=True)
class Person:
    """Somebody with WhatsApp, or at least with a phone number."""

    wa_id: str
    """The phone number, digits only."""
    name: str
    user_id: str
    """What this business knows the person by, whatever the number."""
    username: str | None = None
    hides_number: bool = False
    """Whether webhooks leave the number out, as they may for people with a username."""
    registered: bool = True
    blocked: bool = False
    last_wrote_at: float | None = None
    typing_for: str | None = None
    """The message that a typing indicator was shown for, until the business answers."""

    def contact(self) -> Json:
        """As webhooks name the person."""
        profile: Json = {"name": self.name}
        if self.username:
            profile["username"] = self.username
        contact: Json = {"profile": profile, "user_id": self.user_id}
        if not self.hides_number:
            contact["wa_id"] = self.wa_id
        return contact


@dataclass(frozen=True, slots=True)
class Media:
    """A file on WhatsApp's servers."""

    id: str
    content: bytes
    mime: str
    name: str
    incoming: bool
    """Whether a person sent it."""

    @property
    def sha256(self) -> str:
        """The hash as a lookup tells it."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def digest(self) -> str:
        """The hash as webhooks tell it."""
        return base64.b64encode(hashlib.sha256(self.content).digest()).decode()


@dataclass(slots=True)
class SentMessage:
    """A message between the business and a person."""

    id: str
    person: str
    """The number of the person, or the id of a group that the person wrote in."""
    mine: bool
    """Whether the business wrote it."""
    kind: str
    content: Any
    """What stands under the name of its kind."""
    at: int
    reply_to: str | None = None
    status: str = "accepted"
    read: bool = False
    """Whether the business has marked it as read."""
    edited: bool = False
    reactions: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Seen:
    """One message as the person sees it."""

    message_id: str
    mine: bool
    """Whether the business wrote it."""
    kind: str
    text: str
    """Of a message, or the caption of a file."""
    reply_to: str | None
    status: str
    file: Media | None
    reactions: tuple[str, ...]
    edited: bool
    raw: Any
    """What stands under the name of its kind."""


@dataclass(slots=True)
class Webhook:
    """Where changes are posted to."""

    url: str = ""
    verify_token: str = ""


@dataclass(slots=True)
class Post:
    """One request to the webhook that was not answered by 200 yet."""

    body: Json
    attempts: int = 0
    again: int = 0
    """How often it is posted once more although it was answered by 200."""
    not_before: float = 0.0


@dataclass(slots=True)
class World:
    """The state of one business number."""

    token: str = "EAAfaketokenthatopensnothingatall"  # a fake's
    app_id: str = "1234567890123456"
    app_secret: str = "0123456789abcdef0123456789abcdef"  # a fake's
    account_id: str = "102290129340398"
    phone_id: str = "106540352242922"
    phone: str = "15550783881"
    people: dict[str, Person] = field(default_factory=dict[str, Person])
    messages: dict[str, SentMessage] = field(default_factory=dict[str, SentMessage])
    media: dict[str, Media] = field(default_factory=dict[str, Media])
    templates: set[tuple[str, str]] = field(default_factory=lambda: {("hello_world", "en_US")})
    webhook: Webhook = field(default_factory=Webhook)
    changes: list[Json] = field(default_factory=list[Json])
    """What is to be told and is in no post yet."""
    posts: list[Post] = field(default_factory=list[Post])
    counter: int = 0
    shift_s: float = 0.0
    """How far the clock of the platform is ahead."""

    def now(self) -> float:
        return time.time() + self.shift_s

    def person(self, wa_id: str) -> Person:
        """A person, made up when nobody has spoken of them yet."""
        if wa_id not in self.people:
            self.people[wa_id] = Person(wa_id, f"Person {wa_id[-4:]}", f"US.9{wa_id:0>17}")
        return self.people[wa_id]

    def known_as(self, user_id: str) -> Person | None:
        """The person with a business-scoped id."""
        return next((one for one in self.people.values() if one.user_id == user_id), None)

    def window_open(self, person: Person) -> bool:
        """Whether the person has written within a day."""
        return person.last_wrote_at is not None and self.now() - person.last_wrote_at < _WINDOW_S

    def new_id(self) -> str:
        """The id of a message."""
        self.counter += 1
        digits = f"{self.phone}:{self.counter:012d}"
        return f"wamid.{base64.b64encode(digits.encode()).decode()}"

    def keep(self, content: bytes, mime: str, name: str, *, incoming: bool) -> Media:
        """Keep a file."""
        self.counter += 1
        media = Media(f"{1_000_000_000_000_000 + self.counter}", content, mime, name, incoming)
        self.media[media.id] = media
        return media

    def tell(self, value: Json) -> None:
        """Make a change of the field `messages`."""
        metadata = {"display_phone_number": self.phone, "phone_number_id": self.phone_id}
        self.changes.append(
            {
                "value": {"messaging_product": "whatsapp", "metadata": metadata, **value},
                "field": "messages",
            }
        )

    def tell_status(self, message: SentMessage, status: str, error: Json | None = None) -> None:
        """Tell what has become of a message of the business."""
        message.status = status
        person = self.person(message.person)
        told: Json = {
            "id": message.id,
            "status": status,
            "timestamp": str(int(self.now())),
            "recipient_user_id": person.user_id,
        }
        if not person.hides_number:
            told["recipient_id"] = person.wa_id
        if error is not None:
            told["errors"] = [error]
        elif status in ("sent", "delivered"):
            told["pricing"] = {
                "billable": False,
                "pricing_model": "PMP",
                "type": "free_customer_service",
                "category": "service",
            }
        self.tell({"contacts": [person.contact()], "statuses": [told]})

    def seen(self, person: str) -> list[Seen]:
        """The messages of a conversation in their order."""
        return [self._as_seen(one) for one in self.messages.values() if one.person == person]

    def _as_seen(self, message: SentMessage) -> Seen:
        content = message.content
        return Seen(
            message_id=message.id,
            mine=message.mine,
            kind=message.kind,
            text=words_of(message),
            reply_to=message.reply_to,
            status=message.status,
            file=self.media.get(content["id"]) if "id" in content else None,
            reactions=tuple(message.reactions.values()),
            edited=message.edited,
            raw=content,
        )


def words_of(message: SentMessage) -> str:
    """The text of a message, or the caption of a file."""
    match message.content:
        case {"body": {"text": str(words)}} | {"body": str(words)} | {"caption": str(words)}:
            return words
        case _:
            return ""
