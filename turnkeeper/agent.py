"""What an agent is given, and what it may give back.

An agent is a callable that takes a :class:`Turn`. It may be an async function that returns a str, a
:class:`Reply` or None, or an async generator of str. None, an empty text and a generator that
yields nothing all mean silence.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import CoroutineType
from typing import Any, TypeAlias, cast

from .actors.core.attached import told_of
from .actors.core.names import clean_name
from .actors.core.turn_records import AssistantRecord, MissionRecord, UserRecord
from .actors.core.window import Message
from .actors.deliveries import Outcome, SendMessage
from .actors.frozen import message
from .actors.journal import load_head, load_record, load_sent, mission_behind
from .actors.kernel import ActorRef
from .actors.messages import (
    Address,
    AgentReply,
    AnyTurn,
    Attachment,
    InboundTurn,
    MissionTurn,
    TurnId,
)
from .actors.runner import AgentFault, TurnJob
from .actors.services import Services
from .actors.unknown import UnknownAttachment
from .actors.windows import Seen, WindowRules, read_seen
from .context import SessionContext, clear_session_context, set_session_context
from .keeping import Keeping
from .memory import SessionMemory
from .outlook import Outlook
from .replies import Reply, join_parts, make_reply
from .showing import Showing, showing
from .sight import SessionDetails, session_details
from .storage.base import Store
from .views import SessionInfo, session_info

__all__ = ["Agent", "Quoted", "Reply", "Turn", "TurnHost"]


_Result: TypeAlias = "str | Reply | None"
Agent: TypeAlias = Callable[["Turn"], "Awaitable[_Result] | AsyncIterator[str]"]


@message
class Quoted:
    """A message of the agent's that a human answers, where another session said it."""

    delivery_id: str
    session_id: str
    """The session that said it; `Turn.get_session` tells more of it."""
    mission: str | None
    """The mission on whose behalf it was said, if it was one."""
    text: str


