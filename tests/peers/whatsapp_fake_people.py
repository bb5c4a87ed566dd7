"""What people do in WhatsApp: write, react, edit, delete, read, block; a test speaks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .whatsapp_fake_errors import GraphError
from .whatsapp_fake_world import Json, Person, Seen, SentMessage, World

__all__ = ["People"]


class People:
    """The people of one world, by their numbers; numbers nobody has spoken of are made up."""

    def __init__(self, world: World, changed: Callable[[], None]) -> None:
        self.world = world
        self._changed = changed

    # Who

    def adds_user(
        self, user: str, name: str, *, username: str | None = None, hides_number: bool = False
    ) -> str:
        """Make a person; gives what this business knows the person by."""
        person = self.world.person(user)
        person.name, person.username, person.hides_number = name, username, hides_number
        self._changed()
        return person.user_id

    def unregisters(self, user: str) -> None:
        """Leave WhatsApp: messages to the number fail, and that is told later."""
        self.world.person(user).registered = False
        self._changed()

    def blocks(self, user: str) -> None:
        """Block the business: messages are sent and never delivered."""
        self.world.person(user).blocked = True
        self._changed()

    def opens_window(self, user: str) -> None:
        """Have written just now, without a message of it."""
        self.world.person(user).last_wrote_at = self.world.now()
        self._changed()

    def time_passes(self, seconds: float) -> None:
        """Put the clock of the platform forward."""
        self.world.shift_s += seconds
        self._changed()

    # Messages

    def user_says(
        self, user: str, text: str, *, reply_to: str | None = None, group: str | None = None
    ) -> str:
        """Write a message, to the business or in a group."""
        return self._writes(user, "text", {"body": text}, reply_to, group)

    def user_sends(
        self,
        user: str,
        content: bytes,
        *,
        kind: str = "document",
        name: str = "file.bin",
        mime: str = "application/octet-stream",
        caption: str = "",
        voice: bool = False,
        reply_to: str | None = None,
    ) -> str:
        """Send a file: `image`, `video`, `audio`, `document` or `sticker`."""
        media = self.world.keep(content, mime, name, incoming=True)
        body: Json = {"id": media.id, "mime_type": mime, "sha256": media.digest}
        if caption:
            body["caption"] = caption
        if kind == "document":
            body["filename"] = name
        if kind == "audio":
            body["voice"] = voice
        if kind == "sticker":
            body["animated"] = False
        return self._writes(user, kind, body, reply_to, None)

    def user_shares(self, user: str, kind: str, body: Any) -> str:
        """Write a message of any other kind: a `location`, `contacts`, a tapped `button` …"""
        return self._writes(user, kind, body, None, None)

    def user_sends_what_nobody_knows(self, user: str) -> str:
        """Write a message of a kind that the Cloud API does not hand on."""
        error = GraphError(131051).told_later()
        return self._writes(user, "unsupported", {"type": "unknown"}, None, None, [error])

    def reacts(self, user: str, message_id: str, emoji: str) -> str:
        """React to a message; an empty emoji takes the reaction back."""
        reactions = self.world.messages[message_id].reactions
        if emoji:
            reactions[user] = emoji
        else:
            reactions.pop(user, None)
        body: Json = {"message_id": message_id}
        if emoji:
            body["emoji"] = emoji
        return self._tells(user, "reaction", body)

    def taps(self, user: str, message_id: str, button: str, title: str) -> str:
        """Tap a button under an interactive message."""
        reply = {"type": "button_reply", "button_reply": {"id": button, "title": title}}
        return self._writes(user, "interactive", reply, message_id, None)

    def edits(self, user: str, message_id: str, text: str) -> str:
        """Edit a message, as only some business numbers are told."""
        message = self.world.messages[message_id]
        message.content = {**message.content, "body": text}
        message.edited = True
        inner = {"type": "text", "text": {"body": text}}
        body = {"original_message_id": message_id, "message": inner}
        return self._tells(user, "edit", body)

    def deletes(self, user: str, message_id: str) -> str:
        """Delete a message, as only some business numbers are told."""
        del self.world.messages[message_id]
        return self._tells(user, "revoke", {"original_message_id": message_id})

    def reads(self, user: str) -> None:
        """Read all that the business has written."""
        for message in list(self.world.messages.values()):
            if message.person == user and message.mine and message.status != "read":
                self.world.tell_status(message, "read")
        self._changed()

    def fails_later(self, message_id: str, code: int) -> None:
        """Let a message that was accepted turn out to be undeliverable."""
        message = self.world.messages.pop(message_id)
        self.world.tell_status(message, "failed", GraphError(code).told_later())
        self._changed()

    def number_changes(self, user: str, new: str) -> None:
        """Take another number."""
        person = self.world.people.pop(user)
        person.wa_id = new
        self.world.people[new] = person
        body = {
            "body": f"User {person.name} changed from {user} to {new}",
            "wa_id": new,
            "type": "user_changed_number",
        }
        message = self._message(user, self.world.new_id(), "system", body)
        self.world.tell({"messages": [message]})
        self._changed()

    def _writes(
        self,
        user: str,
        kind: str,
        body: Any,
        reply_to: str | None,
        group: str | None,
        errors: list[Json] | None = None,
    ) -> str:
        person = self.world.person(user)
        if group is None:
            person.last_wrote_at = self.world.now()
        message_id = self.world.new_id()
        self.world.messages[message_id] = SentMessage(
            message_id,
            group or person.wa_id,
            False,
            kind,
            body,
            int(self.world.now()),
            reply_to,
            "delivered",
        )
        told = self._message(user, message_id, kind, body)
        if reply_to is not None:
            mine = reply_to in self.world.messages and self.world.messages[reply_to].mine
            author = self.world.phone if mine else person.wa_id
            told["context"] = {"from": author, "id": reply_to}
        if group is not None:
            told["group_id"] = group
        if errors is not None:
            told["errors"] = errors
        self._announce(person, told)
        return message_id

    def _tells(self, user: str, kind: str, body: Json) -> str:
        """Tell the business of what happened to a message; that has an id of its own."""
        message_id = self.world.new_id()
        self._announce(self.world.person(user), self._message(user, message_id, kind, body))
        return message_id

    def _message(self, user: str, message_id: str, kind: str, body: Any) -> Json:
        return {
            "from": user,
            "id": message_id,
            "timestamp": str(int(self.world.now())),
            "type": kind,
            kind: body,
        }

    def _announce(self, person: Person, message: Json) -> None:
        message["from_user_id"] = person.user_id
        if person.hides_number:
            del message["from"]
        self.world.tell({"contacts": [person.contact()], "messages": [message]})
        self._changed()

    # What people see

    def seen(self, user: str) -> list[Seen]:
        """The messages of a conversation, or of a group, without those that were deleted."""
        return self.world.seen(user)

    def heard(self, user: str) -> list[Seen]:
        """What the business has written to somebody."""
        return [each for each in self.seen(user) if each.mine]

    def typing(self, user: str) -> bool:
        """Whether the business is shown to be writing."""
        return self.world.person(user).typing_for is not None

    def is_read(self, message_id: str) -> bool:
        """Whether the business has marked a message as read."""
        return self.world.messages[message_id].read

    @property
    def posts_pending(self) -> int:
        """How many changes the webhook has not answered by 200."""
        return len(self.world.changes) + len(self.world.posts)
