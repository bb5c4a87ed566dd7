"""Lines on standard output that stay whole, whichever thread writes them."""

from __future__ import annotations

import os

__all__ = ["say"]


def say(*words: object) -> None:
    """Write a line at once; `print` writes each word by itself."""
    os.write(1, " ".join(map(str, words)).encode() + b"\n")
