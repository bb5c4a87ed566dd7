import json
import os
import socket
import stat
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper.control import (
    MAX_CONNECTIONS,
    MAX_LINE_BYTES,
    PROTOCOL_VERSION,
    BadLine,
    ControlServer,
    JsonLines,
    RequestFailed,
    ask,
    connect,
)


async def echo(_lines: JsonLines, request: Mapping[str, Any]) -> object:
    await trio.lowlevel.checkpoint()
    return request.get("text")


async def refuse(_lines: JsonLines, _request: Mapping[str, Any]) -> object:
    await trio.lowlevel.checkpoint()
    raise RequestFailed("not_found", "there is no such thing")


async def defect(_lines: JsonLines, _request: Mapping[str, Any]) -> object:
    await trio.lowlevel.checkpoint()
    raise ZeroDivisionError


@asynccontextmanager
async def serving(state_dir: Path) -> AsyncGenerator[ControlServer]:
    server = ControlServer(state_dir, {"echo": echo, "refuse": refuse, "defect": defect})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve)
        yield server
        nursery.cancel_scope.cancel()


async def asked(state_dir: Path, do: str, **arguments: Any) -> Any:
    return await trio.to_thread.run_sync(partial(ask, state_dir, do, **arguments))


async def raw_client(state_dir: Path) -> trio.SocketStream:
    return await trio.open_unix_socket(str(state_dir / "control.sock"))


async def answer_to(state_dir: Path, data: bytes) -> dict[str, Any]:
    """What the server says to `data`, up to the first line end."""
    async with await raw_client(state_dir) as stream:
        await stream.send_all(data)
        received = b""
        while b"\n" not in received:
            received += await stream.receive_some()
        answer: dict[str, Any] = json.loads(received)
        return answer


@pytest.mark.parametrize(
    "text", ["hello", "", "\udce9\x00\x1b[2J\u202e", "é" * 10_000, "\n\r\u2028"]
)
async def test_a_request_is_answered_with_every_text_intact(text: str, tmp_path: Path) -> None:
    async with serving(tmp_path):
        assert await asked(tmp_path, "echo", text=text) == text
        async with connect(tmp_path) as lines:
            assert lines is not None
            for _ in range(2):  # a connection takes one request after the other
                await lines.send({"do": "echo", "text": text})
                assert await lines.receive() == {"v": PROTOCOL_VERSION, "ok": text}


async def test_a_refusal_carries_its_kind_and_text_and_the_connection_goes_on(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path):
        with pytest.raises(RequestFailed, match="there is no such thing") as refused:
            await asked(tmp_path, "refuse")
        assert refused.value.kind == "not_found"
        async with connect(tmp_path) as lines:
            assert lines is not None
            await lines.send({"do": "refuse"})
            await lines.receive()
            await lines.send({"do": "echo", "text": "still here"})
            assert await lines.receive() == {"v": PROTOCOL_VERSION, "ok": "still here"}


async def test_an_unknown_operation_is_told_which_there_are(tmp_path: Path) -> None:
    async with serving(tmp_path):
        with pytest.raises(RequestFailed, match="there is: defect, echo, refuse"):
            await asked(tmp_path, "dance")


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"hello\n",
        b"[]\n",
        b"1\n",
        b"\xff\xfe\n",
        b'{"v": 1\n',
        b"{}\n",
        b'{"v": 2, "do": "echo"}\n',
        b'{"v": "1", "do": "echo"}\n',
        b"[" * 100_000 + b"\n",
        b'{"v": 1, "do": ' + b'{"a":' * 50_000 + b"\n",
    ],
    ids=range(11),
)
async def test_a_bad_line_is_answered_and_ends_the_connection(data: bytes, tmp_path: Path) -> None:
    async with serving(tmp_path):
        async with await raw_client(tmp_path) as stream:
            await stream.send_all(data)
            received = b""
            while chunk := await stream.receive_some():
                received += chunk
        assert json.loads(received)["error"] == "bad_request"
        assert await asked(tmp_path, "echo", text="others") == "others"


