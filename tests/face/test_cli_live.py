from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from turnkeeper.control import RequestFailed, ask
from turnkeeper.identity import IdentityUnavailable

from .gateway import Gateway

ANN: dict[str, Any] = {"platform": "telegram", "user_id": "ann"}


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys)


async def asked(gateway: Gateway, do: str, **arguments: Any) -> Any:
    return await trio.to_thread.run_sync(partial(ask, gateway.state_dir, do, **arguments))


@pytest.mark.parametrize(
    ("do", "arguments", "complaint"),
    [
        ("link", {}, "platform must be a text"),
        ("link", ANN, "user must be a text"),
        ("link", {**ANN, "user": 1}, "user must be a text"),
        ("link", {**ANN, "user": "alice", "dry_run": "no"}, "dry_run must be true or false"),
        ("link", {**ANN, "user": "alice", "dry_run": None}, "dry_run must be true or false"),
        ("unlink", {"platform": "telegram", "user_id": ["ann"]}, "user_id must be a text"),
        ("pair", ANN, "session_id must be a text"),
        ("unpair", {"user_id": "ann"}, "platform must be a text"),
        ("move", {"instance": "tg"}, "conversation must be a text"),
        ("move", {"instance": "tg", "conversation": "c", "thread": 1}, "thread must be a text"),
        ("undo", {"number": "1"}, "number must be a whole number"),
        ("undo", {"number": True}, "number must be a whole number"),
        ("approve", {}, "code must be a text"),
        ("allow", {"instance": "tg"}, "user_id must be a text"),
        ("revoke", {"user_id": "ann"}, "instance must be a text"),
    ],
)
async def test_arguments_are_checked(
    do: str, arguments: dict[str, Any], complaint: str, gateway: Gateway
) -> None:
    async with gateway.up() as runtime:
        with pytest.raises(RequestFailed, match=complaint) as refused:
            await asked(gateway, do, **arguments)
        assert refused.value.kind == "bad_request"
        assert await runtime.changes() == []


async def test_who_asks_can_only_be_the_operator(gateway: Gateway) -> None:
    async with gateway.up() as runtime:
        await asked(gateway, "link", **ANN, user="alice", by="config")
        (change,) = await runtime.changes()
    assert change.by == "operator"


@pytest.mark.parametrize(
    ("do", "arguments"),
    [
        ("unlink", ANN),
        ("undo", {}),
        ("undo", {"number": -1}),
        ("undo", {"number": 2**63}),
        ("approve", {"code": "ABCD-EFGH"}),
        ("allow", {"instance": "nowhere", "user_id": "ann"}),
        ("link", {**ANN, "user": "a\nb"}),
        ("pair", {**ANN, "session_id": "\udce9"}),
    ],
)
async def test_what_makes_no_sense_is_refused_in_words(
    do: str, arguments: dict[str, Any], gateway: Gateway
) -> None:
    async with gateway.up() as runtime:
        with pytest.raises(RequestFailed) as refused:
            await asked(gateway, do, **arguments)
        assert refused.value.kind == "refused"
        assert await runtime.changes() == []


async def test_the_runtime_explains_what_it_knows(gateway: Gateway) -> None:
    async with gateway.up():
        await gateway.say("tg", "ann")
        story = await asked(gateway, "explain", id="s1/4")
        assert (story["id"], story["kind"]) == ("s1/4", "turn")
        assert await asked(gateway, "explain", id="s9/1") is None
        with pytest.raises(RequestFailed, match="id must be a text"):
            await asked(gateway, "explain")


async def test_a_resolver_that_fails_is_told_and_nothing_is_linked(gateway: Gateway) -> None:
    class Broken:
        def resolve(self, platform: str, user_id: str) -> str:
            return f"{platform}:{user_id}"

        def link(self, _platform: str, _user_id: str, _user: str) -> None:
            raise OSError("the database is away")

        def unlink(self, _platform: str, _user_id: str) -> None:
            raise OSError("the database is away")

        def links(self, _user: str | None = None) -> list[Any]:
            return []

    async with gateway.up(identity_resolver=Broken()) as runtime:
        identity = ("--platform", "telegram", "--user-id", "ann")
        complaint = await gateway.complaint(1, "identity", "link", *identity, "--user", "alice")
        assert "did not do it" in complaint
        assert "the database is away" in complaint
        with pytest.raises(IdentityUnavailable):
            await runtime.link("telegram", "ann", "alice")
        assert await runtime.links() == []
