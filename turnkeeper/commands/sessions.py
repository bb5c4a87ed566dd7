"""`sessions`: who talked, what was said, what the agent saw, and all of it as JSON Lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from .. import views
from ..actors.core.attached import attachment_line
from ..actors.core.window import Message
from ..actors.deletion import why_unknown
from ..actors.erased import ErasedRow, load_erased
from ..actors.journal import load_session_number
from ..actors.messages import Attachment
from ..export import export_lines
from ..histories import HistoryRecord
from ..moments import parse_moment
from ..outlook import resting_outlook
from ..rendering import system_of, to_anthropic, to_openai
from ..replaying import context_at
from ..session_views import SessionInfo
from ..storage.base import Reads, Table
from ..storage.errors import CorruptRecord
from ..words import counted, time_of
from .base import (
    Command,
    CommandError,
    Exit,
    Invocation,
    NoSuchThing,
    UsageError,
    argument,
    natural,
)
from .output import hint, limit_of, moment, place, print_fields, print_json, print_line, print_rows
from .reading import frozen

__all__ = ["COMMANDS", "LIMIT"]

LIMIT: Final = argument(
    "--limit",
    type=natural,
    metavar="N",
    help="list N at most; 0 for all (default: 50 on a terminal, else all)",
)
_ID: Final = argument("id", metavar="ID", help="the session, e.g. s1")
_FORMATS: Final = ("anthropic", "openai")


def _number(reads: Reads, session_id: str) -> int:
    number = load_session_number(reads, session_id)
    if number is None:
        ways = "`turnkeeper sessions list` shows those there are"
        raise NoSuchThing(f"{why_unknown(reads, session_id)}; {ways}")
    return number


# -- the sessions --------------------------------------------------------------------------------


def _list(invocation: Invocation) -> int:
    limit, offset = limit_of(invocation), invocation.arguments.offset
    with frozen(invocation.state_dir) as reads:
        deleted = bool(reads.scan(Table.ERASED, limit=1))
        if limit is None:
            found = views.sessions(reads)
            shown, count = found[offset:], len(found)
        else:
            shown, count = views.newest_sessions(reads, limit=limit, offset=offset)
    onwards = _page_line(offset, len(shown), count)
    if invocation.json:
        print_json(shown)
        if offset + len(shown) < count:
            hint(onwards)
    elif count and not shown:
        print_line(onwards)
    else:
        print_rows(
            ("SESSION", "STATE", "CONTEXT", "LAST ACTIVE", "ACTIVE CHANNEL", "RECORDS", "AGENT"),
            shown,
            _row,
            nothing=(
                f"no session {'any more' if deleted else 'yet'}: the first message of a "
                "conversation opens one"
            ),
        )
        if onwards:
            print_line(onwards)
    return Exit.OK


def _page_line(offset: int, shown: int, count: int) -> str:
    """Which part of the sessions was listed, and how to see the rest; empty if it was all."""
    if shown == count:
        return ""
    if not shown:
        all_of_them = f"there {'is' if count == 1 else 'are'} {counted(count, 'session')}"
        return f"--offset {offset} passes over all: {all_of_them}"
    last = offset + shown
    rest = f"; --offset {last} goes on, --limit 0 lists all" if last < count else ""
    return f"… {offset + 1:,} to {last:,} of {count:,} sessions{rest}"


def _row(info: SessionInfo) -> tuple[object, ...]:
    return (
        info.id,
        info.state,
        _size(info),
        moment(info.last_active),
        place(info.active_channel),
        f"{info.records:,}",
        info.agent,
    )


def _size(info: SessionInfo) -> str:
    """How large a context is: `123,456 (69 %)`, behind `~` where it is an estimate."""
    about = "" if info.context_counted else "~"
    return f"{about}{info.context_tokens:,} ({info.context_percent:.0f} %)"


def _info(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id
    with frozen(invocation.state_dir) as reads:
        if (erased := load_erased(reads, session_id)) is not None:
            return _info_of_erased(invocation, erased)
        _number(reads, session_id)
        info = views.session_info(reads, session_id)
    assert info is not None  # it has a number
    if invocation.json:
        print_json(info)
    else:
        print_fields(_info_lines(info))
    return Exit.OK


def _info_of_erased(invocation: Invocation, erased: ErasedRow) -> int:
    """Tell what is left to tell of a session that was deleted."""
    at = time_of(erased.at_us)
    if invocation.json:
        told = {"id": erased.session_id, "state": "deleted", "deleted": at, "by": erased.by}
        print_json({**told, "records": erased.records})
        return Exit.OK
    print_fields(
        [
            ("session", erased.session_id),
            ("state", "deleted"),
            ("deleted", moment(at)),
            ("by", erased.by),
            ("records", f"{erased.records:,}, none of which is left"),
        ]
    )
    return Exit.OK


def _info_lines(info: SessionInfo) -> list[tuple[str, object]]:
    how = "counted" if info.context_counted else "an estimate"
    percent = f"{info.context_percent:.1f} % of a full window"
    return [
        ("session", info.id),
        ("state", info.state),
        ("agent", info.agent),
        ("active channel", place(info.active_channel)),
        ("opened", moment(info.opened)),
        ("last active", moment(info.last_active)),
        ("records", f"{info.records:,}"),
        ("open turns", f"{info.open_turns:,}"),
        ("open deliveries", f"{info.open_deliveries:,}"),
        ("context tokens", f"{info.context_tokens:,}, {how}: {percent}"),
        ("context messages", f"{info.context_messages:,}"),
        ("summary", f"{info.id}/{info.summary}" if info.summary is not None else None),
        ("joined", ", ".join(info.joined) or None),
        ("goes on in", info.merged_into),
    ]


# -- the log -------------------------------------------------------------------------------------


def _history(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id
    before, after = invocation.arguments.before, invocation.arguments.after
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        last = reads.last_seq(_number(reads, session_id))
        records = views.history(reads, session_id, before=before, after=after, limit=limit) or []
    if invocation.json:
        print_json(records)
        return Exit.OK
    print_rows(
        ("SEQ", "TIME", "KIND", "WHERE", "TEXT"),
        records,
        _record_row,
        nothing=f"no record there: the log goes from 1 to {last}",
    )
    if records and (onwards := _ways_on(records[0].seq - 1, records[-1].seq, last)):
        print_line(onwards)
    return Exit.OK


def _ways_on(earlier: int, newest: int, last: int) -> str:
    """How many records there are before and behind a page, and how to see them."""
    ways: list[str] = []
    if earlier:
        ways.append(f"{earlier:,} earlier: --before {earlier + 1}")
    if newest < last:
        ways.append(f"{last - newest:,} later: --after {newest}")
    if ways:
        ways.append("--limit 0 lists all")
    return "… " + "; ".join(ways) if ways else ""


def _record_row(record: HistoryRecord) -> tuple[object, ...]:
    return record.seq, moment(record.at), record.kind, place(record.conversation), _told(record)


def _told(record: HistoryRecord) -> str:
    """The text of a record, and a line for each file that goes with it."""
    files = [
        Attachment(kind=kind, reference=reference, mime=mime, size_bytes=size, name=name)
        for kind, reference, mime, size, name in (record.detail or {}).get("attachments", ())
    ]
    lines = [attachment_line(file) for file in files]
    return "\n".join([record.text, *lines] if record.text else lines)


# -- what the agent sees ---------------------------------------------------------------------------


def _context(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id
    at = _when(invocation.arguments.at)
    with frozen(invocation.state_dir) as reads:
        _number(reads, session_id)
        if at is None:
            messages = views.window(reads, session_id) or ()
        else:
            try:
                messages = context_at(reads, session_id, at, resting_outlook(reads)) or ()
            except LookupError as error:
                ways = f"`turnkeeper sessions history {session_id}` shows its turns"
                raise NoSuchThing(f"{error}; {ways}") from error
    if invocation.arguments.format is not None:
        print_json(_request(invocation.arguments.format, messages))
        return Exit.OK
    if invocation.json:
        print_json([_message(message) for message in messages])
        return Exit.OK
    limit = limit_of(invocation)
    shown = messages[-limit:] if limit is not None else messages
    if at is not None and messages:  # the turn's own comes last
        print_line(f"as the agent saw it in turn {session_id}/{messages[-1].seq}")
    if len(shown) < len(messages):
        print_line(f"… {len(messages) - len(shown):,} earlier; --limit 0 lists all")
    print_rows(
        ("SEQ", "TIME", "ROLE", "KIND", "TEXT"),
        shown,
        lambda message: (
            message.seq,
            _time(message),
            message.role,
            message.kind,
            message.text,
        ),
        nothing="nothing has been said yet",
    )
    return Exit.OK


def _request(form: str, messages: Sequence[Message]) -> dict[str, Any]:
    """The body of a request to a provider, as far as the context makes it."""
    if form == "openai":
        return {"messages": to_openai(messages)}
    system = system_of(messages)
    said = {"messages": to_anthropic(messages)}
    return {"system": system, **said} if system else said


def _when(text: str | None) -> int | datetime | None:
    """What `--at` names: a turn, or a time.

    Raises:
        UsageError: neither.
    """
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    try:
        return parse_moment(text, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(f"--at: {error}; a turn is named by its number, as in the history") from (
            error
        )


def _time(message: Message) -> str | None:
    """When it was said; the system prompt never was."""
    return moment(time_of(message.at_us)) if message.seq else None


def _message(message: Message) -> dict[str, Any]:
    return {
        "seq": message.seq,
        "role": message.role,
        "kind": message.kind,
        "at": time_of(message.at_us) if message.seq else None,
        "instance": message.instance,
        "conversation": message.conversation,
        "session_id": message.session_id,
        "speaker": message.speaker,
        "text": message.text,
        "attachments": message.attachments,
        "cut": message.cut,
    }


def _export(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id
    with frozen(invocation.state_dir) as reads:
        stream, skip = _number(reads, session_id), invocation.arguments.skip_damaged
        try:
            for line in export_lines(reads, session_id, stream, skip_damaged=skip):
                sys.stdout.write(line + "\n")
        except CorruptRecord as error:
            raise CommandError(
                f"{error}; --skip-damaged goes on without it, and no such export can be imported"
            ) from error
    return Exit.OK


COMMANDS: Final = (
    Command(
        words=("sessions", "list"),
        summary="list the sessions, the one in which a human wrote last first",
        action=_list,
        arguments=(
            LIMIT,
            argument(
                "--offset",
                type=natural,
                default=0,
                metavar="N",
                help="pass over the first N, to see the next page",
            ),
        ),
        details=(
            "CONTEXT is how many tokens the agent would be shown, and how much of a full window "
            "that is; behind ~ it is an estimate. A session is created, active, idle or compacted."
        ),
        examples=(
            "turnkeeper sessions list",
            "turnkeeper sessions list --limit 20 --offset 40",
            "turnkeeper sessions list --json --limit 10",
        ),
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
        arguments=(
            _ID,
            LIMIT,
            argument(
                "--before",
                type=natural,
                metavar="SEQ",
                help="the records before this one, the newest of them",
            ),
            argument(
                "--after",
                type=natural,
                metavar="SEQ",
                help="the records behind this one, the oldest of them",
            ),
        ),
        details=(
            "Where there is a limit, the newest records are shown, or those next to the one that "
            "is given. A record that cannot be read is shown as damaged."
        ),
        examples=(
            "turnkeeper sessions history s1",
            "turnkeeper sessions history s1 --limit 20 --before 180",
            "turnkeeper sessions history s1 --after 180 --json",
        ),
        lists=True,
    ),
    Command(
        words=("sessions", "context"),
        summary="show the messages of a session as its agent sees them, or saw them",
        action=_context,
        arguments=(
            _ID,
            LIMIT,
            argument(
                "--at",
                metavar="TURN|TIME",
                help="as the agent saw it in this turn (its number in the history), or in the "
                "newest one that was accepted by a time: 2026-11-21T09:30 (UTC unless it names a "
                "zone), or 2h ago",
            ),
            argument(
                "--format",
                choices=_FORMATS,
                help="print the body of a request to such a provider, as JSON, without the model",
            ),
        ),
        examples=(
            "turnkeeper sessions context s1",
            "turnkeeper sessions context s1 --at 57",
            "turnkeeper sessions context s1 --at 2h --format openai | jq '. + {model: \"gpt-x\"}'",
        ),
        lists=True,
    ),
    Command(
        words=("sessions", "export"),
        summary="print every record of a session, complete, as JSON Lines",
        action=_export,
        arguments=(
            _ID,
            argument(
                "--skip-damaged",
                action="store_true",
                help="let a line stand for each record that cannot be read, and go on",
            ),
        ),
        details="Files that came with messages are named, and not contained.",
        examples=("turnkeeper sessions export s1 > s1.jsonl",),
    ),
)
