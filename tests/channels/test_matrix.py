"""The Matrix channel beyond what every channel must do, against a real Synapse."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from turnkeeper import (
    AccessDenied,
    Address,
    Outbound,
    OutboundFile,
    Overloaded,
    Rejected,
    Unreachable,
)
from turnkeeper.actors.messages import DeliveryId, Instance, TurnId
from turnkeeper.channels.base import Draft
from turnkeeper.channels.matrix import MatrixChannel
from turnkeeper.config_tables import ChannelConfig
from turnkeeper.kinds import make_channel

from ..peers.matrix_peer import MatrixPeer, open_matrix
from ..peers.matrix_server import Synapse, run_synapse
from .given import Runtime

MX: Final = Instance("mx")


@pytest.fixture(scope="module")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Generator[Synapse]:
    with run_synapse(tmp_path_factory.mktemp("synapse")) as server:
        yield server


def make(matrix: MatrixPeer, **keys: Any) -> MatrixChannel:
    keys.setdefault("sends_per_s", 1000.0)
    return MatrixChannel("mx", homeserver=matrix.url, access_token=matrix.bot_token, **keys)


@asynccontextmanager
async def living(
    matrix: MatrixPeer, runtime: Runtime, **keys: Any
) -> AsyncGenerator[MatrixChannel]:
    """A channel that is connected, until the block ends."""
    channel = make(matrix, **keys)
    runtime.serve(channel)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run, runtime.deliver)
        await runtime.until(lambda: channel.line.state == "connected")
        yield channel
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def talking(
    synapse: Synapse, group: str | None = None
) -> AsyncGenerator[tuple[MatrixPeer, str, str]]:
    """Ada, and the room in which she can talk to the agent: a direct one, or a group's."""
    async with open_matrix(synapse) as matrix:
        ada = await matrix.add_user("Ada")
        yield matrix, ada, await (matrix.dm(ada) if group is None else matrix.add_room(group, ada))


def text(room: str, said: str, number: int = 1, **fields: Any) -> Outbound:
    address = Address(MX, room, fields.pop("thread", None))
    return Outbound(delivery_id=DeliveryId(f"s1/{number}"), address=address, text=said, **fields)


@pytest.mark.slow
async def test_a_long_absence_leaves_no_gap_and_no_disorder(synapse: Synapse) -> None:
    async with open_matrix(synapse) as matrix:
        ada = await matrix.add_user("Ada")
        rooms = [await matrix.dm(ada), await matrix.add_room("general", ada)]
        runtime = Runtime()
        async with living(matrix, runtime):
            await matrix.user_says(rooms[0], ada, "before")
            await runtime.until(lambda: runtime.texts() == ["before"])
        said = [f"missed {number}" for number in range(130)]
        for one in said:
            await matrix.user_says(rooms[1], ada, one)
        await matrix.user_says(rooms[0], ada, "in the other room")
        async with living(matrix, runtime):
            await matrix.user_says(rooms[1], ada, "after")
            await runtime.until(lambda: len(runtime.turns) == 133)
        heard = [turn.text for turn in runtime.turns if turn.address.conversation == rooms[1]]
        assert heard == [*said, "after"]


@pytest.mark.slow
async def test_a_message_that_is_told_again_is_the_same_turn(synapse: Synapse) -> None:
    async with talking(synapse) as (matrix, ada, room):
        runtime = Runtime()
        async with living(matrix, runtime):
            message = await matrix.user_says(room, ada, "once")
            await runtime.until(lambda: len(runtime.turns) == 1)
            await matrix.tells_again(room, message)
            await matrix.user_says(room, ada, "next")
            await runtime.until(lambda: len(runtime.turns) == 2)
        assert runtime.again == runtime.turns[:1]


@pytest.mark.slow
async def test_what_was_said_before_the_first_connection_is_nobodys_question(
    synapse: Synapse,
) -> None:
    async with talking(synapse) as (matrix, ada, room):
        await matrix.user_says(room, ada, "long ago")
        runtime = Runtime()
        async with living(matrix, runtime):
            await matrix.user_says(room, ada, "now")
            await runtime.until(lambda: "now" in runtime.texts())
        assert runtime.texts() == ["now"]


