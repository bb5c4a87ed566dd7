"""The documentation is executed: its examples run, its links lead somewhere.

A fenced block marked `python` runs as it stands, in a process and an empty directory of its own;
`python no-run` is not run, only compiled. In a `console` block, a line of `$ make ...` must name a
target and one of `$ turnkeeper ...` a command that the command line knows.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MUST_EXIST = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
EXAMPLE_TIMEOUT_S = 60

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^`\n]*)$")
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^()\s]+(?:\([^()\s]*\))?)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^(?P<level>#{1,6}) +(?P<title>.+?) *#*$")


@dataclass(frozen=True)
class Block:
    """One fenced block of a document."""

    document: Path
    line: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def split(document: Path) -> tuple[list[Block], str]:
    """The fenced blocks of `document`, and its prose with as many lines but without them."""
    blocks: list[Block] = []
    prose: list[str] = []
    opened: re.Match[str] | None = None
    start = 0
    body: list[str] = []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        fence = FENCE.match(line)
        if opened is None:
            if fence:
                opened, start, body = fence, number, []
            prose.append("" if fence else line)
            continue
        prose.append("")
        if fence and fence["ticks"] == opened["ticks"] and not fence["info"]:
            blocks.append(Block(document, start, opened["info"].strip(), "\n".join(body) + "\n"))
            opened = None
        else:
            body.append(line.removeprefix(opened["indent"]))
    assert opened is None, f"{document.name}:{start}: the block is never closed"
    return blocks, "\n".join(prose)


def blocks_of(language: str) -> list[Block]:
    found = [block for document in DOCUMENTS for block in split(document)[0]]
    return [block for block in found if block.info.split(" ")[0] == language]


def anchors(document: Path) -> set[str]:
    """What `#...` may point to in `document`, by the rule GitHub follows."""
    names: set[str] = set()
    for line in split(document)[1].splitlines():
        if heading := HEADING.match(line):
            plain = re.sub(r"[^\w\- ]", "", heading["title"].lower())
            name = base = plain.replace(" ", "-")
            count = 0
            while name in names:
                count += 1
                name = f"{base}-{count}"
            names.add(name)
    return names


@pytest.mark.parametrize("name", MUST_EXIST)
def test_the_document_is_there_and_says_something(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("block", blocks_of("python"), ids=str)
def test_a_python_example_works_as_printed(block: Block, tmp_path: Path) -> None:
    code = "\n" * block.line + block.text  # a traceback then names the line of the document
    if block.info == "python no-run":
        compile(code, str(block), "exec")
        return
    assert block.info == "python", f"{block}: mark it `python` or `python no-run`"
    script = tmp_path / "example.py"
    script.write_text(code, encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TURNKEEPER_")}
    result = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=EXAMPLE_TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, f"{block}\n{result.stdout}{result.stderr}"


def commands() -> list[tuple[str, list[str]]]:
    """Where a console block shows a command, and its words."""
    return [
        (f"{block}: {line}", line.removeprefix("$ ").split())
        for block in blocks_of("console")
        for line in block.text.splitlines()
        if line.startswith("$ ")
    ]


def test_every_make_target_shown_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for where, words in commands():
        shown = {words[i + 1] for i, word in enumerate(words[:-1]) if word == "make"}
        assert shown <= targets, f"{where}: the Makefile has {sorted(targets)}"


def test_every_turnkeeper_command_shown_exists() -> None:
    shown = {
        (where, words[1])
        for where, words in commands()
        if words[0] == "turnkeeper" and len(words) > 1 and not words[1].startswith("-")
    }
    for where, command in sorted(shown):
        answer = subprocess.run(
            [sys.executable, "-m", "turnkeeper", command, "--help"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=EXAMPLE_TIMEOUT_S,
            check=False,
        )
        assert answer.returncode == 0, f"{where}\n{answer.stderr}"


@pytest.mark.parametrize("target", ["run", "test"])
def test_the_readme_shows_the_two_commands_a_newcomer_needs(target: str) -> None:
    assert re.search(rf"\bmake {target}\b", (ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    broken: list[str] = []
    for number, line in enumerate(split(document)[1].splitlines(), start=1):
        for link in LINK.finditer(re.sub(r"`[^`]*`", "", line)):
            path, _, anchor = link["target"].partition("#")
            if re.match(r"[a-z]+:", link["target"]):
                continue  # another site: not ours to keep up
            file = (document.parent / path).resolve() if path else document
            inside = file == ROOT or ROOT in file.parents
            if not inside or not file.exists():
                broken.append(f"line {number}: {link['target']}: no such file")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                broken.append(f"line {number}: {link['target']}: no such heading")
    assert not broken, "\n".join([str(document.relative_to(ROOT)), *broken])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_headings_start_with_one_title_and_skip_no_level(document: Path) -> None:
    levels = [
        len(heading["level"])
        for line in split(document)[1].splitlines()
        if (heading := HEADING.match(line))
    ]
    assert levels.count(1) == 1
    assert levels[0] == 1
    jumps = [(a, b) for a, b in pairwise(levels) if b > a + 1]
    assert not jumps, f"{document.name}: heading levels jump {jumps}"
