"""How much room a record takes in a window, at most, without counting a token.

No tokenizer makes more than one token of a byte of UTF-8, so the bytes are a bound, and counting
matters only where the bound does not fit. The rule for what is no text is the same for both: an
image takes 1,600 tokens, which is what large ones cost at the providers, any other file 100, and
every message 4 for its frame.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ..messages import Attachment
from .alterations import DELETED, MOST_TOLD, change_text
from .asides import MOST_QUOTED, SHOWN_RECEIPTS, note_text, receipt_text, summary_text
from .attached import attachment_line, attachments_of
from .delivery_records import NoteRecord, ReceiptRecord
from .names import quoted_name
from .records import Record
from .turn_records import AssistantRecord, MissionRecord, ToolRecord, UserRecord
from .view_records import ChangedRecord, SummaryRecord

__all__ = [
    "FILE_TOKENS",
    "IMAGE_TOKENS",
    "OVERHEAD",
    "attachment_tokens",
    "bytes_of",
    "extra_of",
    "frame_of",
    "prompt_tokens",
    "weight_of",
]

OVERHEAD: Final = 4
"""Tokens of every message, whatever it says: its role, and where it ends."""
_LONG: Final = 65_536
_LINE_ENDS: Final = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""All that `str.splitlines` takes for one; `\\r\\n` counts twice here."""
IMAGE_TOKENS: Final = 1_600
FILE_TOKENS: Final = 100


def bytes_of(text: str) -> int:
    """How many bytes of UTF-8 `text` takes; half of a surrogate pair takes three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def prompt_tokens(system: str | None) -> int:
    """How many tokens a system prompt takes at most; 0 if there is none."""
    return bytes_of(system) + OVERHEAD if system is not None else 0


def weight_of(record: Record) -> int:
    """How many tokens `record` takes in a window at most; 0 for what no window shows."""
    match record:
        case UserRecord():
            size = frame_of(record) + bytes_of(record.text) + extra_of(record)
            # In a group, every line but the first stands behind a bar.
            return size if record.direct else size + 2 * _lines_of(record.text)
        case AssistantRecord(by="runtime", route="command"):
            return 0  # what the runtime answers for itself: see `turns.in_context`
        case AssistantRecord() | MissionRecord():
            return OVERHEAD + bytes_of(record.text) + extra_of(record)
        case ToolRecord():
            return frame_of(record) + bytes_of(record.arguments) + bytes_of(record.result)
        case NoteRecord():
            return OVERHEAD + bytes_of(note_text(record))
        case SummaryRecord():
            return OVERHEAD + bytes_of(summary_text(record.text))
        case ReceiptRecord() if record.status in SHOWN_RECEIPTS:
            return OVERHEAD + bytes_of(receipt_text(record, None, None)) + MOST_QUOTED
        case _:
            return _weight_of_change(record) if isinstance(record, ChangedRecord) else 0


def _weight_of_change(record: ChangedRecord) -> int:
    """What a change adds to a context, be it in the place of its message or between two turns."""
    text = DELETED if record.text is None else record.text
    # In a group, every line but the first stands behind a bar.
    instead = bytes_of(text) + 2 * _lines_of(text)
    match record.shown:
        case "later":
            told = bytes_of(change_text(record, None, deleted=False)) + MOST_TOLD
            return OVERHEAD + told + (instead if record.text is None else 0)
        case "instead":
            return instead
        case _:
            return 0


def _lines_of(text: str) -> int:
    """How many lines `text` has at most."""
    if len(text) < _LONG:
        return len(text.splitlines())
    return 1 + sum(map(text.count, _LINE_ENDS))  # splitting millions of lines takes far longer


def frame_of(record: Record) -> int:
    """What a message takes however short its text is: its frame, and a speaker's or tool's name."""
    match record:
        case UserRecord(direct=False):
            return OVERHEAD + _speaker_bytes(record.user_name, record.user_id) + len(" says: ")
        case ToolRecord():
            return OVERHEAD + bytes_of(record.name) + len("() -> ")
        case _:
            return OVERHEAD


@lru_cache(maxsize=1_024)
def _speaker_bytes(user_name: str | None, user_id: str) -> int:
    """What a speaker's name takes as it is shown: the same few people speak all the time."""
    return bytes_of(quoted_name(user_name, user_id))


def extra_of(record: Record) -> int:
    """What the files of a message take beside its text, by the rule; never counted."""
    if not isinstance(record, UserRecord | AssistantRecord) or not record.attachments:
        return 0
    return sum(map(attachment_tokens, attachments_of(record)))


def attachment_tokens(attachment: Attachment) -> int:
    """What an attachment takes: by the rule, and the line that names it."""
    by_rule = IMAGE_TOKENS if attachment.kind == "image" else FILE_TOKENS
    return by_rule + bytes_of(attachment_line(attachment))