@pytest.mark.slow
async def test_a_homeserver_that_has_forgotten_the_place_is_heard_from_now_on(
    synapse: Synapse,
) -> None:
    async with talking(synapse) as (matrix, ada, room):
        runtime = Runtime()
        async with living(matrix, runtime):
            await matrix.user_says(room, ada, "before")
            await runtime.until(lambda: runtime.texts() == ["before"])
        await matrix.user_says(room, ada, "missed")
        matrix.fails("sync", "M_UNKNOWN", status=400)
        async with living(matrix, runtime) as channel:
            assert "does not know" in channel.line.warning
            await matrix.user_says(room, ada, "after")
            await runtime.until(lambda: "after" in runtime.texts())
        assert runtime.texts() == ["before", "after"]


@pytest.mark.slow
async def test_another_account_under_the_same_name_begins_anew(synapse: Synapse) -> None:
    runtime = Runtime()
    async with open_matrix(synapse) as first, open_matrix(synapse) as second:
        async with living(first, runtime):
            pass
        before = runtime.mark.value
        ada = await second.add_user("Ada")
        room = await second.dm(ada)
        await second.user_says(room, ada, "long ago")
        async with living(second, runtime):
            await second.user_says(room, ada, "now")
            await runtime.until(lambda: "now" in runtime.texts())
        assert runtime.texts() == ["now"]
        assert before is not None
        assert runtime.mark.value is not None
        assert before.split()[0] == runtime.mark.value.split()[0]


@pytest.mark.slow
async def test_who_invites_is_heard_from_then_on_and_alone_with_the_agent(
    synapse: Synapse,
) -> None:
    async with open_matrix(synapse) as matrix:
        ada = await matrix.add_user("Ada")
        room = await matrix.dm(ada, joined=False)
        said = [f"hello {number}" for number in range(70)]
        for one in said:
            await matrix.user_says(room, ada, one)
        runtime = Runtime()
        async with living(matrix, runtime):
            await runtime.until(lambda: len(runtime.turns) == 70)
            await matrix.user_says(room, ada, "are you there?")
            await runtime.until(lambda: len(runtime.turns) == 71)
        assert runtime.texts() == [*said, "are you there?"]
        assert {(turn.direct, turn.mentioned) for turn in runtime.turns} == {(True, True)}


@pytest.mark.slow
async def test_what_was_said_before_the_invitation_is_not_heard(synapse: Synapse) -> None:
    async with talking(synapse, "general") as (matrix, ada, room):
        await matrix.removes_bot(room)
        runtime = Runtime()
        async with living(matrix, runtime):
            await matrix.user_says(room, ada, "among us")
            await matrix.invites(room, matrix.bot)
            await matrix.user_says(room, ada, "welcome")
            await runtime.until(lambda: bool(runtime.turns))
        assert runtime.texts() == ["welcome"]
        assert not runtime.turns[0].direct


@pytest.mark.slow
async def test_an_invitation_of_somebody_else_stays_open(synapse: Synapse) -> None:
    async with open_matrix(synapse) as matrix:
        ada, ben = await matrix.add_user("Ada"), await matrix.add_user("Ben")
        room, other = await matrix.dm(ada, joined=False), await matrix.dm(ben, joined=False)
        runtime = Runtime()
        async with living(matrix, runtime, join_invites=[ben]):
            await matrix.user_says(room, ada, "from Ada")
            await matrix.user_says(other, ben, "from Ben")
            await runtime.until(lambda: bool(runtime.turns))
        assert runtime.texts() == ["from Ben"]
        assert sum(kind == "join" for kind, _, _ in matrix.calls) == 1


