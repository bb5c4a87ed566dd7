import io
import os
import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper.actors.errors import InvalidTurn, Overloaded, TurnRefused
from turnkeeper.actors.messages import (
    Accepted,
    Address,
    DeliveryId,
    InboundTurn,
    Instance,
    SessionId,
    TurnId,
)
from turnkeeper.channels.base import Outbound, TurnEnded, Unreachable
from turnkeeper.channels.console import ConsoleChannel, ShownKind
from turnkeeper.channels.console_turns import OpenTurns

LOCAL = Address(instance=Instance("console"), conversation="local")


def outbound(number: int, text: str, *, address: Address = LOCAL, resend: bool = False) -> Outbound:
    return Outbound(
        delivery_id=DeliveryId(f"s1/d{number}"), address=address, text=text, resend=resend
    )


class Runtime:
    """The smallest thing that takes turns: it records them, and answers when told to."""

    def __init__(self) -> None:
        self.turns: list[InboundTurn] = []
        self.refuse: TurnRefused | None = None
        self.heard = trio.Event()

    async def deliver(self, turn: InboundTurn) -> Accepted:
        await trio.lowlevel.checkpoint()
        if self.refuse is not None:
            raise self.refuse
        self.turns.append(turn)
        self.heard.set()
        return Accepted(
            session_id=SessionId("s1"), turn_id=TurnId(f"s1/{len(self.turns)}"), duplicate=False
        )

    async def wait_for_turns(self, count: int) -> None:
        while len(self.turns) < count:
            self.heard = trio.Event()
            await self.heard.wait()


def ended(number: int, *, reply: bool = True) -> TurnEnded:
    return TurnEnded(
        turn_id=TurnId(f"s1/{number}"),
        address=LOCAL,
        status="answered" if reply else "silent",
        delivery_id=DeliveryId(f"s1/d{number}") if reply else None,
    )


class Pipes:
    """A console between two real pipes."""

    def __init__(self, stack: ExitStack, *, max_line_bytes: int = 1024 * 1024) -> None:
        in_read, self.in_write = os.pipe()
        out_read, out_write = os.pipe()
        source: IO[bytes] = stack.enter_context(os.fdopen(in_read, "rb", buffering=0))
        self.output = stack.enter_context(os.fdopen(out_write, "w", encoding="utf-8"))
        self.shown = stack.enter_context(os.fdopen(out_read, "rb", buffering=0))
        self.errors = io.StringIO()
        self.channel = ConsoleChannel(
            input=source, output=self.output, errors=self.errors, max_line_bytes=max_line_bytes
        )

    def type(self, data: bytes) -> None:
        os.write(self.in_write, data)

    def end_input(self) -> None:
        os.close(self.in_write)

    def everything_shown(self) -> str:
        self.output.close()
        return self.shown.read().decode()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


async def test_piped_lines_are_answered_in_order_and_the_run_ends_when_all_are(
    stack: ExitStack,
) -> None:
    pipes, runtime = Pipes(stack), Runtime()
    pipes.type(b"one\n\n   \ntwo\r\nthree")
    pipes.end_input()
    has_ended = False
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            nonlocal has_ended
            await pipes.channel.run(runtime.deliver)
            has_ended = True

        nursery.start_soon(run)
        await runtime.wait_for_turns(3)
        for number, turn in enumerate(runtime.turns, start=1):
            await pipes.channel.send(outbound(number, f"you said {turn.text}"))
            await wait_all_tasks_blocked()
            assert not has_ended
            pipes.channel.turn_ended(ended(number))
    assert [turn.text for turn in runtime.turns] == ["one", "two", "three"]
    assert len({turn.message_id for turn in runtime.turns}) == 3
    assert pipes.everything_shown() == "you said one\nyou said two\nyou said three\n"
    assert pipes.channel.failures == 0


async def test_the_run_waits_for_a_reply_that_a_turn_has_named_but_that_is_not_shown_yet(
    stack: ExitStack,
) -> None:
    pipes, runtime = Pipes(stack), Runtime()
    pipes.type(b"one\n")
    pipes.end_input()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipes.channel.run, runtime.deliver)
        await runtime.wait_for_turns(1)
        pipes.channel.turn_ended(ended(1))
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        await pipes.channel.send(outbound(1, "late"))
    assert pipes.everything_shown() == "late\n"


