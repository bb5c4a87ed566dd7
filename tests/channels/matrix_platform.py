"""The wire of the Matrix channel: people on a real Synapse."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any, Final

from turnkeeper import Channel
from turnkeeper.channels.matrix import MatrixChannel
from turnkeeper.testing import Failure, Seen, SeenFile, Wire

from ..peers.faults import Hold
from ..peers.matrix_peer import MatrixPeer, open_matrix
from ..peers.matrix_server import Synapse

__all__ = ["WRONG_TOKEN", "MatrixWire", "deep", "make_matrix", "open_matrix_wire"]

WRONG_TOKEN: Final = "syt_a2VlcGVy_wrong_wrong_wrong"


class MatrixWire(Wire):
    """People in two direct rooms, and in a group with two threads."""

    quotes = True
    holds = True

    def __init__(self, matrix: MatrixPeer) -> None:
        self.matrix = matrix
        self.secrets = (matrix.bot_token, WRONG_TOKEN)
        self.ann = self.ben = ""
        self._rooms: dict[str, str] = {}
        self._held: Hold | None = None

    async def begin(self) -> None:
        """Let people come together."""
        self.ann, self.ben = [await self.matrix.add_user(name) for name in ("Ann", "Ben")]
        self.conversations = (await self.matrix.dm(self.ann), await self.matrix.dm(self.ben))
        self.group = await self.matrix.add_room("general", self.ann, self.ben)
        self._rooms = {self.conversations[1]: self.ben}
        roots = [await self.matrix.user_says(self.group, self.ann, one) for one in ("one", "two")]
        self.threads = ((self.group, roots[0]), (self.group, roots[1]))

    def _human(self, room: str) -> str:
        return self._rooms.get(room, self.ann)

    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        return await self.matrix.user_says(
            conversation,
            self._human(conversation),
            f"{self.matrix.bot}: {text}" if mention else text,
            thread=thread,
            reply_to=reply_to,
            mentions=[self.matrix.bot] if mention else (),
        )

    async def seen(self, conversation: str) -> Sequence[Seen]:
        found: list[Seen] = []
        for one in await self.matrix.seen(conversation):
            if one.user != self.matrix.bot:
                continue
            file = None
            if one.files:
                content = await self.matrix.download(one.files[0])
                file = SeenFile(content=content, name=one.files[0].name, mime=one.files[0].mime)
            found.append(
                Seen(
                    text=_rendered(one.text),
                    message_id=one.message_id,
                    reply_to=one.reply_to,
                    thread=one.thread,
                    file=file,
                )
            )
        return found

    async def redeliver(self, message_id: str, /) -> None:
        await self.matrix.tells_again(self.conversations[0], message_id)

    async def disconnect(self) -> None:
        await self.matrix.down()

    async def reconnect(self) -> None:
        await self.matrix.up()

    async def garbage(self) -> None:
        room, user = self.conversations[0], self._human(self.conversations[0])
        nonsense: tuple[dict[str, Any], ...] = (
            {"msgtype": "m.image", "body": "x", "url": 7, "info": []},
            {"msgtype": "m.text", "body": "x", "m.relates_to": {"m.in_reply_to": 5}},
            {"msgtype": "m.text", "body": "x", "m.relates_to": [], "deep": deep(110)},
        )
        for content in nonsense:
            await self.matrix.says_anything(room, user, "m.room.message", content)

    async def unknown_update(self) -> None:
        room, user = self.conversations[0], self._human(self.conversations[0])
        await self.matrix.says_anything(room, user, "org.example.moon", {"illuminated": "0.4"})

    async def own_echo(self, text: str, /, *, conversation: str) -> None:
        content = {"msgtype": "m.text", "body": text}
        await self.matrix.says_anything(conversation, self.matrix.bot, "m.room.message", content)

    async def other_bot_says(self, text: str, /, *, conversation: str) -> None:
        content = {"msgtype": "m.notice", "body": text}
        human = self._human(conversation)
        await self.matrix.says_anything(conversation, human, "m.room.message", content)

    async def edit(self, message_id: str, text: str, /, *, conversation: str) -> None:
        await self.matrix.edits(conversation, message_id, text)

    async def delete(self, message_id: str, /, *, conversation: str) -> None:
        await self.matrix.deletes(conversation, message_id)

    async def user_sends_file(
        self, name: str, content: bytes, mime: str, /, *, conversation: str
    ) -> str:
        human = self._human(conversation)
        return await self.matrix.user_says(conversation, human, "", files=[(name, content)])

    async def fail_next(self, failure: Failure, /) -> None:
        matrix = self.matrix
        match failure.kind:
            case "rate_limited":
                pause_ms = round((failure.retry_after_s or 1.0) * 1000)
                matrix.limits("send", retry_after_ms=pause_ms)
            case "unreachable":
                matrix.fails("send", status=503)
            case "server_error":
                matrix.fails("send", status=500)
            case "unauthorized":
                matrix.fails("send", "M_UNKNOWN_TOKEN", status=401)
            case "forbidden":
                matrix.fails("send", "M_FORBIDDEN", status=403)
            case "gone":
                matrix.fails("send", "M_NOT_FOUND", status=404)
            case "lost_answer":
                matrix.loses_answers("send")

    async def hold(self) -> None:
        self._held = self.matrix.holds("send")

    async def release(self) -> None:
        assert self._held is not None
        self._held.released.set()

    async def typing(self, conversation: str, /) -> int:
        return await self.matrix.typing(conversation)


def deep(levels: int) -> object:
    """Objects within objects."""
    value: object = "bottom"
    for _ in range(levels):
        value = {"in": value}
    return value


class _Text(HTMLParser):
    """What a browser would show, without markup."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "br" or (tag == "p" and self.text):
            self.text += "\n" if tag == "br" else "\n\n"

    def handle_data(self, data: str) -> None:
        self.text += data


def _rendered(html: str) -> str:
    """Formatted texts begin with a tag here; others are plain, and may hold anything."""
    if not html.startswith(("<p>", "<ul>", "<ol>", "<pre>", "<h", "<blockquote>", "<table>")):
        return html
    parser = _Text()
    parser.feed(html)
    return parser.text


@asynccontextmanager
async def open_matrix_wire(synapse: Synapse) -> AsyncGenerator[MatrixWire]:
    """Some people on a homeserver, until the block ends."""
    async with open_matrix(synapse) as matrix:
        wire = MatrixWire(matrix)
        await wire.begin()
        yield wire


def make_matrix(wire: MatrixWire, name: str, token: str = "", **keys: Any) -> Channel:
    """A channel for that homeserver, which writes as fast as it can."""
    keys.setdefault("sends_per_s", 1000.0)
    return MatrixChannel(
        name,
        homeserver=wire.matrix.url,
        access_token=token or wire.matrix.bot_token,
        **keys,
    )
