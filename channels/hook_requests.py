"""One request after the other: to which hook it goes, how much of it is read, what is answered."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

import trio

from ..actors.errors import TurnRefused
from .hook_connection import ClientGone, Incoming
from .hook_head import announced_bytes, has_body, read_head
from .hook_limits import HookLimits
from .hook_spell import Spell
from .hooks import Hook, HookAnswer, HookDenied, HookHead, answer_to_refusal, unavailable

__all__ = ["Requests"]

_logger = logging.getLogger(__name__)

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_FULL: Final = (
    "{} calls are being heard, and further ones get 503: see why hearing takes so long, or let "
    "fewer come at once"
)


class Requests:
    """Asks the hooks."""

    def __init__(self, hooks: Mapping[str, Hook], limits: HookLimits) -> None:
        self._hooks = hooks
        self._limits = limits
        self._heard: Counter[str] = Counter()
        """Requests that are being heard, by path."""
        self._full = Spell(_FULL.format(limits.max_requests))
        self._full_paths: dict[str, Spell] = {}

    def __repr__(self) -> str:
        return f"<Requests: {self._heard.total()} being heard>"

    async def answer(self, incoming: Incoming) -> HookAnswer:
        """Find the answer to one request.

        Raises:
            ClientGone: nobody waits for one.
        """
        try:
            return await self._answer(incoming)
        except HookDenied as denied:
            return denied.answer

    async def _answer(self, incoming: Incoming) -> HookAnswer:
        if incoming.version not in _VERSIONS:
            raise HookDenied(505)
        head = read_head(
            method=incoming.method,
            path=incoming.path,
            query=incoming.query,
            headers=incoming.headers,
            peer=incoming.peer,
            limits=self._limits,
        )
        if not has_body(head):
            await incoming.piece()
        # As it is written: a proxy that lets some of the paths through, and looks at how they are
        # written, would take `/hooks%2Fmine` for another.
        hook = self._hooks.get(head.path)
        if hook is None:
            raise HookDenied(404)
        try:
            answer = hook.admit(head)
            if answer is not None:
                return answer
            if self._is_full(head.path):
                return unavailable()
            with self._counted(head.path):
                body = b"" if incoming.ended else await self._body(incoming, head, hook)
                return await self._hear(hook, head, body)
        except TurnRefused as refused:
            return answer_to_refusal(refused)
        except (HookDenied, ClientGone):
            raise
        except Exception as error:  # noqa: BLE001 - the edge: one hook fails, not the server
            _logger.error("%s: the hook failed: %s", head.path, _whereabouts(error))  # noqa: TRY400
            return HookAnswer(status=500)

    async def _body(self, incoming: Incoming, head: HookHead, hook: Hook) -> bytes:
        most = min(hook.max_body_bytes, self._limits.max_body_bytes)
        if (announced_bytes(head) or 0) > most:
            raise HookDenied(413)
        body = bytearray()
        with trio.move_on_after(self._limits.body_timeout_s) as patience:
            while not incoming.ended:
                body += await incoming.piece()
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


def _whereabouts(error: BaseException) -> str:
    """Its kind and the lines it came through. Its text may quote the body, and is left out."""
    lines = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__qualname__}\n{lines}"
