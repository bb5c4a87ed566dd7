"""What Slack answers, and what its refusals mean. Pure.

Source: https://docs.slack.dev/reference/methods/chat.postMessage, `chat.update`, `chat.delete`,
`files.completeUploadExternal`, `auth.test`, `apps.connections.open`, "Errors";
https://docs.slack.dev/apis/web-api/rate-limits. Of `internal_error` and `fatal_error` they say that
some aspect of the operation may have succeeded.
"""

from __future__ import annotations

from typing import Any, Final

from .base import LostAnswer, Rejected, Unreachable
from .http_answer import (
    HttpAnswer,
    expect_fields,
    quoted,
    raise_unread,
    refusal,
    retry_after_s,
)
from .json_fields import Fields, needed

__all__ = ["result_of"]

_PERHAPS_DONE: Final = frozenset({"internal_error", "fatal_error"})
_LATER: Final = frozenset(
    {"ratelimited", "rate_limited", "message_limit_exceeded", "service_unavailable",
     "request_timeout", "team_added_to_org"}
)  # fmt: skip
"""Nothing was done, and it may be asked again."""
_TOO_MANY: Final = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})

_REASONS: Final = {
    "unauthorized": (
        "not_authed", "invalid_auth", "token_revoked", "token_expired", "account_inactive",
        "not_allowed_token_type", "two_factor_setup_required", "missing_args",
    ),
    "missing_scope": ("missing_scope", "no_permission"),
    "forbidden": (
        "access_denied", "accesslimited", "ekm_access_denied", "enterprise_is_restricted",
        "restricted_action", "restricted_action_read_only_channel",
        "restricted_action_thread_only_channel", "restricted_action_non_threadable_channel",
        "restricted_action_thread_locked", "user_is_restricted", "team_access_not_granted",
        "org_login_required", "messages_tab_disabled", "forbidden_team", "cannot_dm_bot",
        "posting_to_general_channel_denied", "file_uploads_disabled", "blocked_file_type",
        "posting_to_channel_denied", "msg_blocked_by_dlp", "is_inactive",
    ),
    "not_member": ("not_in_channel",),
    "not_found": ("channel_not_found", "user_not_found", "team_not_found"),
    "archived": ("is_archived",),
    "too_long": ("msg_too_long",),
    "too_large": ("file_too_large", "storage_limit_reached"),
    "empty": ("no_text",),
    "thread_not_found": ("thread_not_found", "invalid_thread_ts", "cannot_reply_to_message"),
    "message_gone": (
        "message_not_found", "cant_update_message", "cant_delete_message", "edit_window_closed",
        "cant_broadcast_message",
    ),
}  # fmt: skip
"""One word -> Slack's own words for it."""
_REASON_OF: Final = {word: reason for reason, words in _REASONS.items() for word in words}


def result_of(answer: HttpAnswer, *, sends: bool) -> Fields:
    """The object that an answer holds.

    Args:
        answer: what came.
        sends: whether the call would have written something that people see.

    Raises:
        Unreachable: nothing was done, and it may be asked again: `rate_limited`, with the seconds
            that Slack asks for; or Slack broke, and the call does not send.
        Rejected: Slack refuses for good.
        LostAnswer: it sends, and Slack broke, or its answer cannot be read.
    """
    if answer.is_success:
        told = expect_fields(answer, sends=sends)
        if told.get("ok") is True:
            return told
        if isinstance(told.get("error"), str):
            _refuse(answer, told, sends=sends)
        raise_unread(f"{answer.asked}: no answer of its kind", sends)
    if 400 <= answer.status < 500 and answer.status != 429:
        told = _told(answer)
        if isinstance(told.get("error"), str):
            _refuse(answer, told, sends=sends)
    raise refusal(answer, sends=sends, words=lambda answer: needed(answer.fields(), "error"))


def _refuse(answer: HttpAnswer, told: Fields, *, sends: bool) -> None:
    """Raise what an error means."""
    error: str = told["error"]
    words = f"{answer.asked}: {quoted(error)}"
    needed: Any = told.get("needed")
    if isinstance(needed, str):
        words = f"{words}: the token needs the scope {quoted(needed)}"
    if error in _PERHAPS_DONE:
        raise LostAnswer(words) if sends else Unreachable(words)
    if error in _LATER:
        raise Unreachable(
            words,
            reason="rate_limited" if error in _TOO_MANY else "channel_down",
            retry_after_s=retry_after_s(answer.headers),
        )
    raise Rejected(words, reason=_REASON_OF.get(error, "rejected"))


def _told(answer: HttpAnswer) -> Fields:
    try:
        return answer.fields()
    except ValueError:
        return {}
