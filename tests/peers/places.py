"""Where the programs that nobody here wrote are installed: `make peers` puts them there.

The environment variable TURNKEEPER_PEERS names the folder, `.peers` in the checkout without it;
it holds `venv/` and `node/`. What is missing skips a test, or fails it when
TURNKEEPER_REQUIRE_PEERS=1, as in CI, where it would be a peer that nothing was tried against.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NoReturn

import pytest

__all__ = ["CHECKOUT", "missing", "peers", "peers_python", "require"]

CHECKOUT: Final = Path(__file__).resolve().parents[2]


def peers() -> Path:
    """The folder of the peers, whether it is there or not."""
    named = os.environ.get("TURNKEEPER_PEERS")
    return Path(named).resolve() if named else CHECKOUT / ".peers"


def require(program: str) -> Path:
    """The path of an installed program, of Python's or of Node's; without it, skip or fail.

    Ask in a fixture that is not async: pytest-trio skips a test from inside its loop, too, but
    forgets the reason.
    """
    for folder in (peers() / "venv" / "bin", peers() / "node" / "node_modules" / ".bin"):
        path = folder / program
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return missing(program)


def peers_python() -> Path:
    """The Python that has the third parties' clients."""
    return require("python")


def missing(what: str) -> NoReturn:
    """Skip, or fail where peers are required."""
    reason = f"{what} is not installed in {peers()}: make peers"
    if os.environ.get("TURNKEEPER_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
