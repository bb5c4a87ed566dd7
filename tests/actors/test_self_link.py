"""Humans prove with a code that two accounts are theirs, and nobody else can use it."""

from __future__ import annotations

import re
from random import Random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import AccessDenied, MessageIdReused, Overloaded, Runtime
from turnkeeper.actors.codebook import key_of_code
from turnkeeper.actors.core import commands
from turnkeeper.actors.core.codes import (
    ALPHABET,
    LINK_CODE_S,
    LOCKED_S,
    MAX_ISSUED,
    MAX_PENDING,
    MAX_WRONG,
    SALT_BYTES,
    WINDOW_S,
    CodeKind,
    make_code,
    seal,
)
from turnkeeper.actors.ledger import changes_since
from turnkeeper.actors.messages import Address, InboundTurn, Instance
from turnkeeper.storage.base import Reads, Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.keys import table_key
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from .stage import START, echo, on_stage, said

__all__ = [
    "BETWEEN_S",
    "ask_code",
    "code_in",
    "let_wait",
    "linked",
    "tell",
    "two_channels",
    "wrong_codes",
]

BETWEEN_S = 6.0
"""Seconds after which one identity may ask the runtime for something again."""


def two_channels() -> tuple[LoopbackChannel, LoopbackChannel]:
    return LoopbackChannel("tg", platform="telegram"), LoopbackChannel("dc", platform="discord")


def code_in(text: str) -> str:
    """The code that a notice tells."""
    found = re.search(rf"\b[{ALPHABET}]{{4}}-[{ALPHABET}]{{4}}\b", text)
    assert found is not None
    return found.group()


async def tell(channel: LoopbackChannel, text: str, user_id: str) -> str:
    """Send a message in a human's direct conversation; the answer."""
    await wait_all_tasks_blocked()
    seen = len(channel.sent)
    await channel.receive(text, conversation=f"dm-{user_id}", user_id=user_id)
    await wait_all_tasks_blocked()
    answers = [m.text for m in channel.sent[seen:] if m.conversation == f"dm-{user_id}"]
    assert len(answers) == 1
    return answers[0]


async def passes(clock: MockClock, seconds: float) -> None:
    """Let time pass, and everything happen that was due.

    It does not pass by itself: while a thread works, an idle loop would jump over an hour.
    """
    await wait_all_tasks_blocked()
    clock.jump(seconds)
    await wait_all_tasks_blocked()


async def ask_code(channel: LoopbackChannel, user_id: str) -> str:
    return code_in(await tell(channel, "/link", user_id))


def wrong_codes(count: int, seed: int = 1) -> list[str]:
    """Codes that are well formed and nobody's: one in 2^40 would be somebody's."""
    rng = Random(seed)
    return [make_code(rng.randbytes(5)) for _ in range(count)]


async def linked(runtime: Runtime) -> set[str]:
    """Every identity that has a link."""
    return {f"{link.platform}:{link.user_id}" for link in await runtime.links()}


def let_wait(
    disk: MemoryDisk, user_id: str, kind: CodeKind = "link", platform: str = "telegram"
) -> None:
    """Write a code down as though it had been given to `user_id` on `tg`."""
    turn = InboundTurn(
        address=Address(Instance("tg"), f"dm-{user_id}"),
        platform=platform,
        message_id="m",
        user_id=user_id,
        text="/link",
    )
    now_us = int(START.timestamp() * 1_000_000)
    pending = seal(wrong_codes(1)[0], bytes(SALT_BYTES), kind, turn, now_us)
    disk.tables.put(table_key(Table.CODES, key_of_code(pending)), encode(list(pending)))


def changes(store: Reads) -> list[str]:
    return [change.text for _, change in changes_since(store)]


# -- what it is for ------------------------------------------------------------------------------


async def test_a_code_makes_two_accounts_one_conversation_and_both_sides_are_told() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage:
        first = await tg.receive("hi", conversation="dm-ann", user_id="ann")
        code = await ask_code(tg, "ann")
        answer = await tell(dc, f"/link {code}", "77")
        assert answer == commands.linked("telegram")
        assert tg.sent[-1].text == commands.linked("discord")
        second = await dc.receive("hi again", conversation="dm-77", user_id="77")
        assert second.session_id == first.session_id == "s1"
        assert said(stage.store)[0] == ["hi", "hi again"]
        assert await linked(stage.runtime) == {"discord:77"}


