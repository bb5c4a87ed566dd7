"""The tests that every channel has to pass, as a class to be inherited.

    class TestPigeon(ChannelTests[PigeonWire]):
        @asynccontextmanager
        async def open_wire(self) -> AsyncIterator[PigeonWire]: ...

        def make_channel(self, wire: PigeonWire, name: str) -> Channel: ...

Any pytest runs them, without a plugin. Each opens a wire of its own, and runs the channel in a real
runtime, as often as it has to. What the wire, or the channel's powers, cannot do is skipped, and
the skip says what is missing.
"""

from __future__ import annotations

from typing import TypeVar

from .kit_failing import FailingChecks
from .kit_hearing import HearingChecks
from .kit_keeping import KeepingChecks
from .kit_speaking import SpeakingChecks
from .kit_standing import StandingChecks
from .kit_wire import Wire

__all__ = ["ChannelTests"]

W = TypeVar("W", bound=Wire)


class ChannelTests(
    HearingChecks[W], KeepingChecks[W], SpeakingChecks[W], FailingChecks[W], StandingChecks[W]
):
    """What a channel must do; see the module."""
