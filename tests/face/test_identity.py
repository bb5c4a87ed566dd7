"""Resolvers: who is who, in memory, in a file, and when nobody can say."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, TypeAlias

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper.actors.core.routing import default_user
from turnkeeper.identity import IdentityResolver, IdentityUnavailable, call_resolver, resolve_user
from turnkeeper.identity_file import FileIdentityResolver
from turnkeeper.links import IdentityLink, InMemoryIdentityResolver

Resolver: TypeAlias = InMemoryIdentityResolver | FileIdentityResolver

HOSTILE_IDS = [
    "1",
    "01",
    " 1",
    "1 ",
    "1\n",
    "1\x00",
    "1\u200b",
    "１",
    "a",
    "A",
    "а",  # Cyrillic
    "../../etc/passwd",
    "/",
    '"',
    "\\",
    "\u2028",
    "😀",
    "ß",
    "ss",
    "é",
    "e\u0301",
    "__class__",
    "x" * 1_024,
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "identity.json"


@pytest.fixture(params=["memory", "file"])
def resolver(request: pytest.FixtureRequest, path: Path) -> Resolver:
    return InMemoryIdentityResolver() if request.param == "memory" else FileIdentityResolver(path)


def users(resolver: Resolver) -> dict[tuple[str, str], str]:
    return {(link.platform, link.user_id): link.user for link in resolver.links()}


# -- what both do ----------------------------------------------------------------------------------


def test_without_a_link_everybody_is_himself(resolver: Resolver) -> None:
    assert isinstance(resolver, IdentityResolver)
    assert resolver.resolve("telegram", "1") == "telegram:1" == default_user("telegram", "1")
    assert resolver.links() == ()
    resolver.unlink("telegram", "1")
    assert resolver.resolve("telegram", "1") == "telegram:1"


def test_a_link_holds_until_it_is_changed_or_taken_away(resolver: Resolver) -> None:
    resolver.link("telegram", "1", "alice")
    resolver.link("discord", "1", "alice")
    resolver.link("discord", "2", "bob")
    assert resolver.resolve("telegram", "1") == resolver.resolve("discord", "1") == "alice"
    assert set(resolver.links("alice")) == {
        IdentityLink(platform="telegram", user_id="1", user="alice"),
        IdentityLink(platform="discord", user_id="1", user="alice"),
    }
    assert resolver.links("alic") == ()
    resolver.link("discord", "1", "bob")
    assert resolver.resolve("discord", "1") == "bob"
    assert len(resolver.links()) == 3
    resolver.unlink("discord", "1")
    assert resolver.resolve("discord", "1") == "discord:1"
    assert users(resolver) == {("telegram", "1"): "alice", ("discord", "2"): "bob"}


def test_ids_that_look_alike_or_hostile_are_different_people(resolver: Resolver) -> None:
    for number, user_id in enumerate(HOSTILE_IDS):
        resolver.link("telegram", user_id, f"user {number}")
    for known in (resolver, reopened(resolver)):
        found = [known.resolve("telegram", user_id) for user_id in HOSTILE_IDS]
        assert found == [f"user {number}" for number in range(len(HOSTILE_IDS))]
        assert known.resolve("Telegram", "1") == "Telegram:1"


def reopened(resolver: Resolver) -> Resolver:
    if isinstance(resolver, FileIdentityResolver):
        return FileIdentityResolver(resolver.path)
    return resolver


@pytest.mark.parametrize("bad", ["", "x" * 1_025, None, 1, b"x"])
@pytest.mark.parametrize("field", ["platform", "user_id", "user"])
def test_a_field_that_cannot_be_is_refused_by_its_name(
    resolver: Resolver, field: str, bad: Any
) -> None:
    fields = {"platform": "telegram", "user_id": "1", "user": "alice"} | {field: bad}
    with pytest.raises(ValueError, match=rf"^{field} must be a str of 1 to 1024 characters"):
        resolver.link(**fields)
    if field != "user":
        del fields["user"]
        with pytest.raises(ValueError, match=field):
            resolver.resolve(**fields)
        with pytest.raises(ValueError, match=field):
            resolver.unlink(**fields)
    assert resolver.links() == ()


@pytest.mark.parametrize("field", ["platform", "user_id", "user"])
def test_half_a_character_is_somebody_and_cannot_be_linked(resolver: Resolver, field: str) -> None:
    fields = {"platform": "telegram", "user_id": "1", "user": "alice"} | {field: "\ud83d\ude00"}
    with pytest.raises(ValueError, match=f"{field} holds half a character"):
        resolver.link(**fields)
    assert resolver.resolve("telegram", "\ud83d") == "telegram:\ud83d"


def test_threads_may_link_at_once(resolver: Resolver) -> None:
    def work(worker: int) -> None:
        for number in range(20):
            resolver.link("telegram", f"{worker}-{number}", f"user {number}")
            resolver.links()

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(resolver.links()) == 120
    assert len(reopened(resolver).links("user 7")) == 6


ids = st.sampled_from(["1", "01", "A", "a", "\n", "é"])
acts = st.lists(
    st.tuples(st.sampled_from(["telegram", "discord"]), ids, st.none() | ids), max_size=12
)


@settings(max_examples=30)
@given(acts)
def test_a_file_keeps_what_a_dict_would(acts: list[tuple[str, str, str | None]]) -> None:
    model: dict[tuple[str, str], str] = {}
    with TemporaryDirectory() as directory:
        path = Path(directory) / "identity.json"
        watching = FileIdentityResolver(path)
        for platform, user_id, user in acts:
            if user is None:
                FileIdentityResolver(path).unlink(platform, user_id)
                model.pop((platform, user_id), None)
            else:
                FileIdentityResolver(path).link(platform, user_id, user)
                model[platform, user_id] = user
            assert users(watching) == model


# -- the file --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_path", "environ", "chosen"),
    [
        ("/given", {"TURNKEEPER_IDENTITY_PATH": "/env", "XDG_STATE_HOME": "/xdg"}, "/given"),
        (None, {"TURNKEEPER_IDENTITY_PATH": "/env", "XDG_STATE_HOME": "/xdg"}, "/env"),
        (None, {"XDG_STATE_HOME": "/xdg"}, "/xdg/turnkeeper/identity.json"),
        (None, {"XDG_STATE_HOME": "relative"}, "/home/me/.local/state/turnkeeper/identity.json"),
        (
            None,
            {"XDG_STATE_HOME": "", "TURNKEEPER_IDENTITY_PATH": ""},
            "/home/me/.local/state/turnkeeper/identity.json",
        ),
    ],
)
def test_the_file_is_the_one_given_or_named_by_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    given_path: str | None,
    environ: dict[str, str],
    chosen: str,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("TURNKEEPER_IDENTITY_PATH", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert FileIdentityResolver(given_path).path == Path(chosen)


def test_a_relative_path_is_that_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    resolver = FileIdentityResolver("ids.json")
    monkeypatch.chdir("/")
    resolver.link("telegram", "1", "alice")
    assert (tmp_path / "ids.json").exists()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_everything_that_is_made_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    directory = tmp_path / "a" / "b"
    if umask == 0o777:
        directory.mkdir(parents=True, mode=0o700)
    before = os.umask(umask)
    try:
        FileIdentityResolver(directory / "identity.json").link("telegram", "1", "alice")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert modes == {"identity.json": 0o600, "identity.json.lock": 0o600}
    if umask != 0o777:
        assert {path.stat().st_mode & 0o777 for path in (directory, directory.parent)} == {0o700}


def test_the_file_can_be_read_by_people(path: Path) -> None:
    resolver = FileIdentityResolver(path)
    resolver.link("telegram", "123", "jason")
    resolver.link("telegram", "456", "jason")
    assert json.loads(path.read_text("ascii")) == {
        "format": "turnkeeper identities",
        "version": 1,
        "links": {"telegram": {"123": "jason", "456": "jason"}},
    }
    assert len(path.read_text("ascii").splitlines()) == 10
    assert repr(resolver) == f"<FileIdentityResolver {str(path)!r}>"


def test_a_change_that_changes_nothing_writes_nothing(path: Path) -> None:
    resolver = FileIdentityResolver(path)
    resolver.unlink("telegram", "1")
    assert not path.exists()
    resolver.link("telegram", "1", "alice")
    before = path.stat()
    resolver.link("telegram", "1", "alice")
    resolver.unlink("telegram", "2")
    assert path.stat() == before


def test_another_resolver_sees_every_change_at_once(path: Path) -> None:
    # Files of one length, written faster than the clock of most file systems ticks.
    writer, reader = FileIdentityResolver(path), FileIdentityResolver(path)
    for number in range(60):
        user = f"user {number % 2}"
        writer.link("telegram", "1", user)
        assert reader.resolve("telegram", "1") == user


def test_a_file_counts_as_written_after_the_one_before_whatever_the_clock_says(path: Path) -> None:
    resolver = FileIdentityResolver(path)
    resolver.link("telegram", "1", "alice")
    ahead_ns = path.stat().st_mtime_ns + 10**12
    os.utime(path, ns=(ahead_ns, ahead_ns))
    for user in ("bob", "eve"):
        before_ns = path.stat().st_mtime_ns
        resolver.link("telegram", "1", user)
        assert path.stat().st_mtime_ns > before_ns


def test_what_others_linked_meanwhile_is_kept(path: Path) -> None:
    one, other = FileIdentityResolver(path), FileIdentityResolver(path)
    one.link("telegram", "1", "alice")
    other.link("telegram", "2", "bob")
    one.unlink("telegram", "3")
    one.link("telegram", "3", "carol")
    assert len(users(other)) == 3


LINKER = """
import sys
from turnkeeper.identity_file import FileIdentityResolver
path, name, count = sys.argv[1:]
resolver = FileIdentityResolver(path)
print("open", flush=True)
sys.stdin.readline()
for number in range(int(count)):
    resolver.link("telegram", f"{name}-{number}", f"user {number}")
    print(number, flush=True)
