"""`channels new`: a channel to begin with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from turnkeeper.cli import main


def test_a_channel_and_its_tests_are_written_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["channels", "new", "carrier_pigeon", "--dir", str(tmp_path)]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["carrier_pigeon_channel.py", "test_carrier_pigeon_channel.py"]
    channel, tests = ((tmp_path / name).read_text() for name in names)
    assert "class CarrierPigeonChannel(tk.Channel):" in channel
    assert 'platform = "carrier_pigeon"' in channel
    assert "from carrier_pigeon_channel import CarrierPigeonChannel" in tests
    assert "tarter" not in channel + tests
    assert f"pytest {tmp_path}/test_carrier_pigeon_channel.py" in capsys.readouterr().out


@pytest.mark.parametrize("there", ["pigeon_channel.py", "test_pigeon_channel.py"])
def test_nothing_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], there: str
) -> None:
    (tmp_path / there).write_text("mine")
    assert main(["channels", "new", "pigeon", "--dir", str(tmp_path)]) == 1
    assert f"{there} is there already; nothing was written" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Pigeon", "use 1 to 40 small letters"),
        ("carrier-pigeon", "use 1 to 40 small letters"),
        ("7pigeons", "beginning with a letter"),
        ("../pigeon", "use 1 to 40 small letters"),
        ("pigeon\n", "use 1 to 40 small letters"),
        ("", "use 1 to 40 small letters"),
        ("p" * 41, "use 1 to 40 small letters"),
        ("class", "a word of Python's own"),
        ("websocket", "is a built-in kind"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, reason: str
) -> None:
    assert main(["channels", "new", name, "--dir", str(tmp_path)]) == 2
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["channels", "new", "pigeon", "--dir", str(tmp_path / "src")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_is_written_passes_its_tests_in_an_empty_folder_without_any_plugin(
    tmp_path: Path,
) -> None:
    assert main(["channels", "new", "pigeon", "--dir", str(tmp_path)]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:trio", "-p", "no:cacheprovider", "-rs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PigeonWire names no group" in done.stdout
