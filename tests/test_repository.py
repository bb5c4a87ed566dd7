"""What holds for every file of the library, checked from its source."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from turnkeeper.kinds import KINDS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE_DIRS: Final = {
    "turnkeeper": ROOT / "turnkeeper",
    "turnkeeper.actors": ROOT / "actors",
    "turnkeeper.channels": ROOT / "channels",
    "turnkeeper.storage": ROOT / "storage",
}
KINDS_MODULE: Final = "turnkeeper.kinds"
PLATFORMS: Final = ("discord", "matrix", "slack", "telegram", "whatsapp")


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the library, by the name it is imported under."""
    for package, folder in PACKAGE_DIRS.items():
        for path in sorted(folder.glob("**/*.py")):
            relative = path.relative_to(folder)
            if relative.parts[0] in ("actors", "channels", "storage"):
                continue  # the links inside turnkeeper/
            parts = [package, *relative.with_suffix("").parts]
            if parts[-1] == "__init__":
                parts.pop()
            yield ".".join(parts), path


MODULES = dict(modules())


def says_something(path: Path) -> bool:
    """Whether a module holds more than a docstring."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not isinstance(statement, ast.Expr) for statement in body)


PUBLIC_MODULES = {
    name: path
    for name, path in MODULES.items()
    if says_something(path) and not any(part.startswith("_") for part in name.split("."))
}
ERROR_MODULES = [name for name in PUBLIC_MODULES if name.rpartition(".")[2] == "errors"]


def is_plumbing(value: ast.expr | None) -> bool:
    """Whether a module-level value is a logger or a type variable: nobody's business to import."""
    if not isinstance(value, ast.Call):
        return False
    return ast.unparse(value.func) in ("TypeVar", "ParamSpec", "TypeVarTuple", "logging.getLogger")


def defined_names(statements: list[ast.stmt]) -> set[str]:
    """The public names that a module itself makes, at its top level."""
    names: set[str] = set()
    for statement in statements:
        match statement:
            case ast.If() | ast.Try():
                names |= defined_names([*statement.body, *statement.orelse])
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(statement.name)
            case ast.Assign() if not is_plumbing(statement.value):
                names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)) if not is_plumbing(statement.value):
                names.add(name)
            case _:
                pass
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", PUBLIC_MODULES)
def test_a_public_module_declares_its_public_names(name: str) -> None:
    module = importlib.import_module(name)
    declared: list[str] | None = getattr(module, "__all__", None)
    assert declared is not None, f"{name} has no __all__"
    assert len(declared) == len(set(declared))
    missing = [exported for exported in declared if not hasattr(module, exported)]
    assert not missing, f"{name}.__all__ names what is not there: {missing}"
    undeclared = defined_names(ast.parse(inspect.getsource(module)).body) - set(declared)
    assert not undeclared, f"{name}: add to __all__ or begin with an underscore: {undeclared}"


def test_every_package_folder_is_listed_so_that_the_wheel_holds_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {
        name if path.name == "__init__.py" else name.rpartition(".")[0]
        for name, path in MODULES.items()
    }
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(folders)


@pytest.mark.parametrize("folder", ["actors", "channels", "storage"])
def test_a_folder_is_linked_into_the_import_package(folder: str) -> None:
    link = ROOT / "turnkeeper" / folder
    assert link.is_symlink()
    assert link.resolve() == ROOT / folder


@pytest.mark.parametrize("folder", [".", "tests", "benchmarks"])
def test_what_is_not_installed_is_not_a_package(folder: str) -> None:
    assert not list((ROOT / folder).glob("__init__.py"))


