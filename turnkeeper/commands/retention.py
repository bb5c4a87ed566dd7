"""`sessions delete`, `prune` and `import`: what goes for good, and what comes back from a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from ..actors.acts import Delete, Deleted
from ..actors.deletion import why_unknown
from ..actors.journal import load_session_number
from ..actors.messages import Address, Instance, SessionId
from ..config import Config, load_config
from ..export import export_lines
from ..import_lines import BadImport
from ..importing import Imported, ImportRefused
from ..resting import import_session, now_us, perform_deletions
from ..retention import BadAge, Candidate, candidates, cutoff_us
from ..storage.errors import CorruptRecord, StoreLocked
from ..stories import show_place
from ..tables import table
from ..views import time_of
from .acting import DRY_RUN, carry_out_with
from .base import (
    Command,
    CommandError,
    Exit,
    Invocation,
    NoSuchThing,
    UsageError,
    argument,
)
from .output import hint, moment, print_fields, print_json, print_line
from .reading import frozen

__all__ = ["COMMANDS"]

_AT_ONCE: Final = 50
"""Sessions that are deleted with one request: it is answered long before anybody gives up."""
_YES: Final = argument("--yes", action="store_true", help="do not ask: it cannot be taken back")


# -- delete --------------------------------------------------------------------------------------


def _delete(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id
    dry_run: bool = invocation.arguments.dry_run
    _check_can_ask(invocation)
    with frozen(invocation.state_dir) as reads:
        if load_session_number(reads, session_id) is None:
            raise NoSuchThing(why_unknown(reads, session_id))
    going = _carry_out(invocation, session_id, dry_run=True)
    if dry_run:
        if invocation.json:
            print_json(going)
        else:
            _tell(going, "this would go:")
            print_line("nothing was changed: this was a dry run")
        return Exit.OK
    if not invocation.arguments.yes:
        _tell(going, "this goes for good:")
        if not _is_sure(f"delete {session_id}?"):
            print_line("nothing was changed")
            return Exit.FAILED
    done = _carry_out(invocation, session_id, dry_run=False)
    if invocation.json:
        print_json(done)
    else:
        _tell(done, f"{session_id} is deleted:")
    return Exit.OK


def _carry_out(invocation: Invocation, session_id: str, *, dry_run: bool) -> dict[str, Any]:
    act = Delete(session_id=SessionId(session_id), by="operator", dry_run=dry_run, even_open=True)

    async def on_the_store(settings: Config) -> object:
        return await _one(invocation, act, settings)

    given = {"session_id": session_id, "dry_run": dry_run}
    return carry_out_with(invocation, "delete", given, on_the_store)[0]


async def _one(invocation: Invocation, act: Delete, settings: Config) -> Deleted:
    found = (await perform_deletions(invocation.state_dir, [act], settings))[0]
    if isinstance(found, Deleted):
        return found
    raise found


def _tell(done: Mapping[str, Any], heading: str) -> None:
    print_line(heading)
    print_fields(_rows(done), indent="  ")


def _rows(done: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "records", f"{done['records']}"
    last_us = done["last_active_us"]
    yield "last active", (moment(time_of(last_us)) or "") if last_us else "unknown"
    for instance, conversation, thread in done["conversations"]:
        place = show_place(Address(Instance(instance), conversation, thread))
        yield "conversation", f"{place}, whose next message opens another session"
    if done["memories"]:
        yield "memory", f"{done['memories']} kept by its agent"
    if done["open_turns"]:
        yield "open turns", f"{done['open_turns']}, which nobody answers any more"
    if done["open_deliveries"]:
        yield "open messages", f"{done['open_deliveries']}, which nobody sends any more"


def _check_can_ask(invocation: Invocation) -> None:
    given = invocation.arguments
    if not (given.yes or given.dry_run) and (invocation.json or not sys.stdin.isatty()):
        raise UsageError("nobody can be asked here: give --yes, or --dry-run to only look")


def _is_sure(question: str) -> bool:
    sys.stdout.write(f"{question} It cannot be taken back. [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


# -- prune ---------------------------------------------------------------------------------------


def _prune(invocation: Invocation) -> int:
    given = invocation.arguments
    _check_can_ask(invocation)
    try:
        before_us = cutoff_us(given.older_than, now_us())
    except BadAge as error:
        raise UsageError(f"--older-than: {error}") from error
    with frozen(invocation.state_dir) as reads:
        found = list(candidates(reads, before_us))
    going = [one for one in found if one.kept is None]
    staying = [one for one in found if one.kept is not None]
    if invocation.json and given.dry_run:
        print_json(found)
        return Exit.OK
    if not invocation.json:
        _list(going, staying)
    if given.dry_run or not going:
        if given.dry_run:
            print_line("nothing was changed: this was a dry run")
        elif invocation.json:
            print_json([])
        return Exit.OK
    if not given.yes and not _is_sure(f"delete {_sessions(len(going))}?"):
        print_line("nothing was changed")
        return Exit.FAILED
    return _delete_all(invocation, going)


def _list(going: Sequence[Candidate], staying: Sequence[Candidate]) -> None:
    if going:
        rows = [(one.id, moment(one.last_active), one.records) for one in going]
        for line in table(("SESSION", "LAST ACTIVE", "RECORDS"), rows):
            sys.stdout.write(line + "\n")
    print_line(f"{_sessions(len(going))} would go" if going else "no session is as old as that")
    for one in staying:
        print_line(f"{one.id} stays: {one.kept}")


def _sessions(count: int) -> str:
    return f"{count} session{'s' if count != 1 else ''}"


def _delete_all(invocation: Invocation, going: Sequence[Candidate]) -> int:
    folder: Path | None = invocation.arguments.export
    exported = going if folder is None else _export_all(invocation, going, folder)
    done: list[str] = []
    for one, refused in zip(exported, _deletions(invocation, exported), strict=True):
        if refused is None:
            done.append(one.id)
        else:
            hint(f"turnkeeper: {one.id} stays: {refused}")
    if invocation.json:
        print_json(done)
    else:
        where = f", and written to {folder}" if folder is not None else ""
        print_line(f"{_sessions(len(done))} deleted{where}")
    return Exit.OK if len(done) == len(going) else Exit.FAILED


def _deletions(invocation: Invocation, going: Sequence[Candidate]) -> Iterator[str | None]:
    """Delete each, unless it has gone on meanwhile; tell why it was not, or None."""
    for start in range(0, len(going), _AT_ONCE):
        yield from _some_deletions(invocation, going[start : start + _AT_ONCE])


def _some_deletions(invocation: Invocation, going: Sequence[Candidate]) -> list[str | None]:
    acts = [
        Delete(session_id=SessionId(one.id), by="operator", records=one.records) for one in going
    ]

    async def on_the_store(settings: Config) -> object:
        found = await perform_deletions(invocation.state_dir, acts, settings)
        return [str(one) if not isinstance(one, Deleted) else None for one in found]

    sessions = [[one.id, one.records] for one in going]
    answer, _ = carry_out_with(invocation, "delete_all", {"sessions": sessions}, on_the_store)
    refusals: list[str | None] = answer  # type: ignore[assignment]  # what both of them give
    return refusals


def _export_all(
    invocation: Invocation, going: Sequence[Candidate], folder: Path
) -> list[Candidate]:
    """Write each to a file of its own, durably; return those that are written.

    Raises:
        CommandError: the folder or a file cannot be written; nothing was deleted.
    """
    written: list[Candidate] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with frozen(invocation.state_dir) as reads:
            for one in going:
                lines = export_lines(reads, one.id, one.number)
                try:
                    _write(folder / f"{one.id}.jsonl", lines)
                except CorruptRecord as error:
                    hint(f"turnkeeper: {one.id} stays: it cannot be exported whole: {error}")
                else:
                    written.append(one)
        _sync(folder)
    except OSError as error:
        where = error.filename or folder
        raise CommandError(f"{where} cannot be written: {error.strerror}") from error
    return written


def _write(path: Path, lines: Iterator[str]) -> None:
    """Write a file, and see that it is on disk. One that is there already is never written over."""
    half = path.with_name(f"{path.name}.part")
    with open(half, "w", encoding="ascii", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(half, path)
    finally:
        half.unlink()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- import --------------------------------------------------------------------------------------


def _import(invocation: Invocation) -> int:
    path, dry_run = Path(invocation.arguments.file), invocation.arguments.dry_run
    load_config(invocation.config)  # a mistake in it is told by every command
    try:
        imported = trio.run(_imported, invocation.state_dir, path, dry_run)
    except StoreLocked as error:
        raise CommandError(
            f"a session is imported only while nothing runs on {invocation.state_dir}: stop the "
            "runtime first"
        ) from error
    except (BadImport, ImportRefused) as error:
        raise CommandError(f"{error}; nothing was imported") from error
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error
    if invocation.json:
        print_json(imported)
        return Exit.OK
    verb = "would be imported" if dry_run else "is imported"
    print_line(f"{imported.session_id} {verb}: {imported.records} records")
    print_fields(list(_details(imported)), indent="  ")
    if dry_run:
        print_line("nothing was changed: this was a dry run")
    return Exit.OK


async def _imported(state_dir: Path, path: Path, dry_run: bool) -> Imported:
    return await import_session(state_dir, path, dry_run=dry_run)


def _details(imported: Imported) -> Iterator[tuple[str, str]]:
    for place in imported.conversations:
        yield "conversation", show_place(place)
    if imported.open_turns:
        yield "open turns", f"{imported.open_turns}: the next start gives them to the agent"
    if imported.open_deliveries:
        yield "open messages", f"{imported.open_deliveries}: the next start sends them"
    for earlier in imported.missing:
        yield "not here", f"{earlier}, which is part of its context"
    if imported.files:
        yield "files", f"{imported.files} named, and no export contains them"
    if not imported.has_digest:
        yield "unchecked", "an old export: nobody can say whether it is complete"


COMMANDS: Final = (
    Command(
        words=("sessions", "delete"),
        summary="delete a session and all that was said in it, for good",
        action=_delete,
        arguments=(
            argument("id", metavar="ID", help="the session, e.g. s1"),
            _YES,
            DRY_RUN,
        ),
        details="Its conversations open another session with their next message. Its id is never "
        "used again.",
        examples=("turnkeeper sessions delete s1 --dry-run", "turnkeeper sessions delete s1 --yes"),
        lists=True,
    ),
    Command(
        words=("sessions", "prune"),
        summary="delete the sessions in which nobody was active for long",
        action=_prune,
        arguments=(
            argument(
                "--older-than",
                required=True,
                metavar="AGE",
                help="an age, like 90d, 12h or 2w, or a time, like 2026-05-01",
            ),
            argument(
                "--export",
                type=Path,
                metavar="DIR",
                help="write each to a file there first, and delete only what is written",
            ),
            _YES,
            DRY_RUN,
        ),
        details="Active are humans who write, and missions that run. Sessions in which anything is "
        "open stay, and so do those that somebody is paired with or a mission runs in.",
        examples=(
            "turnkeeper sessions prune --older-than 90d --dry-run",
            "turnkeeper sessions prune --older-than 90d --export old --yes",
        ),
        lists=True,
    ),
    Command(
        words=("sessions", "import"),
        summary="bring in a session that was exported elsewhere",
        action=_import,
        arguments=(
            argument("file", metavar="FILE", help="what `sessions export` has written"),
            DRY_RUN,
        ),
        details="All of the file is checked before anything is written. Nothing may run meanwhile.",
        examples=("turnkeeper sessions import s1.jsonl",),
        lists=True,
    ),
)
