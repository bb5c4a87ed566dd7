"""What a mission is: a prompt with a schedule, checked before anything of it is written.

Pure; times are integer microseconds since the epoch, UTC.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast, get_args

from ..messages import Address, SessionId
from .schedule import BadSchedule, Missed, Schedule, read_schedule
from .schedule_text import clean_text, zone_of

__all__ = [
    "MAX_JITTER_S",
    "MAX_PROMPT_CHARS",
    "Asker",
    "Definition",
    "MissionRefused",
    "Overlap",
    "check_mission_name",
    "define",
    "session_of_mission",
]

Overlap: TypeAlias = Literal["skip", "queue_one", "allow"]
"""What becomes of a tick while a run goes on: it is passed over; it waits, if no other does; it
waits, however many do. Runs of one mission are turns of one session, and never go on at once."""

MAX_PROMPT_CHARS: Final = 1_000_000
"""Longest prompt: it is stored once more with every run."""
MAX_JITTER_S: Final = 86_400.0

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,56}")


class MissionRefused(ValueError):
    """The mission makes no sense; nothing was changed. The text says what would help."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.field = field
        """The part of the mission that is wrong, by its name in a configuration; None: no one."""


class Asker(NamedTuple):
    """Where a mission was asked for."""

    session_id: SessionId
    place: Address | None
    """The conversation; None if nobody knows any more."""


class Definition(NamedTuple):
    """What a mission is. A tuple, as it is stored."""

    name: str
    schedule: str
    """As `schedule.read_schedule` has read it."""
    zone: str
    anchor_us: int
    """When the schedule was set: `every` counts from here."""
    prompt: str
    agent: str
    session_id: str
    """Where it runs."""
    notify: str | None
    """The instance where its messages go; None: where the session has them go."""
    on_behalf_of: str | None
    """The session in whose turn it was made, and in whose conversations alone it speaks."""
    missed: Missed
    overlap: Overlap
    jitter_s: float
    on_failure: str | None
    """The instance where somebody is told of a run that failed."""
    by: str
    """`operator`, `program` or `config`."""
    asked_at: Address | None = None
    """The conversation in which it was asked for."""

    def flat(self) -> list[Any]:
        """As it is stored."""
        *parts, place = self
        return [*parts, tuple(place) if place is not None else None]

    @property
    def plan(self) -> Schedule:
        """When it is due."""
        return Schedule(self.schedule, self.zone, self.anchor_us)

    @property
    def asker(self) -> Asker | None:
        """For whom it speaks, if it was asked for in a turn."""
        if self.on_behalf_of is None:
            return None
        return Asker(SessionId(self.on_behalf_of), self.asked_at)


def session_of_mission(name: str) -> str:
    """The session in which a mission runs where none is named."""
    return f"mission-{name}"


def check_mission_name(name: str) -> None:
    """Refuse what cannot name a mission.

    Raises:
        MissionRefused: it is empty, too long or has other characters than letters, digits, `_.-`.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise MissionRefused(
            f"{name!r:.80} cannot name a mission: 1 to 56 letters, digits, '_', '.' or '-'", "name"
        )


def define(  # noqa: PLR0913  (the parts of a mission)
    *,
    name: str,
    schedule: str,
    zone: str,
    prompt: str,
    agent: str,
    session_id: str,
    notify: str | None,
    on_behalf_of: str | None,
    missed: str,
    overlap: str,
    jitter_s: float,
    on_failure: str | None,
    by: str,
    now_us: int,
    asked_at: Address | None = None,
    before: Definition | None = None,
) -> Definition:
    """The mission that somebody wants, checked as far as it can be without looking around.

    Its schedule may be over if that was its schedule `before`.

    Raises:
        MissionRefused: a part of it is wrong; the text and the field say which.
    """
    check_mission_name(name)
    _check_prompt(prompt)
    _check_choice("missed", missed, get_args(Missed))
    _check_choice("overlap", overlap, get_args(Overlap))
    _check_jitter(jitter_s)
    plan = _plan(schedule, zone, now_us, before)
    return Definition(
        name=name,
        schedule=plan.text,
        zone=plan.zone,
        anchor_us=plan.anchor_us,
        prompt=prompt,
        agent=agent,
        session_id=session_id,
        notify=notify,
        on_behalf_of=on_behalf_of,
        missed=cast("Missed", missed),
        overlap=cast("Overlap", overlap),
        jitter_s=float(jitter_s),
        on_failure=on_failure,
        by=by,
        asked_at=asked_at,
    )


def _check_prompt(prompt: str) -> None:
    if not isinstance(prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise MissionRefused(f"the prompt must be a text, not {prompt!r:.80}", "prompt")
    if not prompt.strip():
        raise MissionRefused("the prompt is empty: what is the agent to do?", "prompt")
    if len(prompt) > MAX_PROMPT_CHARS:
        raise MissionRefused(
            f"the prompt has {len(prompt)} characters; {MAX_PROMPT_CHARS} are allowed", "prompt"
        )


def _check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        wanted = ", ".join(map(repr, choices))
        raise MissionRefused(f"{field} must be one of {wanted}, not {value!r:.80}", field)


def _check_jitter(jitter_s: float) -> None:
    is_number = type(jitter_s) in (int, float)
    if not is_number or not 0 <= jitter_s <= MAX_JITTER_S:
        raise MissionRefused(
            f"jitter_s must be a number of seconds from 0 to {MAX_JITTER_S:.0f}, "
            f"not {jitter_s!r:.80}",
            "jitter_s",
        )


def _plan(schedule: str, zone: str, now_us: int, before: Definition | None) -> Schedule:
    """When a mission is due that is to run by `schedule`, and has run as it was `before`."""
    for field, given in (("schedule", schedule), ("zone", zone)):
        if not isinstance(given, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise MissionRefused(f"{field} must be a text, not {given!r:.80}", field)
    try:
        zone_of(zone)
    except BadSchedule as error:
        raise MissionRefused(str(error), "zone") from error
    try:
        if before is not None and (clean_text(schedule), zone) == (before.schedule, before.zone):
            return before.plan
        return read_schedule(schedule, zone, now_us)
    except BadSchedule as error:
        raise MissionRefused(str(error), "schedule") from error