"""


def start(*args: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", LINKER, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_link_at_once_lose_nothing_of_each_other(path: Path) -> None:
    children = [start(path, name, 40) for name in ("a", "b")]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
    assert len(FileIdentityResolver(path).links()) == 80


# -- what is no file of ours -----------------------------------------------------------------------

WHOLE = {"format": "turnkeeper identities", "version": 1, "links": {"telegram": {"1": "alice"}}}


def put(path: Path, text: str | bytes) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)


def refusals(resolver: FileIdentityResolver) -> list[str]:
    """The errors with which everything ends."""
    errors: list[str] = []
    calls: tuple[Callable[[], object], ...] = (
        partial(resolver.resolve, "telegram", "1"),
        resolver.links,
        partial(resolver.link, "telegram", "1", "mallory"),
        partial(resolver.unlink, "telegram", "1"),
    )
    for call in calls:
        with pytest.raises(IdentityUnavailable) as caught:
            call()
        errors.append(str(caught.value))
    return errors


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("\0" * 100, "is not understood"),
        (json.dumps(WHOLE)[:-1], "Expecting"),
        (json.dumps(WHOLE) + "x", "Extra data"),
        (b"\xff\xfe\x00", "decode"),
        ("[" * 100_000, "is not understood"),
        ("[]", "another format"),
        ("{}", "another format"),
        (json.dumps(WHOLE | {"format": "x"}), "another format"),
        (json.dumps(WHOLE | {"version": 2}), "version 2, and 1 is known: upgrade turnkeeper"),
        (json.dumps(WHOLE | {"version": 0}), "no version"),
        (json.dumps(WHOLE | {"version": True}), "no version"),
        (json.dumps(WHOLE | {"version": "1"}), "no version"),
        (json.dumps(WHOLE | {"links": []}), "must hold format, version and links"),
        (json.dumps(WHOLE | {"more": 1}), "and nothing else"),
        (json.dumps(WHOLE | {"links": {"telegram": []}}), "'telegram' are no object"),
        (json.dumps(WHOLE | {"links": {"telegram": {"1": None}}}), "user must be a str"),
        (json.dumps(WHOLE | {"links": {"telegram": {"1": ""}}}), "user must be a str"),
        (json.dumps(WHOLE | {"links": {"telegram": {"": "alice"}}}), "user_id must be a str"),
        (json.dumps(WHOLE | {"links": {"": {"1": "alice"}}}), "platform must be a str"),
        (json.dumps(WHOLE | {"links": {"telegram": {"\ud800": "alice"}}}), "half a character"),
        (json.dumps(WHOLE).replace('"1": "alice"', '"1": "a", "1": "b"'), "stands twice"),
        (json.dumps(WHOLE).replace('"version"', '"links": {}, "version"'), "stands twice"),
    ],
)
def test_what_is_not_understood_resolves_nobody_and_is_never_written_over(
    path: Path, text: str | bytes, reason: str
) -> None:
    put(path, text)
    before = path.read_bytes()
    for error in refusals(FileIdentityResolver(path)):
        assert str(path) in error
        assert reason in error
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_links_that_were_read_before_are_not_used_once_the_file_is_damaged(path: Path) -> None:
    resolver = FileIdentityResolver(path)
    resolver.link("telegram", "1", "alice")
    put(path, "oops")
    assert "not understood" in refusals(resolver)[0]
    put(path, json.dumps(WHOLE | {"links": {"telegram": {"1": "bob"}}}))
    assert resolver.resolve("telegram", "1") == "bob"


def test_a_file_that_vanishes_does_not_turn_everybody_into_strangers(path: Path) -> None:
    resolver = FileIdentityResolver(path)
    resolver.link("telegram", "1", "alice")
    path.rename(path.with_suffix(".away"))
    assert "was there and is gone" in refusals(resolver)[2]
    assert not path.exists()
    path.with_suffix(".away").rename(path)
    assert resolver.resolve("telegram", "1") == "alice"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666, 0o610])
def test_a_file_that_others_may_touch_is_refused_and_left_so(path: Path, mode: int) -> None:
    resolver = FileIdentityResolver(path)
    resolver.link("telegram", "1", "alice")
    path.chmod(mode)
    for error in refusals(resolver):
        assert f"has mode {mode:04o}" in error
        assert f"chmod 600 {path}" in error
    assert path.stat().st_mode & 0o777 == mode
    path.chmod(0o600)
    assert resolver.resolve("telegram", "1") == "alice"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_refused_even_by_root(path: Path) -> None:
    put(path, json.dumps(WHOLE))
    os.chown(path, 12345, 12345)
    assert f"{path} belongs to user 12345, not to 0" in refusals(FileIdentityResolver(path))[2]
    assert not path.with_name("identity.json.lock").exists()


def test_a_link_in_place_of_the_file_is_refused_and_one_on_the_way_is_followed(
    tmp_path: Path,
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    put(real / "identity.json", json.dumps(WHOLE))
    (tmp_path / "way").symlink_to(real)
    assert FileIdentityResolver(tmp_path / "way" / "identity.json").links("alice")
    for target in (real / "identity.json", real / "nowhere"):
        link = tmp_path / "link"
        link.symlink_to(target)
        for error in refusals(FileIdentityResolver(link)):
            assert f"{link} is a symbolic link: name the file itself, {target}" in error
        link.unlink()
    assert not (real / "nowhere").exists()


@pytest.mark.parametrize("name", ["identity.json.lock", "identity.json.new"])
def test_links_laid_for_the_files_beside_it_harm_nobody(path: Path, name: str) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious")
    victim.chmod(0o644)
    path.with_name(name).symlink_to(victim)
    resolver = FileIdentityResolver(path)
    if name.endswith("lock"):
        with pytest.raises(IdentityUnavailable, match=f"{name} is a symbolic link"):
            resolver.link("telegram", "1", "alice")
    else:
        resolver.link("telegram", "1", "alice")
        assert resolver.resolve("telegram", "1") == "alice"
    assert victim.read_text() == "precious"
    assert victim.stat().st_mode & 0o777 == 0o644


def test_what_is_no_plain_file_is_refused_without_waiting_for_it(path: Path) -> None:
    path.mkdir(mode=0o700)
    assert f"{path} cannot be used: Is a directory" in refusals(FileIdentityResolver(path))[0]
    path.rmdir()
    os.mkfifo(path, 0o600)
    assert "no plain file" in refusals(FileIdentityResolver(path))[0]


def test_a_place_where_no_file_can_be_says_so(path: Path) -> None:
    path.touch()
    for error in refusals(FileIdentityResolver(path / "below" / "identity.json")):
        assert "cannot be used: Not a directory" in error


def test_a_change_waits_for_that_of_another_and_not_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = FileIdentityResolver(path)
    resolver.link("telegram", "1", "alice")
    monkeypatch.setattr("turnkeeper.identity_file._LOCK_WAIT_S", 0.02)
    with open(f"{path}.lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(IdentityUnavailable, match=r"held by another process for 0.02 s"):
            resolver.link("telegram", "2", "bob")
        assert resolver.resolve("telegram", "1") == "alice"
    resolver.link("telegram", "2", "bob")
    assert resolver.resolve("telegram", "2") == "bob"


# -- crashes ---------------------------------------------------------------------------------------


def cannot(reason: str) -> NoReturn:
    """Skip here; fail in CI, where this is the only look at a real fault."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def trace(path: Path, inject: str) -> tuple[str, str, list[str]]:
    """Link once while `inject` befalls the files; what was said, what went wrong, the calls."""
    strace = shutil.which("strace")
    if strace is None:
        cannot("strace is not installed: apt install strace")
    log = path.with_name("trace")
    prefix = (
        strace, "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(log),
        *(part for name in ("", ".new", ".lock") for part in ("-P", f"{path}{name}")),
        "-P", str(path.parent), *(("-e", f"inject={inject}") if inject else ()),
    )  # fmt: skip
    with start(path, "new", 1, prefix=prefix) as child:
        out, err = child.communicate("go\n", timeout=60)
    if "ptrace" in err and "open" not in out:
        cannot(f"tracing is not allowed here: {err.strip()}")
    calls = [line.partition(" ")[2].strip() for line in log.read_text().splitlines()]
    return out, err, [call for call in calls if re.match(r"\w+\(", call)]


