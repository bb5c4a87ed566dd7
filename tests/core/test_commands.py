"""What humans ask of the runtime itself, and what it answers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core import commands
from turnkeeper.actors.core.codes import ALPHABET, read_code
from turnkeeper.actors.core.commands import (
    MAX_COMMAND_CHARS,
    WRONG_CODE,
    Command,
    access_code,
    linked,
    locked,
    new_link_code,
    read_command,
)

CODE = "ABCDEFGH"
texts = st.text(alphabet=st.characters(exclude_categories=()), max_size=30)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/link", Command("link", None)),
        ("/unlink", Command("unlink", None)),
        ("/LINK", Command("link", None)),
        ("/UnLink", Command("unlink", None)),
        ("  /link \n", Command("link", None)),
        ("\n\t/link\u00a0ABCD-EFGH\u3000", Command("link", "ABCD-EFGH")),
        ("/link ABCD-EFGH", Command("link", "ABCD-EFGH")),
        ("/link   abcd efgh ", Command("link", "abcd efgh")),
        ("/link\tABCDEFGH", Command("link", "ABCDEFGH")),
        ("/link@some_bot", Command("link", None)),
        ("/Link@Some_Bot ABCD-EFGH", Command("link", "ABCD-EFGH")),
        ("/unlink@some_bot", Command("unlink", None)),
        ("/unlink everything", Command("unlink", "everything")),
        ("/link\nABCD-EFGH", Command("link", "ABCD-EFGH")),
        ("/link ABCD-EFGH\nthanks", Command("link", "ABCD-EFGH")),
        ("/link\u2028ABCD-EFGH", Command("link", "ABCD-EFGH")),
        ("/link\x0bABCD-EFGH", Command("link", "ABCD-EFGH")),
        ("/link " + "x" * 1_000_000, Command("link", "x" * (MAX_COMMAND_CHARS - 6))),
        ("/link" + " " * 1_000_000, Command("link", None)),
    ],
    ids=repr,
)
def test_a_command_is_read(text: str, command: Command) -> None:
    assert read_command(text) == command


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/",
        "/ link",
        "//link",
        "link",
        "link ABCD-EFGH",
        "please /link",
        "./link",
        "/linked",
        "/linking",
        "/links",
        "/link-ABCD-EFGH",
        "/linkABCDEFGH",
        "/unlinked",
        "/help",
        "/@link",
        "/li\u200bnk",
        "\u200b/link",
        "/lin\u212a",
        "/l\u0131nk",
        "／link",
        "/ｌｉｎｋ",
        " " * 1_000_000 + "/link",
    ],
    ids=lambda text: repr(text[:30]),
)
def test_what_is_no_command_is_left_to_the_agent(text: str) -> None:
    assert read_command(text) is None


@given(texts)
def test_whatever_is_said_reading_it_ends_well(text: str) -> None:
    for said in (text, f"/{text}", f"/link {text}", f"/link{text}", f"/unlink@{text}"):
        command = read_command(said)
        if command is not None:
            assert said.lstrip().startswith("/")
            assert command.argument is None or command.argument == command.argument.strip() != ""


@given(st.text(alphabet=ALPHABET, min_size=8, max_size=8))
def test_a_command_shows_no_argument(code: str) -> None:
    command = read_command(f"/link {code}")
    assert command == Command("link", code)
    for shown in (f"{command!r}", f"{command!s}", f"{[command]}"):
        assert code not in shown
        assert "/link …" in shown
    assert repr(read_command("/unlink")) == "<Command: /unlink>"


def test_the_code_that_an_answer_tells_can_be_sent_back_as_it_stands() -> None:
    (line,) = [line for line in new_link_code(CODE).splitlines() if line.startswith("/")]
    command = read_command(line)
    assert command is not None
    assert read_code(command.argument or "") == CODE
    assert read_code(access_code(CODE).split("access approve ")[1].split()[0]) == CODE


def test_a_code_is_told_with_its_life_and_how_to_use_it() -> None:
    told = new_link_code(CODE)
    assert "ABCD-EFGH" in told
    assert "60 minutes" in told
    assert "once" in told
    assert "Never post it in a group" in told
    assert "turnkeeper access approve ABCD-EFGH\n" in access_code(CODE)
    assert "24 hours" in access_code(CODE)


def test_both_sides_are_told_the_platform_of_the_other_and_how_to_take_it_back() -> None:
    assert "on websocket " in linked("websocket")
    assert "/unlink" in linked("websocket")


@pytest.mark.parametrize(
    ("wait_s", "said"),
    [
        (0, "in a minute."),
        (1, "in a minute."),
        (60, "in a minute."),
        (61, "in 2 minutes."),
        (900, "in 15 minutes."),
        (900.1, "in 16 minutes."),
        (7_200, "in 120 minutes."),
        (7_201, "in 3 hours."),
        (86_400, "in 24 hours."),
    ],
)
def test_a_lock_is_told_in_whole_minutes_or_hours_that_are_no_fewer(
    wait_s: float, said: str
) -> None:
    assert locked(wait_s).endswith(said)


def notices() -> dict[str, str]:
    made: dict[str, Any] = {
        name: value
        for name, value in vars(commands).items()
        if name in commands.__all__ and name.isupper() and isinstance(value, str)
    }
    return made | {
        "new_link_code": new_link_code(CODE),
        "access_code": access_code(CODE),
        "linked": linked("websocket"),
        "locked": locked(900),
    }


@pytest.mark.parametrize("name", notices())
def test_an_answer_is_short_whole_sentences_without_our_own_words(name: str) -> None:
    text = notices()[name]
    assert len(text) < 400
    assert text[0].isupper()
    assert text[-1] == "."
    assert text == text.strip()
    for word in ("identity", "session", "binding", "instance", "token", "None"):
        assert word not in text


def test_no_two_answers_are_the_same() -> None:
    assert len(set(notices().values())) == len(notices()) == 13


def test_an_answer_is_never_read_as_a_command() -> None:
    assert not any(read_command(text) for text in notices().values())


def test_one_answer_serves_every_code_that_does_not_work() -> None:
    for word in ("expired", "used already", "unknown", "wrong"):
        assert word not in WRONG_CODE
