"""Signatures of webhooks: over the bytes as they came, in one spelling, within a time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from typing import Final, Literal

from .secret import Secret

__all__ = ["WINDOW_S", "is_fresh", "signature_fits", "signature_of"]

WINDOW_S: Final = 300.0
"""How far the time of a request may be from ours, in both directions: retries come within it, and
a request that somebody recorded is useless after it."""

_DIGITS: Final = re.compile(r"[0-9]{1,12}")


def signature_fits(
    secret: Secret | bytes,
    signed: bytes,
    presented: str,
    *,
    prefix: str = "",
    spelling: Literal["hex", "base64"] = "hex",
) -> bool:
    """Whether somebody who knows the secret has signed this with HMAC-SHA256.

    Ours is spelled as the platform spells it and compared whole, in constant time. So every other
    spelling of the same bytes is wrong: capitals, left-out padding, the alphabet of URLs.

    Args:
        secret: what both sides know; bytes where it is written in an encoding of its own.
        signed: the bytes that came; never what was parsed and written again.
        presented: the header, as it came.
        prefix: what stands before it, e.g. `sha256=`.
        spelling: of the digest: lower-case hexadecimal digits, or base64 with its padding.
    """
    ours = f"{prefix}{signature_of(secret, signed, spelling=spelling)}".encode()
    return hmac.compare_digest(ours, presented.encode("utf-8", "surrogatepass"))


def signature_of(
    secret: Secret | bytes, signed: bytes, *, spelling: Literal["hex", "base64"] = "hex"
) -> str:
    """The HMAC-SHA256 of what we sign ourselves; as `signature_fits` wants it, without prefix."""
    key = secret if isinstance(secret, bytes) else secret.reveal().encode()
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return digest.hex() if spelling == "hex" else base64.b64encode(digest).decode()


def is_fresh(timestamp: str, *, now_s: float | None = None, window_s: float = WINDOW_S) -> bool:
    """Whether the time that a request gives for itself is near enough.

    Args:
        timestamp: seconds since 1970 in digits, as it came; anything else is not fresh.
        now_s: seconds since 1970; None for the clock.
        window_s: how far they may be apart, before and after.
    """
    if not _DIGITS.fullmatch(timestamp):
        return False
    return abs(int(timestamp) - (time.time() if now_s is None else now_s)) <= window_s
