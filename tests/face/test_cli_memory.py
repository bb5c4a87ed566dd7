"""`sessions memory`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import turnkeeper as tk
from turnkeeper.commands.base import Exit

from .gateway import HOW, Gateway

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys)


async def keeps(turn: tk.Turn) -> str:
    key, _, value = turn.text.partition("=")
    await turn.memory.set(key, value)
    return "kept"


async def _told(gateway: Gateway) -> None:
    for text in ("town=Århus", "name=Ada\nLovelace", "esc=\x1b[31mred"):
        await gateway.say("tg", "1", text)


@pytest.mark.parametrize("how", HOW)
async def test_what_is_kept_is_shown_in_the_order_of_its_keys(gateway: Gateway, how: str) -> None:
    async with gateway.up(agent=keeps):
        await _told(gateway)
        if how == "live":
            await _check_shown(gateway)
    if how == "at rest":
        await _check_shown(gateway)


async def _check_shown(gateway: Gateway) -> None:
    heading, *rows = (await gateway.done("sessions", "memory", "s1")).splitlines()
    assert heading.split() == ["KEY", "BYTES", "VALUE"]
    assert [row.split(None, 2) for row in rows] == [
        ["esc", "8", "\\x1b[31mred"],
        ["name", "12", "Ada ↵ Lovelace"],
        ["town", "6", "Århus"],
    ]
    shown = json.loads(await gateway.done("sessions", "memory", "s1", "--json"))
    assert list(shown.items()) == [
        ("esc", "\x1b[31mred"),
        ("name", "Ada\nLovelace"),
        ("town", "Århus"),
    ]
    history = await gateway.done("sessions", "history", "s1")
    assert "town = Århus" in history


async def test_an_emptied_memory_is_empty_and_its_log_stays(gateway: Gateway) -> None:
    async with gateway.up(agent=keeps) as runtime:
        await _told(gateway)
        out = await gateway.done("sessions", "memory", "s1", "--clear")
        assert out == "the memory of s1 is empty now: 3 keys gone; its log stays\n"
        assert await runtime.memory("s1") == {}
        again = await gateway.done("sessions", "memory", "s1", "--clear")
        assert again == "the memory of s1 was empty\n"
        await gateway.say("tg", "1", "town=Oslo")
        out = await gateway.done("sessions", "memory", "s1", "--clear", "--json")
        assert json.loads(out) == {"session_id": "s1", "keys": 1}
    assert await gateway.done("sessions", "memory", "s1") == "its agent keeps nothing\n"
    assert json.loads(await gateway.done("sessions", "memory", "s1", "--json")) == {}
    history = await gateway.done("sessions", "history", "s1")
    assert "town = Århus" in history
    assert history.count("by operator") == 2
    await gateway.done("verify")


async def test_a_memory_that_nobody_has_is_named(gateway: Gateway) -> None:
    async with gateway.up(agent=keeps):
        await gateway.say("tg", "1", "a=b")
        for words in ((), ("--clear",)):
            complaint = await gateway.complaint(Exit.NOT_FOUND, "sessions", "memory", "s9", *words)
            assert complaint.startswith("there is no session 's9'")


async def test_without_a_runtime_nothing_is_emptied(gateway: Gateway) -> None:
    async with gateway.up(agent=keeps):
        await gateway.say("tg", "1", "a=b")
    complaint = await gateway.complaint(Exit.STATE, "sessions", "memory", "s1", "--clear")
    assert "no runtime runs on" in complaint
    assert "turnkeeper run" in complaint
    assert json.loads(await gateway.done("sessions", "memory", "s1", "--json")) == {"a": "b"}
