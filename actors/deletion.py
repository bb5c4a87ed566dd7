"""What the deletion of a session comes to: whether it may go, and what is written then."""

from __future__ import annotations

from datetime import UTC, datetime

from ..storage.base import Reads
from ..storage.errors import CorruptRecord
from .acts import ActRefused, Delete, Deleted
from .addressing import goes_on_in
from .bench import Bench, Work
from .core.head import Head
from .core.records import MalformedRecord
from .core.routing import IdentityRow, default_user
from .core.view_records import ErasedRecord
from .erased import load_erased
from .erasing import first_batch
from .errands import TakeOver
from .journal import load_head, load_session_number
from .ledger import paired_identities
from .memory_rows import memory_keys
from .mission_rows import all_missions

__all__ = ["delete", "led_to", "why_unknown"]


def delete(bench: Bench, act: Delete) -> Work:
    """Delete a session.

    Raises:
        ActRefused: there is none, something in it is open, or somebody is still led to it.
    """
    store, session_id = bench.store, act.session_id
    stream = load_session_number(store, session_id)
    if stream is None:
        raise ActRefused(why_unknown(store, session_id))
    head = _head(store, stream)
    if head is not None and not act.even_open:
        _check_closed(head)
    for row in bench.world().paired_to(session_id):
        raise ActRefused(_paired(row))
    if (used := _used_by_missions(store).get(session_id)) is not None:
        raise ActRefused(used)
    records = store.last_seq(stream)
    if act.records not in (None, records):
        raise ActRefused(f"{session_id} has gone on: it has {records} records, not {act.records}")
    record = ErasedRecord(at_us=bench.now_us, session_id=session_id, by=act.by, records=records)
    batch, owned = first_batch(store, stream, record)
    deleted = Deleted(
        session_id=session_id,
        number=stream,
        records=records,
        dry_run=act.dry_run,
        conversations=tuple(row.address for row in owned),
        memories=sum(1 for _ in memory_keys(store, stream)),
        open_turns=head.open_turns if head is not None else 0,
        open_deliveries=head.open_deliveries if head is not None else 0,
        last_active_us=head.last_active_us if head is not None else 0,
    )
    if act.dry_run:
        return Work(deleted)
    return Work(
        deleted,
        batch,
        taken_over=[TakeOver(session_id=session_id, first_seq=records + 1, records=(record,))],
        moved=deleted.conversations,
    )


def why_unknown(store: Reads, session_id: str) -> str:
    """Why no session is found under an id."""
    erased = load_erased(store, session_id)
    if erased is not None:
        when = datetime.fromtimestamp(erased.at_us / 1e6, UTC)
        return f"the session {session_id!r} was deleted on {when:%Y-%m-%d} by the {erased.by}"
    return f"there is no session {session_id!r}"


def _head(store: Reads, stream: int) -> Head | None:
    """The head of a session; None of a damaged one, which may go as well."""
    try:
        return load_head(store, stream)
    except (CorruptRecord, MalformedRecord):
        return None


def _check_closed(head: Head) -> None:
    turns, deliveries = head.open_turns, head.open_deliveries
    if turns:
        raise ActRefused(
            f"{_count(turns, 'turn')} of {head.session_id} {_are(turns)} not over yet: wait for "
            "its agent, or stop the runtime and delete it then"
        )
    if deliveries:
        raise ActRefused(
            f"{_count(deliveries, 'message')} of {head.session_id} {_are(deliveries)} still on the "
            "way: wait, or stop the runtime and delete it then"
        )


def led_to(store: Reads) -> dict[str, str]:
    """Sessions to which somebody, or a mission, is still led; and why, with what would help.

    They would open a session of the same id again.
    """
    paired = {row.session_id: _paired(row) for row in paired_identities(store) if row.session_id}
    return {**_used_by_missions(store), **paired}


def _used_by_missions(store: Reads) -> dict[str, str]:
    found: dict[str, str] = {}
    for mission in all_missions(store):
        definition = mission.definition
        name = definition.name
        uses = {goes_on_in(store, definition.session_id): "runs in"}
        uses[definition.session_id] = "runs in"
        if definition.on_behalf_of is not None:
            uses.setdefault(definition.on_behalf_of, "was asked for in")
        for session_id, how in uses.items():
            found[session_id] = (
                f"the mission {name!r} {how} {session_id}: `missions remove {name}` first"
            )
    return found


def _paired(row: IdentityRow) -> str:
    """Why an identity keeps the session that it is paired with."""
    name = default_user(row.platform, row.user_id)
    help_ = (
        "take that out of [pairing] in the configuration"
        if row.paired_by == "config"
        else f"`channels unpair --platform {row.platform} --user-id {row.user_id}` first"
    )
    return f"{name} is paired with {row.session_id}: {help_}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _are(count: int) -> str:
    return "are" if count != 1 else "is"
