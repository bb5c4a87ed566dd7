"""A local Slack of others: starts local-slack, which knows Slack's events and methods by itself.

A second opinion beside the fake of our own, with the same hands for a test. It delivers once,
checks no tokens and limits nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import trio

from .clients import open_client
from .places import missing, peers
from .ports import kept_port
from .programs import open_program
from .seen import Seen, SeenFile

__all__ = ["SlackLocal", "open_slack"]

_PATIENCE_S: Final = 30.0
_LOOK_S: Final = 0.05
"""How often to look whether something is seen: local-slack cannot be waited for."""
_PROGRAM: Final = Path("node", "node_modules", "local-slack-linux-x64", "bin", "local-slack")
_USERS: Final = ("Ada", "Ben", "Cleo")


class SlackLocal:
    """One workspace with the users Ada, Ben and Cleo, and a channel `general`."""

    bot_token = "xoxb-local-bot-token"
    app_token = "xapp-local-app-token"
    signing_secret = "local-signing-secret"
    bot = "U0BOT"
    general = "C0GENERAL"

    def __init__(self, client: httpx.AsyncClient, port: int, nursery: trio.Nursery) -> None:
        self._client = client
        self._nursery = nursery
        self._left: list[str] = list(_USERS)
        self.port = port

    @property
    def url(self) -> str:
        """The base of the Web API, as slack_sdk takes it: with `/api/`."""
        return f"http://127.0.0.1:{self.port}/api/"

    @classmethod
    def config(cls, events_to: str | None) -> dict[str, Any]:
        """What local-slack is told when it starts."""
        app = {
            "appId": "A01APP",
            "botUserId": cls.bot,
            "botName": "keeper",
            "botToken": cls.bot_token,
            "appToken": cls.app_token,
            "signingSecret": cls.signing_secret,
            "mode": "socket" if events_to is None else "events",
        }
        if events_to is not None:
            app["requestUrl"] = events_to
        users = [{"id": _user_id(name), "name": name.lower(), "real_name": name} for name in _USERS]
        members = [cls.bot, *(user["id"] for user in users)]
        private = [
            {"id": _im_id(user["id"]), "name": user["name"], "is_im": True, "is_channel": False,
             "members": [user["id"], cls.bot]}
            for user in users
        ]  # fmt: skip
        general = {"id": cls.general, "name": "general", "members": members}
        return {"apps": [app], "users": users, "channels": [general, *private]}

    # What humans do

    async def add_user(self, name: str) -> str:
        """The id of one of the users that there are; Ada, Ben or Cleo."""
        self._left.remove(name)
        return _user_id(name)

    async def dm(self, user: str) -> str:
        """The conversation between a user and the bot."""
        return _im_id(user)

    async def user_says(
        self,
        channel: str,
        user: str,
        text: str,
        *,
        thread_ts: str | None = None,
        files: Sequence[tuple[str, bytes]] = (),
    ) -> str:
        """A user writes a message; its ts. The bot is told while this goes on."""
        said = {"channel": channel, "user": user, "text": text}
        if thread_ts is not None:
            said["thread_ts"] = thread_ts
        before = {message["ts"] for message in await self._messages(channel)}
        if files:
            uploads = [("file", (name, content)) for name, content in files]
            self._nursery.start_soon(self._post_files, said, uploads)
        else:
            self._nursery.start_soon(self._act, "message", said)
        return await self._new(channel, user, before)

    async def edits(self, channel: str, message: str, text: str) -> None:
        """The author of a message changes it; returns once the bot has acknowledged that."""
        user = await self._author(channel, message)
        await self._act(
            "edit-message", {"channel": channel, "ts": message, "user": user, "text": text}
        )

    async def deletes(self, channel: str, message: str) -> None:
        """The author of a message deletes it; returns once the bot has acknowledged that."""
        user = await self._author(channel, message)
        await self._act("delete-message", {"channel": channel, "ts": message, "user": user})

    async def reacts(self, channel: str, message: str, user: str, name: str) -> None:
        """A user puts an emoji to a message; returns once the bot has acknowledged that."""
        await self._act("reaction", {"channel": channel, "ts": message, "user": user, "name": name})

    # What humans see

    async def seen(self, channel: str, thread_ts: str | None = None) -> list[Seen]:
        """The messages of a channel, oldest first; with a thread, only those in it."""
        return [
            _seen(message)
            for message in await self._messages(channel)
            if thread_ts is None or thread_ts in (message["ts"], message.get("thread_ts"))
        ]

    async def until_seen(
        self, channel: str, holds: Callable[[list[Seen]], bool], *, within_s: float = _PATIENCE_S
    ) -> list[Seen]:
        """What is seen in a channel, once it is as wanted; raises TooSlowError."""
        with trio.fail_after(within_s):
            while not holds(seen := await self.seen(channel)):  # noqa: ASYNC110  # another process
                await trio.sleep(_LOOK_S)
        return seen

    async def until_connected(self, *, within_s: float = _PATIENCE_S) -> None:
        """Return when the bot is connected by Socket Mode."""
        with trio.fail_after(within_s):
            while not await self._connected():  # noqa: ASYNC110  # another process
                await trio.sleep(_LOOK_S)

    async def download(self, file: SeenFile) -> bytes:
        """The content of a file that is seen."""
        headers = {"Authorization": f"Bearer {self.bot_token}"}
        answer = await self._client.get(file.url, headers=headers)
        return answer.raise_for_status().content

    async def _connected(self) -> bool:
        log: list[dict[str, Any]] = (await self._get("log"))["log"]
        return any("connect" in json.dumps(entry) for entry in log)

    async def _messages(self, channel: str) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = (await self._get(f"messages/{channel}"))["messages"]
        return messages

    async def _author(self, channel: str, message: str) -> str:
        found = {one["ts"]: one["user"] for one in await self._messages(channel)}
        user: str = found[message]
        return user

    async def _new(self, channel: str, user: str, before: set[str]) -> str:
        """The ts of a user's message that was not there before."""
        with trio.fail_after(_PATIENCE_S):
            while True:
                for message in await self._messages(channel):
                    if message["user"] == user and message["ts"] not in before:
                        ts: str = message["ts"]
                        return ts
                await trio.sleep(_LOOK_S)

    async def _get(self, name: str) -> Any:
        answer = await self._client.get(f"http://127.0.0.1:{self.port}/_control/{name}")
        return answer.raise_for_status().json()

    async def _act(self, name: str, body: dict[str, Any]) -> None:
        url = f"http://127.0.0.1:{self.port}/_control/{name}"
        (await self._client.post(url, json=body)).raise_for_status()

    async def _post_files(
        self, said: dict[str, str], uploads: list[tuple[str, tuple[str, bytes]]]
    ) -> None:
        url = f"http://127.0.0.1:{self.port}/_control/upload"
        (await self._client.post(url, data=said, files=uploads)).raise_for_status()


