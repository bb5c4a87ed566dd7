"""A Discord to test against: starts the bridge, and acts for the humans in it.

    async with open_discord(tmp_path) as discord:
        message = await discord.user_says(discord.general, await discord.add_user("Ada"), "hello")

Everything is a call to the bridge's process, which may be killed and started again: the world is
kept in a file, the address stays, gateway sessions are lost.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from .clients import open_client
from .places import peers_python
from .ports import kept_port
from .programs import Program, start_program
from .seen import Seen, SeenFile

__all__ = ["DiscordPeer", "open_discord"]

_PATIENCE_S: Final = 30.0


class DiscordPeer:
    """One Discord with a guild, a channel `general` and a bot. Ids are snowflakes as text."""

    def __init__(self, nursery: trio.Nursery, state: Path, port: int) -> None:
        self._nursery = nursery
        self._state = state
        self._client = open_client(timeout=_PATIENCE_S)
        self.program: Program
        self.port = port
        self.token = ""
        """What the bot logs in with."""
        self.bot = ""
        """The bot's user id."""
        self.guild = ""
        self.general = ""
        """The id of the guild's first channel."""

    @property
    def url(self) -> str:
        """Where the REST interface is, with its version."""
        return f"http://127.0.0.1:{self.port}/api/v10"

    @property
    def gateway_url(self) -> str:
        """Where the gateway is."""
        return f"ws://127.0.0.1:{self.port}"

    async def up(self) -> None:
        """Start the bridge, with the world and the address it had."""
        bridge = (peers_python(), "-m", "tests.peers.discord_bridge")
        options = ("--port", str(self.port), "--state", self._state)
        self.program = await start_program(self._nursery, (*bridge, *options))
        await self.program.until_line(lambda line: line.startswith("up "))
        found = await self._do("describe")
        self.token, self.bot = found["token"], found["bot"]
        self.guild, self.general = found["guild"], found["general"]

    async def down(self, *, kill: bool = True) -> None:
        """End the bridge, as a crash does or in order; its address refuses connections then."""
        await (self.program.kill() if kill else self.program.end())

    async def aclose(self) -> None:
        """End it for good."""
        await self.down(kill=False)
        await self._client.aclose()

    # What humans do.

    async def add_user(self, name: str, *, bot: bool = False, member: bool = True) -> str:
        """A new account, in the guild if it is a `member`; its id."""
        user: str = await self._do("add_user", name=name, bot=bot, member=member)
        return user

    async def add_channel(self, name: str) -> str:
        """A new text channel of the guild; its id."""
        channel: str = await self._do("add_channel", name=name)
        return channel

    async def dm(self, user: str) -> str:
        """The channel between a user and the bot."""
        channel: str = await self._do("dm", user=user)
        return channel

    async def add_thread(
        self, channel: str, user: str, name: str, message: str | None = None
    ) -> str:
        """A thread that a user opens, on a message or by itself; it is a channel, too."""
        wish = {"channel": channel, "user": user, "name": name, "message": message}
        thread: str = await self._do("add_thread", **wish)
        return thread

    async def user_says(
        self,
        channel: str,
        user: str,
        text: str,
        *,
        reply_to: str | None = None,
        files: Sequence[tuple[str, bytes]] = (),
    ) -> str:
        """A user (or another bot) writes a message; `files` are names and contents. Its id."""
        uploads = [(name, b64encode(content).decode()) for name, content in files]
        wish = {"channel": channel, "user": user, "text": text, "reply_to": reply_to}
        message: str = await self._do("user_says", **wish, files=uploads)
        return message

    async def edits(self, channel: str, message: str, text: str) -> None:
        """The author of a message changes it."""
        await self._do("edits", channel=channel, message=message, text=text)

    async def deletes(self, channel: str, message: str) -> None:
        """Somebody deletes a message."""
        await self._do("deletes", channel=channel, message=message)

    async def types(self, channel: str, user: str) -> None:
        """A user begins to type."""
        await self._do("types", channel=channel, user=user)

    async def removes_channel(self, channel: str) -> None:
        """An administrator deletes a channel."""
        await self._do("removes_channel", channel=channel)

    async def forbids(self, channel: str) -> None:
        """An administrator takes the right to write in a channel away from the bot."""
        await self._do("forbids", channel=channel)

    async def removes_bot(self) -> None:
        """An administrator removes the bot from the guild."""
        await self._do("leaves")

    async def replace_token(self, token: str) -> None:
        """The bot's owner makes a new token: the old one is refused, its sessions end with 4004."""
        await self._do("replace token", token=token)
        self.token = token

    # What humans see.

    async def seen(self, channel: str) -> list[Seen]:
        """The messages of a channel or a thread, oldest first."""
        return [_seen(message) for message in await self._do("seen", channel=channel)]

    async def message(self, channel: str, message: str) -> dict[str, Any]:
        """A message as Discord tells it."""
        told: list[dict[str, Any]] = await self._do("seen", channel=channel)
        return next(one for one in told if one["id"] == message)

    async def typing(self, channel: str) -> int:
        """How often the bot was seen to begin typing."""
        count: int = await self._do("typing", channel=channel)
        return count

    async def until_typing(self, channel: str, *, within_s: float = _PATIENCE_S) -> None:
        """Return when the bot was seen to begin typing; raises TooSlowError."""
        version = -1
        with trio.fail_after(within_s):
            while not await self.typing(channel):
                version = await self._do("change", since=version)

    async def until_seen(
        self, channel: str, holds: Callable[[list[Seen]], bool], *, within_s: float = _PATIENCE_S
    ) -> list[Seen]:
        """What is seen in a channel, once it is as wanted; raises TooSlowError."""
        version = -1
        with trio.fail_after(within_s):
            while True:
                messages = await self.seen(channel)
                if holds(messages):
                    return messages
                version = await self._do("change", since=version)

    async def download(self, file: SeenFile) -> bytes:
        """The content of a file that is seen."""
        answer = await self._client.get(file.url)
        return answer.raise_for_status().content

    # What goes wrong.

    async def fail(
        self,
        kind: str = "status",
        *,
        method: str = "*",
        path: str = "*",
        times: int = 1,
        acts: bool = False,
        status: int = 500,
        retry_after_s: float = 0.1,
        scope: str = "user",
    ) -> None:
        """Let the next requests that fit fail: see `Fault` in `discord_rest`."""
        place = {"method": method, "path": path, "times": times, "acts": acts}
        how = {"status": status, "retry_after_s": retry_after_s, "scope": scope}
        await self._do("fault", kind=kind, **place, **how)

    async def mend(self) -> None:
        """No request fails any more; those that hang go on."""
        await self._do("mend")

    async def limit(self, on: bool) -> None:
        """Enforce the rate limits: 5 requests in 5 seconds of each kind and channel."""
        await self._do("limit", on=on)

    async def forget_nonces(self) -> None:
        """Let the minutes pass in which Discord recognises a nonce."""
        await self._do("forgets_nonces")

    async def gateway(self, what: str, value: Any = None) -> None:
        """Let the gateway do something to its clients.

        `reconnect` (op 7), `invalidate` (op 9; value: resumable), `close` (value: code), `cut`,
        `ask for a heartbeat`, `forget sessions`, `answer heartbeats` (value: whether),
        `heartbeat interval` (value: seconds, from the next connection on), `allow intents` (value:
        the privileged ones), `refuse` (value: how many connections), `hold` (value: whether new
        connections wait for their greeting), `tell` (value: an event as `{"t": name, "d": data}`,
        to every session), `say` (value: a text, which need be no payload, to every connection).
        """
        await self._do("gateway", what=what, value=value)

    async def gateway_log(self) -> list[str]:
        """What clients have done, oldest first.

        `identify`, `resume`, `resume refused`, `refused` (a wrong token), `disallowed` (intents),
        `beat` (because it was asked for), `gone`.
        """
        log: list[str] = await self._do("gateway log")
        return log

    async def until_gateway(
        self, holds: Callable[[list[str]], bool], *, within_s: float = _PATIENCE_S
    ) -> list[str]:
        """What clients have done, once it is as wanted; raises TooSlowError."""
        version = -1
        with trio.fail_after(within_s):
            while True:
                log = await self.gateway_log()
                if holds(log):
                    return log
                version = await self._do("change", since=version)

    async def calls(self) -> list[dict[str, Any]]:
        """The REST requests so far: `method`, `path`, `status` (0 without an answer)."""
        calls: list[dict[str, Any]] = await self._do("calls")
        return calls

    async def _do(self, name: str, /, **wish: Any) -> Any:
        url = f"http://127.0.0.1:{self.port}/_control"
        answer = await self._client.post(url, json={"do": name, **wish})
        body: dict[str, Any] = answer.json()
        if "error" in body:
            raise ValueError(f"{name}: {body['error']}")
        return body["result"]


def _seen(message: dict[str, Any]) -> Seen:
    reference: dict[str, str] = message.get("message_reference") or {}
    return Seen(
        message_id=message["id"],
        user=message["author"]["id"],
        text=message["content"],
        reply_to=reference.get("message_id"),
        edited=message["edited_timestamp"] is not None,
        files=tuple(
            SeenFile(file["filename"], file["content_type"], file["size"], file["url"])
            for file in message["attachments"]
        ),
    )


@asynccontextmanager
async def open_discord(folder: Path) -> AsyncGenerator[DiscordPeer]:
    """A new Discord, which keeps its world in `folder`; it ends with the block."""
    with kept_port() as port:
        async with trio.open_nursery() as nursery:
            peer = DiscordPeer(nursery, folder / "discord.world", port)
            await peer.up()
            try:
                yield peer
            finally:
                with trio.CancelScope(shield=True):
                    await peer.aclose()
                nursery.cancel_scope.cancel()