@pytest.mark.parametrize(
    "typed",
    [
        "/link {code}",
        "/LINK   {lower}",
        "/link@turnkeeper_bot {bare}",
        " /link\n{spaced}\nis that right?",
    ],
)
async def test_a_code_works_as_humans_type_it(typed: str) -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc):
        code = await ask_code(tg, "ann")
        text = typed.format(
            code=code, lower=code.lower(), bare=code.replace("-", ""), spaced=" ".join(code)
        )
        assert await tell(dc, text, "77") == commands.linked("telegram")


async def test_unlink_gives_an_account_a_conversation_of_its_own_again() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage:
        await tg.receive("hi", conversation="dm-ann", user_id="ann")
        await tell(dc, f"/link {await ask_code(tg, 'ann')}", "77")
        await dc.receive("together", conversation="dm-77", user_id="77")
        assert await tell(dc, "/unlink", "77") == commands.UNLINKED
        assert await tell(dc, "/unlink", "77") == commands.NOTHING_TO_UNLINK
        apart = await dc.receive("apart", conversation="dm-77", user_id="77")
        assert apart.session_id != "s1"
        assert await linked(stage.runtime) == set()


async def test_where_humans_may_not_link_themselves_the_agent_hears_the_command() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc, identity={"self_link": False}):
        assert await tell(tg, "/link", "ann") == "/link"


# -- codes that do not work ----------------------------------------------------------------------


async def test_a_code_works_once() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage:
        code = await ask_code(tg, "ann")
        await tell(dc, f"/link {code}", "77")
        assert await tell(dc, f"/link {code}", "thief") == commands.WRONG_CODE
        assert await tell(dc, f"/link {code}", "77") == commands.WRONG_CODE
        assert await linked(stage.runtime) == {"discord:77"}
        assert len(changes(stage.store)) == 1


async def test_a_code_is_worth_nothing_once_it_has_expired(mock_clock: MockClock) -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage:
        in_time, too_late = await ask_code(tg, "ann"), await ask_code(tg, "bob")
        await passes(mock_clock, LINK_CODE_S - 1)
        assert await tell(dc, f"/link {in_time}", "77") == commands.linked("telegram")
        await passes(mock_clock, 1)
        assert await tell(dc, f"/link {too_late}", "88") == commands.WRONG_CODE
        assert await linked(stage.runtime) == {"discord:77"}


async def test_the_next_code_voids_the_one_before() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc):
        before, after = await ask_code(tg, "ann"), await ask_code(tg, "ann")
        assert before != after
        assert await tell(dc, f"/link {before}", "77") == commands.WRONG_CODE
        assert await tell(dc, f"/link {after}", "77") == commands.linked("telegram")


async def test_ones_own_code_links_nothing_and_still_works_from_the_other_account() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage:
        code = await ask_code(tg, "ann")
        assert await tell(tg, f"/link {code}", "ann") == commands.OWN_CODE
        assert await linked(stage.runtime) == set()
        assert await tell(dc, f"/link {code}", "77") == commands.linked("telegram")


async def test_two_accounts_that_are_one_are_told_so_and_the_code_is_gone() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage:
        await tell(dc, f"/link {await ask_code(tg, 'ann')}", "77")
        code = await ask_code(dc, "77")
        assert await tell(tg, f"/link {code}", "ann") == commands.ALREADY_LINKED
        assert await tell(tg, f"/link {code}", "bob") == commands.WRONG_CODE
        assert len(changes(stage.store)) == 1


async def test_an_access_code_links_nobody() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc, channels={"dc": {"access": "code"}}) as stage:
        with pytest.raises(AccessDenied, match="do not know you"):
            await dc.receive("hi", conversation="dm-77", user_id="77")
        await wait_all_tasks_blocked()
        code = code_in(dc.sent[-1].text)
        assert await tell(tg, f"/link {code}", "ann") == commands.WRONG_CODE
        assert await linked(stage.runtime) == set()


async def test_a_stranger_whom_the_door_keeps_out_redeems_no_code() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc, channels={"dc": {"access": "allowlist"}}) as stage:
        code = await ask_code(tg, "ann")
        with pytest.raises(AccessDenied, match="cannot talk with you"):
            await dc.receive(f"/link {code}", conversation="dm-77", user_id="77")
        await wait_all_tasks_blocked()
        assert dc.sent == []
        assert await linked(stage.runtime) == set()


# -- groups --------------------------------------------------------------------------------------


