"""The Discord channel does what every channel must, against a Discord in another process."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from turnkeeper import Channel
from turnkeeper.testing import ChannelTests

from .discord_platform import WRONG_TOKEN, DiscordWire, make_discord, open_discord_wire

pytestmark = pytest.mark.slow


class TestDiscord(ChannelTests[DiscordWire]):
    """Gateway and REST."""

    def open_wire(self) -> AbstractAsyncContextManager[DiscordWire]:
        return open_discord_wire()

    def make_channel(self, wire: DiscordWire, name: str) -> Channel:
        return make_discord(wire, name)

    def make_wrong_channel(self, wire: DiscordWire, name: str) -> Channel:
        return make_discord(wire, name, WRONG_TOKEN)
