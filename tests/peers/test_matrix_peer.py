"""The hands on a real Synapse do what they say, and the proxy before it spoils what it should."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from .matrix_peer import MatrixPeer, open_matrix
from .matrix_server import Synapse, run_synapse

pytestmark = pytest.mark.slow

CLIENT = "/_matrix/client/v3"


@pytest.fixture(scope="module")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Generator[Synapse]:
    with run_synapse(tmp_path_factory.mktemp("synapse")) as server:
        yield server


@asynccontextmanager
async def a_bot(matrix: MatrixPeer) -> AsyncGenerator[httpx.AsyncClient]:
    """The bot's end, through the proxy."""
    headers = {"Authorization": f"Bearer {matrix.bot_token}"}
    async with httpx.AsyncClient(
        base_url=matrix.url, headers=headers, timeout=60, trust_env=False
    ) as client:
        yield client


async def heard(bot: httpx.AsyncClient, room: str, since: str = "") -> list[dict[str, Any]]:
    """The events of a room that the bot's next sync brings."""
    asked = {"timeout": "10000", **({"since": since} if since else {})}
    body = (await bot.get(f"{CLIENT}/sync", params=asked)).json()
    events: list[dict[str, Any]] = body["rooms"]["join"][room]["timeline"]["events"]
    return events


async def say(bot: httpx.AsyncClient, room: str, text: str, transaction: str) -> httpx.Response:
    path = f"{CLIENT}/rooms/{room}/send/m.room.message/{transaction}"
    return await bot.put(path, json={"msgtype": "m.text", "body": text})


async def test_a_bot_hears_and_is_seen(synapse: Synapse) -> None:
    async with open_matrix(synapse) as matrix, a_bot(matrix) as bot:
        ada = await matrix.add_user("Ada")
        room = await matrix.add_room("general", ada)
        question = await matrix.user_says(room, ada, "hello", mentions=[matrix.bot])
        (event,) = [one for one in await heard(bot, room) if one["event_id"] == question]
        assert (event["content"]["body"], event["sender"]) == ("hello", ada)
        assert (await say(bot, room, "hi", "t1")).status_code == 200
        seen = await matrix.until_seen(room, lambda seen: len(seen) == 2)
        assert [(one.user, one.text) for one in seen] == [(ada, "hello"), (matrix.bot, "hi")]


async def test_a_transaction_is_carried_out_once_even_if_its_answer_is_lost(
    synapse: Synapse,
) -> None:
    async with open_matrix(synapse) as matrix, a_bot(matrix) as bot:
        ada = await matrix.add_user("Ada")
        room = await matrix.dm(ada)
        matrix.loses_answers("send")
        with pytest.raises(httpx.TransportError):
            await say(bot, room, "once", "t1")
        assert (await say(bot, room, "once", "t1")).status_code == 200
        assert [one.text for one in await matrix.seen(room)] == ["once"]
        assert [status for kind, _, status in matrix.calls if kind == "send"] == [0, 200]


async def test_edits_redactions_replies_and_threads_are_seen_as_people_see_them(
    synapse: Synapse,
) -> None:
    async with open_matrix(synapse) as matrix:
        ada = await matrix.add_user("Ada")
        room = await matrix.add_room("general", ada)
        first = await matrix.user_says(room, ada, "frist")
        await matrix.edits(room, first, "first")
        second = await matrix.user_says(room, ada, "second", reply_to=first)
        third = await matrix.user_says(room, ada, "third", thread=first)
        gone = await matrix.user_says(room, ada, "gone")
        await matrix.deletes(room, gone)
        seen = await matrix.seen(room)
        assert [(one.text, one.edited) for one in seen] == [
            ("first", True),
            ("second", False),
            ("third", False),
        ]
        assert (seen[1].message_id, seen[1].reply_to, seen[2].thread) == (second, first, first)
        assert [one.message_id for one in await matrix.seen(room, first)] == [first, third]


