"""Runs the gateway program, ends it in every way, and looks at what it left behind.

A `Gateway` is a state directory and the journal of its platform; a `Life` is one process on them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import pytest
import trio

from turnkeeper import views
from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import AssistantRecord, UserRecord
from turnkeeper.actors.journal import load_conversation, load_records
from turnkeeper.storage.base import Reads
from turnkeeper.storage.lmdb_store import open_reader

__all__ = ["Entry", "Gateway", "Life", "Message", "Stored", "cannot", "seeds", "strace"]

_PROGRAMS = Path(__file__).parent / "programs"
_PATIENCE_S = 60.0
"""Seconds after which a child that has said nothing further is killed. One that goes on may take as
long as its test: how long ten thousand commits take is up to the disk."""

Entry: TypeAlias = list[Any]
"""One line of the journal; the first element says what it is."""


def seeds(count: int) -> list[int]:
    """Seeds of that many random runs, or the one that TURNKEEPER_SEED names, to repeat it."""
    one = os.environ.get("TURNKEEPER_SEED")
    return [int(one)] if one is not None else list(range(count))


def cannot(reason: str) -> NoReturn:
    """Skip here; fail in CI, where this is the only look at a real fault."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def strace(call: str, fault: str) -> tuple[str, ...]:
    """A prefix under which a system call of a process meets `fault`, as strace writes it."""
    program = shutil.which("strace")
    if program is None:
        cannot("strace is not installed: apt install strace")
    inject = f"inject={call}:{fault}"
    return (program, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject)


@dataclass(frozen=True, slots=True)
class Message:
    """What a human writes."""

    id: str
    conversation: str
    """What stands before a slash is the human's own id, so that one may write in several."""
    text: str