def _user_id(name: str) -> str:
    return f"U0{name.upper()}"


def _im_id(user: str) -> str:
    return f"D{user[1:]}"


def _seen(message: dict[str, Any]) -> Seen:
    files: list[dict[str, Any]] = message.get("files") or []
    thread = message.get("thread_ts")
    return Seen(
        message_id=message["ts"],
        user=message["user"],
        text=message.get("text", ""),
        thread=thread if thread != message["ts"] else None,
        edited="edited" in message,
        files=tuple(
            SeenFile(file["name"], file["mimetype"], file["size"], file["url_private"])
            for file in files
        ),
    )


@asynccontextmanager
async def open_slack(folder: Path, *, events_to: str | None = None) -> AsyncGenerator[SlackLocal]:
    """A new workspace until the block ends, with Socket Mode or with the Events API to a URL."""
    program = peers() / _PROGRAM
    if not os.access(program, os.X_OK):
        missing("local-slack")
    config = folder / "local-slack.json"
    config.write_text(json.dumps(SlackLocal.config(events_to)), encoding="utf-8")
    with kept_port() as port:
        where = ("--port", str(port), "--base-host", "127.0.0.1", "--files-dir", folder / "files")
        async with (
            open_program((program, "--config", config, *where)) as running,
            open_client(timeout=_PATIENCE_S) as client,
            trio.open_nursery() as nursery,
        ):
            await running.until_line(lambda line: "local-slack is running" in line)
            yield SlackLocal(client, port, nursery)
            nursery.cancel_scope.cancel()
