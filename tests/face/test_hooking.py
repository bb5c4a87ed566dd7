"""Channels that their platforms call share one HTTP server, each under its own name."""

from __future__ import annotations

import logging
import socket
from contextlib import closing

import httpx
import pytest
import trio

import turnkeeper as tk
from turnkeeper.channels.hooks import Hook, HookAnswer, HookHead, answer_to_refusal
from turnkeeper.config import load_config
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo, on_stage

FREE = {"listen": "127.0.0.1:0"}


class Called(LoopbackChannel):
    """A platform that posts plain text."""

    max_body_bytes = 1_000

    @property
    def hook(self) -> Hook:
        return self

    def admit(self, head: HookHead, /) -> HookAnswer | None:
        return None if head.method == "POST" else HookAnswer(status=405)

    async def hear(self, head: HookHead, body: bytes, /) -> HookAnswer:
        try:
            await self.receive(body.decode(), message_id=head.headers["id"])
        except tk.TurnRefused as refused:
            return answer_to_refusal(refused)
        return HookAnswer()


async def test_the_log_tells_where_a_channel_is_called(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "turnkeeper")
    behind = {**FREE, "public_url": "https://bot.example.org/agent/"}
    async with on_stage(echo, Called("one"), LoopbackChannel("tg"), http=behind):
        pass
    told = [text for text in caplog.messages if "is called at" in text]
    assert told == ["channel one is called at https://bot.example.org/agent/hooks/one"]


async def test_each_channel_hears_what_is_sent_to_its_name() -> None:
    one, two = Called("one"), Called("two")
    async with (
        on_stage(echo, one, two, LoopbackChannel("tg"), http=FREE),
        httpx.AsyncClient() as http,
    ):
        assert one.hook_url is not None
        assert two.hook_url is not None
        assert one.hook_url.startswith("http://127.0.0.1:")
        assert one.hook_url.replace("/hooks/one", "/hooks/two") == two.hook_url
        for _ in range(2):  # delivered again, as platforms do
            answer = await http.post(two.hook_url, content="hi", headers={"id": "m1"})
            assert answer.status_code == 200
        assert (await two.next_sent()).text == "hi"
        assert (await http.get(two.hook_url)).status_code == 405
        assert (await http.post(two.hook_url.replace("two", "tg"))).status_code == 404
    assert [message.text for message in two.sent] == ["hi"]
    assert not one.sent
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(two.hook_url)


async def test_while_a_runtime_stops_turns_are_refused_and_half_a_request_holds_nothing_up() -> (
    None
):
    one, asked = Called("one"), trio.Event()
    answers: list[int] = []

    async def hang(_turn: tk.Turn) -> None:
        asked.set()
        await trio.sleep_forever()

    async def post_late(http: httpx.AsyncClient, url: str) -> None:
        while not answers or answers[-1] == 200:  # durable, for as long as the inlet is open
            message_id = f"m{len(answers)}"
            answer = await http.post(url, content="hi", headers={"id": message_id})
            answers.append(answer.status_code)

    with trio.CancelScope() as patience:
        async with httpx.AsyncClient() as http, trio.open_nursery() as nursery:
            async with on_stage(hang, one, http=FREE, runtime={"stop_deadline_s": 0.3}):
                await one.receive("hi", message_id="first")
                await asked.wait()
                assert one.hook_url is not None
                half = await trio.open_tcp_stream("127.0.0.1", httpx.URL(one.hook_url).port or 0)
                await half.send_all(
                    b"POST /hooks/one HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
                )
                nursery.start_soon(post_late, http, one.hook_url)
                while not answers:
                    await trio.lowlevel.checkpoint()
                patience.deadline = trio.current_time() + 4.0  # half a request may idle for five
            await half.aclose()
    assert not patience.cancelled_caught
    assert set(answers) == {200, 503}
    assert answers[-1] == 503


async def test_a_channel_is_told_the_address_that_the_configuration_gives() -> None:
    one = Called("one")
    http = {"listen": "127.0.0.1:0", "public_url": "https://bot.example.org/in/"}
    async with on_stage(echo, one, http=http):
        assert one.hook_url == "https://bot.example.org/in/hooks/one"


async def test_without_such_a_channel_nothing_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with on_stage(echo, LoopbackChannel("tg"), http={"listen": address}):
            await trio.lowlevel.checkpoint()


async def test_an_address_that_is_taken_is_said_before_anything_runs() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(tk.ConfigError, match=rf"\[http\] listen = '127.0.0.1:{port}': .*taken"):
            async with on_stage(echo, Called("one"), http={"listen": f"127.0.0.1:{port}"}):
                pytest.fail("it runs")


@pytest.mark.parametrize("url", ["bot.example.org", "ftp://x", "https://u:p@host", "https://a b"])
def test_a_public_address_that_nobody_can_call_is_refused(url: str) -> None:
    with pytest.raises(tk.ConfigError, match="public_url must be like"):
        load_config({"http": {"public_url": url}})
