"""What becomes of one call of a program's, and how each item of it is answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import trio

from ..actors.errors import (
    AccessDenied,
    InvalidTurn,
    MessageIdReused,
    NotAddressed,
    SessionDamaged,
    TurnRefused,
)
from ..actors.messages import Attachment, MessageChange
from .base import Channel, Deliver
from .by_conversation import ByConversation
from .fetching import Fetcher, FetchRefused
from .handover import warn
from .hooks import HookAnswer
from .incoming_files import HOOKED_FETCH_S, IncomingFile, attachments_of
from .webhook_wire import Call, Heard, Item, Wrong

__all__ = ["Ear", "answer_in_json"]

_RETRY_AFTER_S: Final = 5

_NO_URL: Final = frozenset({"bad_url", "bad_port", "not_public", "not_encrypted", "redirected"})
"""Reasons for which a URL is not handed on either: whoever opens it would be led astray."""

_WORDS: Final[tuple[tuple[type[TurnRefused], HTTPStatus, str], ...]] = (
    (InvalidTurn, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid"),
    (MessageIdReused, HTTPStatus.CONFLICT, "message_id_reused"),
    (AccessDenied, HTTPStatus.FORBIDDEN, "access_denied"),
    (NotAddressed, HTTPStatus.OK, "not_addressed"),
    (SessionDamaged, HTTPStatus.INTERNAL_SERVER_ERROR, "session_damaged"),
)
_Said: TypeAlias = tuple[HTTPStatus, dict[str, Any]]


class Ear:
    """Hears calls for one run of a channel."""

    def __init__(self, channel: Channel, deliver: Deliver, fetcher: Fetcher) -> None:
        """Hear nothing yet.

        Args:
            channel: whose `on_change`, `keep_file` and `line` are used.
            deliver: takes turns.
            fetcher: fetches their files, from wherever somebody has written.
        """
        self._channel = channel
        self._deliver = deliver
        self._fetcher = fetcher
        self._order = ByConversation()

    def __repr__(self) -> str:
        return f"<Ear of {self._channel.name}>"

    async def hear(self, call: Call) -> HookAnswer:
        """Settle all that one call tells, and answer for each item of it.

        A batch is answered 200 once each item is settled, whatever became of it; 503 says that some
        are to be told again, for which it may be made again as a whole.
        """
        said: dict[int, _Said] = {}
        fetch_until = trio.current_time() + HOOKED_FETCH_S

        async def settle(numbered: tuple[int, Item]) -> bool:
            number, item = numbered
            said[number] = await self._settle(item, fetch_until)
            return said[number][0] != HTTPStatus.SERVICE_UNAVAILABLE

        whole = await self._order.hear(
            [(_conversation_of(item), (n, item)) for n, item in enumerate(call.items)], settle
        )
        # What follows an item of its conversation that must wait was not looked at.
        later = (HTTPStatus.SERVICE_UNAVAILABLE, {"error": "later", "reason": "not heard yet"})
        results = [said.get(number, later) for number in range(len(call.items))]
        if not call.is_batch:
            return answer_in_json(*results[0])
        return answer_in_json(
            HTTPStatus.OK if whole else HTTPStatus.SERVICE_UNAVAILABLE,
            {"items": [{"status": int(status), **body} for status, body in results]},
        )

    async def _settle(self, item: Item, fetch_until: float) -> _Said:
        try:
            match item:
                case Heard():
                    return await self._hear_turn(item, fetch_until)
                case MessageChange():
                    return await self._hear_change(item)
                case Wrong():
                    warn(self._channel, f"an item that could not be read was left out: {item.why}")
                    return HTTPStatus.BAD_REQUEST, {"error": "bad_request", "reason": item.why}
        except TurnRefused as refused:
            return _refusal(refused)
        except ValueError as error:
            return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "invalid", "reason": str(error)}

    async def _hear_turn(self, heard: Heard, fetch_until: float) -> _Said:
        turn = heard.turn
        if heard.files:
            kept = await attachments_of(
                heard.files, self._keep, name=self._channel.name, until_s=fetch_until
            )
            turn = replace(turn, attachments=kept)
        accepted = await self._deliver(turn)
        return HTTPStatus.OK if accepted.duplicate else HTTPStatus.ACCEPTED, {
            "session": accepted.session_id,
            "turn": accepted.turn_id,
            "duplicate": accepted.duplicate,
        }

    async def _hear_change(self, change: MessageChange) -> _Said:
        hear = self._channel.on_change
        known = hear is not None and await hear(change)
        return HTTPStatus.OK, {"known": known}

    async def _keep(self, file: IncomingFile) -> Attachment | None:
        """A kept file; without its URL, if that is dangerous; None if nobody keeps files."""
        keep = self._channel.keep_file
        if keep is None or file.url is None:
            return None
        try:
            async with self._fetcher.open(file.url) as pieces:
                return await keep(
                    pieces,
                    kind=file.kind,
                    mime=file.mime or pieces.mime,
                    name=file.shown_name or pieces.name,
                )
        except FetchRefused as refused:
            if refused.reason not in _NO_URL:
                raise
            warn(self._channel, f"a file was not fetched: {refused}")
            return replace(file.unkept, reference=f"refused:{refused.reason}")


def _conversation_of(item: Item) -> str:
    match item:
        case Heard():
            return item.turn.address.conversation
        case MessageChange():
            return item.address.conversation
        case Wrong():
            return ""


def _refusal(refused: TurnRefused) -> _Said:
    if refused.retryable:
        word = type(refused).__name__.lower()
        return HTTPStatus.SERVICE_UNAVAILABLE, {"error": word, "reason": str(refused)}
    for kind, status, word in _WORDS:
        if isinstance(refused, kind):
            return status, {"error": word, "reason": str(refused)}
    return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "refused", "reason": str(refused)}


def answer_in_json(status: HTTPStatus, body: Mapping[str, Any]) -> HookAnswer:
    """An answer that programs can read."""
    wait = (("retry-after", str(_RETRY_AFTER_S)),)
    return HookAnswer(
        status=int(status),
        body=json.dumps(body).encode(),
        content_type="application/json",
        headers=wait if status == HTTPStatus.SERVICE_UNAVAILABLE else (),
    )
