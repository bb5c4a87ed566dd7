"""A session's log as JSON Lines: every record, every field, exact to the bit.

Each line is an object: `v` (version of this form), `session`, `seq`, `kind`, `at_us` (microseconds
since the Unix epoch), then the record's own fields. JSON has no exact form for text that is not
valid Unicode, since two halves of a surrogate pair that stand side by side would come back as one
letter. Such a text is written as `{"wtf8": BASE64}`: its UTF-8 bytes, with each surrogate as the
three bytes that its number would have.

The last line, of kind `end`, says how many records there are, and has the SHA-256 of all lines
before it, their line ends included. Version 1 had no such line. Files that came with messages are
named, and not contained.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from hashlib import sha256
from typing import Any, Final, cast

from .actors.core.records import MalformedRecord, Record, unpack
from .actors.journal import log_pages
from .storage.base import Reads
from .storage.codec import decode
from .storage.errors import CorruptRecord, RecordFromFuture

__all__ = ["DAMAGED", "END", "EXPORT_VERSION", "export_lines", "line_of"]

EXPORT_VERSION: Final = 2
END: Final = "end"
"""Kind of the last line."""
DAMAGED: Final = "damaged"
"""Kind of a line that stands for a record which cannot be read."""


def export_lines(
    reads: Reads, session_id: str, stream: int, *, skip_damaged: bool = False
) -> Iterator[str]:
    """The records of session number `stream`, oldest first, a line each without its end.

    Args:
        reads: one moment of the store.
        session_id: the session.
        stream: its number.
        skip_damaged: let a line say of a record that it cannot be read, and go on. No such export
            can be imported.

    Raises:
        CorruptRecord: a record cannot be read, or is missing; the text names it.
    """
    digest, count = sha256(), 0
    for seq, record in _records(reads, stream):
        if isinstance(record, CorruptRecord):
            if not skip_damaged:
                raise record
            line = _line(session_id, seq, DAMAGED, {"error": str(record)})
        else:
            line = line_of(session_id, seq, record)
        digest.update(line.encode("ascii") + b"\n")
        count += 1
        yield line
    end = {"v": EXPORT_VERSION, "session": session_id, "kind": END, "records": count}
    yield json.dumps({**end, "sha256": digest.hexdigest()})


def _records(reads: Reads, stream: int) -> Iterator[tuple[int, Record | CorruptRecord]]:
    """Every record, or what is wrong with it."""
    expected = 1
    for page in log_pages(reads, stream):
        for seq, data in page:
            for lost in range(expected, seq):
                yield lost, CorruptRecord(f"record {stream}/{lost} is missing")
            expected = seq + 1
            try:
                yield seq, unpack(decode(data))
            except (CorruptRecord, RecordFromFuture, MalformedRecord) as error:
                yield seq, CorruptRecord(f"record {stream}/{seq}: {error}")


def line_of(session_id: str, seq: int, record: Record) -> str:
    """The line of one record."""
    values = {field.name: _exact(getattr(record, field.name)) for field in fields(record)}
    return _line(session_id, seq, record.kind, values)


def _line(session_id: str, seq: int, kind: str, values: dict[str, Any]) -> str:
    head = {"v": EXPORT_VERSION, "session": session_id, "seq": seq, "kind": kind}
    return json.dumps({**head, **values})


def _exact(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raw = value.encode("utf-8", "surrogatepass")
            return {"wtf8": base64.b64encode(raw).decode("ascii")}
        return value
    if isinstance(value, list | tuple):
        return [_exact(item) for item in cast("Sequence[Any]", value)]
    return value
