"""What humans ask of the runtime itself: codes, links by code, and their end. See :mod:`.works`."""

from __future__ import annotations

from functools import partial
from typing import Final

from ..storage.base import Batch, Table
from ..storage.codec import encode
from .acts import ActRefused
from .bench import Bench, Work, of_plan
from .codebook import (
    attempts_key,
    code_key,
    key_of_code,
    load_attempts,
    pending_codes,
    waiting_at,
)
from .core import codes, commands
from .core.access import may_receive
from .core.changes import plan_join, plan_link
from .core.codes import Attempts, CodeKind, PendingCode
from .core.intake import seen_window
from .core.routing import IdentityRow
from .deliveries import Notice
from .door import load_standing
from .frozen import message
from .journal import SeenRow, load_seen, seen_hash, seen_key
from .ledger import StoreWorld
from .messages import Accepted, Address, InboundTurn, Instance, SessionId, TurnEnded, TurnId

__all__ = ["COMMAND_DIGEST", "Knocked", "SelfLink", "knocked", "self_link"]

COMMAND_DIGEST: Final = b"command\0"
"""Stands for the body of a command where messages are recognised: it may hold a code."""


@message
class SelfLink:
    """A human's command about themselves; the turn's user id is in canonical form."""

    turn: InboundTurn
    command: commands.Command
    unanswered: bool = False
    """Whether whoever wrote was not let in, and is told nothing."""


@message
class Knocked:
    """A stranger wrote where strangers get an access code; their user id is in canonical form."""

    turn: InboundTurn


def knocked(bench: Bench, act: Knocked) -> Work:
    """Give a stranger an access code."""
    batch = Batch()
    notice = _issue(bench, batch, "access", act.turn)
    return Work(None, batch, notices=[notice])


def self_link(bench: Bench, act: SelfLink) -> Work:
    """Carry out a human's command."""
    turn = act.turn
    if load_seen(bench.store, seen_hash(turn), bench.now_us) is not None:
        return Work(_accepted(turn, duplicate=True))
    if not turn.direct:
        return _posted_in_group(bench, act)
    work, batch = Work(None), Batch()
    if act.command.verb == "unlink":
        work, batch, text = _self_unlink(bench, turn.platform, turn.user_id)
        work.notices.append(bench.answer(turn, text))
    elif act.command.argument is None:
        work.notices.append(_issue(bench, batch, "link", turn))
    else:
        return _redeem(bench, turn, act.command.argument)
    return _heard(bench, work, batch, turn)


def _self_unlink(bench: Bench, platform: str, user_id: str) -> tuple[Work, Batch, str]:
    try:
        plan = plan_link(bench.world(), platform, user_id, None, now_us=bench.now_us, by="code")
    except ActRefused:
        return Work(None), Batch(), commands.NOTHING_TO_UNLINK
    work = of_plan(bench, plan)
    assert work.batch is not None  # what is no dry run is written
    return work, work.batch, commands.UNLINKED


def _redeem(bench: Bench, turn: InboundTurn, typed: str) -> Work:
    """A human sends a code that somebody was given: prove that both are the same."""
    key = attempts_key(turn.platform, turn.user_id)
    attempts = load_attempts(bench.store, key)
    work, batch = Work(None), Batch()
    if codes.is_locked(attempts, bench.now_us):
        work.notices.append(bench.answer(turn, _locked(attempts, bench.now_us)))
        return _heard(bench, work, batch, turn)
    code = codes.read_code(typed)
    found = _found(bench, code) if code is not None else None
    if found is None or _is_shut_out(bench, found):
        text = commands.WRONG_CODE
        if code is not None:
            after = codes.after_wrong(attempts, bench.now_us)
            batch.put(Table.CODES, key, encode(list(after)))
            if codes.is_locked(after, bench.now_us):
                text = _locked(after, bench.now_us)
        work.notices.append(bench.answer(turn, text))
        return _heard(bench, work, batch, turn)
    if (found.platform, found.user_id) == (turn.platform, turn.user_id):
        work.notices.append(bench.answer(turn, commands.OWN_CODE))
        return _heard(bench, work, batch, turn)
    world = bench.world()
    try:
        plan = plan_join(
            world,
            _identity(world, found.platform, found.user_id),
            _identity(world, turn.platform, turn.user_id),
            now_us=bench.now_us,
        )
    except ActRefused:
        work.notices.append(bench.answer(turn, commands.ALREADY_LINKED))
    else:
        work = of_plan(bench, plan)
        assert work.batch is not None  # what is no dry run is written
        batch = work.batch
        there = Address(Instance(found.instance), found.conversation, found.thread)
        work.notices.append(bench.answer(turn, commands.linked(found.platform)))
        work.notices.append(bench.notice(there, found.user_id, commands.linked(turn.platform)))
    batch.delete(Table.CODES, key_of_code(found))
    batch.put(Table.CODES, key, encode(list(codes.after_right(attempts, bench.now_us))))
    return _heard(bench, work, batch, turn)


