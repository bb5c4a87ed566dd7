"""An address that stays a test's own while nobody listens there."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["kept_port"]


@contextmanager
def kept_port() -> Generator[int]:
    """A port of loopback that is the caller's until the block ends.

    Servers may come and go there, as long as they set SO_REUSEADDR, which all here do; between them
    connections are refused. Nobody else is given the port: neither who asks for a free one, nor who
    connects to somewhere from any. A port that was only found free would be anybody's until
    somebody listens, and again whenever its server is killed.
    """
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        port: int = keeper.getsockname()[1]
        yield port
