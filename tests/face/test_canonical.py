"""One spelling for each user, as the channels of their platforms say it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from turnkeeper import ConfigError, TurnRefused
from turnkeeper.actors.ledger import paired_identities
from turnkeeper.canonical import canonical_among, canonical_user_id
from turnkeeper.channels.whatsapp import WhatsAppChannel
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo, on_stage
from .packages import SOURCE, install

STATES = """
    @staticmethod
    def canonical_user_id(user_id):
        if not user_id.startswith("ring-"):
            raise ValueError("a ring begins with ring-")
        return user_id.casefold()
"""


class Ringed(LoopbackChannel):
    """A platform that takes small and capital letters for the same."""

    @staticmethod
    def canonical_user_id(user_id: str, /) -> str:
        return user_id.casefold()


class Counted(LoopbackChannel):
    """A platform that does not mind zeros."""

    @staticmethod
    def canonical_user_id(user_id: str, /) -> str:
        return user_id.lstrip("0")


@pytest.mark.parametrize(
    ("platform", "user_id", "canonical"),
    [
        ("whatsapp", "+1 (555) 123-4567", "15551234567"),
        ("telegram", "+1 (555) 123-4567", "+1 (555) 123-4567"),
        ("slack", "u1A", "u1A"),
        ("loopback", " 01 ", " 01 "),
        ("websocket", "ann", "ann"),
    ],
)
def test_a_user_id_has_the_form_that_its_platform_gives_it(
    platform: str, user_id: str, canonical: str
) -> None:
    assert canonical_user_id(platform, user_id) == canonical


@pytest.mark.parametrize(
    "platform", ["", "WhatsApp", "whatsapp ", "../whatsapp", "whatsapp.x", "a.b", "1", "é", "x\0"]
)
def test_a_platform_that_names_no_module_has_ids_as_they_are(platform: str) -> None:
    assert canonical_user_id(platform, "+15551234567") == "+15551234567"


def test_an_id_that_is_none_of_the_platform_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        canonical_user_id("whatsapp", "")


def test_a_built_in_channel_says_the_same_as_the_module_beside_it() -> None:
    spelt = "+1 (555) 123-4567"
    assert WhatsAppChannel.canonical_user_id(spelt) == canonical_user_id("whatsapp", spelt)


def bring(site: Path, platform: str, *, kind: str | None = None, states: str = STATES) -> None:
    """Install a package whose channel is of a platform, and states its ids."""
    module = f"{platform}_post"
    source = SOURCE.replace('"pigeon"', f'"{platform}"').rstrip() + "\n" + states
    install(site, f"{platform}-post", {kind or platform: f"{module}:Pigeon"}, source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for packages, which Python looks into."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def test_a_package_says_what_the_ids_of_its_platform_are(site: Path) -> None:
    bring(site, "stork")
    assert canonical_user_id("stork", "ring-A7") == "ring-a7"
    with pytest.raises(ValueError, match="begins with ring-"):
        canonical_user_id("stork", "A7")


def test_a_package_whose_kind_has_another_name_than_its_platform_is_not_asked(site: Path) -> None:
    bring(site, "heron", kind="bird")
    assert (
        canonical_user_id("heron", "Ring-A7") == canonical_user_id("bird", "Ring-A7") == "Ring-A7"
    )


def test_the_ids_of_a_platform_whose_package_is_broken_are_nobodys(site: Path) -> None:
    bring(site, "crane", states="1 / 0\n")
    with pytest.raises(ValueError, match=r"nobody can tell .* crane-post 1.5 .*ZeroDivisionError"):
        canonical_user_id("crane", "ring-a7")


@pytest.mark.parametrize(
    ("platform", "made"), [("swan", "user_id[99]"), ("duck", "''"), ("coot", "7"), ("gull", "None")]
)
def test_what_a_channel_makes_of_an_id_must_be_an_id(site: Path, platform: str, made: str) -> None:
    states = STATES.replace("user_id.casefold()", made)
    bring(site, platform, states=states)
    with pytest.raises(ValueError, match=f"canonical_user_id of {platform}"):
        canonical_user_id(platform, "ring-a7")


def test_the_channels_of_a_runtime_are_asked_before_all_others() -> None:
    canonical = canonical_among([Ringed("a", platform="whatsapp"), LoopbackChannel("b")])
    assert canonical("whatsapp", "+1 555 1234567 A") == "+1 555 1234567 a"
    assert canonical("loopback", "A") == "A"
    assert canonical_among([LoopbackChannel("a", platform="whatsapp")])(
        "whatsapp", "+1 555 1234567"
    ) == ("15551234567")


def test_channels_of_one_platform_agree_on_its_ids() -> None:
    alike = [Ringed("a"), Ringed("b"), LoopbackChannel("c"), Counted("d", platform="other")]
    canonical_among(alike)
    with pytest.raises(ConfigError, match="'e' and another one of loopback"):
        canonical_among([*alike, Counted("e")])


async def test_one_human_with_two_spellings_has_one_session_is_let_in_and_is_paired() -> None:
    tg = Ringed("tg")
    async with on_stage(
        echo,
        tg,
        channels={"tg": {"access": "allowlist", "allowed_users": ["Ann"], "denied_users": ["BOB"]}},
        pairing={"ANN@loopback": "user-ann"},
    ) as stage:
        first = await tg.receive("hi", user_id="ann", conversation="c1")
        again = await tg.receive("hi", user_id="aNN", conversation="c2")
        assert first.session_id == again.session_id == "user-ann"
        with pytest.raises(TurnRefused):
            await tg.receive("hi", user_id="boB", conversation="c3")
        assert [row.user_id for row in paired_identities(stage.store)] == ["ann"]


async def test_one_human_is_not_paired_with_two_sessions_under_two_spellings() -> None:
    pairing = {"ANN@loopback": "user-ann", "ann@loopback": "user-bob"}
    with pytest.raises(ConfigError, match="pairs ann@loopback with two sessions"):
        async with on_stage(echo, Ringed("tg"), pairing=pairing):
            pass


async def test_two_spellings_of_one_human_are_not_listed_twice() -> None:
    section = {"access": "allowlist", "allowed_users": ["ANN", "ann"]}
    with pytest.raises(ConfigError, match="'ANN' and 'ann' are one user"):
        async with on_stage(echo, Ringed("tg"), channels={"tg": section}):
            pass
