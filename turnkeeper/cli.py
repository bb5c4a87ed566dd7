"""The command line: which commands there are, how they are parsed, and how they fail.

Every error is one line on stderr that says what to do, and an exit code; see `commands.base.Exit`.
"""

from __future__ import annotations

import argparse
import difflib
import io
import logging
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from . import __version__
from .actors.core.records import MalformedRecord
from .channels.display import printable
from .commands import (
    access,
    bindings,
    channel_kinds,
    channel_status,
    checking,
    compaction,
    deliveries,
    feed,
    identity,
    memory,
    missions,
    overview,
    pairs,
    retention,
    send,
    serving,
    sessions,
    sessions_acts,
)
from .commands.base import (
    INTERRUPTED,
    Argument,
    Command,
    CommandError,
    Exit,
    Invocation,
    UsageError,
    argument,
)
from .config import ConfigError
from .runtime import RuntimeFailed
from .storage import errors as storage
from .storage.state_dir import user_state_dir

__all__ = ["COMMANDS", "main", "state_dir_of"]

COMMANDS: Final[tuple[Command, ...]] = (
    *serving.COMMANDS,
    *overview.COMMANDS,
    *channel_kinds.COMMANDS,
    *checking.COMMANDS,
    *sessions.COMMANDS,
    *retention.COMMANDS,
    *sessions_acts.COMMANDS,
    *memory.COMMANDS,
    *compaction.COMMANDS,
    *bindings.COMMANDS,
    *identity.COMMANDS,
    *channel_status.COMMANDS,
    *pairs.COMMANDS,
    *access.COMMANDS,
    *deliveries.COMMANDS,
    *missions.COMMANDS,
    *send.COMMANDS,
    *feed.COMMANDS,
)

_GROUPS: Final[Mapping[str, str]] = {
    "access": "who may talk to the agent at all",
    "bindings": "which session a conversation belongs to",
    "channels": "the channel instances, and who is paired with a session",
    "deliveries": "what has not arrived, and another try",
    "identity": "who is who: links between accounts, and every change that was made",
    "missions": "prompts that an agent is given at set times",
    "sessions": "who talked, and what was said",
}
"""What the commands of two words are about, by their first word."""

_COMMON: Final = (
    argument("--state", metavar="DIR", help="state directory (default: see below)"),
    argument("--config", metavar="FILE", help="configuration, TOML"),
    argument("-v", "--verbose", action="count", help="log more to stderr; -vv for everything"),
)
_HELP_COLUMNS: Final = 80
_JSON: Final = argument("--json", action="store_true", help="print one JSON document")
_EPILOG: Final = """\
The state directory is --state, else $TURNKEEPER_STATE, else $XDG_STATE_HOME/turnkeeper, else
~/.local/state/turnkeeper. `turnkeeper COMMAND --help` says more.

exit codes: 0 done, 1 failed, 2 usage or configuration, 3 state directory unusable,
            4 no such thing, 5 the store failed"""

_OPEN_ERRORS: Final = (
    storage.NotAStore,
    storage.StoreDamaged,
    storage.StoreFromFuture,
    storage.StoreLocked,
    storage.StoreUnusable,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not where a test or an embedder replaced it
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _carry_out(sys.argv[1:] if arguments is None else arguments)
        if sys.stdout:  # None where the caller has closed it
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has gone; nor shall the interpreter complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except (
        CommandError,
        ConfigError,
        MalformedRecord,
        RuntimeFailed,
        storage.StorageError,
    ) as error:
        print(f"turnkeeper: {printable(str(error))}", file=sys.stderr)
        return _exit_code(error)


def _exit_code(error: Exception) -> Exit:
    if isinstance(error, CommandError):
        return error.exit
    if isinstance(error, ConfigError):
        return Exit.USAGE
    return Exit.STATE if isinstance(error, _OPEN_ERRORS) else Exit.STORE


def _carry_out(arguments: Sequence[str]) -> int:
    parser = _build_parser()
    if arguments and arguments[0].startswith("--") and not _is_known(parser, arguments[0]):
        # What follows could be its value; argparse would take it for the command.
        _unknown_argument(arguments[0], parser)
    parsed, unknown = parser.parse_known_args(list(arguments))
    command: Command | None = getattr(parsed, "command", None)
    if unknown:
        _unknown_argument(unknown[0], getattr(parsed, "parser", parser))
    if command is None:
        getattr(parsed, "parser", parser).print_help()
        return Exit.USAGE
    given: Mapping[str, Any] = vars(parsed)
    verbosity = given.get("verbose") or 0
    _set_up_logging(verbosity)
    config = given.get("config")
    return command.action(
        Invocation(
            state_dir=state_dir_of(given.get("state"), os.environ),
            config=Path(config) if config is not None else None,
            json=given.get("json", False),
            verbosity=verbosity,
            arguments=parsed,
        )
    )


def state_dir_of(given: str | None, environ: Mapping[str, str]) -> Path:
    """The state directory: `given`, else what the environment says, else the user's own."""
    chosen = given or environ.get("TURNKEEPER_STATE")
    if chosen:
        return Path(chosen).absolute()
    return user_state_dir(environ)


class _LogFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep_lines=True)


