"""The methods of a fake Slack's Web API: what they check, do and answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from .slack_fake_world import (
    TEXT_LIMIT,
    Json,
    SlackError,
    SlackMessage,
    SlackPlace,
    SlackWorld,
)

__all__ = ["SCOPES", "Methods"]

_UPDATE_LIMIT: Final = 4_000
"""Characters of a changed text, beyond which `chat.update` refuses."""
_SECTION_LIMIT: Final = 3_000
_BLOCKS: Final = 50
_PAGE: Final = 100

SCOPES: Final = frozenset(
    {
        "app_mentions:read", "assistant:write", "channels:history", "channels:read", "chat:write",
        "files:read", "files:write", "groups:history", "groups:read", "im:history", "im:read",
        "im:write", "mpim:history", "reactions:read", "reactions:write", "users:read",
    }
)  # fmt: skip
"""What the bot's token may do at first."""

Handler: TypeAlias = Callable[[Json], Json]


class Methods:
    """What the bot may call by name, with arguments that were read already."""

    def __init__(self, world: SlackWorld, new_url: Callable[[], str]) -> None:
        self._world = world
        self._new_url = new_url
        self.scopes = set(SCOPES)
        self.longest_page = 999
        self._table: dict[str, tuple[str, Handler]] = {
            "auth.test": ("", self._auth_test),
            "chat.postMessage": ("chat:write", self._post),
            "chat.update": ("chat:write", self._update),
            "chat.delete": ("chat:write", self._delete),
            "conversations.info": ("channels:read", self._info),
            "conversations.open": ("im:write", self._open),
            "conversations.history": ("", self._history),
            "conversations.replies": ("", self._replies),
            "users.info": ("users:read", self._user),
            "reactions.add": ("reactions:write", self._react),
            "reactions.remove": ("reactions:write", self._unreact),
            "files.getUploadURLExternal": ("files:write", self._begin_upload),
            "files.completeUploadExternal": ("files:write", self._complete_upload),
            "files.info": ("files:read", self._file),
            "assistant.threads.setStatus": ("assistant:write", self._status),
        }

    def connect(self) -> Json:
        """`apps.connections.open`, which is the app's and not the bot's."""
        return {"ok": True, "url": self._new_url()}

    def call(self, name: str, arguments: Json) -> Json:
        """Do what is asked; raises SlackError."""
        found = self._table.get(name)
        if found is None:
            raise SlackError("unknown_method", req_method=name)
        scope, handler = found
        if scope:
            self._need(scope)
        return {"ok": True} | handler(arguments)

    def _need(self, scope: str) -> None:
        if scope not in self.scopes:
            raise SlackError("missing_scope", needed=scope, provided=",".join(sorted(self.scopes)))

    def _auth_test(self, _arguments: Json) -> Json:
        world = self._world
        return {
            "url": "https://harbour.slack.com/",
            "team": "Harbour",
            "user": world.users[world.bot].name,
            "team_id": world.team,
            "user_id": world.bot,
            "bot_id": world.bot_id,
            "is_enterprise_install": False,
        }

    def _writable(self, channel: object) -> SlackPlace:
        world = self._world
        if str(channel) in world.users and str(channel) != world.bot:
            channel = world.im(str(channel))
        place = world.place(channel)
        if place.archived:
            raise SlackError("is_archived")
        if world.bot not in place.members:
            raise SlackError("not_in_channel")
        return place

    def _post(self, arguments: Json) -> Json:
        place = self._writable(arguments.get("channel"))
        text, blocks = str(arguments.get("text") or ""), _blocks(arguments)
        if not text and not blocks and not arguments.get("attachments"):
            raise SlackError("no_text")
        thread_ts = str(arguments["thread_ts"]) if arguments.get("thread_ts") else None
        message = self._world.post(
            place.channel_id, self._world.bot, text, thread_ts=thread_ts, blocks=blocks
        )
        body: Json = {
            "channel": place.channel_id,
            "ts": message.ts,
            "message": self._world.render(place, message),
        }
        if len(text) > TEXT_LIMIT:
            body["warning"] = "message_truncated"
            body["response_metadata"] = {"warnings": ["message_truncated"]}
        return body

    def _own(self, arguments: Json, error: str) -> tuple[SlackPlace, SlackMessage]:
        place, message = self._world.message(arguments.get("channel"), arguments.get("ts"))
        if not message.bot:
            raise SlackError(error)
        if place.archived:
            raise SlackError("is_archived")
        return place, message

    def _update(self, arguments: Json) -> Json:
        place, message = self._own(arguments, "cant_update_message")
        text, blocks = str(arguments.get("text") or ""), _blocks(arguments)
        if not text and not blocks:
            raise SlackError("no_text")
        if len(text) > _UPDATE_LIMIT:
            raise SlackError("msg_too_long")
        self._world.edit(place.channel_id, message.ts, text, blocks or None)
        return {
            "channel": place.channel_id,
            "ts": message.ts,
            "text": text,
            "message": self._world.render(place, message),
        }

    def _delete(self, arguments: Json) -> Json:
        place, message = self._own(arguments, "cant_delete_message")
        self._world.delete(place.channel_id, message.ts)
        return {"channel": place.channel_id, "ts": message.ts}

    def _info(self, arguments: Json) -> Json:
        place = self._world.place(arguments.get("channel"))
        about: Json = {
            "id": place.channel_id,
            "is_channel": place.kind == "channel",
            "is_group": place.kind == "group",
            "is_im": place.kind == "im",
            "is_mpim": place.kind == "mpim",
            "is_private": place.kind != "channel",
            "is_archived": place.archived,
            "is_member": self._world.bot in place.members,
            "context_team_id": self._world.team,
        }
        if place.kind == "im":
            about["user"] = next(iter(place.members - {self._world.bot}))
        else:
            about["name"] = place.name
        return {"channel": about}

    def _open(self, arguments: Json) -> Json:
        user = str(arguments.get("users") or "")
        if user not in self._world.users:
            raise SlackError("user_not_found")
        return {"channel": {"id": self._world.im(user)}}

    def _history(self, arguments: Json) -> Json:
        place = self._readable(arguments)
        messages = [
            message
            for message in place.messages.values()
            if message.thread_ts in (None, message.ts)
        ]
        return self._page(place, messages, arguments, newest_first=True)

    def _replies(self, arguments: Json) -> Json:
        place = self._readable(arguments)
        root = place.messages.get(str(arguments.get("ts")))
        if root is None:
            raise SlackError("thread_not_found")
        replies = [one for one in place.messages.values() if one.thread_ts == root.ts != one.ts]
        page = self._page(place, replies, arguments, newest_first=False)
        page["messages"].insert(0, self._world.render_in_history(place, root))
        return page

    def _readable(self, arguments: Json) -> SlackPlace:
        place = self._world.place(arguments.get("channel"))
        kind = {"channel": "channels", "group": "groups"}.get(place.kind, place.kind)
        self._need(f"{kind}:history")
        if self._world.bot not in place.members:
            raise SlackError("not_in_channel")
        return place

    def _page(
        self,
        place: SlackPlace,
        messages: list[SlackMessage],
        arguments: Json,
        *,
        newest_first: bool,
    ) -> Json:
        oldest = float(arguments.get("oldest") or 0)
        latest = float(arguments.get("latest") or "inf")
        inclusive = str(arguments.get("inclusive", "")).lower() in ("true", "1")
        limit = min(int(arguments.get("limit") or _PAGE), self.longest_page)
        start = int(arguments.get("cursor") or 0)
        wanted = [
            message
            for message in messages
            if oldest < float(message.ts) < latest
            or (inclusive and float(message.ts) in (oldest, latest))
        ]
        wanted.sort(key=lambda message: float(message.ts), reverse=newest_first)
        more = len(wanted) > start + limit
        return {
            "messages": [
                self._world.render_in_history(place, message)
                for message in wanted[start : start + limit]
            ],
            "has_more": more,
            "response_metadata": {"next_cursor": str(start + limit) if more else ""},
        }

    def _user(self, arguments: Json) -> Json:
        user = self._world.users.get(str(arguments.get("user")))
        if user is None:
            raise SlackError("user_not_found")
        profile = {"display_name": user.name, "real_name": user.name}
        about = {"id": user.user_id, "name": user.name.lower(), "real_name": user.name}
        return {"user": {**about, "is_bot": user.bot, "deleted": False, "profile": profile}}

    def _react(self, arguments: Json) -> Json:
        return self._set_reaction(arguments, on=True)

    def _unreact(self, arguments: Json) -> Json:
        return self._set_reaction(arguments, on=False)

    def _set_reaction(self, arguments: Json, *, on: bool) -> Json:
        world = self._world
        place, message = world.message(arguments.get("channel"), arguments.get("timestamp"))
        name = str(arguments.get("name") or "")
        if not name or name.startswith(":"):
            raise SlackError("invalid_name")
        world.react(place.channel_id, message.ts, world.bot, name, on=on)
        return {}

    def _begin_upload(self, arguments: Json) -> Json:
        name, length = arguments.get("filename"), int(arguments.get("length") or 0)
        if not name or length < 1:
            raise SlackError("invalid_arguments")
        file = self._world.upload(str(name), self._world.bot, length=length)
        return {"upload_url": f"{self._world.url}/upload/v1/{file}", "file_id": file}

    def _complete_upload(self, arguments: Json) -> Json:
        wanted: Any = arguments.get("files")
        if isinstance(wanted, str):
            wanted = json.loads(wanted)
        files = [self._world.files.get(str(one["id"])) for one in wanted or ()]
        found = [file for file in files if file is not None and file.arrived]
        if not found or len(found) < len(files):
            raise SlackError("file_not_found")
        channel = arguments.get("channel_id") or arguments.get("channels")
        if channel:
            thread_ts = str(arguments["thread_ts"]) if arguments.get("thread_ts") else None
            comment = str(arguments.get("initial_comment") or "")
            place = self._writable(channel)
            self._world.post(
                place.channel_id, self._world.bot, comment, thread_ts=thread_ts, files=found
            )
        # Slack shares after it has answered.
        return {"files": [self._world.render_file(file) | {"shares": {}} for file in found]}

    def _file(self, arguments: Json) -> Json:
        file = self._world.files.get(str(arguments.get("file")))
        if file is None:
            raise SlackError("file_not_found")
        return {"file": self._world.render_file(file)}

    def _status(self, arguments: Json) -> Json:
        place = self._world.place(arguments.get("channel_id"))
        if not arguments.get("thread_ts"):
            raise SlackError("invalid_thread_ts")
        shown = self._world.statuses.setdefault(place.channel_id, [])
        shown.append(str(arguments.get("status") or ""))
        return {}


def _blocks(arguments: Json) -> list[Json]:
    """The blocks of a message, as far as Slack would take them."""
    raw: Any = arguments.get("blocks") or []
    blocks: list[Json] = json.loads(raw) if isinstance(raw, str) else raw
    if len(blocks) > _BLOCKS:
        raise SlackError("invalid_blocks")
    for block in blocks:
        text: Any = block.get("text")
        if isinstance(text, dict) and len(str(text.get("text"))) > _SECTION_LIMIT:  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  # JSON
            raise SlackError("invalid_blocks")
    return blocks
