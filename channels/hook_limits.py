"""Every bound of the server of hooks, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

__all__ = ["HookLimits"]

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB


@dataclass(frozen=True, kw_only=True, slots=True)
class HookLimits:
    """What strangers may ask of the server. Hooks can only ask for less."""

    max_head_bytes: int = 16 * _KIB
    """Request line and headers; platforms send 2 KiB, proxies add some. More is answered 431."""
    max_headers: int = 100
    """Headers of a request; more is answered 431."""
    max_query_fields: int = 32
    """Fields of a query; more is answered 400."""
    max_body_bytes: int = 4 * _MIB
    """Longest body of any hook: platforms send references to files, not files. More is 413."""

    idle_timeout_s: float = 10.0
    """From a connection, or the answer before, to the end of the next head. Then it is closed."""
    body_timeout_s: float = 10.0
    """From the head to the end of the body, however it trickles in; later is answered 408."""
    hear_timeout_s: float = 30.0
    """For a hook to make a turn durable. Platforms give up after 3 to 30 seconds; then 503."""
    write_timeout_s: float = 5.0
    """For an answer to leave; a client that does not read it is cut off."""
    linger_s: float = 1.0
    """For a client that was refused before its body was read to see the answer."""
    linger_bytes: int = 256 * _KIB
    """What is read and thrown away meanwhile, at most."""
    grace_s: float = 5.0
    """For the requests that are being heard when the server stops."""

    max_connections: int = 256
    """Connections altogether; further ones get 503."""
    max_requests: int = 32
    """Requests that are being heard; further ones get 503. With the longest bodies, 128 MiB."""
    max_requests_per_path: int = 16
    """The same of one path, so that one platform cannot shut the others out."""
    max_requests_per_connection: int = 1_000
    """Then it is closed, so that a load balancer can move the client elsewhere."""

    def __post_init__(self) -> None:
        """Refuse limits that let nothing through.

        Raises:
            ValueError: naming the limit.
        """
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"{field.name} must be positive")
