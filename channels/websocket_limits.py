"""Every bound of the websocket channel, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

__all__ = ["FRAME_COST_BYTES", "WebSocketLimits"]

_KIB = 1024
_MIB = 1024 * _KIB

FRAME_COST_BYTES: Final = 256
"""What a frame counts in a queue besides its text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WebSocketLimits:
    """What one client, and all of them together, may ask of the server."""

    max_text_bytes: int = _MIB
    """Longest text of a message, in UTF-8; a longer one is refused."""
    max_frame_bytes: int = _MIB + 64 * _KIB
    """Longest frame of a client: the longest text and its envelope. A longer one closes (1009)."""
    max_reply_bytes: int = 4 * _MIB
    """Longest reply, in UTF-8; a longer one is rejected for good."""

    hello_timeout_s: float = 5.0
    """From the TCP connection to a valid hello."""
    max_hello_bytes: int = 8 * _KIB
    """Longest first frame: strangers get no megabyte."""
    max_unauthenticated: int = 32
    """Connections that have not said hello yet; further ones get HTTP 503."""
    max_connections: int = 256
    """Connections altogether; further ones get HTTP 503."""

    messages_per_s: float = 20.0
    """Steady rate of one connection; more than a human with a fast client needs."""
    burst_messages: int = 40
    """Messages above the steady rate that are let through, e.g. after a reconnect."""
    max_slow_downs: int = 20
    """Refusals for haste, without a message let through between them, before it closes (1008)."""
    max_in_flight: int = 32
    """Messages of one connection that wait to become durable."""

    max_queue_frames: int = 512
    """Frames waiting to be written to one client; one more drops that client."""
    max_queue_bytes: int = 8 * _MIB
    """Text waiting to be written to one client, in UTF-8; more drops that client."""
    write_timeout_s: float = 10.0
    """For one frame to reach the client's socket."""
    ping_interval_s: float = 30.0
    """Between two pings."""
    pong_timeout_s: float = 20.0
    """For the answer to a ping; a client that is silent longer is taken for gone."""
    close_timeout_s: float = 1.0
    """For the closing handshake."""
    receipt_timeout_s: float = 30.0
    """From sending a reply to the client's `got`; later the answer counts as lost."""

    replay_replies: int = 256
    """Replies kept per conversation for clients that come back."""
    replay_bytes: int = _MIB
    """Text of those replies, in UTF-8; the newest is always kept."""
    max_rooms: int = 1024
    """Conversations remembered without a connection; the longest unused is forgotten first."""

    def __post_init__(self) -> None:
        """Refuse limits that could not work together.

        Raises:
            ValueError: naming the limit.
        """
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"{field.name} must be positive")
        if self.max_queue_frames <= self.replay_replies:
            raise ValueError("max_queue_frames must exceed replay_replies: a resume queues them")
        needed = self.replay_bytes + self.max_reply_bytes + self.max_queue_frames * FRAME_COST_BYTES
        if self.max_queue_bytes < needed:
            raise ValueError(
                f"max_queue_bytes must be {needed} or more: replay_bytes, one more reply of "
                f"max_reply_bytes, and {FRAME_COST_BYTES} for each of max_queue_frames"
            )
