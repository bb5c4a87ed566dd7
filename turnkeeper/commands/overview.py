"""`status`, `channels` and `explain`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from .. import overview, stories
from ..actors.core.access import AccessRules
from ..actors.core.routing import InstanceRules, ScopeRules
from ..actors.messages import Instance
from ..config import load_config
from ..control import BadLine, RequestFailed, ask
from ..live import ChannelState, Presence
from ..offline import rules_at_rest
from ..overview import ChannelRow, Status
from ..views import Story
from .base import Command, Exit, Invocation, NoSuchThing, argument
from .channel_kinds import list_available
from .output import hint, moment, print_fields, print_json, print_line, print_rows
from .reading import frozen

__all__ = ["COMMANDS"]


def _presence(state_dir: Path) -> Presence | None:
    """What the runtime on `state_dir` says of itself; None if none answers."""
    try:
        answer: Mapping[str, Any] | None = ask(state_dir, "presence", timeout_s=2.0)
    except (OSError, BadLine) as error:
        hint(f"the control socket does not answer: {error}")
        return None
    if answer is None:
        return None
    return Presence(
        pid=answer["pid"],
        since=datetime.fromisoformat(answer["since"]),
        channels=tuple(ChannelState(**channel) for channel in answer["channels"]),
    )


def _status(invocation: Invocation) -> int:
    state_dir = invocation.state_dir
    presence = _presence(state_dir)
    pid = presence.pid if presence is not None else overview.holder(state_dir)
    rules = _rules(invocation)
    with frozen(state_dir) as reads:
        status = overview.status(reads, state_dir, presence, pid, rules)
    if invocation.json:
        print_json(status)
    else:
        print_fields(_status_lines(status))
    return Exit.OK


def _status_lines(status: Status) -> list[tuple[str, object]]:
    if not status.running:
        running = "no"
    elif status.since is None:
        running = f"process {status.pid}, without a control socket"
    else:
        running = f"process {status.pid}, since {moment(status.since)}"
    names = ", ".join(_named(c) for c in status.channels if c.state == "running")
    return [
        ("running", running),
        ("state directory", status.state_dir),
        ("channels", names or None),
        ("sessions", f"{status.sessions}"),
        ("pinned", _pinned(status.pinned)),
        ("open turns", f"{status.open_turns}"),
        ("open deliveries", f"{status.open_deliveries}"),
        ("dead letters", f"{status.dead_letters}"),
        ("quarantined turns", f"{status.quarantined_turns}"),
        ("store", _size(status.store_bytes)),
    ]


def _pinned(count: int) -> str:
    if not count:
        return "0"
    what = "conversation" if count == 1 else "conversations"
    return (
        f"{count} {what} that the scopes of now would give to another session; "
        "`turnkeeper explain INSTANCE/CONVERSATION/MESSAGE_ID` says how to move one"
    )


def _rules(invocation: Invocation) -> dict[Instance, InstanceRules]:
    """How conversations are routed now: by the runtime that runs, else as is configured."""
    try:
        live: Mapping[str, Any] | None = ask(invocation.state_dir, "rules", timeout_s=2.0)
    except (OSError, BadLine, RequestFailed):
        live = None
    if live is None:
        return rules_at_rest(load_config(invocation.config))
    return {
        Instance(name): InstanceRules(agent, ScopeRules(*scope), AccessRules())
        for name, (agent, *scope) in live.items()
    }


def _named(channel: ChannelRow) -> str:
    return channel.name if channel.name == channel.kind else f"{channel.name} ({channel.kind})"


def _size(size_bytes: int) -> str:
    if size_bytes < 1024 * 1024:
        return f"{size_bytes / 1024:.0f} KiB"
    return f"{size_bytes / 1024 / 1024:.1f} MiB"


def _channels(invocation: Invocation) -> int:
    if invocation.arguments.available:
        return list_available(invocation)
    sections = load_config(invocation.config).channels
    configured = {section.name: section.kind for section in sections if section.kind is not None}
    if configured and not os.path.lexists(invocation.state_dir):
        rows = overview.configured_channels(configured)
    else:
        presence = _presence(invocation.state_dir)
        with frozen(invocation.state_dir) as reads:
            rows = overview.channels(reads, presence, configured)
    if invocation.json:
        print_json(rows)
    else:
        print_rows(
            ("NAME", "KIND", "PLATFORM", "CONVERSATIONS", "STATE"),
            rows,
            lambda row: (row.name, row.kind, row.platform, row.conversations, row.state),
            nothing="no channel runs, is configured or has conversations",
        )
    return Exit.OK


def _known_live(invocation: Invocation) -> Story | None:
    """What only the runtime that runs can tell: what it did not let in."""
    try:
        answer = ask(invocation.state_dir, "explain", id=invocation.arguments.id)
    except (OSError, BadLine, RequestFailed) as error:
        hint(f"the runtime that runs cannot be asked: {error}")
        return None
    return Story(**answer) if answer is not None else None


def _explain(invocation: Invocation) -> int:
    record_id: str = invocation.arguments.id
    rules = _rules(invocation)
    with frozen(invocation.state_dir) as reads:
        story = stories.explain(reads, record_id, rules) or _known_live(invocation)
    if story is None:
        raise NoSuchThing(
            f"{record_id!r} is no session, record, change or message that is known; "
            "`turnkeeper sessions list` and `turnkeeper deliveries list` show ids, a turn's is "
            "SESSION/SEQ as in the history, a message's INSTANCE/CONVERSATION/MESSAGE_ID"
        )
    if invocation.json:
        print_json(story)
    else:
        print_line(f"{story.kind} {story.id}")
        for line in story.lines:
            print_line(f"  {line}")
    return Exit.OK


COMMANDS: Final = (
    Command(
        words=("status",),
        summary="say whether a runtime runs, and what is stored",
        action=_status,
        examples=("turnkeeper status", "turnkeeper status --json | jq .dead_letters"),
        lists=True,
    ),
    Command(
        words=("explain",),
        summary="tell why a message reached its session, or what became of a delivery",
        action=_explain,
        arguments=(
            argument(
                "id",
                metavar="ID",
                help="s1 (session), s1/3 (turn, delivery or other record), change/3, or a "
                "platform's message: INSTANCE/CONVERSATION/MESSAGE_ID or MESSAGE_ID alone",
            ),
        ),
        examples=(
            "turnkeeper explain s1",
            "turnkeeper explain s1/4",
            "turnkeeper explain web/alice/m-17",
            "turnkeeper explain change/3",
        ),
        lists=True,
    ),
    Command(
        words=("channels", "list"),
        summary="list the channels that run, are configured or have conversations",
        action=_channels,
        arguments=(
            argument(
                "--available",
                action="store_true",
                help="list the kinds that can be configured instead, with their keys",
            ),
        ),
        examples=(
            "turnkeeper channels list",
            "turnkeeper channels list --config turnkeeper.toml",
            "turnkeeper channels list --available",
        ),
        lists=True,
    ),
)
