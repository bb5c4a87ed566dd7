"""What each act comes to: the batch to write, the answer to give, the notices to send.

Reads one moment of the store in which nothing of the registry's is on its way, decides in the core,
and returns a :class:`Work`. Writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from ..storage.base import Batch, Reads, Table
from ..storage.codec import decode, encode
from ..storage.keys import hash16
from .acts import (
    AccessEntry,
    ActRefused,
    Allow,
    Approve,
    Link,
    Move,
    Pair,
    Revoke,
    Undo,
    Unlink,
    Unpair,
)
from .core import codes, commands
from .core.changes import plan_join, plan_link, plan_move, plan_pair, plan_undo
from .core.codes import Attempts, CodeKind, PendingCode
from .core.intake import seen_window
from .core.records import AccessRecord, ChangeRecord
from .core.routing import IdentityRow, InstanceRules, scope_of
from .core.world import Plan
from .door import StandingRow
from .errands import TakeOver
from .frozen import message
from .journal import SeenRow, load_binding, load_record, load_seen, seen_hash, seen_key
from .ledger import (
    LEDGER_STREAM,
    StoreWorld,
    access_key,
    append_to_ledger,
    batch_of_plan,
    changes_since,
    starting_with,
)
from .messages import (
    Accepted,
    Address,
    DeliveryId,
    InboundTurn,
    Instance,
    Notice,
    SessionId,
    TurnEnded,
    TurnId,
)

__all__ = [
    "ACCESS_CODES",
    "COMMAND_DIGEST",
    "Bench",
    "Knocked",
    "SelfLink",
    "Work",
    "accepted_command",
    "sweep_codes",
    "work_of",
]

COMMAND_DIGEST: Final = b"command\0"
"""Stands for the body of a command where messages are recognised: it may hold a code."""

ACCESS_CODES: Final = b"a"
"""What the keys of access codes begin with, in `Table.CODES`."""
_KINDS: Final[dict[CodeKind, bytes]] = {"link": b"l", "access": ACCESS_CODES}
_ATTEMPTS: Final = b"t"


@message
class SelfLink:
    """A human's command about themselves; `user_id` is in canonical form."""

    turn: InboundTurn
    command: commands.Command
    user_id: str
    unanswered: bool = False
    """Whether whoever wrote was not let in, and is told nothing."""


@message
class Knocked:
    """A stranger wrote where strangers get an access code; `user_id` is in canonical form."""

    turn: InboundTurn
    user_id: str


@dataclass(slots=True)
class Work:
    """What an act comes to."""

    value: Any
    """What the act is answered with."""
    batch: Batch | None = None
    """None where nothing is to be written."""
    taken_over: list[TakeOver] = field(default_factory=list[TakeOver])
    """What sessions that exist find appended to their logs."""
    moved: tuple[Address, ...] = ()
    opened: int = 0
    """How many sessions are new."""
    decided: bool = False
    """Whether somebody was approved or revoked."""
    notices: list[Notice] = field(default_factory=list[Notice])
    ended: TurnEnded | None = None
    """Of a command: told to a channel that wants to know when its turns have ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What works are made with."""

    store: Reads
    now_us: int
    next_stream: int
    rules: Mapping[Instance, InstanceRules]
    canonical: Callable[[str, str], str]
    random: Callable[[int], bytes]

    def notice(self, address: Address, text: str, reply_to: str | None = None) -> Notice:
        """A notice with an id of its own."""
        delivery_id = DeliveryId(f"notice/{self.random(8).hex()}")
        return Notice(delivery_id=delivery_id, address=address, text=text, reply_to=reply_to)

    def answer(self, turn: InboundTurn, text: str) -> Notice:
        """A notice that answers a message."""
        return self.notice(turn.address, text, turn.message_id)

    def world(self) -> StoreWorld:
        """The moment as acts are planned on it."""
        return StoreWorld(self.store, self.next_stream)

    def canonical_id(self, platform: str, user_id: str) -> str:
        """The canonical form of a user id.

        Raises:
            ActRefused: it is none.
        """
        if not platform or not user_id:
            raise ActRefused("an identity is a platform and a user id, and neither is empty")
        try:
            return self.canonical(platform, user_id)
        except ValueError as error:
            raise ActRefused(f"{user_id!r:.80} is no user id of {platform}: {error}") from error


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
    return _of_plan(bench, plan, dry_run=act.dry_run)


