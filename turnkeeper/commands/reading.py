"""Reading the store, whether or not a runtime runs on it: LMDB shows both the same."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ..storage.base import Reads
from ..storage.lmdb_store import open_reader

__all__ = ["frozen"]


@contextmanager
def frozen(state_dir: Path) -> Generator[Reads]:
    """Reads over one moment of the store in `state_dir`.

    Raises:
        StorageError: there is none, or it cannot be read.
    """
    # A command reads once and ends: looking for cycles among 100,000 heads takes longer than that.
    gc.disable()
    try:
        with open_reader(state_dir) as reader, reader.snapshot() as reads:
            yield reads
    finally:
        gc.enable()