async def test_the_run_ends_although_a_reply_was_given_up_and_counts_it_as_a_failure(
    stack: ExitStack,
) -> None:
    pipes, runtime = Pipes(stack), Runtime()
    pipes.type(b"one\n")
    pipes.end_input()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipes.channel.run, runtime.deliver)
        await runtime.wait_for_turns(1)
        pipes.channel.turn_ended(ended(1))
        await wait_all_tasks_blocked()
        pipes.channel.delivery_dropped(DeliveryId("s1/d1"))
    assert pipes.channel.failures == 1
    assert "reply s1/d1 could not be delivered" in pipes.errors.getvalue()


async def test_two_runs_of_the_program_never_share_a_message_id(stack: ExitStack) -> None:
    ids: set[str] = set()
    for _ in range(2):
        pipes, runtime = Pipes(stack), Runtime()
        pipes.type(b"the same\n")
        pipes.end_input()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pipes.channel.run, runtime.deliver)
            await runtime.wait_for_turns(1)
            pipes.channel.turn_ended(ended(1, reply=False))
        ids.add(runtime.turns[0].message_id)
    assert len(ids) == 2


async def test_bytes_that_are_not_utf8_are_kept_as_surrogates(stack: ExitStack) -> None:
    pipes, runtime = Pipes(stack), Runtime()
    pipes.type(b"caf\xe9 \x00\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipes.channel.run, runtime.deliver)
        await runtime.wait_for_turns(1)
        nursery.cancel_scope.cancel()
    assert runtime.turns[0].text == "caf\udce9 \x00"
    await pipes.channel.send(outbound(1, runtime.turns[0].text))
    assert pipes.everything_shown() == "caf\\udce9 \\x00\n"


@pytest.mark.parametrize("long", [b"x" * 21, b"x" * 200_000])
async def test_a_line_over_the_limit_is_named_and_the_others_go_on(
    stack: ExitStack, long: bytes
) -> None:
    pipes, runtime = Pipes(stack, max_line_bytes=20), Runtime()

    def type_all() -> None:
        pipes.type(b"first\n")
        rest = long + b"\n" + b"y" * 20 + b"\n"
        while rest:
            rest = rest[os.write(pipes.in_write, rest) :]
        pipes.end_input()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipes.channel.run, runtime.deliver)
        await trio.to_thread.run_sync(type_all)
        await runtime.wait_for_turns(2)
        for number in (1, 2):
            pipes.channel.turn_ended(ended(number, reply=False))
    assert [turn.text for turn in runtime.turns] == ["first", "y" * 20]
    assert re.fullmatch(r"console: line 2 is too long .*\n", pipes.errors.getvalue())
    assert pipes.channel.failures == 1


async def test_a_refused_line_is_named_with_its_reason(stack: ExitStack) -> None:
    pipes, runtime = Pipes(stack), Runtime()
    runtime.refuse = InvalidTurn("no \x1b[2Jescapes")
    pipes.type(b"one\n")
    pipes.end_input()
    await pipes.channel.run(runtime.deliver)
    assert pipes.errors.getvalue() == "console: line 1 was not accepted: no \\x1b[2Jescapes\n"
    assert pipes.channel.failures == 1


async def test_an_overloaded_runtime_is_waited_for_while_turns_are_open(stack: ExitStack) -> None:
    pipes, runtime = Pipes(stack), Runtime()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipes.channel.run, runtime.deliver)
        pipes.type(b"one\n")
        await runtime.wait_for_turns(1)
        runtime.refuse = Overloaded("full")
        pipes.type(b"two\n")
        pipes.end_input()
        await wait_all_tasks_blocked()
        runtime.refuse = None
        pipes.channel.turn_ended(ended(1, reply=False))
        await runtime.wait_for_turns(2)
        pipes.channel.turn_ended(ended(2, reply=False))
    assert [turn.text for turn in runtime.turns] == ["one", "two"]
    assert pipes.channel.failures == 0


async def test_a_turn_that_was_given_up_ends_the_wait_and_counts_as_a_failure(
    stack: ExitStack,
) -> None:
    pipes, runtime = Pipes(stack), Runtime()
    pipes.type(b"poison\n")
    pipes.end_input()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipes.channel.run, runtime.deliver)
        await runtime.wait_for_turns(1)
        pipes.channel.turn_ended(
            TurnEnded(turn_id=TurnId("s1/1"), address=LOCAL, status="quarantined")
        )
    assert "s1/1 was given up" in pipes.errors.getvalue()
    assert pipes.channel.failures == 1


async def test_the_run_ends_when_nobody_reads_the_output_any_more(stack: ExitStack) -> None:
    pipes, runtime = Pipes(stack), Runtime()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipes.channel.run, runtime.deliver)
        pipes.type(b"one\n")
        await runtime.wait_for_turns(1)
        pipes.shown.close()
        with pytest.raises(Unreachable):
            await pipes.channel.send(outbound(1, "lost"))
    assert pipes.channel.failures == 1


