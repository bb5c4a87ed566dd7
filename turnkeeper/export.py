"""A session's log as JSON Lines: every record, every field, exact to the bit.

Each line is an object: `v` (version of this form), `session`, `seq`, `kind`, `at_us` (microseconds
since the Unix epoch), then the record's own fields. JSON has no exact form for text that is not
valid Unicode, since two halves of a surrogate pair that stand side by side would come back as one
letter. Such a text is written as `{"wtf8": BASE64}`: its UTF-8 bytes, with each surrogate as the
three bytes that its number would have.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Final, cast

from .actors.journal import load_records
from .storage.base import Reads

__all__ = ["EXPORT_VERSION", "export_lines"]

EXPORT_VERSION: Final = 1


def export_lines(reads: Reads, session_id: str, stream: int) -> Iterator[str]:
    """The records of session number `stream`, oldest first, a line each without its end.

    Raises:
        CorruptRecord: a record cannot be read; the text names it.
    """
    for seq, record in load_records(reads, stream):
        line = {"v": EXPORT_VERSION, "session": session_id, "seq": seq, "kind": record.kind}
        for field in fields(record):
            line[field.name] = _exact(getattr(record, field.name))
        yield json.dumps(line)


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