async def test_a_line_over_the_limit_is_refused_before_it_is_whole(tmp_path: Path) -> None:
    async with serving(tmp_path):
        answer = await answer_to(tmp_path, b"x" * (MAX_LINE_BYTES + 1))
        assert answer["error"] == "bad_request"
        assert str(MAX_LINE_BYTES) in answer["text"]


async def test_a_defect_drops_its_client_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path), connect(tmp_path) as other:
        assert other is not None
        with pytest.raises(ConnectionResetError, match="stopped before it answered"):
            await asked(tmp_path, "defect")
        assert "ZeroDivisionError" in caplog.text
        await other.send({"do": "echo", "text": "fine"})
        assert await other.receive() == {"v": PROTOCOL_VERSION, "ok": "fine"}


async def test_clients_that_say_nothing_or_leave_in_the_middle_disturb_nobody(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path):
        silent = await raw_client(tmp_path)
        half = await raw_client(tmp_path)
        await half.send_all(b'{"v": 1, "do": "ec')
        gone = await raw_client(tmp_path)
        await gone.send_all(b'{"v": 1, "do": "echo", "text": "' + b"x" * 1_000_000 + b'"}\n')
        await gone.aclose()  # without reading the answer
        await half.aclose()
        assert await asked(tmp_path, "echo", text="fine") == "fine"
        await silent.aclose()


async def test_one_client_more_than_allowed_is_told_so_and_room_is_made_again(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path):
        clients = [await raw_client(tmp_path) for _ in range(MAX_CONNECTIONS)]
        await wait_all_tasks_blocked()
        with pytest.raises(RequestFailed) as refused:
            await asked(tmp_path, "echo")
        assert refused.value.kind == "busy"
        for client in clients:
            await client.aclose()
        await wait_all_tasks_blocked()
        assert await asked(tmp_path, "echo", text="room") == "room"


async def test_the_socket_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with serving(tmp_path):
            assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_the_socket_goes_with_the_server_and_a_stale_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serving(tmp_path):
        assert path.exists()
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    assert await asked(tmp_path, "echo") is None  # nobody listens
    async with serving(tmp_path):
        assert await asked(tmp_path, "echo", text="new") == "new"


async def test_where_nobody_serves_there_is_no_answer(tmp_path: Path) -> None:
    assert await asked(tmp_path, "echo") is None
    assert await asked(tmp_path / "missing", "echo") is None
    async with connect(tmp_path) as lines:
        assert lines is None


async def test_the_path_of_the_state_directory_may_be_longer_than_a_socket_address(
    tmp_path: Path,
) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    async with serving(deep):
        assert (deep / "control.sock").exists()
        assert await asked(deep, "echo", text="far") == "far"
        async with connect(deep) as lines:
            assert lines is not None
            await lines.send({"do": "echo", "text": "farther"})
            assert await lines.receive() == {"v": PROTOCOL_VERSION, "ok": "farther"}
    assert not (deep / "control.sock").exists()


async def test_a_runtime_of_another_version_is_named(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "control.sock"))
    listener.listen()

    def answer_in_the_future() -> None:
        client, _ = listener.accept()
        with client, client.makefile("rwb") as file:
            file.readline()
            file.write(b'{"v": 99, "ok": null}\n')

    with listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, answer_in_the_future)
            with pytest.raises(BadLine, match="speaks version 99"):
                await asked(tmp_path, "echo")


async def test_a_send_that_is_cut_short_ends_the_connection(tmp_path: Path) -> None:
    ours, theirs = trio.socket.socketpair()
    lines, peer = JsonLines(trio.SocketStream(ours)), trio.SocketStream(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lines.send, {"text": "x" * 10_000_000})
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.ClosedResourceError):
        await lines.send({"text": "half of the other"})
    received = b""
    while chunk := await peer.receive_some():
        received += chunk
    assert b"half of the other" not in received
    await peer.aclose()