async def test_a_reader_that_waits_for_input_is_cancelled_at_once(stack: ExitStack) -> None:
    pipes, runtime = Pipes(stack), Runtime()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipes.channel.run, runtime.deliver)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    pipes.type(b"still there\n")  # nothing has swallowed the descriptor


async def test_a_reply_larger_than_the_pipe_does_not_block_the_loop(stack: ExitStack) -> None:
    pipes = Pipes(stack)
    text = "z" * 500_000
    read = bytearray()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipes.channel.send, outbound(1, text))
        await wait_all_tasks_blocked()  # would never come back if the write blocked
        while len(read) < len(text) + 1:
            await trio.lowlevel.wait_readable(pipes.shown.fileno())
            read += pipes.shown.read(65536) or b""
    assert read.decode() == text + "\n"


async def test_a_file_can_be_the_input_and_an_object_without_descriptor_the_output() -> None:
    output, runtime = io.StringIO(), Runtime()
    with Path(os.devnull).open("rb") as nothing:  # noqa: ASYNC230 (never blocks)
        channel = ConsoleChannel(input=nothing, output=output, errors=io.StringIO())
        await channel.run(runtime.deliver)
    receipt = await channel.send(outbound(1, "hello"))
    assert receipt.platform_message_id == "s1/d1"
    assert output.getvalue() == "hello\n"


def test_a_process_without_stdin_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ValueError, match="local=False"):
        ConsoleChannel()


async def test_a_burst_of_piped_lines_is_taken_whole_and_in_order(stack: ExitStack) -> None:
    pipes, runtime = Pipes(stack), Runtime()
    wanted = [f"line {number}" for number in range(10_000)]

    def type_all() -> None:
        with os.fdopen(pipes.in_write, "wb") as source:
            source.write("\n".join(wanted).encode())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipes.channel.run, runtime.deliver)
        nursery.start_soon(trio.to_thread.run_sync, type_all)
        await runtime.wait_for_turns(10_000)
        for number in range(1, 10_001):
            pipes.channel.turn_ended(ended(number, reply=False))
    assert [turn.text for turn in runtime.turns] == wanted


async def test_a_message_sent_again_carries_a_label(stack: ExitStack) -> None:
    pipes = Pipes(stack)
    await pipes.channel.send(outbound(1, "hello", resend=True))
    assert pipes.everything_shown() == "(again) hello\n"


# --- a terminal -----------------------------------------------------------------------------------


@contextmanager
def terminal() -> Generator[tuple[int, IO[str]]]:
    """The two ends of a pseudo terminal: what the human holds, what the console holds."""
    human, program = os.openpty()
    try:
        with open(program, "r+b", buffering=0) as raw:
            yield human, io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    finally:
        os.close(human)


async def read_until(fd: int, what: bytes) -> bytes:
    seen = b""
    while what not in seen:
        await trio.lowlevel.wait_readable(fd)
        seen += os.read(fd, 4096)
    return seen


@pytest.mark.parametrize("no_colour", ["", "1"])
async def test_a_terminal_gets_a_prompt_and_replies_on_lines_of_their_own(
    monkeypatch: pytest.MonkeyPatch, no_colour: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_colour)
    runtime = Runtime()
    with terminal() as (human, tty):
        channel = ConsoleChannel(input=tty, output=tty, errors=io.StringIO())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.run, runtime.deliver)
            await read_until(human, b"> ")
            os.write(human, b"hi\n")
            await runtime.wait_for_turns(1)
            await read_until(human, b"> ")
            await channel.send(outbound(1, "hello\x1b[2J\nyou"))
            shown = await read_until(human, b"you")
            nursery.cancel_scope.cancel()
    text = "hello\\x1b[2J\r\nyou"
    coloured = text if no_colour else f"\x1b[36m{text}"
    assert shown.decode().startswith(f"\r\x1b[K{coloured}")


async def test_the_end_of_file_key_ends_the_run_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal() as (human, tty):
        channel = ConsoleChannel(input=tty, output=tty, errors=io.StringIO())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.run, Runtime().deliver)
            await wait_all_tasks_blocked()
            os.write(human, b"\x04")


# --- views ----------------------------------------------------------------------------------------


