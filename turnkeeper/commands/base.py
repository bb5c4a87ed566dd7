"""What a command is: its words, its arguments, and the function that carries it out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

__all__ = [
    "INTERRUPTED",
    "Action",
    "Argument",
    "Command",
    "CommandError",
    "Exit",
    "Invocation",
    "NoSuchThing",
    "NothingRuns",
    "UsageError",
    "argument",
    "natural",
]


INTERRUPTED: Final = 130
"""Exit code of a command that SIGINT ended, as shells have it."""


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    FAILED = 1
    """It was tried and did not succeed: damage was found, a delivery failed."""
    USAGE = 2
    """The command line or the configuration is wrong."""
    STATE = 3
    """The state directory cannot be used: locked, not ours, not there."""
    NOT_FOUND = 4
    """No session, delivery or conversation has that name."""
    STORE = 5
    """The store failed while it was used."""


class CommandError(Exception):
    """A command could not do what it was asked; the text is one line with a way out."""

    exit: Exit = Exit.FAILED


class UsageError(CommandError):
    """The command line makes no sense."""

    exit = Exit.USAGE


class NoSuchThing(CommandError):
    """There is nothing of that name."""

    exit = Exit.NOT_FOUND


class NothingRuns(CommandError):
    """Only a runtime could do it, and none runs on the state directory."""

    exit = Exit.STATE


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """One call of a command, with what every command understands."""

    state_dir: Path
    config: Path | None
    json: bool
    verbosity: int
    """How often `-v` was given."""
    arguments: argparse.Namespace
    """The command's own arguments."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument, as `argparse` takes it."""

    names: tuple[str, ...]
    options: Mapping[str, Any]


def argument(*names: str, **options: Any) -> Argument:
    """An argument of a command; parameters as for `ArgumentParser.add_argument`."""
    return Argument(names, options)


def natural(text: str) -> int:
    """The type of an argument that counts something.

    Raises:
        argparse.ArgumentTypeError: it is no number, or less than 0.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number, 0 or more, not {text!r}")
    return int(text)


Action: TypeAlias = Callable[[Invocation], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One command: `turnkeeper <words>`."""

    words: tuple[str, ...]
    summary: str
    """What it does, in a line that goes on after "turnkeeper … —"."""
    action: Action
    arguments: tuple[Argument, ...] = ()
    details: str = ""
    """What more there is to say in its help, in whole sentences."""
    examples: tuple[str, ...] = ()
    lists: bool = False
    """Whether it prints data, and so understands `--json`."""