CALLS = "unlink,openat,fchmod,write,utimensat,fsync,rename,flock"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_at_any_step_leaves_the_links_from_before_or_after_it(tmp_path: Path) -> None:
    directory = tmp_path / "whole"
    directory.mkdir()
    path = directory / "identity.json"
    FileIdentityResolver(path).link("telegram", "old", "alice")
    out, err, calls = trace(path, "")
    assert out == "open\n0\n", err
    names = [call.partition("(")[0] for call in calls]
    made = next(call for call in calls if call.startswith("openat") and ".new" in call)
    assert "O_EXCL" in made
    assert ", 0600)" in made
    order = ["fchmod", "write", "utimensat", "fsync", "rename", "fsync"]
    assert [name for name in names[names.index("unlink") :] if name in order] == order
    seen: set[str] = set()
    for name in sorted(set(names)):
        for number in range(1, names.count(name) + 1):
            crashed = tmp_path / f"{name}-{number}"
            crashed.mkdir()
            path = crashed / "identity.json"
            FileIdentityResolver(path).link("telegram", "old", "alice")
            out, err, _ = trace(path, f"{name}:signal=SIGKILL:when={number}")
            assert "0\n" not in out, (name, number)
            found = users(FileIdentityResolver(path))
            assert found.pop(("telegram", "old")) == "alice"
            assert found in ({}, {("telegram", "new-0"): "user 0"})
            seen.add("after" if found else "before")
            FileIdentityResolver(path).link("telegram", "next", "bob")
            assert len(users(FileIdentityResolver(path))) == 2 + len(found)
            assert not path.with_name("identity.json.new").exists()
    assert seen == {"before", "after"}