async def test_files_emoji_and_typing_are_seen(synapse: Synapse) -> None:
    async with open_matrix(synapse) as matrix, a_bot(matrix) as bot:
        ada = await matrix.add_user("Ada")
        room = await matrix.add_room("general", ada)
        message = await matrix.user_says(room, ada, "look", files=[("a.txt", b"content")])
        (seen,) = await matrix.seen(room)
        assert (seen.text, seen.files[0].name, seen.files[0].mime) == (
            "look",
            "a.txt",
            "text/plain",
        )
        assert await matrix.download(seen.files[0]) == b"content"
        await matrix.reacts(room, message, ada, "👍")
        assert await matrix.reactions(room, message) == {"👍": [ada]}
        path = f"{CLIENT}/rooms/{room}/typing/{matrix.bot}"
        assert await matrix.typing(room) == 0
        await bot.put(path, json={"typing": True, "timeout": 30_000})
        await matrix.until_typing(room)


async def test_a_bot_accepts_an_invitation(synapse: Synapse) -> None:
    async with open_matrix(synapse) as matrix, a_bot(matrix) as bot:
        ada = await matrix.add_user("Ada")
        room = await matrix.add_room("general", ada, joined=False)
        body = (await bot.get(f"{CLIENT}/sync")).json()
        assert room in body["rooms"]["invite"]
        assert (await bot.post(f"{CLIENT}/join/{room}", json={})).status_code == 200
        await matrix.removes_bot(room)
        assert (await say(bot, room, "x", "t1")).json()["errcode"] == "M_FORBIDDEN"


async def test_a_bot_that_is_logged_out_is_told_so(synapse: Synapse) -> None:
    async with open_matrix(synapse) as matrix, a_bot(matrix) as bot:
        await matrix.log_out()
        answer = await bot.get(f"{CLIENT}/account/whoami")
        assert (answer.status_code, answer.json()["errcode"]) == (401, "M_UNKNOWN_TOKEN")


async def test_a_request_fails_in_each_way_that_is_asked_for(synapse: Synapse) -> None:
    async with open_matrix(synapse) as matrix, a_bot(matrix) as bot:
        who = f"{CLIENT}/account/whoami"
        matrix.fails("whoami", status=502)
        assert (await bot.get(who)).status_code == 502
        matrix.limits("whoami", retry_after_ms=1500)
        limited = await bot.get(who)
        assert (limited.json()["retry_after_ms"], limited.headers["Retry-After"]) == (1500, "2")
        matrix.loses_requests("whoami")
        with pytest.raises(httpx.TransportError):
            await bot.get(who)
        await matrix.down()
        with pytest.raises(httpx.ConnectError):
            await bot.get(who)
        await matrix.up()
        assert (await bot.get(who)).json()["user_id"] == matrix.bot


async def test_a_killed_homeserver_comes_back_with_all_it_knew(tmp_path: Path) -> None:
    with run_synapse(tmp_path) as synapse:
        async with open_matrix(synapse) as matrix, a_bot(matrix) as bot:
            ada = await matrix.add_user("Ada")
            room = await matrix.dm(ada)
            since = (await bot.get(f"{CLIENT}/sync")).json()["next_batch"]
            synapse.kill()
            with pytest.raises(httpx.TransportError):
                await say(bot, room, "nobody hears", "t1")
            synapse.start()
            message = await matrix.user_says(room, ada, "back?")
            assert [event["event_id"] for event in await heard(bot, room, since)] == [message]


async def test_synapses_own_rate_limits_are_there_when_wanted(tmp_path: Path) -> None:
    with run_synapse(tmp_path, limited=True) as synapse:
        async with open_matrix(synapse) as matrix, a_bot(matrix) as bot:
            ada = await matrix.add_user("Ada")
            room = await matrix.dm(ada)
            answers = [await say(bot, room, str(n), f"t{n}") for n in range(15)]
            refused = [answer for answer in answers if answer.status_code == 429]
            assert refused[0].json()["errcode"] == "M_LIMIT_EXCEEDED"
            assert refused[0].json()["retry_after_ms"] > 0
