"""Starter: a channel to begin with.

Its platform is a server that speaks JSON, a line for each message, over TCP. It keeps what humans
say until it is acknowledged, and drops what it is sent twice under one key. Change `_Connection`
and `_heard` to speak with yours; what they have to keep to stands in their docstrings.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any, Final, cast

import trio

import turnkeeper as tk

__all__ = ["StarterChannel"]

logger = logging.getLogger(__name__)

_ANSWER_S: Final = 20.0
"""Seconds to wait for an answer of the platform."""
_MAX_LINE_BYTES: Final = 1_000_000


class StarterChannel(tk.Channel):
    """One connection to the platform.

    Args:
        name: the instance.
        port: of the platform.
        token: lets the agent in; never shown.
        host: of the platform.
    """

    platform = "starter"
    powers = tk.ChannelPowers(text_limit=2_000, after_unknown="same_id")

    def __init__(self, name: str, *, port: int, token: str, host: str = "127.0.0.1") -> None:
        super().__init__(name)
        if not token:
            raise ValueError("token is empty")
        self._host = host
        self._port = port
        self._token = token
        self._connection: _Connection | None = None

    def __repr__(self) -> str:
        return f"<StarterChannel {self.name} at {self._host}:{self._port}>"

    @property
    def account(self) -> str | None:
        """Two instances must not share a token: each would hear only some of the messages."""
        return hashlib.sha256(self._token.encode()).hexdigest()

    @property
    def exposed(self) -> bool:
        """Anybody may write to the agent on this platform."""
        return True

    async def run(self, deliver: tk.Deliver) -> None:
        """Connect, hear until the connection ends, and say why it did."""
        async with await self._connect() as connection:
            await connection.tell({"type": "listen"})
            self._connection = connection
            self.line.up()
            try:
                while True:
                    await self._heard(await connection.next(), deliver, connection)
            finally:
                self._connection = None
                connection.give_up()

    async def _connect(self) -> _Connection:
        """A connection that the platform has let in.

        Raises:
            Unreachable: there is none now.
            Rejected: the token is wrong.
        """
        try:
            stream = await trio.open_tcp_stream(self._host, self._port)
        except OSError as error:
            raise tk.Unreachable(f"cannot connect to {self._host}:{self._port}: {error}") from error
        connection = _Connection(stream)
        welcome: dict[str, Any] = {}
        try:
            with trio.move_on_after(_ANSWER_S):
                await connection.tell({"type": "hello", "token": self._token})
                welcome = await connection.next()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if welcome.get("type") == "welcome":
            return connection
        await trio.aclose_forcefully(stream)
        if welcome.get("type") == "refused":
            raise tk.Rejected("the platform refuses the token", reason="unauthorized")
        raise tk.Unreachable("the platform did not answer the greeting")

    async def _heard(
        self, line: dict[str, Any], deliver: tk.Deliver, connection: _Connection
    ) -> None:
        """Handle one line: acknowledge a message once its turn is durable, never earlier.

        The answers to sends wait while `deliver` does, which waits for no send.
        """
        match line:
            case {"type": "message", "id": str(message_id), "room": str(room)} if message_id:
                turn = tk.InboundTurn(
                    address=tk.Address(instance=self.name, conversation=room),
                    platform=self.platform,
                    message_id=message_id,
                    user_id=str(line.get("user")),
                    text=str(line.get("text", "")),
                    reply_to=line.get("quotes"),
                )
                try:
                    await deliver(turn)
                except tk.TurnRefused as error:
                    if error.retryable:  # the platform tells it again to the next connection
                        raise tk.Unreachable(f"not accepted now: {error}") from error
                await connection.tell({"type": "ack", "id": message_id})
            case {"type": "sent" | "failed", "key": str(key)}:
                connection.answered(key, line)
            case _:
                logger.debug("%s: skipped a line of type %r", self.name, line.get("type"))

    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        """Send one message, and wait for the platform's word on it."""
        connection = self._connection
        if connection is None:
            raise tk.Unreachable("not connected")
        answer = await connection.ask(
            outbound.part_id,  # the platform drops what has come under this key before
            {
                "type": "send",
                "key": outbound.part_id,
                "room": outbound.address.conversation,
                "text": outbound.text,
                "quotes": outbound.reply_to,
            },
        )
        match answer:
            case {"type": "sent", "id": str(message_id)}:
                return tk.Receipt(platform_message_id=message_id)
            case {"error": "rate_limited"}:
                raise tk.Unreachable(
                    "the platform asks for a pause",
                    reason="rate_limited",
                    retry_after_s=answer.get("retry_after"),
                )
            case {"error": "unavailable" | "broken" as error}:
                raise tk.Unreachable(f"the platform is {error}", reason=error)
            case {"error": str(error)}:
                raise tk.Rejected(f"the platform refuses: {error}", reason=error)
            case _:
                raise tk.LostAnswer("the platform's answer makes no sense")

    async def probe(self) -> tuple[tk.Check, ...]:
        """Look whether the token is right."""
        try:
            connection = await self._connect()
        except tk.Rejected as error:
            detail = f"{error}; put the right one into the configuration"
            return (tk.Check(what="token", ok=False, detail=detail),)
        async with connection:
            return (tk.Check(what="token", ok=True),)


class _Connection:
    """Lines of JSON, in both directions."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._writing = trio.Lock()
        self._buffer = bytearray()
        self._asked: dict[str, trio.Event] = {}
        self._answers: dict[str, dict[str, Any]] = {}

    async def __aenter__(self) -> _Connection:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await trio.aclose_forcefully(self._stream)

    async def next(self) -> dict[str, Any]:
        """The next line that is a JSON object; others are skipped.

        Raises:
            Unreachable: the connection has ended.
        """
        while True:
            line = await self._next_line()
            try:
                found: object = json.loads(line)
            except (ValueError, RecursionError):
                logger.warning("a line of %d bytes is no JSON; it is skipped", len(line))
                continue
            if isinstance(found, dict):
                return cast("dict[str, Any]", found)

    async def _next_line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            try:
                data = await self._stream.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise tk.Unreachable("the connection broke") from error
            if not data or len(self._buffer) > _MAX_LINE_BYTES:
                raise tk.Unreachable("the platform has ended the connection")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    async def tell(self, line: dict[str, Any]) -> None:
        """Write a line.

        Raises:
            Unreachable: the connection has ended; some of it may have left.
        """
        async with self._writing:
            try:
                await self._stream.send_all(json.dumps(line).encode() + b"\n")
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise tk.Unreachable("the connection broke") from error

    async def ask(self, key: str, line: dict[str, Any]) -> dict[str, Any]:
        """Write a line, and wait for the answer to `key`.

        Raises:
            LostAnswer: the line may have left, and no answer came.
        """
        self._asked[key] = trio.Event()
        try:
            await self.tell(line)
            with trio.move_on_after(_ANSWER_S):
                await self._asked[key].wait()
        except tk.Unreachable as error:
            raise tk.LostAnswer("the connection broke while writing") from error
        finally:
            del self._asked[key]
        if key not in self._answers:
            raise tk.LostAnswer("no answer came")
        return self._answers.pop(key)

    def answered(self, key: str, answer: dict[str, Any]) -> None:
        """The platform has answered `key`; perhaps too late."""
        if key in self._asked:
            self._answers[key] = answer
            self._asked[key].set()

    def give_up(self) -> None:
        """Nothing more will be answered."""
        for asked in self._asked.values():
            asked.set()
