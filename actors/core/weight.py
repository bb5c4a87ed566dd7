"""How much room a record takes in a window, at most, without counting a token.

No tokenizer makes more than one token of a byte of UTF-8, so the bytes are a bound, and counting
matters only where the bound does not fit. The rule for what is no text is the same for both: an
image takes 1,600 tokens, which is what large ones cost at the providers, any other file 100, and
every message 4 for its frame.
"""

from __future__ import annotations

from typing import Final

from .asides import SHOWN_RECEIPTS, note_text, receipt_chars, summary_text
from .attached import attachment_line, attachments_of
from .records import (
    AssistantRecord,
    MissionRecord,
    NoteRecord,
    ReceiptRecord,
    Record,
    SummaryRecord,
    ToolRecord,
    UserRecord,
)

__all__ = [
    "FILE_TOKENS",
    "IMAGE_TOKENS",
    "OVERHEAD",
    "bytes_of",
    "extra_of",
    "weight_of",
]

OVERHEAD: Final = 4
"""Tokens of every message, whatever it says: its role, and where it ends."""
IMAGE_TOKENS: Final = 1_600
FILE_TOKENS: Final = 100
_QUOTED: Final = 6
"""Most bytes that a character of a quoted name takes."""


def bytes_of(text: str) -> int:
    """How many bytes of UTF-8 `text` takes; half of a surrogate pair takes three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def weight_of(record: Record) -> int:
    """How many tokens `record` takes in a window at most; 0 for what no window shows."""
    match record:
        case UserRecord():
            size = OVERHEAD + bytes_of(record.text)
            if not record.direct:  # a line for the speaker, and a bar before every further one
                name = record.user_name or record.user_id
                size += 2 * len(record.text.splitlines()) + _QUOTED * len(name) + len(" says: ")
            return size + extra_of(record)
        case AssistantRecord(by="runtime", route="command"):
            return 0  # what the runtime answers for itself: see `turns.in_context`
        case AssistantRecord() | MissionRecord():
            return OVERHEAD + bytes_of(record.text)
        case ToolRecord():
            told = bytes_of(record.name) + bytes_of(record.arguments) + bytes_of(record.result)
            return OVERHEAD + told + len("() -> ")
        case NoteRecord():
            return OVERHEAD + bytes_of(note_text(record))
        case SummaryRecord():
            return OVERHEAD + bytes_of(summary_text(record.text))
        case ReceiptRecord() if record.status in SHOWN_RECEIPTS:
            return OVERHEAD + 4 * receipt_chars(record)
        case _:
            return 0


def extra_of(record: Record) -> int:
    """What came with a message takes beside its text, by the rule; never counted."""
    if not isinstance(record, UserRecord) or not record.attachments:
        return 0
    return sum(
        (IMAGE_TOKENS if attached.kind == "image" else FILE_TOKENS)
        + len(attachment_line(attached).encode("utf-8", "surrogatepass"))
        for attached in attachments_of(record)
    )
