"""A peer that is not installed skips a test here, and fails it where peers are required."""

from __future__ import annotations

from pathlib import Path

import pytest

from .places import CHECKOUT, peers, require


def test_peers_are_in_the_checkout_unless_the_environment_names_a_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TURNKEEPER_PEERS", raising=False)
    assert peers() == CHECKOUT / ".peers"
    monkeypatch.setenv("TURNKEEPER_PEERS", str(tmp_path))
    assert peers() == tmp_path


@pytest.mark.parametrize("folder", ["venv/bin", "node/node_modules/.bin"])
def test_a_program_of_python_or_of_node_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    monkeypatch.setenv("TURNKEEPER_PEERS", str(tmp_path))
    program = tmp_path / folder / "peer"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    assert require("peer") == program


def test_a_missing_peer_skips_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TURNKEEPER_PEERS", str(tmp_path))
    monkeypatch.delenv("TURNKEEPER_REQUIRE_PEERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="make peers"):
        require("peer")


def test_a_missing_peer_fails_where_peers_are_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TURNKEEPER_PEERS", str(tmp_path))
    monkeypatch.setenv("TURNKEEPER_REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception, match="make peers"):
        require("peer")
