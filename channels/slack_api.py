"""Calls of Slack's Web API: the token in a header, the rates, one connection pool for all.

Source: https://docs.slack.dev/apis/web-api/, https://docs.slack.dev/apis/web-api/rate-limits: about
one message a second in a channel, with bursts; several hundred a minute in all; 50 calls of
`chat.update`, of `conversations.history` and of `conversations.replies` a minute. https://docs.slack.dev/reference/methods/files.getUploadURLExternal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from ..actors.frozen import message
from .base import Rejected
from .http_answer import HttpAnswer, raise_for
from .http_client import HttpClient
from .http_connections import UPLOAD_S, HttpConnections
from .json_fields import Fields
from .limiter import Limiter, Rate, limited, pausing
from .platform_url import address_of, platform_url
from .secret import Secret
from .slack_errors import result_of

__all__ = ["SlackApi", "SlackPlace", "SlackRates", "bearer_of"]

_POST: Final = "chat.postMessage"
_FORMS: Final = frozenset(
    {
        "conversations.history",
        "conversations.replies",
        "files.getUploadURLExternal",
        "files.info",
    }
)
"""Methods that take a form and no JSON."""


@message
class SlackRates:
    """How fast a bot may write and read. The defaults are what Slack allows."""

    channel: Rate = Rate(per_s=1.0, burst=3, scope="place")
    """One message a second in a channel; short bursts may go over that."""
    overall: Rate = Rate(per_s=4.0, burst=12)
    """Several hundred messages a minute in all."""
    others: Rate = Rate(per_s=50 / 60, burst=10)
    """50 calls a minute of each other method that writes, such as edits."""
    history: Rate = Rate(per_s=50 / 60, burst=10)
    """50 calls a minute of each method that reads what was said. An app that is sold outside of
    Slack's Marketplace has one a minute; Slack says so when it is asked for more."""


class SlackPlace:
    """Where Slack is: its API, and the hosts that have its files."""

    def __init__(self, api_url: str) -> None:
        """Open nothing.

        Args:
            api_url: what the names of methods are put behind: `https://slack.com/api`.

        Raises:
            ValueError: it is no plain URL, or not encrypted on its way to another machine.
        """
        api = platform_url(api_url, "api_url", "https://slack.com/api")
        self.api_url = api.url
        self.address = api.address
        """`host:port` of the API."""
        self.is_local = api.is_local
        self.files_host = f"files.{api.host}"
        """The host that has the files, besides the API's own."""

    def __repr__(self) -> str:
        return f"<SlackPlace {self.api_url}>"

    def has_files_at(self, url: str) -> bool:
        """Whether a URL leads to Slack's own files, so that the token may be shown there."""
        try:
            parts, address = urlsplit(url), address_of(url)
        except ValueError:
            return False
        if parts.username or parts.password or not parts.hostname:
            return False
        if address == self.address:
            return parts.scheme == ("http" if self.is_local else "https")
        return (parts.scheme, address) == ("https", f"{self.files_host}:443")


class SlackApi(HttpConnections):
    """Asks Slack, in the name of one bot."""

    def __init__(self, place: SlackPlace, token: Secret, rates: SlackRates) -> None:
        """Nothing is opened before the first call.

        Args:
            place: where Slack is.
            token: of the bot.
            rates: how fast to write.
        """
        super().__init__(place.api_url)
        self.place = place
        self.bearer = bearer_of(token)
        self._posts = Limiter((rates.channel, rates.overall))
        self._rate_of_others = rates.others
        self._others: dict[str, Limiter] = {}
        self._rate_of_history = rates.history
        self._histories: dict[str, Limiter] = {}

    async def ask(
        self, method: str, *, bearer: Secret | None = None, **parameters: Any
    ) -> tuple[Fields, Mapping[str, str]]:
        """The result of a method that shows nobody anything, and the headers that came with it.

        Args:
            method: which.
            bearer: another header of authorization than the bot's.
            parameters: those that are None are left out.

        Raises:
            Unreachable, Rejected: see `result_of`.
        """
        answer = await self._call(method, parameters, sends=False, bearer=bearer)
        return result_of(answer, sends=False), answer.headers

    async def read(self, method: str, **parameters: Any) -> Fields:
        """The result of a method that reads what was said, at its turn.

        Args:
            method: which.
            parameters: those that are None are left out.

        Raises:
            Unreachable, Rejected: see `result_of`.
        """
        limiter = self._histories.get(method)
        if limiter is None:
            limiter = self._histories[method] = Limiter([self._rate_of_history])
        await limited(limiter, method)
        with pausing(limiter, None):
            told, _ = await self.ask(method, **parameters)
        return told

    async def write(
        self, method: str, place: str, *, repeatable: bool = False, **parameters: Any
    ) -> Fields:
        """The result of a method that shows people something, at its turn.

        Args:
            method: which.
            place: the channel, for the rates.
            repeatable: whether a second call changes nothing.
            parameters: those that are None are left out.

        Raises:
            Unreachable, Rejected, LostAnswer: see `result_of`.
        """
        limiter = self._posts if method == _POST else self._others.get(method)
        if limiter is None:
            limiter = self._others[method] = Limiter([self._rate_of_others])
        await limited(limiter, place)
        sends = not repeatable
        with pausing(limiter, place if method == _POST else None):
            # Posts are counted for each channel, other methods in all.
            return result_of(await self._call(method, parameters, sends=sends), sends=sends)

    async def upload(self, url: str, name: str, content: bytes) -> None:
        """Bring a file to where Slack wants to have it; nobody sees it yet.

        Raises:
            Unreachable, Rejected: Slack does not take it.
        """
        if not self.place.has_files_at(url):
            raise Rejected("Slack wants the file at a place that is not its own", reason="bad_url")
        parts = urlsplit(url)
        names = {f"part{number}": unquote(one) for number, one in enumerate(parts.path.split("/"))}
        del names["part0"]  # before the first slash
        async with HttpClient(f"{parts.scheme}://{parts.netloc}") as client:
            answer = await client.call(
                "POST",
                "/" + "/".join(f"{{{part}}}" for part in names),
                sends=False,
                values=names,
                params=dict(parse_qsl(parts.query)),
                files={"file": (name, content, "application/octet-stream")},
                timeout_s=UPLOAD_S,
            )
        raise_for(answer, sends=False)

    async def _call(
        self,
        method: str,
        parameters: Mapping[str, Any],
        *,
        sends: bool,
        bearer: Secret | None = None,
    ) -> HttpAnswer:
        given = {name: value for name, value in parameters.items() if value is not None}
        headers: dict[str, str | Secret] = {"authorization": bearer or self.bearer}
        form = method in _FORMS
        if not form:
            headers["content-type"] = "application/json; charset=utf-8"
        return await self.call(
            "POST",
            f"/{method}",
            sends=sends,
            headers=headers,
            json=None if form else given,
            data={name: str(value) for name, value in given.items()} if form else None,
        )


def bearer_of(token: Secret) -> Secret:
    """The header that shows a token."""
    return Secret(f"Bearer {token.reveal()}")
