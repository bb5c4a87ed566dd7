"""The messages of a window, as they are made of the records of a log."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from ..frozen import message
from ..messages import Attachment, ToolCall
from .alterations import Altered, change_text
from .asides import note_text, receipt_text, summary_text
from .attached import attachments_of
from .delivery_records import NoteRecord, ReceiptRecord
from .names import quoted_name
from .turn_records import AssistantRecord, MissionRecord, ToolRecord, UserRecord
from .view_records import ChangedRecord, SummaryRecord
from .weight import attachment_tokens, bytes_of

__all__ = [
    "Message",
    "Names",
    "Source",
    "change_of",
    "cut",
    "message_of",
    "receipt_of",
    "source_of",
    "summary_of",
    "system_prompt",
]

_CUT_LINE: Final = 64
"""Bytes of the line that stands for what is left out, at most."""
_BARRED: Final = frozenset({NoteRecord.kind, SummaryRecord.kind, ChangedRecord.kind})
"""Messages whose first line is the runtime's, with every further one behind a bar."""

Names: TypeAlias = dict[tuple[str | None, str], str]
"""Display names and ids that were quoted already."""


@message
class Source:
    """Where a note comes from."""

    label: str
    """`mission inbox`, `session s3`, or what a mirror was called: not proven, and not unique."""
    status: str
    """`delivered`, `partial`, `unknown` (it may have arrived) or `mirrored`."""
    session_id: str | None = None
    """The session that said it."""
    mission: str | None = None
    delivery_id: str | None = None
    """None where nothing was sent through here."""


@message
class Message:
    """One entry of the context window."""

    role: Literal["system", "user", "assistant", "tool"]
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
    source: Source | None = None
    """Of a note: who said it. Its text tells that in its first line."""
    attachments: tuple[Attachment, ...] = ()
    """The files that came with a human's message, or that the agent sent with its own."""

    altered: Altered | None = None
    """Of a human's message: `edited` if it was, before its turn began; `deleted` if it was, and its
    text says no more than that."""
    cut: bool = False
    """Whether its middle is left out, because the window has no room for all of it."""

    @property
    def attributed(self) -> str:
        """What to show a model: in a group `"Bob" says: hello`, else the text itself.

        A speaker's line begins with a quote, and no name has a bare quote or a line break in it.
        Every further line of a text begins with `| `. So neither can pass for another's line.
        """
        if self.speaker is None:
            return self.text
        return f"{self.speaker} says: " + "\n| ".join(self.text.splitlines())


