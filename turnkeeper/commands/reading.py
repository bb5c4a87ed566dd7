"""Reading the store, whether or not a runtime runs on it: LMDB shows both the same."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ..collector import collector_paused
from ..storage.base import Reads
from ..storage.lmdb_store import open_reader

__all__ = ["frozen"]


@contextmanager
def frozen(state_dir: Path) -> Generator[Reads]:
    """Reads over one moment of the store in `state_dir`.

    Raises:
        StorageError: there is none, or it cannot be read.
    """
    with collector_paused(), open_reader(state_dir) as reader, reader.snapshot() as reads:
        yield reads
