"""Frames of the websocket protocol as bytes and as values; no I/O.

A frame is one map, as JSON in a text frame or as CBOR in a binary frame. The protocol itself is
written down in docs/websocket.md.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, TypeAlias, cast

import cbor2

from ..actors.messages import Attachment

__all__ = [
    "PROTOCOL_VERSION",
    "BadFrame",
    "ClientFrame",
    "Frame",
    "Got",
    "Hello",
    "Kind",
    "Message",
    "UnreadableFrame",
    "decode",
    "encode",
    "error_frame",
    "kind_of",
    "parse",
    "refused_frame",
]

Kind: TypeAlias = Literal["json", "cbor"]
Frame: TypeAlias = dict[str, Any]

PROTOCOL_VERSION: Final = 1
_MAX_DEPTH: Final = 4
"""Maps and lists within each other; the deepest frame we define has three."""
_MAX_ID_CHARS: Final = 128
_MAX_NAME_CHARS: Final = 256
_MAX_TOKEN_CHARS: Final = 1024
_MAX_REFERENCE_CHARS: Final = 2048
_MAX_SEEN: Final = 64
_MAX_ATTACHMENTS: Final = 16
_ATTACHMENT_KINDS: Final = ("image", "audio", "video", "file")


class UnreadableFrame(Exception):
    """The bytes are no map of this protocol: nothing after them can be trusted."""


class BadFrame(Exception):
    """The map is not a frame of this protocol; the next one may be."""

    def __init__(self, message: str, *, message_id: str | None = None) -> None:
        super().__init__(message)
        self.message_id = message_id
        """Id of the message that was meant, if it could be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hello:
    """The first frame of a client."""

    token: str | None
    user: str | None
    conversation: str | None
    name: str | None
    resume: str | None
    """The last cursor that the client holds."""
    seen: frozenset[str]
    """Delivery ids that the client holds, the last ones."""

    def __repr__(self) -> str:
        return f"<Hello user={self.user!r} conversation={self.conversation!r}>"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What the human says."""

    id: str
    text: str
    reply_to: str | None
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Got:
    """The client holds every reply up to this cursor."""

    cursor: str


ClientFrame: TypeAlias = Hello | Message | Got


def kind_of(data: str | bytes) -> Kind:
    """JSON travels as text, CBOR as binary."""
    return "json" if isinstance(data, str) else "cbor"


def decode(data: str | bytes) -> Frame:
    """Read one map.

    Raises:
        UnreadableFrame: not one well-formed map; the text says why.
    """
    value = _decode_json(data) if isinstance(data, str) else _decode_cbor(data)
    if not isinstance(value, dict):
        raise UnreadableFrame(f"a frame is a map, not {_name(value)}")
    frame = cast("dict[object, object]", value)
    if not all(isinstance(key, str) for key in frame):
        raise UnreadableFrame("every key of a frame is text")
    return cast("Frame", frame)


def encode(frame: Mapping[str, Any], kind: Kind) -> str | bytes:
    """Write one frame. CBOR has no lone surrogates: they become U+FFFD there."""
    if kind == "json":
        text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
        return text if _has_encoding(text) else json.dumps(frame, separators=(",", ":"))
    return cbor2.dumps({key: _without_surrogates(value) for key, value in frame.items()})


def parse(frame: Frame) -> ClientFrame:
    """Make sense of a map.

    Raises:
        BadFrame: naming the field that is missing, unknown or of the wrong type.
    """
    fields = _Fields(frame, "frame")
    kind = fields.text("type", _MAX_ID_CHARS)
    if kind == "hello":
        return _parse_hello(fields)
    if kind == "message":
        return _parse_message(fields)
    if kind == "got":
        got = Got(cursor=fields.text("cursor", _MAX_ID_CHARS))
        fields.end()
        return got
    raise BadFrame(f"unknown frame type {kind!r}")


def error_frame(code: str, text: str) -> Frame:
    """Tell the client that it did something wrong."""
    return {"type": "error", "code": code, "text": text}


def refused_frame(message_id: str, code: str, text: str, *, retryable: bool = False) -> Frame:
    """Tell the client that a message was not accepted."""
    return {
        "type": "refused",
        "id": message_id,
        "code": code,
        "error": text,
        "retryable": retryable,
    }


def _parse_hello(fields: _Fields) -> Hello:
    version = fields.optional_int("version")
    if version not in {None, PROTOCOL_VERSION}:
        raise BadFrame(f"version {version} is not spoken here, only {PROTOCOL_VERSION}")
    seen = fields.optional_list("seen", _MAX_SEEN)
    if not all(isinstance(entry, str) and len(entry) <= _MAX_ID_CHARS for entry in seen):
        raise BadFrame("seen lists delivery ids")
    hello = Hello(
        token=fields.optional_text("token", _MAX_TOKEN_CHARS),
        user=fields.optional_text("user", _MAX_ID_CHARS),
        conversation=fields.optional_text("conversation", _MAX_ID_CHARS),
        name=fields.optional_text("name", _MAX_NAME_CHARS),
        resume=fields.optional_text("resume", _MAX_ID_CHARS),
        seen=frozenset(cast("list[str]", seen)),
    )
    fields.end()
    return hello


def _parse_message(fields: _Fields) -> Message:
    message_id = fields.text("id", _MAX_ID_CHARS)
    try:
        if not message_id:
            raise BadFrame("id is empty")
        message = Message(
            id=message_id,
            text=fields.text("text", None),
            reply_to=fields.optional_text("reply_to", _MAX_ID_CHARS),
            attachments=tuple(_parse_attachments(fields)),
        )
        fields.end()
    except BadFrame as bad:
        bad.message_id = message_id
        raise
    return message


def _parse_attachments(fields: _Fields) -> Iterator[Attachment]:
    for entry in fields.optional_list("attachments", _MAX_ATTACHMENTS):
        if not isinstance(entry, dict):
            raise BadFrame(f"an attachment is a map, not {_name(entry)}")
        inner = _Fields(cast("Frame", entry), "attachment")
        attachment = Attachment(
            kind=inner.text("kind", _MAX_ID_CHARS),
            reference=inner.text("reference", _MAX_REFERENCE_CHARS),
            mime=inner.optional_text("mime", _MAX_NAME_CHARS),
            size_bytes=inner.optional_int("size_bytes"),
            name=inner.optional_text("name", _MAX_NAME_CHARS),
        )
        inner.end()
        if attachment.kind not in _ATTACHMENT_KINDS:
            raise BadFrame(f"an attachment is one of {', '.join(_ATTACHMENT_KINDS)}")
        yield attachment


class _Fields:
    """Takes fields out of a map one by one; what is left at the end is unknown."""

    def __init__(self, frame: Frame, noun: str) -> None:
        self._left = dict(frame)
        self._noun = noun

    def text(self, name: str, max_chars: int | None) -> str:
        value = self.optional_text(name, max_chars)
        if value is None:
            raise BadFrame(f"{self._noun} needs {name}")
        return value

    def optional_text(self, name: str, max_chars: int | None) -> str | None:
        value = self._left.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, str):
            raise BadFrame(f"{name} is text, not {_name(value)}")
        if max_chars is not None and len(value) > max_chars:
            raise BadFrame(f"{name} is longer than {max_chars} characters")
        return value

    def optional_int(self, name: str) -> int | None:
        value = self._left.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
            raise BadFrame(f"{name} is a whole number from 0, below 2^63")
        return value

    def optional_list(self, name: str, max_length: int) -> list[object]:
        value = self._left.pop(name, None)
        if value is None:
            return []
        if not isinstance(value, list):
            raise BadFrame(f"{name} is a list, not {_name(value)}")
        entries = cast("list[object]", value)
        if len(entries) > max_length:
            raise BadFrame(f"{name} has more than {max_length} entries")
        return entries

    def end(self) -> None:
        if self._left:
            unknown = ", ".join(repr(str(key)[:_MAX_ID_CHARS]) for key in sorted(self._left)[:3])
            raise BadFrame(f"{self._noun} has no field {unknown}")


def _decode_json(text: str) -> object:
    try:
        value = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise UnreadableFrame(f"nested deeper than {_MAX_DEPTH}") from None
    except json.JSONDecodeError as error:
        raise UnreadableFrame(f"not JSON: {error}") from error
    except ValueError as error:
        raise UnreadableFrame("a number is too long") from error
    _check_depth(value)
    return value


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise UnreadableFrame("a map has the same key twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise UnreadableFrame(f"{name} is not JSON")


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(_MAX_DEPTH + 1):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise UnreadableFrame(f"nested deeper than {_MAX_DEPTH}")


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[str, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []


class _NoTags(Mapping[int, Any]):
    """Claims every CBOR tag and refuses it, those with a built-in decoder included."""

    def __getitem__(self, tag: int) -> Any:
        return self._refuse

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0

    @staticmethod
    def _refuse(*_: object) -> NoReturn:
        raise ValueError("tags are not allowed")


def _decode_cbor(data: bytes) -> object:
    stream = io.BytesIO(data)
    decoder = cbor2.CBORDecoder(
        stream,
        semantic_decoders=_NoTags(),
        max_depth=_MAX_DEPTH,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    try:
        value: object = decoder.decode()
    except cbor2.CBORError as error:
        raise UnreadableFrame(f"not CBOR of this protocol: {error.__cause__ or error}") from error
    if stream.tell() != len(data):
        raise UnreadableFrame(f"{len(data) - stream.tell()} bytes follow the frame")
    return value


def _without_surrogates(value: object) -> object:
    if isinstance(value, str) and not _has_encoding(value):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _has_encoding(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(value: object) -> str:
    names: dict[type, str] = {str: "text", list: "a list", dict: "a map", type(None): "null"}
    return names.get(type(value), type(value).__name__)
