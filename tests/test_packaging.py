"""What a user gets: one import name, a wheel that holds everything, a `make` that works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE_DIRS = {
    "turnkeeper": "turnkeeper",
    "turnkeeper/actors": "actors",
    "turnkeeper/channels": "channels",
    "turnkeeper/storage": "storage",
}
NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", ".turnkeeper", "__pycache__", "*.egg-info",
    "build", "dist", "results",
)  # fmt: skip
BUILD_TIMEOUT_S = 300
"""Installing fetches the dependencies: on a slow network that takes most of it."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * BUILD_TIMEOUT_S)]


def run(
    command: Sequence[str | Path], cwd: Path, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `command` as a user would: `text` piped in, nothing of ours in the environment."""
    ours = ("COVERAGE_", "MAKE", "MFLAGS", "PYTEST_", "PYTHON", "TURNKEEPER_")
    return subprocess.run(
        command,
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if not name.startswith(ours)},
        input=text,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )


def build(source: Path, target: Path, kind: str) -> Path:
    result = run(
        [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", target, source],
        cwd=source,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout: building leaves traces, and finds those of earlier builds."""
    copy = tmp_path_factory.mktemp("source") / "a checkout of another name"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=NOT_SOURCE)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def wheel_from_sdist(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    unpacked = tmp_path_factory.mktemp("unpacked")
    # Not tarfile: a safe `filter` is there from Python 3.11.4 only, and from 3.12 on expected.
    assert run(["tar", "--extract", "--file", sdist], cwd=unpacked).returncode == 0
    (folder,) = unpacked.iterdir()
    return build(folder, tmp_path_factory.mktemp("wheel_from_sdist"), "wheel")


@pytest.fixture(scope="module")
def installed(wheel_from_sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that holds the wheel and what it depends on."""
    environment = tmp_path_factory.mktemp("environment")
    make: list[str | Path] = [sys.executable, "-m", "venv", environment]
    fill: list[str | Path] = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    for command in (make, [*fill, wheel_from_sdist]):
        result = run(command, cwd=Path("/"))
        assert result.returncode == 0, result.stdout + result.stderr
    return environment / "bin"


def files_of_the_library(source: Path) -> set[str]:
    """Every file that users need, by the path it is installed under."""
    return {
        f"{package}/{path.relative_to(source / folder).as_posix()}"
        for package, folder in PACKAGE_DIRS.items()
        for path in (source / folder).rglob("*")
        if path.is_file()
    }


def test_the_wheel_holds_every_file_of_the_library_and_nothing_else(
    source: Path, wheel: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == files_of_the_library(source)


def test_the_wheel_made_from_the_sdist_is_the_same(wheel: Path, wheel_from_sdist: Path) -> None:
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(wheel_from_sdist) as other:
        contents = {name: one.read(name) for name in one.namelist()}
        assert {name: other.read(name) for name in other.namelist()} == contents


def test_the_sdist_holds_tests_documents_and_licence(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ("LICENSE", "README.md", "Makefile", ".ci/run", "tests/test_packaging.py")
    assert set(wanted) <= held
    assert not any(name.startswith("benchmarks/results/") for name in held)


def test_the_command_works_from_anywhere(installed: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    result = run([installed / "turnkeeper", "--version"], cwd=Path("/"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["turnkeeper", project["version"]]


@pytest.mark.parametrize("folder", ["actors", "channels", "storage"])
def test_the_folders_take_no_import_name_of_their_own(installed: Path, folder: str) -> None:
    result = run([installed / "python", "-c", f"import {folder}"], cwd=Path("/"))
    assert result.returncode == 1
    assert f"No module named '{folder}'" in result.stderr


def test_every_module_can_be_imported_without_a_warning(installed: Path) -> None:
    walk = (
        "import importlib, pkgutil, turnkeeper\n"
        "for module in pkgutil.walk_packages(turnkeeper.__path__, 'turnkeeper.'):\n"
        "    if not module.name.endswith('.__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "        print(module.name)\n"
    )
    result = run([installed / "python", "-W", "error", "-c", walk], cwd=Path("/"))
    assert result.returncode == 0, result.stderr
    assert "turnkeeper.actors.kernel" in result.stdout.split()


def test_type_checkers_are_told_that_the_package_is_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert "turnkeeper/py.typed" in archive.namelist()


def test_a_fresh_installation_counts_tokens_without_the_network(
    installed: Path, tmp_path: Path
) -> None:
    count = (
        "import os, sys, trio\n"
        f"os.environ['TIKTOKEN_CACHE_DIR'] = {str(tmp_path)!r}\n"
        "os.environ['https_proxy'] = 'http://127.0.0.1:9'\n"
        "from turnkeeper.tokens import open_counter\n"
        "async def main():\n"
        "    async with open_counter(None) as counter:\n"
        "        print(await counter.count(['hello world']), counter.name)\n"
        "trio.run(main)\n"
    )
    result = run([installed / "python", "-W", "error", "-c", count], cwd=Path("/"))
    assert result.stderr == ""
    assert result.stdout == "[2] o200k_base\n"


def test_who_pipes_a_line_into_a_fresh_checkout_reads_nothing_but_the_answer(source: Path) -> None:
    first = run(["make", "run"], source, "hello\n")
    assert first.returncode == 0, first.stderr
    assert "Installing turnkeeper" in first.stderr
    second = run(["make", "run"], source, "hello\n")
    assert second.returncode == 0, second.stderr
    assert "Installing turnkeeper" not in second.stderr
    for answer in (first.stdout, second.stdout):
        assert answer.strip()
        assert "Installing" not in answer
        assert "bin/turnkeeper run" not in answer  # make must not show what it does
    assert (source / ".turnkeeper").is_dir()


def test_a_python_that_is_too_old_is_said_in_one_line(source: Path) -> None:
    empty = source / "no python here"
    empty.mkdir()
    shell = f'PATH="{empty}" "$(command -v make)" VENV=.other PYTHON=python2 run'
    result = run(["sh", "-c", shell], source)
    assert result.returncode != 0
    (complaint, _) = result.stderr.splitlines()
    assert "needs Python 3.11 or newer" in complaint
