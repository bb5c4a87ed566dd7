"""Reading what an export has written, strictly: a file may hold anything.

Every line is checked for itself, and against those before it; an error names the line and the
field. What passes replays as a session's log.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, cast, get_args, get_type_hints

from .actors.core.memory import checked_key, checked_value
from .actors.core.records import (
    AssistantRecord,
    DeliveryStatus,
    ErasedRecord,
    MemoryRecord,
    MissionRecord,
    OpenedRecord,
    Record,
    UserRecord,
    record_kinds,
)
from .actors.core.routing import Scope, check_session_name
from .export import DAMAGED, END, EXPORT_VERSION

__all__ = ["BadImport", "ExportFile", "read_export"]

_MAX_LINE_BYTES: Final = 64 * 1024 * 1024
"""Longest line, its end included: more than the longest message takes."""

_MAX_INT: Final = 2**63 - 1
_MAX_US: Final = 253_402_300_799_999_999
"""The end of the year 9999: no clock shows more."""
_INT_DIGITS: Final = 20
_HEAD: Final = ("v", "session", "seq", "kind")
_ELSEWHERE: Final = frozenset({"feed", "change", "access", "schedule", ErasedRecord.kind})
"""Kinds of record that no living session's log holds."""


class BadImport(Exception):
    """The file is no export that can be imported; the text names the line and the field."""