async def test_a_code_that_was_posted_in_a_group_is_void() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage:
        code = await ask_code(tg, "ann")
        await dc.receive(f"/link {code}", conversation="g", user_id="77", direct=False)
        await wait_all_tasks_blocked()
        assert dc.sent[-1].text == commands.NOT_IN_GROUPS
        for thief in ("77", "88"):
            assert await tell(dc, f"/link {code}", thief) == commands.WRONG_CODE
        assert await linked(stage.runtime) == set()


@pytest.mark.parametrize(
    "rules",
    [
        {"allowed_conversations": ["another"]},
        {"denied_users": ["77"]},
        {"access": "allowlist", "allowed_users": ["88"]},
    ],
    ids=["closed group", "denied human", "allowlist"],
)
async def test_a_code_that_was_posted_where_nobody_is_answered_is_void_too(
    rules: dict[str, object],
) -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc, channels={"dc": rules}) as stage:
        code = await ask_code(tg, "ann")
        with pytest.raises(AccessDenied, match="Sorry"):
            await dc.receive(f"/link {code}", conversation="g", user_id="77", direct=False)
        await wait_all_tasks_blocked()
        assert dc.sent == []
        assert await tell(tg, f"/link {code}", "bob") == commands.WRONG_CODE
        assert await linked(stage.runtime) == set()


@pytest.mark.parametrize("text", ["/link", "/unlink", "/link ABCD-EFGH"])
async def test_no_command_about_oneself_is_carried_out_in_a_group(text: str) -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage:
        await tell(dc, f"/link {await ask_code(tg, 'ann')}", "77")
        await dc.receive(text, conversation="g", user_id="77", direct=False)
        await wait_all_tasks_blocked()
        assert dc.sent[-1].text == commands.NOT_IN_GROUPS
        assert await linked(stage.runtime) == {"discord:77"}
        assert stage.store.scan(Table.CODES, b"l", b"m", limit=2) == []


# -- guessing ------------------------------------------------------------------------------------


async def test_whoever_guesses_is_locked_out_and_not_even_the_right_code_works(
    mock_clock: MockClock,
) -> None:
    disk, (tg, dc) = MemoryDisk(), two_channels()
    async with on_stage(echo, tg, dc, disk=disk) as stage:
        code = await ask_code(tg, "ann")
        for wrong in wrong_codes(MAX_WRONG - 1):
            assert await tell(dc, f"/link {wrong}", "77") == commands.WRONG_CODE
        assert await tell(dc, "/link what?", "77") == commands.WRONG_CODE  # no guess
        last = wrong_codes(MAX_WRONG)[-1]
        assert await tell(dc, f"/link {last}", "77") == commands.locked(LOCKED_S)
        assert await tell(dc, f"/link {code}", "77") == commands.locked(LOCKED_S)
        assert await linked(stage.runtime) == set()

    tg, dc = two_channels()
    async with on_stage(echo, tg, dc, disk=disk):
        assert (await tell(dc, f"/link {code}", "77")).startswith("There were too many wrong codes")
        assert await tell(dc, f"/link {code}", "88") == commands.linked("telegram")
        code = await ask_code(tg, "bob")
        await passes(mock_clock, LOCKED_S)
        assert await tell(dc, f"/link {code}", "77") == commands.linked("telegram")


@pytest.mark.usefixtures("mock_clock")
async def test_guesses_and_codes_of_ones_own_count_together() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc):
        guesses = wrong_codes(MAX_WRONG)
        for wrong in guesses[:-1]:
            await tell(dc, f"/link {wrong}", "77")
        await tell(dc, f"/link {await ask_code(tg, 'mine')}", "77")
        assert "too many wrong codes" in await tell(dc, f"/link {guesses[-1]}", "77")


async def test_one_identity_gets_few_codes_and_its_last_one_goes_on_working(
    mock_clock: MockClock,
) -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc):
        codes: list[str] = []
        for _ in range(MAX_ISSUED):
            codes.append(await ask_code(tg, "ann"))
            await passes(mock_clock, BETWEEN_S)
        assert await tell(tg, "/link", "ann") == commands.TOO_MANY_CODES
        assert await tell(dc, f"/link {codes[-1]}", "77") == commands.linked("telegram")
        await passes(mock_clock, WINDOW_S)
        await ask_code(tg, "ann")


