import socket

import pytest
import trio

from turnkeeper.channels.fetching_address import PinnedBackend, is_public, resolve


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "93.184.216.34",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001:82a::200e",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "2002:101:101::1",
    ],
)
def test_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "168.63.129.16",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2001:10::1",
        "2002:7f00:1::1",
        "2002:a00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700:4700::1111%eth0",
        "fec0::1",
        "ff02::1",
        "",
        "localhost",
        "127.1",
        "0x7f000001",
        "1.1.1.1 ",
    ],
)
def test_what_is_not_the_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


async def test_every_way_to_write_this_machine_is_resolved_before_it_is_judged() -> None:
    for host in ("localhost", "127.1", "0x7f.1", "2130706433", "0177.0.0.1"):
        found = await resolve(host, 443)
        assert found
        assert not any(is_public(address) for address in found)


async def test_names_are_looked_up_in_threads_of_their_own() -> None:
    others = trio.to_thread.current_default_thread_limiter()
    busy = [object() for _ in range(int(others.total_tokens))]
    for one in busy:
        others.acquire_on_behalf_of_nowait(one)
    try:
        with trio.fail_after(5):
            assert await resolve("localhost", 443)
    finally:
        for one in busy:
            others.release_on_behalf_of(one)


async def test_what_is_pinned_is_connected_to_whatever_the_name_says() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    (closed,) = await trio.open_tcp_listeners(0, host="127.0.0.2")
    await closed.aclose()
    backend = PinnedBackend(["127.0.0.2", "127.0.0.1"])
    stream = await backend.connect_tcp("no-such-host.invalid", port, timeout=5)
    peer: socket.socket = stream.get_extra_info("socket")
    assert peer.getpeername()[0] == "127.0.0.1"
    await stream.aclose()
    await listener.aclose()
