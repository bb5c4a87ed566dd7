"""The head of a request: what two readers could understand differently is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from .hook_limits import HookLimits
from .hooks import HookDenied, HookHead

__all__ = ["announced_bytes", "has_body", "read_head"]

_JOINED: Final = frozenset({"forwarded", "via", "x-forwarded-for"})
"""Headers of which every proxy on the way may add one more."""
_DIGITS: Final = re.compile(r"[0-9]{1,15}")


def read_head(
    *,
    method: str,
    path: str,
    query: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    peer: str,
    limits: HookLimits,
) -> HookHead:
    """Read a head.

    Raises:
        HookDenied: 431 for too much of it; 400 for a header or a field of the query that comes
            twice, and for a body whose length is told in two ways; 415 for a body that would have
            to be unpacked.
    """
    raw = list(headers)
    size = len(path) + len(query) + sum(len(name) + len(value) + 4 for name, value in raw)
    if size > limits.max_head_bytes or len(raw) > limits.max_headers:
        raise HookDenied(431)
    told = _once(raw)
    if "content-length" in told and "transfer-encoding" in told:
        # A proxy that believes the other of the two would see another request behind this one.
        raise HookDenied(400, "length told twice")
    if told.get("content-encoding", "identity").lower() != "identity":
        raise HookDenied(415, "packed bodies are not read")
    return HookHead(
        method=method,
        path=path,
        query=_fields(query, limits.max_query_fields),
        headers=told,
        peer=peer,
    )


def has_body(head: HookHead) -> bool:
    """Whether a body follows, be it an empty one."""
    return "content-length" in head.headers or "transfer-encoding" in head.headers


def announced_bytes(head: HookHead) -> int | None:
    """How long the body will be, as it says itself; None if it does not.

    Raises:
        HookDenied: 400; it says so in no plain number.
    """
    told = head.headers.get("content-length")
    if told is None:
        return None
    if not _DIGITS.fullmatch(told):
        raise HookDenied(400, "no such length")
    return int(told)


def _once(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    told: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name not in told:
            told[name] = value
        elif name in _JOINED:
            told[name] += f", {value}"
        else:
            raise HookDenied(400, "a header came twice")
    return told


def _fields(query: bytes, most: int) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=most
        )
    except ValueError:
        raise HookDenied(400, "no such query") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise HookDenied(400, "a field of the query came twice")
    return fields
