"""What could go wrong between threads, between tasks, and between both: forced, or hammered."""
# Looks inside, for what must hold there shows nowhere else.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing

from turnkeeper.actors import (
    ActorDeadError,
    Kernel,
    KernelClosed,
    MailboxFull,
    TrioActor,
    TrioFuture,
)
from turnkeeper.actors.kernel.messages import Envelope

Scheduled = Callable[[type[Any]], type[Any]]
WAIT_S = 30.0
SENDERS = 6


@pytest.fixture
def frantic_switching() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*jobs: Callable[[], None]) -> None:
    """Run all jobs at once, from one starting line; raise the first error."""
    line = threading.Barrier(len(jobs))
    errors: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        line.wait(WAIT_S)
        try:
            job()
        except BaseException as error:  # noqa: BLE001  (raised again below)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


class Witness(TrioActor):
    """Notes what it gets, and whether it is ever entered twice."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []
        self.inside = 0
        self.worst = 0

    async def on_receive(self, message: Any) -> Any:
        self.inside += 1
        self.worst = max(self.worst, self.inside)
        if message != "look":
            self.seen.append(message)
            if message[1] % 7 == 0:
                await trio.lowlevel.checkpoint()
        self.inside -= 1
        return (self.worst, self.seen)


@pytest.mark.usefixtures("frantic_switching", "thread_kernel")
def test_six_threads_lose_nothing_keep_their_order_and_enter_an_actor_one_at_a_time(
    scheduled: Scheduled,
) -> None:
    ref = scheduled(Witness).start()
    number = 400

    def sender(me: int) -> Callable[[], None]:
        def send() -> None:
            for count in range(number):
                ref.tell((me, count))

        return send

    in_threads(*(sender(me) for me in range(SENDERS)))
    worst, seen = ref.ask("look", timeout=WAIT_S)
    assert worst == 1
    assert len(seen) == SENDERS * number
    for me in range(SENDERS):
        assert [count for sender_, count in seen if sender_ == me] == list(range(number))


@pytest.mark.usefixtures("frantic_switching", "thread_kernel")
@pytest.mark.parametrize("ending", ["stop", "kill", "fail"])
def test_asks_that_race_with_the_end_of_an_actor_are_all_resolved(
    scheduled: Scheduled, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Echo(TrioActor):
        listed = False

        def on_receive(self, message: Any) -> Any:
            if message == "fail":
                raise ValueError("told to")
            return message

    for _ in range(25):
        ref = scheduled(Echo).start()
        asked: list[list[TrioFuture[Any]]] = [[] for _ in range(SENDERS - 1)]

        def asker(mine: list[TrioFuture[Any]], ref: Any = ref) -> Callable[[], None]:
            def ask() -> None:
                mine.extend(ref.ask(count, block=False) for count in range(20))

            return ask

        def end(ref: Any = ref) -> None:
            if ending == "stop":
                ref.stop(block=False)
            elif ending == "kill":
                ref.kill()
            else:
                ref.tell("fail")

        in_threads(*(asker(mine) for mine in asked), end)
        for mine in asked:
            dead = False
            for count, future in enumerate(mine):
                try:
                    assert future.get(timeout=WAIT_S) == count
                    assert not dead, "answered after the actor had refused an earlier one"
                except ActorDeadError:
                    dead = True
        assert ref.actor_stopped.wait(WAIT_S)
    caplog.clear()


@pytest.mark.usefixtures("frantic_switching")
@pytest.mark.parametrize("graceful", [True, False])
def test_asks_and_starts_that_race_with_the_end_of_a_kernel_are_all_resolved(
    scheduled: Scheduled, graceful: bool
) -> None:
    class Echo(TrioActor):
        listed = False

        def on_receive(self, message: Any) -> Any:
            return message

    class Abandoned(Exception):
        pass

    echo = scheduled(Echo)
    for _ in range(15):
        opened = threading.Event()
        futures: list[TrioFuture[Any]] = []
        kernels: list[Kernel] = []

        def ask(
            opened: threading.Event = opened,
            futures: list[TrioFuture[Any]] = futures,
            kernels: list[Kernel] = kernels,
        ) -> None:
            opened.wait(WAIT_S)
            for _ in range(60):
                try:
                    ref = kernels[0].start(echo)
                except KernelClosed:
                    return
                futures.extend(ref.ask(count, block=False) for count in range(3))

        def run(opened: threading.Event = opened, kernels: list[Kernel] = kernels) -> None:
            try:
                with Kernel.in_thread(stall_after_s=None) as kernel:
                    kernels.append(kernel)
                    opened.set()
                    kernel.start(echo).ask("x", timeout=WAIT_S)
                    if not graceful:
                        raise Abandoned
            except Abandoned:
                pass

        in_threads(run, *([ask] * (SENDERS - 1)))
        for future in futures:
            with suppress(ActorDeadError):
                future.get(timeout=WAIT_S)


@pytest.mark.usefixtures("frantic_switching", "thread_kernel")
def test_a_bound_holds_against_six_threads(scheduled: Scheduled) -> None:
    class Small(TrioActor):
        mailbox_limit = 3

        def __init__(self) -> None:
            super().__init__()
            self.fullest = 0

        def on_receive(self, message: Any) -> Any:
            self.fullest = max(self.fullest, self.actor_ref._size())
            return self.fullest

    ref = scheduled(Small).start()
    sent = [0] * SENDERS

    def sender(me: int) -> Callable[[], None]:
        def send() -> None:
            while sent[me] < 100:
                try:
                    ref.tell(me)
                except MailboxFull:
                    continue
                sent[me] += 1

        return send

    in_threads(*(sender(me) for me in range(SENDERS)))
    actor = ref._actor_weakref()
    assert ref.stop(timeout=WAIT_S) is True
    assert 0 < actor.fullest <= 3
    assert ref._bound is not None
    assert ref._bound.in_flight == 0


async def test_a_message_that_arrives_while_the_last_one_is_handled_is_not_slept_over(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    """A lost wake-up: the actor finds its queue empty, and a message comes before it is idle."""
    seen: list[str] = []

    class TellsItself(TrioActor):
        def on_receive(self, message: str) -> None:
            seen.append(message)
            if len(seen) < 4:
                # The queue is empty, the actor is not idle yet: nobody else will schedule it.
                assert self.actor_ref.actor_inbox.empty()
                self.actor_ref.tell(f"{message}+")

    scheduled(TellsItself).start().tell("x")
    await trio.testing.wait_all_tasks_blocked()
    assert seen == ["x", "x+", "x++", "x+++"]


async def test_a_message_posted_while_the_loop_empties_the_queue_is_not_slept_over(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    """The other lost wake-up: a thread posts after the last look, before the loop sleeps."""

    class Echo(TrioActor):
        def on_receive(self, message: Any) -> Any:
            return message

    ref = scheduled(Echo).start()
    late: list[TrioFuture[Any]] = []

    class PostsWhenFoundEmpty(deque[Any]):
        """At the loop's last look, another thread gets in."""

        def __bool__(self) -> bool:
            found = len(self) > 0
            if not found and not late:
                thread = threading.Thread(target=lambda: late.append(ref.ask("late", block=False)))
                thread.start()
                thread.join()
            return found

    kernel._posted = PostsWhenFoundEmpty()
    first = await trio.to_thread.run_sync(lambda: ref.ask("first", block=False))
    assert await first == "first"
    with trio.fail_after(WAIT_S):
        while not late:
            await trio.lowlevel.checkpoint()
        assert await late[0] == "late"


