"""`channels status` and `channels probe`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import trio

from ..channels.base import Channel
from ..channels.failing import channel_error
from ..channels.secret import redact
from ..config import load_config
from ..control import BadLine, RequestFailed, ask
from ..kinds import make_channels
from .base import Command, CommandError, Exit, Invocation, NoSuchThing, NothingRuns, argument
from .output import hint, moment, print_json, print_line, print_rows

__all__ = ["COMMANDS"]

logger = logging.getLogger("turnkeeper")

_PROBE_WITHIN_S: Final = 30.0
"""Seconds that a platform may take to answer all questions of a probe."""


def _status(invocation: Invocation) -> int:
    wanted: str | None = invocation.arguments.name
    try:
        answer: Sequence[Mapping[str, Any]] | None = ask(
            invocation.state_dir, "channels", timeout_s=5.0
        )
    except (OSError, BadLine, RequestFailed) as error:
        raise CommandError(f"the runtime that runs cannot be asked: {error}") from error
    if answer is None:
        raise NothingRuns(
            f"no runtime runs on {invocation.state_dir}; `turnkeeper channels probe` asks the "
            "platforms themselves, `turnkeeper channels list` shows what is configured"
        )
    found = [row for row in answer if wanted in (None, row["name"])]
    if wanted is not None and not found:
        known = ", ".join(str(row["name"]) for row in answer) or "none"
        raise NoSuchThing(f"no channel {wanted!r} runs; there is: {known}")
    if invocation.json:
        print_json(found)
        return Exit.OK
    print_rows(
        ("NAME", "PLATFORM", "STATE", "SINCE", "LAST HEARD", "WAITING", "NEXT TRY", "LAST ERROR"),
        found,
        lambda row: (
            row["name"],
            row["platform"],
            row["state"],
            _moment(row["since"]),
            _moment(row["last_heard"]),
            row["waiting"],
            _moment(row["next_try"]),
            row["last_error"],
        ),
        nothing="no channel runs",
        whole=True,  # why it is down is what was asked
    )
    for row in found:
        if row["warning"]:
            hint(f"{row['name']}: {row['warning']}")
    _print_lanes(found, all_of_them=wanted is not None)
    return Exit.OK


def _print_lanes(found: Sequence[Mapping[str, Any]], *, all_of_them: bool) -> None:
    lanes = [
        (row["name"], lane)
        for row in found
        for lane in row["lanes"]
        if all_of_them or lane["reason"] is not None
    ]
    if not lanes:
        return
    print_line("")
    print_rows(
        ("NAME", "CONVERSATION", "THREAD", "WAITING", "FIRST", "NEXT TRY", "REASON"),
        lanes,
        lambda entry: (
            entry[0],
            entry[1]["conversation"],
            entry[1]["thread"],
            entry[1]["waiting"],
            entry[1]["delivery_id"],
            _moment(entry[1]["next_try"]),
            entry[1]["reason"],
        ),
    )


def _moment(text: str | None) -> str | None:
    return moment(datetime.fromisoformat(text)) if text is not None else None


# -- probe ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Probed:
    """One thing that was looked at on one instance."""

    name: str
    what: str
    ok: bool
    detail: str


def _probe(invocation: Invocation) -> int:
    wanted: str | None = invocation.arguments.name
    channels = make_channels(load_config(invocation.config))
    if wanted is not None:
        known = ", ".join(channel.name for channel in channels) or "none"
        channels = [channel for channel in channels if channel.name == wanted]
        if not channels:
            raise NoSuchThing(f"no channel {wanted!r} is configured; there is: {known}")
    rows = trio.run(_probe_all, channels, invocation.json)
    if invocation.json:
        print_json(rows)
    else:
        print_rows(
            ("NAME", "WHAT", "OK", "DETAIL"),
            rows,
            lambda row: (row.name, row.what, "yes" if row.ok else "NO", row.detail or None),
            nothing="no channel is configured; name a file with --config",
            whole=True,  # it says what to do
        )
    return Exit.OK if all(row.ok for row in rows) else Exit.FAILED


async def _probe_all(channels: Sequence[Channel], quiet: bool) -> list[_Probed]:
    rows: list[_Probed] = []
    for channel in channels:
        if not quiet and sys.stderr.isatty():
            hint(f"asking {channel.platform} about {channel.name} …")
        rows += await _probe_one(channel)
    return rows


async def _probe_one(channel: Channel) -> list[_Probed]:
    def row(what: str, ok: bool, detail: str) -> _Probed:
        return _Probed(name=channel.name, what=what, ok=ok, detail=detail)

    try:
        with trio.fail_after(_PROBE_WITHIN_S):
            checks = await channel.probe()
    except trio.TooSlowError:
        return [row("reachable", False, f"no answer within {_PROBE_WITHIN_S:g} s")]
    except Exception as error:  # the edge: the other channels are asked too
        said = channel_error(error)
        if said is not None:
            return [row("reachable", False, redact(str(said)))]
        logger.info("%s broke while it was asked", channel.name, exc_info=error)
        told = redact(f"{type(error).__name__}: {error}")
        return [row("probe", False, f"the channel broke: {told} (-v shows where)")]
    return [row(check.what, check.ok, redact(check.detail)) for check in checks] or [
        row("nothing to look at", True, "this kind has no platform that could be asked")
    ]


_NAME: Final = argument("name", nargs="?", metavar="NAME", help="only this instance")

COMMANDS: Final = (
    Command(
        words=("channels", "status"),
        summary="show how the channels that run are connected, and what waits to be sent",
        action=_status,
        arguments=(_NAME,),
        details="With a name, every conversation is listed for which something waits; without one, "
        "those where an attempt has failed.",
        examples=("turnkeeper channels status", "turnkeeper channels status tg --json"),
        lists=True,
    ),
    Command(
        words=("channels", "probe"),
        summary="ask the platforms whether tokens and permissions are right",
        action=_probe,
        arguments=(_NAME,),
        details="Changes nothing, and needs no runtime; one that runs is not disturbed. Exits "
        "with 1 if something is not right.",
        examples=("turnkeeper channels probe --config turnkeeper.toml",),
        lists=True,
    ),
)
