"""Deletes and brings in sessions until it is killed; says when each is done.

python retention.py delete STATE SESSION…
python retention.py import STATE FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from turnkeeper.actors.acts import Delete
from turnkeeper.actors.messages import SessionId
from turnkeeper.config import Config
from turnkeeper.resting import import_session, perform_deletions


async def main(act: str, state_dir: Path, *names: str) -> None:
    print("ready", flush=True)
    for name in names:
        if act == "delete":
            deletion = Delete(session_id=SessionId(name), by="operator", even_open=True)
            await perform_deletions(state_dir, [deletion], Config())
        else:
            await import_session(state_dir, Path(name), dry_run=False)
        print(f"done {name}", flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