@pytest.mark.slow
async def test_a_room_is_direct_no_more_when_a_third_comes(synapse: Synapse) -> None:
    async with open_matrix(synapse) as matrix:
        ada, ben = await matrix.add_user("Ada"), await matrix.add_user("Ben")
        room = await matrix.dm(ada)
        runtime = Runtime()
        async with living(matrix, runtime):
            await matrix.user_says(room, ada, "alone")
            await runtime.until(lambda: len(runtime.turns) == 1)
            await matrix.invites(room, ben)
            await matrix.joins(room, ben)
            await matrix.user_says(room, ada, "not alone")
            await runtime.until(lambda: len(runtime.turns) == 2)
        assert [(turn.direct, turn.mentioned) for turn in runtime.turns] == [
            (True, True),
            (False, False),
        ]


@pytest.mark.slow
async def test_in_a_group_an_answer_to_the_agent_is_meant_for_it_even_after_a_restart(
    synapse: Synapse,
) -> None:
    async with talking(synapse, "general") as (matrix, ada, room):
        runtime = Runtime()
        async with living(matrix, runtime) as channel:
            mine = (await channel.send(text(room, "a question?"))).platform_message_id
        async with living(matrix, runtime):
            other = await matrix.user_says(room, ada, "to nobody")
            await matrix.user_says(room, ada, "an answer", reply_to=mine)
            await matrix.user_says(room, ada, "to myself", reply_to=other)
            await runtime.until(lambda: len(runtime.turns) == 3)
        assert [(turn.text, turn.mentioned) for turn in runtime.turns] == [
            ("to nobody", False),
            ("an answer", True),
            ("to myself", False),
        ]
        assert {(turn.chat_name, turn.user_name) for turn in runtime.turns} == {
            ("general", ada[1:].partition(":")[0])
        }


@pytest.mark.slow
async def test_rooms_that_are_encrypted_or_were_replaced_are_named_to_the_operator(
    synapse: Synapse,
) -> None:
    async with talking(synapse) as (matrix, ada, room):
        runtime = Runtime()
        async with living(matrix, runtime) as channel:
            secret = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "y"}
            await matrix.says_anything(room, ada, "m.room.encrypted", secret)
            await runtime.until(lambda: "encrypted" in channel.line.warning)
            assert room in channel.line.warning
            await matrix.upgrades(room, ada)
            await runtime.until(lambda: "replaced" in channel.line.warning)
            assert room in channel.line.warning
        assert runtime.turns == []


@pytest.mark.slow
async def test_a_file_that_is_not_handed_out_comes_by_its_reference(synapse: Synapse) -> None:
    async with talking(synapse) as (matrix, ada, room):
        runtime = Runtime()
        async with living(matrix, runtime):
            matrix.fails("download", "M_NOT_FOUND", status=404, times=2)
            await matrix.user_says(room, ada, "", files=[("a.png", b"picture")])
            await matrix.user_says(room, ada, "look", files=[("b.png", b"another")])
            await runtime.until(lambda: len(runtime.turns) == 2)
        (lost,), (kept,) = (turn.attachments for turn in runtime.turns)
        assert lost.reference.startswith("mxc://harbour.test/")
        assert (lost.kind, lost.name, lost.size_bytes) == ("image", "a.png", 7)
        assert (kept.reference, runtime.contents(), runtime.turns[1].text) == (
            "blob:1",
            [b"another"],
            "look",
        )


@pytest.mark.slow
async def test_one_room_that_is_refused_holds_up_no_other_and_nothing_is_lost(
    synapse: Synapse,
) -> None:
    async with open_matrix(synapse) as matrix:
        ada, ben = await matrix.add_user("Ada"), await matrix.add_user("Ben")
        rooms = [await matrix.dm(ada), await matrix.dm(ben)]
        runtime = Runtime()
        full = Overloaded("full")
        runtime.refuses = lambda turn: full if turn.user_id == ada else None
        async with living(matrix, runtime):
            await matrix.user_says(rooms[0], ada, "refused")
            for number in range(4):
                await matrix.user_says(rooms[1], ben, f"number {number}")
                await runtime.until(lambda: len(runtime.turns) == number + 1)  # noqa: B023
        runtime.refuses = lambda _turn: None
        async with living(matrix, runtime):
            await runtime.until(lambda: "refused" in runtime.texts())
        assert runtime.texts() == [*(f"number {number}" for number in range(4)), "refused"]


