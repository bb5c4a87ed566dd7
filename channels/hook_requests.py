"""One request after the other: to which hook it goes, how much of it is read, what is answered."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import aclosing, contextmanager, suppress
from typing import Final, cast

import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ..actors.errors import TurnRefused
from .hook_head import announced_bytes, has_body, read_head
from .hook_limits import HookLimits
from .hook_spell import Spell
from .hook_wire import CONNECTION, Connection
from .hooks import Hook, HookAnswer, HookDenied, HookHead, answer_to_refusal, unavailable

__all__ = ["Requests"]

_logger = logging.getLogger(__name__)

_FULL: Final = (
    "{} calls are being heard, and further ones get 503: see why hearing takes so long, or let "
    "fewer come at once"
)


class Requests:
    """The ASGI application that asks the hooks."""

    def __init__(self, hooks: Mapping[str, Hook], limits: HookLimits) -> None:
        self._hooks = hooks
        self._limits = limits
        self._heard: Counter[str] = Counter()
        """Requests that are being heard, by path."""
        self._full = Spell(_FULL.format(limits.max_requests))
        self._full_paths: dict[str, Spell] = {}

    def __repr__(self) -> str:
        return f"<Requests: {self._heard.total()} being heard>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = cast(Connection, scope["state"][CONNECTION])
        if scope["type"] != "http" or scope["http_version"] not in {"1.0", "1.1"}:
            # No platform upgrades to a websocket or to HTTP/2 here, and their bounds are not ours.
            connection.cut()
            await trio.lowlevel.checkpoint()
            return
        inbox = _Inbox(receive)
        try:
            answer = await self._answer(Request(scope, inbox.receive), inbox)
        except HookDenied as denied:
            answer = denied.answer
        except ClientDisconnect:
            return
        response = Response(
            answer.body,
            status_code=answer.status,
            headers={"content-type": answer.content_type, **dict(answer.headers)},
        )
        with suppress(trio.BrokenResourceError):  # the client has left
            async with connection.in_one_piece():
                if inbox.ended:
                    await response(scope, inbox.receive, send)
                else:
                    await self._part(response, send)
        if not inbox.ended:
            connection.cut()
            await trio.lowlevel.checkpoint()

    async def _answer(self, request: Request, inbox: _Inbox) -> HookAnswer:
        scope = request.scope
        head = read_head(
            method=request.method,
            path=scope["path"],
            query=scope["query_string"],
            headers=scope["headers"],
            peer=request.client.host if request.client else "",
            limits=self._limits,
        )
        if not has_body(head):
            await inbox.receive()
        hook = self._hooks.get(head.path)
        if hook is None or b"%" in scope["raw_path"]:
            # Paths of hooks are plain. A proxy that lets some of them through, and looks at how
            # they are written, would take `/hooks%2Fmine` for another.
            raise HookDenied(404)
        try:
            answer = hook.admit(head)
            if answer is not None:
                return answer
            if self._is_full(head.path):
                return unavailable()
            with self._counted(head.path):
                body = b"" if inbox.ended else await self._body(request, head, hook)
                return await self._hear(hook, head, body)
        except TurnRefused as refused:
            return answer_to_refusal(refused)
        except (HookDenied, ClientDisconnect):
            raise
        except Exception as error:  # noqa: BLE001 - the edge: one hook fails, not the server
            _logger.error("%s: the hook failed: %s", head.path, _whereabouts(error))  # noqa: TRY400
            return HookAnswer(status=500)

    async def _body(self, request: Request, head: HookHead, hook: Hook) -> bytes:
        most = min(hook.max_body_bytes, self._limits.max_body_bytes)
        if (announced_bytes(head) or 0) > most:
            raise HookDenied(413)
        body = bytearray()
        with trio.move_on_after(self._limits.body_timeout_s) as patience:
            async with aclosing(request.stream()) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > most:
                        raise HookDenied(413)
        if patience.cancelled_caught:
            raise HookDenied(408)
        return bytes(body)

    async def _hear(self, hook: Hook, head: HookHead, body: bytes) -> HookAnswer:
        with trio.move_on_after(self._limits.hear_timeout_s):
            return await hook.hear(head, body)
        _logger.warning("%s: the hook was not done in %s s", head.path, self._limits.hear_timeout_s)
        return unavailable()

    @staticmethod
    async def _part(response: Response, send: Send) -> None:
        """Answer before the body has come; the connection is then cut.

        That the answer is complete must not be said: the protocol below would then wait for the
        client to finish what nobody reads.
        """
        start: Message = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": [*response.raw_headers, (b"connection", b"close")],
        }
        await send(start)
        await send({"type": "http.response.body", "body": response.body, "more_body": True})

    def _is_full(self, path: str) -> bool:
        """Whether a call to this path is refused because others are being heard; it warns."""
        limits = self._limits
        if self._heard[path] >= limits.max_requests_per_path:
            warning = f"{path}: {_FULL.format(limits.max_requests_per_path)}"
            self._full_paths.setdefault(path, Spell(warning)).refuses()
        elif self._heard.total() >= limits.max_requests:
            self._full.refuses()
        else:
            return False
        return True

    @contextmanager
    def _counted(self, path: str) -> Generator[None]:
        self._heard[path] += 1
        try:
            yield
        finally:
            self._heard[path] -= 1
            if not self._heard[path]:
                del self._heard[path]


class _Inbox:
    """What comes in of one request, and whether it has come to its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.ended = True
        return message


def _whereabouts(error: BaseException) -> str:
    """Its kind and the lines it came through. Its text may quote the body, and is left out."""
    lines = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__qualname__}\n{lines}"
