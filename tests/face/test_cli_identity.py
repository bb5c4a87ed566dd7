import json
import re
from pathlib import Path

import pytest

from turnkeeper.actors.messages import SessionId

from .gateway import HOW, Gateway

LINK = ("identity", "link", "--user", "alice")
ANN = ("--platform", "telegram", "--user-id", "ann")
BOB = ("--platform", "discord", "--user-id", "bob")


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys)


async def two_strangers(gateway: Gateway) -> None:
    """s1: ann on tg; s2: bob on dc."""
    await gateway.say("tg", "ann")
    await gateway.say("dc", "bob")


async def ann_is_alice(gateway: Gateway) -> None:
    await two_strangers(gateway)
    assert gateway.runtime is not None
    await gateway.runtime.link("telegram", "ann", "alice", by="operator")


@pytest.mark.parametrize("how", HOW)
async def test_a_link_says_what_moved_and_how_to_take_it_back(how: str, gateway: Gateway) -> None:
    async with gateway.after(ann_is_alice, how):
        would = (await gateway.done(*LINK, *BOB, "--dry-run")).splitlines()
        assert would == [
            "this would be: discord:bob is alice",
            "  conversation    dc/dm-bob  s2 → s1, version 2",
            "  history         s2         joins s1, 6 records",
            "  active channel  s2         dc/dm-bob → none",
            "  active channel  s1         tg/dm-ann → dc/dm-bob",
            "nothing was changed: this was a dry run",
        ]
        assert len((await gateway.done("identity", "changes")).splitlines()) == 2
        did = (await gateway.done(*LINK, *BOB)).splitlines()
        assert did == [
            "change 2: discord:bob is alice",
            *would[1:-1],
            "`turnkeeper identity undo 2` takes it back",
        ]
        listed = (await gateway.done("identity", "list")).splitlines()
        assert [line.split() for line in listed[1:]] == [
            ["alice", "discord", "bob"],
            ["alice", "telegram", "ann"],
        ]


@pytest.mark.parametrize("how", HOW)
async def test_json_has_the_same_shape_live_and_at_rest(how: str, gateway: Gateway) -> None:
    async with gateway.after(ann_is_alice, how):
        out = await gateway.done(*LINK, *BOB, "--json")
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "number": 2,
        "act": "link",
        "text": "discord:bob is alice",
        "dry_run": False,
        "moved": [
            {
                "address": ["dc", "dm-bob", None],
                "from_session": "s2",
                "to_session": "s1",
                "version": 2,
            }
        ],
        "joined": [{"session_id": "s1", "earlier": "s2", "records": 6, "joined": True}],
        "active": [
            {"session_id": "s2", "before": ["dc", "dm-bob", None], "after": None},
            {
                "session_id": "s1",
                "before": ["tg", "dm-ann", None],
                "after": ["dc", "dm-bob", None],
            },
        ],
        "opened": [],
    }


async def test_an_undo_restores_and_is_listed_with_what_it_took_back(gateway: Gateway) -> None:
    async with gateway.after(ann_is_alice, "at rest"):
        await gateway.done(*LINK, *BOB)
        before = await gateway.done("bindings", "list")
        would = await gateway.done("identity", "undo", "--dry-run")
        assert await gateway.done("bindings", "list") == before
        did = await gateway.done("identity", "undo", "2")
        assert would.splitlines()[0] == "this would be: undo of change 2: discord:bob is alice"
        assert did.splitlines()[0] == "change 3: undo of change 2: discord:bob is alice"
        assert did.splitlines()[1:] == would.splitlines()[1:-1]
        assert "takes it back" not in did
        changes = (await gateway.done("identity", "changes")).splitlines()
        assert [line.split()[0] for line in changes] == ["NUMBER", "1", "2", "3"]
        assert re.search(r"operator  link +1 +3  discord:bob is alice$", changes[2])
        newest = (await gateway.done("identity", "changes", "--limit", "1")).splitlines()
        assert newest[0] == "… 2 earlier; --limit 0 lists all"
        assert newest[2].split()[0] == "3"
        listed = json.loads(await gateway.done("identity", "changes", "--json"))
        assert [entry["undone_by"] for entry in listed] == [None, 3, None]
        again = await gateway.complaint(1, "identity", "undo", "2")
        assert again == "change 2 was taken back already"


async def test_a_running_runtime_takes_a_change_back(gateway: Gateway) -> None:
    async with gateway.after(ann_is_alice, "live"):
        await gateway.done(*LINK, *BOB)
        did = await gateway.done("identity", "undo", "2")
        assert did.splitlines()[0] == "change 3: undo of change 2: discord:bob is alice"
        assert await gateway.say("dc", "bob") == "discord:bob said hello"


