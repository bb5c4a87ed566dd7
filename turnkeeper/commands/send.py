"""`send`: speak for a session."""

from __future__ import annotations

import sys
from typing import Any, Final

from ..actors.core.intake import MAX_TEXT_CHARS
from ..actors.messages import Address, Instance
from ..stories import show_place
from .acting import DRY_RUN, ask_live
from .base import Command, Exit, Invocation, UsageError, argument
from .output import print_fields, print_json, print_line

__all__ = ["COMMANDS"]

_ONLY_LIVE: Final = "and only one can send: start `turnkeeper run` first"
_ARRIVED: Final = frozenset({"delivered", "rendered", "retrying"})


def _send(invocation: Invocation) -> int:
    given = invocation.arguments
    request: dict[str, Any] = {
        "session_id": given.session,
        "user": given.user,
        "dry_run": given.dry_run,
    }
    if given.to is not None and given.user is not None:
        raise UsageError("a message goes to a conversation or to a user: give --to or --user")
    if given.to is not None:
        request.update(_place(given.to))
    if not given.dry_run:
        request["text"] = _text(given.text)
    answer = ask_live(invocation, "send", _ONLY_LIVE, **request)
    if invocation.json:
        print_json(answer)
    elif given.dry_run:
        _print_plan(answer)
    else:
        _print_outcome(answer)
    if given.dry_run:
        return Exit.OK if answer["refused"] is None else Exit.FAILED
    return Exit.OK if answer["status"] in _ARRIVED else Exit.FAILED


def _place(written: str) -> dict[str, str | None]:
    """The parts of `instance/conversation[/thread]`."""
    instance, slash, rest = written.partition("/")
    conversation, _, thread = rest.partition("/")
    if not (instance and slash and conversation):
        raise UsageError(f"--to must be INSTANCE/CONVERSATION or …/THREAD, not {written!r}")
    return {"instance": instance, "conversation": conversation, "thread": thread or None}


def _text(written: str) -> str:
    text = sys.stdin.read(MAX_TEXT_CHARS + 1).rstrip("\n") if written == "-" else written
    if not text or text.isspace():
        raise UsageError("the text is empty: there is nothing to say")
    return text


def _shown(address: Any) -> str:
    return show_place(Address(Instance(address[0]), *address[1:])) if address else "feed"


def _print_plan(plan: dict[str, Any]) -> None:
    if plan["refused"] is not None:
        print_line(f"it would fail: {plan['refused']}")
    elif plan["address"] is None:
        print_line("it would be shown in the console feed: the session has no active channel")
    else:
        print_line(f"it would go to {_shown(plan['address'])} ({plan['route']})")
    owner = plan["owner"]
    if plan["refused"] is None and owner is not None and owner != plan["session_id"]:
        print_line(f"{owner} owns that conversation, and would have a note of it")
    print_line("nothing was sent: this was a dry run")


def _print_outcome(outcome: dict[str, Any]) -> None:
    reason = f" ({outcome['reason']})" if outcome["reason"] else ""
    print_line(f"{outcome['status']}{reason}")
    noted = f"in {outcome['noted_in']}" if outcome["noted_in"] else outcome["provenance"]
    print_fields(
        [
            ("delivery", outcome["delivery_id"]),
            ("platform id", outcome["platform_message_id"]),
            ("note", noted.replace("_", " ")),
        ],
        indent="  ",
    )


COMMANDS: Final = (
    Command(
        words=("send",),
        summary="let a session say something that no human asked for",
        action=_send,
        arguments=(
            argument("session", metavar="SESSION", help="the session that speaks, e.g. s1"),
            argument("text", metavar="TEXT", help="what it says; - reads the standard input"),
            argument(
                "--to",
                metavar="PLACE",
                help="instance/conversation[/thread]; default: the session's active channel",
            ),
            argument("--user", metavar="USER", help="whom it is for, wherever they last wrote"),
            DRY_RUN,
        ),
        details="If another session owns the conversation, its agent has a note of it in its next "
        "turn. Exits with 1 if the message did not arrive.",
        examples=(
            'turnkeeper send s1 "The build is green."',
            'turnkeeper send s1 "Lunch?" --user alice --dry-run',
            'turnkeeper send s1 "Deployed." --to tg/-1001234/7',
        ),
        lists=True,
    ),
)
