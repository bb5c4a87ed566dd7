"""`missions`: prompts that an agent is given at set times, and what became of each run."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from difflib import get_close_matches
from math import inf
from typing import Any, Final, get_args

from .. import missions
from ..actors.core.mission_definition import MAX_PROMPT_CHARS, Overlap
from ..actors.core.schedule import Missed
from ..actors.missions import (
    AddMission,
    MissionAct,
    PauseMission,
    RemoveMission,
    ResumeMission,
)
from ..config import Config
from ..control import BadLine, RequestFailed, ask
from ..missions import MissionInfo, MissionRunInfo
from ..offline import perform_mission
from ..storage.base import Reads
from .acting import carry_out_with
from .base import (
    Command,
    CommandError,
    Exit,
    Invocation,
    NoSuchThing,
    NothingRuns,
    UsageError,
    argument,
)
from .output import limit_of, moment, print_fields, print_json, print_line, print_rows
from .reading import frozen
from .sessions import LIMIT

__all__ = ["COMMANDS"]

_RUN_TIMEOUT_S: Final = 2 * 86_400.0
"""Longer than a run and the deliveries of what it says may take, as the configuration has it."""
_ARRIVED: Final = frozenset({"delivered", "rendered"})
_WELL: Final = frozenset({"answered", "silent"})
_DONE: Final = {
    "add_mission": "is added",
    "pause_mission": "is paused",
    "resume_mission": "is resumed",
    "remove_mission": "is removed",
}
"""Operation -> what can be said of a mission afterwards."""


# -- looking -------------------------------------------------------------------------------------


def _list(invocation: Invocation) -> int:
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        found = missions.missions(reads)
    shown = found[:limit]
    if invocation.json:
        print_json(shown)
    else:
        print_rows(
            ("NAME", "SCHEDULE", "ZONE", "NEXT", "LAST", "STATUS", "DELIVERY", "NOTIFY"),
            shown,
            _row,
            left_out=len(found) - len(shown),
            nothing="no mission yet: `turnkeeper missions add` makes one",
        )
    return Exit.OK


def _row(info: MissionInfo) -> tuple[object, ...]:
    last = info.last_run
    return (
        info.name,
        info.schedule,
        info.zone,
        _next(info),
        moment(last.began) if last is not None else None,
        last.status if last is not None else None,
        _deliveries(last) if last is not None else None,
        info.notify,
    )


def _next(info: MissionInfo) -> str | None:
    return "paused" if info.paused else moment(info.next_due)


def _deliveries(run: MissionRunInfo) -> str | None:
    """What became of everything that a run has sent."""
    if len(run.deliveries) == 1:
        return _with_reason(run.deliveries[0].status, run.deliveries[0].reason)
    counts = Counter(delivery.status for delivery in run.deliveries)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or None


def _with_reason(status: str, reason: str | None) -> str:
    return f"{status} ({reason})" if reason else status


def _show(invocation: Invocation) -> int:
    with frozen(invocation.state_dir) as reads:
        info = _mission(reads, invocation.arguments.name)
        runs = missions.runs(reads, info.name)
    if invocation.json:
        print_json({"mission": info, "last_runs": runs})
        return Exit.OK
    print_fields(_fields(info))
    if runs:
        print_line("")
        print_rows(("RUN", "DUE", "BEGAN", "ENDED", "STATUS", "DELIVERY", "ERROR"), runs, _run_row)
    return Exit.OK


def _fields(info: MissionInfo) -> Iterable[tuple[str, str | None]]:
    yield "mission", info.name
    yield "schedule", info.schedule
    yield "zone", info.zone
    yield "next", _next(info)
    yield "running", "yes" if info.running else "no"
    yield "runs", f"{info.runs}"
    yield "agent", info.agent
    yield "session", info.session_id
    yield "notify", info.notify
    yield "on behalf of", info.on_behalf_of
    yield "missed", info.missed
    yield "overlap", info.overlap
    yield "jitter", f"{info.jitter_s:g} s"
    yield "on failure", info.on_failure
    yield "made by", info.by
    yield "last skipped", moment(info.last_skipped)
    yield "skipped because", info.skipped_because
    yield "nobody told because", info.notice
    yield "prompt", info.prompt


def _run_row(run: MissionRunInfo) -> tuple[object, ...]:
    return (
        run.run,
        moment(run.due),
        moment(run.began),
        moment(run.ended),
        run.status,
        _deliveries(run),
        run.error,
    )


def _mission(reads: Reads, name: str) -> MissionInfo:
    info = missions.mission(reads, name)
    if info is not None:
        return info
    known = [other.name for other in missions.missions(reads)]
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else "`turnkeeper missions list` shows them"
    raise NoSuchThing(f"there is no mission {name!r}; {hint}")


# -- changing ------------------------------------------------------------------------------------


def _add(invocation: Invocation) -> int:
    arguments = invocation.arguments
    given: dict[str, Any] = {
        "name": arguments.name,
        "schedule": arguments.schedule,
        "prompt": _prompt(arguments.prompt),
        "notify": arguments.notify,
        "agent": arguments.agent,
        "zone": arguments.zone,
        "session": arguments.session,
        "missed": arguments.missed,
        "overlap": arguments.overlap,
        "jitter_s": arguments.jitter,
        "on_failure": arguments.on_failure,
        "replace": arguments.replace,
    }

    def at_rest(settings: Config) -> AddMission:
        _leave_to_the_file(invocation, settings)
        _check_instances(settings, given)
        return AddMission(**given, by="operator")

    return _change(invocation, "add_mission", given, at_rest)


def _seconds(text: str) -> float:
    """The type of an argument that is a span of time.

    Raises:
        argparse.ArgumentTypeError: it is no number, endless, or less than 0.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, 0 or more, not {text!r}")
    return seconds


