"""A Matrix to test against: rooms and people on a real homeserver, with the usual hands for a test.

    with run_synapse(folder) as synapse:
        async with open_matrix(synapse) as matrix:
            room = await matrix.add_room("general")
            await matrix.user_says(room, await matrix.add_user("Ada"), "hello")

The homeserver may be shared: each peer makes accounts and rooms of its own. The bot reaches it
through a proxy, `matrix.url`, which can be unreachable and lose answers; people reach it directly.
"""

from __future__ import annotations

import itertools
import mimetypes
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, Final, cast
from urllib.parse import quote

import trio

from .clients import open_client
from .faults import Fault, Hold
from .matrix_proxy import Proxy, open_proxy
from .matrix_server import Synapse
from .seen import Seen, SeenFile
from .web import WebServer

__all__ = ["MatrixPeer", "open_matrix"]

_PATIENCE_S: Final = 30.0
_POLL_MS: Final = 30_000
_CLIENT: Final = "/_matrix/client/v3"


class MatrixPeer:
    """One bot on a homeserver, and the people who talk to it. Ids are Matrix's own."""

    def __init__(self, synapse: Synapse, proxy: Proxy, server: WebServer) -> None:
        self._synapse = synapse
        self._proxy = proxy
        self._server = server
        self._http = open_client(base_url=synapse.url, timeout=60.0)
        self._mark = token_hex(4)
        self._transactions = itertools.count(1)
        self._tokens: dict[str, str] = {}
        self._watcher = ""
        """Who watches the rooms of several for the test: a human like others."""
        self._eyes: dict[str, str] = {}
        """Who watches a room instead, where the watcher is not."""
        self.bot = ""
        """The bot's user id."""
        self.bot_token = ""
        self.bot_password = "correct horse"

    @property
    def url(self) -> str:
        """Where the bot finds its homeserver."""
        return self._server.url

    async def begin(self) -> None:
        """Make the accounts that there always are."""
        self.bot = await self.add_user("keeper")
        self.bot_token = self._tokens[self.bot]
        self._watcher = await self.add_user("watcher")

    async def aclose(self) -> None:
        """Forget the homeserver."""
        await self._http.aclose()

    # What humans do

    async def add_user(self, name: str) -> str:
        """A new account; its id."""
        register = self._synapse.register
        made = await trio.to_thread.run_sync(
            register, f"{name.lower()}-{self._mark}", self.bot_password
        )
        user: str = made["user_id"]
        self._tokens[user] = made["access_token"]
        return user

    async def add_room(self, name: str, *users: str, joined: bool = True) -> str:
        """A room of these users, to which the bot is invited, and has come if `joined`."""
        asked = {"name": name, "preset": "private_chat", "invite": [*users, self.bot]}
        return await self._new_room(asked, users, joined=joined)

    async def dm(self, user: str, *, joined: bool = True) -> str:
        """A room of a user and the bot alone; if `joined`, the bot has marked it as direct."""
        asked = {"preset": "trusted_private_chat", "is_direct": True, "invite": [self.bot]}
        room: str = (await self._call("POST", "/createRoom", user, asked))["room_id"]
        self._eyes[room] = user
        if joined:
            await self.joins(room, self.bot)
            path = f"/user/{_path(self.bot)}/account_data/m.direct"
            try:
                marked = await self._call("GET", path, self.bot)
            except ValueError:
                marked = {}
            await self._call("PUT", path, self.bot, {**marked, user: [room]})
        return room

    async def invites(self, room: str, user: str) -> None:
        """Invite somebody to a room, as `joins` or the bot accepts."""
        path = f"/rooms/{_path(room)}/invite"
        await self._call("POST", path, self._watches(room), {"user_id": user})

    async def joins(self, room: str, user: str) -> None:
        """A user who is invited comes into a room."""
        await self._call("POST", f"/rooms/{_path(room)}/join", user, {})

    async def removes_bot(self, room: str) -> None:
        """The bot is removed from a room."""
        await self._call("POST", f"/rooms/{_path(room)}/kick", self._watcher, {"user_id": self.bot})

    async def forbids(self, room: str) -> None:
        """The right to write in a room is taken away from the bot."""
        levels: dict[str, Any] = await self._call(
            "GET", f"/rooms/{_path(room)}/state/m.room.power_levels", self._watcher
        )
        levels.setdefault("users", {})[self.bot] = -1
        path = f"/rooms/{_path(room)}/state/m.room.power_levels"
        await self._call("PUT", path, self._watcher, levels)

    async def user_says(
        self,
        room: str,
        user: str,
        text: str,
        *,
        thread: str | None = None,
        reply_to: str | None = None,
        html: str | None = None,
        mentions: Sequence[str] = (),
        files: Sequence[tuple[str, bytes]] = (),
    ) -> str:
        """A user writes a message, or sends one file with a caption; its event id.

        `thread` is the event that a thread begins with. `mentions` are user ids.
        """
        content: dict[str, Any] = {"msgtype": "m.text", "body": text}
        if files:
            ((name, data),) = files
            content = await self._file(user, name, data, text)
        if html is not None:
            content |= {"format": "org.matrix.custom.html", "formatted_body": html}
        if mentions:
            content["m.mentions"] = {"user_ids": list(mentions)}
        relation: dict[str, Any] = {}
        if thread is not None:
            relation = {"rel_type": "m.thread", "event_id": thread}
        if reply_to is not None:
            relation["m.in_reply_to"] = {"event_id": reply_to}
        if relation:
            content["m.relates_to"] = relation
        return await self._send(room, user, "m.room.message", content)

    async def edits(self, room: str, message: str, text: str) -> None:
        """The author of a message changes it."""
        author = (await self._event(room, message))["sender"]
        content = {
            "msgtype": "m.text",
            "body": f"* {text}",
            "m.new_content": {"msgtype": "m.text", "body": text},
            "m.relates_to": {"rel_type": "m.replace", "event_id": message},
        }
        await self._send(room, author, "m.room.message", content)

    async def deletes(self, room: str, message: str) -> None:
        """Somebody who may do so redacts a message."""
        path = f"/rooms/{_path(room)}/redact/{_path(message)}/{self._transaction()}"
        await self._call("PUT", path, self._watches(room), {})

    async def reacts(self, room: str, message: str, user: str, emoji: str) -> None:
        """A user puts an emoji to a message."""
        relation = {"rel_type": "m.annotation", "event_id": message, "key": emoji}
        await self._send(room, user, "m.reaction", {"m.relates_to": relation})

    async def types(self, room: str, user: str) -> None:
        """A user begins to type."""
        path = f"/rooms/{_path(room)}/typing/{_path(user)}"
        await self._call("PUT", path, user, {"typing": True, "timeout": 30_000})

    async def says_anything(self, room: str, user: str, kind: str, content: Any) -> str:
        """A user, or the bot, sends an event of any kind, as far as the homeserver takes it."""
        return await self._send(room, user, kind, content)

    async def tells_again(self, room: str, message: str) -> None:
        """A message is told to the bot once more, with the next one in its room."""
        self._proxy.again.append((room, await self._event(room, message)))

    async def upgrades(self, room: str, user: str) -> str:
        """A user replaces a room by one of another version; its id."""
        asked = {"new_version": "11"}
        told = await self._call("POST", f"/rooms/{_path(room)}/upgrade", user, asked)
        replacement: str = told["replacement_room"]
        return replacement

    async def log_out(self) -> None:
        """The bot's token is worth nothing any more."""
        await self._call("POST", "/logout", self.bot, {})

    # What humans see

    async def seen(self, room: str, thread: str | None = None) -> list[Seen]:
        """The messages of a room, oldest first; with a thread, only those in it."""
        path, start = f"/rooms/{_path(room)}/messages", ""
        events: list[dict[str, Any]] = []
        while True:
            asked = {"dir": "f", "limit": "500", **({"from": start} if start else {})}
            page = await self._call("GET", path, self._watches(room), params=asked)
            events += page["chunk"]
            if "end" not in page:
                break
            start = page["end"]
        seen = _read(events)
        return [one for one in seen if thread is None or thread in (one.message_id, one.thread)]

    async def until_seen(
        self, room: str, holds: Callable[[list[Seen]], bool], *, within_s: float = _PATIENCE_S
    ) -> list[Seen]:
        """What is seen in a room, once it is as wanted; raises TooSlowError."""
        with trio.fail_after(within_s):
            since = (await self._sync(room))["next_batch"]
            while not holds(seen := await self.seen(room)):
                since = (await self._sync(room, since))["next_batch"]
        return seen

    async def typing(self, room: str) -> int:
        """1 while the bot is seen to type, 0 otherwise."""
        return self._types_in(room, await self._sync(room))

    async def until_typing(self, room: str, *, within_s: float = _PATIENCE_S) -> None:
        """Return when the bot is seen to type; raises TooSlowError."""
        with trio.fail_after(within_s):
            body = await self._sync(room)
            while not self._types_in(room, body):
                body = await self._sync(room, body["next_batch"])

    async def reactions(self, room: str, message: str) -> dict[str, list[str]]:
        """Who has put which emoji to a message."""
        path = f"/_matrix/client/v1/rooms/{_path(room)}/relations/{_path(message)}/m.annotation"
        found: dict[str, list[str]] = {}
        for event in (await self._call("GET", path, self._watches(room)))["chunk"]:
            found.setdefault(event["content"]["m.relates_to"]["key"], []).append(event["sender"])
        return found

    async def download(self, file: SeenFile) -> bytes:
        """The content of a file that is seen."""
        path = f"/_matrix/client/v1/media/download/{file.url.removeprefix('mxc://')}"
        answer = await self._http.get(path, headers=self._head(self._watcher))
        return answer.raise_for_status().content

    # What goes wrong, on the bot's way to the homeserver; kinds are those of `matrix_proxy`

    @property
    def calls(self) -> list[tuple[str, str, int]]:
        """What the bot has asked for: kind, path, status, 0 without an answer."""
        return self._proxy.calls

    def fails(
        self,
        kind: str,
        error: str = "M_UNKNOWN",
        *,
        status: int = 500,
        times: int = 1,
        acts: bool = False,
    ) -> None:
        """Let requests of a kind (`*`: any) answer an error; with `acts`, after doing it."""
        body = {"errcode": error, "error": "A fault"}
        self._proxy.faults.add(Fault(kind, times, status, body, after_acting=acts))

    def limits(self, kind: str, *, retry_after_ms: int = 100, times: int = 1) -> None:
        """Let requests of a kind be too many."""
        body = {
            "errcode": "M_LIMIT_EXCEEDED",
            "error": "Too Many Requests",
            "retry_after_ms": retry_after_ms,
        }
        headers = {"Retry-After": str(-(-retry_after_ms // 1000))}
        self._proxy.faults.add(Fault(kind, times, 429, body, headers=headers))

    def loses_answers(self, kind: str, *, times: int = 1) -> None:
        """Let the homeserver act, and the connection break before its answer."""
        self._proxy.faults.add(Fault(kind, times, after_acting=True))

    def loses_requests(self, kind: str, *, times: int = 1) -> None:
        """Let the connection break before the homeserver acts."""
        self._proxy.faults.add(Fault(kind, times))

    def holds(self, kind: str) -> Hold:
        """Stop requests of a kind before the homeserver acts, until the hold is released."""
        return self._proxy.faults.hold(kind)

    async def down(self) -> None:
        """Let the bot find nobody at the address of its homeserver."""
        await self._server.down()

    async def up(self) -> None:
        """Be there again, at the same address."""
        await self._server.up()

    # Talking to the homeserver

    async def _new_room(self, asked: dict[str, Any], users: Sequence[str], *, joined: bool) -> str:
        room: str = (await self._call("POST", "/createRoom", self._watcher, asked))["room_id"]
        for user in [*users, *([self.bot] if joined else [])]:
            await self.joins(room, user)
        return room

    async def _file(self, user: str, name: str, data: bytes, caption: str) -> dict[str, Any]:
        mime = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {**self._head(user), "Content-Type": mime}
        answer = await self._http.post(
            "/_matrix/media/v3/upload", params={"filename": name}, content=data, headers=headers
        )
        kind = mime.partition("/")[0]
        return {
            "msgtype": f"m.{kind}" if kind in ("image", "audio", "video") else "m.file",
            "body": caption or name,
            "filename": name,
            "url": answer.raise_for_status().json()["content_uri"],
            "info": {"mimetype": mime, "size": len(data)},
        }

    async def _send(self, room: str, user: str, kind: str, content: dict[str, Any]) -> str:
        path = f"/rooms/{_path(room)}/send/{kind}/{self._transaction()}"
        event: str = (await self._call("PUT", path, user, content))["event_id"]
        return event

    async def _event(self, room: str, event: str) -> dict[str, Any]:
        path = f"/rooms/{_path(room)}/event/{_path(event)}"
        found: dict[str, Any] = await self._call("GET", path, self._watches(room))
        return found

    def _watches(self, room: str) -> str:
        return self._eyes.get(room, self._watcher)

    async def _sync(self, room: str, since: str | None = None) -> dict[str, Any]:
        """What is new for who watches a room; with `since`, once there is something."""
        asked = {"timeout": "0"} if since is None else {"timeout": str(_POLL_MS), "since": since}
        found: dict[str, Any] = await self._call("GET", "/sync", self._watches(room), params=asked)
        return found

    def _types_in(self, room: str, body: dict[str, Any]) -> int:
        joined = body.get("rooms", {}).get("join", {}).get(room, {})
        events: list[dict[str, Any]] = joined.get("ephemeral", {}).get("events", [])
        typing = [event["content"]["user_ids"] for event in events if event["type"] == "m.typing"]
        return sum(self.bot in users for users in typing)

    async def _call(
        self,
        method: str,
        path: str,
        user: str,
        body: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
    ) -> Any:
        url = path if path.startswith("/_matrix") else _CLIENT + path
        answer = await self._http.request(
            method, url, json=body, params=params, headers=self._head(user)
        )
        if answer.is_error:
            raise ValueError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    def _head(self, user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens[user]}"}

    def _transaction(self) -> str:
        return f"test-{self._mark}-{next(self._transactions)}"


def _path(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


def _read(events: list[dict[str, Any]]) -> list[Seen]:
    """Messages as people see them: the newest text of each, and none that was redacted."""
    texts: dict[str, dict[str, Any]] = {}
    for event in events:
        relation = _object(event["content"], "m.relates_to")
        if relation.get("rel_type") == "m.replace" and "m.new_content" in event["content"]:
            texts[relation["event_id"]] = event["content"]["m.new_content"]
    return [
        _seen(event, texts.get(event["event_id"]))
        for event in events
        if event["type"] == "m.room.message"
        and "body" in event["content"]
        and _object(event["content"], "m.relates_to").get("rel_type") != "m.replace"
    ]


def _object(of: dict[str, Any], name: str) -> dict[str, Any]:
    """An object in another one; an empty one for what somebody sends instead."""
    value = of.get(name)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _seen(event: dict[str, Any], changed: dict[str, Any] | None) -> Seen:
    content = event["content"]
    relation, info = _object(content, "m.relates_to"), _object(content, "info")
    files: tuple[SeenFile, ...] = ()
    if "url" in content:
        name = content.get("filename", content["body"])
        mime, size = info.get("mimetype", ""), info.get("size", 0)
        files = (SeenFile(name, mime, size, content["url"]),)
    newest = changed or content
    return Seen(
        message_id=event["event_id"],
        user=event["sender"],
        text=newest.get("formatted_body", newest["body"]),
        thread=relation["event_id"] if relation.get("rel_type") == "m.thread" else None,
        reply_to=_object(relation, "m.in_reply_to").get("event_id"),
        edited=changed is not None,
        files=files,
    )


@asynccontextmanager
async def open_matrix(synapse: Synapse) -> AsyncGenerator[MatrixPeer]:
    """A bot with people around it, new on a homeserver that runs, until the block ends."""
    async with open_proxy(synapse.url) as (proxy, server):
        peer = MatrixPeer(synapse, proxy, server)
        await peer.begin()
        try:
            yield peer
        finally:
            with trio.CancelScope(shield=True):
                await peer.aclose()
