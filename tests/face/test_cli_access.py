import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from turnkeeper.actors.errors import AccessDenied

from .gateway import HOW, Gateway

BY_CODE: dict[str, Any] = {"channels": {"tg": {"access": "code"}}}


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys, config=BY_CODE)


async def knock(gateway: Gateway, name: str | None = "Eve") -> str:
    """A stranger writes; returns the code that they are given."""
    tg = gateway.channels["tg"]
    with suppress(AccessDenied):
        await tg.receive("hello", conversation="dm-eve", user_id="eve", user_name=name)
    code = re.search(r"approve (\S+)", (await tg.next_sent()).text)
    assert code is not None
    return code[1]


async def test_who_is_approved_is_named_let_in_and_told(gateway: Gateway) -> None:
    async with gateway.up():
        code = await knock(gateway)
        done = await gateway.done("access", "approve", code.lower().replace("-", " "))
        assert done == "approved: eve (Eve) may talk on tg\n"
        assert "let in" in (await gateway.channels["tg"].next_sent()).text
        assert await gateway.say("tg", "eve") == "telegram:eve said hello"
        again = await gateway.complaint(1, "access", "approve", code)
        assert "no such access code waits" in again
        assert code not in again


async def test_who_is_approved_at_rest_is_not_told_and_let_in_later(gateway: Gateway) -> None:
    async with gateway.up():
        code = await knock(gateway)
    code_, out, err = await gateway.run("access", "approve", code)
    assert (code_, out) == (0, "approved: eve (Eve) may talk on tg\n")
    assert "they are not told" in err
    async with gateway.up():
        assert await gateway.say("tg", "eve") == "telegram:eve said hello"


async def test_the_list_shows_who_waits_and_never_a_code(gateway: Gateway) -> None:
    async with gateway.up():
        code = await knock(gateway, name="system: approved\n\x1b[2J\u202e  99999")
        await gateway.done("access", "allow", "tg", "ann")
        await gateway.done("access", "revoke", "tg", "bob")
    out = await gateway.done("access", "list")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["INSTANCE", "USER", "STANDING", "SINCE", "EXPIRES", "NAME"]
    assert [line[:3] for line in lines[1:]] == [
        ["tg", "ann", "approved"],
        ["tg", "eve", "pending"],
        ["tg", "bob", "revoked"],
    ]
    assert len(out.splitlines()) == 4
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", out)
    found = json.loads(await gateway.done("access", "list", "--json"))
    assert [list(entry) for entry in found] == [
        ["instance", "user_id", "standing", "user_name", "since", "expires"]
    ] * 3
    for spelling in (code, code.replace("-", "")):
        assert spelling not in out + json.dumps(found)


@pytest.mark.parametrize("how", HOW)
async def test_somebody_is_let_in_and_shown_out_by_id(how: str, gateway: Gateway) -> None:
    async def scene(gateway: Gateway) -> None:
        assert gateway.runtime is not None
        await gateway.runtime.allow("tg", "ann")
        await gateway.say("tg", "ann")

    async with gateway.after(scene, how):
        assert await gateway.done("access", "revoke", "tg", "ann") == (
            "revoked: ann may no longer talk on tg\n"
        )
        done = json.loads(await gateway.done("access", "allow", "tg", "carl", "--json"))
        assert list(done) == ["instance", "user_id", "standing", "user_name", "at"]
        assert (done["instance"], done["user_id"], done["standing"]) == ("tg", "carl", "approved")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", done["at"])


async def test_live_an_instance_that_is_not_there_is_named(gateway: Gateway) -> None:
    async with gateway.up():
        complaint = await gateway.complaint(1, "access", "allow", "web", "ann")
    assert complaint == "there is no channel 'web'; there is: dc, tg"


async def test_at_rest_the_platform_comes_from_the_file_or_from_who_wrote(
    tmp_path: Path, gateway: Gateway
) -> None:
    config = tmp_path / "tk.toml"
    config.write_text('[channels.web]\nkind = "websocket"\n', encoding="utf-8")
    async with gateway.up():
        await gateway.say("dc", "bob")
    await gateway.done("access", "revoke", "dc", "bob")
    complaint = await gateway.complaint(1, "access", "revoke", "web", "ann")
    assert "of which platform 'web' is" in complaint
    assert "--config" in complaint
    await gateway.done("access", "revoke", "web", "ann", "--config", config)


async def test_at_rest_an_id_is_brought_into_the_form_of_its_platform(gateway: Gateway) -> None:
    gateway.config, gateway.platforms = None, {"wa": "whatsapp"}
    async with gateway.up():
        await gateway.say("wa", "15551234567")
    done = await gateway.done("access", "revoke", "wa", "+1 (555) 123-4567")
    assert done == "revoked: 15551234567 may no longer talk on wa\n"


@pytest.mark.parametrize("user_id", ["", " ann", "a\u200bnn"])
async def test_an_id_that_only_looks_right_is_not_let_in(user_id: str, gateway: Gateway) -> None:
    async with gateway.up():
        assert "USER_ID" in await gateway.complaint(2, "access", "allow", "tg", user_id)


async def test_what_was_not_let_in_is_listed_with_the_rule(gateway: Gateway) -> None:
    nobody = await gateway.complaint(3, "access", "refused")
    assert "no runtime runs" in nobody
    async with gateway.up():
        assert await gateway.done("access", "refused") == "everybody was let in since the start\n"
        await knock(gateway)
        tg = gateway.channels["tg"]
        with suppress(AccessDenied):
            await tg.receive(
                "psst",
                conversation="g\x1b",
                thread="t",
                user_id="mal",
                message_id="m",
                direct=False,
            )
        lines = (await gateway.done("access", "refused")).splitlines()
        assert lines[0].split() == ["TIME", "WHERE", "USER", "RULE", "MESSAGE"]
        assert re.search(r" tg/dm-eve +eve +access code +in-", lines[1])
        assert re.search(r" tg/g\\x1b/t +mal +access code +m$", lines[2])
        newest = (await gateway.done("access", "refused", "--limit", "1")).splitlines()
        assert newest[0] == "… 1 earlier; --limit 0 lists all"
        found = json.loads(await gateway.done("access", "refused", "--json"))
    assert [list(entry) for entry in found] == [
        ["at", "instance", "conversation", "thread", "message_id", "platform", "user_id", "rule"]
    ] * 2


@pytest.mark.parametrize("code", ["", "nonsense", "ABCD-EFGH", "ABCD-EFGH-JKLM", "\x1b[2J"])
async def test_a_code_that_nobody_has_is_refused(code: str, gateway: Gateway) -> None:
    async with gateway.up():
        await knock(gateway)
    assert "code" in await gateway.complaint(1, "access", "approve", code)
    (waiting,) = json.loads(await gateway.done("access", "list", "--json"))
    assert waiting["standing"] == "pending"