def _unlink(bench: Bench, act: Unlink) -> Work:
    user_id = bench.canonical_id(act.platform, act.user_id)
    plan = plan_link(bench.world(), act.platform, user_id, None, now_us=bench.now_us, by=act.by)
    return _of_plan(bench, plan, dry_run=act.dry_run)


def _pair(bench: Bench, act: Pair | Unpair) -> Work:
    user_id = bench.canonical_id(act.platform, act.user_id)
    session_id = act.session_id if isinstance(act, Pair) else None
    plan = plan_pair(
        bench.world(), act.platform, user_id, session_id, now_us=bench.now_us, by=act.by
    )
    return _of_plan(bench, plan, dry_run=act.dry_run)


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
    return _of_plan(bench, plan, dry_run=act.dry_run)


def _undo(bench: Bench, act: Undo) -> Work:
    number, undone, later = _to_undo(bench.store, act.number)
    plan = plan_undo(bench.world(), number, undone, later, now_us=bench.now_us, by=act.by)
    return _of_plan(bench, plan, dry_run=act.dry_run)


def _to_undo(
    store: Reads, number: int | None
) -> tuple[int, ChangeRecord, list[tuple[int, ChangeRecord]]]:
    """The change to take back, and those after it."""
    if number is None:
        changes = changes_since(store, 1)
        taken_back = {change.undoes for _, change in changes}
        for at in range(len(changes) - 1, -1, -1):
            found, change = changes[at]
            if change.act != "undo" and found not in taken_back:
                return found, change, changes[at + 1 :]
        raise ActRefused("there is no change to take back")
    record = load_record(store, LEDGER_STREAM, number) if number > 0 else None
    if not isinstance(record, ChangeRecord):
        raise ActRefused(f"there is no change {number}; `identity changes` lists them")
    return number, record, changes_since(store, number + 1)


def _of_plan(bench: Bench, plan: Plan, *, dry_run: bool) -> Work:
    if dry_run:
        return Work(replace(plan.change, number=None, dry_run=True))
    batch = batch_of_plan(bench.store, plan)
    starts = {stream: first_seq for stream, first_seq, _ in batch.appends}
    return Work(
        plan.change,
        batch,
        taken_over=[
            TakeOver(
                session_id=session_id, first_seq=starts[stream], records=tuple(plan.logs[stream])
            )
            for session_id, stream in plan.concerned.items()
        ],
        moved=tuple(after.address for _, after in plan.bindings),
        opened=len(plan.opened),
    )


# -- access --------------------------------------------------------------------------------------


def _approve(bench: Bench, act: Approve) -> Work:
    code = codes.read_code(act.code)
    if code is None:
        raise ActRefused("that is no access code: eight letters and digits, like ABCD-EFGH")
    found = codes.find(_pending(bench.store, "access"), code, bench.now_us)
    if found is None:
        raise ActRefused("no such access code waits: it is wrong, used or too old")
    place = Address(Instance(found.instance), found.conversation, found.thread)
    work = _decide(
        bench, found.instance, found.platform, found.user_id, "approved", found.user_name
    )
    work.notices.append(bench.notice(place, commands.APPROVED))
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
    batch.delete(Table.CODES, _code_key("access", instance, platform, user_id))
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


def _knocked(bench: Bench, act: Knocked) -> Work:
    batch = Batch()
    notice = _issue(bench, batch, "access", act.turn, act.user_id)
    return Work(None, batch, notices=[notice])


# -- links by the humans themselves --------------------------------------------------------------