class Life:
    """One process of a gateway."""

    def __init__(self, process: trio.Process, entries: trio.MemoryReceiveChannel[Entry]) -> None:
        self._process = process
        self._entries = entries
        self._said: list[Entry] = []

    async def until(self, *start: object, times: int = 1) -> Entry:
        """Wait until the process has said so `times` times in all; `...` fits anything."""
        found = [entry for entry in self._said if _begins(entry, start)]
        while len(found) < times:
            entry = await self._next()
            assert entry is not None, f"it ended before it said {start}: {self._said[-20:]}"
            if _begins(entry, start):
                found.append(entry)
        return found[times - 1]

    async def hear(self, *messages: Message) -> None:
        """Deliver `messages`."""
        assert self._process.stdin is not None
        lines = (json.dumps([m.id, m.conversation, m.text]).encode() + b"\n" for m in messages)
        try:
            await self._process.stdin.send_all(b"".join(lines))
        except trio.BrokenResourceError:
            return  # it has ended: the platform will deliver them again

    async def hear_no_more(self) -> None:
        """Deliver nothing further; from now on the process says when it is quiet."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()

    async def lines(self, count: int) -> None:
        """Wait for `count` further lines; fewer, if nothing is left to do."""
        for _ in range(count):
            if await self._next() in (None, ["quiet"]):
                return

    async def goes_on(self) -> bool:
        """Wait for one further line; False if the process has ended."""
        return await self._next() is not None

    async def _next(self) -> Entry | None:
        async for entry in self._entries:
            self._said.append(entry)
            return entry
        return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the gateway, which has said that it hears signals."""
        (pid,) = (entry[1] for entry in self._said if entry[0] == "starting")
        os.kill(pid, number)

    async def exit_code(self) -> int:
        """Wait for the end of the process; minus the number of the signal that killed it."""
        return await self._process.wait()

    async def kill(self) -> None:
        """End the process as a power cut would, and wait until it is gone."""
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Ask the process to stop; return its exit code."""
        await self.until("starting")
        self.signal(signal.SIGTERM)
        return await self.exit_code()


class Gateway:
    """A state directory, a platform, and the processes that run on them one after the other."""

    def __init__(
        self,
        home: Path,
        *,
        state_dir: Path | None = None,
        program: str = "gateway.py",
        **options: object,
    ) -> None:
        self._program = _PROGRAMS / program
        self.state_dir = state_dir or home / "state"
        self.journal_path = home / "journal"
        self.errors_path = home / "errors"
        self.options = options

    @asynccontextmanager
    async def life(
        self,
        messages: Sequence[Message] | None = (),
        *,
        prefix: Sequence[str] = (),
        **options: object,
    ) -> AsyncGenerator[Life]:
        """Start a process that hears `messages`; it is killed at the end of the block.

        Args:
            messages: all that the platform delivers; None if the test says so later.
            prefix: a command to run the program under.
            options: of the program, in addition to the gateway's own.
        """
        arguments = [self.state_dir, self.journal_path, json.dumps(self.options | options)]
        command = [*prefix, sys.executable, str(self._program), *map(str, arguments)]
        with self.errors_path.open("ab") as errors, trio.fail_after(_PATIENCE_S) as patience:
            process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            send, receive = trio.open_memory_channel[Entry](float("inf"))
            try:
                life = Life(process, receive)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_listen, process, send, patience)
                    if messages is not None:
                        nursery.start_soon(_speak, life, messages)
                    yield life
                    nursery.cancel_scope.cancel()
            finally:
                _kill_group(process)
                with trio.CancelScope(shield=True):
                    await process.wait()
                    await _close(process)

    @property
    def journal(self) -> list[Entry]:
        """Everything that the platform has come to know."""
        if not self.journal_path.exists():
            return []
        return [json.loads(line) for line in self.journal_path.read_text().splitlines()]

    @property
    def errors(self) -> str:
        """Everything that the processes have said on standard error."""
        return self.errors_path.read_text()

    def said(self, *start: object) -> list[Entry]:
        """The lines of the journal that begin with `start`; `...` fits anything."""
        return [entry for entry in self.journal if _begins(entry, start)]

    def acknowledged(self) -> set[str]:
        """Ids of the messages that the platform need not deliver again."""
        return {message_id for _, message_id, *_ in self.said("acked")}

    def unacknowledged(self, messages: Sequence[Message]) -> list[Message]:
        """Those of `messages` that the platform will deliver again."""
        done = self.acknowledged()
        return [message for message in messages if message.id not in done]

    @contextmanager
    def stored(self) -> Generator[Stored]:
        """What is stored, checked against replay."""
        with open_reader(self.state_dir) as store:
            yield Stored(store)


class Stored:
    """A store at rest."""

    def __init__(self, store: Reads) -> None:
        self.store = store
        self.logs: dict[str, list[tuple[int, Record]]] = {}
        """Every session's records, by session id."""
        for stream, head in views.heads(store):
            log = self.logs[head.session_id] = list(load_records(store, stream))
            replayed = Conversation()
            assert [replayed.apply(record) for _, record in log] == [seq for seq, _ in log]
            assert replayed.head() == head
            woken = load_conversation(store, stream)
            assert woken is not None
            assert repr(woken) == repr(replayed).replace(
                f"running={replayed.running}", f"running={woken.running}"
            )

    def users(self, session_id: str) -> list[tuple[int, UserRecord]]:
        """The accepted messages of a session, in order."""
        return [(seq, r) for seq, r in self.logs[session_id] if isinstance(r, UserRecord)]

    def message_ids(self) -> list[str]:
        """The id of every accepted message."""
        return [record.message_id for name in self.logs for _, record in self.users(name)]

    def replies(self, session_id: str) -> list[tuple[int, AssistantRecord]]:
        """What the agent said in a session, in order."""
        return [(seq, r) for seq, r in self.logs[session_id] if isinstance(r, AssistantRecord)]

    def kinds(self, session_id: str, turn_seq: int) -> list[str]:
        """Kinds of the records that speak of a turn, in order."""
        log = self.logs[session_id]
        return [record.kind for _, record in log if getattr(record, "turn_seq", None) == turn_seq]

    def delivery(self, delivery_id: str) -> list[tuple[str, int]]:
        """Status and attempt of each record that speaks of a delivery, in order."""
        name, _, seq = delivery_id.partition("/")
        return [
            (record.status, record.attempt)
            for _, record in self.logs[name]
            if isinstance(record, DeliveryRecord) and record.delivery_seq == int(seq)
        ]

    def statuses(self) -> dict[str, str]:
        """What became of every delivery: its last status, by delivery id."""
        found: dict[str, str] = {}
        for name, log in self.logs.items():
            for seq, record in log:
                if isinstance(record, AssistantRecord):
                    found[f"{name}/{seq}"] = "waiting"
                elif isinstance(record, DeliveryRecord):
                    found[f"{name}/{record.delivery_seq}"] = record.status
        return found


def _begins(entry: Entry, start: Sequence[object]) -> bool:
    return len(entry) >= len(start) and all(
        wanted in (..., found) for wanted, found in zip(start, entry, strict=False)
    )


async def _speak(life: Life, messages: Sequence[Message]) -> None:
    await life.hear(*messages)
    await life.hear_no_more()


async def _listen(
    process: trio.Process, entries: trio.MemorySendChannel[Entry], patience: trio.CancelScope
) -> None:
    assert process.stdout is not None
    rest = b""
    with entries:
        async for chunk in process.stdout:
            patience.deadline = trio.current_time() + _PATIENCE_S
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                entries.send_nowait(json.loads(line))


def _kill_group(process: trio.Process) -> None:
    """Kill the process and whatever it runs under."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def _close(process: trio.Process) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await trio.aclose_forcefully(stream)
