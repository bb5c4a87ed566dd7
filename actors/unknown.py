"""What was named, and is not there."""

from __future__ import annotations

__all__ = ["UnknownAttachment", "UnknownInstance", "UnknownMission", "UnknownSession"]


class UnknownSession(LookupError):
    """No session has this id."""


class UnknownInstance(LookupError):
    """No channel instance has this name."""


class UnknownMission(LookupError):
    """No mission has this name."""


class UnknownAttachment(LookupError):
    """No file is kept under this reference that the session may see."""
