"""The webhook channel does what every channel must, with a program on both ends."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from turnkeeper import Channel
from turnkeeper.testing import ChannelTests

from .webhook_program import Program, make_webhook, open_program

pytestmark = pytest.mark.slow


class TestWebhook(ChannelTests[Program]):
    """It has no connection of its own that could break."""

    def open_wire(self) -> AbstractAsyncContextManager[Program]:
        return open_program()

    def make_channel(self, wire: Program, name: str) -> Channel:
        return make_webhook(wire, name)

    def config(self, wire: Program) -> Mapping[str, Any]:
        return {"http": {"listen": "127.0.0.1:0"}}
