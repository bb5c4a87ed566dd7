"""`send` and `deliveries retry --mark-duplicate`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turnkeeper.commands.base import Exit

from .gateway import Gateway

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys)


async def _two_people(gateway: Gateway) -> None:
    tg = gateway.channels["tg"]
    for number in (1, 2):
        await tg.receive("hi", conversation=f"c{number}", user_id=f"{number}")
        await tg.next_sent()


async def test_a_message_goes_to_the_active_channel_and_tells_what_became_of_it(
    gateway: Gateway,
) -> None:
    async with gateway.up():
        await _two_people(gateway)
        code, out, _ = await gateway.run("send", "s1", "The build is green.")
        sent = gateway.channels["tg"].sent[-1]
        assert (code, sent.conversation, sent.text) == (Exit.OK, "c1", "The build is green.")
        assert out.splitlines()[0] == "delivered"
        assert sent.message_id in out
        assert "not needed" in out


async def test_a_message_into_anothers_conversation_names_who_has_the_note(
    gateway: Gateway,
) -> None:
    async with gateway.up():
        await _two_people(gateway)
        code, out, _ = await gateway.run("send", "s1", "psst", "--to", "tg/c2", "--json")
        outcome = json.loads(out)
        assert code == Exit.OK
        assert (outcome["status"], outcome["provenance"]) == ("delivered", "recorded")
        assert outcome["noted_in"] == "s2"
        code, out, _ = await gateway.run("explain", outcome["delivery_id"])
        assert "asked for by the operator" in out
        assert "it goes to tg/c2, as asked" in out
        assert "its note is s2/" in out


async def test_a_user_is_reached_where_they_last_wrote(gateway: Gateway) -> None:
    async with gateway.up():
        await _two_people(gateway)
        assert gateway.runtime is not None
        await gateway.runtime.link("telegram", "2", "alice")
        code, _, err = await gateway.run("send", "s1", "Lunch?", "--user", "alice")
        assert (code, err) == (Exit.OK, "")
        assert gateway.channels["tg"].sent[-1].conversation == "c2"
        code, out, _ = await gateway.run("send", "s1", "Lunch?", "--user", "nobody")
        assert (code, out.splitlines()[0]) == (Exit.FAILED, "failed (no_recipient)")


async def test_a_dry_run_sends_nothing_and_tells_where_it_would_go(gateway: Gateway) -> None:
    async with gateway.up():
        await _two_people(gateway)
        before = len(gateway.channels["tg"].sent)
        code, out, _ = await gateway.run("send", "s1", "x", "--to", "tg/c2", "--dry-run")
        assert code == Exit.OK
        assert "it would go to tg/c2 (address)" in out
        assert "s2 owns that conversation, and would have a note of it" in out
        code, out, _ = await gateway.run("send", "s1", "x", "--to", "tg/c9", "--dry-run")
        assert (code, out.splitlines()[0]) == (Exit.FAILED, "it would fail: no_recipient")
        assert len(gateway.channels["tg"].sent) == before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("s99", "hi"), "there is no session 's99'"),
        (("s1", " "), "the text is empty"),
        (("s1", "hi", "--to", "tg"), "--to must be INSTANCE/CONVERSATION"),
        (("s1", "hi", "--to", "tg/c1", "--user", "alice"), "give --to or --user"),
    ],
)
async def test_what_makes_no_sense_is_named(
    gateway: Gateway, words: tuple[str, ...], complaint: str
) -> None:
    async with gateway.up():
        await _two_people(gateway)
        code, out, err = await gateway.run("send", *words)
        assert code in (Exit.NOT_FOUND, Exit.USAGE)
        assert out == ""
        assert complaint in err


async def test_what_may_have_arrived_is_sent_again_only_on_purpose(gateway: Gateway) -> None:
    async with gateway.up():
        await _two_people(gateway)
        tg = gateway.channels["tg"]
        tg.fail_next("timeout_after_send")
        code, out, _ = await gateway.run("send", "s1", "perhaps", "--json")
        outcome = json.loads(out)
        assert (code, outcome["status"]) == (Exit.FAILED, "unknown")
        count = len(tg.sent)
        code, _, err = await gateway.run("deliveries", "retry", outcome["delivery_id"])
        assert code == Exit.FAILED
        assert "--mark-duplicate" in err
        assert len(tg.sent) == count
        code, _, _ = await gateway.run(
            "deliveries", "retry", outcome["delivery_id"], "--mark-duplicate"
        )
        assert (code, len(tg.sent)) == (Exit.OK, count + 1)


async def test_without_a_runtime_nothing_is_sent(gateway: Gateway) -> None:
    async with gateway.up():
        await _two_people(gateway)
    code, _, err = await gateway.run("send", "s1", "hi")
    assert code == Exit.STATE
    assert "no runtime runs" in err
