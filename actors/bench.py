"""The bench on which acts are made, and what an act comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..storage.base import Batch, Reads
from .acts import ActRefused
from .core.routing import IdentityRow, InstanceRules
from .core.world import Plan
from .deliveries import Notice
from .erased import load_erased
from .errands import TakeOver
from .ledger import StoreWorld, batch_of_plan
from .messages import Address, DeliveryId, InboundTurn, Instance, TurnEnded

__all__ = ["Bench", "Work", "of_plan"]


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
    relinked: list[tuple[IdentityRow, IdentityRow]] = field(
        default_factory=list[tuple[IdentityRow, IdentityRow]]
    )
    """Identities that are another user now, before and after; the program's resolver must know."""
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

    def notice(self, address: Address, user_id: str, text: str) -> Notice:
        """A notice to somebody in a direct conversation."""
        return Notice(delivery_id=self._notice_id(), address=address, text=text, user_id=user_id)

    def answer(self, turn: InboundTurn, text: str, *, to_stranger: bool = False) -> Notice:
        """A notice that answers a message, whose user id is canonical."""
        return Notice(
            delivery_id=self._notice_id(),
            address=turn.address,
            text=text,
            user_id=turn.user_id,
            direct=turn.direct,
            to_stranger=to_stranger,
            reply_to=turn.message_id,
        )

    def _notice_id(self) -> DeliveryId:
        return DeliveryId(f"notice/{self.random(8).hex()}")

    def world(self) -> StoreWorld:
        """The moment as acts are planned on it."""
        return StoreWorld(self.store, self.next_stream, self.rules)

    def canonical_id(self, platform: str, user_id: str) -> str:
        """The canonical form of a user id.

        Raises:
            ActRefused: it is none.
        """
        if not platform or not user_id or ":" in platform:
            raise ActRefused(
                "an identity is a platform, without ':', and a user id; neither is empty"
            )
        try:
            return self.canonical(platform, user_id)
        except ValueError as error:
            raise ActRefused(f"{user_id!r:.80} is no user id of {platform}: {error}") from error


def of_plan(bench: Bench, plan: Plan, *, dry_run: bool = False) -> Work:
    """What a plan comes to; a dry run writes nothing.

    Raises:
        ActRefused: it would open a session, or pair somebody with one, that was deleted.
    """
    _check_erased(bench.store, plan)
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
        relinked=_relinked(plan) if plan.record.by == "code" or plan.record.act == "undo" else [],
    )


def _check_erased(store: Reads, plan: Plan) -> None:
    paired = {after.session_id for _, after in plan.identities if after.session_id is not None}
    for session_id in (*plan.opened, *paired):
        if load_erased(store, session_id) is not None:
            raise ActRefused(
                f"the session {session_id!r} was deleted, and its id is never used again; choose "
                "another"
            )


def _relinked(plan: Plan) -> list[tuple[IdentityRow, IdentityRow]]:
    """Whose user has changed. Of a link that the program makes, it has told its resolver itself."""
    return [
        (before or IdentityRow(after.platform, after.user_id), after)
        for before, after in plan.identities
        if (before.user if before is not None else None) != after.user
    ]
