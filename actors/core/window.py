"""What the agent sees of a session: its messages, oldest first, the current turn last.

A log is in the order of arrival; a conversation reads in the order of its turns. A reply stands
behind the message that it answers even if the human wrote again meanwhile, and messages that wait
for their own turn are not shown before it. Earlier sessions that were joined to this one are woven
in by time, turn by turn. What an undone link took back is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final, Literal, TypeAlias

from ..frozen import fact, message
from ..messages import ToolCall
from .names import quoted_name
from .records import AssistantRecord, Record, ToolRecord, UserRecord

__all__ = ["Hidden", "Message", "Stretch", "build_window", "text_chars"]


@message
class Message:
    """One entry of the context window."""

    role: Literal["user", "assistant", "tool"]
    kind: str
    """Kind of the record that it comes from."""
    text: str
    seq: int
    """The record's sequence number, in the log of the session in which it was said."""
    at_us: int
    instance: str | None = None
    """Where it was said."""
    conversation: str | None = None
    session_id: str | None = None
    """The earlier session in which it was said; None: this one."""
    user_id: str | None = None
    """Of a human's message: the platform's id of who said it."""
    platform: str | None = None
    speaker: str | None = None
    """Of a human's message in a group: the display name, or else the id, as a JSON string.
    Untrusted, and not unique: `platform` and `user_id` say who it is."""
    tool: ToolCall | None = None
    """Of a tool message: the call that the agent recorded, which its text tells in one line."""

    @property
    def attributed(self) -> str:
        """What to show a model: in a group `"Bob" says: hello`, else the text itself.

        A speaker's line begins with a quote, and no name has a bare quote or a line break in it.
        Every further line of a text begins with `| `. So neither can pass for another's line.
        """
        if self.speaker is None:
            return self.text
        return f"{self.speaker} says: " + "\n| ".join(self.text.splitlines())


@fact
class Hidden:
    """What is left out of a log: an identity's turns, from a time to a record."""

    platform: str
    user_id: str
    since_us: int
    """First time of arrival that is left out."""
    until_seq: int
    """First sequence number that is shown again."""


@fact
class Stretch:
    """A part of one log that the window shows."""

    session_id: str | None
    """The earlier session whose log it is; None: the session itself."""
    records: Iterable[tuple[int, Record]]
    """Sequence numbers and records, ascending; the current turn's record may stand anywhere."""
    hidden: Sequence[Hidden] = ()
    """What of this log is left out."""


_LAST: Final = 1 << 63
"""Greater than every sequence number and every time: where the current turn stands."""
_Said: TypeAlias = UserRecord | AssistantRecord | ToolRecord
_Names: TypeAlias = dict[tuple[str | None, str], str]
"""Display names and ids that were quoted already."""
_Placed: TypeAlias = tuple[int, int, Message]
"""The turn that a message belongs to, its place in it, and the message."""


def build_window(stretches: Sequence[Stretch], turn_seq: int) -> tuple[Message, ...]:
    """The window for the turn of user record `turn_seq` in the session's own log.

    Every log keeps the order of its turns, and no turn is split: its messages stand together where
    the time of its question puts them, or that of its first message where there is no question.
    It never stands before an earlier turn of its log, even if the clock went back in between.
    Turns of the same time are in the order of `stretches`.

    Args:
        stretches: at most one of each log. The session's own ends at or after the current turn.
            Turns that are still open in a joined log are shown too.
        turn_seq: the current turn, which is always shown; 0 for the window between turns.
    """
    names: _Names = {}
    logs = [
        _in_turns(stretch, names, turn_seq if stretch.session_id is None else 0)
        for stretch in stretches
    ]
    if len(logs) == 1:
        return tuple([shown for _, _, shown in logs[0]])
    dated = [entry for log in logs for entry in _dated(log)]
    dated.sort(key=itemgetter(0))
    return tuple([shown for _, shown in dated])


def text_chars(record: Record) -> int:
    """How many characters of a window `record` takes."""
    match record:
        case UserRecord() | AssistantRecord():
            return len(record.text)
        case ToolRecord():
            return len(record.name) + len(record.arguments) + len(record.result)
        case _:
            return 0