@pytest.mark.slow
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_disk_that_fails_is_told_and_nothing_is_lost(path: Path, call: str, error: str) -> None:
    FileIdentityResolver(path).link("telegram", "old", "alice")
    out, err, _ = trace(path, f"{call}:error={error}:when=1")
    assert out == "open\n"
    reason = {"EIO": "Input/output error", "ENOSPC": "No space left on device"}[error]
    assert "IdentityUnavailable" in err
    assert reason in err
    assert users(FileIdentityResolver(path)) == {("telegram", "old"): "alice"}
    FileIdentityResolver(path).link("telegram", "next", "bob")
    assert len(users(FileIdentityResolver(path))) == 2


# -- asking any resolver ---------------------------------------------------------------------------


class Asked(InMemoryIdentityResolver):
    """A resolver whose `resolve` is a function of the test's."""

    in_memory = False

    def __init__(self, resolve: Callable[[str, str], Any]) -> None:
        super().__init__()
        vars(self)["resolve"] = resolve


class Told(Asked):
    in_memory = True


async def ask(resolver: IdentityResolver, timeout_s: float = 5.0) -> str:
    return await resolve_user(resolver, "telegram", "1", timeout_s=timeout_s)


async def unavailable(resolver: IdentityResolver, timeout_s: float = 5.0) -> IdentityUnavailable:
    with pytest.raises(IdentityUnavailable) as caught:
        await ask(resolver, timeout_s)
    name = type(resolver).__name__
    assert str(caught.value).startswith(f"{name} cannot say who '1' on telegram is: ")
    return caught.value


