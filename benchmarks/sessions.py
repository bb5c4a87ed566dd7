"""What do very many sessions cost: stored ones at a restart, living ones in memory?

``python -m benchmarks.sessions [--quick] [--json PATH] [--plot PATH]``

Every figure comes from a process started for it. The system's page cache is warm.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import trio

from benchmarks.histories import chat, write_histories
from benchmarks.report import Figure, Report, read_options
from turnkeeper.storage.lmdb_store import open_lmdb

QUESTION: Final = "What do very many sessions cost, at a restart and in memory?"
STORED: Final = 100_000
LIVING: Final = 50_000
LIVING_QUICK: Final = 20_000
MIB: Final = 1024 * 1024


async def prepare(directory: Path) -> None:
    async with open_lmdb(directory) as store:
        await write_histories(store, [1] * STORED)


def measured(*arguments: str) -> dict[str, Any]:
    """What :mod:`benchmarks.living` says of itself."""
    command = [sys.executable, "-m", "benchmarks.living", *arguments]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def restarted(directory: Path, rounds: int) -> list[dict[str, Any]]:
    """One process after the other answers a message, each in another conversation."""
    found = [
        measured("restart", str(directory), chat(STORED // 2 + number), str(time.monotonic()))
        for number in range(rounds)
    ]
    for each in found:
        if each["listed"] != STORED:
            raise RuntimeError(f"{each['listed']} of {STORED} sessions were listed")
    return found


def add_restart(report: Report, runs: Sequence[dict[str, Any]]) -> None:
    def add(
        name: str, unit: str, read: Callable[[dict[str, Any]], float], must: str, aim: str
    ) -> None:
        values = [read(run) for run in runs]
        report.add(Figure(name=name, value=median(values), unit=unit, must=must, aim=aim))
        report.notes.append(f"{name}: {min(values):.3g}–{max(values):.3g} {unit}")

    add("first page of the list", "s", lambda run: run["page_s"], "≤ 0.5", "0.2")
    add("whole list", "s", lambda run: run["list_s"], "", "")
    add(
        "start of process to first reply", "s", lambda run: run["reply_since_start_s"], "≤ 1", "0.4"
    )
    add("open_runtime to first reply", "s", lambda run: run["reply_since_open_s"], "", "")
    for when, key in (
        ("at the first reply", "at_reply"),
        ("once open work was looked for", "at_rest"),
        ("after a list", "after_list"),
    ):
        must, aim = ("≤ 150", "100") if key == "at_rest" else ("", "")
        add(
            f"private memory {when}",
            "MiB",
            lambda run, key=key: run[key]["private_bytes"] / MIB,  # type: ignore[misc]
            must,
            aim,
        )
        if key != "at_reply":
            add(
                "of that, pages of the data file",
                "MiB",
                lambda run, key=key: run[key]["file_bytes"] / MIB,  # type: ignore[misc]
                "",
                "",
            )


def add_living(report: Report, found: dict[str, Any]) -> None:
    def grown_kb(part: str) -> float:
        grown: float = (found["full"][part] - found["empty"][part]) / found["sessions"] / 1024
        return grown

    report.add(
        Figure(
            name=f"private memory per live idle session, {found['sessions']:,} of them",
            value=grown_kb("private_bytes"),
            unit="KB",
            must="≤ 4",
            aim="2",
        )
    )
    report.add(
        Figure(name="of that, pages of the data file", value=grown_kb("file_bytes"), unit="KB")
    )
    report.add(
        Figure(
            name="private memory of the process before",
            value=found["empty"]["private_bytes"] / MIB,
            unit="MiB",
        )
    )


def main() -> None:
    """Measure, and print the table."""
    options = read_options(QUESTION)
    living, rounds = (LIVING_QUICK, 3) if options.quick else (LIVING, 9)
    report = Report(question=QUESTION, options=options)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        stored = Path(folder) / "stored"
        trio.run(prepare, stored)
        add_restart(report, restarted(stored, rounds))
        add_living(report, measured("live", str(Path(folder) / "living"), str(living)))
    report.notes.append(
        f"{STORED:,} stored sessions of one turn each, {rounds} processes, medians; each live "
        "session has had one turn.\nPrivate memory is what only this process has, pages of the "
        "mapped data file included: those are\nthe system's cache, which it takes back when it "
        "likes. The page cache is warm."
    )
    report.finish()


if __name__ == "__main__":
    main()
