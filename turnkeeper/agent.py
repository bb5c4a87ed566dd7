"""What an agent is given, and what it may give back.

An agent is a callable that takes a :class:`Turn`. It may be an async function that returns a str, a
:class:`Reply` or None, or an async generator of str. None, an empty text and a generator that
yields nothing all mean silence.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import CoroutineType
from typing import Any, TypeAlias, cast

from .actors.core.names import clean_name
from .actors.core.records import UserRecord
from .actors.core.window import Message
from .actors.journal import load_record
from .actors.kernel import ActorRef
from .actors.messages import (
    Address,
    AgentReply,
    Attachment,
    InboundTurn,
    Outcome,
    SendMessage,
    SessionId,
    TurnId,
)
from .actors.runner import AgentFault, TurnJob
from .context import SessionContext, clear_session_context, set_session_context
from .replies import Reply, join_parts, make_reply
from .storage.base import Store
from .views import SessionInfo, session_info
from .windows import read_window

__all__ = ["Agent", "Reply", "Turn", "TurnHost"]


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


class TurnHost:
    """Gives turns to agents: the runner's `Invoke`."""

    def __init__(
        self,
        agents: Mapping[str, Agent],
        store: Store,
        registry: ActorRef[Any],
        identify: Callable[[InboundTurn], Awaitable[str]],
        *,
        max_context_tokens: int,
    ) -> None:
        self.store = store
        self._agents = agents
        self._registry = registry
        self._identify = identify
        self._max_context_chars = max_context_tokens

    async def __call__(self, job: TurnJob) -> AgentReply:
        """Run the agent of `job` and make a reply of what it returns.

        Raises:
            AgentFault: there is no such agent, or it returned something that is no reply.
            Unidentified: the identity resolver does not say whose turn it is.
        """
        agent = self._agents.get(job.agent)
        if agent is None:
            known = ", ".join(sorted(self._agents)) or "none"
            raise AgentFault(f"there is no agent {job.agent!r}; there is: {known}")
        context = _context(job, await self._identify(job.turn))
        token = set_session_context(context)
        try:
            result = agent(Turn(job, self, context))
            if type(result) is CoroutineType or inspect.isawaitable(result):
                return make_reply(job.agent, cast("object", await result))
            if isinstance(result, AsyncIterator):  # pyright: ignore[reportUnnecessaryIsInstance]
                return await join_parts(job.agent, result)
        finally:
            clear_session_context(token)
        raise AgentFault(
            f"agent {job.agent!r} returned a {type(result).__name__} without being async; "
            "an agent is an async function or an async generator"
        )

    async def send(self, session_id: SessionId, text: str, to: Address | None) -> Outcome:
        """Send from a session, and wait for the first outcome."""
        message = SendMessage(session_id=session_id, text=text, to=to)
        return cast("Outcome", await self._registry.ask(message, block=False))

    def window(self, job: TurnJob) -> tuple[Message, ...]:
        """The context window of a turn."""
        current = load_record(self.store, job.stream, job.seq)
        assert isinstance(current, UserRecord)  # no turn starts before it is durable
        return read_window(self.store, job.stream, self._max_context_chars, (job.seq, current))


def _context(job: TurnJob, user: str) -> SessionContext:
    turn = job.turn
    return SessionContext(
        platform=turn.platform,
        instance=turn.address.instance,
        chat_id=turn.address.conversation,
        chat_name=clean_name(turn.chat_name),
        thread_id=turn.address.thread,
        user_id=turn.user_id,
        user_name=clean_name(turn.user_name),
        unified_user_id=user,
        session_id=job.session_id,
        turn_id=f"{job.session_id}/{job.seq}",
    )