class _Veil:
    """What undone links take out of one log, whose records it is shown in order."""

    __slots__ = ("_places", "_shown", "_spans", "_until_seq")

    def __init__(self, hidden: Sequence[Hidden]) -> None:
        self._spans: dict[tuple[str, str], list[Hidden]] = {}
        for entry in hidden:
            self._spans.setdefault((entry.platform, entry.user_id), []).append(entry)
        self._until_seq = max(entry.until_seq for entry in hidden)
        self._shown: set[int] = set()
        """Turns before `_until_seq` whose question is shown."""
        self._places: set[tuple[str | None, ...]] = set()
        """Direct conversations of which a question is hidden."""

    def covers(self, seq: int, record: _Said) -> bool:
        """Whether `record` is left out.

        So are answers to a question that is not in the stretch, because nobody can tell any more
        whose it was, and what the agent said unasked in the direct conversation of a hidden turn.
        """
        if isinstance(record, UserRecord):
            for entry in self._spans.get((record.platform, record.user_id), ()):
                if record.at_us >= entry.since_us and seq < entry.until_seq:
                    if record.direct:
                        self._places.add((record.instance, record.conversation, record.thread))
                    return True
            self._shown.add(seq)
            return False
        if record.turn_seq:
            return record.turn_seq < self._until_seq and record.turn_seq not in self._shown
        if isinstance(record, ToolRecord) or seq >= self._until_seq:
            return False
        return (record.instance, record.conversation, record.thread) in self._places


def _in_turns(stretch: Stretch, names: _Names, turn_seq: int) -> list[_Placed]:
    """The messages of one log in the order of its turns."""
    veil = _Veil(stretch.hidden) if stretch.hidden else None
    placed: list[_Placed] = []
    for seq, record in stretch.records:
        match record:
            case UserRecord():
                asked = seq
            case AssistantRecord() | ToolRecord():
                asked = record.turn_seq
            case _:
                continue
        if 0 < turn_seq < asked:
            continue
        turn = asked or seq
        if turn == turn_seq:
            shown = _message(seq, record, stretch.session_id, names)
            placed.append((_LAST, _LAST if seq == turn_seq else seq, shown))
        elif veil is None or not veil.covers(seq, record):
            placed.append((turn, seq, _message(seq, record, stretch.session_id, names)))
    placed.sort()
    return placed


def _dated(placed: Iterable[_Placed]) -> Iterator[tuple[int, Message]]:
    """The messages of one log with the times of their turns, made never to go back."""
    before = time_us = -1
    for turn, _, shown in placed:
        if turn != before:
            before = turn
            time_us = max(time_us, shown.at_us if turn < _LAST else _LAST)
        yield time_us, shown


def _message(seq: int, record: _Said, session_id: str | None, names: _Names) -> Message:
    match record:
        case UserRecord():
            return Message(
                role="user",
                kind=record.kind,
                text=record.text,
                seq=seq,
                at_us=record.at_us,
                instance=record.instance,
                conversation=record.conversation,
                session_id=session_id,
                user_id=record.user_id,
                platform=record.platform,
                speaker=None if record.direct else _quoted(names, record),
            )
        case AssistantRecord():
            return Message(
                role="assistant",
                kind=record.kind,
                text=record.text,
                seq=seq,
                at_us=record.at_us,
                instance=record.instance,
                conversation=record.conversation,
                session_id=session_id,
            )
        case ToolRecord():
            return Message(
                role="tool",
                kind=record.kind,
                text=f"{record.name}({record.arguments}) -> {record.result}",
                seq=seq,
                at_us=record.at_us,
                session_id=session_id,
                tool=ToolCall(name=record.name, arguments=record.arguments, result=record.result),
            )


def _quoted(names: _Names, record: UserRecord) -> str:
    name = (record.user_name, record.user_id)
    quoted = names.get(name)
    if quoted is None:
        quoted = names[name] = quoted_name(*name)
    return quoted
