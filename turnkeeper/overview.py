"""The whole of a state directory in a few numbers. Reads only."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, cast

from . import views
from .actors.core.head import Head, read_head
from .actors.core.routing import BindingRow, read_binding
from .live import Presence
from .routes import Rules, is_pinned
from .storage.base import Reads, Table
from .storage.codec import decode, decode_all

__all__ = ["ChannelRow", "Status", "channels", "configured_channels", "holder", "status"]

_DATA_FILE: Final = Path("store") / "data.mdb"
_LOCK_FILE: Final = "lock"
_AGENT: Final = Head._fields.index("agent")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelRow:
    """One channel instance, configured, running, or known from its conversations."""

    name: str
    kind: str | None
    """None where only its conversations are left."""
    platform: str | None
    state: Literal["running", "stopped"]
    conversations: int
    """How many belong to a session."""
    pinned: int = 0
    """How many of them the rules of now would give to another session."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Whether a runtime runs, and what is stored."""

    running: bool
    pid: int | None
    since: datetime | None
    """When it started; None if it does not say."""
    state_dir: str
    channels: tuple[ChannelRow, ...]
    sessions: int
    open_turns: int
    open_deliveries: int
    dead_letters: int
    """Deliveries that failed for good, or whose arrival is unknown."""
    quarantined_turns: int
    store_bytes: int
    pinned: int = 0
    """Conversations that the rules of now would give to another session."""


def status(
    reads: Reads,
    state_dir: Path,
    presence: Presence | None,
    pid: int | None,
    rules: Rules | None = None,
) -> Status:
    """What `reads` tell, with what the running runtime says of itself.

    Args:
        reads: one moment of the store.
        state_dir: where it is.
        presence: of the runtime that answers on the control socket, or None.
        pid: of the process that holds the directory, or None.
        rules: of each instance, as they are now; without them nothing is pinned.
    """
    sessions = turns = deliveries = 0
    for page in views.pages(reads, Table.HEADS):
        for head in map(read_head, decode_all([data for _, data in page])):
            sessions += 1
            turns += head.open_turns
            deliveries += head.open_deliveries
    trouble = _trouble(reads)
    rows = channels(reads, presence, {}, rules)
    return Status(
        running=pid is not None,
        pid=pid,
        since=presence.since if presence is not None else None,
        state_dir=str(state_dir),
        channels=tuple(rows),
        sessions=sessions,
        open_turns=turns,
        open_deliveries=deliveries,
        dead_letters=trouble["failed"] + trouble["unknown"],
        quarantined_turns=trouble["quarantined"],
        store_bytes=(state_dir / _DATA_FILE).stat().st_size,
        pinned=sum(row.pinned for row in rows),
    )


def _trouble(reads: Reads) -> Counter[str]:
    found: Counter[str] = Counter()
    for page in views.pages(reads, Table.TROUBLE):
        found.update(cast("str", decode(data)[0]) for _, data in page)
    return found


def channels(
    reads: Reads,
    presence: Presence | None,
    configured: Mapping[str, str | None],
    rules: Rules | None = None,
) -> list[ChannelRow]:
    """Every channel instance that runs, is configured (name → kind) or has conversations."""
    running = {channel.name: channel for channel in presence.channels} if presence else {}
    agents = _agents(reads) if rules else {}
    alike: Counter[tuple[str, str, bool, bool, str]] = Counter()
    examples: dict[tuple[str, str, bool, bool, str], BindingRow] = {}
    for page in views.pages(reads, Table.BINDINGS):
        for row in map(read_binding, decode_all([data for _, data in page])):
            agent = agents.get(row.stream, "")
            # What decides whether it is pinned: there are a few of these, and many conversations.
            what = row.instance, row.scope, row.direct, row.guild is None, agent
            alike[what] += 1
            examples[what] = row
    conversations: Counter[str] = Counter()
    pinned: Counter[str] = Counter()
    platforms: dict[str, str] = {}
    for what, row in examples.items():
        conversations[row.instance] += alike[what]
        platforms[row.instance] = row.platform
        if rules and is_pinned(row, what[-1], rules):
            pinned[row.instance] += alike[what]
    return [
        ChannelRow(
            name=name,
            kind=running[name].kind if name in running else configured.get(name),
            platform=running[name].platform if name in running else platforms.get(name),
            state="running" if name in running else "stopped",
            conversations=conversations[name],
            pinned=pinned[name],
        )
        for name in sorted({*running, *configured, *conversations})
    ]


def configured_channels(configured: Mapping[str, str | None]) -> list[ChannelRow]:
    """The channels that are configured (name → kind), where nothing has run yet."""
    return [
        ChannelRow(name=name, kind=kind, platform=None, state="stopped", conversations=0, pinned=0)
        for name, kind in sorted(configured.items())
    ]


def _agents(reads: Reads) -> dict[int, str]:
    """Session number -> who answers there."""
    return {
        int.from_bytes(key, "big"): head[_AGENT]
        for page in views.pages(reads, Table.HEADS)
        for (key, _), head in zip(page, decode_all([data for _, data in page]), strict=True)
    }


def holder(state_dir: Path) -> int | None:
    """The process that holds `state_dir`, found without touching its lock; None if none does."""
    path = state_dir / _LOCK_FILE
    try:
        pid, inode = path.read_text("ascii").strip(), os.stat(path).st_ino
        locks = Path("/proc/locks").read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    for line in locks.splitlines():
        # As in 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
        words = line.split()
        if words[1:2] == ["FLOCK"] and words[4] == pid and words[5].endswith(f":{inode}"):
            return int(pid)
    return None
