"""Random batches against a model of a few lines, on every store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turnkeeper.storage.base import Batch, Store, Table
from turnkeeper.storage.errors import Conflict, StorageError
from turnkeeper.storage.lmdb_store import open_lmdb
from turnkeeper.storage.memory import MemoryDisk, open_memory

keys = st.sampled_from([b"a", b"ab", b"b", b"\xff"])
values = st.sampled_from([b"", b"1", b"22"])
tables = st.sampled_from([Table.HEADS, Table.NAMES])
erases = st.tuples(st.integers(1, 3), st.integers(0, 6), st.integers(0, 7))
appends = st.tuples(st.integers(1, 3), st.integers(1, 5), st.lists(values, max_size=3))
batches = st.fixed_dictionaries(
    {
        "appends": st.lists(appends, max_size=2),
        "erases": st.lists(erases, max_size=1),
        "expects": st.lists(st.tuples(tables, keys, st.none() | values), max_size=1),
        "puts": st.lists(st.tuples(tables, keys, values), max_size=3),
        "deletes": st.lists(st.tuples(tables, keys), max_size=1),
    }
)
Drawn: TypeAlias = dict[str, list[tuple[object, ...]]]
steps = st.lists(st.sampled_from(["wait", "reopen"]) | batches, max_size=25)


@dataclass
class Model:
    """What a store must hold."""

    logs: dict[int, list[bytes | None]] = field(default_factory=dict[int, list[bytes | None]])
    """None for what was erased."""
    tables: dict[tuple[Table, bytes], bytes] = field(
        default_factory=dict[tuple[Table, bytes], bytes]
    )

    def apply(self, batch: Batch) -> bool:
        """Whether `batch` held; if so it has happened."""
        logs = {stream: records.copy() for stream, records in self.logs.items()}
        for stream, seq, records in batch.appends:
            log = logs.setdefault(stream, [])
            if seq != len(log) + 1:
                return False
            log.extend(records)
        for stream, start, stop in batch.erases:
            log = logs.get(stream, [])
            if not 0 < start <= stop <= len(log):
                return False
            log[start - 1 : stop - 1] = [None] * (stop - start)
        if any(self.tables.get((table, key)) != value for table, key, value in batch.expects):
            return False
        self.logs = logs
        for table, key in batch.deletes:
            self.tables.pop((table, key), None)
        for table, key, value in batch.puts:
            self.tables[table, key] = value
        return True

    def check(self, store: Store) -> None:
        for stream in (1, 2, 3):
            log = self.logs.get(stream, [])
            records = [(seq, data) for seq, data in enumerate(log, start=1) if data is not None]
            assert store.read_log(stream, limit=1000) == records
            assert store.read_log(stream, limit=1000, reverse=True) == records[::-1]
            assert store.last_seq(stream) == len(log)
        for table in Table:
            pairs = sorted((key, value) for (of, key), value in self.tables.items() if of is table)
            assert store.scan(table, limit=1000) == pairs
            assert (
                store.scan(table, b"ab", b"b\0", limit=1, reverse=True)
                == [pair for pair in pairs[::-1] if b"ab" <= pair[0] < b"b\0"][:1]
            )


OpenStore: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]


async def play(open_store: OpenStore, drawn: list[str | Drawn]) -> None:
    """Do the steps on the store and on the model, and compare."""
    model, told, expected = Model(), list[bool](), list[bool]()

    def tell(error: StorageError | None) -> None:
        assert error is None or isinstance(error, Conflict)
        told.append(error is None)

    todo = list(drawn)
    while todo:
        async with open_store() as store:
            while todo and (step := todo.pop(0)) != "reopen":
                if isinstance(step, str):
                    await store.commit(Batch())
                    assert told == expected
                    model.check(store)
                    continue
                batch = Batch()
                for name, parts in step.items():
                    getattr(batch, name).extend(parts)
                expected.append(model.apply(batch))
                store.submit(batch, tell)
    async with open_store() as store:
        assert told == expected
        model.check(store)


@pytest.mark.parametrize("kind", ["memory", "lmdb"])
def test_any_sequence_of_batches_leaves_what_the_model_says(kind: str) -> None:
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(steps)
    def check(drawn: list[str | Drawn]) -> None:
        with TemporaryDirectory() as folder:
            disk = MemoryDisk()
            open_store: OpenStore = (
                (lambda: open_memory(disk))
                if kind == "memory"
                else (lambda: open_lmdb(Path(folder) / "state", map_size=2**30))
            )
            trio.run(play, open_store, drawn)

    check()
