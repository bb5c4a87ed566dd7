import re
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

import turnkeeper as tk
from turnkeeper import kinds
from turnkeeper.actors.errors import AccessDenied
from turnkeeper.config import Config, load_config
from turnkeeper.reload import Reloaded, follow
from turnkeeper.testing import LoopbackChannel

from .command import running, terminal, turnkeeper
from .gateway import Gateway, echo

# --- what is followed, and what waits -----------------------------------------------------------


def followed(now: Any, wanted: Any, *running: str) -> tuple[Config, Reloaded]:
    return follow(load_config(now), load_config(wanted), running)


@pytest.mark.parametrize(
    ("now", "wanted", "applied", "waiting"),
    [
        ({}, {}, [], []),
        ({}, {"session": {"dm_scope": "main"}}, ["[session] dm_scope"], []),
        ({}, {"session": {"turn_timeout_s": 9.0}}, [], ["[session] turn_timeout_s"]),
        ({"runtime": {"max_running_turns": 2}}, {}, [], ["[runtime] max_running_turns"]),
        ({}, {"identity": {"self_link": False}}, [], ["[identity] self_link"]),
        ({}, {"agent": "a:b"}, [], ["agent"]),
        ({}, {"channels": {"tg": {"access": "code"}}}, ["[channels.tg] access"], []),
        (
            {"channels": {"tg": {"allowed_users": ["1"]}}},
            {"channels": {"tg": {"allowed_users": ["1", "2"], "denied_users": ["3"]}}},
            ["[channels.tg] allowed_users", "[channels.tg] denied_users"],
            [],
        ),
        (
            {"channels": {"web": {"kind": "websocket", "port": 1, "host": "::1"}}},
            {"channels": {"web": {"kind": "websocket", "port": 2, "thread_scope": "per-thread"}}},
            ["[channels.web] thread_scope"],
            ["[channels.web] port", "[channels.web] host"],
        ),
        (
            {"channels": {"web": {"kind": "websocket"}}},
            {"channels": {"web": {"kind": "console"}}},
            [],
            ["[channels.web] kind"],
        ),
        ({}, {"channels": {"new": {"kind": "console"}}}, [], ["[channels.new]: a new channel"]),
        (
            {"channels": {"web": {"kind": "websocket"}}},
            {},
            [],
            ["[channels.web]: has gone, and runs on with its rules"],
        ),
        (
            {"pairing": {"1@telegram": "a", "2@telegram": "b", "3@telegram": "c"}},
            {"pairing": {"1@telegram": "a", "2@telegram": "x", "4@telegram": "d"}},
            [
                "[pairing] 2@telegram = x",
                "[pairing] 3@telegram is unpaired",
                "[pairing] 4@telegram = d",
            ],
            [],
        ),
    ],
)
def test_each_key_is_followed_at_once_or_waits(
    now: Any, wanted: Any, applied: list[str], waiting: list[str]
) -> None:
    settings, reloaded = followed(now, wanted, "tg", "web")
    assert list(reloaded.applied) == applied
    assert list(reloaded.waiting) == waiting
    again = follow(settings, load_config(wanted), ("tg", "web"))
    assert again == (settings, Reloaded(applied=(), waiting=tuple(waiting)))


def test_what_waits_is_not_among_what_holds() -> None:
    settings, _ = followed(
        {"session": {"idle_after_s": 1.0}, "channels": {"web": {"kind": "websocket", "port": 1}}},
        {
            "session": {"idle_after_s": 2.0, "dm_scope": "main"},
            "channels": {"web": {"kind": "websocket", "port": 2, "access": "code"}},
        },
        "web",
    )
    assert (settings.session.idle_after_s, settings.session.dm_scope) == (1.0, "main")
    (web,) = settings.channels
    assert (web.access, web.options) == ("code", {"port": 1})


def test_an_instance_whose_section_has_gone_keeps_its_rules() -> None:
    now = {"channels": {"web": {"kind": "websocket", "allowed_users": ["ann"]}}}
    settings, _ = followed(now, {}, "web")
    assert settings.channels == load_config(now).channels


# --- in a runtime -------------------------------------------------------------------------------


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys, config={})


async def refused(gateway: Gateway, user_id: str) -> bool:
    try:
        await gateway.say("tg", user_id)
    except AccessDenied:
        return True
    return False


async def test_access_follows_the_file_from_the_next_message_on(gateway: Gateway) -> None:
    async with gateway.up() as runtime:
        assert not await refused(gateway, "ann")
        rules = {"channels": {"tg": {"allowed_users": ["bob"]}}}
        reloaded = await runtime.reload(rules)
        assert reloaded.applied == ("[channels.tg] allowed_users",)
        assert await refused(gateway, "ann")
        assert not await refused(gateway, "bob")
        assert await runtime.reload(rules) == Reloaded(applied=(), waiting=())
        await runtime.reload({})  # the section has gone, and what it said holds on
        assert await refused(gateway, "ann")
        await runtime.reload({"channels": {"tg": {}}})
        assert not await refused(gateway, "ann")


