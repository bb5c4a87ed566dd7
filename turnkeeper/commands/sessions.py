"""`sessions`: who talked, what was said, and all of it as JSON Lines."""

from __future__ import annotations

import sys
from typing import Any, Final

from .. import views
from ..actors.core.window import Message
from ..actors.journal import load_session_number
from ..export import export_lines
from ..overview import newest_sessions
from ..storage.base import Reads
from ..views import HistoryRecord, SessionInfo, time_of
from .base import Command, Exit, Invocation, NoSuchThing, argument, natural
from .output import limit_of, moment, place, print_fields, print_json, print_rows
from .reading import frozen

__all__ = ["COMMANDS", "LIMIT"]

LIMIT: Final = argument(
    "--limit",
    type=natural,
    metavar="N",
    help="list N at most; 0 for all (default: 50 on a terminal, else all)",
)
_ID: Final = argument("id", metavar="ID", help="the session, e.g. s1")


def _number(reads: Reads, session_id: str) -> int:
    number = load_session_number(reads, session_id)
    if number is None:
        raise NoSuchThing(
            f"there is no session {session_id!r}; `turnkeeper sessions list` shows them"
        )
    return number


def _list(invocation: Invocation) -> int:
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        if limit is None:
            shown = views.sessions(reads)
            count = len(shown)
        else:
            shown, count = newest_sessions(reads, limit)
    if invocation.json:
        print_json(shown)
    else:
        print_rows(
            ("SESSION", "STATE", "ACTIVE CHANNEL", "LAST ACTIVE", "RECORDS", "AGENT"),
            shown,
            _row,
            left_out=count - len(shown),
            nothing="no session yet: the first message of a conversation opens one",
        )
    return Exit.OK


def _row(info: SessionInfo) -> tuple[object, ...]:
    return (
        info.id,
        info.state,
        place(info.active_channel),
        moment(info.last_active),
        info.records,
        info.agent,
    )


def _info(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id
    with frozen(invocation.state_dir) as reads:
        _number(reads, session_id)
        info = views.session_info(reads, session_id)
    assert info is not None  # it has a number
    if invocation.json:
        print_json(info)
    else:
        print_fields(
            [
                ("session", info.id),
                ("state", info.state),
                ("agent", info.agent),
                ("active channel", place(info.active_channel)),
                ("opened", moment(info.opened)),
                ("last active", moment(info.last_active)),
                ("records", f"{info.records}"),
                ("open turns", f"{info.open_turns}"),
                ("open deliveries", f"{info.open_deliveries}"),
                ("context tokens", f"{info.context_tokens}"),
            ]
        )
    return Exit.OK


def _history(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        last = reads.last_seq(_number(reads, session_id))
        start = max(last - limit + 1, 1) if limit is not None else 1
        records = views.history(reads, session_id, start) or []
    if invocation.json:
        print_json(records)
        return Exit.OK
    if start > 1:
        sys.stdout.write(f"… {start - 1} earlier; --limit 0 lists all\n")
    print_rows(("SEQ", "TIME", "KIND", "WHERE", "TEXT"), records, _record_row)
    return Exit.OK


def _record_row(record: HistoryRecord) -> tuple[object, ...]:
    return record.seq, moment(record.at), record.kind, place(record.conversation), record.text


def _context(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id
    with frozen(invocation.state_dir) as reads:
        _number(reads, session_id)
        messages = views.window(reads, session_id) or ()
    if invocation.json:
        print_json([_message(message) for message in messages])
        return Exit.OK
    limit = limit_of(invocation)
    shown = messages[-limit:] if limit is not None else messages
    if len(shown) < len(messages):
        sys.stdout.write(f"… {len(messages) - len(shown)} earlier; --limit 0 lists all\n")
    print_rows(
        ("SEQ", "TIME", "ROLE", "TEXT"),
        shown,
        lambda message: (message.seq, moment(time_of(message.at_us)), message.role, message.text),
        nothing="nothing has been said yet",
    )
    return Exit.OK


def _message(message: Message) -> dict[str, Any]:
    return {
        "seq": message.seq,
        "role": message.role,
        "kind": message.kind,
        "at": time_of(message.at_us),
        "instance": message.instance,
        "conversation": message.conversation,
        "text": message.text,
    }


def _export(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id
    with frozen(invocation.state_dir) as reads:
        for line in export_lines(reads, session_id, _number(reads, session_id)):
            sys.stdout.write(line + "\n")
    return Exit.OK


COMMANDS: Final = (
    Command(
        words=("sessions", "list"),
        summary="list the sessions, the one in which a human wrote last first",
        action=_list,
        arguments=(LIMIT,),
        examples=("turnkeeper sessions list", "turnkeeper sessions list --json --limit 10"),
        lists=True,
    ),
    Command(
        words=("sessions", "info"),
        summary="show one session",
        action=_info,
        arguments=(_ID,),
        examples=("turnkeeper sessions info s1",),
        lists=True,
    ),
    Command(
        words=("sessions", "history"),
        summary="show the raw log of a session, oldest first",
        action=_history,
        arguments=(_ID, LIMIT),
        examples=("turnkeeper sessions history s1", "turnkeeper sessions history s1 --json"),
        lists=True,
    ),
    Command(
        words=("sessions", "context"),
        summary="show the messages of a session as its agent sees them",
        action=_context,
        arguments=(_ID, LIMIT),
        examples=("turnkeeper sessions context s1",),
        lists=True,
    ),
    Command(
        words=("sessions", "export"),
        summary="print every record of a session, complete, as JSON Lines",
        action=_export,
        arguments=(_ID,),
        examples=("turnkeeper sessions export s1 > s1.jsonl",),
    ),
)
