"""What a channel says of a server that it cannot connect to."""

import pytest

from turnkeeper.channels.base import Unreachable
from turnkeeper.channels.http_client import HttpClient


@pytest.mark.parametrize(
    ("base", "host"),
    [
        ("http://no-such-host.invalid", "no-such-host.invalid"),
        ("http://ann:hunter2@no-such-host.invalid:8080/v1", "no-such-host.invalid:8080"),
    ],
)
async def test_a_server_that_is_not_found_is_named_without_what_lets_in(
    base: str, host: str
) -> None:
    async with HttpClient(base) as client:
        with pytest.raises(Unreachable) as raised:
            await client.call("GET", "/me", sends=False)
    assert str(raised.value).startswith(f"GET /me: cannot connect to {host}: ConnectError")
    assert "hunter2" not in str(raised.value)