@pytest.mark.slow
async def test_a_stranger_is_told_so_alone_and_in_groups_nobody_is(synapse: Synapse) -> None:
    async with open_matrix(synapse) as matrix:
        ada = await matrix.add_user("Ada")
        rooms = [await matrix.add_room("general", ada), await matrix.dm(ada)]
        runtime = Runtime()
        runtime.refuses = lambda _turn: AccessDenied("you are a stranger")
        async with living(matrix, runtime):
            for room in rooms:
                for _ in range(2):
                    await matrix.user_says(room, ada, "let me in")
            seen = await matrix.until_seen(rooms[1], lambda seen: len(seen) == 3)
        assert [one.text for one in seen if one.user == matrix.bot] == ["you are a stranger"]
        assert not [one for one in await matrix.seen(rooms[0]) if one.user == matrix.bot]


@pytest.mark.slow
async def test_a_new_state_directory_repeats_no_transaction_of_an_old_one(
    synapse: Synapse,
) -> None:
    async with talking(synapse) as (matrix, _ada, room):
        ids: list[str] = []
        for runtime, said in ((Runtime(), "in the first"), (Runtime(), "in the second")):
            async with living(matrix, runtime) as channel:
                ids += [(await channel.send(text(room, said))).platform_message_id] * 2
            async with living(matrix, runtime) as channel:  # another life of the same directory
                again = await channel.send(text(room, said, resend=True))
                assert again.platform_message_id == ids[-1]
        assert [one.text for one in await matrix.seen(room)] == ["in the first", "in the second"]


@pytest.mark.slow
async def test_texts_are_formatted_in_threads_and_notify_nobody(synapse: Synapse) -> None:
    async with talking(synapse, "general") as (matrix, ada, room):
        root = await matrix.user_says(room, ada, "root")
        question = await matrix.user_says(room, ada, "question", thread=root)
        channel = make(matrix)
        await channel.send(text(room, "**@room** hi", thread=root, reply_to=question))
        await channel.send(text(room, "plain @room", 2, thread=root))
        (*_, first, second) = await matrix.seen(room)
        assert (first.text, first.thread, first.reply_to) == (
            "<p><strong>@room</strong> hi</p>",
            root,
            question,
        )
        assert (second.text, second.thread, second.reply_to) == ("plain @room", root, root)


@pytest.mark.slow
async def test_a_draft_is_edited_into_its_text_or_replaced_if_it_is_gone(
    synapse: Synapse,
) -> None:
    async with talking(synapse) as (matrix, _ada, room):
        channel = make(matrix)
        address = Address(MX, room)
        ids: list[str] = []
        for number in (1, 2, 3):
            draft = Draft(turn_id=TurnId(f"s1/{number}"), address=address, text="begins")
            ids.append((await channel.draft(draft)).platform_message_id)
        later = Draft(turn_id=TurnId("s1/1"), address=address, text="goes on", shown=ids[0])
        assert (await channel.draft(later)).platform_message_id == ids[0]
        assert [one.text for one in await matrix.seen(room)] == ["goes on", "begins", "begins"]
        await channel.withdraw(address, ids[2])
        await channel.withdraw(address, ids[1])
        long = "word " * 3_000
        receipt = await channel.send(text(room, long, draft=ids[0]))
        again = await channel.send(text(room, long, draft=ids[0], resend=True))
        assert receipt == again
        assert receipt.platform_message_id == ids[0]
        fresh = await channel.send(text(room, "anew", 2, draft=ids[1]))
        assert fresh.platform_message_id not in ids
        assert [one.text for one in await matrix.seen(room)] == [long, "anew"]


@pytest.mark.slow
async def test_typing_is_shown_until_something_is_said(synapse: Synapse) -> None:
    async with talking(synapse) as (matrix, _ada, room):
        channel = make(matrix)
        await channel.typing(Address(MX, room))
        await matrix.until_typing(room)
        await channel.send(text(room, "said"))
        assert await matrix.typing(room) == 0


