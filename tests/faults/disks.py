"""A disk that shows every commit to somebody, and may lose its power at one of them."""

from __future__ import annotations

from typing import Protocol

from turnkeeper.storage.batch import Group
from turnkeeper.storage.memory import MemoryDisk

from .events import CutPower

__all__ = ["AuditedDisk", "Watcher"]


class Watcher(Protocol):
    """Who is told of every commit."""

    disk: AuditedDisk
    """The disk that counts: that of a process which is dead does not."""

    def cut_of_next_commit(self) -> CutPower | None:
        """Whether the power goes with the commit that comes now."""
        ...

    def cut_power(self, when: str) -> None:
        """The process is gone; what is on the disk stays."""
        ...

    def committed(self, group: Group) -> None:
        """A group is durable."""
        ...


class AuditedDisk(MemoryDisk):
    """A memory disk with a watcher."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__()
        self._watcher = watcher

    def image(self) -> AuditedDisk:
        """What a crash at this moment would leave."""
        image = AuditedDisk(self._watcher)
        image.log, image.tables = self.log.copy(), self.tables.copy()
        return image

    def write(self, group: Group) -> None:
        """Apply a group, whole."""
        watcher = self._watcher
        if watcher.disk is not self or not group.has_writes():
            super().write(group)
            return
        cut = watcher.cut_of_next_commit()
        if cut is not None and not cut.stored:
            watcher.cut_power("before a commit")
            super().write(group)  # on a disk that nobody will see again
            return
        super().write(group)
        watcher.committed(group)
        if cut is not None:
            watcher.cut_power("right after a commit")
