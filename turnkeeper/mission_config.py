"""The missions of a configuration, made so: added, changed, and removed when their table has gone.

Missions that a program or an operator has made are left alone.
"""

from __future__ import annotations

from collections.abc import Collection

from .actors.core.mission_definition import MissionRefused
from .actors.mission_rows import config_missions
from .actors.missions import AddMission, RemoveMission
from .actors.services import Ref
from .config_tables import ConfigError, MissionConfig
from .storage.base import Reads

__all__ = ["follow_missions"]


async def follow_missions(
    scheduler: Ref, store: Reads, wanted: Collection[MissionConfig], *, dry_run: bool = False
) -> None:
    """Let the missions that the configuration makes be those of `wanted`.

    Args:
        scheduler: makes them so.
        store: what it writes to.
        wanted: the tables of the configuration.
        dry_run: only see whether it can.

    Raises:
        ConfigError: a mission makes no sense. With `dry_run`, nothing was changed.
    """
    for section in wanted:
        try:
            await scheduler.ask(_request(section, dry_run=dry_run), block=False)
        except MissionRefused as error:
            key = f" {error.field}" if error.field not in (None, "name") else ""
            raise ConfigError(f"[missions.{section.name}]{key}: {error}") from error
    if not dry_run:
        names = {section.name for section in wanted}
        gone = {row.definition.name for row in config_missions(store)} - names
        for name in sorted(gone):
            await scheduler.ask(RemoveMission(name=name, by="config"), block=False)


def _request(section: MissionConfig, *, dry_run: bool) -> AddMission:
    return AddMission(
        name=section.name,
        schedule=section.schedule,
        prompt=section.prompt,
        notify=section.notify,
        agent=section.agent,
        zone=section.zone,
        session=section.session,
        missed=section.missed,
        overlap=section.overlap,
        jitter_s=section.jitter_s,
        on_failure=section.on_failure,
        replace=True,
        by="config",
        enabled=section.enabled,
        dry_run=dry_run,
    )
