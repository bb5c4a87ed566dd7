"""Calls of Discord's REST API, version 10: the token, the limits, one connection pool for all.

Source: https://docs.discord.com/developers/reference, "Authentication", "User Agent"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import trio

from .base import Unreachable
from .discord_errors import is_global, result_of
from .discord_rates import Rates
from .http_answer import HttpAnswer, retry_after_s
from .http_client import UploadedFile
from .http_connections import CALL_S, UPLOAD_S, HttpConnections
from .limiter import Limiter, Rate, limited
from .secret import Secret

__all__ = ["DiscordApi"]

_LONGEST_WAIT_S: Final = 10.0
"""Seconds that a call waits for a limit by itself."""
_OVERALL: Final = Rate(per_s=40.0, burst=10)
"""Discord allows 50 requests a second in all."""
_AGENT: Final = "DiscordBot (https://pypi.org/project/turnkeeper, 0)"


class DiscordApi(HttpConnections):
    """Asks Discord, in the name of one bot."""

    def __init__(self, api_url: str, token: Secret) -> None:
        """Nothing is opened before the first call.

        Raises:
            ValueError: `api_url` is no URL of HTTP.
        """
        super().__init__(
            api_url,
            headers={"authorization": Secret(f"Bot {token.reveal()}"), "user-agent": _AGENT},
        )
        self._rates = Rates()
        self._overall = Limiter([_OVERALL])

    async def ask(
        self,
        method: str,
        path: str,
        values: Mapping[str, str] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of a call that may be made twice without harm.

        Args:
            method: of HTTP.
            path: behind the API's address; `{channel}` or `{guild}` in it is what its limit is of.
            values: the parts of the path.
            params: of the query.
            body: to be sent as JSON.

        Raises:
            Unreachable, Rejected: see `result_of`.
        """
        return await self._call(method, path, values or {}, params=params, body=body, sends=False)

    async def write(
        self,
        path: str,
        values: Mapping[str, str],
        body: Mapping[str, Any],
        *,
        file: UploadedFile | None = None,
    ) -> Any:
        """The result of a POST that shows people something.

        Raises:
            Unreachable, Rejected, LostAnswer: see `result_of`.
        """
        return await self._call("POST", path, values, body=body, file=file, sends=True)

    async def _call(
        self,
        method: str,
        path: str,
        values: Mapping[str, str],
        *,
        sends: bool,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        file: UploadedFile | None = None,
    ) -> Any:
        route, place = f"{method} {path}", values.get("channel") or values.get("guild", "")
        await self._turn(route, place)
        answer = await self.call(
            method,
            path,
            values=values,
            sends=sends,
            params=params,
            json=body if file is None else None,
            data=None if file is None else {"payload_json": json.dumps(body)},
            files=None if file is None else {"files[0]": file},
            timeout_s=CALL_S if file is None else UPLOAD_S,
        )
        now = trio.current_time()
        self._rates.learn(route, place, answer.status, answer.headers, now)
        try:
            return result_of(answer, sends=sends)
        except Unreachable as error:
            if error.reason == "rate_limited":
                self._pause(answer, error.retry_after_s, route, place)
            raise

    def _pause(self, answer: HttpAnswer, told_s: float | None, route: str, place: str) -> None:
        pause_s = told_s or retry_after_s(answer.headers) or 1.0
        self._rates.pause(
            None if is_global(answer) else route, place, trio.current_time() + pause_s
        )

    async def _turn(self, route: str, place: str) -> None:
        """Wait until Discord's limits have room.

        Raises:
            Unreachable: that takes too long to wait for it here.
        """
        await limited(self._overall, "")
        while wait_s := self._rates.wait_s(route, place, trio.current_time()):
            if wait_s > _LONGEST_WAIT_S:
                raise Unreachable(
                    f"{route}: Discord's limits have no room for {wait_s:.0f} s",
                    reason="rate_limited",
                    retry_after_s=wait_s,
                )
            await trio.sleep(wait_s)
