"""`feed`: what stands in the console feed, and what happens from now on."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

import trio

from .. import views
from ..actors.messages import Address, Instance
from ..channels.display import printable
from ..control import BadLine, RequestFailed, connect
from ..feeding import watch
from ..plain import to_json
from ..stories import show_place
from ..tables import clip, width_of
from ..views import FeedEntry
from .base import Command, CommandError, Exit, Invocation, NothingRuns, UsageError, argument
from .output import hint, limit_of, moment, print_json, print_rows
from .reading import frozen
from .sessions import LIMIT

__all__ = ["COMMANDS"]

_WIDTHS: Final = {"at": 9, "kind": 12, "id": 10, "place": 20}
"""Columns of a line of what happens; a longer cell pushes what follows."""
_PLAIN: Final = 0
_COLOURS: Final = {
    "error": 31,
    "turn_ended": 32,
    "note": 35,
    "summary": 35,
    "delivery": 36,
    "rendered": 36,
}
_BAD: Final = 31
_BAD_STATUSES: Final = frozenset({"failed", "unknown", "quarantined"})


# -- what stands in the console feed -------------------------------------------------------------


def _feed(invocation: Invocation) -> int:
    if invocation.arguments.follow:
        if invocation.arguments.limit is not None:
            raise UsageError("--limit is for what is stored: it has no meaning with --follow")
        return trio.run(_follow, invocation)
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        entries = views.feed(reads, limit if limit is not None else sys.maxsize)
    if invocation.json:
        print_json(entries)
    else:
        headings = ("AT", "SESSION", "DELIVERY", "TEXT")
        print_rows(headings, entries, _row, nothing="nothing was said that had no channel")
    return Exit.OK


def _row(entry: FeedEntry) -> tuple[object, ...]:
    return moment(entry.at), entry.session_id, entry.delivery_id, entry.text


# -- what happens --------------------------------------------------------------------------------


async def _follow(invocation: Invocation) -> int:
    """Print what happens until the runtime stops.

    Raises:
        CommandError: it has stopped, or has dropped us.
    """
    where = invocation.state_dir
    line_of = to_json if invocation.json else _Lines().line_of
    try:
        async with connect(where) as lines:
            if lines is None:
                raise NothingRuns(
                    f"no runtime runs on {where}, so there is nothing to follow; `turnkeeper feed` "
                    "shows what was stored"
                )
            async with aclosing(watch(lines)) as events:
                async for event in events:
                    if event is not None:
                        sys.stdout.write(line_of(event) + "\n")
                        sys.stdout.flush()
                    elif sys.stdout.isatty():
                        hint(f"following the runtime on {where}; Ctrl-C ends")
    except RequestFailed as error:
        if error.kind == "lagged":
            raise CommandError(f"{error}; `turnkeeper feed --follow` begins again") from error
        raise CommandError(f"the runtime on {where} refused: {error}") from error
    except BrokenPipeError:
        raise  # nobody reads what we print
    except (BadLine, OSError) as error:
        raise CommandError(f"the runtime on {where} gave no answer: {error}") from error
    raise CommandError("the runtime has stopped; what it stored is kept")


class _Lines:
    """Makes a line of each event, for people."""

    def __init__(self) -> None:
        terminal = sys.stdout.isatty()
        dumb = os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR")
        self._colours = terminal and not dumb
        self._terminal = terminal

    def line_of(self, event: Mapping[str, Any]) -> str:
        """The line of `event`."""
        kind = str(event["kind"])
        cells = {
            "at": str(event["at"])[11:19] + "Z",
            "kind": kind,
            "id": event["id"] or event["session_id"] or "-",
            "place": _place(event),
        }
        padded = [_pad(printable(str(text)), _WIDTHS[name]) for name, text in cells.items()]
        line = "  ".join([*padded, printable(_words(event))]).rstrip()
        if self._terminal:
            line = clip(line, shutil.get_terminal_size().columns)
        colour = _colour(event) if self._colours else _PLAIN
        if colour == _PLAIN:
            return line
        return line.replace(kind, f"\x1b[{colour}m{kind}\x1b[0m", 1)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - width_of(text))


def _colour(event: Mapping[str, Any]) -> int:
    bad = event["detail"].get("status") in _BAD_STATUSES
    return _BAD if bad else _COLOURS.get(str(event["kind"]), _PLAIN)


def _place(event: Mapping[str, Any]) -> str:
    instance, conversation = event["instance"], event["conversation"]
    if instance is None or conversation is None:
        return instance or (f"mission {event['mission']}" if event["mission"] else "-")
    return show_place(Address(Instance(instance), conversation, event["thread"]))


def _words(event: Mapping[str, Any]) -> str:
    """What happened, behind its kind."""
    detail, text = event["detail"], str(event["text"])
    attempt = detail.get("attempt", 1)
    match event["kind"]:
        case "turn_started":
            said = f"attempt {attempt}" if attempt > 1 else ""
        case "turn_ended" | "delivery" | "receipt" | "changed":
            said = str(detail["status"])
            if reason := detail.get("reason"):
                said += f" ({reason})"
            if attempt > 1:
                said += f", attempt {attempt}"
        case "summary":
            size = f"{detail['covered_tokens']:,} → {detail['tokens']:,} tokens"
            said = f"{detail['messages']:,} messages, {size}"
            if fault := detail["fault"]:
                said += f" (built in, since {fault})"
        case "note":
            said = f"from {detail['source']}"
        case "error":
            said = str(detail["of"])
        case _:
            said = ""
    return f"{said}: {text}" if said and text else said or text


COMMANDS: Final = (
    Command(
        words=("feed",),
        summary="show the console feed, or follow what happens",
        details=(
            "Without --follow: what sessions said that have no channel, oldest first. With it: "
            "every turn, delivery, note, summary and error of the runtime that runs, as it "
            "happens, until Ctrl-C; with --json, one JSON object a line."
        ),
        action=_feed,
        arguments=(
            LIMIT,
            argument("--follow", action="store_true", help="print what happens from now on"),
        ),
        examples=("turnkeeper feed --limit 20", "turnkeeper feed --follow --json | jq .kind"),
        lists=True,
    ),
)
