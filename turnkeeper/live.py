"""What a running runtime does for those who ask through its control socket."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from .actors.acts import ActRefused
from .actors.core.mission_definition import MissionRefused
from .actors.core.records import MalformedRecord
from .actors.deliveries import Outcome, SendPlan
from .actors.door import Refusal
from .actors.errors import TurnRefused
from .actors.messages import Address, Instance
from .actors.unknown import UnknownInstance, UnknownMission, UnknownSession
from .channels.base import Channel
from .config import ConfigError
from .control import JsonLines, Operation, RequestFailed
from .feeding import host_watcher
from .identity import IdentityUnavailable
from .join import host_seat
from .live_missions import mission_acts
from .reload import Reloaded
from .requests import (
    given_flag,
    given_number_or_none,
    given_pairs,
    given_text,
    given_text_or_none,
    given_texts,
)
from .runtime import Runtime
from .shared_console import SharedConsole
from .storage.errors import StorageError
from .views import Story, time_of

__all__ = [
    "ChannelState",
    "Presence",
    "RefusalInfo",
    "channel_states",
    "live_operations",
    "this_process",
]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusalInfo:
    """A message that was not let in."""

    at: datetime
    instance: str
    conversation: str
    thread: str | None
    message_id: str
    platform: str
    user_id: str
    rule: str
    """What kept it out."""


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
    runtime: Runtime,
    console: SharedConsole,
    presence: Presence,
    reload: Callable[[], Awaitable[Reloaded]],
) -> dict[str, Operation]:
    """The operations by name.

    Args:
        runtime: carries them out.
        console: where terminals join.
        presence: what it says of itself.
        reload: reads the configuration again. Raises ConfigError.
    """

    async def tell_presence(_lines: JsonLines, _request: Mapping[str, Any]) -> Presence:
        return presence

    async def retry_delivery(_lines: JsonLines, request: Mapping[str, Any]) -> Outcome:
        delivery_id = given_text(request, "id")
        mark = given_flag(request, "mark_duplicate")
        try:
            return await runtime.retry_delivery(delivery_id, mark_duplicate=mark)
        except (UnknownSession, ValueError) as error:
            raise RequestFailed("not_found", f"there is no delivery {delivery_id!r}") from error

    async def join(lines: JsonLines, request: Mapping[str, Any]) -> None:
        conversation = given_text_or_none(request, "conversation")
        await host_seat(console, lines, conversation)

    async def watch(lines: JsonLines, _request: Mapping[str, Any]) -> None:
        await host_watcher(runtime.feed(), lines)

    async def refusals(_lines: JsonLines, _request: Mapping[str, Any]) -> list[RefusalInfo]:
        return [_refusal(refusal) for refusal in await runtime.refusals()]

    async def explain(_lines: JsonLines, request: Mapping[str, Any]) -> Story | None:
        return await runtime.explain(given_text(request, "id"))

    async def rules(_lines: JsonLines, _request: Mapping[str, Any]) -> dict[str, list[str]]:
        return {
            name: [rule.agent, rule.scope.dm, rule.scope.channel, rule.scope.thread]
            for name, rule in runtime.rules.items()
        }

    return {
        "presence": tell_presence,
        "retry_delivery": retry_delivery,
        "join": join,
        "watch": watch,
        "refusals": refusals,
        "explain": explain,
        "rules": rules,
        "channels": _operation(lambda _given: runtime.channel_statuses()),
        "reload": _operation(lambda _given: reload()),
        **{do: _operation(act) for do, act in (_acts(runtime) | mission_acts(runtime)).items()},
    }


_Act: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[object]]


def _acts(runtime: Runtime) -> dict[str, _Act]:
    """The acts of an operator, each of which takes its arguments from a request."""
    return {
        "link": lambda given: runtime.link(
            *given_texts(given, "platform", "user_id", "user"), **_options(given)
        ),
        "unlink": lambda given: runtime.unlink(
            *given_texts(given, "platform", "user_id"), **_options(given)
        ),
        "pair": lambda given: runtime.pair(
            *given_texts(given, "platform", "user_id", "session_id"), **_options(given)
        ),
        "unpair": lambda given: runtime.unpair(
            *given_texts(given, "platform", "user_id"), **_options(given)
        ),
        "move": lambda given: runtime.move_binding(
            given_text(given, "instance"),
            given_text(given, "conversation"),
            thread=given_text_or_none(given, "thread"),
            session_id=given_text_or_none(given, "session_id"),
            **_options(given),
        ),
        "undo": lambda given: runtime.undo(
            given_number_or_none(given, "number"), **_options(given)
        ),
        "approve": lambda given: runtime.approve(given_text(given, "code")),
        "allow": lambda given: runtime.allow(*given_texts(given, "instance", "user_id")),
        "revoke": lambda given: runtime.revoke(*given_texts(given, "instance", "user_id")),
        "delete": lambda given: runtime.delete(
            given_text(given, "session_id"),
            records=given_number_or_none(given, "records"),
            **_options(given),
        ),
        "create_session": lambda given: runtime.create_session(
            given_text(given, "session_id"), given_text_or_none(given, "agent"), by="operator"
        ),
        "delete_all": lambda given: _delete_all(runtime, given),
        "clear": lambda given: runtime.clear(given_text(given, "session_id"), by="operator"),
        "compact": lambda given: runtime.compact(given_text(given, "session_id")),
        "clear_memory": lambda given: _clear_memory(runtime, given),
        "send": lambda given: _send(runtime, given),
    }


async def _clear_memory(runtime: Runtime, given: Mapping[str, Any]) -> dict[str, object]:
    session_id = given_text(given, "session_id")
    keys = await runtime.clear_memory(session_id, by="operator")
    return {"session_id": session_id, "keys": keys}


async def _delete_all(runtime: Runtime, given: Mapping[str, Any]) -> list[str | None]:
    """Delete sessions, each with as many records as it is known to have; tell why one was not."""
    refusals: list[str | None] = []
    for session_id, records in given_pairs(given, "sessions"):
        try:
            await runtime.delete(session_id, records=records, by="operator")
        except (ActRefused, UnknownSession) as refusal:
            refusals.append(str(refusal))
        else:
            refusals.append(None)
    return refusals


async def _send(runtime: Runtime, given: Mapping[str, Any]) -> Outcome | SendPlan:
    """Send a message as the operator asks, or tell where it would go."""
    session_id, user = given_text(given, "session_id"), given_text_or_none(given, "user")
    place: Address | None = None
    if (instance := given_text_or_none(given, "instance")) is not None:
        conversation = given_text(given, "conversation")
        place = Address(Instance(instance), conversation, given_text_or_none(given, "thread"))
    if given_flag(given, "dry_run"):
        return await runtime.plan_send(session_id, place, user=user)
    text = given_text(given, "text")
    return await runtime.send_message(session_id, text, place, user=user, by="operator")


def _operation(act: _Act) -> Operation:
    async def carry_out(_lines: JsonLines, request: Mapping[str, Any]) -> object:
        try:
            return await act(request)
        except (ActRefused, MissionRefused, UnknownInstance) as error:
            raise RequestFailed("refused", str(error)) from error
        except (UnknownMission, UnknownSession) as error:
            raise RequestFailed("not_found", str(error)) from error
        except ConfigError as error:
            raise RequestFailed("bad_config", str(error)) from error
        except ValueError as error:
            raise RequestFailed("refused", str(error)) from error
        except (IdentityUnavailable, TurnRefused, StorageError, MalformedRecord) as error:
            raise RequestFailed("failed", str(error)) from error

    return carry_out


def _refusal(refusal: Refusal) -> RefusalInfo:
    return RefusalInfo(
        at=time_of(refusal.at_us),
        instance=refusal.address.instance,
        conversation=refusal.address.conversation,
        thread=refusal.address.thread,
        message_id=refusal.message_id,
        platform=refusal.platform,
        user_id=refusal.user_id,
        rule=refusal.rule,
    )


def this_process(since: datetime, channels: tuple[ChannelState, ...]) -> Presence:
    """The presence of this process."""
    return Presence(pid=os.getpid(), since=since, channels=channels)


def _options(request: Mapping[str, Any]) -> Any:
    """What is said of every change: it is an operator's, and perhaps a dry run."""
    return {"dry_run": given_flag(request, "dry_run"), "by": "operator"}
