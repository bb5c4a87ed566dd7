"""`bindings`: which session a conversation belongs to."""

from __future__ import annotations

from typing import Final

from .. import views
from ..actors.messages import Address, Instance
from .base import Command, Exit, Invocation, NoSuchThing, argument
from .output import limit_of, moment, print_fields, print_json, print_rows
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


def _show(invocation: Invocation) -> int:
    given = invocation.arguments
    where = Address(
        instance=Instance(given.instance), conversation=given.conversation, thread=given.thread
    )
    with frozen(invocation.state_dir) as reads:
        binding = views.binding(reads, where)
    if binding is None:
        raise NoSuchThing(
            f"conversation {given.conversation!r} of {given.instance!r} belongs to no session; "
            "`turnkeeper bindings list` shows those that do"
        )
    if invocation.json:
        print_json(binding)
    else:
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
                ("since", moment(binding.since)),
                ("by", binding.by),
            ]
        )
    return Exit.OK


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
        summary="show which session a conversation belongs to",
        action=_show,
        arguments=(
            argument("instance", metavar="INSTANCE", help="name of the channel"),
            argument("conversation", metavar="CONVERSATION", help="the platform's id of it"),
            argument("thread", metavar="THREAD", nargs="?", help="thread in it"),
        ),
        examples=("turnkeeper bindings show console local",),
        lists=True,
    ),
)
