"""A platform in memory that can do everything, as its humans see it and as its clients do.

Told to clients as lines of JSON, each with a number. A client says behind which number it wants to
hear, so that one which forgets its place hears everything again, and one which runs ahead loses.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from turnkeeper.testing import Failure, Seen, SeenFile, Wire

__all__ = ["LIMIT", "TOKEN", "WRONG", "Feed", "Gone", "Lost", "Refused", "Whole", "open_whole"]

TOKEN: Final = "tok-51d0c2a9"
WRONG: Final = TOKEN[::-1]
"""A token that the platform does not know."""
LIMIT: Final = 120
"""Characters of one message."""


class Gone(Exception):
    """The platform cannot be reached."""


class Lost(Exception):
    """The connection ended before the answer."""


class Refused(Exception):
    """The platform says no, in one word."""

    def __init__(self, code: str, retry_after_s: float | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after_s = retry_after_s


class Feed:
    """What one connection is told."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = list(lines)
        self._news = trio.Event()
        self._is_over = False

    def tell(self, line: str) -> None:
        self._lines.append(line)
        self._news.set()

    def end(self) -> None:
        self._is_over = True
        self._news.set()

    async def next(self) -> str:
        """The next line.

        Raises:
            Gone: the connection has ended.
        """
        while True:
            await trio.lowlevel.checkpoint()
            if self._is_over:
                raise Gone("the connection has ended")
            if self._lines:
                return self._lines.pop(0)
            self._news = trio.Event()
            await self._news.wait()


class Whole(Wire):
    """The platform."""

    conversations = ("r1", "r2")
    group = "g1"
    threads: tuple[tuple[str, str], ...] = (("r1", "t1"), ("r1", "t2"))
    secrets = (TOKEN, WRONG)
    quotes = True
    holds = True

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._told: list[str] = []
        self._said: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, dict[str, Seen]] = {}
        self._feeds: list[Feed] = []
        self._failures: list[Failure] = []
        self._typed: Counter[str] = Counter()
        self._is_down = False
        self._gate = trio.Event()
        self._gate.set()

    # -- what a human does and sees --------------------------------------------------------------

    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        return self._say(
            {"text": text, "room": conversation, "thread": thread, "quotes": reply_to}
            | {"mention": mention}
        )

    async def seen(self, conversation: str) -> Sequence[Seen]:
        return list(self._seen.get(conversation, {}).values())

    async def redeliver(self, message_id: str, /) -> None:
        self._tell(self._said[message_id])

    async def disconnect(self) -> None:
        self._is_down = True
        for feed in self._feeds:
            feed.end()
        self._feeds.clear()

    async def reconnect(self) -> None:
        self._is_down = False

    async def garbage(self) -> None:
        for line in ("{", "[]", '{"n": "x"}', '{"n": 1, "kind": "message", "id": {}}'):
            self._tell_line(line)

    async def unknown_update(self) -> None:
        self._tell({"kind": "waved", "room": "r1"})

    async def own_echo(self, text: str, /, *, conversation: str) -> None:
        self._say({"text": text, "room": conversation, "user": "me"})

    async def other_bot_says(self, text: str, /, *, conversation: str) -> None:
        self._say({"text": text, "room": conversation, "user": "clock", "bot": True})

    async def edit(self, message_id: str, text: str, /, *, conversation: str) -> None:
        self._tell({"kind": "edited", "id": message_id, "room": conversation, "text": text})

    async def delete(self, message_id: str, /, *, conversation: str) -> None:
        self._tell({"kind": "deleted", "id": message_id, "room": conversation})

    async def user_sends_file(
        self, name: str, content: bytes, mime: str, /, *, conversation: str
    ) -> str:
        file = {"name": name, "content": content.hex(), "mime": mime}
        return self._say({"text": "", "room": conversation, "file": file})

    async def fail_next(self, failure: Failure, /) -> None:
        self._failures.append(failure)

    async def hold(self) -> None:
        self._gate = trio.Event()

    async def release(self) -> None:
        self._gate.set()

    async def typing(self, conversation: str, /) -> int:
        return self._typed[conversation]

    async def read(self, message_id: str, /, *, conversation: str) -> None:
        self._tell({"kind": "read", "id": message_id, "room": conversation})

    def _say(self, message: dict[str, Any]) -> str:
        message_id = f"m{next(self._ids)}"
        room = message["room"]
        self._said[message_id] = {"kind": "message", "id": message_id, "user": room} | message
        self._tell(self._said[message_id])
        return message_id

    def _tell(self, update: dict[str, Any]) -> None:
        self._tell_line(json.dumps({"n": len(self._told) + 1} | update))

    def _tell_line(self, line: str) -> None:
        self._told.append(line)
        for feed in self._feeds:
            feed.tell(line)

    # -- what a client asks for ------------------------------------------------------------------

    @property
    def newest(self) -> int:
        """The number of what was told last."""
        return len(self._told)

    async def connect(self, token: str, after: int) -> Feed:
        """Hear what was told behind number `after`, and from now on."""
        await self.check(token)
        feed = Feed(self._told[after:])
        self._feeds.append(feed)
        return feed

    async def check(self, token: str) -> None:
        """Look whether a token is right."""
        await trio.lowlevel.checkpoint()
        if self._is_down:
            raise Gone("connection refused")
        if token != TOKEN:
            raise Refused("unauthorized")

    async def post(
        self,
        token: str,
        room: str,
        text: str,
        thread: str | None = None,
        quotes: str | None = None,
        file: SeenFile | None = None,
    ) -> str:
        """Say something; return its id."""
        failure = await self._admit(token)
        if len(text) > LIMIT:
            raise Refused("too_long")
        message_id = self.arrive(room, text, thread, quotes, file)
        if failure is not None:
            raise Lost("the connection ended")
        return message_id

    def arrive(
        self,
        room: str,
        text: str,
        thread: str | None = None,
        quotes: str | None = None,
        file: SeenFile | None = None,
    ) -> str:
        """Show a message to its readers, whoever still waits for the answer; return its id."""
        message_id = f"a{next(self._ids)}"
        self._seen.setdefault(room, {})[message_id] = Seen(
            text=text, message_id=message_id, reply_to=quotes, thread=thread, file=file
        )
        return message_id

    async def change(self, token: str, room: str, message_id: str, text: str) -> None:
        """Let a message of the agent's say something else."""
        await self.check(token)
        message = self._seen[room][message_id]
        self._seen[room][message_id] = Seen(
            text=text, message_id=message_id, reply_to=message.reply_to, thread=message.thread
        )

    async def remove(self, token: str, room: str, message_id: str) -> None:
        """Take a message of the agent's away."""
        await self.check(token)
        del self._seen[room][message_id]

    async def show_typing(self, token: str, room: str) -> None:
        """Show that the agent types."""
        await self.check(token)
        self._typed[room] += 1

    async def _admit(self, token: str) -> Failure | None:
        """Fail a call as was asked for; what is returned fails it after it has acted."""
        await self.check(token)
        await self._gate.wait()
        failure = self._failures.pop(0) if self._failures else None
        match failure:
            case None:
                return None
            case Failure(kind="lost_answer"):
                return failure
            case Failure(kind="unreachable"):
                raise Gone("connection refused")
            case _:
                raise Refused(failure.kind, failure.retry_after_s)


@asynccontextmanager
async def open_whole(kind: type[Whole] = Whole) -> AsyncGenerator[Whole]:
    """A platform for one test."""
    await trio.lowlevel.checkpoint()
    yield kind()
