"""Discord's gateway, version 10: WebSocket sessions over a world, and the ways in which they break.

A session outlives its connection: what happens meanwhile is numbered and kept, and a client that
resumes with the last number it has seen is told the rest. Runs in the peers' environment only.
"""

# mypy: disable-error-code="import-not-found"
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import copy
import json
import zlib
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Final

import discord
from aiohttp import WSMsgType, web
from simcord import intents as rules
from simcord.backend import serializers

from .discord_world import World

__all__ = ["Gateway"]

DISPATCH: Final = 0
HEARTBEAT: Final = 1
IDENTIFY: Final = 2
RESUME: Final = 6
RECONNECT: Final = 7
REQUEST_MEMBERS: Final = 8
INVALID_SESSION: Final = 9
HELLO: Final = 10
HEARTBEAT_ACK: Final = 11
IGNORED: Final = (3, 4, 31)
"""Presence, voice and soundboard: accepted, without effect here."""

UNKNOWN_OPCODE: Final = 4001
DECODE_ERROR: Final = 4002
NOT_AUTHENTICATED: Final = 4003
AUTHENTICATION_FAILED: Final = 4004
ALREADY_AUTHENTICATED: Final = 4005
INVALID_SEQ: Final = 4007
RATE_LIMITED: Final = 4008
SESSION_TIMED_OUT: Final = 4009
INVALID_INTENTS: Final = 4013
DISALLOWED_INTENTS: Final = 4014

_CLOSES: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)
_FRAME_BYTES: Final = 4096
"""Longest payload that a client may send."""
_FRAMES: Final = 120
_FRAMES_S: Final = 60.0
"""A client may send so many payloads in so many seconds."""


@dataclass
class _Session:
    """What a client has identified as, and what it was told or has yet to be told."""

    intents: discord.Intents
    session_id: str = field(default_factory=lambda: token_hex(16))
    events: list[str] = field(default_factory=list)
    """All dispatches in their final form: the number of one is its place, from 1."""
    connection: _Connection | None = None

    def dispatch(self, event: str, payload: Mapping[str, Any]) -> None:
        """Number an event, and tell it if the client is there."""
        body = {"op": DISPATCH, "t": event, "s": len(self.events) + 1, "d": payload}
        self.events.append(json.dumps(body))
        if self.connection is not None:
            self.connection.send_text(self.events[-1])