async def test_a_scope_moves_nothing_that_has_a_session(gateway: Gateway) -> None:
    async with gateway.up() as runtime:
        await gateway.say("tg", "ann")
        await runtime.reload({"session": {"dm_scope": "main"}})
        await gateway.say("tg", "bob")
        await gateway.say("dc", "carl")
        await gateway.say("tg", "ann")
        bindings = await runtime.bindings()
    assert [(b.conversation, b.session_id) for b in bindings] == [
        ("dm-carl", "s2"),
        ("dm-ann", "s1"),
        ("dm-bob", "s2"),
    ]


async def test_pairs_come_change_and_go_with_the_file(gateway: Gateway) -> None:
    async with gateway.up() as runtime:
        await runtime.pair("telegram", "own", "mine")
        for pairing in ({"ann@telegram": "a"}, {"ann@telegram": "b", "own@telegram": "theirs"}, {}):
            await runtime.reload({"pairing": pairing})
            pairs = {p.user_id: (p.session_id, p.by) for p in await runtime.pairs()}
            wanted = {key.split("@")[0]: (name, "config") for key, name in pairing.items()}
            assert {u: p for u, p in pairs.items() if p[1] == "config"} == wanted
        assert pairs == {}  # what the file has once named is the file's


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"sesion": {}}, "did you mean 'session'?"),
        ({"channels": {"tg": {"access": "closed"}}}, "access must be one of"),
        ({"channels": {"tg": {"agent": "ops"}}}, "names the agent 'ops'; there is: main"),
        ({"channels": {"new": {"kind": "telegraph"}}}, "there is no kind 'telegraph'"),
        ({"channels": {"new": {}}}, "kind is missing"),
        ({"pairing": {"bob@telegram": "s99"}}, "[pairing] bob@telegram: there is no session 's99'"),
    ],
)
async def test_a_wrong_configuration_changes_nothing(
    wrong: dict[str, Any], complaint: str, gateway: Gateway
) -> None:
    pairing = {"ann@telegram": "a", **wrong.pop("pairing", {})}
    config = {"session": {"dm_scope": "main"}, **wrong, "pairing": pairing}
    async with gateway.up() as runtime:
        with pytest.raises(tk.ConfigError, match=re.escape(complaint)):
            await runtime.reload(config)
        assert await runtime.pairs() == []
        await gateway.say("tg", "ann")
        binding = await runtime.binding("tg", "dm-ann")
        assert binding is not None
        assert binding.scope == "user"


async def test_nobody_is_let_in_only_because_the_rule_has_gone(tmp_path: Path) -> None:
    class Exposed(LoopbackChannel):
        @property
        def exposed(self) -> bool:
            return True

    tg = Exposed("tg", platform="telegram")
    rules = {"channels": {"tg": {"access": "allowlist"}}}
    async with tk.open_runtime(tmp_path, agent=echo, channels=[tg], config=rules) as runtime:
        with pytest.raises(tk.ConfigError, match="nothing says who may talk"):
            await runtime.reload({"channels": {"tg": {}}})
        with pytest.raises(AccessDenied):
            await tg.receive("hello")


SAME_ACCOUNT = "have the same account on loopback: give each a token of its own, or remove one"


class Accounted(LoopbackChannel):
    """A channel with a token, of a kind that a file can name."""

    def __init__(self, name: str, *, token: str = "one") -> None:
        super().__init__(name)
        self._token = token

    @property
    def account(self) -> str | None:
        return self._token


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        (
            {"a": {"kind": "accounted"}, "new": {"kind": "accounted"}},
            f"channels 'a' and 'new' {SAME_ACCOUNT}",
        ),
        (
            {"a": {"kind": "accounted", "token": "of the program"}},
            f"channels 'own' and 'a' {SAME_ACCOUNT}",
        ),
        ({"own": {"kind": "accounted"}}, "two channels are called 'own'"),
        ({"a": {"access": "code"}}, '[channels.a]: kind is missing; e.g. kind = "websocket"'),
    ],
)
async def test_what_the_next_start_would_not_begin_with_changes_nothing(
    wanted: dict[str, Any], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "load_kind", lambda _kind: Accounted)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    own = Accounted("own", token="of the program")
    config = {"channels": {"a": {"kind": "accounted"}}}
    async with tk.open_runtime(tmp_path, agent=echo, channels=[own], config=config) as runtime:
        refused = {"session": {"dm_scope": "main"}, "channels": wanted}
        with pytest.raises(tk.ConfigError) as raised:
            await runtime.reload(refused)
        assert str(raised.value) == complaint
        assert (await runtime.reload(config)).applied == ()
        renamed = await runtime.reload({"channels": {"b": {"kind": "accounted"}}})
    assert renamed.waiting == (
        "[channels.b]: a new channel",
        "[channels.a]: has gone, and runs on with its rules",
    )
    with pytest.raises(tk.ConfigError) as raised:
        async with tk.open_runtime(tmp_path, agent=echo, channels=[own], config=refused):
            pass
    assert str(raised.value) == complaint