def _prompt(given: str) -> str:
    """The prompt as it was given, or what stdin holds, without the line feed at its end.

    Raises:
        UsageError: stdin is closed, or is no text.
    """
    if given != "-":
        return given
    if sys.stdin is None:
        raise UsageError("there is no stdin to read the prompt from")
    try:
        # One more than it may have, and no more: what comes may never end.
        text = sys.stdin.read(MAX_PROMPT_CHARS + 2)
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin is no {error.encoding} text") from error
    return text.removesuffix("\n")


def _leave_to_the_file(invocation: Invocation, settings: Config) -> None:
    """Refuse what the next start with this configuration would not take.

    Raises:
        CommandError: the configuration makes a mission of that name.
    """
    name = invocation.arguments.name
    if name in {section.name for section in settings.missions}:
        raise CommandError(
            f"{invocation.config} makes the mission {name!r}: change it there, under "
            f"[missions.{name}]"
        )


def _check_instances(settings: Config, given: Mapping[str, Any]) -> None:
    """Refuse an instance that the next runtime would not know.

    Raises:
        UsageError: the configuration has none of that name.
    """
    known: list[str] = [section.name for section in settings.channels]
    for option, instance in (("--notify", given["notify"]), ("--on-failure", given["on_failure"])):
        if instance is None or instance in known:
            continue
        if not known:
            hint = "give it with --config: without one, no channel is known while no runtime runs"
        elif close := get_close_matches(str(instance), known, 1):
            hint = f"did you mean {close[0]!r}?"
        else:
            hint = f"there is: {', '.join(known)}"
        raise UsageError(f"{option}: the configuration has no channel {instance!r}; {hint}")


def _simple(
    do: str, message: Callable[..., PauseMission | ResumeMission | RemoveMission]
) -> Callable[[Invocation], int]:
    """The action of a command that needs nothing but a mission's name."""

    def action(invocation: Invocation) -> int:
        given = {"name": _known_name(invocation)}
        return _change(invocation, do, given, lambda _settings: message(**given, by="operator"))

    return action


def _known_name(invocation: Invocation) -> str:
    """The name of a mission that there is.

    Raises:
        NoSuchThing: there is none.
    """
    with frozen(invocation.state_dir) as reads:
        return _mission(reads, invocation.arguments.name).name


def _change(
    invocation: Invocation,
    do: str,
    given: Mapping[str, object],
    at_rest: Callable[[Config], MissionAct],
) -> int:
    """Let a mission be added or changed, and print what it is now."""

    async def on_the_store(settings: Config) -> MissionInfo:
        return await perform_mission(invocation.state_dir, at_rest(settings), settings)

    info, live = carry_out_with(invocation, do, given, on_the_store)
    if invocation.json:
        print_json(info)
        return Exit.OK
    due: str | None = None if do == "remove_mission" else info["next_due"]
    when = f", and is due at {moment(datetime.fromisoformat(due))}" if due is not None else ""
    print_line(f"{info['name']} {_DONE[do]}{when}")
    if do == "remove_mission":
        print_line(f"  what it said stays in the log of {info['session_id']}")
    elif due is not None and not live:
        print_line("  no runtime runs; it takes `turnkeeper run` for it to happen")
    return Exit.OK


# -- running -------------------------------------------------------------------------------------


def _goes_on(name: str) -> str:
    return f"the run of {name} goes on; `turnkeeper missions show {name}` tells how it ends"


