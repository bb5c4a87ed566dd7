"""How a message found its session: what was bound and decided when it came. Reads only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from shlex import quote
from typing import TypeAlias

from .actors.core.records import Record
from .actors.core.routing import BindingRow, IdentityRow, InstanceRules, rule_of, scope_of
from .actors.core.runtime_records import ChangeRecord
from .actors.journal import load_binding, load_head, load_record, load_records
from .actors.ledger import LEDGER_STREAM, load_identity, past_bindings
from .actors.messages import Address, Instance
from .storage.base import Reads

__all__ = [
    "Rules",
    "bindings_of",
    "change_made",
    "how_to_move",
    "identity_then",
    "is_pinned",
    "records_at",
]

Rules: TypeAlias = Mapping[Instance, InstanceRules]
"""The rules of each instance that is known."""


def bindings_of(store: Reads, place: Address) -> list[BindingRow]:
    """Every binding that a place had, the first one first and that of now last."""
    now = load_binding(store, place)
    return [*past_bindings(store, place), now] if now is not None else []


def identity_then(store: Reads, platform: str, user_id: str, at_us: int) -> IdentityRow:
    """What was decided of an identity at that time: what is now, without the changes since then."""
    row = load_identity(store, platform, user_id)
    if row is None:
        return IdentityRow(platform, user_id)
    for _, record in load_records(store, LEDGER_STREAM, reverse=True):
        if record.at_us <= at_us:
            break
        if isinstance(record, ChangeRecord):
            for other_platform, other_id, before, _ in record.identities:
                if (other_platform, other_id) == (platform, user_id):
                    row = IdentityRow(platform, user_id, *before)
    return row


def change_made(store: Reads, at_us: int, text: str) -> tuple[int, ChangeRecord] | None:
    """Number and record of the change that was made at that time, in those words."""
    for number, record in records_at(store, LEDGER_STREAM, at_us):
        if isinstance(record, ChangeRecord) and record.text == text:
            return number, record
    return None


def records_at(store: Reads, stream: int, at_us: int) -> Iterator[tuple[int, Record]]:
    """The records of that very time. Found by halves: a log is in the order of its times."""

    def time_at(seq: int) -> int:
        record = load_record(store, stream, seq)
        return record.at_us if record is not None else 0

    seqs = range(1, store.last_seq(stream) + 1)
    first = bisect_left(seqs, at_us, key=time_at) + 1
    for seq, record in load_records(store, stream, first):
        if record.at_us != at_us:
            return
        yield seq, record


def is_pinned(row: BindingRow, agent: str, rules: Rules) -> bool:
    """Whether a conversation stays in a session that the rules of now would not choose for it.

    Where an operator has moved it to, it belongs: that is no pin.

    Args:
        row: its binding.
        agent: who answers in its session.
        rules: of now; of an instance that is unknown, nothing is said.
    """
    now = rules.get(Instance(row.instance))
    if now is None or row.scope == "manual":
        return False
    return agent != now.agent or row.scope != scope_of(row.direct, row.guild, now.scope)


def how_to_move(store: Reads, row: BindingRow, rules: Rules) -> str | None:
    """That the rules of now would choose otherwise, and what moves the place; None if not so."""
    head = load_head(store, row.stream)
    if head is None or not is_pinned(row, head.agent, rules):
        return None
    now = rules[Instance(row.instance)]
    wanted = f"{rule_of(scope_of(row.direct, row.guild, now.scope), None, None)}"
    if head.agent != now.agent:
        wanted += f", agent {now.agent!r}"
    thread = f" --thread {quote(row.thread)}" if row.thread is not None else ""
    return (
        f"by the rules of now its session would be another ({wanted}); it moves with: turnkeeper "
        f"bindings move {quote(row.instance)} {quote(row.conversation)}{thread}"
    )
