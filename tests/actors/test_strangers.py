"""A thousand people who do not know each other, at once, and one agent that hears them all."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper import Turn, get_session_context
from turnkeeper.testing import LoopbackChannel

from .stage import on_stage

STRANGERS = 1_000
SAYS = 2
"""How often each of them writes."""
PLATFORMS = ("telegram", "discord", "slack", "console")


class Witness:
    """An agent that keeps all it was given and told, by who was speaking."""

    def __init__(self) -> None:
        self.given: dict[str, list[str]] = defaultdict(list)
        """User -> texts of all messages of all their turns."""
        self.sessions: dict[str, set[str]] = defaultdict(set)

    async def __call__(self, turn: Turn) -> str:
        who = turn.context.unified_user_id
        await trio.lowlevel.checkpoint()  # others come in between
        context = get_session_context()
        assert context is not None
        assert context.unified_user_id == who
        self.given[who] += [message.text for message in turn.messages]
        self.sessions[who].add(context.session_id)
        return f"only {who} may know: {turn.text}"


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]
)
async def test_a_thousand_strangers_have_a_thousand_sessions_and_see_nothing_of_each_other(
    seed: int,
) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    channels = [LoopbackChannel(f"{name}-1", platform=name) for name in PLATFORMS]
    # The same ids on each platform, and one display name for all: neither makes them one human.
    people = [(channel, f"{number}") for number in range(STRANGERS // 4) for channel in channels]
    witness = Witness()
    accepted: dict[str, set[str]] = defaultdict(set)

    async def stranger(channel: LoopbackChannel, user_id: str) -> None:
        who = f"{channel.platform}:{user_id}"
        for number in range(SAYS):
            for _ in range(rng.randrange(5)):
                await trio.lowlevel.checkpoint()
            answer = await channel.receive(
                f"secret {number} of {who}.",
                conversation=f"dm {user_id}",
                user_id=user_id,
                user_name="Alice",
            )
            accepted[who].add(answer.session_id)

    async with on_stage(witness, *channels) as stage:
        rng.shuffle(people)
        async with trio.open_nursery() as nursery:
            for channel, user_id in people:
                nursery.start_soon(stranger, channel, user_id)
        await wait_all_tasks_blocked()
        assert len(await stage.runtime.sessions()) == STRANGERS
    assert len(accepted) == STRANGERS
    assert len({session for found in accepted.values() for session in found}) == STRANGERS
    assert all(len(found) == 1 for found in accepted.values())
    assert witness.sessions == accepted
    for who, texts in witness.given.items():
        own = [f"secret {number} of {who}." for number in range(SAYS)]
        assert set(texts) <= {*own, *(f"only {who} may know: {text}" for text in own)}
        assert texts[-1] == own[-1]
    for channel in channels:
        assert len(channel.sent) == SAYS * STRANGERS // 4
        for sent in channel.sent:
            who = f"{channel.platform}:{sent.conversation.removeprefix('dm ')}"
            assert sent.text.startswith(f"only {who} may know: secret ")
            assert sent.text.endswith(f" of {who}.")


LOOK_ALIKE_IDS = [
    *("1", "01", "1 ", " 1", "+1", "1.0", "\uff11", "1\u200b", "\u200b1", "1\u00ad", "1@tg"),
    *("ann", "Ann", "ANN", "\u0430nn", "ann\u0301", "\u00e1nn", "a\u0301nn", "ann\x00", "ann\n"),
    *("tg:1", "telegram:1", "1/ann", "ann\u202e", "dotless\u0131", "dotlessi", "dotlessI"),
]


async def test_ids_that_look_alike_are_strangers_to_each_other() -> None:
    tg = LoopbackChannel("tg", platform="tg")
    witness = Witness()
    async with on_stage(witness, tg):
        accepted = [
            (await tg.receive(f"I am {number}.", conversation=f"{number}", user_id=user_id))
            for number, user_id in enumerate(LOOK_ALIKE_IDS)
        ]
        await wait_all_tasks_blocked()
    assert len({one.session_id for one in accepted}) == len(LOOK_ALIKE_IDS)
    for number, user_id in enumerate(LOOK_ALIKE_IDS):
        assert witness.given[f"tg:{user_id}"] == [f"I am {number}."]


async def test_a_user_of_one_platform_cannot_pass_for_one_of_another() -> None:
    tg, other = LoopbackChannel("tg", platform="tg"), LoopbackChannel("x", platform="x")
    witness = Witness()
    async with on_stage(witness, tg, other) as stage:
        await stage.runtime.link("tg", "1", "alice")
        await tg.receive("secret", conversation="c1", user_id="1")
        await wait_all_tasks_blocked()
        for user_id in ("alice", "tg:1", "1", "1@tg", "alice\n"):
            session = await other.receive("let me in", conversation=user_id, user_id=user_id)
            assert session.session_id != "s1"
        await wait_all_tasks_blocked()
    assert witness.given.pop("alice") == ["secret"]
    assert set(witness.given) == {"x:alice", "x:tg:1", "x:1", "x:1@tg", "x:alice\n"}
    assert all(texts == ["let me in"] for texts in witness.given.values())


async def test_a_name_that_somebody_else_takes_over_brings_nothing_along() -> None:
    tg = LoopbackChannel("tg", platform="tg")
    witness = Witness()
    async with on_stage(witness, tg):
        first = await tg.receive("secret", conversation="c1", user_id="1", user_name="@ann")
        await wait_all_tasks_blocked()
        taken = await tg.receive("hi, Ann here", conversation="c2", user_id="2", user_name="@ann")
        renamed = await tg.receive("it is me", conversation="c1", user_id="1", user_name="@bob")
        await wait_all_tasks_blocked()
    assert taken.session_id != first.session_id == renamed.session_id
    assert witness.given["tg:2"] == ["hi, Ann here"]
