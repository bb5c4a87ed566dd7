"""What strict model providers are given, they accept.

The two validators hold what the providers publish, and what their errors tell beyond that.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.shown import summary_of, system_prompt
from turnkeeper.actors.core.turn_records import AssistantRecord, ToolRecord, UserRecord
from turnkeeper.actors.core.view_records import SummaryRecord
from turnkeeper.actors.core.window import Message, Stretch, build_window
from turnkeeper.actors.messages import ToolCall
from turnkeeper.rendering import (
    MAX_DEPTH,
    NO_RESULT,
    NO_TEXT,
    SHOWN_FROM_HERE,
    system_of,
    to_anthropic,
    to_openai,
)

Shown: TypeAlias = list[dict[str, Any]]
Role: TypeAlias = Literal["system", "user", "assistant", "tool"]


def said(
    role: Role,
    text: str,
    *,
    kind: str | None = None,
    speaker: str | None = None,
    tool: ToolCall | None = None,
) -> Message:
    return Message(
        role=role, kind=kind or role, text=text, seq=1, at_us=0, speaker=speaker, tool=tool
    )


def user(text: str, speaker: str | None = None) -> Message:
    return said("user", text, speaker=speaker)


def assistant(text: str) -> Message:
    return said("assistant", text)


def tool(name: str, arguments: str, result: str) -> Message:
    call = ToolCall(name=name, arguments=arguments, result=result)
    return said("tool", f"{name}({arguments}) -> {result}", tool=call)


def is_said(text: object) -> None:
    assert isinstance(text, str)
    assert text.strip()


def is_sendable(shown: Shown) -> None:
    """It is JSON to the letter, in UTF-8."""
    json.dumps(shown, ensure_ascii=False, allow_nan=False).encode()


def anthropic_accepts(shown: Shown) -> None:
    is_sendable(shown)
    ids: list[str] = []
    asked: list[str] = []
    for index, message in enumerate(shown):
        assert message.keys() == {"role", "content"}
        assert message["role"] == ("user", "assistant")[index % 2]
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        assert blocks
        answered: list[str] = []
        called: list[str] = []
        texts = 0
        for block in blocks:
            match block:
                case {"type": "text", "text": text, **rest}:
                    is_said(text)
                    assert not rest
                    assert not called  # text after a call stands between it and its result
                    texts += 1
                case {"type": "tool_use", "id": str(id_), "name": str(name), "input": given_}:
                    assert message["role"] == "assistant"
                    assert re.fullmatch(r"[a-zA-Z0-9_-]+", id_)
                    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name)
                    assert isinstance(given_, dict)
                    called.append(id_)
                case {"type": "tool_result", "tool_use_id": str(id_), "content": content}:
                    assert message["role"] == "user"
                    assert not texts
                    is_said(content)
                    answered.append(id_)
                case _:
                    pytest.fail(f"an unknown block: {block}")
        assert answered == asked
        asked = called
        ids += called
    assert not asked
    assert len(set(ids)) == len(ids)
    if shown and shown[-1]["role"] == "assistant":
        last = shown[-1]["content"]
        assert last == last.rstrip()


def openai_accepts(shown: Shown) -> None:
    is_sendable(shown)
    ids: list[str] = []
    asked: list[str] = []
    before = ""
    for index, message in enumerate(shown):
        role = message["role"]
        if role == "tool":
            assert message.keys() == {"role", "tool_call_id", "content"}
            is_said(message["content"])
            asked.remove(message["tool_call_id"])
        else:
            assert not asked
            assert role in {"user", "assistant"} or (role == "system" and index == 0)
            assert role != before
            calls: Shown = message.get("tool_calls", [])
            if not calls:
                assert message.keys() == {"role", "content"}
                is_said(message["content"])
            else:
                assert message.keys() == {"role", "content", "tool_calls"}
                assert role == "assistant"
                if message["content"] is not None:
                    is_said(message["content"])
            for call in calls:
                assert call["type"] == "function"
                assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", call["id"])
                assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call["function"]["name"])
                assert isinstance(json.loads(call["function"]["arguments"]), dict)
                asked.append(call["id"])
                ids.append(call["id"])
        before = role
    assert not asked
    assert len(set(ids)) == len(ids)


texts = st.one_of(
    st.sampled_from(["", " ", "\n\n", "hello", "hello \n", "\ud800", "a\n\nb", "\u2003"]),
    st.text(st.characters(), max_size=8),
)
ODD_ARGUMENTS = (
    *("{}", "[]", "null", '{"a": NaN}', '{"a": 1e999}', '{"\\ud800": "\\udfff"}', '{"a": [{}]}'),
    *('{"a":' * 5_000, '{"a":' * 200 + "1" + "}" * 200, '{"a": ' + "1" * 5_000 + "}"),
)
arguments = st.one_of(texts, st.sampled_from(ODD_ARGUMENTS))
messages = st.one_of(
    st.builds(user, texts, st.sampled_from([None, '"Bob"', '"\ud800"'])),
    st.builds(assistant, texts),
    st.builds(said, st.just("assistant"), texts, kind=st.sampled_from(["note", "receipt"])),
    st.builds(tool, texts, arguments, texts),
    st.builds(said, st.sampled_from(["system", "user", "assistant", "tool"]), texts),
)
windows = st.lists(messages, max_size=12)


@given(windows)
def test_anthropic_accepts_every_window(window: list[Message]) -> None:
    anthropic_accepts(to_anthropic(window))
    said_by_system = system_of(window)
    is_sendable([{"system": said_by_system}])
    assert not said_by_system or said_by_system.strip()


@given(windows, st.one_of(st.none(), texts))
def test_openai_accepts_every_window(window: list[Message], system: str | None) -> None:
    openai_accepts(to_openai(window, system=system))


@given(windows)
def test_every_text_is_shown_once_and_in_order(window: list[Message]) -> None:
    marked = [
        tool(f"t{n}", "{}", f"<{n}>") if message.role == "tool" else said(message.role, f"<{n}>")
        for n, message in enumerate(window)
    ]
    system = [n for n, message in enumerate(window) if message.role == "system"]
    order = sorted(range(len(marked)), key=lambda n: n not in system)
    for shown in ([system_of(marked), to_anthropic(marked)], to_openai(marked)):
        assert re.findall(r"<(\d+)>", json.dumps(shown)) == list(map(str, order))


def test_a_plain_conversation_is_shown_as_it_was() -> None:
    window = [user("hi"), assistant("hello"), user("bye")]
    plain = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "bye"},
    ]
    assert to_anthropic(window) == plain
    assert to_openai(window) == plain


def test_what_the_system_says_comes_first() -> None:
    assert to_openai([user("hi")], system="Be kind.") == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hi"},
    ]
    assert to_openai([user("hi")], system=" ") == [{"role": "user", "content": "hi"}]


def test_the_system_prompt_of_a_window_comes_first_or_is_an_argument_of_its_own() -> None:
    window = [system_prompt("Be kind."), user("hi"), said("system", "Be brief.\ud800")]
    asked = [{"role": "user", "content": "hi"}]
    assert system_of(window) == "Be kind.\n\nBe brief.\ufffd"
    assert to_anthropic(window) == asked
    assert to_openai(window) == [{"role": "system", "content": system_of(window)}, *asked]
    assert to_openai(window, system="You are Ann.") == [
        {"role": "system", "content": f"You are Ann.\n\n{system_of(window)}"},
        *asked,
    ]


def test_a_system_prompt_that_says_nothing_is_left_out() -> None:
    for text in ("", " \n"):
        window = [system_prompt(text), user("hi")]
        assert system_of(window) == ""
        assert to_openai(window, system=" ") == to_openai([user("hi")])
    assert system_of([user("hi")]) == ""


def test_a_system_prompt_does_not_part_what_one_side_said_in_a_row() -> None:
    window = [user("a"), system_prompt("Be kind."), user("b")]
    assert to_anthropic(window) == [{"role": "user", "content": "a\n\nb"}]


def test_a_summary_is_said_by_the_assistant_before_everything_else() -> None:
    record = SummaryRecord(
        at_us=1,
        text="They met.\nThey talked.",
        through=3,
        asides=0,
        by="extract",
        tokens=9,
        covered_tokens=99,
        covered_bound=99,
        covered_messages=2,
    )
    window = [system_prompt("Be kind."), summary_of(9, record, None), user("hi")]
    opened, summary, asked = to_anthropic(window)
    assert opened == {"role": "user", "content": SHOWN_FROM_HERE}
    assert summary["role"] == "assistant"
    assert summary["content"].splitlines()[1:] == ["| They met.", "| They talked."]
    assert asked == {"role": "user", "content": "hi"}
    assert [shown["role"] for shown in to_openai(window)] == ["system", "assistant", "user"]
    assert to_openai(window)[1] == summary


def test_a_call_of_a_tool_is_followed_by_its_result() -> None:
    window = [user("rain?"), tool("weather", '{"city": "Bonn"}', "wet"), assistant("Yes.")]
    assert to_openai(window) == [
        {"role": "user", "content": "rain?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "past_call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Bonn"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "past_call_1", "content": "wet"},
        {"role": "assistant", "content": "Yes."},
    ]
    called = {
        "type": "tool_use",
        "id": "past_call_1",
        "name": "weather",
        "input": {"city": "Bonn"},
    }
    gave = {"type": "tool_result", "tool_use_id": "past_call_1", "content": "wet"}
    assert to_anthropic(window) == [
        {"role": "user", "content": "rain?"},
        {"role": "assistant", "content": [called]},
        {"role": "user", "content": [gave]},
        {"role": "assistant", "content": "Yes."},
    ]


def test_notes_stand_beside_replies_and_never_between_a_call_and_its_result() -> None:
    note = said("assistant", "[note]", kind="note")
    window = [user("do it"), note, tool("act", "{}", "done"), note, user("more")]
    first, calling, gave, noted, last = to_openai(window)
    assert (first["content"], calling["content"], gave["content"]) == ("do it", "[note]", "done")
    assert (noted["content"], last["content"]) == ("[note]", "more")
    _, calling, gave, noted, _ = to_anthropic(window)
    assert [block["type"] for block in calling["content"]] == ["text", "tool_use"]
    assert [block["type"] for block in gave["content"]] == ["tool_result"]
    assert noted["content"] == "[note]"


def test_a_human_who_writes_after_a_silent_turn_follows_the_last_result() -> None:
    shown = to_anthropic([user("a"), tool("t", "{}", "r"), user("b")])
    assert [block["type"] for block in shown[-1]["content"]] == ["tool_result", "text"]


def test_what_one_side_says_in_a_row_is_one_message_with_blank_lines_between() -> None:
    window = [user("a"), user("b"), assistant("c"), assistant(" "), assistant("d")]
    joined = [
        {"role": "user", "content": "a\n\nb"},
        {"role": "assistant", "content": "c\n\nd"},
    ]
    assert to_anthropic(window) == joined
    assert to_openai(window) == joined


def test_in_a_group_every_message_says_whose_it_is() -> None:
    window = [user("hi\nBob says: bye", '"Ann"'), user("", '"Bob"')]
    content = f'"Ann" says: hi\n| Bob says: bye\n\n"Bob" says: {NO_TEXT}'
    assert to_openai(window) == to_anthropic(window) == [{"role": "user", "content": content}]


def test_a_human_who_sends_no_words_is_not_passed_over() -> None:
    window = [user("hi"), assistant("hello"), user("")]
    assert to_anthropic(window)[-1] == {"role": "user", "content": NO_TEXT}
    assert to_openai(window)[-1] == {"role": "user", "content": NO_TEXT}


def test_a_window_that_begins_with_the_agent_is_opened_by_a_neutral_line() -> None:
    shown = to_anthropic([assistant("You have mail. \n")])
    assert shown == [
        {"role": "user", "content": SHOWN_FROM_HERE},
        {"role": "assistant", "content": "You have mail."},
    ]


@pytest.mark.parametrize("window", [[], [assistant("")]])
def test_where_nothing_was_said_nothing_is_shown(window: list[Message]) -> None:
    assert to_anthropic(window) == to_openai(window) == []


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ('{"a": [1, 2.5, null, "é"]}', {"a": [1, 2.5, None, "é"]}),
        ("", {"arguments": ""}),
        ("[1]", {"arguments": "[1]"}),
        ("city=Bonn", {"arguments": "city=Bonn"}),
        ('{"a": NaN}', {"arguments": '{"a": NaN}'}),
        ('{"a": 1e999}', {"arguments": '{"a": 1e999}'}),
        ('{"a": "\\ud800"}', {"a": "\ufffd"}),
        ("\ud800", {"arguments": "\ufffd"}),
    ],
)
def test_arguments_are_an_object_whatever_the_agent_wrote(
    given_: str, shown: dict[str, object]
) -> None:
    window = [user("a"), tool("t", given_, "r")]
    assert to_anthropic(window)[1]["content"][0]["input"] == shown
    assert json.loads(to_openai(window)[1]["tool_calls"][0]["function"]["arguments"]) == shown


def test_arguments_that_are_too_deep_are_given_as_text() -> None:
    def shown(depth: int) -> dict[str, object]:
        text = '{"a":' * depth + "1" + "}" * depth
        blocks: Shown = to_anthropic([user("a"), tool("t", text, "r")])[1]["content"]
        given_: dict[str, object] = blocks[0]["input"]
        return given_

    assert shown(MAX_DEPTH).keys() == {"a"}
    assert shown(MAX_DEPTH + 1).keys() == {"arguments"}
    assert shown(100_000).keys() == {"arguments"}


def test_names_and_results_of_tools_are_made_acceptable() -> None:
    window = [
        user("a"),
        tool("web.search/now", "{}", " "),
        tool("", "{}", "\udc00"),
        tool("x" * 99, "{}", "r"),
    ]
    first, second, third = (
        (message["content"][0]["name"], answer["content"][0]["content"])
        for message, answer in zip(
            to_anthropic(window)[1::2], to_anthropic(window)[2::2], strict=True
        )
    )
    assert first == ("web_search_now", NO_RESULT)
    assert second == ("tool", "\ufffd")
    assert third == ("x" * 64, "r")


def test_the_window_of_a_session_tells_the_parts_of_a_call() -> None:
    question = UserRecord(
        at_us=1,
        text="hi",
        instance="tg",
        conversation="c1",
        thread=None,
        platform="telegram",
        message_id="m",
        user_id="u",
        user_name=None,
        direct=True,
    )
    call = ToolRecord(at_us=2, turn_seq=3, name="look", arguments='{"at": "it"}', result="seen")
    answer = AssistantRecord(
        at_us=3, text="done", turn_seq=3, instance="tg", conversation="c1", thread=None
    )
    log: list[tuple[int, Record]] = [(3, question), (4, call), (5, answer)]
    shown = to_anthropic(build_window([Stretch(None, log)], 0))
    assert [message["role"] for message in shown] == ["user", "assistant", "user", "assistant"]
    assert shown[1]["content"][0]["input"] == {"at": "it"}
    assert shown[2]["content"][0]["content"] == "seen"
