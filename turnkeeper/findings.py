"""Where a message is, found by the platform's id of it. Reads only.

For one to two weeks the store recognises every message that is delivered again, and whatever it
recognises is found, in whichever conversation. Older ones are looked for in the logs, newest first,
and not without end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from operator import itemgetter
from typing import Final, NamedTuple

from .actors.core.head import Head
from .actors.core.routing import BindingRow
from .actors.core.turn_records import UserRecord
from .actors.core.view_records import CommandRecord
from .actors.journal import load_records, seen_hash, seen_key
from .actors.ledger import pages
from .actors.messages import Address, InboundTurn, Instance
from .storage.base import Reads, Table
from .storage.codec import decode, decode_all
from .views import heads

__all__ = ["MAX_SEARCHED", "Found", "Reading", "find_heard", "find_messages", "readings"]

MAX_SEARCHED: Final = 20_000
"""Records among which a message is looked for that is not recognised any more."""

_WINDOW_BYTES: Final = 4
_INSTANCE_AND_CONVERSATION: Final = itemgetter(
    BindingRow._fields.index("instance"), BindingRow._fields.index("conversation")
)


class Found(NamedTuple):
    """Where a message was accepted."""

    session_id: str
    """Empty for a command that no session hears."""
    seq: int
    """Of its record; 0 for a command that no session hears."""


class Reading(NamedTuple):
    """What a text may mean: a message of a conversation."""

    instance: str
    conversation: str
    message_id: str


def readings(text: str) -> list[Reading]:
    """What `INSTANCE/CONVERSATION/MESSAGE_ID` may mean, the two last parts of which may hold `/`.

    The longest conversation comes first.
    """
    instance, _, rest = text.partition("/")
    cuts = [at for at, letter in enumerate(rest) if letter == "/"]
    return [Reading(instance, rest[:at], rest[at + 1 :]) for at in reversed(cuts)]


def find_messages(store: Reads, text: str) -> list[Found]:
    """The messages that `text` names: by instance, conversation and id, or by the id alone.

    Those that the store recognises; if there is none, those among the newest `MAX_SEARCHED` records
    of the sessions in which a human wrote last.
    """
    meant = readings(text)
    windows = list(_windows(store))
    found = _recognised(store, map(_hash, meant), windows)
    if not found:
        alone = (Reading(*place, text) for place in _places(store))
        found = _recognised(store, map(_hash, alone), windows)
    return found or list(_search(store, meant, text))


def find_heard(store: Reads, seen: bytes) -> list[Found]:
    """The message, or command, whose hash is `seen`, if the store recognises it."""
    return _recognised(store, (seen,), list(_windows(store)))


def _hash(reading: Reading) -> bytes:
    place = Address(Instance(reading.instance), reading.conversation)
    return seen_hash(
        InboundTurn(address=place, platform="", message_id=reading.message_id, user_id="", text="")
    )


def _recognised(store: Reads, hashes: Iterable[bytes], windows: Collection[int]) -> list[Found]:
    found: list[Found] = []
    for seen in hashes:
        for window in windows:
            data = store.get(Table.SEEN, seen_key(window, seen))
            if data is not None:
                session_id, seq, _ = decode(data)
                found.append(Found(session_id, seq))
    return found


def _windows(store: Reads) -> Iterator[int]:
    """The windows of recognition of which anything is left, the newest first."""
    stop: bytes | None = None
    while newest := store.scan(Table.SEEN, b"", stop, limit=1, reverse=True):
        stop = newest[0][0][:_WINDOW_BYTES]
        yield int.from_bytes(stop, "big")


def _places(store: Reads) -> set[tuple[str, str]]:
    """Instance and conversation of every place that belongs to a session."""
    found: set[tuple[str, str]] = set()
    for page in pages(store, Table.BINDINGS):
        found.update(map(_INSTANCE_AND_CONVERSATION, decode_all([data for _, data in page])))
    return found


def _search(store: Reads, meant: Collection[Reading], message_id: str) -> Iterator[Found]:
    left = MAX_SEARCHED
    for stream, head in sorted(heads(store), key=_last_active, reverse=True):
        for seq, record in load_records(store, stream, reverse=True):
            if left == 0:
                return
            left -= 1
            if isinstance(record, UserRecord | CommandRecord) and (
                record.message_id == message_id
                or Reading(record.instance, record.conversation, record.message_id) in meant
            ):
                yield Found(head.session_id, seq)


def _last_active(entry: tuple[int, Head]) -> int:
    return entry[1].last_active_us