def message_of(
    seq: int,
    record: UserRecord | MissionRecord | AssistantRecord | ToolRecord | NoteRecord,
    session_id: str | None,
    names: Names,
) -> Message:
    """The message that record `seq` is shown as; `session_id` None: in its own session."""
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
                attachments=attachments_of(record) if record.attachments else (),
            )
        case MissionRecord():
            return Message(
                role="user",
                kind=record.kind,
                text=record.text,
                seq=seq,
                at_us=record.at_us,
                session_id=session_id,
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
                attachments=attachments_of(record) if record.attachments else (),
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
        case NoteRecord():
            return Message(
                role="assistant",
                kind=record.kind,
                text=note_text(record),
                seq=seq,
                at_us=record.at_us,
                instance=record.instance,
                conversation=record.conversation,
                session_id=session_id,
                source=source_of(record),
            )


def source_of(note: NoteRecord) -> Source:
    """Where a note comes from."""
    return Source(
        label=note.source,
        status=note.status,
        session_id=note.session_id,
        mission=note.mission,
        delivery_id=note.delivery_id,
    )


def receipt_of(
    seq: int,
    record: ReceiptRecord,
    session_id: str | None,
    speaker: str | None,
    said: AssistantRecord | None,
) -> Message:
    """The message that a receipt is shown as.

    Args:
        seq: its sequence number.
        record: the receipt.
        session_id: the earlier session in whose log it is; None: in the session's own.
        speaker: the session in whose log it is, if that is known.
        said: what was delivered, if that can be read.
    """
    return Message(
        role="assistant",
        kind=record.kind,
        text=receipt_text(record, speaker, said),
        seq=seq,
        at_us=record.at_us,
        instance=said.instance if said is not None else None,
        conversation=said.conversation if said is not None else None,
        session_id=session_id,
    )


def change_of(
    seq: int,
    record: ChangedRecord,
    session_id: str | None,
    said: UserRecord | None,
    *,
    deleted: bool,
) -> Message:
    """The message that a change is shown as.

    Args:
        seq: its sequence number.
        record: the change.
        session_id: the earlier session in whose log it is; None: in the session's own.
        said: the message that was changed, if it can be read.
        deleted: whether that is deleted by now.
    """
    return Message(
        role="assistant",
        kind=record.kind,
        text=change_text(record, said, deleted=deleted),
        seq=seq,
        at_us=record.at_us,
        instance=said.instance if said is not None else None,
        conversation=said.conversation if said is not None else None,
        session_id=session_id,
    )


def _quoted(names: Names, record: UserRecord) -> str:
    name = (record.user_name, record.user_id)
    quoted = names.get(name)
    if quoted is None:
        quoted = names[name] = quoted_name(*name)
    return quoted


def summary_of(seq: int, record: SummaryRecord, session_id: str | None) -> Message:
    """The message that a summary is shown as; `session_id` None: in its own session."""
    return Message(
        role="assistant",
        kind=record.kind,
        text=summary_text(record.text),
        seq=seq,
        at_us=record.at_us,
        session_id=session_id,
    )


def system_prompt(text: str) -> Message:
    """The message with which a window begins, if there is something to begin with."""
    return Message(role="system", kind="system", text=text, seq=0, at_us=0)


def cut(shown: Message, room: int) -> Message:
    """`shown` with so much left out that it takes `room` tokens at most, beside its frame.

    Of what came with it, what takes more than half of the room is left out, and of its text the
    middle. A line says how much, if there is room for the line. The names of speakers and of tools
    are never cut. Where every line of a text stands behind a bar, so does every line of the rest.
    """
    kept: list[Attachment] = []
    extra = 0
    for attachment in shown.attachments:
        if extra + attachment_tokens(attachment) > room // 2:
            break
        kept.append(attachment)
        extra += attachment_tokens(attachment)
    room -= extra
    text = shown.text
    if left_out := len(shown.attachments) - len(kept):
        text += f"\n[{left_out} attached file{'s are' if left_out != 1 else ' is'} left out here]"
    whole = replace(shown, text=text, attachments=tuple(kept), cut=True)
    # A bar before every line makes the text longer than what is left of it: so it is tried out.
    sizes = range(min(room, bytes_of(text)) + 1)
    most = bisect_right(sizes, room, key=lambda size: bytes_of(_short(whole, size).attributed))
    return _short(whole, max(most - 1, 0))


def _short(shown: Message, size: int) -> Message:
    """`shown` with `size` bytes of its text, or of a tool's arguments and result together."""
    if shown.tool is not None:
        call = shown.tool
        arguments = _cut_text(call.arguments, size // 3)
        result = _cut_text(call.result, size - bytes_of(arguments))
        call = ToolCall(name=call.name, arguments=arguments, result=result)
        return replace(shown, tool=call, text=f"{call.name}({arguments}) -> {result}")
    text = _cut_text(shown.text, size)
    if shown.kind in _BARRED:
        first, *rest = text.splitlines() or [""]
        text = "\n".join([first, *(f"| {line.removeprefix('| ')}" for line in rest)])
    return replace(shown, text=text)


def _cut_text(text: str, size: int) -> str:
    """`text`, or its beginning and its end, with a line between them, in `size` bytes."""
    if len(text) <= size and bytes_of(text) <= size:
        return text
    size -= _CUT_LINE
    if size < 0:
        return ""
    head, tail = size - size // 3, size // 3
    # So many bytes are in as many letters at most: of a long text, no more is encoded.
    first = text[:head].encode("utf-8", "surrogatepass")
    last = text[max(len(text) - tail, 0) :].encode("utf-8", "surrogatepass")
    tail = len(last) - tail
    while _is_inside(first, head):
        head -= 1
    while _is_inside(last, tail):
        tail += 1
    begin = first[:head].decode("utf-8", "surrogatepass")
    end = last[tail:].decode("utf-8", "surrogatepass")
    left_out = len(text) - len(begin) - len(end)
    return f"{begin}\n[{left_out:,} characters are left out here]\n{end}"


def _is_inside(raw: bytes, place: int) -> bool:
    """Whether a character of UTF-8 begins before `place` and ends behind it."""
    return place < len(raw) and raw[place] & 0xC0 == 0x80
