"""One spelling for each WhatsApp user: what people write as a phone number, as WhatsApp reports it.

Source: webhooks of the Cloud API, whose `wa_id` is a number in international form, digits only.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["canonical_user_id"]

_INTERNATIONAL: Final = re.compile(r"\+[ ().-]*[1-9](?:[ ().-]*[0-9]){6,14}")
"""`+` and 7 to 15 digits (E.164), the first of which is no zero, with what people put between."""
_TRUNK_ZERO: Final = re.compile(r"\( *0")
"""A zero in brackets, `+44 (0)20…`, is dialled in some countries and not in others."""
_NO_DIGIT: Final = re.compile(r"[^0-9]")


def canonical_user_id(text: str) -> str:
    """`+1 (555) 123-4567` as `15551234567`; whatever is not surely such a number as it is.

    Only `+` says that a number is international. So digits alone stay as they are, with zeros in
    front too: `0015551234567` is dialled in some countries for `+15551234567`, and for something
    else in others. Digits of other scripts than ASCII make no number; nor do letters, so that ids
    which hide a number stay exact.

    Args:
        text: an id as the platform reports it, or as an operator writes it.

    Raises:
        ValueError: it is empty.
    """
    if not text:
        raise ValueError("an empty id is nobody's")
    if _INTERNATIONAL.fullmatch(text) and not _TRUNK_ZERO.search(text):
        return _NO_DIGIT.sub("", text)
    return text
