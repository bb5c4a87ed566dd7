"""Which URLs may be fetched, and which answers are files. Nothing is asked or resolved here."""

from __future__ import annotations

import re
from typing import Final

import httpcore
import httpx

from .http_answer import retry_after_s

__all__ = [
    "DEFAULT_PORTS",
    "FetchError",
    "FetchFailed",
    "FetchRefused",
    "checked_port",
    "headers_of",
    "location_of",
    "mime_of",
    "parsed_url",
    "place_of",
]

DEFAULT_PORTS: Final = {"https": 443, "http": 80}
"""The ports of the web."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LATER: Final = frozenset({408, 425, 429})
_REASONS: Final = {401: "denied", 403: "denied", 404: "not_found", 410: "not_found"}
_MIME: Final = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")


class FetchError(Exception):
    """Root of what can go wrong. No text holds a path, a query or a credential."""


class FetchRefused(FetchError):
    """It will not be fetched, now or later. `reason` is one word."""

    def __init__(self, text: str, *, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class FetchFailed(FetchError):
    """It could not be fetched now. `retry_after_s`: seconds to wait, where the host said so."""

    def __init__(self, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


def parsed_url(url: str) -> httpx.URL:
    """Read a URL.

    Raises:
        FetchRefused: it is none.
    """
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise FetchRefused("that is no URL", reason="bad_url") from None


def place_of(url: httpx.URL) -> str:
    """Host and port of a URL, `host:port`."""
    return f"{url.host.lower()}:{url.port or DEFAULT_PORTS.get(url.scheme, 0)}"


def checked_port(url: httpx.URL, *, trusted: bool) -> int:
    """The port of a URL that may be asked, as far as can be seen without resolving anything.

    Raises:
        FetchRefused: it may not.
    """
    if url.scheme not in DEFAULT_PORTS or not url.host:
        raise FetchRefused("that is no URL of the web", reason="bad_url")
    if url.userinfo:
        raise FetchRefused(f"{url.host}: a URL with credentials in it", reason="bad_url")
    port = url.port or DEFAULT_PORTS[url.scheme]
    if not trusted:
        if url.scheme != "https":
            raise FetchRefused(f"{url.host}: only over https", reason="not_encrypted")
        if port not in DEFAULT_PORTS.values():
            raise FetchRefused(f"{url.host}: port {port} is not of the web", reason="bad_port")
    return port


def location_of(response: httpcore.Response, url: httpx.URL) -> httpx.URL | None:
    """Where an answer redirects to; None if it is the file.

    Raises:
        FetchRefused: it is neither, for good.
        FetchFailed: it is neither, for now.
    """
    headers = headers_of(response)
    status = response.status
    if status in _REDIRECTS:
        try:
            return url.join(headers.get("location", "")).copy_with(fragment=None)
        except (httpx.InvalidURL, ValueError):
            raise FetchRefused(f"{url.host}: a redirect to nowhere", reason="bad_url") from None
    if status in _LATER or status >= 500:
        raise FetchFailed(f"{url.host}: {status}", retry_after_s=retry_after_s(headers))
    if status != 200:
        raise FetchRefused(f"{url.host}: {status}", reason=_REASONS.get(status, "no_file"))
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise FetchRefused(f"{url.host}: the file is packed", reason="packed")
    return None


def headers_of(response: httpcore.Response) -> dict[str, str]:
    """Names in lower case; of what comes twice, the first."""
    told: dict[str, str] = {}
    for name, value in response.headers:
        told.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return told


def mime_of(content_type: str) -> str | None:
    """The media type alone, in lower case; None if it is none."""
    mime = content_type.partition(";")[0].strip().lower()
    return mime if _MIME.fullmatch(mime) else None
