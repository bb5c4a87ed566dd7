"""The agent's memory from the outside: from other threads, and as a value."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

import turnkeeper as tk
from turnkeeper.testing import LoopbackChannel


async def counts(turn: tk.Turn) -> str:
    """Count the messages of each human, as an agent does that keeps JSON's numbers."""
    count = int(turn.memory.get("count", "0")) + 1
    await turn.memory.set("count", str(count))
    return f"{count}, {turn.memory!r}"


def test_threads_see_a_memory_and_empty_it(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg")
    with tk.start_in_thread(tmp_path / "state", agent=counts, channels=[tg]) as handle:
        for number in (1, 2):
            handle.call(partial(tg.receive, "hi"))
            said = handle.call(tg.next_sent).text
            assert said == f"{number}, <SessionMemory of s1: 1 keys>"
        assert handle.memory("s1") == {"count": "2"}
        assert handle.clear_memory("s1") == 1
        assert handle.memory("s1") == {}
        with pytest.raises(tk.UnknownSession):
            handle.memory("s2")
        with pytest.raises(tk.UnknownSession):
            handle.clear_memory("s2")


def test_what_is_kept_survives_the_process_that_kept_it(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        tg = LoopbackChannel("tg")
        with tk.start_in_thread(tmp_path / "state", agent=counts, channels=[tg]) as handle:
            handle.call(partial(tg.receive, "hi"))
            assert handle.call(tg.next_sent).text.startswith(f"{number}, ")
