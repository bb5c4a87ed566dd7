"""Run as a program: appends to a store until something stops it, and says what is durable.

    python appender.py STATE_DIR [RECORD_BYTES [COUNT]]

Prints `open` once commits begin, then the sequence number of every acknowledged record, and at the
end `failed: …` with the store's own words if a commit failed.
"""

from __future__ import annotations

import os
import sys

import trio

from turnkeeper.storage.base import Batch
from turnkeeper.storage.errors import StorageError
from turnkeeper.storage.lmdb_store import open_lmdb


def say(text: str) -> None:
    # One write per line: whatever arrived was acknowledged, even when the next moment kills us.
    os.write(1, text.encode() + b"\n")


async def main(state_dir: str, record_bytes: int, count: int) -> None:
    async with open_lmdb(state_dir, map_size=2**30) as store, trio.open_nursery() as nursery:
        seq = store.last_seq(1)
        room = trio.Semaphore(64)

        def acknowledged(seq: int, error: StorageError | None) -> None:
            room.release()
            if error is None:
                say(str(seq))

        async def end_on_failure() -> None:
            failure = await store.wait_failed()
            say(f"failed: {failure}")
            nursery.cancel_scope.cancel()

        nursery.start_soon(end_on_failure)
        say("open")
        for _ in range(count):
            await room.acquire()
            seq += 1
            batch = Batch()
            batch.append(1, seq, [b"%d " % seq + b"x" * record_bytes])
            store.submit(batch, lambda error, seq=seq: acknowledged(seq, error))  # type: ignore[misc]
        await store.commit(Batch())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    state_dir, record_bytes, count = [*sys.argv[1:], *["200", str(10**9)][len(sys.argv) - 2 :]]
    trio.run(main, state_dir, int(record_bytes), int(count))
