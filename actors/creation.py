"""What it comes to that a session is made by name: see :mod:`.works`."""

from __future__ import annotations

from .acts import ActRefused, Create, Created
from .bench import Bench, Work
from .core.changes import check_target
from .erased import load_erased
from .ledger import opening_alone

__all__ = ["create"]


def create(bench: Bench, act: Create) -> Work:
    """Open a session that owns nothing; pairs and moves lead people there.

    Raises:
        ActRefused: there is one of this name, or there was, or it is none.
    """
    world, session_id = bench.world(), act.session_id
    if world.session(session_id) is not None:
        raise ActRefused(f"there is a session {session_id!r} already")
    if load_erased(bench.store, session_id) is not None:
        raise ActRefused(
            f"the session {session_id!r} was deleted, and its id is never used again; "
            "choose another"
        )
    check_target(world, session_id)
    batch, _ = opening_alone(session_id, bench.next_stream, act.agent, act.by, bench.now_us)
    return Work(Created(session_id=session_id, agent=act.agent), batch, opened=1)
