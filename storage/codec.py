"""How a payload becomes the bytes of a record, and back: `version, crc32, CBOR`.

A payload is None, a bool, an int that CBOR holds without a tag (-2**64 … 2**64-1), a float, a str,
bytes, a list or tuple of payloads, or a dict of payloads with str keys. Tuples come back as lists.
Text that is not valid Unicode (lone surrogates) comes back exactly: it is stored as CBOR tag 273,
"non-UTF-8 text", the only tag that :func:`decode` knows.

Bytes from a disk are not to be trusted, and cbor2 by itself builds objects from tags, ignores what
follows the first item and recurses until the process dies; hence the checks around it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast
from zlib import crc32

import cbor2

from .errors import CorruptRecord, RecordFromFuture, Unencodable

__all__ = [
    "FORMAT_VERSION",
    "MAX_DEPTH",
    "Payload",
    "decode",
    "decode_all",
    "encode",
    "encode_known",
]

FORMAT_VERSION: Final = 1
"""First byte of every record."""
MAX_DEPTH: Final = 32
"""Deepest nesting of lists and dicts; an unbounded one overruns the C stack inside cbor2."""

Payload: TypeAlias = (
    "bool | int | float | str | bytes | Sequence[Payload] | Mapping[str, Payload] | None"
)
"""What a record may hold; see the module's docstring."""

