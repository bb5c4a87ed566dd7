"""Kinds of channel that other packages bring."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from turnkeeper.available import available_kinds, powers_in_words
from turnkeeper.channels.base import ChannelPowers
from turnkeeper.channels.websocket import WebSocketChannel
from turnkeeper.cli import main
from turnkeeper.config import ConfigError, load_config
from turnkeeper.kinds import load_kind, make_channels, platform_of_kind

from .command import environment
from .packages import SOURCE, install


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for packages, which Python looks into."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    for name in ("pigeon_post", "pigeon_mail", "broken_post", "odd_post", "web_post"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


def test_a_package_brings_a_kind_that_a_configuration_can_name(site: Path) -> None:
    install(site, "pigeon-post", {"pigeon": "pigeon_post:Pigeon"})
    settings = load_config({"channels": {"p": {"kind": "pigeon", "loft": "attic", "birds": 2}}})
    (channel,) = make_channels(settings)
    assert (channel.name, channel.platform) == ("p", "pigeon")
    assert platform_of_kind("pigeon") == "pigeon"


def test_its_keys_are_checked_as_those_of_a_built_in_kind(site: Path) -> None:
    install(site, "pigeon-post", {"pigeon": "pigeon_post:Pigeon"})
    for section, complaint in (
        ({"loft": 7}, "loft must be a string, not 7"),
        ({"loff": "attic"}, "unknown key 'loff'; did you mean 'loft'"),
        ({}, "loft"),
    ):
        settings = load_config({"channels": {"p": {"kind": "pigeon", **section}}})
        with pytest.raises(ConfigError, match=rf"\[channels.p\].*{complaint}"):
            make_channels(settings)


def test_a_kind_that_is_not_there_is_compared_with_those_of_packages(site: Path) -> None:
    install(site, "pigeon-post", {"pigeon": "pigeon_post:Pigeon"})
    with pytest.raises(ConfigError, match="no kind 'pigeom'; did you mean 'pigeon'"):
        load_kind("pigeom")


def test_a_package_replaces_no_built_in_kind(site: Path) -> None:
    install(site, "web-post", {"websocket": "web_post:Pigeon"})
    assert load_kind("websocket") is WebSocketChannel
    hidden = [kind for kind in available_kinds() if kind.source == "web-post 1.5"]
    assert [(kind.kind, kind.problem) for kind in hidden] == [
        ("websocket", "a built-in kind has this name, and is what is used")
    ]


@pytest.mark.parametrize(
    ("value", "source", "complaint"),
    [
        ("broken_post:Pigeon", "import no_such_module", "ModuleNotFoundError: No module named"),
        ("broken_post:Pigeon", "1 / 0", "ZeroDivisionError"),
        ("broken_post:Piegon", SOURCE, "AttributeError"),
        ("broken_post:tk", SOURCE, "no subclass of turnkeeper.Channel"),
        ("broken_post:Bare", SOURCE + "class Bare(tk.Channel):\n    platform = 'x'\n", "no `run`"),
        ("broken_post:Bare", SOURCE + "class Bare(Pigeon):\n    platform = ''\n", "`platform`"),
    ],
)
def test_a_broken_package_is_named_when_its_kind_is_used(
    site: Path, value: str, source: str, complaint: str
) -> None:
    install(site, "broken-post", {"pigeon": value}, source)
    settings = load_config({"channels": {"p": {"kind": "pigeon", "loft": "attic"}}})
    with pytest.raises(ConfigError, match=complaint) as caught:
        make_channels(settings)
    text = str(caught.value)
    assert text.startswith("[channels.p]: kind 'pigeon' of broken-post 1.5 (entry point pigeon = ")


def test_a_broken_package_is_nothing_to_those_who_do_not_use_it(site: Path) -> None:
    install(site, "broken-post", {"pigeon": "broken_post:Pigeon"}, "raise SystemError")
    settings = load_config({"channels": {"web": {"kind": "websocket", "port": 0}}})
    assert [channel.platform for channel in make_channels(settings)] == ["websocket"]
    assert "broken_post" not in sys.modules


def test_two_packages_that_bring_one_kind_are_both_named(site: Path) -> None:
    install(site, "pigeon-post", {"pigeon": "pigeon_post:Pigeon"})
    install(site, "pigeon-mail", {"pigeon": "pigeon_mail:Pigeon"})
    with pytest.raises(ConfigError, match=r"pigeon-mail 1\.5 and pigeon-post 1\.5; uninstall"):
        load_kind("pigeon")


def test_a_package_that_is_found_twice_is_one(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(site, "pigeon-post", {"pigeon": "pigeon_post:Pigeon"})
    other = tmp_path / "other"
    other.mkdir()
    install(other, "pigeon-post", {"pigeon": "pigeon_post:Pigeon"})
    monkeypatch.setattr(sys, "path", [str(other), *sys.path])
    assert load_kind("pigeon").platform == "pigeon"


def test_annotations_that_cannot_be_read_are_an_error_of_the_configuration(site: Path) -> None:
    source = SOURCE.replace("loft: str", 'loft: "Loft"')
    install(site, "odd-post", {"pigeon": "odd_post:Pigeon"}, source)
    settings = load_config({"channels": {"p": {"kind": "pigeon"}}})
    with pytest.raises(ConfigError, match=r"annotations of odd_post.Pigeon.*'Loft'"):
        make_channels(settings)


def test_no_error_shows_a_secret_that_the_channel_puts_into_it(site: Path) -> None:
    install(site, "pigeon-post", {"pigeon": "pigeon_post:Pigeon"})
    section = {"kind": "pigeon", "loft": "attic", "birds": 0, "token": "s3cr3t"}
    with pytest.raises(ConfigError, match=r"0 birds carry nothing, not even \*\*\*") as caught:
        make_channels(load_config({"channels": {"p": section}}))
    assert caught.value.__cause__ is None


def test_every_kind_that_there_is_is_listed_with_what_it_can(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(site, "pigeon-post", {"pigeon": "pigeon_post:Pigeon"})
    install(site, "broken-post", {"crow": "broken_post:Crow"}, "1 / 0")
    assert main(["channels", "list", "--available", "--json"]) == 0
    listed = {kind["kind"]: kind for kind in json.loads(capsys.readouterr().out)}
    assert listed["pigeon"] == {
        "kind": "pigeon",
        "platform": "pigeon",
        "source": "pigeon-post 1.5",
        "powers": ["texts of 200 characters", "files of 2 MB"],
        "keys": {"loft": "a string", "birds": "a whole number", "token": "a string"},
        "needed": ["loft"],
        "problem": None,
    }
    assert listed["websocket"]["source"].startswith("built in")
    assert "ZeroDivisionError" in listed["crow"]["problem"]
    assert main(["channels", "list", "--available"]) == 0
    text = capsys.readouterr().out
    assert "pigeon\n  platform  pigeon\n  from      pigeon-post 1.5\n" in text
    assert "  unusable  kind 'crow' of broken-post 1.5" in text


def test_every_power_has_words() -> None:
    powers = ChannelPowers(
        text_limit=4_096,
        text_unit="utf16",
        files=True,
        typing_every_s=5.0,
        draft_every_s=1.0,
        late_receipts=True,
        after_unknown="same_id",
    )
    assert powers_in_words(powers) == (
        "texts of 4,096 UTF-16 units",
        "files",
        "shows typing",
        "shows replies while they are made",
        "tells later what was read",
        "sends again what may have arrived, by the same id",
    )
    assert powers_in_words(ChannelPowers()) == ()


@pytest.mark.slow
def test_a_package_that_was_really_installed_is_found(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "pigeon_post.py").write_text(SOURCE, encoding="utf-8")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "pigeon-post"\nversion = "2.0"\n'
        '[project.entry-points."turnkeeper.channels"]\npigeon = "pigeon_post:Pigeon"\n'
        '[tool.setuptools]\npy-modules = ["pigeon_post"]\n'
    )
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "-t", str(site), str(source)], check=True, timeout=100)
    listed = subprocess.run(
        [sys.executable, "-m", "turnkeeper", "channels", "list", "--available", "--json"],
        env=environment(PYTHONPATH=str(site)),
        capture_output=True,
        check=True,
        timeout=60,
    )
    sources = {kind["kind"]: kind["source"] for kind in json.loads(listed.stdout)}
    assert sources["pigeon"] == "pigeon-post 2.0"
