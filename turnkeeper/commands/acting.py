"""Carrying out an act: by the runtime that runs on the state directory, else on the store."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic, sleep
from typing import Any, Final, NoReturn

import trio

from ..actors.acts import Act, ActRefused
from ..actors.core.mission_definition import MissionRefused
from ..actors.messages import Address, Instance
from ..actors.unknown import UnknownMission, UnknownSession
from ..config import Config, load_config
from ..control import BadLine, RequestFailed, ask
from ..offline import perform
from ..plain import to_json
from ..storage.errors import StoreLocked
from ..stories import show_place
from ..words import counted
from .base import CommandError, Exit, Invocation, NoSuchThing, NothingRuns, UsageError, argument
from .output import print_fields, print_json, print_line

__all__ = ["DRY_RUN", "ask_live", "carry_out", "carry_out_with", "change"]

DRY_RUN: Final = argument(
    "--dry-run", action="store_true", help="only say what would change, and change nothing"
)

_ACT_TIMEOUT_S: Final = 60.0
"""Longer than any act takes that waits for others before it, and for sessions to hold still."""
_LOCK_PATIENCE_S: Final = 3.0
"""How long somebody may hold the state directory without a control socket: a runtime that is just
starting or stopping, another command."""
_LOOK_AGAIN_S: Final = 0.05


def carry_out(
    invocation: Invocation, do: str, given: Mapping[str, object], at_rest: Callable[[], Act]
) -> tuple[dict[str, Any], bool]:
    """Let an act be carried out; return the answer as JSON has it, and whether a runtime gave it.

    Args:
        invocation: of the command.
        do: the name of the operation, for a runtime that runs.
        given: its arguments.
        at_rest: makes the act, for a store that no runtime runs on.

    Raises:
        CommandError: it was refused, or nobody could carry it out.
    """

    async def on_the_store(settings: Config) -> object:
        return await perform(invocation.state_dir, at_rest(), settings)

    return carry_out_with(invocation, do, given, on_the_store)


def carry_out_with(
    invocation: Invocation,
    do: str,
    given: Mapping[str, object],
    on_the_store: Callable[[Config], Awaitable[object]],
    *,
    timeout_s: float = _ACT_TIMEOUT_S,
) -> tuple[dict[str, Any], bool]:
    """As :func:`carry_out`, for what else than an act can be done on a store.

    Args:
        invocation: of the command.
        do: the name of the operation, for a runtime that runs.
        given: its arguments.
        on_the_store: does it where no runtime runs, by the configuration that it is given.
        timeout_s: how long the runtime may take.

    Raises:
        CommandError: it was refused, or nobody could carry it out.
    """
    give_up_at = monotonic() + _LOCK_PATIENCE_S
    while (answer := _answer(invocation, do, timeout_s=timeout_s, **given)) is None:
        settings = load_config(invocation.config)
        try:
            done = trio.run(on_the_store, settings)
        except StoreLocked:
            if monotonic() > give_up_at:
                raise
            sleep(_LOOK_AGAIN_S)
        except (ActRefused, MissionRefused) as refusal:
            raise CommandError(str(refusal)) from refusal
        except (UnknownMission, UnknownSession) as error:
            raise NoSuchThing(str(error)) from error
        else:
            return json.loads(to_json(done)), False
    return answer, True


def ask_live(invocation: Invocation, do: str, what_for: str, **given: object) -> Any:
    """The answer of the runtime that runs.

    Args:
        invocation: of the command.
        do: the name of the operation.
        what_for: why there must be one, in the words of the complaint.
        given: the arguments of the operation.

    Raises:
        CommandError: none runs, or it refused.
    """
    answer = _answer(invocation, do, timeout_s=_ACT_TIMEOUT_S, **given)
    if answer is None:
        raise NothingRuns(f"no runtime runs on {invocation.state_dir}, {what_for}")
    return answer


def _answer(invocation: Invocation, do: str, *, timeout_s: float, **given: object) -> Any:
    """What the runtime that runs answers; None if none does."""
    where = invocation.state_dir
    try:
        return ask(where, do, timeout_s=timeout_s, **given)
    except RequestFailed as refusal:
        _refused(invocation, refusal)
    except TimeoutError as error:
        raise CommandError(
            f"the runtime on {where} has not answered within {timeout_s:g} s, and may still "
            "do it: look before you try again"
        ) from error
    except PermissionError:
        return None  # opening the store says what is wrong with the directory
    except (BadLine, OSError) as error:
        raise CommandError(f"the runtime on {where} gave no answer: {error}") from error


def _refused(invocation: Invocation, refusal: RequestFailed) -> NoReturn:
    match refusal.kind:
        case "refused":
            raise CommandError(str(refusal)) from refusal
        case "not_found":
            raise NoSuchThing(str(refusal)) from refusal
        case "bad_config":
            raise UsageError(str(refusal)) from refusal
        case _:
            where = invocation.state_dir
            raise CommandError(f"the runtime on {where} did not do it: {refusal}") from refusal


# -- what came of it -----------------------------------------------------------------------------


def change(
    invocation: Invocation, do: str, act: Callable[..., Act], given: Mapping[str, Any]
) -> int:
    """Let a change be carried out, or only tried on paper, and print what came of it.

    Args:
        invocation: of the command, which has `DRY_RUN` among its arguments.
        do: the name of the operation, for a runtime that runs.
        act: makes the act, for a store that no runtime runs on.
        given: the arguments of both.

    Raises:
        CommandError: it was refused, or nobody could carry it out.
    """
    given = {**given, "dry_run": invocation.arguments.dry_run}
    done, _ = carry_out(invocation, do, given, partial(act, **given, by="operator"))
    if invocation.json:
        print_json(done)
        return Exit.OK
    number, text = done["number"], done["text"]
    print_line(f"change {number}: {text}" if number is not None else f"this would be: {text}")
    rows = list(_rows(done))
    print_fields(rows, indent="  ")
    if not rows:
        print_line("  no conversation moves")
    if number is None:
        print_line("nothing was changed: this was a dry run")
    elif done["act"] != "undo":
        print_line(f"`turnkeeper identity undo {number}` takes it back")
    return Exit.OK


def _rows(done: Mapping[str, Any]) -> Iterator[tuple[str, str | None, str]]:
    for moved in done["moved"]:
        path = f"{moved['from_session']} → {moved['to_session']}"
        yield "conversation", _place(moved["address"]), f"{path}, version {moved['version']}"
    for joined in done["joined"]:
        verb = "joins" if joined["joined"] else "leaves"
        count = counted(joined["records"], "record")
        yield "history", joined["earlier"], f"{verb} {joined['session_id']}, {count}"
    for active in done["active"]:
        path = f"{_place(active['before'])} → {_place(active['after'])}"
        yield "active channel", active["session_id"], path
    for opened in done["opened"]:
        yield "session", opened, "opened"


def _place(address: Sequence[str] | None) -> str:
    return show_place(Address(Instance(address[0]), *address[1:])) if address else "none"
