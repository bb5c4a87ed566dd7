"""Signatures of Standard Webhooks, made and verified.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md,
"Signature scheme" and "Webhook headers".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Final

from .hook_signing import is_fresh, signature_fits, signature_of
from .secret import Secret

__all__ = ["ID", "SIGNATURE", "TIMESTAMP", "SigningKey", "Unsigned", "presented_id", "sign"]

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"

_PREFIX: Final = "whsec_"
_VERSION: Final = "v1,"
_KEY_BYTES: Final = range(24, 65)
_MAX_SIGNATURES: Final = 8
"""During the exchange of a secret there are two."""
_MESSAGE_ID: Final = re.compile(r"[!-\-/-~]{1,256}")
"""Printable, and no full stop, which stands between the parts of what is signed."""
_SPELLED: Final = re.compile(_VERSION + r"[A-Za-z0-9+/]{43}=")


class Unsigned(Exception):
    """A request is not signed as it must be. The text says what is wrong, and quotes nothing."""


class SigningKey:
    """What sender and receiver share."""

    def __init__(self, value: str, key: str) -> None:
        """Take it out of a configuration.

        Args:
            value: `whsec_`, and 24 to 64 bytes in base64.
            key: its name there, for the error.

        Raises:
            ValueError: it is none; the text never says what stood there.
        """
        secret = Secret.of(value, key)
        try:
            raw = base64.b64decode(value.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raw = b""
        if not value.startswith(_PREFIX) or len(raw) not in _KEY_BYTES:
            raise ValueError(f"{key} must be whsec_ and 24 to 64 bytes in base64")
        self._secret = secret
        # A log may have it without what stands before it.
        self._bare = Secret(value.removeprefix(_PREFIX))
        self._raw = raw

    def __repr__(self) -> str:
        return f"SigningKey({self._secret})"

    @property
    def raw(self) -> bytes:
        """The bytes to sign with."""
        return self._raw

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Return if somebody who has the key has signed this.

        Args:
            headers: names in lower case.
            body: as it came.

        Raises:
            Unsigned: nobody has.
        """
        signed = _signed(headers.get(ID, ""), headers.get(TIMESTAMP, ""), body)
        for one in headers.get(SIGNATURE, "").split(" ")[:_MAX_SIGNATURES]:
            if signature_fits(self._raw, signed, one, prefix=_VERSION, spelling="base64"):
                return
        raise Unsigned("no signature fits")


def presented_id(headers: Mapping[str, str]) -> str:
    """The id of a request whose head could belong to one that is signed, now.

    Raises:
        Unsigned: it could not, whatever its body is.
    """
    message_id = headers.get(ID, "")
    if not _MESSAGE_ID.fullmatch(message_id):
        raise Unsigned(f"{ID} is missing, too long, or has a full stop or a blank")
    if not is_fresh(headers.get(TIMESTAMP, "")):
        raise Unsigned(f"{TIMESTAMP} is not within five minutes")
    if not any(map(_SPELLED.fullmatch, headers.get(SIGNATURE, "").split(" ")[:_MAX_SIGNATURES])):
        raise Unsigned(f"{SIGNATURE} has no signature of version 1")
    return message_id


def sign(
    keys: Sequence[SigningKey], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The headers of a request that is signed with each of some keys."""
    signed = _signed(message_id, str(timestamp), body)
    return {
        ID: message_id,
        TIMESTAMP: str(timestamp),
        SIGNATURE: " ".join(
            _VERSION + signature_of(key.raw, signed, spelling="base64") for key in keys
        ),
    }


def _signed(message_id: str, timestamp: str, body: bytes) -> bytes:
    return f"{message_id}.{timestamp}.".encode("utf-8", "surrogatepass") + body