async def test_posts_of_many_threads_arm_one_wake_up(
    kernel: Kernel, scheduled: Scheduled, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(TrioActor):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def on_receive(self, message: Any) -> Any:
            self.count += 1
            return self.count

    ref = scheduled(Counting).start()
    armed: list[object] = []
    token = kernel._token

    class CountsArming:
        def run_sync_soon(self, function: Any, *, idempotent: bool) -> None:
            armed.append(function)
            token.run_sync_soon(function, idempotent=idempotent)

    monkeypatch.setattr(kernel, "_token", CountsArming())

    def post() -> None:
        for _ in range(100):
            ref.tell("x")

    thread = threading.Thread(target=post)
    thread.start()
    thread.join()  # holding the loop, so that nothing is taken meanwhile
    assert len(armed) == 1
    await trio.testing.wait_all_tasks_blocked()
    assert await ref.ask("x", block=False) == 101


async def test_a_tell_that_passed_the_check_and_arrives_after_the_stop_is_dropped(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    """A late tell or ask: the actor dies between the sender's look and the arrival."""
    seen: list[Any] = []

    class Noting(TrioActor):
        def on_receive(self, message: Any) -> None:
            seen.append(message)

    ref = scheduled(Noting).start()
    late: list[TrioFuture[Any]] = []

    def send_late() -> None:
        ref.tell("late tell")
        late.append(ref.ask("late ask", block=False))

    thread = threading.Thread(target=send_late)
    thread.start()
    thread.join()  # both were posted to a living actor, and wait for the loop
    stop = ref.stop(block=False)
    with trio.CancelScope(shield=True):
        while not stop.done():
            # Drain by hand, so that the stop is certainly handled before anything arrives.
            posted, kernel._posted = kernel._posted, deque()
            await trio.testing.wait_all_tasks_blocked()
            kernel._posted = posted
    assert await stop is True
    kernel._admit()
    with pytest.raises(ActorDeadError):
        await late[0]
    assert seen == []


def test_an_ask_that_passed_the_check_and_is_posted_after_the_kernels_end_is_refused(
    scheduled: Scheduled,
) -> None:
    """The sender looks, the kernel ends, the sender posts: nobody will empty the queue for it."""

    class Echo(TrioActor):
        def on_receive(self, message: Any) -> Any:
            return message

    with Kernel.in_thread(stall_after_s=None) as kernel:
        ref = scheduled(Echo).start()
    late: TrioFuture[Any] = TrioFuture()
    kernel._post(ref._arrive, Envelope("late", late))
    with pytest.raises(ActorDeadError):
        late.get(timeout=0)


async def test_a_future_set_between_the_look_and_the_sleep_of_its_waiter_is_noticed(
    kernel: Kernel,
) -> None:
    future: TrioFuture[int] = TrioFuture()
    register: Any = TrioFuture[int]._add_waiter

    def set_in_between(self: TrioFuture[Any], waiter: Any) -> bool:
        thread = threading.Thread(target=future.resolve, args=(5,))
        thread.start()
        thread.join()
        return bool(register(self, waiter))

    with pytest.MonkeyPatch.context() as patch, trio.fail_after(WAIT_S):
        patch.setattr(TrioFuture, "_add_waiter", set_in_between)
        assert await future == 5


async def test_an_actor_that_tells_itself_forever_starves_nobody(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    class Busy(TrioActor):
        def on_receive(self, message: Any) -> None:
            self.actor_ref.tell(message)

    class Echo(TrioActor):
        def on_receive(self, message: Any) -> Any:
            return message

    busy = [scheduled(Busy).start() for _ in range(3)]
    for ref in busy:
        ref.tell("again")
    echo = scheduled(Echo).start()
    with trio.fail_after(WAIT_S):
        for number in range(50):
            assert await echo.ask(number, block=False) == number
        with trio.move_on_after(0.001):  # the loop's own clock goes on too
            await trio.sleep_forever()
        for ref in busy:
            assert await ref.stop(block=False) is True


async def test_a_handler_that_waits_holds_up_its_own_actor_only(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    gate = trio.Event()

    class Waiting(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            await gate.wait()
            return message

    class Echo(TrioActor):
        def on_receive(self, message: Any) -> Any:
            return message

    waiting = [scheduled(Waiting).start().ask(number, block=False) for number in range(200)]
    echo = scheduled(Echo).start()
    assert await echo.ask("meanwhile", block=False) == "meanwhile"
    assert not any(future.done() for future in waiting)
    gate.set()
    assert [await future for future in waiting] == list(range(200))
    await trio.testing.wait_all_tasks_blocked()
    assert len(kernel._idle) <= 64


async def test_at_the_bound_of_workers_pooled_actors_wait_and_then_go_on() -> None:
    gate = trio.Event()

    class Waiting(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            await gate.wait()
            return message

    async with Kernel.open(max_workers=3, stall_after_s=None) as kernel:
        asks = [Waiting.start().ask(number, block=False) for number in range(10)]
        await trio.testing.wait_all_tasks_blocked()
        assert kernel._workers == 3
        gate.set()
        assert [await ask for ask in asks] == list(range(10))
