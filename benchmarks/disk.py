"""The disk alone, measured again and again between other figures: it drifts within minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.report import Figure, fdatasync_p50_ms
from turnkeeper.storage.keys import log_key
from turnkeeper.storage.lmdb_env import create_environment, open_environment
from turnkeeper.storage.lmdb_store import DEFAULT_MAP_BYTES

__all__ = ["Disk", "raw_commits_ms"]

_RAW_RECORD_BYTES: Final = 150
"""About the length of a user record."""


def raw_commits_ms(directory: Path, rounds: int) -> list[float]:
    """Times of durable transactions with one put each, in milliseconds."""
    directory.mkdir(exist_ok=True)
    if not (directory / "data.mdb").exists():
        create_environment(directory)
    times: list[float] = []
    with open_environment(directory, DEFAULT_MAP_BYTES) as (env, dbs):
        start = env.info()["last_txnid"]
        for number in range(start, start + rounds):
            key, value = log_key(1, number), number.to_bytes(_RAW_RECORD_BYTES, "big")
            began = time.perf_counter()
            with env.begin(write=True) as txn:
                txn.put(key, value, db=dbs.log)
            times.append((time.perf_counter() - began) * 1000)
    return times


@dataclass(slots=True)
class Disk:
    """Raw figures of the disk, taken between the others: it drifts within minutes."""

    directory: Path
    commits_ms: list[float] = field(default_factory=list[float])
    fdatasyncs_ms: list[float] = field(default_factory=list[float])

    def measure(self, rounds: int) -> None:
        self.commits_ms += raw_commits_ms(self.directory / "raw", rounds)
        self.fdatasyncs_ms.append(fdatasync_p50_ms(self.directory, rounds=rounds))

    def figure(self) -> Figure:
        """The row that stands beside the others."""
        return Figure(
            name="one raw LMDB commit, p50",
            value=median(self.commits_ms),
            unit="ms",
            beside="one raw fdatasync, p50",
            beside_value=median(self.fdatasyncs_ms),
        )
