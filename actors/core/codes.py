"""One-time codes: made, read, sealed and found again, and how often anybody may try.

Pure. A code proves that who typed it has read a direct message to somebody else (`link`), or is
shown to the operator by a stranger (`access`). It exists in the message that tells it, and in none
of what is stored: that is a keyed hash of the code together with whom it was made for, so that a
row which was changed fits no code any more. The hash keeps a code from being seen, in a list or
a dump. It does not stop who holds the store from trying all 2^40; they hold the conversations too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from ..frozen import message
from ..messages import InboundTurn
from .records import MalformedRecord

__all__ = [
    "ACCESS_CODE_S",
    "ALPHABET",
    "CODE_BYTES",
    "CODE_CHARS",
    "LINK_CODE_S",
    "LOCKED_S",
    "LONGEST_LOCK_S",
    "MAX_ISSUED",
    "MAX_PENDING",
    "MAX_WRONG",
    "REDEMPTIONS",
    "SALT_BYTES",
    "WINDOW_S",
    "Attempts",
    "CodeKind",
    "PendingCode",
    "RateLimit",
    "after_issue",
    "after_right",
    "after_wrong",
    "find",
    "is_blank",
    "is_expired",
    "is_locked",
    "make_code",
    "read_attempts",
    "read_code",
    "read_pending",
    "seal",
    "show_code",
]

CodeKind: TypeAlias = Literal["link", "access"]
"""What a code is good for."""

ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Left out are 0 and O, 1 and I, which look alike. 32 are left: five random bits for each."""
CODE_CHARS: Final = 8
"""Characters of a code: 2^40 of them."""
CODE_BYTES: Final = 5
"""Random bytes that one code takes: all of its 40 bits."""
SALT_BYTES: Final = 16
"""Random bytes that sealing a code takes."""
LINK_CODE_S: Final = 3_600
"""Seconds that a code of `/link` lives: time to find the other device, and no longer."""
ACCESS_CODE_S: Final = 86_400
"""Seconds that an access code lives: an operator looks once a day."""
MAX_PENDING: Final = 1_000
"""Codes of one kind that wait at one instance. Each is hashed when one is redeemed, some
milliseconds for so many; a guess hits one of them with a chance of one in 2^30."""
MAX_WRONG: Final = 5
"""Wrong codes of one identity within `WINDOW_S` until it is locked: room for some slips."""
MAX_ISSUED: Final = 5
"""Codes for one identity within `WINDOW_S`: a few lost ones, and no flood."""
WINDOW_S: Final = 3_600
"""Seconds after which wrong and issued codes are counted anew."""
LOCKED_S: Final = 900
"""Seconds of a first lock; each further one is twice as long as the one before."""
LONGEST_LOCK_S: Final = 86_400
"""Seconds of the longest lock, and until one that is over no longer makes the next one longer."""

_LIFE_S: Final[dict[CodeKind, int]] = {"link": LINK_CODE_S, "access": ACCESS_CODE_S}
_DIGEST_BYTES: Final = 32
_MOST_DOUBLINGS: Final = 7
"""Locks are capped by then, whatever number is stored."""
_MAX_TYPED_CHARS: Final = 64
"""Characters among which a code is looked for: its own, with much room between them."""


def make_code(random: bytes) -> str:
    """The code that these `CODE_BYTES` random bytes stand for; each code stands for one such.

    Raises:
        ValueError: there are more or fewer bytes.
    """
    if len(random) != CODE_BYTES:
        raise ValueError(f"a code takes {CODE_BYTES} random bytes, not {len(random)}")
    bits = int.from_bytes(random, "big")
    return "".join(ALPHABET[bits >> shift & 31] for shift in range(35, -1, -5))


def read_code(text: str) -> str | None:
    """The code that a human typed, whatever its case, spaces and hyphens; None if it is none."""
    if len(text) > _MAX_TYPED_CHARS or not text.isascii():
        return None
    code = text.replace(" ", "").replace("-", "").upper()
    return code if _is_code(code) else None


def show_code(code: str) -> str:
    """The code as it is shown to a human: `ABCD-EFGH`."""
    return f"{code[:4]}-{code[4:]}"


def _is_code(code: str) -> bool:
    return len(code) == CODE_CHARS and all(character in ALPHABET for character in code)