@pytest.mark.slow
async def test_a_homeserver_that_is_asked_too_often_is_left_alone_by_everybody(
    synapse: Synapse,
) -> None:
    async with open_matrix(synapse) as matrix:
        ada = await matrix.add_user("Ada")
        room, other = await matrix.dm(ada), await matrix.add_room("general", ada)
        channel = make(matrix)
        matrix.limits("send", retry_after_ms=1_200)
        began = trio.current_time()
        with pytest.raises(Unreachable) as limited:
            await channel.send(text(room, "one"))
        assert (limited.value.reason, limited.value.retry_after_s) == ("rate_limited", 2.0)
        await channel.send(text(other, "two", 2))
        assert trio.current_time() - began >= 2.0


@pytest.mark.slow
async def test_what_the_homeserver_refuses_has_one_word(synapse: Synapse) -> None:
    async def read() -> bytes:
        return b"x" * 11_000_000

    async with talking(synapse, "general") as (matrix, _ada, room):
        channel = make(matrix)
        file = OutboundFile(kind="file", size_bytes=11_000_000, read=read, name="big.bin")

        async def refused(send: Callable[[], Awaitable[object]]) -> str:
            with pytest.raises(Rejected) as error:
                await send()
            return error.value.reason

        # Synapse ends the connection of what is too long instead of answering.
        with pytest.raises((Rejected, Unreachable)):
            await channel.send(text(room, "", file=file))
        unknown = "!nowhere:harbour.test"
        assert await refused(lambda: channel.send(text(unknown, "x"))) == "forbidden"
        await matrix.forbids(room)
        assert await refused(lambda: channel.send(text(room, "x", 2))) == "forbidden"
        await matrix.removes_bot(room)
        assert await refused(lambda: channel.send(text(room, "x", 3))) == "forbidden"
        await matrix.log_out()
        assert await refused(lambda: channel.send(text(room, "x", 4))) == "unauthorized"
        (check,) = await channel.probe()
        assert (check.what, check.ok) == ("token", False)


@pytest.mark.slow
async def test_a_real_rate_limit_loses_and_repeats_nothing(tmp_path: Path) -> None:
    with run_synapse(tmp_path, limited=True) as synapse:
        async with open_matrix(synapse) as matrix:
            ada = await matrix.add_user("Ada")
            room = await matrix.dm(ada)
            channel = make(matrix)
            limited = 0
            for number in range(12):
                while True:
                    try:
                        await channel.send(text(room, f"number {number}", number))
                        break
                    except Unreachable as error:
                        limited += error.reason == "rate_limited"
            assert limited
            seen = await matrix.seen(room)
            assert [one.text for one in seen] == [f"number {number}" for number in range(12)]


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"access_token": ""}, "access_token"),
        ({"access_token": "two words\n"}, "access_token"),
        ({"homeserver": "http://matrix.example.org"}, "https://"),
        ({"homeserver": "matrix.example.org"}, "homeserver"),
        ({"homeserver": "https://user:secret@matrix.example.org"}, "homeserver"),
        ({"homeserver": "https://matrix.example.org/?a=b"}, "homeserver"),
        ({"join_invites": "anyone"}, "join_invites"),
        ({"join_invites": ["ann"]}, "join_invites"),
        ({"sends_per_s": 0.0}, "sends_per_s"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(keys: dict[str, Any], word: str) -> None:
    given: dict[str, Any] = {"homeserver": "https://matrix.example.org", "access_token": "syt_x"}
    with pytest.raises(ValueError, match=word) as refused:
        MatrixChannel("mx", **{**given, **keys})
    assert "secret" not in str(refused.value)


def test_it_is_made_from_a_configuration() -> None:
    options: dict[str, Any] = {
        "homeserver": "https://matrix.example.org/",
        "access_token": "syt_secret",
        "join_invites": ["@ann:example.org"],
    }
    channel = make_channel(ChannelConfig(name=MX, kind="matrix", options=options))
    assert isinstance(channel, MatrixChannel)
    assert channel.exposed
    assert "secret" not in repr(channel)
