"""The same work again and again, ours and the storage floor in turns: both drift with the disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

from benchmarks.clocks import Clocks

__all__ = ["Rounds"]


@dataclass(slots=True)
class Rounds:
    """What the same work took each time, ours and the floor in turns."""

    count: int
    """Turns, or sends, of one round."""
    ours: list[Clocks] = field(default_factory=list[Clocks])
    floor: list[Clocks] = field(default_factory=list[Clocks])

    def rates(self, spent: list[Clocks]) -> list[float]:
        """How many of them a second."""
        return [self.count / each.wall_s for each in spent]

    def cpu_us(self, spent: list[Clocks]) -> float:
        """Microseconds on a processor for each of them."""
        return median(each.process_s for each in spent) / self.count * 1e6

    def ratios(self) -> list[float]:
        """Our rate beside the floor's in the same round: the disk drifts."""
        return [
            floor.wall_s / ours.wall_s for ours, floor in zip(self.ours, self.floor, strict=True)
        ]

    def spread(self) -> str:
        """The range of each rate, and where our time on a processor goes."""
        ours, floor, ratios = self.rates(self.ours), self.rates(self.floor), self.ratios()
        on_loop = median(each.thread_s / each.process_s for each in self.ours)
        return (
            f"ours {min(ours):,.0f}–{max(ours):,.0f}, floor {min(floor):,.0f}–{max(floor):,.0f}, "
            f"ratio {min(ratios):.2f}–{max(ratios):.2f}; {on_loop:.0%} of our CPU time on the loop"
        )
