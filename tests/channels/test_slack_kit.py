"""The Slack channel passes what every channel has to, by Socket Mode and by the Events API."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from turnkeeper import Channel
from turnkeeper.testing import ChannelTests

from .slack_platform import SlackWire, make_slack, open_slack_wire

pytestmark = pytest.mark.slow

WRONG = "xoxb-0-0-thisisnotthetokenofanybody"


class TestSlackBySocketMode(ChannelTests[SlackWire]):
    def open_wire(self) -> AbstractAsyncContextManager[SlackWire]:
        return open_slack_wire()

    def make_channel(self, wire: SlackWire, name: str) -> Channel:
        return make_slack(wire, name)

    def make_wrong_channel(self, wire: SlackWire, name: str) -> Channel:
        return make_slack(wire, name, token=WRONG)


class TestSlackByTheEventsApi(ChannelTests[SlackWire]):
    def open_wire(self) -> AbstractAsyncContextManager[SlackWire]:
        return open_slack_wire(hooked=True)

    def make_channel(self, wire: SlackWire, name: str) -> Channel:
        return make_slack(wire, name)

    def make_wrong_channel(self, wire: SlackWire, name: str) -> Channel:
        return make_slack(wire, name, token=WRONG)

    def config(self, _wire: SlackWire) -> Mapping[str, Any]:
        return {"http": {"listen": "127.0.0.1:0"}}
