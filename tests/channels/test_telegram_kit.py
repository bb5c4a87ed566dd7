"""The Telegram channel does what every channel must, against a Telegram of our own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from turnkeeper import Channel
from turnkeeper.testing import ChannelTests

from ..peers.telegram_fake import TOKEN
from .telegram_platform import TelegramWire, make_telegram, open_telegram_wire

pytestmark = pytest.mark.slow


class TestPolling(ChannelTests[TelegramWire]):
    """By long polls."""

    def open_wire(self) -> AbstractAsyncContextManager[TelegramWire]:
        return open_telegram_wire()

    def make_channel(self, wire: TelegramWire, name: str) -> Channel:
        return make_telegram(wire, name)

    def make_wrong_channel(self, wire: TelegramWire, name: str) -> Channel:
        return make_telegram(wire, name, TOKEN[:-1] + "x")


class TestWebhook(TestPolling):
    """By calls of Telegram's."""

    def make_channel(self, wire: TelegramWire, name: str) -> Channel:
        return make_telegram(wire, name, webhook=True, webhook_check_s=1.0)

    def make_wrong_channel(self, wire: TelegramWire, name: str) -> Channel:
        return make_telegram(wire, name, TOKEN[:-1] + "x", webhook=True)

    def config(self, wire: TelegramWire) -> Mapping[str, Any]:
        return {"http": {"listen": "127.0.0.1:0"}}
