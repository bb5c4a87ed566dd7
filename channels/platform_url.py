"""Where a platform is, as an operator configures it. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from ..actors.frozen import message

__all__ = ["LOOPBACK", "PlatformUrl", "address_of", "platform_url"]

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names of this machine, to which nothing needs to be encrypted."""
_PORTS: Final = {"http": 80, "https": 443}


@message
class PlatformUrl:
    """The place of an API."""

    url: str
    """What every path is put behind; without a slash at its end."""
    host: str
    address: str
    """`host:port`."""
    is_local: bool
    """Whether it is plain HTTP, which is for this machine only."""


def platform_url(told: str, key: str, example: str, *, with_query: bool = False) -> PlatformUrl:
    """Read a URL that an operator has configured.

    Args:
        told: what stands there.
        key: its name in the configuration, for the error.
        example: one as it should be, for the error.
        with_query: whether it may have a query.

    Raises:
        ValueError: it is no plain URL, or not encrypted on its way to another machine. The text
            quotes nothing.
    """
    try:
        url = urlsplit(told)
        address = address_of(told)
    except ValueError:
        raise ValueError(f"{key} is no URL") from None
    host = url.hostname
    wrong = url.username or url.password or url.fragment or (url.query and not with_query)
    if not host or wrong:
        raise ValueError(f"{key} must be like {example}")
    is_local = url.scheme == "http" and host in LOOPBACK
    if url.scheme != "https" and not is_local:
        raise ValueError(f"{key} must begin with https://; http:// is for this machine only")
    return PlatformUrl(url=told.rstrip("/"), host=host, address=address, is_local=is_local)


def address_of(url: str) -> str:
    """`host:port` of a URL of the web.

    Raises:
        ValueError: it is no URL.
    """
    parsed = urlsplit(url)
    return f"{parsed.hostname}:{parsed.port or _PORTS.get(parsed.scheme, 0)}"
