"""`sessions create` and `sessions clear`, with a runtime on the state directory and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import turnkeeper as tk
from turnkeeper.actors.messages import SessionId
from turnkeeper.commands.base import Exit

from .gateway import HOW, Gateway, echo

pytestmark = pytest.mark.timeout(120)

ANN = ("--platform", "telegram", "--user-id", "ann")


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys)


async def ann_writes(gateway: Gateway) -> None:
    await gateway.say("tg", "ann")


# --- create -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW)
async def test_a_created_session_is_there_without_a_conversation(
    gateway: Gateway, how: str
) -> None:
    async with gateway.after(ann_writes, how):
        out = await gateway.done("sessions", "create", "user-jason")
        assert out.splitlines()[0] == "session user-jason is there; agent main answers"
        created = json.loads(await gateway.done("sessions", "create", "other", "--json"))
        assert created == {"session_id": "other", "agent": "main"}
        info = json.loads(await gateway.done("sessions", "info", "user-jason", "--json"))
        assert (info["state"], info["agent"], info["records"]) == ("created", "main", 1)
    assert "no problems" in await gateway.done("verify")
    assert "by operator" in await gateway.done("sessions", "history", "user-jason")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("s1", "there is a session 's1' already"),
        ("s99", "such names are given by the runtime; choose another for a new one"),
        ("a b", "'a b' cannot name a session: 1 to 64 letters"),
        ("../etc", "cannot name a session"),
        ("x" * 65, "cannot name a session"),
    ],
)
async def test_a_name_that_is_none_or_is_taken_is_refused(
    gateway: Gateway, how: str, name: str, complaint: str
) -> None:
    async with gateway.after(ann_writes, how):
        assert complaint in await gateway.complaint(Exit.FAILED, "sessions", "create", name)


@pytest.mark.parametrize("how", HOW)
async def test_it_is_made_once(gateway: Gateway, how: str) -> None:
    async with gateway.after(ann_writes, how):
        await gateway.done("sessions", "create", "user-jason")
        again = await gateway.complaint(Exit.FAILED, "sessions", "create", "user-jason")
        assert again == "there is a session 'user-jason' already"


@pytest.mark.parametrize("how", HOW)
async def test_a_pair_leads_people_there(gateway: Gateway, how: str) -> None:
    async with gateway.after(ann_writes, how):
        await gateway.done("sessions", "create", "user-jason")
        paired = await gateway.done("channels", "pair", *ANN, "--session", "user-jason")
        assert "s1 → user-jason" in paired
        assert "opened" not in paired
    async with gateway.up() as runtime:
        await gateway.say("tg", "ann")
        (binding,) = await runtime.bindings()
        assert binding.session_id == "user-jason"


async def test_another_agent_may_answer_in_it_if_there_is_one(gateway: Gateway) -> None:
    async def helper(turn: tk.Turn) -> str:
        return turn.text.upper()

    async with gateway.up(agent=None, agents={"main": echo, "helper": helper}) as runtime:
        out = await gateway.done("sessions", "create", "support", "--agent", "helper")
        assert "agent helper answers" in out
        nobody = await gateway.complaint(
            Exit.FAILED, "sessions", "create", "else", "--agent", "nobody"
        )
        assert nobody == "there is no agent 'nobody'; there is: helper, main"
        assert (await runtime.session("support")).agent == "helper"
        created = await runtime.create_session("by-the-program")
        assert created == tk.Created(session_id=SessionId("by-the-program"), agent="main")
        with pytest.raises(tk.ActRefused, match="there is a session 'support' already"):
            await runtime.create_session("support")


async def test_numbers_are_given_on_behind_a_created_session(gateway: Gateway) -> None:
    async with gateway.up() as runtime:
        await gateway.done("sessions", "create", "first")
        await gateway.say("tg", "ann")
        assert [info.id for info in await runtime.sessions()] == ["s2", "first"]


# --- clear --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW)
async def test_a_cleared_context_begins_anew_and_the_log_stays(gateway: Gateway, how: str) -> None:
    async with gateway.after(ann_writes, how):
        out = await gateway.done("sessions", "clear", "s1")
        cleared = json.loads(await gateway.done("sessions", "clear", "s1", "--json"))
        unknown = await gateway.complaint(Exit.NOT_FOUND, "sessions", "clear", "s99")
    assert "there is no session 's99'" in unknown
    records = json.loads(await gateway.done("sessions", "history", "s1", "--json"))
    assert [record["kind"] for record in records[-3:]] == ["delivery", "clear", "clear"]
    last = records[-1]["seq"]
    assert out == f"the context of s1 begins after record {last - 1}; its log stays\n"
    assert cleared == {"session_id": "s1", "seq": last}
    assert "no problems" in await gateway.done("verify")


async def test_what_is_open_stays_open_when_it_is_cleared_at_rest(gateway: Gateway) -> None:
    async with gateway.up(config={"runtime": {"stop_deadline_s": 0.0}}):
        gateway.channels["tg"].hold()
        await gateway.channels["tg"].receive("hello", conversation="dm-ann", user_id="ann")
    before = json.loads(await gateway.done("sessions", "info", "s1", "--json"))
    await gateway.done("sessions", "clear", "s1")
    after = json.loads(await gateway.done("sessions", "info", "s1", "--json"))
    assert after["open_turns"] + after["open_deliveries"] > 0
    keys = ("open_turns", "open_deliveries", "active_channel", "last_active")
    assert [after[key] for key in keys] == [before[key] for key in keys]
    assert "no problems" in await gateway.done("verify")


async def test_a_list_is_put_in_words_that_are_true_of_one_session_and_of_none(
    gateway: Gateway,
) -> None:
    async with gateway.up():
        pass
    nothing = ": the first message of a conversation opens one\n"
    assert await gateway.done("sessions", "list") == f"no session yet{nothing}"
    await gateway.done("sessions", "create", "only")
    beyond = await gateway.done("sessions", "list", "--offset", "7")
    assert beyond == "--offset 7 passes over all: there is 1 session\n"
    assert (await gateway.done("verify")).startswith("1 session, ")
    await gateway.done("sessions", "delete", "only", "--yes")
    assert await gateway.done("sessions", "list") == f"no session any more{nothing}"


async def test_the_history_names_the_files_that_came(gateway: Gateway) -> None:
    async with gateway.up():
        tg = gateway.channels["tg"]
        picture = await tg.keep(b"a picture", kind="image", mime="image/png", name="cat\n.png")
        for text in ("look", ""):
            await tg.receive(text, attachments=(picture,))
        out = await gateway.done("sessions", "history", "s1")
        shown = '[attached: image "cat .png", image/png, 9 bytes]'
        assert f"  look ↵ {shown}\n" in out
        assert f"  {shown}\n" in out