async def later(platform: str, user_id: str) -> str:
    await trio.lowlevel.checkpoint()
    return f"{platform} {user_id}"


def hands_on(platform: str, user_id: str) -> Awaitable[str]:
    return later(platform, user_id)


class AsyncObject:
    async def __call__(self, platform: str, user_id: str) -> str:
        return await later(platform, user_id)


@pytest.mark.parametrize("kind", [Asked, Told])
@pytest.mark.parametrize("resolve", ["{} {}".format, later, hands_on, AsyncObject()])
async def test_a_resolver_may_answer_in_each_of_these_ways(
    kind: type[Asked], resolve: Callable[[str, str], Any]
) -> None:
    assert await ask(kind(resolve)) == "telegram 1"


async def test_only_what_may_wait_gets_a_thread(path: Path) -> None:
    def where(_platform: str, _user_id: str) -> str:
        return str(threading.get_ident())

    here = str(threading.get_ident())
    assert await ask(Told(where)) == here
    assert await ask(Asked(where)) != here
    assert InMemoryIdentityResolver.in_memory
    assert FileIdentityResolver.in_memory
    assert await ask(FileIdentityResolver(path)) == "telegram:1"


async def test_the_loop_goes_on_while_a_resolver_waits() -> None:
    answer = threading.Event()

    def resolve(_platform: str, _user_id: str) -> str:
        assert answer.wait(10)
        return "alice"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, Asked(resolve))
        await wait_all_tasks_blocked()
        answer.set()


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it has no words")