class ExportFile:
    """An export on disk, whose records can be read again and again once it was checked."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self.session_id = ""
        self.records = 0
        self.has_digest = False

    def read(self) -> Iterator[Record]:
        """The records, in order.

        Raises:
            BadImport: the file is no export, or is not complete.
            OSError: it cannot be read.
        """
        with open(self._path, "rb") as file:
            reading = _Reading(self._path.name)
            yield from reading.records(file)
        self.session_id = reading.session_id
        self.records = reading.seq
        self.has_digest = reading.ended


def read_export(path: Path, each: Callable[[Record], None]) -> ExportFile:
    """Check all of a file, and give `each` of its records away.

    Raises:
        BadImport: it is no export, or is not complete.
        OSError: it cannot be read.
    """
    export = ExportFile(path)
    for record in export.read():
        each(record)
    return export


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

    def records(self, file: BinaryIO) -> Iterator[Record]:
        while line := file.readline(_MAX_LINE_BYTES + 1):
            self._number += 1
            if len(line) > _MAX_LINE_BYTES:
                raise self._bad(f"is longer than {_MAX_LINE_BYTES:,} bytes")
            if self.ended:
                raise self._bad("stands behind the last line of the export")
            try:
                record = self._read(line)
            except _BadField as error:
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
            raise _BadField("is cut short: it has no end")
        given = _object(line)
        self._check_version(given)
        kind = given.get("kind")
        session_id = given.get("session")
        if type(session_id) is not str:
            raise _BadField(f"session: must be a text, not {_shown(session_id)}")
        if self.session_id and session_id != self.session_id:
            raise _BadField(f"session: is {session_id!r:.80}, the lines before are of another")
        if kind == END:
            self._end(given)
            return None
        return self._record(given, kind, session_id)

    def _check_version(self, given: Mapping[str, Any]) -> None:
        version = given.get("v")
        if type(version) is not int or not version >= 1:
            raise _BadField("v: is no version of an export")
        if version > EXPORT_VERSION:
            raise _BadField(f"v: is {version}, this version reads up to {EXPORT_VERSION}: upgrade")
        if self._version not in (0, version):
            raise _BadField(f"v: is {version}, the lines before have {self._version}")
        self._version = version

    def _end(self, given: Mapping[str, Any]) -> None:
        unknown = given.keys() - {"v", "session", "kind", "records", "sha256"}
        if unknown:
            raise _BadField(f"{min(unknown)!r:.80}: is no field of the last line")
        if type(given.get("records")) is not int or given["records"] != self.seq:
            raise _BadField(f"records: says {_shown(given.get('records'))}, there are {self.seq}")
        if given.get("sha256") != self._digest.hexdigest():
            raise _BadField("sha256: is not that of the lines before: something was changed")
        self.ended = True

    def _record(self, given: dict[str, Any], kind: object, session_id: str) -> Record:
        seq = given.get("seq")
        if type(seq) is not int or seq != self.seq + 1:
            raise _BadField(f"seq: must be {self.seq + 1}, not {_shown(seq)}")
        if kind == DAMAGED:
            raise _BadField("stands for a record that was damaged: the export is not complete")
        shape = _SHAPES.get(kind) if type(kind) is str else None
        if shape is None:
            raise _BadField(f"kind: {_shown(kind)} is none that a session's log holds")
        record = shape.make({name: given[name] for name in given if name not in _HEAD})
        if (seq == 1) != isinstance(record, OpenedRecord):
            raise _BadField("kind: the first record, and no other, must be 'opened'")
        if isinstance(record, OpenedRecord):
            self._open(record, session_id)
        self._check_references(seq, record)
        self.seq = seq
        return record

    def _open(self, record: OpenedRecord, session_id: str) -> None:
        if record.session_id != session_id:
            raise _BadField(f"session_id: is {record.session_id!r:.80}, the session {session_id!r}")
        try:
            check_session_name(session_id)
        except ValueError as error:
            raise _BadField(f"session: {error}") from error
        if not record.agent:
            raise _BadField("agent: is empty")
        self.session_id = session_id

    def _check_references(self, seq: int, record: Record) -> None:
        """Look whether the records that it speaks of are there, and are what it takes them for."""
        for name in _EARLIER:
            if getattr(record, name, 0) > seq:
                raise _BadField(f"{name}: speaks of a record that comes later")
        turn: int = getattr(record, "turn_seq", 0)
        if turn and turn not in self._turns:
            raise _BadField(f"turn_seq: record {turn} is no turn")
        delivery: int | None = getattr(record, "delivery_seq", None)
        if delivery is not None and delivery not in self._said:
            raise _BadField(f"delivery_seq: record {delivery} is no message")
        if isinstance(record, UserRecord | MissionRecord):
            self._turns.add(seq)
        elif isinstance(record, AssistantRecord):
            self._said.add(seq)


_EARLIER: Final = ("during", "through", "asides", "previous", "for_turn", "cleared", "summary")


# -- one line ------------------------------------------------------------------------------------


class _BadField(Exception):
    """What is wrong with a line; the text begins with the field, if it is about one."""


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_number,
            parse_float=_no_number,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        raise _BadField(f"is no JSON of an export: {error!s:.120}") from error
    if not isinstance(found, dict):
        raise _BadField("is no JSON object")
    return cast("dict[str, Any]", found)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field stands there twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"no field holds {text:.40}")


def _integer(text: str) -> int:
    if len(text) > _INT_DIGITS:
        raise ValueError("a number has too many digits")
    return int(text)


def _shown(value: object) -> str:
    return f"{json.dumps(value):.60}"


_Check: TypeAlias = Callable[[Any], Any]
"""Gives the value of a field as a record holds it. Raises _BadField."""


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = _raw_text(cast("dict[str, Any]", value))
    if type(value) is not str:
        raise _BadField(f"must be a text, not {_shown(value)}")
    return value


def _raw_text(value: dict[str, Any]) -> str:
    encoded = value.get("wtf8")
    if len(value) != 1 or type(encoded) is not str:
        raise _BadField(f"must be a text, not {_shown(value)}")
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError) as error:
        raise _BadField("wtf8: is not the base64 of a text") from error


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_INT:
        raise _BadField(f"must be a whole number from 0 on, not {_shown(value)}")
    return value


def _time_us(value: Any) -> int:
    if _whole(value) > _MAX_US:
        raise _BadField(f"lies behind the year 9999: {_shown(value)}")
    return cast("int", value)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise _BadField(f"must be true or false, not {_shown(value)}")
    return value


def _one_of(*choices: str) -> _Check:
    def check(value: Any) -> str:
        if _text(value) not in choices:
            raise _BadField(f"must be one of {', '.join(choices)}, not {_shown(value)}")
        return cast("str", value)

    return check


def _or_none(check: _Check) -> _Check:
    return lambda value: None if value is None else check(value)


def _list_of(check: _Check) -> _Check:
    def check_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _BadField(f"must be a list, not {_shown(value)}")
        return tuple(map(check, cast("list[Any]", value)))

    return check_all


def _row_of(*checks: _Check) -> _Check:
    def check_row(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(cast("list[Any]", value)) != len(checks):
            raise _BadField(f"must be a list of {len(checks)}, not {_shown(value)}")
        return tuple(
            check(item) for check, item in zip(checks, cast("list[Any]", value), strict=True)
        )

    return check_row


_BY_TYPE: Final[dict[Any, _Check]] = {
    str: _text,
    int: _whole,
    bool: _flag,
    str | None: _or_none(_text),
    int | None: _or_none(_whole),
    tuple[str, ...]: _list_of(_text),
    DeliveryStatus: _one_of(*get_args(DeliveryStatus)),
}
_BY_NAME: Final[dict[tuple[str, str], _Check]] = {
    ("user", "attachments"): _or_none(
        _list_of(_row_of(_text, _text, _or_none(_text), _or_none(_whole), _or_none(_text)))
    ),
    ("delivery", "parts"): _list_of(_text),
    ("reopened", "parts"): _list_of(_text),
    ("summary", "others"): _list_of(_row_of(_whole, _whole, _whole, _whole)),
    ("bound", "scope"): _one_of(*get_args(Scope)),
    ("note", "status"): _one_of("delivered", "partial", "unknown", "mirrored"),
    ("receipt", "status"): _one_of("delivered", "read", "failed"),
}
"""Fields of which more is known than their type."""


class _Shape:
    """How one kind of record is read from a line."""

    def __init__(self, cls: type[Record]) -> None:
        self._make: Callable[..., Record] = cls
        hints = get_type_hints(cls)
        self._checks = {field.name: _check_of(cls.kind, field, hints) for field in fields(cls)}
        self._required = [field.name for field in fields(cls) if field.default is MISSING]

    def make(self, given: Mapping[str, Any]) -> Record:
        """The record.

        Raises:
            _BadField: it has no such field, lacks one, or one holds what it cannot.
        """
        for name in self._required:
            if name not in given:
                raise _BadField(f"{name}: is missing")
        values: dict[str, Any] = {}
        for name, value in given.items():
            check = self._checks.get(name)
            if check is None:
                raise _BadField(f"{name!r:.80}: is no field of such a record")
            try:
                values[name] = check(value)
            except _BadField as error:
                raise _BadField(f"{name}: {error}") from error
        record = self._make(**values)
        if isinstance(record, MemoryRecord):
            _check_memory(record)
        return record


def _check_of(kind: str, field: Field[Any], hints: Mapping[str, Any]) -> _Check:
    if field.name.endswith("_us"):
        return _time_us
    known = _BY_NAME.get((kind, field.name))
    return known if known is not None else _BY_TYPE[hints[field.name]]


def _check_memory(record: MemoryRecord) -> None:
    try:
        checked_key(record.key)
        if record.value is not None:
            checked_value(record.value)
    except ValueError as error:
        raise _BadField(f"memory: {error}") from error


_SHAPES: Final = {cls.kind: _Shape(cls) for cls in record_kinds() if cls.kind not in _ELSEWHERE}
