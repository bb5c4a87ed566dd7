"""Ports are kept for the servers of one test."""

from __future__ import annotations

import socket

import pytest

from .ports import kept_port


def test_servers_come_and_go_at_a_port_that_is_kept() -> None:
    with kept_port() as port:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            with (
                socket.create_server(("127.0.0.1", port)) as server,
                socket.create_connection(("127.0.0.1", port)) as client,
            ):
                accepted, _ = server.accept()
                with accepted:
                    assert accepted.getpeername() == client.getsockname()


def test_a_port_that_is_kept_is_nobody_elses() -> None:
    with kept_port() as port, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