class View:
    def __init__(self) -> None:
        self.shown: list[tuple[ShownKind, str]] = []
        self.gone = False

    async def show(self, kind: ShownKind, text: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.gone:
            raise trio.BrokenResourceError
        self.shown.append((kind, text))


async def test_a_console_without_any_view_is_down_until_one_attaches() -> None:
    channel, view = ConsoleChannel(local=False), View()
    with pytest.raises(Unreachable) as unreachable:
        await channel.send(outbound(1, "hello"))
    assert unreachable.value.reason == "channel_down"
    with channel.attach(view):
        await channel.send(outbound(1, "hello"))
    assert view.shown == [("reply", "hello")]
    with pytest.raises(Unreachable):
        await channel.send(outbound(2, "anybody?"))


async def test_what_is_typed_in_one_view_is_seen_in_the_others_and_replies_in_all(
    stack: ExitStack,
) -> None:
    channel, runtime = ConsoleChannel(local=False), Runtime()
    left, right, elsewhere = View(), View(), View()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run, runtime.deliver)
        await wait_all_tasks_blocked()
        left_seat = stack.enter_context(channel.attach(left))
        stack.enter_context(channel.attach(right))
        stack.enter_context(channel.attach(elsewhere, conversation="other"))
        accepted = await left_seat.say("hi")
        await channel.send(outbound(1, "hello"))
        nursery.cancel_scope.cancel()
    assert accepted.turn_id == "s1/1"
    assert runtime.turns[0].address == LOCAL
    assert left.shown == [("reply", "hello")]
    assert right.shown == [("message", "hi"), ("reply", "hello")]
    assert elsewhere.shown == []


async def test_a_refused_message_is_taken_back_in_the_other_views(stack: ExitStack) -> None:
    channel, runtime, other = ConsoleChannel(local=False), Runtime(), View()
    runtime.refuse = Overloaded("full")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run, runtime.deliver)
        await wait_all_tasks_blocked()
        seat = stack.enter_context(channel.attach(View()))
        stack.enter_context(channel.attach(other))
        with pytest.raises(Overloaded):
            await seat.say("hi")
        nursery.cancel_scope.cancel()
    assert other.shown == [("message", "hi"), ("notice", "not accepted: full")]


async def test_speaking_in_a_console_that_does_not_run_is_refused(stack: ExitStack) -> None:
    seat = stack.enter_context(ConsoleChannel(local=False).attach(View()))
    with pytest.raises(TurnRefused, match="not running"):
        await seat.say("hi")


async def test_a_view_that_is_gone_is_detached_and_the_others_go_on(stack: ExitStack) -> None:
    channel, gone, good = ConsoleChannel(local=False), View(), View()
    gone.gone = True
    stack.enter_context(channel.attach(gone))
    stack.enter_context(channel.attach(good))
    await channel.send(outbound(1, "hello"))
    gone.gone = False
    await channel.send(outbound(2, "again"))
    assert [text for _, text in good.shown] == ["hello", "again"]
    assert gone.shown == []


async def test_a_view_that_hangs_is_detached_alone(
    stack: ExitStack, autojump_clock: trio.testing.MockClock
) -> None:
    class Hanging:
        async def show(self, kind: ShownKind, text: str) -> None:
            await trio.sleep_forever()

    channel, good = ConsoleChannel(local=False), View()
    stack.enter_context(channel.attach(Hanging()))
    stack.enter_context(channel.attach(good))
    await channel.send(outbound(1, "hello"))
    assert good.shown == [("reply", "hello")]
    before = trio.current_time()
    await channel.send(outbound(2, "again"))
    assert trio.current_time() == before


# --- open turns -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["aes", "ase", "eas", "esa", "sae", "sea"])
def test_a_turn_is_closed_once_accepted_ended_and_shown_in_any_order(order: str) -> None:
    turns = OpenTurns()
    facts = {
        "a": lambda: turns.accepted(TurnId("s1/1")),
        "e": lambda: turns.ended(TurnId("s1/1"), DeliveryId("s1/2")),
        "s": lambda: turns.shown(DeliveryId("s1/2")),
    }
    turns.accepted(TurnId("s1/9"))
    for fact in order:
        facts[fact]()
        assert turns
    turns.ended(TurnId("s1/9"), None)
    assert not turns
    assert repr(turns) == "<OpenTurns: 0 running, 0 replies owed>"


def test_facts_about_strangers_are_not_kept_forever() -> None:
    turns = OpenTurns()
    for number in range(3000):
        turns.ended(TurnId(f"s2/{number}"), None)
    turns.accepted(TurnId("s2/0"))
    turns.accepted(TurnId("s2/2999"))
    assert repr(turns) == "<OpenTurns: 1 running, 0 replies owed>"