class PendingCode(NamedTuple):
    """A code that waits to be redeemed, without the code. A tuple, as it is stored."""

    kind: CodeKind
    salt: bytes
    digest: bytes
    made_us: int
    expires_us: int
    """The first moment at which it is worth nothing any more."""
    platform: str
    user_id: str
    """Whom it was made for, and where they asked."""
    user_name: str | None
    """Display name; untrusted."""
    instance: str
    conversation: str
    thread: str | None

    def __repr__(self) -> str:
        shown = self._asdict()
        del shown["salt"], shown["digest"]
        return f"PendingCode({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def read_pending(payload: object) -> PendingCode:
    """The pending code whose tuple is `payload`.

    Raises:
        MalformedRecord: it is none; the text shows nothing of its content.
    """
    if not isinstance(payload, list | tuple):
        raise MalformedRecord(f"a pending code must be a list, not {type(payload).__name__}")
    values = cast("Sequence[Any]", payload)
    if len(values) != len(PendingCode._fields):
        raise MalformedRecord(
            f"a pending code has {len(values)} fields, not {len(PendingCode._fields)}"
        )
    pending = PendingCode(*values)
    sound = {
        "kind": pending.kind in tuple(_LIFE_S),
        "salt": _is_bytes(pending.salt, SALT_BYTES),
        "digest": _is_bytes(pending.digest, _DIGEST_BYTES),
        "made_us": _is_count(pending.made_us),
        "expires_us": _is_count(pending.expires_us),
        "platform": _is_id(pending.platform),
        "user_id": _is_id(pending.user_id),
        "user_name": pending.user_name is None or type(pending.user_name) is str,
        "instance": _is_id(pending.instance),
        "conversation": _is_id(pending.conversation),
        "thread": pending.thread is None or _is_id(pending.thread),
    }
    wrong = [field for field, is_sound in sound.items() if not is_sound]
    if wrong:
        raise MalformedRecord(f"a pending code has no sound {', '.join(wrong)}")
    return pending


def _is_bytes(value: object, size: int) -> bool:
    return type(value) is bytes and len(value) == size


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_id(value: object) -> bool:
    return type(value) is str and value != ""


def seal(code: str, salt: bytes, kind: CodeKind, turn: InboundTurn, now_us: int) -> PendingCode:
    """What is stored of a code that is given to the human of `turn`, whose user id is canonical.

    Args:
        code: as `make_code` gives it.
        salt: `SALT_BYTES` random bytes of its own.
        kind: what the code is good for, which also says how long it lives.
        turn: the direct message that the code answers.
        now_us: the time.

    Raises:
        ValueError: that is no code, or no salt.
    """
    if not _is_code(code):
        raise ValueError(f"a code has {CODE_CHARS} characters of the alphabet")
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    pending = PendingCode(
        kind=kind,
        salt=salt,
        digest=b"",
        made_us=now_us,
        expires_us=now_us + _LIFE_S[kind] * 1_000_000,
        platform=turn.platform,
        user_id=turn.user_id,
        user_name=turn.user_name,
        instance=turn.address.instance,
        conversation=turn.address.conversation,
        thread=turn.address.thread,
    )
    return pending._replace(digest=_digest(code, pending))


def _digest(code: str, pending: PendingCode) -> bytes:
    # `ascii` tells apart all that differs, and is the same in every version of Unicode.
    sealed = ascii((code, *pending._replace(salt=b"", digest=b"")))
    return blake2b(sealed.encode("ascii"), key=pending.salt, digest_size=_DIGEST_BYTES).digest()


def is_expired(pending: PendingCode, now_us: int) -> bool:
    """Whether the code can be redeemed no more."""
    return now_us >= pending.expires_us


def find(pending: Iterable[PendingCode], code: str, now_us: int) -> PendingCode | None:
    """Which of the pending codes this one is; None if it is none of them, or has expired.

    It takes the same time whichever it is, if any: each is hashed and compared, to the last.

    Args:
        pending: codes of the one kind that is asked for.
        code: as `read_code` gives it.
        now_us: the time.
    """
    found: PendingCode | None = None
    for candidate in pending:
        fits = compare_digest(candidate.digest, _digest(code, candidate))
        if fits and not is_expired(candidate, now_us):
            found = candidate
    return found


