"""What a running runtime does with missions for those who ask through its control socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from .missions import Missed, MissionInfo, Overlap
from .requests import given_flag, given_seconds, given_text, given_text_or_none, given_texts
from .runtime import Runtime

__all__ = ["mission_acts"]

_BY: Final = "operator"
"""Who reaches the socket owns the state directory."""


def mission_acts(runtime: Runtime) -> dict[str, Callable[[Mapping[str, Any]], Awaitable[object]]]:
    """The operations by name, each of which takes its arguments from a request."""
    return {
        "add_mission": lambda given: _add(runtime, given),
        "run_mission": lambda given: runtime.run_mission(given_text(given, "name"), by=_BY),
        "pause_mission": lambda given: runtime.pause_mission(given_text(given, "name"), by=_BY),
        "resume_mission": lambda given: runtime.resume_mission(given_text(given, "name"), by=_BY),
        "remove_mission": lambda given: runtime.remove_mission(given_text(given, "name"), by=_BY),
    }


async def _add(runtime: Runtime, given: Mapping[str, Any]) -> MissionInfo:
    name, schedule, prompt = given_texts(given, "name", "schedule", "prompt")
    return await runtime.add_mission(
        name,
        schedule,
        prompt,
        given_text_or_none(given, "notify"),
        given_text_or_none(given, "agent"),
        zone=given_text_or_none(given, "zone") or "UTC",
        session=given_text_or_none(given, "session"),
        # Whether it is one of those that there are, the scheduler judges, as for a program.
        missed=cast("Missed", given_text_or_none(given, "missed") or "skip"),
        overlap=cast("Overlap", given_text_or_none(given, "overlap") or "skip"),
        jitter_s=given_seconds(given, "jitter_s"),
        on_failure=given_text_or_none(given, "on_failure"),
        replace=given_flag(given, "replace"),
        by=_BY,
    )
