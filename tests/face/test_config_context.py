"""What `[session]` may say of contexts and their summaries, and what it may not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import turnkeeper as tk
from turnkeeper.config import SessionConfig, load_config
from turnkeeper.config_context import context_limits
from turnkeeper.reload import follow
from turnkeeper.storage.memory import open_memory

from .command import turnkeeper

KEYS: Final = frozenset(
    {
        "max_context_tokens",
        "compaction_threshold",
        "keep_recent_tokens",
        "summary_tokens",
        "summariser",
        "summariser_timeout_s",
        "summariser_attempts",
        "compaction_wait_s",
        "compaction_notice",
        "system_prompt",
        "token_counter",
    }
)
"""What contexts are set to; none of it can change while a runtime runs."""


async def agent(turn: tk.Turn) -> str:
    await trio.lowlevel.checkpoint()
    return turn.text


async def summarise(request: tk.SummaryRequest) -> str:
    await trio.lowlevel.checkpoint()
    return f"{len(request.messages)} messages"


def complaint(session: dict[str, Any]) -> str:
    with pytest.raises(tk.ConfigError) as refused:
        load_config({"session": session})
    return str(refused.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("compaction_threshold", 0, "must be between 0 and 1, not 0"),
        ("compaction_threshold", 0.0, "must be between 0 and 1, not 0"),
        ("compaction_threshold", 1, "must be between 0 and 1, not 1"),
        ("compaction_threshold", 1.5, "must be between 0 and 1, not 1.5"),
        ("compaction_threshold", -0.5, "must be between 0 and 1, not -0.5"),
        ("compaction_threshold", math.nan, "must be a number, not nan"),
        ("compaction_threshold", math.inf, "must be between 0 and 1, not inf"),
        ("compaction_threshold", "x", "must be of type float, not 'x'"),
        ("compaction_threshold", True, "must be of type float, not True"),
        ("max_context_tokens", 999, "must be at least 1000, not 999"),
        ("max_context_tokens", 5e3, "must be of type int, not 5000.0"),
        ("keep_recent_tokens", -1, "must be at least 0, not -1"),
        ("keep_recent_tokens", 0.5, "must be of type int, not 0.5"),
        ("summary_tokens", 99, "must be at least 100, not 99"),
        ("summary_tokens", "short", "must be of type int, not 'short'"),
        ("summariser", 7, "must be of type str, not 7"),
        ("summariser_timeout_s", 0, "must be at least 0.001, not 0"),
        ("summariser_timeout_s", -1.0, "must be at least 0.001, not -1.0"),
        ("summariser_timeout_s", math.nan, "must be a number, not nan"),
        ("summariser_attempts", 0, "must be at least 1, not 0"),
        ("summariser_attempts", 21, "must be at most 20, not 21"),
        ("summariser_attempts", True, "must be of type int, not True"),
        ("compaction_wait_s", -0.1, "must be at least 0.0, not -0.1"),
        ("compaction_wait_s", math.nan, "must be a number, not nan"),
        ("compaction_notice", False, "must be of type str, not False"),
        ("system_prompt", ["be kind"], "must be of type str, not ['be kind']"),
        ("token_counter", 4, "must be of type str, not 4"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_the_name_of_its_key(
    key: str, value: object, said: str
) -> None:
    told = complaint({key: value})
    assert f"[session] {key}" in told
    assert said in told


@pytest.mark.parametrize(
    ("session", "named"),
    [
        (
            {"max_context_tokens": 2_000, "keep_recent_tokens": 1_600, "summary_tokens": 200},
            ("keep_recent_tokens (1600)", "summary_tokens (200)", "1700 tokens"),
        ),
        (
            {"max_context_tokens": 1_000, "compaction_threshold": 0.1},
            ("summary_tokens (200)", "at 100 tokens", "compaction_threshold (0.1)"),
        ),
        (
            {"max_context_tokens": 1_000, "system_prompt": "é" * 400},
            ("system_prompt takes up to 804 of the 1000 tokens", "half of them"),
        ),
        (
            {"max_context_tokens": 4_000, "system_prompt": "x" * 1_900, "summary_tokens": 1_500},
            ("without the system prompt", "summary_tokens (1500)"),
        ),
    ],
)
def test_keys_that_contradict_each_other_are_named_together(
    session: dict[str, Any], named: tuple[str, ...]
) -> None:
    told = complaint(session)
    assert told.startswith("config: [session] ")
    for part in named:
        assert part in told


def test_the_smallest_window_that_is_allowed_can_be_summarised() -> None:
    limits = context_limits(load_config({"session": {"max_context_tokens": 1_000}}).session)
    assert limits.keep_recent_tokens + limits.summary_tokens < limits.trigger_tokens


async def test_limits_of_a_config_that_a_program_made_are_checked_too() -> None:
    config = tk.Config(session=SessionConfig(compaction_threshold=7.0))
    with pytest.raises(tk.ConfigError, match="compaction_threshold must be between 0 and 1"):
        await _open(config=config)


# -- counters and summarisers --------------------------------------------------------------------


async def _open(**options: Any) -> None:
    options = {"agent": agent, **options}
    async with open_memory() as store, tk.open_runtime(None, store=store, **options):
        pass


@pytest.mark.parametrize("name", ["", "no such/encoding", "-x", "o200k base"])
async def test_a_name_that_no_encoding_can_have_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(tk.ConfigError, match=r"\[session\] token_counter .* names no encoding"):
        await _open(config={"session": {"token_counter": name}})


async def test_an_encoding_that_tiktoken_does_not_know_is_refused_at_the_start() -> None:
    config = {"session": {"token_counter": "gpt-9"}}
    with pytest.raises(tk.ConfigError) as refused:
        await _open(config=config)
    assert str(refused.value).startswith(
        "config: [session] token_counter 'gpt-9' is no encoding that tiktoken knows: it has "
    )
    assert "o200k_base" in str(refused.value)


def test_the_file_with_a_name_that_no_encoding_can_have_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tk.toml"
    path.write_text('[session]\ntoken_counter = "o200k base"\n', encoding="utf-8")
    with pytest.raises(tk.ConfigError) as refused:
        load_config(path)
    assert str(refused.value).startswith(f"{path}: [session] token_counter 'o200k base' names no ")


class _Summariser:
    async def __call__(self, request: tk.SummaryRequest) -> str:
        return await summarise(request)

    async def method(self, request: tk.SummaryRequest) -> str:
        return await summarise(request)


@wraps(summarise)
def _wrapped(request: tk.SummaryRequest) -> Any:
    return summarise(request)


@pytest.mark.parametrize(
    "one", [summarise, _Summariser(), _Summariser().method, partial(summarise), _wrapped]
)
async def test_whatever_can_be_awaited_may_summarise(one: Any) -> None:
    await _open(summariser=one)
    await _open(summariser={"main": one})


def _plain(request: tk.SummaryRequest) -> str:
    return request.session_id


_NO_SUMMARISERS: Final[list[Any]] = [_plain, partial(_plain), _Summariser, "mine:x", 7, len]


@pytest.mark.parametrize("one", _NO_SUMMARISERS)
async def test_what_cannot_be_awaited_is_refused_before_anything_is_summarised(one: Any) -> None:
    with pytest.raises(tk.ConfigError, match="of agent 'main' must be an async function, not "):
        await _open(summariser=one)


async def test_a_summariser_of_an_agent_that_is_not_there_is_refused() -> None:
    with pytest.raises(tk.ConfigError, match="'helper': there is no such agent, but main"):
        await _open(summariser={"helper": summarise})


_MINE: Final = """
number = 1
def plain(request):
    return "short"
