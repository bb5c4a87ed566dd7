"""What was named, and is not there."""

from __future__ import annotations

__all__ = ["UnknownInstance", "UnknownSession"]


class UnknownSession(LookupError):
    """No session has this id."""


class UnknownInstance(LookupError):
    """No channel instance has this name."""
