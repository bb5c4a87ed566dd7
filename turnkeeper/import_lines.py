"""Reading what an export has written, strictly: a file may hold anything.

Every line is checked for itself, and against those before it; an error names the line and the
field. What passes replays as a session's log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

from .actors.core.delivery_records import NoteRecord
from .actors.core.ownership_records import OpenedRecord
from .actors.core.records import Record
from .actors.core.routing import check_session_name
from .actors.core.turn_records import AssistantRecord, MissionRecord, UserRecord
from .actors.core.view_records import ChangedRecord
from .actors.frozen import fact
from .actors.messages import split_record_id
from .export import DAMAGED, END, EXPORT_VERSION
from .import_fields import SHAPES, BadField, read_object, shown

__all__ = ["BadImport", "Export", "read_export"]

_MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""Longest line, its end included: more than the longest message takes."""

_MAX_SEQ: Final = 2**63
_HEAD: Final = ("v", "session", "seq", "kind")


class BadImport(Exception):
    """The file is no export that can be imported; the text names the line and the field."""


@fact
class Export:
    """What a file holds that was read to its end."""

    session_id: str
    records: int
    has_digest: bool
    """False of a file of the first form, of which nobody knows whether it is complete."""


def read_export(path: Path, each: Callable[[Record], None]) -> Export:
    """Check all of a file, and give `each` of its records away, in order.

    Raises:
        BadImport: it is no export, or is not complete.
        OSError: it cannot be read.
    """
    reading = _Reading(path.name)
    with open(path, "rb") as file:
        for record in reading.records(file):
            each(record)
    return Export(reading.session_id, reading.seq, reading.ended)


class _Reading:
    """One pass over a file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._number = 0
        self._version = 0
        self._digest = sha256()
        self.session_id = ""
        self.seq = 0
        self.ended = False
        self._turns: set[int] = set()
        self._said: set[int] = set()
        self._heard: set[int] = set()

    def records(self, file: BinaryIO) -> Iterator[Record]:
        while line := file.readline(_MAX_LINE_BYTES + 1):
            self._number += 1
            if len(line) > _MAX_LINE_BYTES:
                raise self._bad(f"is longer than {_MAX_LINE_BYTES:,} bytes")
            if self.ended:
                raise self._bad("stands behind the last line of the export")
            try:
                record = self._read(line)
            except BadField as error:
                raise self._bad(str(error)) from error
            self._digest.update(line)
            if record is not None:
                yield record
        if self.seq == 0:
            raise BadImport(f"{self._name} holds no record")
        if not self.ended and self._version > 1:
            raise BadImport(
                f"{self._name} is cut short: its last line, of kind {END!r}, is missing"
            )

    def _bad(self, text: str) -> BadImport:
        return BadImport(f"{self._name}, line {self._number}: {text}")

    def _read(self, line: bytes) -> Record | None:
        if not line.endswith(b"\n"):
            raise BadField("is cut short: it has no end")
        given = read_object(line)
        self._check_version(given)
        kind = given.get("kind")
        session_id = given.get("session")
        if type(session_id) is not str:
            raise BadField(f"session: must be a text, not {shown(session_id)}")
        if self.session_id and session_id != self.session_id:
            raise BadField(f"session: is {session_id!r:.80}, the lines before are of another")
        if kind == END:
            self._end(given)
            return None
        return self._record(given, kind, session_id)

    def _check_version(self, given: Mapping[str, Any]) -> None:
        version = given.get("v")
        if type(version) is not int or not version >= 1:
            raise BadField("v: is no version of an export")
        if version > EXPORT_VERSION:
            raise BadField(f"v: is {version}, this version reads up to {EXPORT_VERSION}: upgrade")
        if self._version not in (0, version):
            raise BadField(f"v: is {version}, the lines before have {self._version}")
        self._version = version

    def _end(self, given: Mapping[str, Any]) -> None:
        unknown = given.keys() - {"v", "session", "kind", "records", "sha256"}
        if unknown:
            raise BadField(f"{min(unknown)!r:.80}: is no field of the last line")
        if type(given.get("records")) is not int or given["records"] != self.seq:
            raise BadField(f"records: says {shown(given.get('records'))}, there are {self.seq}")
        if given.get("sha256") != self._digest.hexdigest():
            raise BadField("sha256: is not that of the lines before: something was changed")
        self.ended = True

    def _record(self, given: dict[str, Any], kind: object, session_id: str) -> Record:
        seq = given.get("seq")
        if type(seq) is not int or seq != self.seq + 1:
            raise BadField(f"seq: must be {self.seq + 1}, not {shown(seq)}")
        if kind == DAMAGED:
            raise BadField("stands for a record that was damaged: the export is not complete")
        shape = SHAPES.get(kind) if type(kind) is str else None
        if shape is None:
            raise BadField(f"kind: {shown(kind)} is none that a session's log holds")
        record = shape.make({name: given[name] for name in given if name not in _HEAD})
        if (seq == 1) != isinstance(record, OpenedRecord):
            raise BadField("kind: the first record, and no other, must be 'opened'")
        if isinstance(record, OpenedRecord):
            self._open(record, session_id)
        self._check_references(seq, record)
        self.seq = seq
        return record

    def _open(self, record: OpenedRecord, session_id: str) -> None:
        if record.session_id != session_id:
            raise BadField(f"session_id: is {record.session_id!r:.80}, the session {session_id!r}")
        try:
            check_session_name(session_id)
        except ValueError as error:
            raise BadField(f"session: {error}") from error
        if not record.agent:
            raise BadField("agent: is empty")
        self.session_id = session_id

    def _check_references(self, seq: int, record: Record) -> None:
        """Look whether the records that it speaks of are there, and are what it takes them for."""
        for name in _EARLIER:
            if getattr(record, name, 0) >= seq:  # whoever follows them back must come to an end
                raise BadField(f"{name}: speaks of a record that does not come before")
        turn: int = getattr(record, "turn_seq", 0)
        if turn and turn not in self._turns:
            raise BadField(f"turn_seq: record {turn} is no turn")
        delivery: int | None = getattr(record, "delivery_seq", None)
        if delivery is not None and delivery not in self._said:
            raise BadField(f"delivery_seq: record {delivery} is no message")
        if isinstance(record, ChangedRecord) and record.message_seq not in self._heard:
            raise BadField(f"message_seq: record {record.message_seq} is no human's message")
        if isinstance(record, NoteRecord) and record.delivery_id is not None:
            spoken = split_record_id(record.delivery_id)
            if spoken is None or not 0 < spoken[1] < _MAX_SEQ:
                raise BadField(f"delivery_id: {shown(record.delivery_id)} is none")
        if isinstance(record, UserRecord | MissionRecord):
            self._turns.add(seq)
            if isinstance(record, UserRecord):
                self._heard.add(seq)
        elif isinstance(record, AssistantRecord):
            self._said.add(seq)


_EARLIER: Final = (
    "message_seq",
    "during",
    "through",
    "asides",
    "previous",
    "for_turn",
    "cleared",
    "summary",
)