class ForStrangers(LoopbackChannel):
    """A channel of a kind that a file can name, which anybody can reach."""

    def __init__(self, name: str) -> None:
        super().__init__(name)

    @property
    def exposed(self) -> bool:
        return True

    @staticmethod
    def canonical_user_id(user_id: str, /) -> str:
        if not user_id.isascii():
            raise ValueError("it is not ASCII")
        return user_id


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({}, "nothing says who may talk"),
        ({"access": "open", "agent": "ops"}, "names the agent 'ops'; there is: main"),
        ({"allowed_users": ["ä"]}, "[channels.new] allowed_users: '\\xe4': it is not ASCII"),
    ],
)
async def test_a_new_channel_that_the_next_start_would_refuse_is_refused_at_once(
    section: dict[str, Any], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "load_kind", lambda _kind: ForStrangers)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    wanted = {"channels": {"new": {"kind": "strangers", **section}}}
    async with tk.open_runtime(tmp_path, agent=echo, channels=[]) as runtime:
        with pytest.raises(tk.ConfigError, match=re.escape(complaint)):
            await runtime.reload(wanted)
    with pytest.raises(tk.ConfigError, match=re.escape(complaint)):
        async with tk.open_runtime(tmp_path, agent=echo, channels=[], config=wanted):
            pass


async def test_reloads_at_once_come_one_after_the_other(gateway: Gateway) -> None:
    done: list[str] = []

    async with gateway.up() as runtime:

        async def reload(name: str) -> None:
            await runtime.reload({"pairing": {"ann@telegram": name}})
            done.append(name)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(reload, f"session-{number}")
        assert [pair.session_id for pair in await runtime.pairs()] == done[-1:]
        texts = [change.text for change in await runtime.changes()]
    assert texts == [f"telegram:ann is paired with {name}" for name in done]


async def test_the_next_start_follows_the_file_as_well(gateway: Gateway) -> None:
    async with gateway.up() as runtime:
        await runtime.reload({"pairing": {"ann@telegram": "a"}})
    async with gateway.up() as runtime:  # with the empty configuration
        assert await runtime.pairs() == []


# --- from the command line ----------------------------------------------------------------------


async def test_the_command_says_what_holds_and_what_waits(gateway: Gateway) -> None:
    nobody = await gateway.complaint(3, "reload")
    assert "no runtime runs" in nobody
    async with gateway.up():
        assert await gateway.done("reload") == "nothing has changed\n"
        gateway.config = {"session": {"dm_scope": "main", "idle_after_s": 9.0}}
        assert (await gateway.done("reload")).splitlines() == [
            "applied     [session] dm_scope",
            "at restart  [session] idle_after_s",
        ]
        gateway.config = {"sesion": {}}
        assert "did you mean 'session'?" in await gateway.complaint(2, "reload")
        gateway.config = {}
        out = await gateway.done("reload", "--json")
        assert out == '{"applied": ["[session] dm_scope"], "waiting": []}\n'


CONFIG = '[channels.web]\nkind = "websocket"\nallowed_users = ["{}"]\n[channels.console]\n{}'
CONSOLE = 'kind = "console"\n'


def test_the_gateway_reads_its_file_again(tmp_path: Path) -> None:
    state, config = ("--state", tmp_path / "state"), tmp_path / "tk.toml"
    config.write_text(CONFIG.format("ann", CONSOLE), encoding="utf-8")
    with running(*state, "--config", config, "-v") as gateway:
        config.write_text(CONFIG.format("bob", CONSOLE + "port = 1\n"), encoding="utf-8")
        wrong = turnkeeper("reload", *state)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "[channels.console]: unknown key 'port'" in wrong.stderr
        config.write_text(CONFIG.format("bob", CONSOLE + "local = true\n"), encoding="utf-8")
        right = turnkeeper("reload", *state)
        assert right.stdout.splitlines() == [
            "applied     [channels.web] allowed_users",
            "at restart  [channels.console] local",
        ]
        gateway.wait_for("[channels.web] allowed_users")
        config.write_text("= nonsense", encoding="utf-8")
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("nothing was changed")
        config.write_text(CONFIG.format("carl", CONSOLE), encoding="utf-8")
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for("applied from")
        gateway.type("\x04")
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.wait() == 0


def test_without_a_file_there_is_nothing_to_read_again(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with running(*state):
        answer = turnkeeper("reload", *state)
    assert answer.returncode == 2
    assert "it was started without --config" in answer.stderr


def test_a_terminal_that_is_closed_ends_the_gateway(tmp_path: Path) -> None:
    config = tmp_path / "tk.toml"
    config.write_text('[channels.web]\nkind = "websocket"\n', encoding="utf-8")
    with terminal("run", "--state", tmp_path / "state", "--config", config) as gateway:
        gateway.wait_for("`turnkeeper chat` joins")
        gateway.hang_up()
        assert gateway.process.wait(30) == 0
