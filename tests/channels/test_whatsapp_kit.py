"""The WhatsApp channel does what every channel must, against a WhatsApp of our own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from turnkeeper import Channel
from turnkeeper.testing import ChannelTests

from .whatsapp_platform import WRONG, WhatsAppWire, make_whatsapp, open_whatsapp_wire

pytestmark = pytest.mark.slow


class TestWhatsApp(ChannelTests[WhatsAppWire]):
    """By its webhook; and whether the API answers is looked at every second."""

    def open_wire(self) -> AbstractAsyncContextManager[WhatsAppWire]:
        return open_whatsapp_wire()

    def make_channel(self, wire: WhatsAppWire, name: str) -> Channel:
        return make_whatsapp(wire, name)

    def make_wrong_channel(self, wire: WhatsAppWire, name: str) -> Channel:
        return make_whatsapp(wire, name, token=WRONG)

    def config(self, wire: WhatsAppWire) -> Mapping[str, Any]:
        return {"http": {"listen": "127.0.0.1:0"}}