def _self_link(bench: Bench, act: SelfLink) -> Work:
    turn, user_id = act.turn, act.user_id
    if load_seen(bench.store, seen_hash(turn), bench.now_us) is not None:
        return Work(accepted_command(turn, duplicate=True))
    if not turn.direct:
        return _posted_in_group(bench, act)
    work, batch = Work(None), Batch()
    if act.command.verb == "unlink":
        work, batch, text = _self_unlink(bench, turn.platform, user_id)
        work.notices.append(bench.answer(turn, text))
    elif act.command.argument is None:
        work.notices.append(_issue(bench, batch, "link", turn, user_id))
    else:
        return _redeem(bench, turn, user_id, act.command.argument)
    return _heard(bench, work, batch, turn)


def _self_unlink(bench: Bench, platform: str, user_id: str) -> tuple[Work, Batch, str]:
    try:
        plan = plan_link(bench.world(), platform, user_id, None, now_us=bench.now_us, by="code")
    except ActRefused:
        return Work(None), Batch(), commands.NOTHING_TO_UNLINK
    work = _of_plan(bench, plan, dry_run=False)
    assert work.batch is not None  # what is no dry run is written
    return work, work.batch, commands.UNLINKED


def _redeem(bench: Bench, turn: InboundTurn, user_id: str, typed: str) -> Work:
    """A human sends a code that somebody was given: prove that both are the same."""
    key = _attempts_key(turn.platform, user_id)
    attempts = _attempts(bench.store, key)
    work, batch = Work(None), Batch()
    if codes.is_locked(attempts, bench.now_us):
        work.notices.append(bench.answer(turn, _locked(attempts, bench.now_us)))
        return _heard(bench, work, batch, turn)
    code = codes.read_code(typed)
    found = (
        codes.find(_pending(bench.store, "link"), code, bench.now_us) if code is not None else None
    )
    if found is None:
        text = commands.WRONG_CODE
        if code is not None:
            after = codes.after_wrong(attempts, bench.now_us)
            batch.put(Table.CODES, key, encode(list(after)))
            if codes.is_locked(after, bench.now_us):
                text = _locked(after, bench.now_us)
        work.notices.append(bench.answer(turn, text))
        return _heard(bench, work, batch, turn)
    if (found.platform, found.user_id) == (turn.platform, user_id):
        work.notices.append(bench.answer(turn, commands.OWN_CODE))
        return _heard(bench, work, batch, turn)
    world = bench.world()
    try:
        plan = plan_join(
            world,
            _identity(world, found.platform, found.user_id),
            _identity(world, turn.platform, user_id),
            now_us=bench.now_us,
        )
    except ActRefused:
        work.notices.append(bench.answer(turn, commands.ALREADY_LINKED))
    else:
        work = _of_plan(bench, plan, dry_run=False)
        assert work.batch is not None  # what is no dry run is written
        batch = work.batch
        there = Address(Instance(found.instance), found.conversation, found.thread)
        work.notices.append(bench.answer(turn, commands.linked(found.platform)))
        work.notices.append(bench.notice(there, commands.linked(turn.platform)))
    batch.delete(Table.CODES, _key_of(found))
    batch.put(Table.CODES, key, encode(list(codes.after_right(attempts, bench.now_us))))
    return _heard(bench, work, batch, turn)


def _identity(world: StoreWorld, platform: str, user_id: str) -> IdentityRow:
    return world.identity(platform, user_id) or IdentityRow(platform, user_id)


def _locked(attempts: Attempts, now_us: int) -> str:
    return commands.locked((attempts.locked_until_us - now_us) / 1e6)


def _posted_in_group(bench: Bench, act: SelfLink) -> Work:
    """A command in a group: whoever reads along has the code, so it is void."""
    work, batch = Work(None), Batch()
    code = codes.read_code(act.command.argument) if act.command.argument is not None else None
    if code is not None:
        found = codes.find(_pending(bench.store, "link"), code, bench.now_us)
        if found is not None:
            batch.delete(Table.CODES, _key_of(found))
    if act.unanswered:
        return Work(None, batch)
    work.notices.append(bench.answer(act.turn, commands.NOT_IN_GROUPS))
    return _heard(bench, work, batch, act.turn)


