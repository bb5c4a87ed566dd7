"""The methods of the Bot API which answer at once; each takes parameters and gives a result."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from .telegram_fake_places import find_chat, find_message, find_place
from .telegram_fake_requests import ApiError, Parameters, Upload
from .telegram_fake_text import (
    BadEntities,
    Entity,
    found_entities,
    parse_html,
    tidy,
    utf16_length,
)
from .telegram_fake_world import MEDIA, Chat, File, Json, User, World, media_of

__all__ = ["SENDS", "Methods", "media", "member"]

_TEXT_UNITS: Final = 4096
_CAPTION_UNITS: Final = 1024
_UPLOAD_BYTES: Final = 50 * 1024 * 1024
_PHOTO_BYTES: Final = 10 * 1024 * 1024
_DOWNLOAD_BYTES: Final = 20 * 1024 * 1024
_DELETABLE_S: Final = 48 * 3600
_IMAGES: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")
_NOT_MODIFIED: Final = (
    "message is not modified: specified new message content and reply markup are exactly the same "
    "as a current content and reply markup of the message"
)
_ACTIONS: Final = (
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
)
_ADMINISTERS: Final[Json] = dict.fromkeys(
    (
        "can_be_edited",
        "is_anonymous",
        "can_manage_chat",
        "can_delete_messages",
        "can_manage_video_chats",
        "can_restrict_members",
        "can_promote_members",
        "can_change_info",
        "can_invite_users",
        "can_post_stories",
        "can_edit_stories",
        "can_delete_stories",
    ),
    True,
)
_MIMES: Final = {
    "photo": "image/jpeg",
    "audio": "audio/mpeg",
    "video": "video/mp4",
    "voice": "audio/ogg",
    "animation": "video/mp4",
    "sticker": "image/webp",
}

Method: TypeAlias = Callable[[Parameters], Any]


class Methods:
    """What a bot may ask of a world, by the method's name in small letters."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.by_name: dict[str, Method] = {
            "getme": self._get_me,
            "logout": _yes,
            "close": _yes,
            "sendmessage": self._send_message,
            "editmessagetext": self._edit_text,
            "editmessagecaption": self._edit_caption,
            "editmessagereplymarkup": self._edit_markup,
            "deletemessage": self._delete,
            "deletemessages": self._delete_many,
            "sendchataction": self._chat_action,
            "setmessagereaction": self._react,
            "answercallbackquery": self._answer_callback,
            "getfile": self._get_file,
            "setmycommands": self._set_commands,
            "deletemycommands": self._set_commands,
            "getmycommands": self._get_commands,
            "getchat": self._get_chat,
            "getchatmember": self._get_member,
        }
        for kind in MEDIA:
            self.by_name[f"send{kind}"] = self._sender(kind)

    def _get_me(self, _: Parameters) -> Json:
        return {
            **self._world.bot.view(),
            "can_join_groups": True,
            "can_read_all_group_messages": self._world.reads_all,
            "supports_inline_queries": False,
            "can_connect_to_business": False,
            "has_main_web_app": False,
        }

    # Text

    def _formatted(self, parameters: Parameters, name: str) -> tuple[str, list[Entity]]:
        """The text of a field with its entities, before Telegram has looked at it closely."""
        text = parameters.text(name)
        prefix = "caption_" if name == "caption" else ""
        mode = parameters.text("parse_mode").lower()
        if mode not in ("", "none", "html"):
            raise ApiError.bad("unsupported parse_mode")
        entities: list[Entity] = []
        if mode == "html":
            try:
                text, entities = parse_html(text)
            except BadEntities as error:
                raise ApiError.bad(f"can't parse entities: {error}") from None
        else:
            entities = list(parameters.parsed_list(f"{prefix}entities") or [])
        known: list[Entity] = []
        for entity in entities:
            if entity["type"] == "text_mention":
                user = self._world.users.get(entity["user"]["id"])
                if user is None:
                    continue
                known.append({**entity, "user": user.view()})
            else:
                known.append(entity)
        return text, known

    def _body(self, text: str, entities: list[Entity], name: str, limit: int) -> Json:
        """Text and entities as a message holds them; raises ApiError over the limit."""
        text, entities = tidy(text, entities)
        if utf16_length(text) > limit:
            what = "message" if name == "text" else "message caption"
            raise ApiError.bad(f"{what} is too long")
        entities = found_entities(text, entities)
        body: Json = {name: text} if text else {}
        if entities:
            body["entities" if name == "text" else "caption_entities"] = entities
        return body

    def _text_body(self, parameters: Parameters, formatted: tuple[str, list[Entity]]) -> Json:
        body = self._body(*formatted, "text", _TEXT_UNITS)
        if not body:
            raise ApiError.bad("text must be non-empty")
        options = parameters.parsed("link_preview_options")
        if options:
            body["link_preview_options"] = options
        return body

    def _with_markup(self, parameters: Parameters, body: Json) -> Json:
        markup = parameters.parsed_object("reply_markup")
        if markup.get("inline_keyboard"):
            return {**body, "reply_markup": markup}
        return body

    # Sending

    def _put(self, parameters: Parameters, make: Callable[[], Json]) -> Json:
        place = find_place(self._world, parameters)
        body = self._with_markup(parameters, make())
        if place.quote is not None:
            body["quote"] = place.quote
        place.chat.typing.clear()
        return self._world.post(
            place.chat,
            None if place.chat.type == "channel" else self._world.bot,
            body,
            reply_to=place.reply_to,
            thread_id=place.thread_id,
            silent=parameters.truth("disable_notification"),
        )

    def _send_message(self, parameters: Parameters) -> Json:
        if not parameters.text("text"):
            raise ApiError.bad("message text is empty")
        formatted = self._formatted(parameters, "text")
        return self._put(parameters, lambda: self._text_body(parameters, formatted))

    def _sender(self, kind: str) -> Method:
        def send(parameters: Parameters) -> Json:
            formatted = self._formatted(parameters, "caption")
            file = self._attached(parameters, kind)

            def make() -> Json:
                caption = self._body(*formatted, "caption", _CAPTION_UNITS)
                return {**media(kind, file), **caption}

            return self._put(parameters, make)

        return send

    def _attached(self, parameters: Parameters, kind: str) -> File:
        named = parameters.text(kind)
        upload = parameters.uploads.get(kind)
        if named.startswith("attach://"):
            upload = parameters.uploads.get(named.removeprefix("attach://"))
        if upload is not None:
            return self._uploaded(upload, kind)
        if not named:
            raise ApiError.bad(f"there is no {kind} in the request")
        if named not in self._world.files:
            raise ApiError.bad("wrong file identifier/HTTP URL specified")
        return self._world.files[named]

    def _uploaded(self, upload: Upload, kind: str) -> File:
        size = len(upload.content)
        if size == 0:
            raise ApiError.bad("file must be non-empty")
        if size > _UPLOAD_BYTES:
            raise ApiError(413, "Request Entity Too Large")
        if kind == "photo":
            if size > _PHOTO_BYTES:
                raise ApiError.bad(
                    f"file of size {size} bytes is too big for a photo; "
                    f"the maximum size is {_PHOTO_BYTES} bytes"
                )
            if not upload.content.startswith(_IMAGES):
                raise ApiError.bad("IMAGE_PROCESS_FAILED")
        return self._world.keep(upload.content, upload.name, _MIMES.get(kind, upload.mime))

    # Editing and deleting

    def _own(self, parameters: Parameters) -> tuple[Chat, Json]:
        chat, message = find_message(self._world, parameters, to="edit")
        key, own_id = ("from", self._world.bot.id)
        if chat.type == "channel":
            key, own_id = ("sender_chat", chat.id)
        if key not in message or message[key]["id"] != own_id:
            raise ApiError.bad("message can't be edited")
        return chat, message

    def _change(self, chat: Chat, message: Json, body: Json, replaced: tuple[str, ...]) -> Json:
        kept = {key: value for key, value in message.items() if key not in replaced}
        changed = {**kept, **body}
        if changed == message:
            raise ApiError.bad(_NOT_MODIFIED)
        changed["edit_date"] = int(time.time())
        self._world.messages[chat.id, message["message_id"]] = changed
        return changed

    def _edit_text(self, parameters: Parameters) -> Json:
        if not parameters.text("text"):
            raise ApiError.bad("message text is empty")
        formatted = self._formatted(parameters, "text")
        chat, message = self._own(parameters)
        if "text" not in message:
            raise ApiError.bad("there is no text in the message to edit")
        body = self._with_markup(parameters, self._text_body(parameters, formatted))
        replaced = ("text", "entities", "reply_markup", "link_preview_options")
        return self._change(chat, message, body, replaced)

    def _edit_caption(self, parameters: Parameters) -> Json:
        formatted = self._formatted(parameters, "caption")
        chat, message = self._own(parameters)
        if media_of(message)[1] is None:
            raise ApiError.bad("there is no caption in the message to edit")
        body = self._body(*formatted, "caption", _CAPTION_UNITS)
        replaced = ("caption", "caption_entities", "reply_markup")
        return self._change(chat, message, self._with_markup(parameters, body), replaced)

    def _edit_markup(self, parameters: Parameters) -> Json:
        chat, message = self._own(parameters)
        return self._change(chat, message, self._with_markup(parameters, {}), ("reply_markup",))

    def _delete(self, parameters: Parameters) -> bool:
        chat, message = find_message(self._world, parameters, to="delete")
        own = message.get("from", {}).get("id") == self._world.bot.id
        may = own or chat.type == "private" or chat.bot_status == "administrator"
        if not may or time.time() - message["date"] > _DELETABLE_S:
            raise ApiError.bad("message can't be deleted")
        del self._world.messages[chat.id, message["message_id"]]
        return True

    def _delete_many(self, parameters: Parameters) -> bool:
        chat = find_chat(self._world, parameters)
        for message_id in parameters.parsed_list("message_ids") or []:
            self._world.messages.pop((chat.id, message_id), None)
        return True

    # The rest

    def _chat_action(self, parameters: Parameters) -> bool:
        action = parameters.text("action")
        if action not in _ACTIONS:
            raise ApiError.bad("wrong parameter action in request")
        find_place(self._world, parameters).chat.typing.append(action)
        return True

    def _react(self, parameters: Parameters) -> bool:
        chat, message = find_message(self._world, parameters, to="react")
        reactions = parameters.parsed_list("reaction") or []
        self._world.reactions[chat.id, message["message_id"]] = reactions
        return True

    def _answer_callback(self, parameters: Parameters) -> bool:
        query = parameters.text("callback_query_id")
        if self._world.callbacks.get(query) is not False:
            raise ApiError.bad(
                "query is too old and response timeout expired or query ID is invalid"
            )
        self._world.callbacks[query] = True
        return True

    def _get_file(self, parameters: Parameters) -> Json:
        file = self._world.files.get(parameters.text("file_id"))
        if file is None:
            raise ApiError.bad("invalid file_id")
        if len(file.content) > _DOWNLOAD_BYTES:
            raise ApiError.bad("file is too big")
        return {**_described(file), "file_path": file.path}

    def _set_commands(self, parameters: Parameters) -> bool:
        commands = parameters.parsed_list("commands") or []
        for command in commands:
            name = str(command.get("command", ""))
            if not name or not name.replace("_", "").isalnum() or name != name.lower():
                raise ApiError.bad("BOT_COMMAND_INVALID")
        self._world.commands = commands
        return True

    def _get_commands(self, _: Parameters) -> list[Json]:
        return self._world.commands

    def _get_chat(self, parameters: Parameters) -> Json:
        chat = find_chat(self._world, parameters)
        gifts = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription")
        return {
            **self._world.chat_view(chat),
            "accent_color_id": 0,
            "max_reaction_count": 11,
            "accepted_gift_types": dict.fromkeys((*gifts, "gifts_from_channels"), True),
        }

    def _get_member(self, parameters: Parameters) -> Json:
        chat = find_chat(self._world, parameters)
        user_id = parameters.number("user_id")
        user = self._world.users.get(user_id) if user_id is not None else None
        if user is None:
            raise ApiError.bad("member not found")
        own = user.id == self._world.bot.id
        return member(user, chat.bot_status if own else "member")