async def test_an_unlink_gives_the_session_back(gateway: Gateway) -> None:
    async with gateway.after(ann_is_alice, "at rest"):
        await gateway.done(*LINK, *BOB)
        out = await gateway.done("identity", "unlink", *BOB)
        assert "change 3: discord:bob is alice no more" in out
        assert re.search(r"conversation +dc/dm-bob +s1 → s\d, version 3", out)
        assert (await gateway.done("verify")).endswith(" no problems\n")


@pytest.mark.parametrize(
    ("command", "exit_code", "complaint"),
    [
        ("identity link --platform telegram --user-id ann --user alice", 1, "is alice already"),
        ("identity link --platform telegram --user-id ann --user telegram:ann", 1, "is alice"),
        ("identity unlink --platform discord --user-id bob", 1, "discord:bob is not linked"),
        ("identity undo 99", 4, "there is no change 99; `turnkeeper identity changes`"),
        ("identity undo 0", 4, "there is no change 0"),
        ("identity undo 99999999999999999999999", 4, "there is no change 9999"),
        ("identity undo soon", 2, "must be a number, 0 or more, not 'soon'"),
        ("identity list --user nobody", 4, "nobody is linked to 'nobody'"),
        ("identity link --platform telegram --user-id bob", 2, "required: --user"),
        ("bindings move tg nowhere", 4, "'nowhere' of 'tg' belongs to no session"),
        ("bindings move tg dm-ann --thread t", 4, "'dm-ann', thread 't', of 'tg' belongs to no"),
        ("bindings move tg dm-ann --session s1", 1, "tg/dm-ann"),
        ("bindings move tg dm-ann --session s99", 1, "there is no session 's99'"),
    ],
)
async def test_what_makes_no_sense_is_one_line_and_an_exit_code(
    command: str, exit_code: int, complaint: str, gateway: Gateway
) -> None:
    async with gateway.after(ann_is_alice, "at rest"):
        if command.endswith("--session s1"):
            await gateway.done("bindings", "move", "tg", "dm-ann", "--session", "s1")
        assert complaint in await gateway.complaint(exit_code, *command.split())


async def test_a_refusal_reads_the_same_live_and_at_rest(gateway: Gateway) -> None:
    refused = (*LINK, *ANN), ("identity", "unlink", *BOB)
    async with gateway.up():
        await ann_is_alice(gateway)
        live = [await gateway.complaint(1, *command) for command in refused]
    assert live == [await gateway.complaint(1, *command) for command in refused]


@pytest.mark.parametrize("user_id", ["", " ann", "ann ", "a\u200bnn", "a\x1bnn", "x" * 5_000])
async def test_an_id_that_only_looks_right_is_not_linked_and_can_be_unlinked(
    user_id: str, gateway: Gateway
) -> None:
    async with gateway.after(two_strangers, "at rest"):
        identity = ("--platform", "telegram", "--user-id", user_id)
        assert "--user-id" in await gateway.complaint(2, *LINK, *identity)
        assert "--user-id" in await gateway.complaint(
            2, "channels", "pair", *identity, "--session", "x"
        )
        if user_id:
            assert "is not linked" in await gateway.complaint(1, "identity", "unlink", *identity)


async def test_hostile_text_is_escaped_where_it_is_shown(gateway: Gateway) -> None:
    hostile = "\x1b[2J\u202egnp\n\udce9"

    async def scene(gateway: Gateway) -> None:
        await gateway.say("tg", hostile)

    async with gateway.after(scene, "at rest"):
        out = await gateway.done(
            "bindings", "move", "tg", f"dm-{hostile}", "--session", "work", "--dry-run"
        )
        out += await gateway.done("bindings", "show", "tg", f"dm-{hostile}")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", out)
    assert "\\x1b[2J\\u202egnp" in out


async def test_a_binding_shows_its_user_and_every_owner_it_had(gateway: Gateway) -> None:
    async with gateway.after(ann_is_alice, "at rest"):
        await gateway.done(*LINK, *BOB)
        shown = await gateway.done("bindings", "show", "dc", "dm-bob")
        assert re.search(r"^session +s1$", shown, re.MULTILINE)
        assert re.search(r"^user id +bob$", shown, re.MULTILINE)
        assert re.search(r"^user +alice$", shown, re.MULTILINE)
        assert re.search(r"^scope +user$", shown, re.MULTILINE)
        history = shown.partition("\n\n")[2].splitlines()
        assert history[0].split() == ["VERSION", "SESSION", "FROM", "SINCE", "BY"]
        assert [line.split()[:3] for line in history[1:]] == [["1", "s2", "-"], ["2", "s1", "s2"]]
        assert history[2].endswith("discord:bob is alice")
        found = json.loads(await gateway.done("bindings", "show", "dc", "dm-bob", "--json"))
        assert (found["session_id"], found["user"]) == ("s1", "alice")
        assert [(b["version"], b["session_id"]) for b in found["history"]] == [(1, "s2"), (2, "s1")]


