"""Order, bounds, urgency, deferred and forwarded replies."""
# Looks inside, for what must hold there shows nowhere else.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pykka
import pytest
import trio
import trio.testing

from turnkeeper.actors import (
    ActorDeadError,
    ActorRef,
    Control,
    Kernel,
    MailboxFull,
    TrioActor,
    TrioFuture,
)

Scheduled = Callable[[type[Any]], type[Any]]
WAIT_S = 20.0


@dataclass(frozen=True)
class Interrupt(Control):
    """Overtakes."""

    number: int = 0


class Gated(TrioActor):
    """Waits at its gate with each ordinary message, then records it."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = trio.Event()
        self.gate = trio.Event()
        self.seen: list[Any] = []

    async def on_receive(self, message: Any) -> Any:
        if not isinstance(message, Control):
            self.entered.set()
            await self.gate.wait()
        self.seen.append(message)
        return message


class Bounded(Gated):
    """The same with room for two."""

    mailbox_limit: ClassVar[int | None] = 2


def inside(ref: ActorRef[Any]) -> Any:
    """The actor itself."""
    actor = ref._actor_weakref()
    assert actor is not None
    return actor


async def busy(cls: type[Any], scheduled: Scheduled) -> tuple[ActorRef[Any], Any]:
    """An actor which is held at its gate, with an empty mailbox."""
    ref = scheduled(cls).start()
    ref.tell("first")
    await inside(ref).entered.wait()
    return ref, inside(ref)


async def test_messages_of_one_sender_are_handled_in_order(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    class Collecting(TrioActor):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[int] = []

        def on_receive(self, message: int) -> list[int]:
            self.seen.append(message)
            return self.seen

    ref = scheduled(Collecting).start()
    for number in range(1000):
        ref.tell(number)
        if number % 97 == 0:
            await trio.lowlevel.checkpoint()
    assert await ref.ask(1000, block=False) == list(range(1001))


async def test_a_mix_of_tells_and_asks_keeps_its_order(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref, actor = await busy(Gated, scheduled)
    ref.tell(1)
    asked = ref.ask(2, block=False)
    ref.tell(3)
    actor.gate.set()
    assert await asked == 2
    await ref.stop(block=False)
    assert actor.seen == ["first", 1, 2, 3]


async def test_a_full_mailbox_refuses_a_tell_and_fails_an_ask(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref, actor = await busy(Bounded, scheduled)
    ref.tell(1)
    ref.tell(2)
    with pytest.raises(MailboxFull, match="holds 2 messages"):
        ref.tell(3)
    with pytest.raises(MailboxFull):
        await ref.ask(3, block=False)
    with pytest.raises(MailboxFull):
        ref.forward(3, None)
    reply: TrioFuture[Any] = TrioFuture()
    ref.forward(3, reply)
    with pytest.raises(MailboxFull):
        await reply
    actor.gate.set()
    await ref.stop(block=False)
    assert actor.seen == ["first", 1, 2]


def test_a_full_mailbox_refuses_other_threads_before_their_messages_arrive(
    thread_kernel: Kernel, scheduled: Scheduled
) -> None:
    class Held(TrioActor):
        mailbox_limit = 2

        def on_receive(self, message: Any) -> Any:
            return message() if callable(message) else message

    ref = scheduled(Held).start()
    entered, gate = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        gate.wait(WAIT_S)

    ref.tell(hold)
    assert entered.wait(WAIT_S)  # the loop itself is held now: nothing arrives
    ref.tell(1)
    asked = ref.ask(2, block=False)
    with pytest.raises(MailboxFull):
        ref.tell(3)
    stop = ref.stop(block=False)
    gate.set()
    assert asked.get(timeout=WAIT_S) == 2
    assert stop.get(timeout=WAIT_S) is True


async def test_send_waits_for_room_in_the_order_of_arrival(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref, actor = await busy(Bounded, scheduled)
    sent: list[int] = []

    async def send(number: int) -> None:
        await ref.send(number)
        sent.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(send, number)
            await trio.testing.wait_all_tasks_blocked()
        assert sent == [0, 1]
        with pytest.raises(MailboxFull):
            ref.tell("pushing in")
        actor.gate.set()
    await ref.stop(block=False)
    assert actor.seen == ["first", 0, 1, 2, 3, 4, 5]
    assert sent == [0, 1, 2, 3, 4, 5]


async def test_room_goes_to_who_waits_and_not_to_who_comes_later(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    class Stepping(Bounded):
        async def on_receive(self, message: Any) -> Any:
            self.entered.set()
            await self.gate.wait()
            self.gate = trio.Event()
            self.seen.append(message)

    ref, actor = await busy(Stepping, scheduled)
    ref.tell(1)
    ref.tell(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.send, 3)
        await trio.testing.wait_all_tasks_blocked()
        actor.gate.set()
        await trio.testing.wait_all_tasks_blocked()  # "first" is done, 1 is held, 2 and 3 wait
        with pytest.raises(MailboxFull):
            ref.tell(4)
    ref.kill()
    assert actor.seen == ["first"]


async def test_a_cancelled_send_was_not_sent(kernel: Kernel, scheduled: Scheduled) -> None:
    ref, actor = await busy(Bounded, scheduled)
    ref.tell(1)
    ref.tell(2)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.send, "cancelled")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    actor.gate.set()
    await ref.send(3)
    await ref.stop(block=False)
    assert actor.seen == ["first", 1, 2, 3]


async def test_a_stop_wakes_waiting_senders_with_an_error(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref, actor = await busy(Bounded, scheduled)
    ref.tell(1)
    ref.tell(2)

    async def send() -> None:
        with pytest.raises(ActorDeadError):
            await ref.send("too late")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        stop = ref.stop(block=False)
        actor.gate.set()
        assert await stop is True
    assert actor.seen == ["first", 1, 2]
    with pytest.raises(ActorDeadError):
        await ref.send("dead")


async def test_send_to_an_unbounded_actor_does_not_wait_but_is_a_checkpoint(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref, actor = await busy(Gated, scheduled)
    with trio.testing.assert_checkpoints():
        await ref.send(1)
    actor.gate.set()
    await ref.stop(block=False)
    assert actor.seen == ["first", 1]


async def test_control_messages_overtake_a_full_mailbox_in_their_own_order(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref, actor = await busy(Bounded, scheduled)
    ref.tell(1)
    ref.tell(2)
    ref.tell(Interrupt(1))
    asked = ref.ask(Interrupt(2), block=False)
    await trio.to_thread.run_sync(ref.tell, Interrupt(3))
    await trio.testing.wait_all_tasks_blocked()
    actor.gate.set()
    assert await asked == Interrupt(2)
    await ref.stop(block=False)
    assert actor.seen == ["first", Interrupt(1), Interrupt(2), Interrupt(3), 1, 2]


async def test_a_control_message_wakes_an_idle_actor(kernel: Kernel, scheduled: Scheduled) -> None:
    ref = scheduled(Gated).start()
    assert await ref.ask(Interrupt(), block=False) == Interrupt()


async def test_a_stop_is_taken_by_a_full_mailbox_behind_its_backlog(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref, actor = await busy(Bounded, scheduled)
    ref.tell(1)
    ref.tell(2)
    stop = ref.stop(block=False)
    actor.gate.set()
    assert await stop is True
    assert actor.seen == ["first", 1, 2]


async def test_a_kill_passes_a_full_mailbox_and_answers_everybody(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref = scheduled(Bounded).start()
    actor = inside(ref)
    running = ref.ask("first", block=False)
    await actor.entered.wait()
    waiting = [ref.ask(number, block=False) for number in range(2)]
    stop = ref.stop(block=False)
    ref.kill()
    assert not ref.is_alive()
    for ask in (running, *waiting):
        with pytest.raises(ActorDeadError):
            await ask
    assert await stop is True
    assert actor.seen == []
    ref.kill()  # again: nothing happens


@pytest.mark.parametrize("suspended", [False, True])
async def test_an_actor_can_kill_itself(
    kernel: Kernel, scheduled: Scheduled, suspended: bool
) -> None:
    reached: list[str] = []

    class Suicidal(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            if suspended:
                await trio.lowlevel.checkpoint()
            self.actor_ref.kill()
            reached.append("killed")
            await trio.lowlevel.checkpoint()
            reached.append("never")

    ref = scheduled(Suicidal).start()
    with pytest.raises(ActorDeadError):
        await ref.ask("x", block=False)
    await trio.testing.wait_all_tasks_blocked()
    assert reached == ["killed"]
    assert await scheduled(Gated).start().ask(Interrupt(), block=False) == Interrupt()


def test_a_kill_from_another_thread_cancels_the_handler(
    thread_kernel: Kernel, scheduled: Scheduled
) -> None:
    class Sleeper(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            await trio.sleep_forever()

    ref = scheduled(Sleeper).start()
    asked = ref.ask("x", block=False)
    ref.kill()
    with pytest.raises(ActorDeadError):
        asked.get(timeout=WAIT_S)
    assert ref.actor_stopped.wait(WAIT_S)


class Deferring(TrioActor):
    """Keeps the replies it owes."""

    def __init__(self) -> None:
        super().__init__()
        self.owed: list[TrioFuture[Any] | None] = []

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Exception):
            raise message
        self.owed.append(self.take_reply())
        assert self.take_reply() is None
        return "the kernel does not send this"


async def test_a_taken_reply_is_answered_by_the_actor_later(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref = scheduled(Deferring).start()
    actor = inside(ref)
    asked = ref.ask("x", block=False)
    ref.tell("y")
    await trio.testing.wait_all_tasks_blocked()
    assert not asked.done()
    assert actor.owed == [asked, None]
    asked.set("later")
    assert await asked == "later"


@pytest.mark.parametrize("end", ["stop", "kill", "fail"])
async def test_a_taken_reply_gets_an_error_when_its_actor_dies(
    kernel: Kernel, scheduled: Scheduled, end: str
) -> None:
    ref = scheduled(Deferring).start()
    asks = [ref.ask(number, block=False) for number in range(20)]
    await trio.testing.wait_all_tasks_blocked()
    for number in range(0, 20, 2):
        asks[number].set("answered")
    if end == "stop":
        await ref.stop(block=False)
    elif end == "kill":
        ref.kill()
    else:
        ref.tell(ValueError("told"))
    for number, asked in enumerate(asks):
        if number % 2 == 0:
            assert await asked == "answered"
        else:
            with pytest.raises(ActorDeadError, match="before it answered"):
                await asked


async def test_taken_replies_that_were_answered_are_not_kept(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref = scheduled(Deferring).start()
    actor = inside(ref)
    for number in range(300):
        asked = ref.ask(number, block=False)
        await trio.testing.wait_all_tasks_blocked()
        actor.owed.pop().set(None)
        await asked
    assert len(ref._taken or ()) < 8


async def test_an_actor_that_comes_to_rest_keeps_the_replies_it_owes_and_no_other(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref = scheduled(Deferring).start()
    actor = inside(ref)
    owed, answered = ref.ask("x", block=False), ref.ask("y", block=False)
    await trio.testing.wait_all_tasks_blocked()
    answered.set("now")
    ref.tell("z")
    await trio.testing.wait_all_tasks_blocked()
    assert ref._taken == [owed]
    owed.set("later")
    ref.tell("z")
    await trio.testing.wait_all_tasks_blocked()
    assert ref._taken is None
    assert actor.owed == [owed, answered, None, None]


async def test_a_forwarded_message_is_answered_to_who_asked_first(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    class Second(TrioActor):
        def on_receive(self, message: Any) -> Any:
            return f"second saw {message}"

    second = scheduled(Second).start()

    class First(TrioActor):
        def on_receive(self, message: Any) -> Any:
            second.forward(message, self.take_reply())

    first = scheduled(First).start()
    assert await first.ask("x", block=False) == "second saw x"
    first.tell("nobody asks")
    await second.stop(block=False)
    with pytest.raises(ActorDeadError):
        await first.ask("y", block=False)


def test_forwarding_works_from_another_thread(thread_kernel: Kernel, scheduled: Scheduled) -> None:
    class Echo(TrioActor):
        def on_receive(self, message: Any) -> Any:
            return message

    ref = scheduled(Echo).start()
    reply: TrioFuture[Any] = TrioFuture()
    ref.forward("x", reply)
    assert reply.get(timeout=WAIT_S) == "x"
    ref.stop()
    late: TrioFuture[Any] = TrioFuture()
    ref.forward("y", late)
    with pytest.raises(ActorDeadError):
        late.get(timeout=WAIT_S)


async def test_a_reply_that_somebody_else_has_set_is_left_alone(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    class Echo(TrioActor):
        def on_receive(self, message: Any) -> Any:
            return message

    ref = scheduled(Echo).start()
    reply: TrioFuture[Any] = TrioFuture()
    reply.set("already")
    ref.forward("x", reply)
    assert await ref.ask("y", block=False) == "y"
    assert await reply == "already"


async def test_an_idle_actor_holds_no_queue(kernel: Kernel, scheduled: Scheduled) -> None:
    class Echo(TrioActor):
        def on_receive(self, message: Any) -> Any:
            return message

    ref = scheduled(Echo).start()
    assert await ref.ask("x", block=False) == "x"
    await trio.testing.wait_all_tasks_blocked()
    assert (ref._queue, ref._batch, ref._urgent) == (None, None, None)
    assert ref.actor_inbox.empty()
    with pytest.raises(TypeError):
        ref.actor_inbox.get()
    assert isinstance(ref, pykka.ActorRef)
