"""`bindings`: which session a conversation belongs to."""

from __future__ import annotations

from dataclasses import fields
from typing import Final

from .. import people, views
from ..actors.acts import By, Move
from ..actors.core.routing import default_user
from ..actors.ledger import load_identity
from ..actors.messages import Address, Instance, SessionId
from ..storage.base import Reads
from ..views import Binding
from .acting import DRY_RUN, change
from .base import Command, CommandError, Exit, Invocation, NoSuchThing, argument
from .output import limit_of, moment, print_fields, print_json, print_line, print_rows
from .reading import frozen
from .sessions import LIMIT

__all__ = ["COMMANDS"]


def _list(invocation: Invocation) -> int:
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        found = views.bindings(reads)
    shown = found[:limit]
    if invocation.json:
        print_json(shown)
    else:
        print_rows(
            ("INSTANCE", "CONVERSATION", "THREAD", "SESSION", "VERSION", "SINCE", "BY"),
            shown,
            lambda b: (
                b.instance,
                b.conversation,
                b.thread,
                b.session_id,
                b.version,
                moment(b.since),
                b.by,
            ),
            left_out=len(found) - len(shown),
            nothing="no conversation belongs to a session yet",
        )
    return Exit.OK


def _history(reads: Reads, where: Address) -> list[Binding]:
    """Every owner that a conversation had, that of now last.

    Raises:
        NoSuchThing: it has none.
    """
    history = people.binding_history(reads, where)
    if not history:
        thread = f", thread {where.thread!r}," if where.thread is not None else ""
        raise NoSuchThing(
            f"conversation {where.conversation!r}{thread} of {where.instance!r} belongs to no "
            "session; `turnkeeper bindings list` shows those that do"
        )
    return history


def _user(reads: Reads, binding: Binding) -> str | None:
    """Who is on the other side of a direct conversation; None in a group."""
    if binding.user_id is None:
        return None
    row = load_identity(reads, binding.platform, binding.user_id)
    return row.unified if row is not None else default_user(binding.platform, binding.user_id)


def _show(invocation: Invocation) -> int:
    given = invocation.arguments
    where = Address(
        instance=Instance(given.instance), conversation=given.conversation, thread=given.thread
    )
    with frozen(invocation.state_dir) as reads:
        history = _history(reads, where)
        binding = history[-1]
        user = _user(reads, binding)
    if invocation.json:
        shown = {field.name: getattr(binding, field.name) for field in fields(binding)}
        print_json({**shown, "user": user, "history": history})
        return Exit.OK
    print_fields(
        [
            ("instance", binding.instance),
            ("conversation", binding.conversation),
            ("thread", binding.thread),
            ("session", binding.session_id),
            ("version", f"{binding.version}"),
            ("platform", binding.platform),
            ("guild", binding.guild),
            ("direct", "yes" if binding.direct else "no"),
            ("user id", binding.user_id),
            ("user", user),
            ("scope", binding.scope),
            ("since", moment(binding.since)),
            ("by", binding.by),
        ]
    )
    print_line("")
    print_rows(
        ("VERSION", "SESSION", "FROM", "SINCE", "BY"),
        history,
        lambda b: (b.version, b.session_id, b.from_session, moment(b.since), b.by),
    )
    return Exit.OK


def _move(invocation: Invocation) -> int:
    given = invocation.arguments
    where = Address(
        instance=Instance(given.instance), conversation=given.conversation, thread=given.thread
    )
    with frozen(invocation.state_dir) as reads:
        _history(reads, where)

    def at_rest(session_id: SessionId | None, *, dry_run: bool, by: By, **_: object) -> Move:
        if session_id is None and invocation.config is None:
            raise CommandError(
                "no runtime runs whose rules would say where to: name a session with --session, "
                "or the configuration that holds the rules with --config"
            )
        return Move(address=where, session_id=session_id, dry_run=dry_run, by=by)

    return change(invocation, "move", at_rest, {**where._asdict(), "session_id": given.session})


_PLACE: Final = (
    argument("instance", metavar="INSTANCE", help="name of the channel"),
    argument("conversation", metavar="CONVERSATION", help="the platform's id of it"),
)


COMMANDS: Final = (
    Command(
        words=("bindings", "list"),
        summary="list the conversations and their sessions",
        action=_list,
        arguments=(LIMIT,),
        examples=("turnkeeper bindings list",),
        lists=True,
    ),
    Command(
        words=("bindings", "show"),
        summary="show which session a conversation belongs to, and belonged to before",
        action=_show,
        arguments=(
            *_PLACE,
            argument("thread", metavar="THREAD", nargs="?", help="thread in it"),
        ),
        examples=("turnkeeper bindings show console local",),
        lists=True,
    ),
    Command(
        words=("bindings", "move"),
        summary="let a conversation belong to another session",
        details=(
            "Without --session it goes where the rules of now would send it as a new one: this is "
            "how a changed scope reaches conversations that there were before. Where no runtime "
            "runs, those rules are read from --config. `identity undo` takes it back."
        ),
        action=_move,
        arguments=(
            *_PLACE,
            argument("--thread", metavar="T", help="thread in it"),
            argument("--session", metavar="S", help="one that exists, or a new name"),
            DRY_RUN,
        ),
        examples=(
            "turnkeeper bindings move console local --dry-run",
            "turnkeeper bindings move console local --session user-jason",
        ),
        lists=True,
    ),
)