@pytest.mark.parametrize("kind", [Asked, Told])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (OSError(5, "Input/output error"), "OSError: [Errno 5] Input/output error"),
        (RuntimeError("two\nlines\x1b"), "RuntimeError: two lines\x1b"),
        (RuntimeError("x" * 10_000), "RuntimeError: " + "x" * 200),
        (ExceptionGroup("two", [ValueError("a"), KeyError("b")]), "ExceptionGroup: two"),
        (trio.TooSlowError(), "TooSlowError"),
        (TimeoutError("db"), "TimeoutError: db"),
        (IdentityUnavailable("/x is a mess"), "/x is a mess"),
        (asyncio.CancelledError(), "CancelledError"),
        (Mute(), "Mute"),
    ],
)
async def test_whatever_a_resolver_raises_means_that_nobody_can_say(
    kind: type[Asked], is_async: bool, error: BaseException, text: str
) -> None:
    def resolve(_platform: str, _user_id: str) -> str:
        raise error

    async def resolve_async(platform: str, user_id: str) -> str:
        return resolve(platform, user_id)

    raised = await unavailable(kind(resolve_async if is_async else resolve))
    assert raised.__cause__ is error
    assert str(raised).partition(" is: ")[2].startswith(text)
    assert len(str(raised)) < 300


async def test_secrets_of_earlier_exceptions_are_not_told() -> None:
    def resolve(_platform: str, _user_id: str) -> str:
        try:
            raise OSError("postgres://me:hunter2@db")
        except OSError as error:
            raise LookupError("the database is away") from error

    assert "hunter2" not in str(await unavailable(Asked(resolve)))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "a NoneType"),
        (1, "a int"),
        (b"alice", "a bytes"),
        (("alice",), "a tuple"),
        ("", "a str of 0 characters"),
        ("x" * 1_025, "a str of 1025 characters"),
    ],
)
@pytest.mark.parametrize("kind", [Asked, Told])
async def test_an_answer_that_is_no_user_means_that_nobody_can_say(
    kind: type[Asked], answer: object, said: str
) -> None:
    error = await unavailable(kind(lambda _platform, _user_id: answer))
    assert str(error).endswith(f"it answered with {said}")