def _set_up_logging(verbosity: int) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_LogFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    logging.basicConfig(level=level, handlers=[handler])


# -- parsing -------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser that fails in one line, and suggests what may have been meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            what = "command" if isinstance(action, argparse._SubParsersAction) else "value"  # pyright: ignore[reportPrivateUsage]
            raise UsageError(f"there is no {what} {value!r}; {_suggestion(str(value), known)}")


def _suggestion(word: str, known: Iterable[str]) -> str:
    choices = list(known)
    close = difflib.get_close_matches(word, choices, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(choices)}"


def _unknown_argument(word: str, parser: argparse.ArgumentParser) -> NoReturn:
    if not word.startswith("-"):
        raise UsageError(f"unexpected {word!r}; see `{parser.prog} --help`")
    option = word.partition("=")[0]
    close = difflib.get_close_matches(option, _options(parser), 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"see `{parser.prog} --help`"
    raise UsageError(f"unknown option {option}; {hint}")


def _options(parser: argparse.ArgumentParser) -> list[str]:
    known = parser._option_string_actions  # pyright: ignore[reportPrivateUsage]
    return [name for name in known if name.startswith("--")]


def _is_known(parser: argparse.ArgumentParser, word: str) -> bool:
    return word == "--" or word.partition("=")[0] in _options(parser)


def _build_parser() -> _Parser:
    parser = _Parser(
        prog="turnkeeper",
        description="One human, one agent, one conversation, whichever app the human opens.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"turnkeeper {__version__}")
    _add(parser, _COMMON)
    words = parser.add_subparsers(title="commands", metavar="COMMAND")
    groups: dict[str, Any] = {}
    for command in COMMANDS:
        *group, last = command.words
        within = words
        if group:
            name = group[0]
            if name not in groups:
                of_group = words.add_parser(name, help=_GROUPS[name], description=_GROUPS[name])
                of_group.set_defaults(parser=of_group)
                groups[name] = of_group.add_subparsers(title="commands", metavar="COMMAND")
            within = groups[name]
        _add_command(within, last, command)
    return parser


def _add_command(within: Any, word: str, command: Command) -> None:
    examples = "".join(f"\n  {line}" for line in command.examples)
    parser: argparse.ArgumentParser = within.add_parser(
        word,
        help=command.summary,
        description=_description(command),
        epilog=f"examples:{examples}" if examples else None,
    )
    _add(parser, command.arguments)
    if command.lists:
        _add(parser, (_JSON,))
    _add(parser, _COMMON)
    parser.set_defaults(command=command, parser=parser)


def _description(command: Command) -> str:
    text = command.summary[0].upper() + command.summary[1:] + "."
    if command.details:
        text += "\n\n" + textwrap.fill(command.details, _HELP_COLUMNS)
    return text


def _add(parser: argparse.ArgumentParser, arguments: Iterable[Argument]) -> None:
    for one in arguments:
        options = dict(one.options)
        if one in _COMMON:
            # A default would overwrite what was given before the command's word.
            options["default"] = argparse.SUPPRESS
        parser.add_argument(*one.names, **options)
