"""Where the server of hooks listens."""

from __future__ import annotations

import errno
import re
import socket
from ipaddress import ip_address
from typing import Final

__all__ = ["is_loopback", "listening_socket", "parse_listen"]

_LISTEN: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>[0-9]{1,5})"
)
_BACKLOG: Final = 128
"""Connections that the kernel holds until they are accepted."""


def parse_listen(listen: str) -> tuple[str, int]:
    """Split `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`; port 0 is one that is free.

    Raises:
        ValueError: it is nothing of the kind.
    """
    match = _LISTEN.fullmatch(listen)
    host = (match["v6"] or match["v4"]) if match else ""
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ip_address(host)
    except ValueError:
        host = ""
    if match is None or not host or int(match["port"]) > 65_535:
        raise ValueError(f"{listen!r} is no address and port, such as 127.0.0.1:8080")
    return host, int(match["port"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    return ip_address(host).is_loopback


def listening_socket(host: str, port: int) -> socket.socket:
    """Listen, at once.

    Raises:
        OSError: nobody can listen there; the text says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` would be the whole of IPv4 as well, on some machines.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = {
            errno.EADDRINUSE: f"port {port} is taken",
            errno.EACCES: f"port {port} needs privileges",
            errno.EADDRNOTAVAIL: f"this machine has no address {host}",
        }.get(error.errno or 0, error.strerror or "it cannot be listened on")
        raise OSError(error.errno, f"{why} ({host}:{port})") from error
    return listener
