"""`channels list --available` and `channels new`: which kinds there are, and how to begin one."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from typing import Final

from ..available import AvailableKind, available_kinds
from ..kinds import KINDS
from .base import Command, CommandError, Exit, Invocation, UsageError, argument
from .output import print_fields, print_json, print_line

__all__ = ["COMMANDS", "list_available"]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


def list_available(invocation: Invocation) -> int:
    """Say which kinds of channel can be configured."""
    kinds = available_kinds()
    if invocation.json:
        print_json(kinds)
        return Exit.OK
    for number, kind in enumerate(kinds):
        if number:
            print_line("")
        print_line(kind.kind)
        print_fields(_lines(kind), indent="  ")
    return Exit.OK


def _lines(kind: AvailableKind) -> list[tuple[str, object]]:
    if kind.problem is not None:
        return [("from", kind.source), ("unusable", kind.problem)]
    keys = "; ".join(
        f"{key}: {holds}{', needed' if key in kind.needed else ''}"
        for key, holds in kind.keys.items()
    )
    return [
        ("platform", kind.platform),
        ("from", kind.source),
        ("can", "; ".join(kind.powers) or "hear and speak"),
        ("keys", keys or "none of its own"),
    ]


def _new(invocation: Invocation) -> int:
    name: str = invocation.arguments.name
    _check_name(name)
    folder = Path(invocation.arguments.dir)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}; make it, or choose another --dir")
    written = {
        folder / f"{name}_channel.py": _starter("starter_channel.py", name),
        folder / f"test_{name}_channel.py": _starter("starter_tests.py", name),
    }
    for path in written:
        if path.exists():
            raise CommandError(f"{path} is there already; nothing was written")
    for path, source in written.items():
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(source)
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error}") from error
        print_line(f"wrote {path}")
    channel, tests = written
    print_line("")
    print_line(f"next: pip install pytest && pytest {tests}")
    print_line(f"then: let {channel.name} speak with your platform")
    print_line(f"      let the wire in {tests.name} be your platform's other side")
    print_line("      the tests that are skipped say what the wire cannot do yet")
    return Exit.OK


def _check_name(name: str) -> None:
    """Refuse what cannot be the name of a kind, a module and a class.

    Raises:
        UsageError: it cannot; the text says why.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a channel's name: use 1 to 40 small letters, digits and _, "
            "beginning with a letter, e.g. pigeon"
        )
    if keyword.iskeyword(name):
        raise UsageError(f"{name!r} is a word of Python's own; choose another name")
    if name in KINDS:
        raise UsageError(f"{name!r} is a built-in kind; choose another name")


def _starter(source: str, name: str) -> str:
    """The source of a module of the starter, under the name of the new channel."""
    text = (files("turnkeeper") / source).read_text(encoding="utf-8")
    text = text.replace("turnkeeper.starter_channel", f"{name}_channel")
    capitalised = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("Starter", capitalised).replace("starter", name)


COMMANDS: Final = (
    Command(
        words=("channels", "new"),
        summary="write a channel to begin with, and its tests",
        action=_new,
        arguments=(
            argument("name", metavar="NAME", help="what the kind is to be called, e.g. pigeon"),
            argument("--dir", metavar="D", default=".", help="folder to write to (default: here)"),
        ),
        details="Writes NAME_channel.py, a small channel that works, and test_NAME_channel.py, "
        "which holds it to everything that a channel must do. Overwrites nothing.",
        examples=("turnkeeper channels new pigeon", "turnkeeper channels new pigeon --dir src"),
    ),
)
