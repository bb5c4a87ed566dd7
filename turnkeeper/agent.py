"""What an agent is given, and what it may give back.

An agent is a callable that takes a :class:`Turn`. It may be an async function that returns a str, a
:class:`Reply` or None, or an async generator of str. None, an empty text and a generator that
yields nothing all mean silence.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Final, TypeAlias, cast

from .actors.core.records import user_record
from .actors.core.window import Message, build_window, text_chars
from .actors.journal import load_records
from .actors.kernel import ActorRef
from .actors.messages import (
    Address,
    AgentReply,
    Attachment,
    Outcome,
    SendMessage,
    SessionId,
    ToolCall,
    TurnId,
)
from .actors.runner import AgentFault, TurnJob
from .context import SessionContext, clear_session_context, set_session_context
from .storage.base import Store
from .views import SessionInfo, session_info

__all__ = ["Agent", "Reply", "Turn", "TurnHost"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A reply with the tool calls that led to it; they are recorded together."""

    text: str | None
    tools: tuple[ToolCall, ...] = ()


_Result: TypeAlias = "str | Reply | None"
Agent: TypeAlias = Callable[["Turn"], "Awaitable[_Result] | AsyncIterator[str]"]


class Turn:
    """One message of a human, with everything an agent needs to answer it."""

    __slots__ = ("_host", "_job", "_messages", "context")

    def __init__(self, job: TurnJob, host: TurnHost, context: SessionContext) -> None:
        self._job = job
        self._host = host
        self._messages: tuple[Message, ...] | None = None
        self.context = context
        """Who is speaking, and where."""

    def __repr__(self) -> str:
        return f"<Turn {self.id} attempt={self.attempt}>"

    @property
    def id(self) -> TurnId:
        """Stable across attempts and restarts: a key for idempotency."""
        return TurnId(self.context.turn_id)

    @property
    def attempt(self) -> int:
        """1 the first time; more after a failure or a crash during an earlier attempt."""
        return self._job.attempt

    @property
    def text(self) -> str:
        """What the human wrote. Untrusted."""
        return self._job.turn.text

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """What came with the text, by reference."""
        return self._job.turn.attachments

    @property
    def reply_to(self) -> str | None:
        """Platform id of the message that the human quotes."""
        return self._job.turn.reply_to

    @property
    def session(self) -> SessionInfo:
        """The session as it is now."""
        info = session_info(self._host.store, self._job.session_id)
        assert info is not None  # it is running this turn
        return info

    @property
    def messages(self) -> tuple[Message, ...]:
        """The context window: what was said so far, oldest first, this turn's message last.

        Bounded by the session's `max_context_tokens`, counting a character as a token: an upper
        bound that never overflows the model. Read once, when first asked for.
        """
        if self._messages is None:
            self._messages = self._host.window(self._job)
        return self._messages

    async def send_message(self, text: str, to: Address | None = None) -> Outcome:
        """Say something before the turn ends, to `to` or to the session's active channel.

        Returns as soon as the outcome is known, or `retrying` after the first failure.
        """
        return await self._host.send(self._job.session_id, text, to)

    async def get_session(self, session_id: str) -> SessionInfo | None:
        """What is known of a session; None if there is none of this id."""
        return session_info(self._host.store, session_id)


_NEWEST: Final = 2_000
"""Most records that a window is built from."""


class TurnHost:
    """Gives turns to agents: the runner's `Invoke`."""

    def __init__(
        self,
        agents: Mapping[str, Agent],
        store: Store,
        registry: ActorRef[Any],
        *,
        max_context_tokens: int,
    ) -> None:
        self.store = store
        self._agents = agents
        self._registry = registry
        self._max_context_chars = max_context_tokens

    async def __call__(self, job: TurnJob) -> AgentReply:
        """Run the agent of `job` and make a reply of what it returns.

        Raises:
            AgentFault: there is no such agent, or it returned something that is no reply.
        """
        agent = self._agents.get(job.agent)
        if agent is None:
            known = ", ".join(sorted(self._agents)) or "none"
            raise AgentFault(f"there is no agent {job.agent!r}; there is: {known}")
        context = _context(job)
        token = set_session_context(context)
        try:
            result = agent(Turn(job, self, context))
            if type(result) is CoroutineType or inspect.isawaitable(result):
                return _reply(job, await result)
            if isinstance(result, AsyncIterator):  # pyright: ignore[reportUnnecessaryIsInstance]
                return _reply(job, await _join(job, result))
        finally:
            clear_session_context(token)
        raise AgentFault(
            f"agent {job.agent!r} returned {_shown(result)} without being async; an agent is an "
            "async function or an async generator"
        )

    async def send(self, session_id: SessionId, text: str, to: Address | None) -> Outcome:
        """Send from a session, and wait for the first outcome."""
        message = SendMessage(session_id=session_id, text=text, to=to)
        return cast("Outcome", await self._registry.ask(message, block=False))

    def window(self, job: TurnJob) -> tuple[Message, ...]:
        """The context window of a turn."""
        newest: list[tuple[int, Any]] = []
        room = self._max_context_chars - len(job.turn.text)
        for seq, record in load_records(self.store, job.stream, reverse=True):
            if seq == job.seq:
                continue
            room -= text_chars(record)
            if room < 0 or len(newest) == _NEWEST:
                break
            newest.append((seq, record))
        newest.reverse()
        newest.append((job.seq, user_record(job.turn, 0)))
        return build_window(newest, job.seq)


def _context(job: TurnJob) -> SessionContext:
    turn = job.turn
    return SessionContext(
        platform=turn.platform,
        instance=turn.address.instance,
        chat_id=turn.address.conversation,
        chat_name=turn.chat_name,
        thread_id=turn.address.thread,
        user_id=turn.user_id,
        user_name=turn.user_name,
        unified_user_id=f"{turn.platform}:{turn.user_id}",
        session_id=job.session_id,
        turn_id=f"{job.session_id}/{job.seq}",
    )


async def _join(job: TurnJob, parts: AsyncIterator[str]) -> str:
    texts: list[str] = []
    async for part in parts:
        if not isinstance(part, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise AgentFault(f"agent {job.agent!r} yielded {_shown(part)}; it must yield str")
        texts.append(part)
    return "".join(texts)


def _reply(job: TurnJob, result: object) -> AgentReply:
    if result is None:
        return AgentReply(text=None)
    if isinstance(result, str):
        return AgentReply(text=result)
    if isinstance(result, Reply):
        return AgentReply(text=result.text, tools=result.tools)
    raise AgentFault(
        f"agent {job.agent!r} returned {_shown(result)}; it must return str, Reply or None"
    )


def _shown(value: object) -> str:
    return f"a {type(value).__name__}"