SENDS: Final = frozenset({"sendmessage", *(f"send{kind}" for kind in MEDIA)})
"""The methods that send rates are counted for."""


def _yes(_: Parameters) -> bool:
    return True


def member(user: User, status: str) -> Json:
    """A ChatMember."""
    view: Json = {"user": user.view(), "status": status}
    if status == "administrator":
        view.update(_ADMINISTERS)
    if status == "kicked":
        view["until_date"] = 0
    return view


def _described(file: File) -> Json:
    return {
        "file_id": file.id,
        "file_unique_id": f"unique-{file.id}",
        "file_size": len(file.content),
    }


def media(kind: str, file: File) -> Json:
    """The part of a message that says what is attached to it."""
    described = _described(file)
    if kind == "photo":
        small = {**described, "width": 90, "height": 90}
        return {"photo": [small, {**described, "width": 800, "height": 800}]}
    if kind == "sticker":
        shape = {"width": 512, "height": 512, "is_animated": False, "is_video": False}
        return {"sticker": {**described, **shape, "type": "regular", "emoji": "🙂"}}
    described["mime_type"] = file.mime
    if kind in ("audio", "voice", "video", "animation"):
        described["duration"] = 3
    if kind in ("video", "animation"):
        described.update(width=640, height=480)
    if kind != "voice":
        described["file_name"] = file.name
    return {kind: described}
