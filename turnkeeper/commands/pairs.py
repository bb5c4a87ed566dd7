"""`channels pair`, `unpair` and `pairs`: whose direct conversations belong to a named session."""

from __future__ import annotations

from typing import Any, Final

from .. import people
from ..actors.acts import Pair, Unpair
from ..actors.messages import SessionId
from ..canonical import canonical_user_id
from ..config import load_config
from .acting import DRY_RUN, change
from .base import Command, CommandError, Exit, Invocation, argument
from .identity import IDENTITY, new_identity, old_identity
from .output import limit_of, moment, print_json, print_rows
from .reading import frozen
from .sessions import LIMIT

__all__ = ["COMMANDS"]

_WHOSE: Final = (
    "A pair beats a link. What [pairing] in the configuration file says wins for the accounts that "
    "it names: these commands are refused for those. An account that leaves the file is unpaired "
    "at the next start or `turnkeeper reload`. All others belong to the command line and the "
    "program."
)


def _pair(invocation: Invocation) -> int:
    given = {**new_identity(invocation), "session_id": SessionId(invocation.arguments.session)}

    def at_rest(**pair: Any) -> Pair:
        _leave_to_the_file(invocation)
        return Pair(**pair)

    return change(invocation, "pair", at_rest, given)


def _leave_to_the_file(invocation: Invocation) -> None:
    """Refuse what the next start with this configuration would overrule.

    Raises:
        CommandError: the configuration pairs the identity.
    """
    given = invocation.arguments
    user_id = canonical_user_id(given.platform, given.user_id)
    for pair in load_config(invocation.config).pairing:
        if (pair.platform, pair.user_id) == (given.platform, user_id):
            raise CommandError(
                f"{invocation.config} pairs {user_id}@{pair.platform} with {pair.session}: change "
                "it there, under [pairing]"
            )


def _unpair(invocation: Invocation) -> int:
    return change(invocation, "unpair", Unpair, old_identity(invocation))


def _list(invocation: Invocation) -> int:
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        found = people.pairs(reads)
    shown = found[:limit]
    if invocation.json:
        print_json(shown)
    else:
        print_rows(
            ("PLATFORM", "USER ID", "SESSION", "BY", "SINCE"),
            shown,
            lambda pair: (
                pair.platform,
                pair.user_id,
                pair.session_id,
                pair.by,
                moment(pair.since),
            ),
            left_out=len(found) - len(shown),
            nothing="nobody is paired with a session",
        )
    return Exit.OK


COMMANDS: Final = (
    Command(
        words=("channels", "pair"),
        summary="let the direct conversations of an account belong to a session that you name",
        details=(
            "The session need not exist yet: the first message opens it. Conversations that the "
            f"account has already move there; --dry-run shows which. {_WHOSE}"
        ),
        action=_pair,
        arguments=(
            *IDENTITY,
            argument(
                "--session", metavar="S", required=True, help="one that exists, or a new name"
            ),
            DRY_RUN,
        ),
        examples=(
            "turnkeeper channels pair --platform websocket --user-id w-17 --session user-jason",
        ),
        lists=True,
    ),
    Command(
        words=("channels", "unpair"),
        summary="take the pair of an account away",
        details=f"The account goes where its link says, or on its own. {_WHOSE}",
        action=_unpair,
        arguments=(*IDENTITY, DRY_RUN),
        examples=("turnkeeper channels unpair --platform websocket --user-id w-17",),
        lists=True,
    ),
    Command(
        words=("channels", "pairs"),
        summary="list the accounts that are paired with a session, and by whom",
        details=_WHOSE,
        action=_list,
        arguments=(LIMIT,),
        examples=("turnkeeper channels pairs",),
        lists=True,
    ),
)
