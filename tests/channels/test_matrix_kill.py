"""A homeserver is killed again and again while people talk to the agent through it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import trio

from turnkeeper.channels.matrix import MatrixChannel

from ..peers.matrix_peer import MatrixPeer, open_matrix
from ..peers.matrix_server import Synapse, run_synapse
from .killing import Load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Homeserver:
    """A Synapse that can be killed without holding up whoever talks to it."""

    def __init__(self, synapse: Synapse) -> None:
        self._synapse = synapse

    async def kill(self) -> None:
        await trio.to_thread.run_sync(self._synapse.kill)

    async def start(self) -> None:
        await trio.to_thread.run_sync(self._synapse.start)


async def say(matrix: MatrixPeer, room: str, user: str, text: str) -> None:
    """Say something once, however often the homeserver has to be told."""
    while True:
        try:
            await matrix.user_says(room, user, text)
            return
        except (httpx.TransportError, ValueError):
            if any(one.text == text for one in await matrix.seen(room)):
                return


async def test_a_homeserver_that_is_killed_loses_and_repeats_nothing(tmp_path: Path) -> None:
    with run_synapse(tmp_path) as synapse:
        async with open_matrix(synapse) as matrix:
            users = [await matrix.add_user(name) for name in ("Ada", "Ben")]
            rooms = {await matrix.dm(user): user for user in users}
            load = Load(list(rooms))
            channel = MatrixChannel(
                "mx", homeserver=matrix.url, access_token=matrix.bot_token, sends_per_s=1000.0
            )
            async with load.living(channel):
                with trio.fail_after(30):
                    while channel.line.state != "connected":  # noqa: ASYNC110
                        await trio.sleep(0.05)
                await load.speak(
                    Homeserver(synapse), lambda room, text: say(matrix, room, rooms[room], text)
                )
                await load.settle()
            seen = {
                room: [one.text for one in await matrix.seen(room) if one.user == matrix.bot]
                for room in rooms
            }
    assert [outcome for outcome, _ in load.outcomes.values()] == ["delivered"] * len(load.said)
    load.check(seen)
