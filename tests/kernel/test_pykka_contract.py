"""What pykka promises, driven from a plain thread, on both ways of scheduling."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import pykka
import pytest
from pykka._envelope import Envelope
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

from turnkeeper.actors import ActorDeadError, ActorRef, ActorRegistry, Kernel, TrioActor, TrioFuture

Scheduled = Callable[[type[Any]], type[Any]]

pytestmark = pytest.mark.usefixtures("thread_kernel")

WAIT_S = 20.0


class Wheels:
    """Something traversable inside an actor."""

    def __init__(self) -> None:
        self.count = 4

    def turn(self) -> str:
        return "turning"


class Recorder(TrioActor):
    """Records what happens to it."""

    def __init__(self, greeting: str = "hello") -> None:
        super().__init__()
        self.greeting = greeting
        self.events: list[Any] = []
        self.wheels = pykka.traversable(Wheels())
        self.over = threading.Event()
        self._hidden = 1

    def on_start(self) -> None:
        self.events.append("started")

    def on_stop(self) -> None:
        self.events.append("stopped")
        self.over.set()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert traceback is not None
        self.events.append(("failed", exception_type, str(exception_value)))
        self.over.set()

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Exception):
            raise message
        if callable(message):
            return message()
        self.events.append(message)
        return message

    def greet(self, name: str, *, loud: bool = False) -> str:
        text = f"{self.greeting}, {name}"
        return text.upper() if loud else text

    async def greet_later(self, name: str) -> str:
        return self.greet(name)


@pytest.fixture
def recorder(scheduled: Scheduled) -> type[Recorder]:
    """The class, scheduled as the test wants it."""
    return scheduled(Recorder)


def test_start_passes_its_arguments_to_init(recorder: type[Recorder]) -> None:
    proxy = recorder.start(greeting="hi").proxy()
    assert proxy.greeting.get() == "hi"


def test_a_started_actor_is_registered_under_its_urn_until_it_stops(
    recorder: type[Recorder],
) -> None:
    ref = recorder.start()
    assert ActorRegistry.get_by_urn(ref.actor_urn) is ref
    assert ActorRegistry.get_by_class(TrioActor) == [ref]
    assert ActorRegistry.get_by_class_name("Recorder") == [ref]
    ref.stop()
    assert ActorRegistry.get_all() == []


def test_an_unlisted_actor_is_not_registered(recorder: type[Recorder]) -> None:
    class Unlisted(recorder):  # type: ignore[misc, valid-type]
        listed = False

    ref: ActorRef[Any] = Unlisted.start()
    assert ActorRegistry.get_all() == []
    assert ref.ask("x") == "x"
    assert ref.stop() is True


def test_every_actor_has_a_urn_of_its_own_that_stays(recorder: type[Recorder]) -> None:
    one, other = recorder.start(), recorder.start()
    assert one.actor_urn.startswith("urn:uuid:")
    assert one.actor_urn != other.actor_urn
    assert one.actor_urn == one.proxy().actor_urn.get()
    assert str(one) == f"Recorder ({one.actor_urn})"
    assert repr(one) == f"<ActorRef for {one}>"


def test_a_ref_is_a_pykka_ref_and_its_future_a_pykka_future(recorder: type[Recorder]) -> None:
    ref = recorder.start()
    assert isinstance(ref, pykka.ActorRef)
    future = ref.ask("x", block=False)
    assert isinstance(future, pykka.Future)
    assert pykka.get_all([future, ref.ask("y", block=False)], timeout=WAIT_S) == ["x", "y"]


def test_on_start_runs_before_the_first_message_and_on_stop_after_the_last(
    recorder: type[Recorder],
) -> None:
    ref = recorder.start()
    events = ref.proxy().events.get()
    ref.tell("one")
    ref.tell("two")
    assert ref.stop() is True
    assert events == ["started", "one", "two", "stopped"]


def test_a_failing_on_start_is_logged_and_ends_the_actor(
    scheduled: Scheduled, caplog: pytest.LogCaptureFixture
) -> None:
    class Stillborn(Recorder):
        def on_start(self) -> None:
            raise ValueError("no start")

    ref = scheduled(Stillborn).start()
    with pytest.raises(ActorDeadError):
        ref.ask("x", timeout=WAIT_S)
    assert ref.actor_stopped.wait(WAIT_S)
    assert ActorRegistry.get_all() == []
    assert "no start" in caplog.text


def test_a_failing_on_stop_is_logged_and_the_stop_still_answers(
    scheduled: Scheduled, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Recorder):
        def on_stop(self) -> None:
            raise ValueError("no end")

    assert scheduled(Stubborn).start().stop(timeout=WAIT_S) is True
    assert "no end" in caplog.text


def test_ask_blocks_until_the_reply_is_there(recorder: type[Recorder]) -> None:
    assert recorder.start().ask({"any": "thing"}) == {"any": "thing"}


def test_ask_times_out_and_the_actor_goes_on(recorder: type[Recorder]) -> None:
    ref = recorder.start()
    gate = threading.Event()
    slow = ref.ask(lambda: gate.wait(WAIT_S), block=False)
    with pytest.raises(pykka.Timeout, match="0 seconds"):
        ref.ask("x", timeout=0)
    gate.set()
    assert slow.get(timeout=WAIT_S) is True
    assert ref.ask("y", timeout=WAIT_S) == "y"


def test_an_error_in_an_ask_goes_to_the_asker_and_the_actor_goes_on(
    recorder: type[Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ref = recorder.start()
    with pytest.raises(ValueError, match="asked for"):
        ref.ask(ValueError("asked for"))
    assert ref.ask("still here") == "still here"
    assert ("failed", ValueError, "asked for") not in ref.proxy().events.get()
    assert "Exception returned from Recorder" in caplog.text


def test_an_error_in_a_tell_is_logged_calls_on_failure_and_ends_the_actor(
    recorder: type[Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    ref = recorder.start()
    proxy = ref.proxy()
    events, over = proxy.events.get(), proxy.over.get()
    ref.tell(ValueError("told"))
    assert over.wait(WAIT_S)
    assert ref.actor_stopped.wait(WAIT_S)
    assert events == ["started", ("failed", ValueError, "told")]
    assert "Unhandled exception in Recorder" in caplog.text


def test_one_actors_failure_does_not_touch_another(
    recorder: type[Recorder], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = recorder.start(), recorder.start()
    one.tell(ValueError("told"))
    assert one.actor_stopped.wait(WAIT_S)
    assert other.ask("fine") == "fine"
    assert caplog.text.count("Unhandled exception") == 1


def test_a_message_nobody_handles_is_warned_of(
    scheduled: Scheduled, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf(TrioActor):
        pass

    assert scheduled(Deaf).start().ask("anyone?") is None
    assert "Unexpected message received by Deaf" in caplog.text


def test_messages_before_the_stop_are_handled_and_those_after_it_refused(
    recorder: type[Recorder],
) -> None:
    ref = recorder.start()
    gate = threading.Event()
    ref.tell(lambda: gate.wait(WAIT_S))
    before = ref.ask("before", block=False)
    stop = ref.stop(block=False)
    after = ref.ask("after", block=False)
    second_stop = ref.stop(block=False)
    gate.set()
    assert before.get(timeout=WAIT_S) == "before"
    assert stop.get(timeout=WAIT_S) is True
    assert second_stop.get(timeout=WAIT_S) is True
    with pytest.raises(ActorDeadError, match="stopped before handling the message"):
        after.get(timeout=WAIT_S)


def test_a_dead_actor_refuses_everything(recorder: type[Recorder]) -> None:
    ref = recorder.start()
    assert ref.is_alive()
    ref.stop()
    assert not ref.is_alive()
    assert ref.actor_stopped.is_set()
    assert ref.stop() is False
    with pytest.raises(ActorDeadError, match="not found"):
        ref.tell("x")
    with pytest.raises(ActorDeadError):
        ref.ask("x")
    with pytest.raises(ActorDeadError):
        ref.proxy()
    assert isinstance(ref.ask("x", block=False), TrioFuture)


def test_an_actor_can_stop_itself(recorder: type[Recorder]) -> None:
    ref = recorder.start()
    ref.proxy().stop().get(timeout=WAIT_S)
    assert ref.actor_stopped.wait(WAIT_S)


def test_stopped_can_be_waited_for_with_a_timeout(recorder: type[Recorder]) -> None:
    ref = recorder.start()
    assert ref.actor_stopped.wait(0) is False
    ref.stop(block=False)
    assert ref.actor_stopped.wait(WAIT_S) is True


def test_setting_stopped_ends_the_actor_without_its_backlog(recorder: type[Recorder]) -> None:
    ref = recorder.start()
    entered, gate = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        gate.wait(WAIT_S)

    ref.tell(hold)
    assert entered.wait(WAIT_S)
    ref.actor_stopped.set()
    late = ref.ask("late", block=False)
    gate.set()
    with pytest.raises(ActorDeadError):
        late.get(timeout=WAIT_S)


def test_an_inbox_takes_pykkas_envelopes(recorder: type[Recorder]) -> None:
    ref = recorder.start()
    future = pykka.ThreadingFuture[Any]()
    ref.actor_inbox.put(Envelope("x", future))
    assert future.get(timeout=WAIT_S) == "x"
    assert ref.actor_inbox.empty()
    ref.stop()
    late = pykka.ThreadingFuture[Any]()
    ref.actor_inbox.put(Envelope("x", late))
    with pytest.raises(ActorDeadError):
        late.get(timeout=WAIT_S)


def test_a_proxy_calls_methods_and_reads_and_sets_attributes(recorder: type[Recorder]) -> None:
    proxy = recorder.start().proxy()
    assert proxy.greet("you", loud=True).get() == "HELLO, YOU"
    proxy.greeting = "bye"
    greeting: Any = proxy.greeting
    assert greeting.get() == "bye"
    assert proxy.greet_later("you").get() == "bye, you"
    assert proxy.wheels.turn().get() == "turning"
    assert proxy.wheels.count.get() == 4
    with pytest.raises(AttributeError):
        _ = proxy.missing
    with pytest.raises(AttributeError):
        _ = proxy._hidden


def test_a_deferred_proxy_call_tells(recorder: type[Recorder]) -> None:
    ref = recorder.start()
    proxy = ref.proxy()
    events = proxy.events.get()
    proxy.on_receive.defer("deferred")
    ref.stop()
    assert "deferred" in events


def test_proxy_messages_can_be_sent_without_a_proxy(recorder: type[Recorder]) -> None:
    ref = recorder.start()
    assert ref.ask(ProxyCall(("greet",), ("you",), {})) == "hello, you"
    ref.ask(ProxySetAttr(("greeting",), "hey"))
    assert ref.ask(ProxyGetAttr(("greeting",))) == "hey"
    with pytest.raises(AttributeError):
        ref.ask(ProxyGetAttr(("missing",)))


def test_a_broadcast_reaches_the_actors_of_a_class(recorder: type[Recorder]) -> None:
    refs = [recorder.start() for _ in range(3)]
    logs = [ref.proxy().events.get() for ref in refs]
    ActorRegistry.broadcast("all of you", target_class=Recorder)
    assert ActorRegistry.stop_all() == [True] * 3
    assert [log[1] for log in logs] == ["all of you"] * 3


def test_stop_all_stops_the_last_started_first(scheduled: Scheduled) -> None:
    order: list[int] = []

    class Numbered(TrioActor):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def on_stop(self) -> None:
            order.append(self.number)

    for number in range(4):
        scheduled(Numbered).start(number)
    ActorRegistry.stop_all()
    assert order == [3, 2, 1, 0]


def test_an_actor_can_ask_another_and_pass_its_future_on(recorder: type[Recorder]) -> None:
    inner = recorder.start()

    class Outer(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            return [await inner.ask(message, block=False)]

    class Passing(TrioActor):
        def on_receive(self, message: Any) -> Any:
            return inner.ask(message, block=False)

    assert Outer.start().ask("x", timeout=WAIT_S) == ["x"]
    assert Passing.start().ask("y", timeout=WAIT_S).get(timeout=WAIT_S) == "y"


def test_actors_tell_themselves_while_being_made(scheduled: Scheduled, mode: str) -> None:
    class Eager(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.actor_ref.tell("from init")

    proxy = scheduled(Eager).start().proxy()
    assert proxy.events.get() == ["started", "from init"]


def test_a_pykka_threading_actor_and_a_trio_actor_talk(recorder: type[Recorder]) -> None:
    ours = recorder.start()

    class Threaded(pykka.ThreadingActor):
        def on_receive(self, message: Any) -> Any:
            return ours.ask(message, timeout=WAIT_S)

    theirs = Threaded.start()
    assert theirs.ask("through both", timeout=WAIT_S) == "through both"
    theirs.stop()


def test_the_kernel_of_the_process_is_found_from_any_thread(
    thread_kernel: Kernel, recorder: type[Recorder]
) -> None:
    found: list[ActorRef[Recorder]] = []
    thread = threading.Thread(target=lambda: found.append(recorder.start()))
    thread.start()
    thread.join()
    assert found[0].ask("x") == "x"
    assert Kernel.current() is thread_kernel
