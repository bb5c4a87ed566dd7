"""What a channel must never show, its token, and the traces of it in the logs of others."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import threading
import weakref
from typing import Final, NoReturn
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "PLAIN_IN_PATHS", "Secret", "redact"]

MASK: Final = "***"
"""Stands where a secret stood."""
PLAIN_IN_PATHS: Final = ":@!$&'()*+,;="
"""What a segment of a path holds as it is, besides letters, digits and `-._~`."""

_TALKATIVE: Final = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "hypercorn.access",
    "hypercorn.error",
    "trio-websocket",
)
"""Loggers of others that tell URLs and headers. A filter of `httpcore` alone would not be asked
about what its children log, so each is named."""
_OURS: Final = (
    "turnkeeper",
    "turnkeeper.channels",
    "turnkeeper.channels.hook_server",
    "turnkeeper.compactor",
    "turnkeeper.turns",
)
"""Loggers of ours that tell what channels, agents and summarisers have raised, and what that comes
from; the others of ours are found when a secret is made."""
_BELOW_OURS: Final = "turnkeeper."

_SHORTEST: Final = 4
"""Characters that a secret has at least. Hiding one letter in every word would tell which it is."""
_PLAIN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

_living: weakref.WeakSet[Secret] = weakref.WeakSet()
_living_lock: Final = threading.RLock()
"""Whoever holds it may be interrupted by a finaliser or a signal that logs, in the same thread."""


class Secret:
    """A token or a password. It is shown by `reveal()` and by nothing else.

    It is no string, so that no encoder writes it out and no format string shows it by accident.
    """

    __slots__ = ("__weakref__", "_spellings", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._spellings = _spellings(value)
        with _living_lock:
            _living.add(self)
        _guard_logs()

    @classmethod
    def of(cls, value: object, key: str) -> Secret:
        """Take a secret out of a configuration.

        Args:
            value: what stands there; a secret already made is handed back.
            key: its name there, for the error.

        Raises:
            ValueError: it is no text, is empty or too short, begins or ends with a blank, or has
                characters that are not printable ASCII. The text says which key, never what stood
                there.
        """
        if isinstance(value, Secret):
            return value
        if not isinstance(value, str):
            raise ValueError(f"{key} must be a text")
        if not value.strip():
            raise ValueError(f"{key} is empty")
        if not _PLAIN.fullmatch(value):
            raise ValueError(
                f"{key} must be printable ASCII, without blanks or line ends around it"
            )
        if len(value) < _SHORTEST:
            raise ValueError(f"{key} is too short to be a secret")
        return cls(value)

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, _spec: str, /) -> str:
        return MASK

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: dict[int, object], /) -> Secret:
        return self

    def __reduce_ex__(self, _protocol: object, /) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def reveal(self) -> str:
        """The secret itself, for the one call that needs it."""
        return self._value

    def matches(self, other: str | bytes) -> bool:
        """Whether somebody presented this secret; the time it takes tells nothing."""
        presented = other.encode("utf-8", "surrogatepass") if isinstance(other, str) else other
        # Digests have one length, so that not even the length of the secret is told.
        return hmac.compare_digest(_digest(presented), _digest(self._value.encode()))

    def account(self) -> str:
        """What is the same for two instances with this secret, and does not tell it."""
        return _digest(self._value.encode()).hex()[:32]

    def spellings(self) -> tuple[str, ...]:
        """Every way it is written in a URL, a literal or JSON."""
        return self._spellings


def redact(text: str) -> str:
    """The text, with `***` for every secret that is still in use."""
    with _living_lock:
        spellings = {spelling for secret in _living for spelling in secret.spellings()}
    # The longest first: one secret may be the beginning of another.
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, MASK)
    return text


class _Redaction(logging.Filter):
    """Hides secrets in what a logger is about to hand to its handlers."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a broken record is its handler's to report, without us
            return True
        hidden = redact(message)
        if hidden != message:
            record.msg, record.args = hidden, ()
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
            hidden = redact(trace)
            if hidden != trace:
                # Handlers that format exceptions by themselves must not have this one.
                record.exc_text, record.exc_info = hidden, None
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


_redaction: Final = _Redaction()


def _guard_logs() -> None:
    """Put the filter on the loggers; a second time changes nothing."""
    loggers = list(logging.Logger.manager.loggerDict)
    known = [name for name in loggers if name.startswith(_BELOW_OURS)]
    for name in (*_TALKATIVE, *_OURS, *known):
        logging.getLogger(name).addFilter(_redaction)


def _spellings(value: str) -> tuple[str, ...]:
    return tuple(
        {
            value,
            quote(value, safe=""),
            quote(value, safe=":@"),
            quote(value, safe=PLAIN_IN_PATHS),
            quote_plus(value),
            repr(value)[1:-1],
            repr(value + "'\"")[1:-4],  # where the text around it has both kinds of quotes
            json.dumps(value)[1:-1],
        }
    )


def _digest(presented: bytes) -> bytes:
    return hashlib.sha256(presented).digest()
