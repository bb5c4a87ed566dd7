"""What a human asks of their session itself, in a direct message, and what the runtime answers.

Pure. Unlike those of :mod:`.commands`, these are written down in the session's log, because they
change what its agent sees. They are no turns: no agent hears them, and no window shows them or
their answers.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from ..messages import InboundTurn
from .commands import MAX_COMMAND_CHARS
from .compaction import Compacted
from .heard import heard, place_of
from .turn_records import UserRecord
from .view_records import CommandRecord

__all__ = [
    "ANSWERS",
    "SessionVerb",
    "command_record",
    "compaction_answer",
    "message_behind",
    "plain",
    "read_session_command",
]

SessionVerb: TypeAlias = Literal["new", "compact"]

ANSWERS: Final[dict[SessionVerb, str]] = {
    "new": "Done. We begin anew: I do not see any more what was said before.",
    "compact": "I will see what can be summarised of our conversation, and tell you.",
}
"""What the runtime says at once."""

_VERBS: Final[dict[str, SessionVerb]] = {"new": "new", "reset": "new", "compact": "compact"}
_COMMAND: Final = re.compile(r"/([a-z]+)(?:@\S+)?", re.ASCII | re.IGNORECASE)


def read_session_command(turn: InboundTurn) -> SessionVerb | None:
    """The command that a message is; None for what belongs to the agent.

    The word alone is a command, in whichever case, with the name of a bot behind it as apps put it
    there (`/new@some_bot`), and with space around it. With anything else it is the agent's. So is
    everything in a group, where anybody could clear what all share.
    """
    if not turn.direct or turn.attachments or len(turn.text) > MAX_COMMAND_CHARS:
        return None
    found = _COMMAND.fullmatch(turn.text.strip())
    return _VERBS.get(found[1].lower()) if found is not None else None


def compaction_answer(outcome: Compacted) -> str:
    """To whoever has asked for a summary, once it is clear what came of that.

    What went wrong is for the operator: the log of the program has it.
    """
    match outcome.status:
        case "compacted":
            what = "1 message" if outcome.messages == 1 else f"{outcome.messages:,} messages"
            before, after = f"{outcome.tokens_before:,}", f"{outcome.tokens_after:,}"
            return f"Done. I have summarised {what}: {before} tokens before, {after} after."
        case "nothing" | "too_short":
            return "There is not enough to summarise yet. Nothing has changed."
        case "changed":
            return "I have summarised nothing: meanwhile, our conversation has become another."
        case "failed":
            return "I could not summarise our conversation now. Please try again later."


def command_record(command: SessionVerb, turn: InboundTurn, at_us: int) -> CommandRecord:
    """The record of a command."""
    place = turn.address
    return CommandRecord(
        at_us=at_us,
        command=command,
        instance=place.instance,
        conversation=place.conversation,
        thread=place.thread,
        platform=turn.platform,
        message_id=turn.message_id,
        user_id=turn.user_id,
    )


def plain(command: SessionVerb, turn: InboundTurn) -> InboundTurn:
    """A message as though its command had been written in the one plain way.

    How it was written is not kept. So this is what it is recognised as when it is delivered again:
    that follows from the log alone.
    """
    return replace(turn, text=f"/{command}")


def message_behind(record: UserRecord | CommandRecord) -> InboundTurn:
    """The message that a human's record was made from, as it is recognised when it comes again."""
    if isinstance(record, UserRecord):
        return heard(record)
    return InboundTurn(
        address=place_of(record),
        platform=record.platform,
        message_id=record.message_id,
        user_id=record.user_id,
        text=f"/{record.command}",
    )