_HEADER: Final = struct.Struct(">BI")
_FLAT: Final = frozenset({type(None), bool, int, float, str, bytes})
_CONTAINERS: Final = frozenset({list, tuple, dict})
_RAW_TEXT_TAG: Final = 273
"""https://www.iana.org/assignments/cbor-tags: "non-UTF-8 CESU-8 / WTF-8 string"."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_PAIR: Final = b"\x82"
"""The head of a CBOR list of two."""
_LIST: Final = 0x9A
_LIST_HEAD: Final = struct.Struct(">BI")
"""A CBOR list of up to 2**32-1 items."""
_END_MARK: Final = b"end of the record"
_END: Final = cbor2.dumps(_END_MARK)
_MIN_INT: Final = -(2**64)
_MAX_INT: Final = 2**64 - 1


def encode(payload: Payload) -> bytes:
    """The record for `payload`.

    Raises:
        Unencodable: a type, an integer or a depth outside of what records hold.
    """
    _check(payload, _unencodable)
    return encode_known(payload)


def encode_known(payload: Payload) -> bytes:
    """As :func:`encode`, for a payload whose types, sizes and depth the caller vouches for.

    It is for what is written at every turn, of fields that were checked when they came in. Anything
    else would be stored as it is, and refused by :func:`decode`.
    """
    try:
        body = cbor2.dumps(payload)
    except UnicodeEncodeError:
        body = cbor2.dumps(payload, encoders={str: _encode_text})
    return _HEADER.pack(FORMAT_VERSION, crc32(body)) + body


def decode(data: bytes, place: Iterable[object] = ()) -> Any:
    """The payload of a record; its shape is for the caller to check.

    Args:
        data: the record, as :func:`encode` made it.
        place: where it was read, e.g. `("log", stream, seq)`; for the error's text only.

    Raises:
        RecordFromFuture: written in a format that this version does not know.
        CorruptRecord: the bytes are not what was written, or never were a record.
    """
    if len(data) <= _HEADER.size:
        raise CorruptRecord(f"record{_at(place)} is cut short: {len(data)} bytes")
    version, checksum = _HEADER.unpack_from(data)
    if version != FORMAT_VERSION:
        raise _wrong_version(version, place)
    body = data[_HEADER.size :]
    if crc32(body) != checksum:
        raise CorruptRecord(
            f"record{_at(place)} fails its checksum: the stored bytes have changed; "
            "restore this state directory from a copy"
        )
    try:
        payload = _parse(body)
    except _Malformed as error:
        raise CorruptRecord(f"record{_at(place)} is malformed: {error}") from error
    except cbor2.CBORError as error:
        raise CorruptRecord(f"record{_at(place)} is malformed: {_reason(error)}") from error
    return payload


def decode_all(rows: Sequence[bytes]) -> list[Any]:
    """The payloads of many records at once, in half the time of :func:`decode` on each.

    Raises:
        RecordFromFuture: as for :func:`decode`.
        CorruptRecord: as for :func:`decode`; it does not say which record it is.
    """
    bodies = [row[_HEADER.size :] for row in rows]
    for row, body in zip(rows, bodies, strict=True):
        if not body or _HEADER.unpack_from(row) != (FORMAT_VERSION, crc32(body)):
            decode(row)  # says what is wrong
    try:
        head = _LIST_HEAD.pack(_LIST, len(rows) + 1)
        *payloads, end = _load(b"".join((head, *bodies, _END)))
        if end != _END_MARK:
            raise _Malformed("more than one item")
        for payload in payloads:
            _check_flat(payload)
    except (_Malformed, cbor2.CBORError):
        return [decode(row) for row in rows]
    return payloads


class _Malformed(Exception):
    """Bytes which parse, as something that no payload is."""


def _parse(body: bytes) -> Payload:
    payload, end = _load(_PAIR + body + _END)
    if end != _END_MARK:
        raise _Malformed("more than one item")
    _check_flat(payload)
    return cast("Payload", payload)


def _load(marked: bytes) -> list[Any]:
    """The items of a list that has our end mark behind the bodies of records.

    cbor2 does not tell how far it has read, but only bodies of exactly one item each leave the mark
    to be the last of the list.
    """
    items: list[Any] = cbor2.loads(
        marked,
        semantic_decoders=_TAGS,
        max_depth=MAX_DEPTH + 1,
        allow_indefinite=False,
        allow_duplicate_keys=False,
    )
    return items


def _check_flat(payload: Payload) -> None:
    items = cast("list[object]", payload)
    if type(items) is not list or not _FLAT.issuperset(map(type, items)):
        _check(payload, _Malformed)


def _unencodable(reason: str) -> Unencodable:
    return Unencodable(f"cannot store this payload: {reason}")


def _check(payload: object, error: Callable[[str], Exception]) -> None:
    """Raise `error` unless `payload` is one."""
    if type(payload) in _FLAT:
        _check_items((payload,), 0, error)
    else:
        _check_container(payload, 0, error)


def _check_container(value: object, depth: int, error: Callable[[str], Exception]) -> None:
    kind = type(value)
    if kind not in _CONTAINERS:
        raise error(f"it holds a {kind.__name__}")
    if depth == MAX_DEPTH:
        raise error(f"nested deeper than {MAX_DEPTH}")
    if kind is not dict:
        _check_items(cast("list[object]", value), depth + 1, error)
        return
    fields = cast("dict[object, object]", value)
    for key in fields:
        if type(key) is not str:
            raise error(f"a key is of type {type(key).__name__}, not str")
    _check_items(fields.values(), depth + 1, error)


def _check_items(items: Collection[object], depth: int, error: Callable[[str], Exception]) -> None:
    # Most items are scalars: their types are looked at in C, and only the rest one by one.
    kinds = set(map(type, items))
    if int in kinds:
        for item in items:
            if type(item) is int and not _MIN_INT <= item <= _MAX_INT:
                raise error(f"{item} has more than 64 bits")
    if not _FLAT.issuperset(kinds):
        for item in items:
            if type(item) not in _FLAT:
                _check_container(item, depth, error)


def _encode_text(encoder: cbor2.CBOREncoder, text: str) -> None:
    if _SURROGATE.search(text):
        encoder.encode_semantic(_RAW_TEXT_TAG, text.encode("utf-8", "surrogatepass"))
    else:
        encoder.encode_string(text)


def _decode_text(value: object, immutable: bool) -> str:
    if type(value) is not bytes:
        raise _Malformed("its raw text is not bytes")
    text = value.decode("utf-8", "surrogatepass")
    if not _SURROGATE.search(text):
        raise _Malformed("its text is valid Unicode in the form for text that is not")
    return text


class _Tags(Mapping[int, Callable[[object, bool], object]]):
    """Decoders by tag, where cbor2 looks first; any error but KeyError stops it from going on."""

    def __getitem__(self, tag: int) -> Callable[[object, bool], object]:
        if tag == _RAW_TEXT_TAG:
            return _decode_text
        raise _Malformed(f"it holds CBOR tag {tag}")

    def __iter__(self) -> Iterator[int]:
        return iter((_RAW_TEXT_TAG,))

    def __len__(self) -> int:
        return 1


_TAGS: Final = _Tags()


def _reason(error: cbor2.CBORError) -> str:
    cause = error.__cause__
    return f"{error}: {cause}" if isinstance(cause, Exception) else str(error)


def _wrong_version(version: int, place: Iterable[object]) -> Exception:
    if version > FORMAT_VERSION:
        return RecordFromFuture(
            f"record{_at(place)} has format {version}; this version reads up to "
            f"{FORMAT_VERSION}: upgrade turnkeeper"
        )
    return CorruptRecord(f"record{_at(place)} has format {version}, which never existed")


def _at(place: Iterable[object]) -> str:
    name = "/".join(map(str, place))
    return f" {name}" if name else ""