async def summarise(request):
    return f"{len(request.messages)} messages, as I see them."
async def answer(turn):
    return turn.text
"""


@pytest.fixture
def here(tmp_path: Path) -> Callable[[str], Path]:
    (tmp_path / "mine.py").write_text(_MINE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")

    def write(session: str) -> Path:
        config = f'agent = "mine:answer"\n[session]\n{session}\n'
        (tmp_path / "tk.toml").write_text(config, encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("mine", "summariser 'mine': write it as module:name"),
        ("nowhere:x", "summariser 'nowhere:x': there is no module 'nowhere'"),
        ("mine:missing", "summariser 'mine:missing': mine has no 'missing'"),
        ("mine:number", "summariser 'mine:number' is a int; it must be an async function"),
        ("mine:plain", "the summariser of agent 'main' must be an async function"),
        ("broken:x", "importing broken failed with ZeroDivisionError"),
    ],
)
def test_a_summariser_that_is_not_there_is_named_in_one_line_and_nothing_is_made(
    reference: str, said: str, here: Callable[[str], Path]
) -> None:
    folder = here(f'summariser = "{reference}"')
    answer = turnkeeper("run", "--config", "tk.toml", "--state", "s", stdin="hello\n", cwd=folder)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert said in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (folder / "s").exists()


def test_the_summariser_of_the_configuration_writes_the_summaries_of_a_run(
    here: Callable[[str], Path],
) -> None:
    folder = here(
        'summariser = "mine:summarise"\nmax_context_tokens = 1000\nkeep_recent_tokens = 100\n'
        'token_counter = "estimate"'
    )
    lines = "".join(f"line {number} " + "of many words " * 20 + "\n" for number in range(30))
    options = ("--config", "tk.toml", "--state", "s")
    ran = turnkeeper("run", *options, stdin=lines, cwd=folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    shown = turnkeeper("sessions", "context", "s1", "--state", "s", cwd=folder).stdout
    assert "messages, as I see them." in shown


# -- while it runs -------------------------------------------------------------------------------


def test_what_contexts_are_set_to_waits_for_the_next_start() -> None:
    wanted = load_config(
        {
            "session": {
                "max_context_tokens": 20_000,
                "compaction_threshold": 0.5,
                "keep_recent_tokens": 1_000,
                "summary_tokens": 500,
                "summariser": "mine:summarise",
                "summariser_timeout_s": 5.0,
                "summariser_attempts": 1,
                "compaction_wait_s": 1.0,
                "compaction_notice": "I have tidied up.",
                "system_prompt": "Be kind.",
                "token_counter": "estimate",
            }
        }
    )
    settings, reloaded = follow(load_config({}), wanted, ())
    assert set(reloaded.waiting) == {f"[session] {key}" for key in KEYS}
    assert reloaded.applied == ()
    assert settings == load_config({})
    assert {field.name for field in fields(SessionConfig)} > KEYS


async def test_a_reload_that_contradicts_itself_changes_nothing() -> None:
    async with (
        open_memory() as store,
        tk.open_runtime(None, agent=agent, store=store) as runtime,
    ):
        with pytest.raises(tk.ConfigError, match="compaction_threshold"):
            await runtime.reload({"session": {"compaction_threshold": 2.0, "dm_scope": "main"}})
        reloaded = await runtime.reload({"session": {"system_prompt": "Be kind."}})
        assert (reloaded.applied, reloaded.waiting) == ((), ("[session] system_prompt",))
