"""The HTTP clients of tests."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio

from .background import open_background
from .clients import open_client


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("as_form", [False, True], ids=["bytes", "form"])
async def test_a_request_that_is_cancelled_while_it_is_sent_leaves_nothing_behind(
    as_form: bool,
) -> None:
    reached = trio.Event()

    async def deaf(_stream: trio.SocketStream) -> None:
        reached.set()
        await trio.sleep_forever()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
    body = bytes(32 * 1024 * 1024)  # more than what a connection holds
    async with open_background() as nursery, open_client() as client:
        nursery.start_soon(trio.serve_listeners, deaf, listeners)
        async with trio.open_nursery() as posting:
            given: dict[str, Any] = {"files": {"file": body}} if as_form else {"content": body}
            posting.start_soon(lambda: client.post(url, **given))
            await reached.wait()
            await trio.testing.wait_all_tasks_blocked()
            posting.cancel_scope.cancel()
    gc.collect()
    await trio.lowlevel.checkpoint()