class Turn:
    """One message of a human, or one run of a mission, with everything an agent needs for it."""

    __slots__ = ("_host", "_job", "_messages", "_saw", "context")

    def __init__(self, job: TurnJob, host: TurnHost, context: SessionContext) -> None:
        self._job = job
        self._host = host
        self._messages: tuple[Message, ...] | None = None
        self._saw: Seen | None = None
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
        """What the human wrote: untrusted. In a mission's run, its prompt."""
        return self._job.turn.text

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """What came with the text, by reference; `read_attachment` reads what was kept of it."""
        turn = self._job.turn
        return turn.attachments if isinstance(turn, InboundTurn) else ()

    @property
    def mission(self) -> str | None:
        """Name of the mission whose run this is; None if a human wrote."""
        return self.context.mission

    @property
    def reply_to(self) -> str | None:
        """Platform id of the message that the human quotes."""
        turn = self._job.turn
        return turn.reply_to if isinstance(turn, InboundTurn) else None

    @property
    def quoted(self) -> Quoted | None:
        """What the human quotes, if a mission or another session said it in this conversation."""
        return self._host.quoted(self._job.turn)

    @property
    def session(self) -> SessionInfo:
        """The session as it is now."""
        host = self._host
        info = session_info(host.store, self._job.session_id, host.outlook())
        assert info is not None  # it is running this turn
        return info

    @property
    def messages(self) -> tuple[Message, ...]:
        """The context window: what was said so far, oldest first, this turn's message last.

        It never holds more than `max_context_tokens`: older messages are summarised in time, and
        where that was not possible, the newest ones that fit are here. A message that is too large
        has its middle left out (`Message.cut`); `Turn.text` has all of it. Read once, when first
        asked for, and made of what was stored before this attempt at the turn began.
        """
        if self._messages is None:
            self._messages, self._saw = self._host.window(self._job)
        return self._messages

    @property
    def saw(self) -> Seen | None:
        """What of the context its window held; None for all of it, or if nobody has looked."""
        return self._saw

    @property
    def memory(self) -> SessionMemory:
        """What the agent keeps of this session, beside the context: `await turn.memory.set(…)`."""
        return self._host.memory(self._job)

    async def send_message(
        self,
        text: str,
        to: Address | None = None,
        *,
        user: str | None = None,
        attachments: tuple[Attachment, ...] = (),
    ) -> Outcome:
        """Say something before the turn ends.

        It goes to a conversation, to a user in the direct conversation where they last wrote, or to
        where the turn came from; in a mission's run, to the session's active channel. Returns as
        soon as the outcome is known, or `retrying` after the first failure.

        At most ten files may go with it, as with a :class:`Reply`; then the text may be empty.

        Raises:
            TypeError, ValueError: the text or a file cannot be sent, or both `to` and `user` are
                given.
        """
        return await self._host.send(self._job, text, to, user, attachments)

    async def keep_file(
        self,
        content: bytes | AsyncIterable[bytes] | Path,
        *,
        kind: str = "file",
        mime: str | None = None,
        name: str | None = None,
    ) -> Attachment:
        """Keep a file, durably, so that a reply or a message of this session can go with it.

        A record must name it within twelve hours; if none does it is removed.

        Args:
            content: the file, its pieces in their order, or the path of one to be copied.
            kind: `image`, `audio`, `video` or `file`.
            mime: its media type.
            name: what humans see it called; by default the last part of the path.

        Raises:
            FileTooLarge: it is longer than the configured `attachment_max_bytes`.
            FileNotKept: there is no room, or no state directory to keep it in.
            ValueError: there is no such kind, or the name or the media type is too long.
            OSError: the file at the path cannot be read.
        """
        keeping = self._host.keeping
        return await keeping.keep_for(self._job.stream, content, kind, mime, name)

    async def read_attachment(self, attachment: Attachment) -> bytes:
        """All of a file that goes with a message of this session, of now or long ago.

        It is what was kept of it, at most `attachment_max_bytes` long, and exactly that.

        Raises:
            UnknownAttachment: no such file was kept, or it is another session's.
            StorageError: the file cannot be read, or is damaged; the text says which file.
        """
        return await self._host.keeping.read(self._host.store, self._job.stream, attachment)

    def attachment_path(self, attachment: Attachment) -> Path:
        """Where such a file is, to be opened for reading. It is named by its SHA-256.

        Never change it. Whether it is damaged is for the reader to find out.

        Raises:
            UnknownAttachment: as for :meth:`read_attachment`.
            StorageError: the file is missing.
        """
        return self._host.keeping.path(self._host.store, self._job.stream, attachment)

    async def get_session(self, session_id: str) -> SessionDetails | None:
        """A session, and what was said in it; None if there is none that this agent may see here.

        These are this session and those that have joined it, and sessions of the same agent without
        a human of their own, as those of missions, that have spoken in a conversation of this one.
        """
        host = self._host
        return session_details(host.store, self._job.session_id, session_id, host.outlook())