def code_words(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every token of `source`, without comments and docstrings."""
    starts_statement = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.NL):
            starts_statement = True
            continue
        if token.type == tokenize.COMMENT:
            continue
        if not (token.type == tokenize.STRING and starts_statement):
            yield token.start[0], token.string
        starts_statement = False


@pytest.mark.parametrize("name", MODULES)
def test_a_platform_is_named_only_in_its_own_channel(name: str) -> None:
    allowed = {
        platform for platform in PLATFORMS if name.startswith(f"turnkeeper.channels.{platform}")
    }
    table = {f'"{word}"' for entry in KINDS.items() for word in entry}
    in_table = table if name == KINDS_MODULE else set[str]()
    named = [
        f"line {line}: {platform}"
        for line, word in code_words(MODULES[name].read_text(encoding="utf-8"))
        for platform in PLATFORMS
        if platform in word.lower() and platform not in allowed and word not in in_table
    ]
    assert not named, f"{name} knows platforms: {named}"


def siblings_imported(source: str, siblings: set[str]) -> set[str]:
    """Which modules of its own folder a module imports."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(level=1, module=None):
                imported |= {alias.name for alias in node.names}
            case ast.ImportFrom(level=1, module=str(module)):
                imported.add(module.partition(".")[0])
            case ast.ImportFrom(level=0, module=str(module)):
                imported.add(module.removeprefix("turnkeeper.channels.").partition(".")[0])
            case _:
                pass
    return imported & siblings


FOR_EVERY_CHANNEL: Final = {
    *("base", "by_conversation", "display", "fetching", "handover", "hooks", "hook_signing"),
    *("http_answer", "http_client", "http_connections", "http_json", "http_pieces"),
    *("heard", "incoming_files", "json_fields", "lanes", "latest", "limiter", "line", "markdown"),
    *("outgoing_files", "parts", "pauses", "platform_url", "queues", "secret", "strangers"),
    *("outliving", "token_channel", "ws_client"),
}
PIECES_OF_THE_ACTOR: Final = {
    *("actor", "failing", "file_desk", "inlet", "parcel", "presence", "retry")
}
CHANNEL_MODULES: Final = {
    path.stem: path for path in (ROOT / "channels").glob("*.py") if path.stem != "__init__"
}


@pytest.mark.parametrize("module", sorted(CHANNEL_MODULES.keys() - PIECES_OF_THE_ACTOR))
def test_a_channel_imports_no_other(module: str) -> None:
    family = module.partition("_")[0]
    own = {name for name in CHANNEL_MODULES if name.partition("_")[0] == family}
    imported = siblings_imported(CHANNEL_MODULES[module].read_text("utf-8"), set(CHANNEL_MODULES))
    assert imported <= own | FOR_EVERY_CHANNEL


@pytest.mark.parametrize(
    "line",
    [
        "from . import two",
        "from .two import thing",
        "from turnkeeper.channels.two import thing",
        "def late():\n    from .two import thing",
    ],
)
def test_every_way_to_import_a_sibling_is_seen(line: str) -> None:
    assert siblings_imported(f"from .base import Channel\n{line}", {"two"}) == {"two"}


def drawn_tree(docstring: str) -> dict[str, str | None]:
    """Each class in a drawn tree, and its parent there."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    lines = inspect.cleandoc(docstring).splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        child = re.match(r"\s*(?P<bars>(?:[│ ] {3})*)[├└]── (?P<name>\w+)", line)
        root = re.match(r"\s*(?P<name>\w+)", line)
        if child:
            depth = len(child["bars"]) // 4 + 1
            parents[child["name"]] = path[depth - 1]
            path[depth:] = [child["name"]]
        elif root and re.match(r"\s*[├└]── ", below):
            parents[root["name"]] = None
            path = [root["name"]]
    return parents


@pytest.mark.parametrize("name", ERROR_MODULES)
def test_the_drawn_error_tree_is_the_real_one(name: str) -> None:
    module = importlib.import_module(name)
    drawn = drawn_tree(module.__doc__ or "")
    real = {
        cls.__name__: {base.__name__ for base in cls.__bases__ if base.__module__ == name}
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, BaseException) and cls.__module__ == name
    }
    assert set(drawn) == set(real)
    for cls, parent in drawn.items():
        assert real[cls] == (set() if parent is None else {parent}), cls


def test_there_are_error_trees_to_check() -> None:
    assert {"turnkeeper.actors.errors", "turnkeeper.storage.errors"} <= set(ERROR_MODULES)


FORBIDDEN_IMPORTS: Final = {
    "the kernel knows no message": ("actors/kernel", "from ..messages import TurnId"),
    "messages know no core": ("actors/messages.py", "from .core import plan"),
    "storage knows no message": ("storage", "from ..actors.messages import TurnId"),
    "core knows no kernel": ("actors/core", "from ..kernel import probe"),
    "core knows no store": ("actors/core", "from ...storage.base import Batch"),
    "core has no clock": ("actors/core", "import time"),
    "a shell uses no pykka": ("actors", "import pykka"),
    "a shell opens no store": ("actors", "import lmdb"),
    "a shell knows no platform": ("actors", "from ..channels import one"),
    "a channel knows no shell": ("channels", "from ..actors import shell"),
    "a channel knows no store": ("channels", "from ..storage.base import Batch"),
    "nothing below knows the face": ("storage", "from .. import runtime"),
}
"""Where a line is added which the layers forbid."""
STAND_INS: Final = {
    "actors/core/plan.py": "",
    "actors/kernel/probe.py": "",
    "actors/shell.py": "",
    "channels/one.py": "",
    "turnkeeper/runtime.py": "",
}
"""Empty modules for those lines to import, whatever the library holds today."""


@pytest.mark.parametrize("case", FORBIDDEN_IMPORTS)
def test_an_import_against_the_layers_is_caught(case: str, tmp_path: Path) -> None:
    where, line = FORBIDDEN_IMPORTS[case]
    for folder in ("turnkeeper", "actors", "channels", "storage"):
        shutil.copytree(
            ROOT / folder,
            tmp_path / folder,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, text in STAND_INS.items():
        (tmp_path / path).write_text(text, encoding="utf-8")
    target = tmp_path / where
    if target.is_dir():
        target /= "added.py"
    before = lint_imports(tmp_path)
    assert before.returncode == 0, before.stdout
    with target.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    after = lint_imports(tmp_path)
    assert after.returncode == 1, after.stdout
    assert "BROKEN" in after.stdout


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
