"""What a program may mirror into a session, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from .actors.core.intake import check_outgoing
from .actors.core.names import clean_name
from .actors.messages import SessionId
from .actors.provenance import Mirror

__all__ = ["MAX_METADATA_BYTES", "mirror"]

MAX_METADATA_BYTES: Final = 65_536
"""Longest metadata of one mirror, as JSON."""


def mirror(
    session_id: str | None,
    text: str,
    source: str,
    user: str | None,
    metadata: Mapping[str, Any] | None,
) -> Mirror:
    """The request to mirror `text`.

    Raises:
        TypeError: a part is of the wrong type, or the metadata are of other types than JSON's.
        ValueError: there is no text, no source, no session and no user, or both; or something is
            too long.
    """
    check_outgoing(text)
    if not text:
        raise ValueError("there is no text to mirror")
    if (session_id is None) == (user is None):
        raise ValueError("a mirror goes to a session or to a user's: name one of the two")
    name: object = session_id if session_id is not None else user
    if type(name) is not str:
        raise TypeError(f"a session and a user are named by a str, not by a {type(name).__name__}")
    label = clean_name(source) if type(source) is str else None
    if not label:
        raise ValueError(f"source must say in a few words who said it, not {source!r:.80}")
    return Mirror(
        text=text,
        source=label,
        session_id=SessionId(session_id) if session_id is not None else None,
        user=user,
        metadata=_json(metadata),
    )


def _json(metadata: Mapping[str, Any] | None) -> str | None:
    if metadata is None:
        return None
    try:
        encoded = json.dumps(dict(metadata), ensure_ascii=True, allow_nan=False, sort_keys=True)
    except RecursionError:
        raise ValueError("the metadata are nested too deeply") from None
    if len(encoded) > MAX_METADATA_BYTES:
        raise ValueError(
            f"the metadata take {len(encoded)} bytes as JSON; {MAX_METADATA_BYTES} are allowed"
        )
    return encoded
