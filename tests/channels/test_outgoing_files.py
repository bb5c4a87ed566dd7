from __future__ import annotations

import pytest

from turnkeeper.channels.base import OutboundFile
from turnkeeper.channels.outgoing_files import declared_type, sent_name


async def nothing() -> bytes:
    return b""


@pytest.mark.parametrize(
    ("mime", "name", "declared", "sent"),
    [
        ("image/png", "a.png", "image/png", "a.png"),
        (" Text/Plain; charset=utf-8", None, "text/plain", "file.txt"),
        ("x/unheard-of", None, "x/unheard-of", "file"),
        (None, None, "", "file"),
        (None, "a", "", "a"),
    ],
)
def test_a_file_is_called_something(
    mime: str | None, name: str | None, declared: str, sent: str
) -> None:
    file = OutboundFile(kind="file", size_bytes=0, read=nothing, mime=mime, name=name)
    assert declared_type(file) == declared
    assert sent_name(file) == sent
