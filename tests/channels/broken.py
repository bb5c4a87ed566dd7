"""Channels with one bad habit each: in the modules whose names begin with this one's."""

from __future__ import annotations

from typing import ClassVar

from .whole_channel import WholeChannel

__all__ = ["Broken"]


class Broken(WholeChannel):
    """A channel with one bad habit."""

    caught: ClassVar[str] = ""
    """The test of the kit that has to fail."""
    saying: ClassVar[str] = ""
    """Words that its failure must have."""

    def __init_subclass__(cls, caught: str = "", saying: str = "") -> None:
        cls.caught, cls.saying = caught, saying