def _found(bench: Bench, code: str) -> PendingCode | None:
    return codes.find(pending_codes(bench.store, "link"), code, bench.now_us)


def _is_shut_out(bench: Bench, pending: PendingCode) -> bool:
    """Whether whoever was given the code may not be written to any more."""
    rules = bench.rules.get(Instance(pending.instance))
    if rules is None:
        return False
    return (
        may_receive(
            rules.access,
            user_id=pending.user_id,
            conversation=pending.conversation,
            direct=True,
            standing=load_standing(bench.store, pending.instance, pending.user_id),
        )
        is not None
    )


def _identity(world: StoreWorld, platform: str, user_id: str) -> IdentityRow:
    return world.identity(platform, user_id) or IdentityRow(platform, user_id)


def _locked(attempts: Attempts, now_us: int) -> str:
    return commands.locked((attempts.locked_until_us - now_us) / 1e6)


def _posted_in_group(bench: Bench, act: SelfLink) -> Work:
    """A command in a group: whoever reads along has the code, so it is void."""
    work, batch = Work(None), Batch()
    code = codes.read_code(act.command.argument) if act.command.argument is not None else None
    if code is not None and (found := _found(bench, code)) is not None:
        batch.delete(Table.CODES, key_of_code(found))
    if act.unanswered:
        return Work(None, batch)
    work.notices.append(bench.answer(act.turn, commands.NOT_IN_GROUPS))
    return _heard(bench, work, batch, act.turn)


def _issue(bench: Bench, batch: Batch, kind: CodeKind, turn: InboundTurn) -> Notice:
    """Give out a code, if whoever asks has not had too many; the notice that tells so."""
    store, now_us = bench.store, bench.now_us
    instance = turn.address.instance
    key = attempts_key(turn.platform, turn.user_id)
    attempts = codes.after_issue(load_attempts(store, key), now_us)
    own = code_key(kind, instance, turn.platform, turn.user_id)
    waiting = 0
    for stored, pending in waiting_at(store, kind, instance):
        if codes.is_expired(pending, now_us):
            batch.delete(Table.CODES, stored)
        elif stored != own:
            waiting += 1
    answer = partial(bench.answer, turn, to_stranger=kind == "access")
    if attempts is None or waiting >= codes.MAX_PENDING:
        return answer(commands.TOO_MANY_CODES if attempts is None else commands.TRY_LATER)
    code = codes.make_code(bench.random(codes.CODE_BYTES))
    sealed = codes.seal(code, bench.random(codes.SALT_BYTES), kind, turn, now_us)
    batch.put(Table.CODES, own, encode(list(sealed)))
    batch.put(Table.CODES, key, encode(list(attempts)))
    tell = commands.new_link_code if kind == "link" else commands.access_code
    return answer(tell(code))


def _heard(bench: Bench, work: Work, batch: Batch, turn: InboundTurn) -> Work:
    """Let the command be recognised when it is delivered again, and be over."""
    row: SeenRow = ("", 0, COMMAND_DIGEST)
    key = seen_key(seen_window(bench.now_us), seen_hash(turn))
    batch.create(Table.SEEN, key, encode(list(row)))
    work.batch = batch
    work.value = _accepted(turn, duplicate=False)
    work.ended = TurnEnded(
        turn_id=work.value.turn_id,
        address=turn.address,
        status="answered",
        delivery_id=work.notices[0].delivery_id,
    )
    return work


def _accepted(turn: InboundTurn, *, duplicate: bool) -> Accepted:
    """The answer to the channel."""
    turn_id = TurnId(f"command/{seen_hash(turn).hex()}")
    return Accepted(session_id=SessionId(""), turn_id=turn_id, duplicate=duplicate)