def _issue(bench: Bench, batch: Batch, kind: CodeKind, turn: InboundTurn, user_id: str) -> Notice:
    """Give out a code, if whoever asks has not had too many; the notice that tells so."""
    store, now_us = bench.store, bench.now_us
    instance = turn.address.instance
    key = _attempts_key(turn.platform, user_id)
    attempts = codes.after_issue(_attempts(store, key), now_us)
    own = _code_key(kind, instance, turn.platform, user_id)
    waiting = 0
    for stored, pending in _pending_rows(store, _KINDS[kind] + hash16(instance)):
        if codes.is_expired(pending, now_us):
            batch.delete(Table.CODES, stored)
        elif stored != own:
            waiting += 1
    if attempts is None or waiting >= codes.MAX_PENDING:
        return bench.answer(
            turn, commands.TOO_MANY_CODES if attempts is None else commands.TRY_LATER
        )
    code = codes.make_code(bench.random(codes.CODE_BYTES))
    owner = replace(turn, user_id=user_id)
    sealed = codes.seal(code, bench.random(codes.SALT_BYTES), kind, owner, now_us)
    batch.put(Table.CODES, own, encode(list(sealed)))
    batch.put(Table.CODES, key, encode(list(attempts)))
    tell = commands.new_link_code if kind == "link" else commands.access_code
    return bench.answer(turn, tell(code))


def _heard(bench: Bench, work: Work, batch: Batch, turn: InboundTurn) -> Work:
    """Let the command be recognised when it is delivered again, and be over."""
    row: SeenRow = ("", 0, COMMAND_DIGEST)
    key = seen_key(seen_window(bench.now_us), seen_hash(turn))
    batch.create(Table.SEEN, key, encode(list(row)))
    work.batch = batch
    work.value = accepted_command(turn, duplicate=False)
    work.ended = TurnEnded(
        turn_id=work.value.turn_id,
        address=turn.address,
        status="answered",
        delivery_id=work.notices[0].delivery_id,
    )
    return work


def accepted_command(turn: InboundTurn, *, duplicate: bool) -> Accepted:
    """The answer to a channel that has delivered a command."""
    turn_id = TurnId(f"command/{seen_hash(turn).hex()}")
    return Accepted(session_id=SessionId(""), turn_id=turn_id, duplicate=duplicate)


# -- codes that wait -----------------------------------------------------------------------------


def _code_key(kind: CodeKind, instance: str, platform: str, user_id: str) -> bytes:
    return _KINDS[kind] + hash16(instance) + hash16(platform, user_id)


def _key_of(pending: PendingCode) -> bytes:
    return _code_key(pending.kind, pending.instance, pending.platform, pending.user_id)


def _attempts_key(platform: str, user_id: str) -> bytes:
    return _ATTEMPTS + hash16(platform, user_id)


def _attempts(store: Reads, key: bytes) -> Attempts:
    data = store.get(Table.CODES, key)
    return codes.read_attempts(decode(data)) if data is not None else Attempts()


def _pending(store: Reads, kind: CodeKind) -> Iterator[PendingCode]:
    """Every code of a kind that waits."""
    for _, pending in _pending_rows(store, _KINDS[kind]):
        yield pending


def _pending_rows(store: Reads, prefix: bytes) -> Iterator[tuple[bytes, PendingCode]]:
    for key, data in starting_with(store, Table.CODES, prefix):
        yield key, codes.read_pending(decode(data))


def sweep_codes(store: Reads, now_us: int) -> Batch:
    """What removes the codes that have expired, and the attempts that count no more."""
    batch = Batch()
    for kind in _KINDS.values():
        for key, pending in _pending_rows(store, kind):
            if codes.is_expired(pending, now_us):
                batch.delete(Table.CODES, key)
    for key, data in starting_with(store, Table.CODES, _ATTEMPTS):
        if codes.is_blank(codes.read_attempts(decode(data)), now_us):
            batch.delete(Table.CODES, key)
    return batch


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
    SelfLink: _self_link,
    Knocked: _knocked,
}