class _Connection:
    """One WebSocket; sends in order, compressed as a whole stream if the client asked for it."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        *,
        compressed: bool,
    ) -> None:
        self.socket = socket
        self._transport = transport
        self.session: _Session | None = None
        self.ended = False
        """Whether the client has closed it in the way that ends its session, too."""
        self.beats = 0
        self.asked = False
        """Whether the client was asked for a heartbeat, and none came yet."""
        self.received: deque[float] = deque()
        self._zlib = zlib.compressobj() if compressed else None
        self._outbox: asyncio.Queue[str] = asyncio.Queue()

    def send(self, op: int, data: Any = None) -> None:
        """Send what is not a dispatch."""
        self.send_text(json.dumps({"op": op, "t": None, "s": None, "d": data}))

    def send_text(self, text: str) -> None:
        """Send one payload, after those before it."""
        self._outbox.put_nowait(text)

    async def write(self) -> None:
        """Send what is to be sent, until the socket is closed."""
        while True:
            text = await self._outbox.get()
            with suppress(ConnectionError):
                if self._zlib is None:
                    await self.socket.send_str(text)
                else:
                    data = self._zlib.compress(text.encode())
                    await self.socket.send_bytes(data + self._zlib.flush(zlib.Z_SYNC_FLUSH))
            self._outbox.task_done()

    async def close(self, code: int, reason: str = "") -> None:
        """Close it, after what was to be sent."""
        await self._outbox.join()
        await self.socket.close(code=code, message=reason.encode())

    def cut(self) -> None:
        """Let it break without a word: no close frame."""
        if self._transport is not None:
            self._transport.abort()


class Gateway:
    """All sessions, and what goes wrong with them because a test wants it to."""

    def __init__(self, world: World, url: str) -> None:
        self._world = world
        self._url = url
        self._sessions: dict[str, _Session] = {}
        self._connections: set[_Connection] = set()
        self.heartbeat_interval_s = 41.25
        self.allowed = discord.Intents.all()
        """The privileged intents that the bot's owner has switched on."""
        self.answers_beats = True
        self.refuses = 0
        """How many connections are turned away from now on, with 503."""
        self._greets = asyncio.Event()
        self._greets.set()
        self.log: list[str] = []
        """What clients did: `identify`, `resume` and so on, in order."""
        world.listeners.append(self._emit)

    # What a test makes it do.

    async def control(self, what: str, value: Any = None) -> None:
        """Do one of the things that Discord does to its clients, or set a knob."""
        match what:
            case "answer heartbeats":
                self.answers_beats = bool(value)
            case "heartbeat interval":
                self.heartbeat_interval_s = float(value)
            case "allow intents":
                self.allowed = discord.Intents(**dict.fromkeys(value, True))
            case "refuse":
                self.refuses = int(value)
            case "hold":
                self._hold(bool(value))
            case "forget sessions":
                self._sessions.clear()
            case "tell":
                for session in self._sessions.values():
                    session.dispatch(value["t"], value["d"])
            case _:
                for connection in list(self._connections):
                    await self._treat(connection, what, value)

    async def _treat(self, connection: _Connection, what: str, value: Any) -> None:
        match what:
            case "reconnect":
                connection.send(RECONNECT)
            case "invalidate":
                self._invalidate(connection, resumable=bool(value))
            case "close":
                await connection.close(int(value))
            case "cut":
                connection.cut()
            case "say":
                connection.send_text(str(value))
            case "ask for a heartbeat":
                connection.asked = True
                connection.send(HEARTBEAT)
            case _:
                raise ValueError(f"the gateway cannot {what}")

    def _hold(self, on: bool) -> None:
        """Let new connections wait for their greeting, or go on."""
        if on:
            self._greets.clear()
        else:
            self._greets.set()

    def log_out(self) -> None:
        """The token is worth nothing any more: nor is any session of it."""
        self._sessions.clear()
        for connection in list(self._connections):
            asyncio.get_running_loop().create_task(connection.close(AUTHENTICATION_FAILED))

    # What clients do.

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Speak with one client until it is gone."""
        if self.refuses:
            self.refuses -= 1
            return web.Response(status=503)
        if request.query.get("v") != "10" or request.query.get("encoding", "json") != "json":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.close(code=4012, message=b"Invalid API version.")
            return socket
        socket = web.WebSocketResponse(autoping=True, max_msg_size=0)
        await socket.prepare(request)
        compressed = request.query.get("compress") == "zlib-stream"
        connection = _Connection(socket, request.transport, compressed=compressed)
        self._connections.add(connection)
        writer = asyncio.create_task(connection.write())
        watch = asyncio.create_task(self._watch(connection))
        try:
            await self._greets.wait()
            connection.send(HELLO, {"heartbeat_interval": int(self.heartbeat_interval_s * 1000)})
            await self._hear(connection)
        finally:
            writer.cancel()
            watch.cancel()
            self._connections.discard(connection)
            self._part(connection)
        return socket

    async def _hear(self, connection: _Connection) -> None:
        now = asyncio.get_running_loop().time
        while not connection.socket.closed:
            message = await connection.socket.receive()
            if message.type is WSMsgType.CLOSE:
                connection.ended = message.data in (1000, 1001)
            if message.type in _CLOSES:
                return
            connection.received.append(now())
            while connection.received[0] < now() - _FRAMES_S:
                connection.received.popleft()
            if len(connection.received) > _FRAMES:
                await connection.close(RATE_LIMITED, "Rate limited.")
                return
            payload = _decode(message)
            if payload is None:
                await connection.close(DECODE_ERROR, "Error while decoding payload.")
                return
            code = self._hear_one(connection, payload)
            if code is not None:
                await connection.close(code)
                return

    def _hear_one(self, connection: _Connection, payload: dict[str, Any]) -> int | None:
        """Act on one payload; the code to close with if it was wrong."""
        op, data = payload.get("op"), payload.get("d")
        code = None
        if op == HEARTBEAT:
            connection.beats += 1
            if connection.asked:
                connection.asked = False
                self.log.append("beat")
            if self.answers_beats:
                connection.send(HEARTBEAT_ACK)
        elif op in (IDENTIFY, RESUME):
            if connection.session is not None:
                code = ALREADY_AUTHENTICATED
            elif not isinstance(data, dict) or data.get("token") not in (
                self._world.token,
                f"Bot {self._world.token}",
            ):
                self.log.append("refused")
                code = AUTHENTICATION_FAILED
            else:
                begin = self._identify if op == IDENTIFY else self._resume
                code = begin(connection, data)
        elif connection.session is None:
            code = NOT_AUTHENTICATED
        elif op == REQUEST_MEMBERS and isinstance(data, dict):
            self._tell_members(connection.session, data)
        elif op not in IGNORED:
            code = UNKNOWN_OPCODE
        self._world.touch()
        return code

    def _identify(self, connection: _Connection, data: dict[str, Any]) -> int | None:
        value = data.get("intents")
        if not isinstance(value, int) or isinstance(value, bool) or value < 0 or value >> 26:
            return INVALID_INTENTS
        if not isinstance(data.get("properties"), dict):
            return DECODE_ERROR
        intents = discord.Intents._from_value(value)
        if rules.missing_privileged_intents(intents, self.allowed):
            self.log.append("disallowed")
            return DISALLOWED_INTENTS
        self.log.append("identify")
        session = _Session(intents)
        self._sessions[session.session_id] = session
        self._join(connection, session)
        backend = self._world.backend
        guilds = self._world.guilds()
        ready = {
            "v": 10,
            "user": dict(serializers.user_payload(backend.bot_user)),
            "guilds": [{"id": guild["id"], "unavailable": True} for guild in guilds],
            "session_id": session.session_id,
            "resume_gateway_url": self._url,
            "application": {"id": str(backend.application_id), "flags": 0},
        }
        session.dispatch("READY", ready)
        for guild in guilds:
            self._tell(session, "GUILD_CREATE", guild)
        return None

    def _resume(self, connection: _Connection, data: dict[str, Any]) -> int | None:
        session = self._sessions.get(str(data.get("session_id")))
        if session is None:
            self.log.append("resume refused")
            connection.send(INVALID_SESSION, False)
            return None
        seq = data.get("seq")
        if not isinstance(seq, int) or not 0 <= seq <= len(session.events):
            return INVALID_SEQ
        self.log.append("resume")
        if session.connection is not None:
            session.connection.cut()  # the one before it is dead, whether it knows or not
        for event in session.events[seq:]:
            connection.send_text(event)
        self._join(connection, session)
        session.dispatch("RESUMED", {})
        return None

    def _join(self, connection: _Connection, session: _Session) -> None:
        connection.session = session
        session.connection = connection

    def _part(self, connection: _Connection) -> None:
        """A connection is gone; a session that the client itself has closed goes with it."""
        session = connection.session
        if session is not None and session.connection is connection:
            session.connection = None
            if connection.ended:
                self._sessions.pop(session.session_id, None)
        self.log.append("gone")
        self._world.touch()

    def _invalidate(self, connection: _Connection, *, resumable: bool) -> None:
        session = connection.session
        if session is not None:
            session.connection = None
            if not resumable:
                self._sessions.pop(session.session_id, None)
        connection.session = None
        connection.send(INVALID_SESSION, resumable)

    async def _watch(self, connection: _Connection) -> None:
        """Close a connection that is silent: Discord waits for two heartbeats."""
        beats = -1
        while beats != connection.beats:
            beats = connection.beats
            await asyncio.sleep(2 * self.heartbeat_interval_s)
        await connection.close(SESSION_TIMED_OUT, "Session timed out.")

    # What the world does.

    def _emit(self, event: str, payload: Mapping[str, Any]) -> None:
        for session in self._sessions.values():
            self._tell(session, event, payload)

    def _tell(self, session: _Session, event: str, payload: Mapping[str, Any]) -> None:
        """Tell a session of an event, as far as its intents reach."""
        gate = rules.required_intent(event, payload)
        if gate is not None and not getattr(session.intents, gate):
            return
        own = copy.deepcopy(dict(payload))
        bot = self._world.backend.bot_user.id
        if not session.intents.message_content and event in ("MESSAGE_CREATE", "MESSAGE_UPDATE"):
            rules.censor_message(own, bot, backend=self._world.backend)
        if event == "GUILD_CREATE":
            rules.prune_guild_create(own, session.intents, bot)
        session.dispatch(event, own)

    def _tell_members(self, session: _Session, data: dict[str, Any]) -> None:
        """Answer a request for the members of a guild, all at once."""
        backend = self._world.backend
        guild = backend.guilds.get(int(data.get("guild_id", 0)))
        if guild is None:
            return
        wanted = {int(user) for user in data.get("user_ids") or ()}
        prefix = str(data.get("query") or "").lower()
        members = [
            serializers.member_payload(backend, guild, member)
            for member in guild.members.values()
            if (member.user_id in wanted if wanted else True)
            and backend.users[member.user_id].name.lower().startswith(prefix)
        ]
        chunk = {
            "guild_id": str(guild.id),
            "members": members,
            "chunk_index": 0,
            "chunk_count": 1,
            "nonce": data.get("nonce"),
        }
        session.dispatch("GUILD_MEMBERS_CHUNK", chunk)


def _decode(message: Any) -> dict[str, Any] | None:
    """A payload of a client, or None if it is none."""
    if message.type is not WSMsgType.TEXT or len(message.data.encode()) > _FRAME_BYTES:
        return None
    try:
        payload = json.loads(message.data)
    except ValueError:
        return None
    return payload if isinstance(payload, dict) else None
