"""The tables that follow from single sessions, compared with what the logs say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from .actors.core.intake import seen_window
from .actors.core.records import MalformedRecord, unpack
from .actors.core.session_commands import message_behind
from .actors.core.turn_records import UserRecord
from .actors.core.view_records import ChangedRecord, CommandRecord
from .actors.journal import SeenRow, name_key, seen_hash, seen_key
from .actors.ledger import starting_with
from .actors.self_works import COMMAND_DIGEST
from .storage.base import Reads, Table
from .storage.codec import encode
from .storage.keys import split_log_key
from .verify_changes import change_key
from .verify_rows import Problem, Unreadable, adopt, compare_table, decoded

__all__ = ["compare_names", "seen_without_owner", "trouble_without_log"]

_LOG_KEY_BYTES: Final = 16
_COMMAND: Final[SeenRow] = ("", 0, COMMAND_DIGEST)
_COMMAND_DATA: Final = encode(list(_COMMAND))
"""What is kept of a command: it was heard, and no log tells of it."""


def compare_names(
    reads: Reads, names: Mapping[bytes, int], broken: Collection[int]
) -> Iterator[Problem]:
    """What is wrong with the names of sessions.

    Args:
        reads: the frozen moment.
        names: key -> number of the session, as the logs have it.
        broken: numbers of the logs that cannot be read whole.
    """
    expected = dict(names)
    if broken:
        expected.update(
            (key, number)
            for key, number in adopt(reads, Table.NAMES, _number)
            if key not in expected and number in broken
        )
    yield from compare_table(
        reads, Table.NAMES, expected, _number, lambda number: f"name of session {number}"
    )


def _number(payload: Any) -> int:
    return payload  # type: ignore[no-any-return]  # whatever it is, it is compared with a number


def seen_without_owner(
    reads: Reads, owned: int, broken: Collection[int], is_erased: Callable[[str], bool]
) -> Iterator[Problem]:
    """Rows by which messages are recognised, and that no record and no command owns.

    Args:
        reads: the frozen moment.
        owned: how many rows have been found from the logs.
        broken: numbers of the logs that cannot be read whole.
        is_erased: whether a session was deleted; what a damaged record of it had left goes by
            itself.
    """
    others = sum(1 for _, data in starting_with(reads, Table.SEEN, b"") if data != _COMMAND_DATA)
    if others == owned:
        return
    for key, data in starting_with(reads, Table.SEEN, b""):
        place = f"seen {key.hex()}"
        if data == _COMMAND_DATA:
            continue
        try:
            session_id, seq, _ = decoded(data)
            if is_erased(session_id):
                continue
            owner = _seen_key_of(reads, str(session_id), int(seq), broken)
        except (Unreadable, MalformedRecord, TypeError, ValueError) as error:
            yield Problem(place=place, text=str(error))
            continue
        if owner is not None and owner != key:
            yield Problem(place=place, text=f"leads to {session_id}/{seq}, which is another")


def _seen_key_of(reads: Reads, session_id: str, seq: int, broken: Collection[int]) -> bytes | None:
    """Key of the message that a record accepted; None if its log is damaged anyway."""
    name = reads.get(Table.NAMES, name_key(session_id))
    stream = decoded(name) if name is not None else None
    if stream in broken:
        return None
    found = reads.read_log(stream, seq, seq + 1, limit=1) if stream is not None else []
    record = unpack(decoded(found[0][1])) if found else None
    if isinstance(record, ChangedRecord) and stream is not None:
        return change_key(reads, stream, record)
    if not isinstance(record, UserRecord | CommandRecord):
        return b""
    return seen_key(seen_window(record.at_us), seen_hash(message_behind(record)))


def trouble_without_log(reads: Reads) -> Iterator[Problem]:
    """Rows of trouble that belong to no session."""
    for key, _ in starting_with(reads, Table.TROUBLE, b""):
        if len(key) != _LOG_KEY_BYTES:
            yield Problem(place=f"trouble {key.hex()}", text="has a key of another kind")
            continue
        stream, seq = split_log_key(key)
        if not reads.last_seq(stream):
            yield Problem(place=f"trouble {stream}/{seq}", text="leads to no log")
