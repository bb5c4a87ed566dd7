import json
import re
from pathlib import Path

import pytest

from .gateway import HOW, Gateway

ANN = ("--platform", "telegram", "--user-id", "ann")
PAIR = ("channels", "pair", *ANN, "--session")
UNPAIR = ("channels", "unpair", *ANN)
FILE = {"pairing": {"ann@telegram": "from-the-file"}}


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys)


async def ann_writes(gateway: Gateway) -> None:
    await gateway.say("tg", "ann")


@pytest.mark.parametrize("how", HOW)
async def test_a_pair_names_the_session_and_an_unpair_takes_it_back(
    how: str, gateway: Gateway
) -> None:
    async with gateway.after(ann_writes, how):
        would = await gateway.done(*PAIR, "user-jason", "--dry-run")
        assert "this would be: telegram:ann is paired with user-jason" in would
        assert re.search(r"conversation +tg/dm-ann +s1 → user-jason, version 2", would)
        did = await gateway.done(*PAIR, "user-jason")
        assert re.search(r"session +user-jason +opened", did)
        assert "paired with user-jason already" in await gateway.complaint(1, *PAIR, "user-jason")
        apart = await gateway.done(*UNPAIR)
        assert "change 2: telegram:ann is not paired with user-jason" in apart
        assert "telegram:ann is not paired" in await gateway.complaint(1, *UNPAIR)


async def test_the_pairs_are_listed_with_who_made_them(gateway: Gateway) -> None:
    assert "does not exist" in await gateway.complaint(3, "channels", "pairs")
    gateway.config = FILE
    async with gateway.after(ann_writes, "at rest"):
        bob = ("--platform", "discord", "--user-id", "bob")
        await gateway.done("channels", "pair", *bob, "--session", "from-me")
        lines = (await gateway.done("channels", "pairs")).splitlines()
        assert [line.split()[:4] for line in lines[1:]] == [
            ["discord", "bob", "from-me", "operator"],
            ["telegram", "ann", "from-the-file", "config"],
        ]
        found = json.loads(await gateway.done("channels", "pairs", "--json"))
        assert [list(pair) for pair in found] == [
            ["platform", "user_id", "session_id", "by", "since"]
        ] * 2


async def test_without_a_pair_the_list_says_so(gateway: Gateway) -> None:
    async with gateway.after(ann_writes, "at rest"):
        assert await gateway.done("channels", "pairs") == "nobody is paired with a session\n"


@pytest.mark.parametrize("how", HOW)
async def test_whom_the_file_pairs_is_left_to_the_file(how: str, gateway: Gateway) -> None:
    gateway.config = FILE
    async with gateway.after(ann_writes, how):
        for command in ((*PAIR, "elsewhere"), UNPAIR):
            complaint = await gateway.complaint(1, *command)
            assert "the configuration pairs telegram:ann with from-the-file" in complaint


async def test_at_rest_a_file_that_was_not_read_yet_counts_too(
    tmp_path: Path, gateway: Gateway
) -> None:
    config = tmp_path / "tk.toml"
    config.write_text('[pairing]\n"+15551234567@whatsapp" = "jason"\n', encoding="utf-8")
    async with gateway.after(ann_writes, "at rest"):
        identity = ("--platform", "whatsapp", "--user-id", "+1 (555) 123-4567")
        pair = ("channels", "pair", *identity, "--session", "elsewhere")
        complaint = await gateway.complaint(1, *pair, "--config", config)
        assert "tk.toml pairs 15551234567@whatsapp with jason: change it there" in complaint
        assert "change 1: whatsapp:15551234567 is paired with" in await gateway.done(*pair)


async def test_a_new_session_has_a_name_of_its_own(gateway: Gateway) -> None:
    async with gateway.after(ann_writes, "at rest"):
        for name in ("s99", "two words", "", "a/b"):
            assert await gateway.complaint(1, *PAIR, name)
