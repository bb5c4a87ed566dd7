"""What an author brings for every test of a channel."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Generic, TypeVar

import trio

from .channels.base import Channel
from .kit_wire import Wire

__all__ = ["Suite"]

W = TypeVar("W", bound=Wire)


class Suite(Generic[W]):
    """What an author brings for every test.

    No abstract class: pytest leaves those out without a word, and all tests with them.
    """

    patience_s: ClassVar[float] = 15.0
    """Seconds until a test gives up on what it waits for."""
    stuck_s: ClassVar[float] = 90.0
    """Seconds in which nothing goes on, after which a test that has not even given up is left
    behind. One that goes on may take longer: how fast a real platform is, is not the channel's."""
    doing: str = "the wire was being opened"
    """What the test does, for the failure of one that is stuck."""

    def open_wire(self) -> AbstractAsyncContextManager[W]:
        """The platform's own side, for one test; closed behind it."""
        raise NotImplementedError(f"{type(self).__name__} needs an open_wire()")

    def make_channel(self, wire: W, name: str) -> Channel:
        """A new channel for this platform, as its configuration would make it. Connects nothing."""
        raise NotImplementedError(f"{type(self).__name__} needs a make_channel()")

    def make_wrong_channel(self, wire: W, name: str) -> Channel:
        """A channel whose token the platform does not know, if there are tokens."""
        raise NotImplementedError

    def config(self, _wire: W) -> Mapping[str, Any]:
        """Further sections of the runtime's configuration, such as `http`."""
        return {}

    def make_clock(self) -> trio.abc.Clock | None:
        """The clock: the real one. A wire in memory can do with `trio.testing.MockClock`."""
        return None
