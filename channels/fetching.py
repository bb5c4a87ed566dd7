"""How a file that came with a message is fetched, from a URL that a stranger may have written.

Only the public internet is asked, over TLS, piece by piece; redirects are looked at like any other
URL, and credentials stay with the hosts that they are for.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import httpcore
import httpx
import trio

from .fetching_address import PinnedBackend, Resolve, is_public, resolve
from .fetching_name import name_of, safe_name
from .fetching_rules import (
    DEFAULT_PORTS,
    FetchError,
    FetchFailed,
    FetchRefused,
    checked_port,
    headers_of,
    location_of,
    mime_of,
    parsed_url,
    place_of,
)
from .http_pieces import Body, abandon
from .secret import Secret

__all__ = ["FetchError", "FetchFailed", "FetchRefused", "Fetched", "Fetcher", "safe_name"]

_MAX_REDIRECTS: Final = 3
"""Stores of files redirect once, link shorteners twice."""
_MAX_ADDRESSES: Final = 16
"""Addresses of one host that are tried."""
_DIGITS: Final = re.compile(r"[0-9]{1,15}")


class Fetched:
    """A file that is coming: its pieces in their order, once.

    Iterating raises FetchRefused when it gets longer than allowed, and FetchFailed when the
    connection ends or stalls.
    """

    def __init__(
        self,
        response: httpcore.Response,
        url: httpx.URL,
        *,
        max_bytes: int,
        stall_s: float,
        deadline: float,
    ) -> None:
        headers = headers_of(response)
        self.mime = mime_of(headers.get("content-type", ""))
        """The media type, as the host claims; None if it claims none."""
        self.name = name_of(headers.get("content-disposition"), url.path)
        """What the host calls it, made safe; None if it has no name."""
        told = headers.get("content-length", "")
        self.size_bytes = int(told) if _DIGITS.fullmatch(told) else None
        """How long it is, as the host claims; None if it does not say."""
        self._host = url.host
        self._pieces = response.aiter_stream()
        self._max_bytes = max_bytes
        self._stall_s = stall_s
        self._deadline = deadline
        self._received = 0
        if (self.size_bytes or 0) > max_bytes:
            raise self._too_large()

    def __repr__(self) -> str:
        return f"<Fetched from {self._host}: {self._received} bytes so far>"

    def __aiter__(self) -> Fetched:
        return self

    async def __anext__(self) -> bytes:
        with trio.move_on_at(min(self._deadline, trio.current_time() + self._stall_s)):
            with _mapped(self._host):
                piece = await anext(self._pieces)
            self._received += len(piece)
            if self._received > self._max_bytes:
                raise self._too_large()
            return piece
        raise FetchFailed(f"{self._host} is too slow")

    async def aclose(self) -> None:
        """Leave the rest."""
        with suppress(httpcore.NetworkError, httpcore.ProtocolError):
            await abandon(self._pieces)

    def _too_large(self) -> FetchRefused:
        return FetchRefused(
            f"{self._host}: the file is longer than {self._max_bytes:,} bytes", reason="too_large"
        )


class Fetcher:
    """Fetches files for one channel."""

    def __init__(
        self,
        *,
        max_bytes: int,
        trusted: frozenset[str] = frozenset(),
        credential_hosts: frozenset[str] = frozenset(),
        total_s: float = 120.0,
        stall_s: float = 20.0,
        resolver: Resolve = resolve,
        network: Callable[[Sequence[str]], httpcore.AsyncNetworkBackend] = PinnedBackend,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Nothing is opened.

        Args:
            max_bytes: longest file.
            trusted: `host:port` of what the operator has configured; it may be plain HTTP, on any
                port and at any address. No redirect from elsewhere leads there.
            credential_hosts: hosts, or `host:port`, that get the headers of `open`.
            total_s: for all of a file, with what is done with it meanwhile.
            stall_s: for each step and for each piece.
            resolver: finds the addresses of a host.
            network: connects to addresses that were looked at, and to no other.
            ssl_context: instead of the usual authorities.
        """
        self._max_bytes = max_bytes
        self._trusted = frozenset(place.lower() for place in trusted)
        self._credential_hosts = frozenset(place.lower() for place in credential_hosts)
        self._total_s = total_s
        self._stall_s = stall_s
        self._resolve = resolver
        self._network = network
        self._ssl_context = ssl_context

    def __repr__(self) -> str:
        return f"<Fetcher: {self._max_bytes} bytes at most>"

    @asynccontextmanager
    async def open(
        self,
        url: str,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        max_bytes: int | None = None,
    ) -> AsyncGenerator[Fetched]:
        """Ask for a file; its pieces come while it is iterated.

        Args:
            url: where it is, as a stranger may have written it.
            headers: credentials. Only `credential_hosts` get them, after a redirect too.
            max_bytes: if less than of the fetcher.

        Raises:
            FetchRefused: by us or for good by the host.
            FetchFailed: try later.
        """
        deadline = trio.current_time() + self._total_s
        most = self._max_bytes if max_bytes is None else min(max_bytes, self._max_bytes)
        target = parsed_url(url)
        trusted = True
        for _ in range(_MAX_REDIRECTS + 1):
            # Only what is trusted itself may lead on to what is trusted.
            trusted = trusted and place_of(target) in self._trusted
            async with self._asked(target, headers or {}, trusted, deadline) as response:
                location = location_of(response, target)
                if location is None:
                    file = Fetched(
                        response, target, max_bytes=most, stall_s=self._stall_s, deadline=deadline
                    )
                    try:
                        yield file
                    finally:
                        await file.aclose()
                    return
            target = location
        raise FetchRefused(f"{target.host}: too many redirects", reason="redirected")

    @asynccontextmanager
    async def _asked(
        self,
        url: httpx.URL,
        headers: Mapping[str, str | Secret],
        trusted: bool,
        deadline: float,
    ) -> AsyncGenerator[httpcore.Response]:
        """Ask, at an address that was looked at, and hand out the answer."""
        port = checked_port(url, trusted=trusted)
        addresses: list[str] = []
        with trio.move_on_at(min(deadline, trio.current_time() + self._stall_s)) as patience:
            addresses = await self._addresses(url.raw_host.decode(), port, trusted=trusted)
        if patience.cancelled_caught:
            raise FetchFailed(f"{url.host} cannot be resolved now")
        async with httpcore.AsyncConnectionPool(
            ssl_context=self._ssl_context,
            max_connections=1,
            network_backend=self._network(addresses),
        ) as pool:
            response: httpcore.Response | None = None
            with trio.move_on_at(min(deadline, trio.current_time() + 2 * self._stall_s)):
                with _mapped(url.host):
                    response = await pool.handle_async_request(self._request(url, port, headers))
            if response is None:
                raise FetchFailed(f"{url.host} is too slow")
            try:
                yield response
            finally:
                await response.aclose()

    async def _addresses(self, host: str, port: int, *, trusted: bool) -> list[str]:
        try:
            found = list(await self._resolve(host, port))
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise FetchFailed(f"{host} has no address")
        # All of them: one that is not public says that the name means to lead us somewhere.
        if not trusted and not all(is_public(address) for address in found):
            raise FetchRefused(f"{host} is not on the public internet", reason="not_public")
        return found[:_MAX_ADDRESSES]

    def _request(
        self, url: httpx.URL, port: int, headers: Mapping[str, str | Secret]
    ) -> httpcore.Request:
        told = {
            "host": url.netloc.decode(),
            "user-agent": "turnkeeper",  # some hosts refuse whoever does not say who it is
            "accept": "*/*",
            "accept-encoding": "identity",
        }
        if place_of(url) in self._credential_hosts or (
            url.host.lower() in self._credential_hosts and port == DEFAULT_PORTS["https"]
        ):
            for name, value in headers.items():
                told[name.lower()] = value.reveal() if isinstance(value, Secret) else value
        return httpcore.Request(
            "GET",
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=list(told.items()),
            content=Body(b""),
            extensions={"timeout": {"connect": self._stall_s, "read": self._stall_s}},
        )


@contextmanager
def _mapped(host: str) -> Generator[None]:
    """What goes wrong on the wire is FetchFailed."""
    try:
        yield
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
        raise FetchFailed(f"{host}: {type(error).__name__}") from None
