"""Speaking: the part of a runtime for what no human asked for.

Messages of a session's own, mirrors, contexts that are cleared or summarised, emptied memories,
another try at a delivery.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from .actors.acts import (
    By,
)
from .actors.compactions import Compact
from .actors.core.compaction import Compacted
from .actors.deliveries import Outcome, RetryDelivery, SendMessage, SendPlan
from .actors.errors import TurnRefused
from .actors.journal import load_session_number
from .actors.kernel import ActorDeadError
from .actors.memories import Forget
from .actors.messages import (
    Address,
    Attachment,
    Clear,
    Cleared,
    DeliveryId,
    Instance,
    SessionId,
    split_record_id,
)
from .actors.provenance import AimAtDefault, Mirrored
from .actors.unknown import UnknownAttachment, UnknownSession
from .looking import Looking
from .mirroring import mirror
from .storage.errors import StorageError

__all__ = ["Speaking"]

logger = logging.getLogger("turnkeeper")


class Speaking(Looking):
    """Lets sessions speak, and know."""

    async def send_message(
        self,
        session_id: str,
        text: str,
        to: Address | None = None,
        *,
        user: str | None = None,
        by: Literal["program", "operator"] = "program",
        attachments: tuple[Attachment, ...] = (),
    ) -> Outcome:
        """Say something in a session that no human asked for.

        Where another session owns the conversation, its log gets a note of it in the same batch as
        the outcome. Returns once the outcome is known, or with `retrying` after the first failure.

        Args:
            session_id: the session that speaks.
            text: what it says.
            to: a conversation of its agent, or one that the configuration opens with `send_to`; by
                default the session's active channel, and the feed if it has none.
            user: instead of a conversation, whom it is for: it goes to the direct conversation in
                which they last wrote to the agent.
            by: who asks.
            attachments: at most ten files that go with it: of :meth:`keep_file`, or of a message of
                the session. Then the text may be empty.

        Raises:
            UnknownSession: there is no such session.
            TypeError, ValueError: the text is no plain str, or has more than 4,194,304 characters,
                or both `to` and `user` are given, or the session may not see one of the files.
        """
        _check_recipient(to, user)
        if attachments != ():
            stream, keeping = self._stream_of(session_id), self._engine.keeping
            try:
                attachments = await keeping.ready(self.store, stream, attachments)
            except UnknownAttachment as error:
                raise ValueError(f"a file cannot be sent: {error}") from error
        message = SendMessage(
            session_id=SessionId(session_id),
            text=text,
            to=to,
            user=user,
            by=by,
            attachments=attachments,
        )
        return cast("Outcome", await self._registry.ask(message, block=False))

    async def keep_file(
        self,
        session_id: str,
        content: bytes | AsyncIterable[bytes] | Path,
        *,
        kind: str = "file",
        mime: str | None = None,
        name: str | None = None,
    ) -> Attachment:
        """Keep a file, durably, so that a message of a session can go with it.

        A record must name it within twelve hours; if none does it is removed.

        Args:
            session_id: the session that may send it.
            content: the file, its pieces in their order, or the path of one to be copied.
            kind: `image`, `audio`, `video` or `file`.
            mime: its media type.
            name: what humans see it called; by default the last part of the path.

        Raises:
            UnknownSession: there is no such session.
            FileTooLarge: it is longer than the configured `attachment_max_bytes`.
            FileNotKept: there is no room, or no state directory to keep it in.
            ValueError: there is no such kind, or the name or the media type is too long.
            OSError: the file at the path cannot be read.
        """
        stream = self._stream_of(session_id)
        return await self._engine.keeping.keep_for(stream, content, kind, mime, name)

    def _stream_of(self, session_id: str) -> int:
        stream = load_session_number(self.store, session_id)
        if stream is None:
            raise UnknownSession(f"there is no session {session_id!r}")
        return stream

    async def plan_send(
        self, session_id: str, to: Address | None = None, *, user: str | None = None
    ) -> SendPlan:
        """Where :meth:`send_message` would send now, and why it would not. Sends nothing.

        Raises:
            UnknownSession, ValueError: as for :meth:`send_message`.
        """
        _check_recipient(to, user)
        message = SendMessage(
            session_id=SessionId(session_id), text="", to=to, user=user, dry_run=True
        )
        return cast("SendPlan", await self._registry.ask(message, block=False))

    async def set_active_channel_to_default(
        self, session_id: str, instance: str, *, by: By = "program"
    ) -> Address | None:
        """Let a session's messages go where a human last wrote to its agent on an instance.

        A session that has conversations of its own chooses among these; another one, such as a
        mission's, among all of the agent's.

        Returns:
            The conversation. None if no human has written there: what was before stays, and where
            nothing was, a later send fails with `no_recipient`.

        Raises:
            UnknownSession: there is no such session.
            UnknownInstance: there is no such channel.
        """
        message = AimAtDefault(session_id=SessionId(session_id), instance=Instance(instance), by=by)
        return cast("Address | None", await self._registry.ask(message, block=False))

    async def mirror_to_session(
        self,
        session_id: str | None = None,
        text: str = "",
        *,
        source: str,
        user: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Mirrored:
        """Let a session's agent know what was said to its human elsewhere. Sends nothing.

        The note is part of the agent's next turn, and wakes nobody. A failure breaks nothing: it is
        logged, and returned with `status="failed"` and its reason.

        Args:
            session_id: the session; where it goes on in another one, that one.
            text: what was said.
            source: by what, in a few words: `cron`, `web`.
            user: instead of a session, whose direct session it is.
            metadata: what else to keep, of JSON's types: at most 65,536 bytes of it.
        """
        try:
            message = mirror(session_id, text, source, user, metadata)
            return cast("Mirrored", await self._registry.ask(message, block=False))
        except (ValueError, TypeError, LookupError, TurnRefused, StorageError) as error:
            reason = f"{type(error).__name__}: {error}"
        except ActorDeadError as error:
            reason = f"the runtime is stopping: {error}"
        logger.warning("nothing was mirrored to %s: %s", session_id or user, reason)
        return Mirrored(status="failed", reason=reason)

    async def clear(self, session_id: str, *, by: By = "program") -> Cleared:
        """Let the context of a session begin anew. Its log, id and bindings stay as they are.

        What others have said on its behalf since a human last wrote stays in the context.

        Raises:
            UnknownSession: there is no such session.
        """
        message = Clear(session_id=SessionId(session_id), by=by)
        return cast("Cleared", await self._registry.ask(message, block=False))

    async def compact(self, session_id: str) -> Compacted:
        """Let the older part of a session's context be summarised now, however small it is.

        Returns once the summary is durable, or there is none to be made; what is summarised stays
        in the raw log. Takes as long as the summariser does: `summariser_attempts` times
        `summariser_timeout_s` seconds at most, and the built-in summary then. Whoever stops
        waiting does not stop it.

        Raises:
            UnknownSession: there is no such session.
        """
        message = Compact(session_id=SessionId(session_id))
        return cast("Compacted", await self._registry.ask(message, block=False))

    async def clear_memory(self, session_id: str, *, by: By = "program") -> int:
        """Empty what the agent keeps of a session; return how many keys there were.

        The raw log still tells what they had been.

        Raises:
            UnknownSession: there is no such session.
        """
        message = Forget(session_id=SessionId(session_id), by=by)
        return cast("int", await self._registry.ask(message, block=False))

    async def retry_delivery(self, delivery_id: str, *, mark_duplicate: bool = False) -> Outcome:
        """Open a dead or unknown delivery again.

        Args:
            delivery_id: the delivery.
            mark_duplicate: send it even if it may have arrived, marked as a possible repetition.
                Without, such a one stays `unknown`, for the reason `may_have_arrived`.

        Raises:
            UnknownSession: the id is none of a delivery, or names no session.
        """
        parts = split_record_id(delivery_id)
        if parts is None:
            raise UnknownSession(f"{delivery_id!r:.80} names no delivery: SESSION/NUMBER does")
        message = RetryDelivery(
            session_id=parts[0],
            delivery_id=DeliveryId(delivery_id),
            mark_duplicate=mark_duplicate,
        )
        return cast("Outcome", await self._registry.ask(message, block=False))


def _check_recipient(to: object, user: object) -> None:
    """Refuse what names no recipient.

    Raises:
        TypeError: `to` is no `Address`, or `user` no str.
    """
    if to is not None and not isinstance(to, Address):
        raise TypeError(f"to must be an Address(instance, conversation, thread), not {to!r:.80}")
    if user is not None and not isinstance(user, str):
        raise TypeError(f"user must be a str, not {user!r:.80}")