class Attempts(NamedTuple):
    """How often an identity tried codes and asked for some. A tuple, as it is stored."""

    since_us: int = 0
    """When the window began in which `wrong` and `issued` are counted."""
    wrong: int = 0
    issued: int = 0
    locked_until_us: int = 0
    """The first moment after the last lock."""
    lockouts: int = 0
    """Locks in a row, which say how long the next one is."""


def read_attempts(payload: object) -> Attempts:
    """The attempts whose tuple is `payload`. Whoever cannot read them must let nobody try.

    Raises:
        MalformedRecord: it is none.
    """
    if not isinstance(payload, list | tuple):
        raise MalformedRecord(f"attempts must be a list, not {type(payload).__name__}")
    values = cast("Sequence[Any]", payload)
    if len(values) != len(Attempts._fields) or not all(_is_count(value) for value in values):
        raise MalformedRecord(f"attempts are {len(Attempts._fields)} numbers: {payload!r:.80}")
    return Attempts(*values)


def is_locked(attempts: Attempts, now_us: int) -> bool:
    """Whether no code of this identity may be looked at, not even a right one."""
    return now_us < attempts.locked_until_us


def is_blank(attempts: Attempts, now_us: int) -> bool:
    """Whether nothing counts any more, so that it need not be kept."""
    return _current(attempts, now_us)._replace(since_us=0) == Attempts()


def after_wrong(attempts: Attempts, now_us: int) -> Attempts:
    """One more wrong code: the last that is allowed locks. While locked, nothing counts."""
    if is_locked(attempts, now_us):
        return attempts
    current = _current(attempts, now_us)
    if current.wrong + 1 < MAX_WRONG:
        return current._replace(wrong=current.wrong + 1)
    lock_s = min(LOCKED_S * 2 ** min(current.lockouts, _MOST_DOUBLINGS), LONGEST_LOCK_S)
    return current._replace(
        wrong=0,
        locked_until_us=now_us + lock_s * 1_000_000,
        lockouts=min(current.lockouts, _MOST_DOUBLINGS) + 1,
    )


def after_right(attempts: Attempts, now_us: int) -> Attempts:
    """A right code: the next lock is a short one again.

    The wrong ones before it still count. Else whoever redeems codes of their own in between could
    guess at others' for ever.
    """
    return _current(attempts, now_us)._replace(lockouts=0)


def after_issue(attempts: Attempts, now_us: int) -> Attempts | None:
    """One more code for this identity; None if it has had enough of them."""
    current = _current(attempts, now_us)
    return None if current.issued >= MAX_ISSUED else current._replace(issued=current.issued + 1)


def _current(attempts: Attempts, now_us: int) -> Attempts:
    """What of the attempts still counts. A clock that went backwards forgets nothing."""
    if now_us >= attempts.locked_until_us + LONGEST_LOCK_S * 1_000_000:
        attempts = attempts._replace(locked_until_us=0, lockouts=0)
    if now_us >= attempts.since_us + WINDOW_S * 1_000_000:
        attempts = attempts._replace(since_us=now_us, wrong=0, issued=0)
    return attempts


@message
class RateLimit:
    """A bucket of `burst` tokens, to which one comes back every `every_s` seconds.

    All that changes is one number, which its user keeps: the moment at which it is full again.
    """

    burst: int
    every_s: int

    def take(self, full_us: int, now_us: int) -> tuple[bool, int]:
        """Whether a token was left to take, and when the bucket is full again.

        Args:
            full_us: as the last `take` said; 0 at first. What is too far ahead, because the clock
                went backwards, counts as empty.
            now_us: the time.
        """
        every_us = self.every_s * 1_000_000
        empty_us = now_us + self.burst * every_us
        full_us = min(max(full_us, now_us), empty_us)
        if full_us + every_us > empty_us:
            return False, full_us
        return True, full_us + every_us


REDEMPTIONS: Final = RateLimit(burst=20, every_s=3)
"""Codes that are looked at on one instance, whoever sends them: 28,800 a day. With `MAX_PENDING` to
be hit, on whatever instances, guesses from any number of identities hit one in a hundred years."""
