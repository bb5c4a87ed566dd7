"""What a running runtime does for those who ask through its control socket."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .actors.messages import Outcome
from .actors.registry import UnknownSession
from .channels.base import Channel
from .control import JsonLines, Operation, RequestFailed
from .join import host_seat
from .runtime import Runtime
from .shared_console import SharedConsole

__all__ = ["ChannelState", "Presence", "channel_states", "live_operations", "this_process"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelState:
    """One channel instance."""

    name: str
    kind: str
    platform: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Presence:
    """A runtime that runs."""

    pid: int
    since: datetime
    channels: tuple[ChannelState, ...]


def channel_states(
    channels: Sequence[Channel], kinds: Mapping[str, str]
) -> tuple[ChannelState, ...]:
    """The state of `channels`; `kinds` maps a configured instance to its kind."""
    return tuple(
        ChannelState(
            name=channel.name,
            kind=kinds.get(channel.name, channel.platform),
            platform=channel.platform,
        )
        for channel in channels
    )


def live_operations(
    runtime: Runtime, console: SharedConsole, presence: Presence
) -> dict[str, Operation]:
    """The operations by name; `console` is where terminals join."""

    async def tell_presence(_lines: JsonLines, _request: Mapping[str, Any]) -> Presence:
        return presence

    async def retry_delivery(_lines: JsonLines, request: Mapping[str, Any]) -> Outcome:
        delivery_id = _text(request, "id")
        try:
            return await runtime.retry_delivery(delivery_id)
        except (UnknownSession, ValueError) as error:
            raise RequestFailed("not_found", f"there is no delivery {delivery_id!r}") from error

    async def join(lines: JsonLines, request: Mapping[str, Any]) -> None:
        conversation = request.get("conversation")
        if conversation is not None and not isinstance(conversation, str):
            raise RequestFailed("bad_request", "conversation must be a text")
        await host_seat(console, lines, conversation)

    return {"presence": tell_presence, "retry_delivery": retry_delivery, "join": join}


def this_process(since: datetime, channels: tuple[ChannelState, ...]) -> Presence:
    """The presence of this process."""
    return Presence(pid=os.getpid(), since=since, channels=channels)


def _text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str):
        raise RequestFailed("bad_request", f"{name} must be a text")
    return value
