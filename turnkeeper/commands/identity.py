"""`identity`: who is who, and every change of it."""

from __future__ import annotations

import sys
from typing import Any, Final

from .. import people
from ..actors.acts import Link, Undo, Unlink
from ..actors.core.runtime_records import ChangeRecord
from ..actors.journal import load_record
from ..actors.ledger import LEDGER_STREAM
from ..config_ids import read_ids
from ..people import ChangeInfo
from .acting import DRY_RUN, change
from .base import Argument, Command, Exit, Invocation, NoSuchThing, argument, natural
from .output import limit_of, moment, print_json, print_rows
from .reading import frozen
from .sessions import LIMIT

__all__ = ["COMMANDS", "IDENTITY", "new_identity", "old_identity"]

IDENTITY: Final[tuple[Argument, ...]] = (
    argument(
        "--platform", metavar="P", required=True, help="the platform; `bindings show` names it"
    ),
    argument(
        "--user-id", metavar="U", required=True, help="the platform's stable id, never a name"
    ),
)
_USER: Final = argument(
    "--user", metavar="NAME", required=True, help="a name of your choice, or PLATFORM:USER_ID"
)


def new_identity(invocation: Invocation) -> dict[str, Any]:
    """The identity that something is to be said about.

    Raises:
        ConfigError: the id only looks like one.
    """
    read_ids("--user-id", [invocation.arguments.user_id])
    return old_identity(invocation)


def old_identity(invocation: Invocation) -> dict[str, Any]:
    """The identity that something was said about, however odd its id is."""
    given = invocation.arguments
    return {"platform": given.platform, "user_id": given.user_id}


def _link(invocation: Invocation) -> int:
    given = {**new_identity(invocation), "user": invocation.arguments.user}
    return change(invocation, "link", Link, given)


def _unlink(invocation: Invocation) -> int:
    return change(invocation, "unlink", Unlink, old_identity(invocation))


def _undo(invocation: Invocation) -> int:
    number: int | None = invocation.arguments.number
    if number is not None:
        with frozen(invocation.state_dir) as reads:
            exists = 0 < number <= reads.last_seq(LEDGER_STREAM)
            record = load_record(reads, LEDGER_STREAM, number) if exists else None
            if not isinstance(record, ChangeRecord):
                raise NoSuchThing(
                    f"there is no change {number}; `turnkeeper identity changes` lists them"
                )
    return change(invocation, "undo", Undo, {"number": number})


def _list(invocation: Invocation) -> int:
    user: str | None = invocation.arguments.user
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        found = people.links(reads, user)
    if user is not None and not found:
        raise NoSuchThing(
            f"nobody is linked to {user!r}; `turnkeeper identity list` shows every link"
        )
    shown = found[:limit]
    if invocation.json:
        print_json(shown)
    else:
        print_rows(
            ("USER", "PLATFORM", "USER ID"),
            shown,
            lambda link: (link.user, link.platform, link.user_id),
            left_out=len(found) - len(shown),
            nothing="nobody is linked: everybody is PLATFORM:USER_ID",
        )
    return Exit.OK


def _changes(invocation: Invocation) -> int:
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        found = people.changes(reads)
    shown = found[-limit:] if limit is not None else found
    if invocation.json:
        print_json(shown)
        return Exit.OK
    if len(shown) < len(found):
        sys.stdout.write(f"… {len(found) - len(shown)} earlier; --limit 0 lists all\n")
    print_rows(
        ("NUMBER", "WHEN", "BY", "ACT", "MOVED", "UNDONE BY", "WHAT"),
        shown,
        _change_row,
        nothing="nothing was ever changed",
    )
    return Exit.OK


def _change_row(info: ChangeInfo) -> tuple[object, ...]:
    return (
        info.number,
        moment(info.at),
        info.by,
        info.act,
        info.moved,
        info.undone_by,
        info.text,
    )


COMMANDS: Final = (
    Command(
        words=("identity", "link"),
        summary="decide that an account on a platform is a certain user",
        details=(
            "All accounts of one user share one conversation. The direct conversations of the "
            "account move to the user's session, and what was said in them joins its context. "
            "--dry-run shows what would move; `identity undo` takes it back."
        ),
        action=_link,
        arguments=(*IDENTITY, _USER, DRY_RUN),
        examples=(
            "turnkeeper identity link --platform websocket --user-id w-17 --user alice --dry-run",
            "turnkeeper identity link --platform websocket --user-id w-17 --user alice",
            "turnkeeper identity link --platform console --user-id local --user websocket:w-17",
        ),
        lists=True,
    ),
    Command(
        words=("identity", "unlink"),
        summary="decide that an account is nobody but itself",
        details=(
            "It gets a session of its own, or keeps the one it has if nobody else is in it. What "
            "was said stays where it was said."
        ),
        action=_unlink,
        arguments=(*IDENTITY, DRY_RUN),
        examples=("turnkeeper identity unlink --platform websocket --user-id w-17",),
        lists=True,
    ),
    Command(
        words=("identity", "list"),
        summary="list the links, by user",
        action=_list,
        arguments=(
            argument("--user", metavar="NAME", help="only those of one user"),
            LIMIT,
        ),
        examples=("turnkeeper identity list", "turnkeeper identity list --user alice"),
        lists=True,
    ),
    Command(
        words=("identity", "undo"),
        summary="take a change back, as though it had not been made",
        details=(
            "Links, pairs and moved conversations are changes. One that a later change builds on "
            "cannot be taken back before that one."
        ),
        action=_undo,
        arguments=(
            argument(
                "number",
                metavar="NUMBER",
                nargs="?",
                type=natural,
                help="which one, as `identity changes` lists them (default: the newest)",
            ),
            DRY_RUN,
        ),
        examples=("turnkeeper identity undo --dry-run", "turnkeeper identity undo 4"),
        lists=True,
    ),
    Command(
        words=("identity", "changes"),
        summary="list every link, pair and move that was made, oldest first",
        details="A number that is missing is a decision about access: see `access list`.",
        action=_changes,
        arguments=(LIMIT,),
        examples=("turnkeeper identity changes", "turnkeeper identity changes --json"),
        lists=True,
    ),
)
