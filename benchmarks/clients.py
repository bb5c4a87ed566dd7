"""Many WebSocket clients in a process of their own, for :mod:`benchmarks.channels`.

It obeys lines on stdin: `burst` lets every client say one message at the same moment, `paced RATE
COUNT` one after the other so many times a second. After each it prints the seconds from every
message to its reply, as a JSON list; first of all, `ready` once everybody is connected.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from typing import Any, Final

import trio
from trio_websocket import WebSocketConnection, connect_websocket_url

from benchmarks.load import TEXT

AT_ONCE: Final = 50
"""Connections that are being made at the same time."""


class Client:
    """One human with one connection."""

    def __init__(self, name: str, connection: WebSocketConnection) -> None:
        self._name = name
        self._connection = connection
        self._ids = itertools.count(1)

    async def say(self, times: list[float]) -> None:
        """Say one message, and note how long its reply takes."""
        asked = f"{self._name}-{next(self._ids)}"
        frame = json.dumps({"type": "message", "id": asked, "text": TEXT})
        began = time.perf_counter()
        await self._connection.send_message(frame)
        while True:
            heard: dict[str, Any] = json.loads(await self._connection.get_message())
            if heard["type"] == "refused":
                raise RuntimeError(f"the server refuses {asked}: {heard}")
            if heard["type"] == "reply" and heard.get("reply_to") == asked:
                times.append(time.perf_counter() - began)
                got = json.dumps({"type": "got", "cursor": heard["cursor"]})
                await self._connection.send_message(got)
                return


async def connect(nursery: trio.Nursery, url: str, number: int) -> list[Client]:
    clients: list[Client] = []
    room = trio.CapacityLimiter(AT_ONCE)

    async def one(name: str) -> None:
        async with room:
            connection = await connect_websocket_url(nursery, url)
            await connection.send_message(json.dumps({"type": "hello", "user": name}))
            welcome: dict[str, Any] = json.loads(await connection.get_message())
            if welcome["type"] != "welcome":
                raise RuntimeError(f"the server does not welcome {name}: {welcome}")
            clients.append(Client(name, connection))

    async with trio.open_nursery() as connecting:
        for each in range(number):
            connecting.start_soon(one, f"client-{each:05}")
    return clients


async def obey(clients: list[Client], words: list[str]) -> list[float]:
    times: list[float] = []
    async with trio.open_nursery() as nursery:
        if words[0] == "burst":
            for client in clients:
                nursery.start_soon(client.say, times)
            return times
        rate, count = float(words[1]), int(words[2])
        begin = trio.current_time()
        for number in range(count):
            await trio.sleep_until(begin + number / rate)
            nursery.start_soon(clients[number % len(clients)].say, times)
    return times


async def main(url: str, number: int) -> None:
    async with trio.open_nursery() as nursery:
        clients = await connect(nursery, url, number)
        print("ready", flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            print(json.dumps(await obey(clients, line.split())), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
