"""`access`: who may talk to the agent at all."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Final, TypeVar

from .. import people
from ..actors.acts import Allow, Approve, Revoke
from ..actors.core.names import clean_name
from ..actors.messages import Address, Instance
from ..config import load_config
from ..config_ids import read_ids
from ..offline import platform_of
from ..people import AccessInfo
from ..stories import show_place
from ..views import time_of
from .acting import ask_live, carry_out
from .base import Command, CommandError, Exit, Invocation, argument
from .output import hint, limit_of, moment, print_json, print_line, print_rows
from .reading import frozen
from .sessions import LIMIT

__all__ = ["COMMANDS"]

_WHO: Final = (
    argument("instance", metavar="INSTANCE", help="name of the channel"),
    argument("user_id", metavar="USER_ID", help="the platform's stable id, never a name"),
)

A = TypeVar("A", Allow, Revoke)


def _list(invocation: Invocation) -> int:
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        found = people.access(reads, time.time_ns() // 1000)
    shown = found[:limit]
    if invocation.json:
        print_json(shown)
    else:
        print_rows(
            ("INSTANCE", "USER", "STANDING", "SINCE", "EXPIRES", "NAME"),
            shown,
            _row,
            left_out=len(found) - len(shown),
            nothing="nobody was approved or revoked, or waits with a code",
        )
    return Exit.OK


def _row(info: AccessInfo) -> tuple[object, ...]:
    return (
        info.instance,
        info.user_id,
        info.standing,
        moment(info.since),
        moment(info.expires),
        clean_name(info.user_name),
    )


def _approve(invocation: Invocation) -> int:
    code: str = invocation.arguments.code
    done, is_live = carry_out(invocation, "approve", {"code": code}, lambda: Approve(code=code))
    _tell(invocation, done)
    if not is_live:
        hint("no runtime runs: they are not told; they may talk from the next start on")
    return Exit.OK


def _allow(invocation: Invocation) -> int:
    read_ids("USER_ID", [invocation.arguments.user_id])
    return _decide(invocation, "allow", Allow)


def _revoke(invocation: Invocation) -> int:
    return _decide(invocation, "revoke", Revoke)


def _decide(invocation: Invocation, do: str, act: type[A]) -> int:
    given = {
        "instance": invocation.arguments.instance,
        "user_id": invocation.arguments.user_id,
    }

    def at_rest() -> A:
        return act(platform=_platform(invocation, given["instance"]), **given)

    done, _ = carry_out(invocation, do, given, at_rest)
    _tell(invocation, done)
    return Exit.OK


def _platform(invocation: Invocation, instance: str) -> str:
    settings = load_config(invocation.config)
    with frozen(invocation.state_dir) as reads:
        platform = platform_of(reads, settings, instance)
    if platform is None:
        raise CommandError(
            f"it is not known of which platform {instance!r} is: no runtime runs, nobody has "
            "talked there yet, and no configuration says it; name one with --config"
        )
    return platform


def _tell(invocation: Invocation, entry: dict[str, Any]) -> None:
    if invocation.json:
        at_us = entry.pop("at_us")
        del entry["expires_us"]
        print_json({**entry, "at": time_of(at_us)})
        return
    name = clean_name(entry["user_name"])
    who = f"{entry['user_id']} ({name})" if name is not None else entry["user_id"]
    may = "may talk" if entry["standing"] == "approved" else "may no longer talk"
    print_line(f"{entry['standing']}: {who} {may} on {entry['instance']}")


def _refused(invocation: Invocation) -> int:
    limit = limit_of(invocation)
    found: list[dict[str, Any]] = ask_live(
        invocation, "refusals", "and only one remembers whom it did not let in"
    )
    shown = found[-limit:] if limit is not None else found
    if invocation.json:
        print_json(shown)
        return Exit.OK
    if len(shown) < len(found):
        print_line(f"… {len(found) - len(shown)} earlier; --limit 0 lists all")
    print_rows(
        ("TIME", "WHERE", "USER", "RULE", "MESSAGE"),
        shown,
        _refusal_row,
        nothing="everybody was let in since the start",
    )
    return Exit.OK


def _refusal_row(info: dict[str, Any]) -> tuple[object, ...]:
    where = Address(Instance(info["instance"]), info["conversation"], info["thread"])
    at = moment(datetime.fromisoformat(info["at"]))
    return at, show_place(where), info["user_id"], info["rule"], info["message_id"]


COMMANDS: Final = (
    Command(
        words=("access", "list"),
        summary="list who was approved or revoked, and who waits with an access code",
        details="Codes are not listed: only their hashes are stored. Names are what people say.",
        action=_list,
        arguments=(LIMIT,),
        examples=("turnkeeper access list", "turnkeeper access list --json"),
        lists=True,
    ),
    Command(
        words=("access", "approve"),
        summary="let in whoever was given an access code",
        details=(
            'With access = "code" a stranger is given a code, and tells it to you. It works once, '
            "for 24 hours. Whoever sent it may then talk directly on that channel; groups are "
            "opened in the configuration only."
        ),
        action=_approve,
        arguments=(argument("code", metavar="CODE", help="such as ABCD-EFGH"),),
        examples=("turnkeeper access approve ABCD-EFGH",),
        lists=True,
    ),
    Command(
        words=("access", "allow"),
        summary="let somebody talk directly on a channel",
        details="denied_users of the configuration still wins. Where no runtime runs, the platform "
        "is that of earlier conversations there, or of the channel in --config.",
        action=_allow,
        arguments=_WHO,
        examples=("turnkeeper access allow web w-17",),
        lists=True,
    ),
    Command(
        words=("access", "revoke"),
        summary="hear somebody on a channel no more, and send them nothing more",
        details="It wins over allowed_users, and holds in groups too. A reply that is being made "
        "is not sent. `access allow` takes it back.",
        action=_revoke,
        arguments=_WHO,
        examples=("turnkeeper access revoke web w-17",),
        lists=True,
    ),
    Command(
        words=("access", "refused"),
        summary="list the messages that the runtime which runs did not let in, and why",
        details="The newest 1,000 since its start.",
        action=_refused,
        arguments=(LIMIT,),
        examples=("turnkeeper access refused",),
        lists=True,
    ),
)