class Shout(str):
    """A str of a library's own."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


async def test_an_answer_is_taken_character_by_character() -> None:
    answers = ["x" * 1_024, "Alice\n", "\ud800", Shout("alice")]
    resolver = Asked(lambda _platform, _user_id: answers[0])
    while answers:
        user = await ask(resolver)
        assert type(user) is str
        assert user == answers.pop(0)
    long = "x" * 1_024
    user = await resolve_user(InMemoryIdentityResolver(), "telegram", long, timeout_s=1)
    assert user == f"telegram:{long}"


async def test_an_async_resolver_that_takes_too_long_is_given_up(autojump_clock: MockClock) -> None:
    async def resolve(_platform: str, _user_id: str) -> str:
        await trio.sleep(6)
        return "alice"

    assert "no answer within 5 s" in str(await unavailable(Asked(resolve)))
    assert autojump_clock.current_time() == 5.0
    assert await ask(Asked(resolve), timeout_s=7) == "alice"


@pytest.fixture
def stuck() -> Generator[Asked]:
    """A resolver that waits for a database which never answers."""
    end = threading.Event()

    def resolve(_platform: str, _user_id: str) -> str:
        end.wait()
        return "alice"

    yield Asked(resolve)
    end.set()


async def test_a_sync_resolver_that_takes_too_long_is_left_behind(
    stuck: Asked, autojump_clock: MockClock
) -> None:
    assert "no answer within 5 s" in str(await unavailable(stuck))
    assert autojump_clock.current_time() == 5.0


async def test_a_resolver_that_hangs_takes_no_threads_from_others(
    stuck: Asked, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(unavailable, stuck)
    assert autojump_clock.current_time() == 5.0
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    assert "no answer within 5 s" in str(await unavailable(Asked("{} {}".format)))
    assert await ask(InMemoryIdentityResolver()) == "telegram:1"


async def test_a_cancelled_caller_is_cancelled_and_nothing_else(stuck: Asked) -> None:
    async def resolve(_platform: str, _user_id: str) -> str:
        await trio.sleep_forever()

    for resolver in (stuck, Asked(resolve)):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, resolver)
                await wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught


@pytest.fixture
def asyncio_loop() -> Generator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


async def test_a_resolver_for_asyncio_ends_in_an_error_and_no_hang(
    asyncio_loop: asyncio.AbstractEventLoop,
) -> None:
    def future(_platform: str, _user_id: str) -> Awaitable[str]:
        return asyncio_loop.create_future()

    async def waits(platform: str, user_id: str) -> str:
        return await future(platform, user_id)

    async def pause(_platform: str, _user_id: str) -> str:
        await asyncio.sleep(0)
        return "alice"

    async def sleep(_platform: str, _user_id: str) -> str:
        await asyncio.sleep(60)
        return "alice"

    for resolve in (future, waits, pause, sleep):
        for kind in (Asked, Told):
            with trio.fail_after(10):
                assert re.search("asyncio|event loop|None", str(await unavailable(kind(resolve))))


async def test_an_asyncio_resolver_works_in_a_thread() -> None:
    async def query(user_id: str) -> str:
        await asyncio.sleep(0)
        return f"user {user_id}"

    def resolve(_platform: str, user_id: str) -> str:
        return asyncio.run(query(user_id))

    assert await ask(Asked(resolve)) == "user 1"


async def test_every_method_is_called_with_the_same_care(path: Path) -> None:
    resolver: IdentityResolver = FileIdentityResolver(path)
    link = partial(resolver.link, "telegram", "1", "alice")
    await call_resolver(resolver, link, asked="link", timeout_s=5)
    links = await call_resolver(resolver, partial(resolver.links, "alice"), asked="x", timeout_s=5)
    assert [*links] == [IdentityLink(platform="telegram", user_id="1", user="alice")]
    put(path, "oops")
    with pytest.raises(IdentityUnavailable, match=f"cannot link that: {path} is left as it is"):
        await call_resolver(resolver, link, asked="link that", timeout_s=5)