def _run(invocation: Invocation) -> int:
    name = _known_name(invocation)
    try:
        run: dict[str, Any] | None = ask(
            invocation.state_dir, "run_mission", timeout_s=_RUN_TIMEOUT_S, name=name
        )
    except TimeoutError as error:
        raise CommandError(_goes_on(name)) from error
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{_goes_on(name)}\n")
        raise
    except (RequestFailed, BadLine, OSError) as error:
        raise CommandError(f"{name} was not run to its end: {error}") from error
    if run is None:
        raise NothingRuns(
            f"no runtime runs on {invocation.state_dir}, and only one can run a mission: start "
            "`turnkeeper run`"
        )
    outcomes: list[dict[str, Any]] = run["outcomes"]
    if invocation.json:
        print_json(run)
    else:
        status = _with_reason(run["status"], run["error"])
        print_line(f"run {run['run']} of {name}: {status}; `turnkeeper explain {run['turn_id']}`")
        print_fields(
            [
                (outcome["delivery_id"], _with_reason(outcome["status"], outcome["reason"]))
                for outcome in outcomes
            ],
            indent="  ",
        )
    arrived = all(outcome["status"] in _ARRIVED for outcome in outcomes)
    return Exit.OK if run["status"] in _WELL and arrived else Exit.FAILED


_NAME: Final = argument("name", metavar="NAME", help="the mission, e.g. inbox")
_DEFAULT: Final = "(default: %(default)s)"

COMMANDS: Final = (
    Command(
        words=("missions", "list"),
        summary="list the missions, the one that is due next first",
        action=_list,
        arguments=(LIMIT,),
        examples=("turnkeeper missions list", "turnkeeper missions list --json"),
        lists=True,
    ),
    Command(
        words=("missions", "show"),
        summary="show one mission, and what became of its last runs",
        action=_show,
        arguments=(_NAME,),
        examples=("turnkeeper missions show inbox",),
        lists=True,
    ),
    Command(
        words=("missions", "add"),
        summary="let an agent be given a prompt at set times",
        details=(
            "SCHEDULE is cron ('0 9 * * mon-fri', '@daily'), a period ('every 15m', 'every 1h30m') "
            "or one moment ('at 2026-12-01T09:00'). The answer goes to the conversation in which a "
            "human last wrote on the instance of --notify; without it, to the console feed. The "
            "mission has a session of its own, mission-NAME, unless --session names one."
        ),
        action=_add,
        arguments=(
            argument("name", metavar="NAME", help="up to 56 letters, digits, _, . and -"),
            argument("schedule", metavar="SCHEDULE", help="when, in one word of the shell"),
            argument("prompt", metavar="PROMPT", help="what the agent is told; - reads stdin"),
            argument("--notify", metavar="INSTANCE", help="the channel on which it speaks"),
            argument(
                "--agent",
                metavar="A",
                help="who is given the prompt (default: who answers on that channel)",
            ),
            argument(
                "--zone",
                metavar="Z",
                default="UTC",
                help=f"time zone, such as Europe/Berlin {_DEFAULT}",
            ),
            argument("--session", metavar="S", help="run in this session, and speak where it does"),
            argument(
                "--missed",
                choices=get_args(Missed),
                default="skip",
                help=f"what becomes of what was due while nothing ran {_DEFAULT}",
            ),
            argument(
                "--overlap",
                choices=get_args(Overlap),
                default="skip",
                help=f"what becomes of what is due while a run goes on {_DEFAULT}",
            ),
            argument(
                "--jitter",
                metavar="SECONDS",
                type=_seconds,
                default=0.0,
                help="put each run off by less than that",
            ),
            argument(
                "--on-failure", metavar="INSTANCE", help="the channel that hears of a failed run"
            ),
            argument("--replace", action="store_true", help="instead of the mission of that name"),
        ),
        examples=(
            'turnkeeper missions add inbox "0 9 * * mon-fri" "Look around." --zone Europe/Berlin',
            'turnkeeper missions add legs "every 1h" "Say that it is time to stretch." --notify tg',
            'cat prompt.txt | turnkeeper missions add digest "@weekly" - --session s1',
        ),
        lists=True,
    ),
    Command(
        words=("missions", "pause"),
        summary="let a mission rest until it is resumed",
        details="What comes due meanwhile is never made up for.",
        action=_simple("pause_mission", PauseMission),
        arguments=(_NAME,),
        examples=("turnkeeper missions pause inbox",),
        lists=True,
    ),
    Command(
        words=("missions", "resume"),
        summary="let a paused mission go on",
        action=_simple("resume_mission", ResumeMission),
        arguments=(_NAME,),
        examples=("turnkeeper missions resume inbox",),
        lists=True,
    ),
    Command(
        words=("missions", "remove"),
        summary="remove a mission; what it said stays in the log of its session",
        action=_simple("remove_mission", RemoveMission),
        arguments=(_NAME,),
        examples=("turnkeeper missions remove inbox",),
        lists=True,
    ),
    Command(
        words=("missions", "run"),
        summary="run a mission now, through the runtime that runs",
        details=(
            "Waits for the run and for every message that it sends, and exits with 1 if the run "
            "failed or something did not arrive. Ctrl-C ends the waiting, and not the run."
        ),
        action=_run,
        arguments=(_NAME,),
        examples=("turnkeeper missions run inbox",),
        lists=True,
    ),
)
