"""What each act comes to: the batch to write, the answer to give, the notices to send.

Reads one moment of the store in which nothing of the registry's is on its way, decides in the core,
and returns a :class:`~.bench.Work`. Writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

from ..storage.base import Batch, Reads, Table
from ..storage.codec import encode
from .acts import (
    AccessEntry,
    ActRefused,
    Allow,
    Approve,
    Create,
    Delete,
    Link,
    Move,
    Pair,
    Revoke,
    Undo,
    Unlink,
    Unpair,
)
from .bench import Bench, Work, of_plan
from .codebook import code_key, pending_codes
from .core import codes, commands
from .core.changes import plan_link, plan_move, plan_pair, plan_undo
from .core.routing import scope_of
from .core.runtime_records import AccessRecord, ChangeRecord
from .creation import create
from .deletion import delete
from .door import StandingRow
from .journal import load_binding, load_record
from .ledger import LEDGER_STREAM, access_key, append_to_ledger, changes_since
from .messages import Address, Instance
from .self_works import Knocked, SelfLink, knocked, self_link

__all__ = ["MAX_LATER", "work_of"]

MAX_LATER: Final = 1_000
"""Changes that are looked at for the one to take back; reading them takes some 20 ms."""


def work_of(bench: Bench, act: Any) -> Work:
    """What `act` comes to.

    Raises:
        ActRefused: it makes no sense as things are.
        StorageError: what is stored cannot be read.
    """
    return _MAKERS[type(act)](bench, act)


# -- changes of who is who -----------------------------------------------------------------------


def _link(bench: Bench, act: Link) -> Work:
    user_id = bench.canonical_id(act.platform, act.user_id)
    plan = plan_link(bench.world(), act.platform, user_id, act.user, now_us=bench.now_us, by=act.by)
    return of_plan(bench, plan, dry_run=act.dry_run)


def _unlink(bench: Bench, act: Unlink) -> Work:
    user_id = bench.canonical_id(act.platform, act.user_id)
    plan = plan_link(bench.world(), act.platform, user_id, None, now_us=bench.now_us, by=act.by)
    return of_plan(bench, plan, dry_run=act.dry_run)


def _pair(bench: Bench, act: Pair | Unpair) -> Work:
    user_id = bench.canonical_id(act.platform, act.user_id)
    session_id = act.session_id if isinstance(act, Pair) else None
    plan = plan_pair(
        bench.world(), act.platform, user_id, session_id, now_us=bench.now_us, by=act.by
    )
    return of_plan(bench, plan, dry_run=act.dry_run)


def _move(bench: Bench, act: Move) -> Work:
    row = load_binding(bench.store, act.address)
    if row is None:
        raise ActRefused(f"{'/'.join(filter(None, act.address))} belongs to no session yet")
    world = bench.world()
    rules = bench.rules.get(act.address.instance)
    if rules is None and act.session_id is None:
        raise ActRefused(
            f"there is no channel {act.address.instance!r} whose rules would say where to; "
            "name a session"
        )
    stored = world.session(row.session_id)
    agent = rules.agent if rules is not None else stored[1].agent if stored is not None else ""
    scope = scope_of(row.direct, row.guild, rules.scope) if rules is not None else "manual"
    plan = plan_move(world, row, act.session_id, scope, agent, now_us=bench.now_us, by=act.by)
    return of_plan(bench, plan, dry_run=act.dry_run)


def _undo(bench: Bench, act: Undo) -> Work:
    number, undone, later = _to_undo(bench.store, act.number)
    plan = plan_undo(bench.world(), number, undone, later, now_us=bench.now_us, by=act.by)
    return of_plan(bench, plan, dry_run=act.dry_run)


def _to_undo(
    store: Reads, number: int | None
) -> tuple[int, ChangeRecord, list[tuple[int, ChangeRecord]]]:
    """The change to take back, and those after it."""
    if number is not None and not isinstance(
        load_record(store, LEDGER_STREAM, number) if number > 0 else None, ChangeRecord
    ):
        raise ActRefused(f"there is no change {number}; `identity changes` lists them")
    later: list[tuple[int, ChangeRecord]] = []
    taken_back: set[int | None] = set()
    for found, change in islice(changes_since(store, reverse=True), MAX_LATER):
        is_meant = change.act not in ("undo", "import") and found not in taken_back
        if found == number or (number is None and is_meant):
            return found, change, later[::-1]
        later.append((found, change))
        taken_back.add(change.undoes)
    if number is not None:
        raise ActRefused(f"change {number} lies back more than {MAX_LATER} others")
    raise ActRefused("there is no change to take back")


# -- access --------------------------------------------------------------------------------------


def _approve(bench: Bench, act: Approve) -> Work:
    code = codes.read_code(act.code)
    if code is None:
        raise ActRefused("that is no access code: eight letters and digits, like ABCD-EFGH")
    found = codes.find(pending_codes(bench.store, "access"), code, bench.now_us)
    if found is None:
        raise ActRefused("no such access code waits: it is wrong, used or too old")
    place = Address(Instance(found.instance), found.conversation, found.thread)
    work = _decide(
        bench, found.instance, found.platform, found.user_id, "approved", found.user_name
    )
    work.notices.append(bench.notice(place, found.user_id, commands.APPROVED))
    return work


def _allow(bench: Bench, act: Allow) -> Work:
    return _decide(bench, act.instance, act.platform, act.user_id, "approved")


def _revoke(bench: Bench, act: Revoke) -> Work:
    return _decide(bench, act.instance, act.platform, act.user_id, "revoked")


def _decide(
    bench: Bench,
    instance: str,
    platform: str,
    user_id: str,
    standing: Literal["approved", "revoked"],
    user_name: str | None = None,
) -> Work:
    user_id = bench.canonical_id(platform, user_id)
    batch = Batch()
    row = StandingRow(standing, instance, user_id, bench.now_us, user_name)
    batch.put(Table.ACCESS, access_key(instance, user_id), encode(list(row)))
    batch.delete(Table.CODES, code_key("access", instance, platform, user_id))
    number = bench.store.last_seq(LEDGER_STREAM) + 1
    record = AccessRecord(
        at_us=bench.now_us,
        instance=instance,
        user_id=user_id,
        standing=standing,
        by="operator",
        user_name=user_name,
    )
    append_to_ledger(batch, number, record)
    entry = AccessEntry(
        instance=instance,
        user_id=user_id,
        standing=standing,
        at_us=bench.now_us,
        user_name=user_name,
    )
    return Work(entry, batch, decided=True)


_Maker: TypeAlias = Callable[[Bench, Any], Work]
_MAKERS: Final[dict[type, _Maker]] = {
    Link: _link,
    Unlink: _unlink,
    Pair: _pair,
    Unpair: _pair,
    Move: _move,
    Undo: _undo,
    Approve: _approve,
    Allow: _allow,
    Revoke: _revoke,
    Create: create,
    Delete: delete,
    SelfLink: self_link,
    Knocked: knocked,
}
