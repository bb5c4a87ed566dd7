"""The platform's own side, as the tests of a channel see it: what its author has to bring.

A wire is the other end of a channel: a real server, a fake of one, a pair of files. It bypasses the
channel, so that what a human says and sees is not what the channel believes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from .actors.frozen import message
from .channels.base import Channel

__all__ = ["ABILITIES", "Failure", "FailureKind", "Seen", "SeenFile", "Wire", "missing_abilities"]

FailureKind: TypeAlias = Literal[
    "rate_limited",
    "unreachable",
    "server_error",
    "unauthorized",
    "forbidden",
    "gone",
    "lost_answer",
]


@message
class Failure:
    """How the platform fails the next message that the agent sends, once."""

    kind: FailureKind
    """`rate_limited`: refuses for now and names a pause. `unreachable`: cannot be reached.
    `server_error`: says that something broke there, and has not acted. `unauthorized`: takes the
    token for a wrong one. `forbidden`: says that the agent may not write there. `gone`: says that
    there is no such conversation any more. `lost_answer`: acts, and ends the connection before it
    answers. After all the others, nothing has arrived."""
    retry_after_s: float | None = None
    """The pause that goes with `rate_limited`, in seconds."""


@message
class SeenFile:
    """A file in a message."""

    content: bytes
    name: str | None = None
    mime: str | None = None


@message
class Seen:
    """A message of the agent's, as a human sees it now."""

    text: str
    """Without markup."""
    message_id: str
    """The platform's id of it."""
    reply_to: str | None = None
    """The platform's id of the message that it quotes."""
    thread: str | None = None
    file: SeenFile | None = None


class Wire(ABC):
    """The platform's side of one channel.

    Two methods have to be there. Every other one is an ability: whoever overrides it says that the
    platform, or the fake of it, can do that; the tests which need it are skipped otherwise, and say
    so. The same holds for the attributes that are empty here.
    """

    conversations: tuple[str, ...] = ("c1", "c2")
    """Two conversations, each between one human and the agent: the platform's ids, as they stand in
    `Address.conversation`."""
    group: str | None = None
    """A conversation with several humans, in which the agent can be mentioned."""
    threads: tuple[tuple[str, str], ...] = ()
    """Two places in threads: the conversation and the thread, as they stand in `Address`."""
    secrets: tuple[str, ...] = ()
    """What must never be shown: tokens, as the platform knows them, and the wrong one with which
    `make_wrong_channel` makes channels."""
    quotes: bool = False
    """Whether a human sees which message is answered (`Seen.reply_to`), and can quote one."""
    holds: bool = False
    """Whether the platform keeps messages for an agent that does not listen."""

    @abstractmethod
    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        """A human writes. Return the platform's id of the message, as it stands in its turn.

        Return as soon as the platform has it: never wait for the channel, which may refuse it, or
        take it much later.

        Args:
            text: plain words.
            conversation: where.
            thread: the thread in it.
            reply_to: the message that it quotes.
            mention: whether it names the agent; for groups.
        """

    @abstractmethod
    async def seen(self, conversation: str) -> Sequence[Seen]:
        """What the agent has said in a conversation and its threads, the oldest first."""

    async def attached(self, channel: Channel) -> None:
        """Hear that a channel runs from now on: where its hooks are, whom to call.

        It is called for every life of a channel, before it is waited for its `line.up()`.
        """
        return

    # -- abilities -------------------------------------------------------------------------------

    async def redeliver(self, message_id: str, /) -> None:
        """Tell the channel a message again, as the platform does when it saw no acknowledgement."""
        raise NotImplementedError

    async def disconnect(self) -> None:
        """End every connection, and let no new one stand."""
        raise NotImplementedError

    async def reconnect(self) -> None:
        """Let connections stand again."""
        raise NotImplementedError

    async def garbage(self) -> None:
        """Send the channel what makes no sense: broken JSON, a field of the wrong type."""
        raise NotImplementedError

    async def unknown_update(self) -> None:
        """Send the channel something well-formed of a kind that does not exist yet."""
        raise NotImplementedError

    async def own_echo(self, text: str, /, *, conversation: str) -> None:
        """Tell the channel of a message that the agent's own account has written."""
        raise NotImplementedError

    async def other_bot_says(self, text: str, /, *, conversation: str) -> None:
        """Tell the channel of a message that another bot has written."""
        raise NotImplementedError

    async def edit(self, message_id: str, text: str, /, *, conversation: str) -> None:
        """A human changes a message of theirs."""
        raise NotImplementedError

    async def delete(self, message_id: str, /, *, conversation: str) -> None:
        """A human takes a message of theirs away."""
        raise NotImplementedError

    async def user_sends_file(
        self, name: str, content: bytes, mime: str, /, *, conversation: str
    ) -> str:
        """A human sends a file without any words. Return the platform's id of the message."""
        raise NotImplementedError

    async def fail_next(self, failure: Failure, /) -> None:
        """Fail the next message that the agent sends, and only that."""
        raise NotImplementedError

    async def hold(self) -> None:
        """Let every send hang: the platform has the request, and does nothing."""
        raise NotImplementedError

    async def release(self) -> None:
        """Let the sends go on."""
        raise NotImplementedError

    async def typing(self, conversation: str, /) -> int:
        """How often it was shown in a conversation that the agent is typing."""
        raise NotImplementedError

    async def read(self, message_id: str, /, *, conversation: str) -> None:
        """Tell the channel that a human has read a message of the agent's."""
        raise NotImplementedError


ABILITIES: Final[dict[str, str]] = {
    "group": "names no group",
    "threads": "names no threads",
    "secrets": "names no secrets",
    "quotes": "does not say that it shows quotes",
    "holds": "does not say that the platform keeps messages for one that does not listen",
    "redeliver": "cannot tell a message again",
    "disconnect": "cannot end the connection",
    "reconnect": "cannot let the connection stand again",
    "garbage": "cannot send malformed input",
    "unknown_update": "cannot send an update of an unknown kind",
    "own_echo": "cannot tell of the agent's own messages",
    "other_bot_says": "cannot let another bot speak",
    "edit": "cannot change a message",
    "delete": "cannot take a message away",
    "user_sends_file": "cannot send files",
    "fail_next": "cannot fail a send",
    "hold": "cannot let sends hang",
    "release": "cannot let sends go on",
    "typing": "cannot say where the agent is typing",
    "read": "cannot tell that a message was read",
}
"""What a wire may be able to do, and the words for one that is not."""


def missing_abilities(wire: Wire, wanted: Sequence[str]) -> list[str]:
    """What `wire` lacks of the abilities `wanted`, in words."""
    return [ABILITIES[name] for name in wanted if not _has(wire, name)]


def _has(wire: Wire, name: str) -> bool:
    in_general = getattr(Wire, name)
    if callable(in_general):
        return getattr(type(wire), name) is not in_general
    return bool(getattr(wire, name))