async def test_a_group_is_nobodys_own(gateway: Gateway) -> None:
    async def scene(gateway: Gateway) -> None:
        await gateway.channels["tg"].receive("hi", conversation="group", direct=False)

    async with gateway.after(scene, "at rest"):
        shown = await gateway.done("bindings", "show", "tg", "group")
    assert re.search(r"^user +-$", shown, re.MULTILINE)
    assert re.search(r"^scope +place$", shown, re.MULTILINE)


@pytest.mark.parametrize("how", HOW)
async def test_a_conversation_moves_to_a_session_of_any_name(how: str, gateway: Gateway) -> None:
    async with gateway.after(two_strangers, how):
        moved = await gateway.done("bindings", "move", "tg", "dm-ann", "--session", "work")
        assert "change 1: tg/dm-ann was moved to work" in moved
        assert re.search(r"session +work +opened", moved)
        back = await gateway.done("identity", "undo")
        assert re.search(r"conversation +tg/dm-ann +work → s1, version 3", back)


async def test_a_conversation_moves_to_where_the_rules_of_now_send_it(gateway: Gateway) -> None:
    gateway.config = {"session": {"dm_scope": "per-conversation"}}
    async with gateway.up():
        await gateway.say("tg", "ann")
        await gateway.say("dc", "ann")
        gateway.config = {"session": {"dm_scope": "main"}}
        assert await gateway.done("reload") == "applied  [session] dm_scope\n"
        await gateway.done("bindings", "move", "tg", "dm-ann")
        moved = await gateway.done("bindings", "move", "dc", "dm-ann")
        assert re.search(r"conversation +dc/dm-ann +s2 → s\d, version 2", moved)
        bindings = json.loads(await gateway.done("bindings", "list", "--json"))
        assert {b["scope"] for b in bindings} == {"main"}
        assert len({b["session_id"] for b in bindings}) == 1


async def test_at_rest_the_configuration_holds_the_rules(tmp_path: Path, gateway: Gateway) -> None:
    async with gateway.after(two_strangers, "at rest"):
        complaint = await gateway.complaint(1, "bindings", "move", "tg", "dm-ann")
        assert "name a session with --session, or the configuration" in complaint
        config = tmp_path / "tk.toml"
        config.write_text(
            '[session]\ndm_scope = "main"\n[channels.dc]\ndm_scope = "per-user"\n[channels.tg]\n',
            encoding="utf-8",
        )
        moved = await gateway.done("bindings", "move", "tg", "dm-ann", "--config", config)
        assert "change 1: tg/dm-ann was moved to where the rules say" in moved
        same = await gateway.complaint(1, "bindings", "move", "dc", "dm-bob", "--config", config)
        assert "dc/dm-bob belongs to s2 already, by the rules of now" in same
        shown = await gateway.done("bindings", "show", "tg", "dm-ann")
        assert re.search(r"^scope +main$", shown, re.MULTILINE)


async def test_what_is_linked_at_rest_holds_at_the_next_start(gateway: Gateway) -> None:
    async with gateway.after(ann_is_alice, "at rest"):
        await gateway.done(*LINK, *BOB)
    async with gateway.up() as runtime:
        assert await gateway.say("dc", "bob", "it is me") == "alice said it is me"
        said = [message.text for message in await runtime.context(SessionId("s1"))]
    assert said.count("hello") == 2  # one of each: the histories are one


@pytest.mark.parametrize(
    "command",
    [
        "identity link --platform telegram --user-id ann --user alice",
        "identity unlink --platform telegram --user-id ann",
        "identity undo",
        "identity undo 1",
        "channels pair --platform telegram --user-id ann --session x",
        "bindings move tg dm-ann",
        "access allow tg ann",
        "access approve ABCD-EFGH",
    ],
)
async def test_no_act_makes_a_state_directory(command: str, gateway: Gateway) -> None:
    assert "does not exist" in await gateway.complaint(3, *command.split())
    assert not gateway.state_dir.exists()
