"""The Matrix channel does what every channel must, against a real Synapse."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import pytest

from turnkeeper import Channel
from turnkeeper.testing import ChannelTests

from ..peers.matrix_server import Synapse, run_synapse
from .matrix_platform import WRONG_TOKEN, MatrixWire, make_matrix, open_matrix_wire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class TestMatrix(ChannelTests[MatrixWire]):
    """Each test has people and rooms of its own on one homeserver."""

    patience_s = 60.0
    synapse: ClassVar[Synapse]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
        """A homeserver for all of them."""
        with run_synapse(tmp_path_factory.mktemp("synapse")) as synapse:
            cls.synapse = synapse
            yield

    def open_wire(self) -> AbstractAsyncContextManager[MatrixWire]:
        return open_matrix_wire(self.synapse)

    def make_channel(self, wire: MatrixWire, name: str) -> Channel:
        return make_matrix(wire, name)

    def make_wrong_channel(self, wire: MatrixWire, name: str) -> Channel:
        return make_matrix(wire, name, WRONG_TOKEN)