class TurnHost:
    """Gives turns to agents: the runner's `Invoke`."""

    def __init__(
        self,
        agents: Mapping[str, Agent],
        store: Store,
        registry: ActorRef[Any],
        identify: Callable[[InboundTurn], Awaitable[str]],
        keeping: Keeping,
        *,
        services: Services,
        outlook: Callable[[], Outlook],
    ) -> None:
        self.store = store
        self.keeping = keeping
        self.outlook = outlook
        self._agents = agents
        self._registry = registry
        self._identify = identify
        self._services = services

    @property
    def rules(self) -> WindowRules:
        """How windows are to be filled now."""
        return self._services.compactor.rules

    async def __call__(self, job: TurnJob) -> AgentReply:
        """Run the agent of `job` and make a reply of what it returns.

        Where the window cannot hold the context any more, and its older part is being summarised,
        that is waited for, but only for so long.

        Raises:
            AgentFault: there is no such agent, or it returned something that is no reply.
            Unidentified: the identity resolver does not say whose turn it is.
        """
        agent = self._agents.get(job.agent)
        if agent is None:
            known = ", ".join(sorted(self._agents)) or "none"
            raise AgentFault(f"there is no agent {job.agent!r}; there is: {known}")
        turn, compactor = job.turn, self._services.compactor
        if compactor.should_wait(job.session_id):
            await compactor.room(job.session_id, job.seq)
        compactor.begin(job.session_id)
        if isinstance(turn, InboundTurn):
            context = _context(job, turn, await self._identify(turn))
        else:
            context = self._run_context(job, turn)
        given = Turn(job, self, context)
        token = set_session_context(context)
        try:
            with showing(self._services.post, job) as shown:
                reply = await _answer(job.agent, agent(given), shown)
                if reply.attachments:
                    reply = await self._with_files(job, reply)
        finally:
            clear_session_context(token)
        return reply if given.saw is None else replace(reply, saw=given.saw)

    async def _with_files(self, job: TurnJob, reply: AgentReply) -> AgentReply:
        """The reply of a turn, if its session may send all that goes with it."""
        try:
            files = await self.keeping.ready(self.store, job.stream, reply.attachments)
        except UnknownAttachment as error:
            raise AgentFault(f"agent {job.agent!r} replied with a strange file: {error}") from error
        return replace(reply, attachments=files)

    async def send(
        self,
        job: TurnJob,
        text: str,
        to: Address | None,
        user: str | None,
        attachments: tuple[Attachment, ...],
    ) -> Outcome:
        """Send from the session of a turn, and wait for the first outcome."""
        try:
            files = await self.keeping.ready(self.store, job.stream, attachments)
        except UnknownAttachment as error:
            raise ValueError(f"a file cannot be sent: {error}") from error
        route: str | None = None
        if to is None and user is None and isinstance(job.turn, InboundTurn):
            to, route = job.turn.address, "turn"
        message = SendMessage(
            session_id=job.session_id,
            text=text,
            to=to,
            user=user,
            by="turn",
            during=job.seq,
            route=route,
            attachments=files,
        )
        return cast("Outcome", await self._registry.ask(message, block=False))

    def memory(self, job: TurnJob) -> SessionMemory:
        """What the agent keeps of the session of a turn."""
        return SessionMemory(job, self.store, self._registry)

    def quoted(self, turn: AnyTurn) -> Quoted | None:
        """The message that a turn quotes, if it is one to which the platform's id leads back."""
        if not isinstance(turn, InboundTurn) or turn.reply_to is None:
            return None
        sent = load_sent(self.store, turn.address, turn.reply_to)
        if sent is None:
            return None
        said = load_record(self.store, sent.stream, sent.seq)
        assert isinstance(said, AssistantRecord)  # only deliveries are indexed
        return Quoted(
            delivery_id=f"{sent.session_id}/{sent.seq}",
            session_id=sent.session_id,
            mission=mission_behind(self.store, sent.stream, said),
            text=told_of(said),
        )

    def _run_context(self, job: TurnJob, turn: MissionTurn) -> SessionContext:
        head = load_head(self.store, job.stream)
        place = head.active_channel if head is not None else None
        return SessionContext(
            platform="mission",
            instance=place.instance if place is not None else "",
            chat_id=place.conversation if place is not None else "",
            chat_name=None,
            thread_id=place.thread if place is not None else None,
            user_id="",
            user_name=None,
            unified_user_id="",
            session_id=job.session_id,
            turn_id=f"{job.session_id}/{job.seq}",
            mission=turn.mission,
        )

    def window(self, job: TurnJob) -> tuple[tuple[Message, ...], Seen | None]:
        """The context window of a turn, and what of the context it holds, if that is not all."""
        current = load_record(self.store, job.stream, job.seq)
        assert isinstance(
            current, UserRecord | MissionRecord
        )  # no turn starts before it is durable
        return read_seen(self.store, job.stream, self.rules, (job.seq, current))


async def _answer(name: str, result: object, shown: Showing | None) -> AgentReply:
    """What the agent called `name` has made of its turn."""
    if type(result) is CoroutineType or inspect.isawaitable(result):
        reply = make_reply(name, cast("object", await result))
    elif isinstance(result, AsyncIterator):
        add = shown.add if shown is not None else None
        reply = await join_parts(name, cast("AsyncIterator[str]", result), add)
    else:
        raise AgentFault(
            f"agent {name!r} returned a {type(result).__name__} without being async; "
            "an agent is an async function or an async generator"
        )
    if shown is not None:
        shown.answered = bool(reply.text or reply.attachments)
    return reply


def _context(job: TurnJob, turn: InboundTurn, user: str) -> SessionContext:
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