async def test_when_as_many_codes_wait_as_can_the_next_human_is_asked_to_come_back(
    mock_clock: MockClock,
) -> None:
    disk, (tg, dc) = MemoryDisk(), two_channels()
    for number in range(MAX_PENDING):
        let_wait(disk, f"u{number}")
    async with on_stage(echo, tg, dc, disk=disk) as stage:
        assert await tell(tg, "/link", "late") == commands.TRY_LATER
        assert len(stage.store.scan(Table.CODES, b"l", b"m", limit=2_000)) == MAX_PENDING
        again = await ask_code(tg, "u7")  # in the place of the one before
        other = await ask_code(dc, "elsewhere")  # another instance has a queue of its own
        assert await tell(dc, f"/link {again}", "77") == commands.linked("telegram")
        assert await tell(tg, f"/link {other}", "u8") == commands.linked("discord")
        await passes(mock_clock, LINK_CODE_S)
        await ask_code(tg, "late")
        assert len(stage.store.scan(Table.CODES, b"l", b"m", limit=2_000)) == 1


# -- at once, and again --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
async def test_of_many_who_send_one_code_at_once_one_is_linked(seed: int) -> None:
    rng = Random(seed)
    tg, dc = two_channels()

    async def redeem(number: int, code: str) -> None:
        for _ in range(rng.randrange(5)):
            await trio.lowlevel.checkpoint()
        await dc.receive(f"/link {code}", conversation=f"dm-{number}", user_id=str(number))

    async with on_stage(echo, tg, dc) as stage:
        code = await ask_code(tg, "ann")
        async with trio.open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(redeem, number, code)
        await wait_all_tasks_blocked()
        texts = [message.text for message in dc.sent]
        assert sorted(texts) == sorted(
            [commands.linked("telegram"), *[commands.WRONG_CODE] * 15]
        ), f"seed {seed}"
        assert len(await linked(stage.runtime)) == 1
        assert len(changes(stage.store)) == 1


async def test_a_command_that_is_delivered_again_changes_and_says_nothing() -> None:
    disk, (tg, dc) = MemoryDisk(), two_channels()

    async def redeliver(text: str) -> bool:
        accepted = await dc.receive(text, conversation="dm-77", user_id="77", message_id=text)
        await wait_all_tasks_blocked()
        return accepted.duplicate

    async with on_stage(echo, tg, dc, disk=disk) as stage:
        redeem = f"/link {await ask_code(tg, 'ann')}"
        for text in ("/link", redeem, "/unlink"):
            assert not await redeliver(text)
        after = len(dc.sent), len(tg.sent), changes(stage.store)
        codes = stage.store.scan(Table.CODES, limit=100)
        for text in ("/link", redeem, "/unlink"):
            assert await redeliver(text)
        assert (len(dc.sent), len(tg.sent), changes(stage.store)) == after
        assert stage.store.scan(Table.CODES, limit=100) == codes
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc, disk=disk):
        assert await redeliver(redeem)
        assert dc.sent == []


async def test_the_id_of_a_command_is_no_turns_id_and_the_other_way_round() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage:
        await tell(tg, "hi", "ann")
        await tg.receive("/link", conversation="dm-ann", user_id="ann", message_id="m1")
        with pytest.raises(MessageIdReused):
            await tg.receive("hello", conversation="dm-ann", user_id="ann", message_id="m1")
        assert said(stage.store)[0] == ["hi"]


async def test_who_floods_commands_is_put_off_and_holds_nobody_up(
    mock_clock: MockClock,
) -> None:
    tg, dc = two_channels()
    put_off = 0
    async with on_stage(echo, tg, dc):
        for number in range(200):
            try:
                await tg.receive(
                    ["/link", "/unlink", "/link ABCD-EFGH"][number % 3],
                    conversation="dm-flood",
                    user_id="flood",
                )
            except Overloaded:
                put_off += 1
        await wait_all_tasks_blocked()
        assert len(tg.sent) == 200 - put_off == 10
        assert await tell(tg, "hello", "flood") == "hello"  # turns are not commands
        await ask_code(tg, "ann")
        await passes(mock_clock, BETWEEN_S)
        await tell(tg, "/unlink", "flood")


@pytest.mark.usefixtures("mock_clock")
async def test_guesses_from_many_identities_are_put_off_on_that_instance_alone() -> None:
    tg, dc = two_channels()
    looked_at = 0
    async with on_stage(echo, tg, dc):
        code = await ask_code(tg, "ann")
        for number, guess in enumerate(wrong_codes(100)):
            try:
                await dc.receive(f"/link {guess}", conversation=f"dm-{number}", user_id=f"{number}")
            except Overloaded:
                continue
            looked_at += 1
        assert looked_at == 20
        assert await tell(tg, f"/link {code}", "bob") == commands.linked("telegram")
        await ask_code(dc, "77")  # no guess
