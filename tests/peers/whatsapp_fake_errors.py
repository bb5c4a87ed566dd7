"""How the Graph API says no: by code, in a body that is the same for all of them."""

from __future__ import annotations

import secrets
from typing import Any, Final

__all__ = ["CODES", "GraphError"]

_GUIDE: Final = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"

CODES: Final[dict[int, tuple[int, str, str]]] = {
    1: (500, "An unknown error has occurred.", ""),
    2: (500, "Service temporarily unavailable", ""),
    3: (500, "Application does not have the capability to make this API call.", ""),
    4: (400, "Application request limit reached", ""),
    10: (403, "Application does not have permission for this action", ""),
    100: (400, "Invalid parameter", ""),
    190: (401, "Invalid OAuth access token - Cannot parse access token", ""),
    200: (403, "You do not have the necessary permissions to send messages", ""),
    368: (403, "Temporarily blocked for policies violations", ""),
    2200: (400, "Callback verification failed", ""),
    80007: (400, "Rate limit issues", "The account has reached its rate limit."),
    130429: (
        400,
        "Rate limit hit",
        (
            "Message failed to send because there were too many messages sent from this phone "
            "number in a short period of time"
        ),
    ),
    131000: (500, "Something went wrong", "Message failed to send because of an unknown error."),
    131005: (403, "Access denied", "Permission is either not granted or has been removed."),
    131008: (400, "Required parameter is missing", ""),
    131009: (400, "Parameter value is not valid", ""),
    131016: (503, "Service unavailable", "A service is temporarily unavailable."),
    131021: (
        400,
        "Recipient cannot be sender",
        "Sender and recipient phone number is the same.",
    ),
    131026: (400, "Message undeliverable", "Message Undeliverable."),
    131045: (500, "Incorrect certificate", "A phone number registration error."),
    131047: (
        400,
        "Re-engagement message",
        (
            "Message failed to send because more than 24 hours have passed since the customer last "
            "replied to this number."
        ),
    ),
    131048: (400, "Spam rate limit hit", "There are restrictions on this phone number."),
    131051: (400, "Message type unknown", "Message type is currently not supported."),
    131052: (400, "Media download error", "Failed to download the media from the sender."),
    131053: (400, "Media upload error", ""),
    131056: (
        400,
        "(Business Account, Consumer Account) pair rate limit hit",
        (
            "Message failed to send because there were too many messages sent from this phone "
            "number to the same phone number in a short period of time."
        ),
    ),
    131057: (500, "Account in maintenance mode", "Business Account is in maintenance mode."),
    132001: (404, "Template name does not exist in the translation", ""),
}
"""Status, title and usual details of each code."""

_BARE: Final = (1, 2, 190, 368)
"""Codes whose message does not begin with their number."""
_TRANSIENT: Final = (1, 2, 131000, 131016)


class GraphError(Exception):
    """A refusal; `details` and `message` take the place of what is usual for its code."""

    def __init__(
        self,
        code: int,
        *,
        details: str | None = None,
        message: str | None = None,
        subcode: int | None = None,
        kind: str = "OAuthException",
        status: int | None = None,
    ) -> None:
        usual_status, self.title, usual_details = CODES[code]
        super().__init__(code, details)
        self.code = code
        self.status = status or usual_status
        self.message = message or self.title
        self.details = usual_details if details is None else details
        self.subcode = subcode
        self.kind = kind

    def body(self) -> dict[str, Any]:
        """As a request is answered."""
        prefix = "" if self.code in _BARE or self.kind != "OAuthException" else f"(#{self.code}) "
        error: dict[str, Any] = {
            "message": f"{prefix}{self.message}",
            "type": self.kind,
            "code": self.code,
        }
        if self.details:
            error["error_data"] = {"messaging_product": "whatsapp", "details": self.details}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.code in _TRANSIENT:
            error["is_transient"] = True
        error["fbtrace_id"] = f"A{secrets.token_urlsafe(16)}"
        return {"error": error}

    def told_later(self) -> dict[str, Any]:
        """As a webhook tells it."""
        told: dict[str, Any] = {"code": self.code, "title": self.title, "message": self.title}
        if self.details:
            told["error_data"] = {"details": self.details}
        return {**told, "href": _GUIDE}
