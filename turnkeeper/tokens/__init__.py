"""Counting tokens: by the encoding that is part of the package, or as somebody else counts."""

from __future__ import annotations

from ..actors.tokens import TokenCounter
from .choosing import CounterSpec, check_name, counter_of, open_counter
from .failures import CountFailed, EncodingUnavailable

__all__ = [
    "CountFailed",
    "CounterSpec",
    "EncodingUnavailable",
    "TokenCounter",
    "check_name",
    "counter_of",
    "open_counter",
]
