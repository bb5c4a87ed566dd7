"""Nobody talks to the agent, or hears from it, but whom the rules and the operator let in."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import AccessDenied, ActRefused, Turn
from turnkeeper.actors.core import commands
from turnkeeper.actors.core.codes import ACCESS_CODE_S, MAX_ISSUED, MAX_PENDING
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.errors import SessionDamaged
from turnkeeper.actors.ledger import access_key
from turnkeeper.storage.base import Reads, Table
from turnkeeper.storage.keys import table_key
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from .stage import echo, log, on_stage, said
from .test_self_link import BETWEEN_S, code_in, let_wait, passes, tell

OPEN = {"access": "open"}
LIST = {"access": "allowlist", "allowed_users": ["ann"]}
CODE = {"access": "code", "allowed_users": ["ann"]}


def rules(section: dict[str, Any]) -> dict[str, Any]:
    return {"channels": {"tg": section}}


async def knock(tg: LoopbackChannel, user_id: str, text: str = "hi") -> str | None:
    """A stranger writes and is refused; what they are told, if anything."""
    await wait_all_tasks_blocked()
    seen = len(tg.sent)
    with pytest.raises(AccessDenied):
        await tg.receive(text, conversation=f"dm-{user_id}", user_id=user_id)
    await wait_all_tasks_blocked()
    told = [message.text for message in tg.sent[seen:]]
    return told[0] if told else None


async def knock_for_code(tg: LoopbackChannel, user_id: str) -> str:
    told = await knock(tg, user_id)
    assert told is not None
    return code_in(told)


async def is_let_in(tg: LoopbackChannel, user_id: str, *, direct: bool = True) -> bool:
    place = f"dm-{user_id}" if direct else "group"
    try:
        await tg.receive("may I?", conversation=place, user_id=user_id, direct=direct)
    except AccessDenied:
        return False
    return True


def outcomes(store: Reads) -> list[tuple[str, str | None]]:
    return [(r.status, r.reason) for r in log(store) if isinstance(r, DeliveryRecord)]


# -- who is let in -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "ann_dm", "bob_dm", "ann_group", "bob_group"),
    [
        (OPEN, True, True, True, True),
        (LIST, True, False, False, False),
        (CODE, True, False, False, False),
        ({**OPEN, "allowed_conversations": []}, True, True, False, False),
        ({**LIST, "allowed_conversations": ["group"]}, True, False, True, True),
        ({**CODE, "allowed_conversations": ["group"]}, True, False, True, True),
        ({**OPEN, "denied_users": ["bob"]}, True, False, True, False),
        ({**LIST, "denied_users": ["ann"]}, False, False, False, False),
        (
            {**OPEN, "allowed_conversations": ["group"], "denied_users": ["ann"]},
            False,
            True,
            False,
            True,
        ),
    ],
)
async def test_who_is_let_in_where(
    section: dict[str, Any], ann_dm: bool, bob_dm: bool, ann_group: bool, bob_group: bool
) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(section)) as stage:
        assert await is_let_in(tg, "ann") is ann_dm
        assert await is_let_in(tg, "bob") is bob_dm
        assert await is_let_in(tg, "ann", direct=False) is ann_group
        assert await is_let_in(tg, "bob", direct=False) is bob_group
        refused = [ann_dm, bob_dm, ann_group, bob_group].count(False)
        assert len(await stage.runtime.refusals()) == refused


@pytest.mark.parametrize("section", [LIST, CODE], ids=["allowlist", "code"])
async def test_a_grant_to_a_human_never_opens_a_group(section: dict[str, Any]) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(section)) as stage:
        await stage.runtime.allow("tg", "bob")
        assert await is_let_in(tg, "bob")
        for user_id in ("ann", "bob"):
            assert not await is_let_in(tg, user_id, direct=False)


async def test_denied_users_are_kept_out_whatever_was_granted() -> None:
    section = {**CODE, "denied_users": ["bob"]}
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(section)) as stage:
        await stage.runtime.allow("tg", "bob")
        assert await knock(tg, "bob") is None
        await stage.runtime.revoke("tg", "ann")  # who is on the list
        assert not await is_let_in(tg, "ann")


async def test_a_grant_at_one_instance_opens_no_other() -> None:
    tg, tg2 = (LoopbackChannel(name, platform="telegram") for name in ("tg", "tg2"))
    async with on_stage(echo, tg, tg2, channels={"tg": CODE, "tg2": CODE}) as stage:
        await stage.runtime.approve(await knock_for_code(tg, "bob"))
        assert await is_let_in(tg, "bob")
        assert not await is_let_in(tg2, "bob")


async def test_a_stranger_reaches_neither_agent_nor_history() -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(CODE)) as stage:
        await knock(tg, "bob")
        assert await stage.runtime.sessions() == []
        assert await stage.runtime.bindings() == []


# -- access codes --------------------------------------------------------------------------------


async def test_who_is_approved_is_told_and_let_in_and_still_is_after_a_restart() -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk, **rules(CODE)) as stage:
        code = await knock_for_code(tg, "bob")
        assert [(e.user_id, e.standing) for e in await stage.runtime.access()] == [
            ("bob", "pending")
        ]
        entry = await stage.runtime.approve(code.lower().replace("-", " "))
        assert (entry.instance, entry.user_id, entry.standing) == ("tg", "bob", "approved")
        await wait_all_tasks_blocked()
        assert tg.sent[-1].text == commands.APPROVED
        assert await is_let_in(tg, "bob")
        with pytest.raises(ActRefused, match="no such access code"):
            await stage.runtime.approve(code)
        await stage.runtime.revoke("tg", "ann")
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk, **rules(CODE)) as stage:
        assert await is_let_in(tg, "bob")
        assert not await is_let_in(tg, "ann")
        assert not await is_let_in(tg, "eve")


async def test_an_access_code_expires_and_the_one_before_it_is_void(
    mock_clock: MockClock,
) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(CODE)) as stage:
        before, after = await knock_for_code(tg, "bob"), await knock_for_code(tg, "bob")
        with pytest.raises(ActRefused, match="no such access code"):
            await stage.runtime.approve(before)
        await passes(mock_clock, ACCESS_CODE_S)
        assert await stage.runtime.access() == []
        with pytest.raises(ActRefused, match="too old"):
            await stage.runtime.approve(after)


async def test_a_link_code_lets_nobody_in() -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(CODE)) as stage:
        code = code_in(await tell(tg, "/link", "ann"))
        with pytest.raises(ActRefused, match="no such access code"):
            await stage.runtime.approve(code)


@pytest.mark.parametrize("code", ["", "ABCD", "ABCD-EFG0", "x" * 10_000, "ABCD-EFGH\n", "АBCDEFGH"])
async def test_what_is_no_code_approves_nobody(code: str) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(CODE)) as stage:
        await knock(tg, "bob")
        with pytest.raises(ActRefused, match="no access code"):
            await stage.runtime.approve(code)


async def test_a_flood_of_knocks_brings_few_codes_and_few_notices(
    mock_clock: MockClock,
) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(CODE)) as stage:
        told = [await knock(tg, "bob") for _ in range(200)]
        assert len([text for text in told if text is not None]) == 10
        assert told[:MAX_ISSUED].count(commands.TOO_MANY_CODES) == 0
        assert set(told[MAX_ISSUED:]) == {commands.TOO_MANY_CODES, None}
        assert len(stage.store.scan(Table.CODES, b"a", b"b", limit=10)) == 1
        last = next(text for text in reversed(told[:MAX_ISSUED]) if text is not None)
        await passes(mock_clock, BETWEEN_S)
        await stage.runtime.approve(code_in(last))
        assert await is_let_in(tg, "bob")


async def test_as_many_strangers_wait_at_an_instance_as_can(mock_clock: MockClock) -> None:
    tg, tg2 = LoopbackChannel("tg"), LoopbackChannel("tg2")
    disk = MemoryDisk()
    fill_with_strangers(disk)
    async with on_stage(echo, tg, tg2, disk=disk, channels={"tg": CODE, "tg2": CODE}) as stage:
        assert await knock(tg, "late") == commands.TRY_LATER
        await knock_for_code(tg2, "late")
        first = await knock_for_code(tg, "u0")  # in the place of the one before
        await stage.runtime.approve(first)
        assert await is_let_in(tg, "u0")
        await passes(mock_clock, BETWEEN_S)
        await knock_for_code(tg, "late")


def fill_with_strangers(disk: MemoryDisk) -> None:
    for number in range(MAX_PENDING):
        let_wait(disk, f"u{number}", "access", "loopback")


# -- what is withheld ----------------------------------------------------------------------------


async def test_who_is_revoked_in_the_middle_of_a_turn_gets_no_reply() -> None:
    go_on = trio.Event()

    async def agent(turn: Turn) -> str:
        if turn.text == "slow":
            await go_on.wait()
        return f"re {turn.text}"

    async with on_stage(agent, tg := LoopbackChannel("tg"), **rules(LIST)) as stage:
        await tg.receive("slow", conversation="dm-ann", user_id="ann")
        await wait_all_tasks_blocked()
        await stage.runtime.revoke("tg", "ann")
        go_on.set()
        await wait_all_tasks_blocked()
        assert tg.sent == []
        assert outcomes(stage.store) == [("failed", "revoked")]
        assert said(stage.store) == (["slow"], ["re slow"])
        assert not await is_let_in(tg, "ann")
        outcome = await stage.runtime.send_message("s1", "psst")
        assert (outcome.status, outcome.reason) == ("failed", "revoked")
        assert tg.sent == []


async def test_who_is_revoked_while_a_reply_waits_for_a_retry_does_not_get_it(
    mock_clock: MockClock,
) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(LIST)) as stage:
        tg.fail_next("rate_limited", retry_after_s=60.0)
        await tg.receive("hi", conversation="dm-ann", user_id="ann")
        await wait_all_tasks_blocked()
        await stage.runtime.revoke("tg", "ann")
        await passes(mock_clock, 120)
        assert tg.sent == []
        assert outcomes(stage.store)[-1] == ("failed", "revoked")


async def test_who_is_revoked_before_an_approval_is_told_does_not_hear_of_it(
    mock_clock: MockClock,
) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(CODE)) as stage:
        code = await knock_for_code(tg, "bob")
        seen = len(tg.sent)
        tg.fail_next("rate_limited", retry_after_s=60.0)
        await stage.runtime.approve(code)
        await wait_all_tasks_blocked()
        await stage.runtime.revoke("tg", "bob")
        await passes(mock_clock, 120)
        assert tg.sent[seen:] == []


@pytest.mark.parametrize("how", ["revoked", "denied", "closed"])
async def test_a_code_is_not_told_to_a_stranger_who_was_shut_out_before_it_left(
    how: str, mock_clock: MockClock
) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(CODE)) as stage:
        tg.fail_next("rate_limited", retry_after_s=60.0)
        assert await knock(tg, "bob") is None
        if how == "revoked":
            await stage.runtime.revoke("tg", "bob")
        else:
            section = {**CODE, "denied_users": ["bob"]} if how == "denied" else LIST
            await stage.runtime.reload(rules(section))
        await passes(mock_clock, 120)
        assert tg.sent == []


async def test_a_code_that_waited_is_told_to_a_stranger_who_is_one_still(
    mock_clock: MockClock,
) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(CODE)):
        tg.fail_next("rate_limited", retry_after_s=60.0)
        assert await knock(tg, "bob") is None
        await passes(mock_clock, 120)
        assert len(tg.sent) == 1
        assert code_in(tg.sent[0].text)


@pytest.mark.parametrize("text", ["/link", "/link ABCD-EFGH", "/unlink"])
@pytest.mark.parametrize("section", [LIST, CODE])
async def test_a_command_of_who_was_shut_out_meanwhile_is_not_answered(
    section: dict[str, Any], text: str, mock_clock: MockClock
) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), **rules(section)) as stage:
        tg.fail_next("rate_limited", retry_after_s=60.0)
        await tg.receive(text, conversation="dm-ann", user_id="ann")
        await wait_all_tasks_blocked()
        await stage.runtime.revoke("tg", "ann")
        await passes(mock_clock, 120)
        assert tg.sent == []


async def test_who_is_revoked_in_a_group_is_not_answered_there_and_others_are() -> None:
    go_on = trio.Event()

    async def agent(turn: Turn) -> str:
        await go_on.wait()
        return f"re {turn.text}"

    async with on_stage(agent, tg := LoopbackChannel("tg"), **rules(OPEN)) as stage:
        for user_id in ("ann", "bob"):
            await tg.receive(user_id, conversation="g", user_id=user_id, direct=False)
        await stage.runtime.revoke("tg", "ann")
        go_on.set()
        await wait_all_tasks_blocked()
        assert [message.text for message in tg.sent] == ["re bob"]


async def test_who_is_no_longer_on_the_list_gets_no_reply() -> None:
    go_on = trio.Event()

    async def agent(_turn: Turn) -> str:
        await go_on.wait()
        return "secret"

    async with on_stage(agent, tg := LoopbackChannel("tg"), **rules(LIST)) as stage:
        await tg.receive("hi", conversation="dm-ann", user_id="ann")
        await wait_all_tasks_blocked()
        await stage.runtime.reload(rules({"access": "allowlist", "allowed_users": ["bob"]}))
        go_on.set()
        await wait_all_tasks_blocked()
        assert tg.sent == []
        assert outcomes(stage.store) == [("failed", "not_allowed")]


@pytest.mark.parametrize("how", ["revoked", "denied", "off the list"])
async def test_the_link_code_of_who_is_shut_out_since_works_no_more(how: str) -> None:
    tg, dc = LoopbackChannel("tg", platform="telegram"), LoopbackChannel("dc", platform="discord")
    async with on_stage(echo, tg, dc, **rules(LIST)) as stage:
        code = code_in(await tell(tg, "/link", "ann"))
        told = len(tg.sent)
        match how:
            case "revoked":
                await stage.runtime.revoke("tg", "ann")
            case "denied":
                await stage.runtime.reload(rules({**LIST, "denied_users": ["ann"]}))
            case _:
                await stage.runtime.reload(rules({"access": "allowlist"}))
        assert await tell(dc, f"/link {code}", "77") == commands.WRONG_CODE
        assert await stage.runtime.links() == []
        assert len(tg.sent) == told


# -- what cannot be read -------------------------------------------------------------------------


def rot(disk: MemoryDisk, table: Table, key: bytes) -> bytes:
    """Flip a bit of what is stored there; what it is now."""
    stored = table_key(table, key)
    value = disk.tables.get(stored)
    assert value is not None
    rotten = value[:-1] + bytes([value[-1] ^ 1])
    disk.tables.put(stored, rotten)
    return rotten


@pytest.mark.parametrize("section", [OPEN, LIST, CODE], ids=["open", "allowlist", "code"])
async def test_a_standing_that_cannot_be_read_lets_nobody_in(section: dict[str, Any]) -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk, **rules(section)) as stage:
        await stage.runtime.allow("tg", "ann")
        await tg.receive("hi", conversation="dm-ann", user_id="ann")
        await tg.next_sent()
    rotten = rot(disk, Table.ACCESS, access_key("tg", "ann"))
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk, **rules(section)) as stage:
        with pytest.raises(SessionDamaged):
            await tg.receive("hi", conversation="dm-ann", user_id="ann")
        outcome = await stage.runtime.send_message("s1", "psst")
        assert (outcome.status, outcome.reason) == ("failed", "unreadable")
        await wait_all_tasks_blocked()
        assert tg.sent == []
        assert stage.store.get(Table.ACCESS, access_key("tg", "ann")) == rotten
        await stage.runtime.allow("tg", "bob")  # others are as they were
        assert await is_let_in(tg, "bob")


async def test_the_standing_of_somebody_else_in_ones_place_lets_nobody_in() -> None:
    disk = MemoryDisk()
    async with on_stage(echo, LoopbackChannel("tg"), disk=disk, **rules(CODE)) as stage:
        await stage.runtime.allow("tg", "bob")
    granted = disk.tables.get(table_key(Table.ACCESS, access_key("tg", "bob")))
    assert granted is not None
    disk.tables.put(table_key(Table.ACCESS, access_key("tg", "eve")), granted)
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk, **rules(CODE)):
        with pytest.raises(SessionDamaged):
            await tg.receive("hi", conversation="dm-eve", user_id="eve")
        assert await is_let_in(tg, "bob")


@pytest.mark.parametrize("prefix", [b"l", b"a", b"t"], ids=["link", "access", "attempts"])
async def test_codes_that_cannot_be_read_let_nobody_in_and_turns_go_on(prefix: bytes) -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk, **rules(CODE)) as stage:
        link_code = code_in(await tell(tg, "/link", "ann"))
        access_code = await knock_for_code(tg, "bob")
        for key, _ in stage.store.scan(Table.CODES, limit=10):
            if key.startswith(prefix):
                rot(disk, Table.CODES, key)
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk, **rules(CODE)) as stage:
        assert await tell(tg, "hello", "ann") == "hello"
        if prefix == b"a":
            with pytest.raises(ActRefused):
                await stage.runtime.approve(access_code)
        elif prefix == b"l":
            said = await tell(tg, f"/link {link_code}", "ann")
            assert said == commands.WRONG_CODE  # and no other code suffers
        else:
            with pytest.raises(SessionDamaged):
                await tg.receive(f"/link {link_code}", conversation="dm-ann", user_id="ann")
        assert not await is_let_in(tg, "bob")
        assert await stage.runtime.links() == []
        assert await tell(tg, "hello again", "ann") == "hello again"
