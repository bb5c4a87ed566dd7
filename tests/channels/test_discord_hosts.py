"""Where the Discord channel goes, and where it never does, whatever it is told."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from turnkeeper.actors.messages import Attachment
from turnkeeper.channels.base import Unreachable
from turnkeeper.channels.discord import DiscordChannel
from turnkeeper.channels.discord_files import FileSource
from turnkeeper.channels.discord_socket import checked_gateway_url
from turnkeeper.channels.incoming_files import IncomingFile, attachments_of

TOKEN = "MTIzNDU2Nzg5.Gexamp.an-example-of-a-token"


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/attachments/1/2/a.png",
        "https://cdn.discordapp.com.example.org/a.png",
        "https://cdn.discordapp.com@example.org/a.png",
        "https://cdn.discordapp.com:8443/a.png",
        "http://cdn.discordapp.com/a.png",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "https://[::/a",
        "",
    ],
)
async def test_no_file_is_fetched_from_a_host_that_is_not_discords(url: str) -> None:
    channel = DiscordChannel("d", token=TOKEN)
    kept: list[Any] = []

    async def keep(content: Any, /, **_more: Any) -> Attachment:
        await trio.lowlevel.checkpoint()
        kept.append(content)
        return Attachment(kind="file", reference="blob:x")

    channel.keep_file = keep
    file = IncomingFile(kind="image", url=url, reference="1/2/3", name="../a.png", size_bytes=5)
    (attachment,) = await attachments_of(
        [file], FileSource(channel, None).keep, name="d", until_s=trio.current_time() + 10
    )
    assert kept == []
    assert (attachment.reference, attachment.size_bytes) == ("1/2/3", 5)
    assert "/" not in (attachment.name or "")


@pytest.mark.parametrize("url", ["wss://gateway.discord.gg", "wss://gateway-us.discord.gg/?x=1"])
def test_the_gateway_is_encrypted(url: str) -> None:
    assert checked_gateway_url(url, plain=False) == url


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("ws://gateway.discord.gg", False),
        ("ws://127.0.0.1:80", False),
        ("None", True),
    ],
)
def test_a_token_goes_nowhere_without_encryption(url: str, plain: bool) -> None:
    with pytest.raises(Unreachable):
        checked_gateway_url(url, plain=plain)


def test_a_gateway_on_this_machine_may_be_plain_where_the_api_is() -> None:
    assert checked_gateway_url("ws://127.0.0.1:80", plain=True)
