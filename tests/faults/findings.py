"""What a fault run has found, told where and when it was found."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Findings"]


class Findings:
    """Broken promises, in the order in which they came to light."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.problems: list[str] = []
        self.commits = 0
        """Groups that are durable so far."""
        self.say = say
        """Writes a line of the trace."""

    def fail(self, text: str) -> None:
        """A promise is broken."""
        self.problems.append(f"after commit {self.commits}: {text}")
        self.say(f"BROKEN: {text}")

    def expect(self, holds: bool, text: str) -> None:
        """A promise is broken unless something holds."""
        if not holds:
            self.fail(text)
