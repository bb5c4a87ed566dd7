"""Which addresses are the public internet, and connections that go to those that were checked.

A name may lead anywhere: to this machine, to the network behind it, to the metadata of a cloud. So
it is resolved once, every address is looked at, and the connection goes to one of them and resolves
nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias, cast

import httpcore
import trio

__all__ = ["PinnedBackend", "Resolve", "is_public", "resolve"]

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, for a port. Raises OSError if there are none."""

_NOT_PUBLIC: Final = tuple(
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocols; a cloud keeps its metadata there, and Pythons differ about it
        "192.88.99.0/24",  # relays into IPv6, no longer run by anybody in particular
        "168.63.129.16/32",  # looks public, and is the host of every machine in one cloud
        "3fff::/20",  # documentation, which not every Python knows yet
    )
)
_threads: Final = trio.CapacityLimiter(16)
"""Names that are looked up at once. One that nobody answers for holds its thread for as long as the
system tries, and must not hold those that the rest of the program works with."""
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet, and so is any that is hidden in it."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv4Address):
        return _is_public_v4(ip)
    if ip.scope_id is not None:
        return False
    if ip.ipv4_mapped is not None:
        return _is_public_v4(ip.ipv4_mapped)
    if ip in _NAT64:
        return _is_public_v4(IPv4Address(int(ip) & 0xFFFF_FFFF))
    if ip.sixtofour is not None:
        return _is_public_v4(ip.sixtofour)
    return ip in _GLOBAL_UNICAST and ip.is_global and not _is_listed(ip)


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system.

    Args:
        host: in ASCII, as it stands in the Host header.
        port: of TCP.

    Raises:
        OSError: it knows no address.
    """
    found = await trio.to_thread.run_sync(
        partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM),
        abandon_on_cancel=True,
        limiter=_threads,
    )
    return [str(address[0]) for *_, address in found]


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that were checked, whatever the name would lead to by now."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._addresses = tuple(addresses)
        # Where trio is missing it is another class, which type checkers consider.
        self._network = cast(httpcore.AsyncNetworkBackend, httpcore.TrioBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in self._addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, timeout, local_address, socket_options or ()
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


def _is_public_v4(ip: IPv4Address) -> bool:
    # Multicast is global by the letter; reserved and shared addresses are not, in every Python.
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not _is_listed(ip)


def _is_listed(ip: IPv4Address | IPv6Address) -> bool:
    return any(ip.version == network.version and ip in network for network in _NOT_PUBLIC)
