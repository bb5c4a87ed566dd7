"""The kinds of record that turns consist of: what was said and done, and how an attempt went.

A record of what was said is also the request for what follows: for a turn, or for a delivery.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..frozen import message

__all__ = [
    "AssistantRecord",
    "AttemptRecord",
    "FailureRecord",
    "InterruptedRecord",
    "MissionRecord",
    "QuarantinedRecord",
    "SilentRecord",
    "ToolRecord",
    "UserRecord",
]


@message
class UserRecord:
    """A human said something: the turn is accepted."""

    kind: ClassVar[str] = "user"
    at_us: int
    text: str
    instance: str
    conversation: str
    thread: str | None
    platform: str
    message_id: str
    user_id: str
    user_name: str | None = None
    chat_name: str | None = None
    guild: str | None = None
    direct: bool = True
    reply_to: str | None = None
    attachments: tuple[Any, ...] | None = None


@message
class MissionRecord:
    """A mission's tick: the agent is given its prompt, which is a turn that no human asked for."""

    kind: ClassVar[str] = "mission"
    at_us: int
    text: str
    """The prompt."""
    mission: str
    run: int
    """1 for the mission's first run."""
    due_us: int
    """When it was due; the time of the request if somebody asked for it."""
    by: str = "schedule"
    """`schedule`, or whoever asked for this run."""


@message
class AttemptRecord:
    """The agent is given a turn once more, after a failure or a restart."""

    kind: ClassVar[str] = "attempt"
    at_us: int
    turn_seq: int
    attempt: int


@message
class InterruptedRecord:
    """A stopping runtime took the turn away from the agent; that attempt does not count."""

    kind: ClassVar[str] = "interrupted"
    at_us: int
    turn_seq: int


@message
class ToolRecord:
    """The agent called a tool during the turn."""

    kind: ClassVar[str] = "tool"
    at_us: int
    turn_seq: int
    name: str
    arguments: str
    result: str


@message
class AssistantRecord:
    """The agent said something; the record is also the request to deliver it.

    `turn_seq` is 0 when it is not the answer to a turn. Without an instance it goes to the feed;
    with one and no conversation there is nobody to address.
    """

    kind: ClassVar[str] = "assistant"
    at_us: int
    text: str
    turn_seq: int
    instance: str | None
    conversation: str | None
    thread: str | None
    reply_to: str | None = None
    by: str | None = None
    """Who asked for it, where it is no answer: `turn`, `program`, `operator` or `runtime`."""
    during: int = 0
    """The turn in which the agent asked for it, where it is no answer."""
    route: str | None = None
    """How the place was found, where it is no answer: see `addressing`."""
    saw: tuple[Any, ...] | None = None
    """Of an answer: what its agent was shown, if that was not the whole context."""
    attachments: tuple[Any, ...] | None = None
    """The files that go with it: kept ones only, laid flat as those of a human's message are."""


@message
class SilentRecord:
    """The agent ended the turn without a word."""

    kind: ClassVar[str] = "silent"
    at_us: int
    turn_seq: int
    saw: tuple[Any, ...] | None = None
    """What the agent was shown, if that was not the whole context."""


@message
class FailureRecord:
    """An attempt at the turn failed; another one follows."""

    kind: ClassVar[str] = "failure"
    at_us: int
    turn_seq: int
    attempt: int
    error: str


@message
class QuarantinedRecord:
    """The turn was given up after its last attempt; the session goes on without it."""

    kind: ClassVar[str] = "quarantined"
    at_us: int
    turn_seq: int
    attempts: int
    error: str
