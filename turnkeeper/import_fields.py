"""What a line of an export may hold: each field of each kind of record, and nothing else."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, Final, TypeAlias, cast, get_args, get_type_hints

from .actors.core.delivery_records import DeliveryStatus
from .actors.core.memory import checked_key, checked_value
from .actors.core.records import Record, record_kinds
from .actors.core.routing import Scope
from .actors.core.turns import NEVER
from .actors.core.view_records import ErasedRecord, MemoryRecord

__all__ = ["SHAPES", "BadField", "Shape", "read_object", "shown"]

_MAX_INT: Final = 2**63 - 1
_MAX_US: Final = 253_402_300_799_999_999
"""The end of the year 9999: no clock shows more."""
_MAX_VERSION: Final = 2**32 - 1
_INT_DIGITS: Final = 20
_MAX_DEPTH: Final = 8
"""Lists in lists: records have two."""
_ELSEWHERE: Final = frozenset({"feed", "change", "access", "schedule", ErasedRecord.kind})
"""Kinds of record that no living session's log holds."""


class BadField(Exception):
    """What is wrong with a line; the text begins with the field, if it is about one."""


def read_object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        BadField: it is none, or has a field twice, or a number that no field holds.
    """
    try:
        found = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_number,
            parse_float=_no_number,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        raise BadField(f"is no JSON of an export: {error!s:.120}") from error
    if not isinstance(found, dict):
        raise BadField("is no JSON object")
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


def shown(value: object) -> str:
    """A value as errors show it."""
    return f"{json.dumps(value):.60}"


_Check: TypeAlias = Callable[[Any], Any]
"""Gives the value of a field as a record holds it. Raises BadField."""


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = _raw_text(cast("dict[str, Any]", value))
    if type(value) is not str:
        raise BadField(f"must be a text, not {shown(value)}")
    return value


def _raw_text(value: dict[str, Any]) -> str:
    encoded = value.get("wtf8")
    if len(value) != 1 or type(encoded) is not str:
        raise BadField(f"must be a text, not {shown(value)}")
    try:
        return base64.b64decode(encoded, validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError) as error:
        raise BadField("wtf8: is not the base64 of a text") from error


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_INT:
        raise BadField(f"must be a whole number from 0 on, not {shown(value)}")
    return value


def _version(value: Any) -> int:
    if not 0 < _whole(value) <= _MAX_VERSION:
        raise BadField(f"must be a version, from 1 to {_MAX_VERSION}, not {shown(value)}")
    return cast("int", value)


def _time_us(value: Any) -> int:
    if _whole(value) > _MAX_US:
        raise BadField(f"lies behind the year 9999: {shown(value)}")
    return cast("int", value)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise BadField(f"must be true or false, not {shown(value)}")
    return value


def _one_of(*choices: str) -> _Check:
    def check(value: Any) -> str:
        if _text(value) not in choices:
            raise BadField(f"must be one of {', '.join(choices)}, not {shown(value)}")
        return cast("str", value)

    return check


def _or_none(check: _Check) -> _Check:
    return lambda value: None if value is None else check(value)


def _items(value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise BadField(f"must be a list, not {shown(value)}")
    return cast("Sequence[Any]", value)


def _plain(value: Any, depth: int = 0) -> Any:
    """Whatever a record may hold: nothing, texts, whole numbers, flags, and lists of these."""
    if value is None or type(value) is bool:
        return value
    if type(value) is int:
        return _whole(value)
    if isinstance(value, list):
        if depth == _MAX_DEPTH:
            raise BadField(f"is nested deeper than {_MAX_DEPTH} lists")
        return tuple(_plain(item, depth + 1) for item in _items(cast("object", value)))
    return _text(value)


def _list_of(check: _Check) -> _Check:
    return lambda value: tuple(map(check, _items(value)))


def _row_of(*checks: _Check) -> _Check:
    def check_row(value: Any) -> tuple[Any, ...]:
        items = _items(value)
        if len(items) != len(checks):
            raise BadField(f"must be a list of {len(checks)}, not {shown(items)}")
        return tuple(check(item) for check, item in zip(checks, items, strict=True))

    return check_row


def _oldest(value: Any) -> int:
    return NEVER if value == NEVER else _whole(value)


def _room(value: Any) -> int:
    return -1 if value == -1 else _whole(value)


_saw: Final = _or_none(_list_of(_row_of(_whole, _oldest, _list_of(_row_of(_whole, _room)))))
"""What an agent was shown: see `windows.Seen`; -1 stands for no room at all."""
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
    ("assistant", "attachments"): _or_none(
        _list_of(_row_of(_text, _text, _or_none(_text), _whole, _or_none(_text)))
    ),
    ("delivery", "parts"): _list_of(_text),
    ("reopened", "parts"): _list_of(_text),
    ("summary", "others"): _list_of(_row_of(_whole, _whole, _whole, _whole)),
    ("assistant", "saw"): _saw,
    ("silent", "saw"): _saw,
    ("bound", "version"): _version,
    ("released", "version"): _version,
    ("keyed", "version"): _version,
    ("bound", "scope"): _one_of(*get_args(Scope)),
    ("note", "status"): _one_of("delivered", "partial", "unknown", "mirrored"),
    ("receipt", "status"): _one_of("delivered", "read", "failed"),
    ("changed", "shown"): _one_of("later", "instead", "nowhere"),
}
"""Fields of which more is known than their type."""


class Shape:
    """How one kind of record is read from a line."""

    def __init__(self, cls: type[Record]) -> None:
        self._make: Callable[..., Record] = cls
        hints = get_type_hints(cls)
        self._checks = {field.name: _check_of(cls.kind, field, hints) for field in fields(cls)}
        self._required = [field.name for field in fields(cls) if field.default is MISSING]

    @property
    def fields(self) -> set[str]:
        """Their names."""
        return set(self._checks)

    def make(self, given: Mapping[str, Any]) -> Record:
        """The record.

        Raises:
            BadField: it has no such field, lacks one, or one holds what it cannot.
        """
        for name in self._required:
            if name not in given:
                raise BadField(f"{name}: is missing")
        values: dict[str, Any] = {}
        for name, value in given.items():
            check = self._checks.get(name)
            if check is None:
                raise BadField(f"{name!r:.80}: is no field of such a record")
            try:
                values[name] = check(value)
            except BadField as error:
                raise BadField(f"{name}: {error}") from error
        record = self._make(**values)
        if isinstance(record, MemoryRecord):
            _check_memory(record)
        return record


def _check_of(kind: str, field: Field[Any], hints: Mapping[str, Any]) -> _Check:
    if field.name.endswith("_us"):
        return _time_us
    known = _BY_NAME.get((kind, field.name))
    return known if known is not None else _BY_TYPE.get(hints[field.name], _plain)


def _check_memory(record: MemoryRecord) -> None:
    try:
        checked_key(record.key)
        if record.value is not None:
            checked_value(record.value)
    except ValueError as error:
        raise BadField(f"memory: {error}") from error


SHAPES: Final = {cls.kind: Shape(cls) for cls in record_kinds() if cls.kind not in _ELSEWHERE}
"""By kind: those that a session's log holds."""
