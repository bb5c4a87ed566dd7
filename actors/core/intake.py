"""What an inbound turn must look like, and how its like is recognised again.

The window in which a platform may deliver a message again is counted in whole weeks: a message is
recognised for at least one week and at most two. WhatsApp delivers again for up to seven days, the
longest of the platforms.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, cast

from ..errors import InvalidTurn
from ..messages import Address, Attachment, InboundTurn, MessageChange

__all__ = [
    "MAX_ATTACHMENTS",
    "MAX_FILES",
    "MAX_ID_CHARS",
    "MAX_REFERENCE_CHARS",
    "MAX_TEXT_CHARS",
    "SEEN_WINDOW_S",
    "body_digest",
    "change_digest",
    "check",
    "check_change",
    "check_files",
    "check_outgoing",
    "seen_window",
]

MAX_TEXT_CHARS: Final = 4_194_304
"""Longest text of one message: well above what any platform carries, and it still fits a commit."""
MAX_ID_CHARS: Final = 1_024
"""Longest id or name of anything a platform names."""
MAX_ATTACHMENTS: Final = 64
"""Most attachments of one message."""
MAX_FILES: Final = 10
"""Most files that an agent may send with one message."""
MAX_REFERENCE_CHARS: Final = 16_384
"""Longest reference of an attachment: a signed URL is long, a `data:` URL does not belong here."""
SEEN_WINDOW_S: Final = 7 * 86_400
"""Seconds for which a message is recognised at least."""

_ATTACHMENT_CHARS: Final = {
    "kind": MAX_ID_CHARS,
    "reference": MAX_REFERENCE_CHARS,
    "mime": MAX_ID_CHARS,
    "name": MAX_ID_CHARS,
}


def check(turn: InboundTurn) -> None:
    """Refuse a turn that could not be stored or answered.

    Raises:
        InvalidTurn: a field is missing, of the wrong type or too long; the text names it.
    """
    if type(turn.text) is not str:
        raise InvalidTurn(f"text must be a str, not {type(turn.text).__name__}")
    if len(turn.text) > MAX_TEXT_CHARS:
        raise InvalidTurn(f"text has {len(turn.text)} characters; {MAX_TEXT_CHARS} are allowed")
    place = turn.address
    for field, value in (
        ("conversation", place.conversation),
        ("platform", turn.platform),
        ("message_id", turn.message_id),
        ("user_id", turn.user_id),
    ):
        if type(value) is not str or not 0 < len(value) <= MAX_ID_CHARS:
            raise InvalidTurn(
                f"{field} must be a str of 1 to {MAX_ID_CHARS} characters{_is(value)}"
            )
    if ":" in turn.platform:
        raise InvalidTurn(
            f"platform {turn.platform!r:.80} has a ':', which stands behind it in a user"
        )
    if place.thread is not None and (
        type(place.thread) is not str or not 0 < len(place.thread) <= MAX_ID_CHARS
    ):
        raise InvalidTurn(
            f"thread must be None or a str of 1 to {MAX_ID_CHARS} characters{_is(place.thread)}"
        )
    for field, optional in (
        ("user_name", turn.user_name),
        ("chat_name", turn.chat_name),
        ("guild", turn.guild),
        ("reply_to", turn.reply_to),
    ):
        if optional is not None and (type(optional) is not str or len(optional) > MAX_ID_CHARS):
            raise InvalidTurn(
                f"{field} must be None or a str of at most {MAX_ID_CHARS} characters{_is(optional)}"
            )
    for field, flag in (("direct", turn.direct), ("mentioned", turn.mentioned)):
        if type(flag) is not bool:
            raise InvalidTurn(f"{field} must be a bool, not {type(flag).__name__}")
    if turn.attachments != ():
        _check_attachments(turn.attachments)


def _check_attachments(attachments: object) -> None:
    wrong = _wrong_with(attachments, MAX_ATTACHMENTS)
    if wrong is not None:
        raise InvalidTurn(wrong)


def check_files(attachments: object) -> tuple[Attachment, ...]:
    """The files that are to be sent, if there can be such ones.

    Raises:
        ValueError: they are no tuple of attachments, or too many; the text names what is wrong.
    """
    wrong = _wrong_with(attachments, MAX_FILES)
    if wrong is not None:
        raise ValueError(wrong)
    return cast("tuple[Attachment, ...]", attachments)


def _wrong_with(attachments: object, most: int) -> str | None:
    """What is wrong with the attachments of a message; None if nothing is."""
    if not isinstance(attachments, tuple):
        return f"attachments must be a tuple, not {type(attachments).__name__}"
    items = cast("tuple[object, ...]", attachments)
    if len(items) > most:
        return f"{len(items)} attachments; {most} are allowed"
    for number, item in enumerate(items, 1):
        place = f"attachment {number}"
        if not isinstance(item, Attachment):
            return f"{place} must be an Attachment, not {type(item).__name__}"
        for field, limit in _ATTACHMENT_CHARS.items():
            value: object = getattr(item, field)
            if value is None and field in ("mime", "name"):
                continue
            if type(value) is not str or len(value) > limit:
                return f"{place}: {field} must be a str of at most {limit} characters"
        size = item.size_bytes
        if size is not None and (type(size) is not int or not 0 <= size < 2**63):
            return f"{place}: size_bytes must be a number of bytes, not {size!r:.40}"
    return None


def check_change(change: MessageChange) -> None:
    """Refuse a change that could not be stored.

    Raises:
        ValueError: it is none, or a field is missing, of the wrong type or too long; the text names
            it.
    """
    if type(change) is not MessageChange:
        raise ValueError(f"a change must be a MessageChange, not {type(change).__name__}")
    place = change.address
    if type(place) is not Address:
        raise ValueError(f"address must be an Address, not {type(place).__name__}")
    for field, value in (
        ("instance", place.instance),
        ("conversation", place.conversation),
        ("platform", change.platform),
        ("message_id", change.message_id),
        ("change_id", change.change_id),
    ):
        _check_id(field, value)
    if place.thread is not None:
        _check_id("thread", place.thread)
    if change.user_id is not None:
        _check_id("user_id", change.user_id)
    elif change.text is not None:
        raise ValueError("user_id is missing: only its author may edit a message")
    text: object = change.text
    if text is not None and type(text) is not str:
        raise ValueError(f"text must be None or a str, not {type(text).__name__}")
    if text is not None and len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"text has {len(text)} characters; {MAX_TEXT_CHARS} are allowed")


def _check_id(field: str, value: object) -> None:
    if type(value) is not str or not 0 < len(value) <= MAX_ID_CHARS:
        raise ValueError(f"{field} must be a str of 1 to {MAX_ID_CHARS} characters{_is(value)}")


def _is(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, str) else ""
    return f", not a {type(value).__name__}{size}"


def check_outgoing(text: object, *, files: bool = False) -> None:
    """Refuse a text that could not be stored.

    Args:
        text: what is to be said.
        files: whether files go with it; then it may be empty.

    Raises:
        TypeError: it is no plain str.
        ValueError: it is too long, or there is nothing to see in it.
    """
    if type(text) is not str:
        raise TypeError(f"text must be a str, not {type(text).__name__}")
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"text has {len(text)} characters; {MAX_TEXT_CHARS} are allowed")
    if not files and (not text or text.isspace()):
        raise ValueError("the text is empty: there is nothing to say")


def seen_window(at_us: int) -> int:
    """Number of the window that `at_us` falls into."""
    return at_us // (SEEN_WINDOW_S * 1_000_000)


def change_digest(text: str | None) -> bytes:
    """8 bytes that tell what a change has made of a message."""
    said = b"" if text is None else b"=" + text.encode("utf-8", "surrogatepass")
    return blake2b(said, digest_size=8).digest()


def body_digest(turn: InboundTurn) -> bytes:
    """8 bytes that differ when the same message id comes with another body."""
    digest = blake2b(turn.text.encode("utf-8", "surrogatepass"), digest_size=8)
    for attachment in turn.attachments:
        digest.update(repr(attachment).encode("utf-8", "surrogatepass"))
    return digest.digest()
