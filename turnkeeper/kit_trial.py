"""One test of a channel: a wire, and a real runtime over a disk in memory, life after life.

Tests run in a thread of their own, each on a loop of its own: they need no plugin of pytest's, and
a channel which cannot be stopped fails its test instead of hanging all of them.
"""

from __future__ import annotations

import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

import trio

from .actors.happenings import FeedEvent
from .actors.provenance import LateReceipt
from .agent import Agent, Turn
from .channels.base import Channel, MessageChange
from .identity import IdentityResolver
from .kit_wire import ABILITIES, Seen, Wire, missing_abilities
from .opening import open_runtime
from .runtime import Runtime
from .storage.memory import MemoryDisk, open_memory

__all__ = ["HEARD", "Life", "Suite", "Trial", "check", "require"]

HEARD: Final = "Heard "
"""How every answer begins; what was said follows."""
_POLL_S: Final = 0.02
"""Seconds between two looks at what a human sees: nobody tells the tests when that changes."""
_MAX_EVENTS: Final = 100_000

W = TypeVar("W", bound=Wire)
T = TypeVar("T")


def require(holds: bool, otherwise: str) -> None:
    """Fail the test with the sentence `otherwise`, unless it `holds`."""
    if not holds:
        raise AssertionError(otherwise)


@dataclass(slots=True)
class Life:
    """One life of a runtime with the channel in it."""

    runtime: Runtime
    channel: Channel
    events: list[FeedEvent] = field(default_factory=list[FeedEvent])
    """What the feed has told."""

    def outcomes(self) -> list[tuple[str, str | None]]:
        """What became of the attempts to send: status and reason, the first one first."""
        details = [event.detail for event in self.events if event.kind == "delivery"]
        return [(detail["status"], detail["reason"]) for detail in details]


class Trial(Generic[W]):
    """What a test has in hand."""

    def __init__(self, suite: Suite[W], wire: W) -> None:
        self.wire = wire
        self.suite = suite
        self.disk = MemoryDisk()
        """What survives from life to life."""
        self.turns: list[Turn] = []
        """Every turn that the agent was given."""
        self.changes: list[MessageChange] = []
        """What the channel has told of edits and deletions."""
        self.receipts: list[LateReceipt] = []
        """What the channel has told of its messages later."""
        self._failure: AssertionError | None = None
        """What was waited for in vain: also by an agent, whose runtime would only try again."""
        self.here, self.there = wire.conversations[:2]

    def __repr__(self) -> str:
        return f"<Trial of {type(self.wire).__name__}>"

    async def echo(self, turn: Turn) -> str:
        """The agent, unless a test brings another one."""
        self.turns.append(turn)
        return HEARD + turn.text

    @asynccontextmanager
    async def living(
        self,
        *,
        agent: Agent | None = None,
        resolver: IdentityResolver | None = None,
        section: Mapping[str, Any] | None = None,
        ready: bool = True,
        channel: Channel | None = None,
    ) -> AsyncGenerator[Life]:
        """Run the channel for as long as the block lasts; what runs then comes to its end.

        Args:
            agent: answers; :meth:`echo` by default.
            resolver: says who is speaking.
            section: further keys of the channel's section of the configuration.
            ready: whether to wait until the channel is connected.
            channel: the channel; by default a fresh one, as the suite makes it.
        """
        channel = channel or self.suite.make_channel(self.wire, "kit")
        config = {
            "runtime": {"stop_deadline_s": 3.0},
            **self.suite.config(self.wire),
            "channels": {channel.name: {"access": "open", **(section or {})}},
        }
        with tempfile.TemporaryDirectory(prefix="turnkeeper-kit-") as state_dir:
            async with (
                open_memory(self.disk) as store,
                open_runtime(
                    Path(state_dir),
                    agent=agent or self.echo,
                    channels=[channel],
                    store=store,
                    config=config,
                    identity_resolver=resolver,
                ) as runtime,
                runtime.feed(max_behind=_MAX_EVENTS) as happening,
            ):
                life = Life(runtime, channel)
                self._tap(channel)
                runtime.start_soon(_collect, happening, life.events)
                await self.wire.attached(channel)
                if ready:
                    await self.connected(channel)
                yield life
                self.suite.doing = "the runtime was being closed"
            self.suite.doing = "the runtime was closed"
        if self._failure is not None:
            raise self._failure

    def _tap(self, channel: Channel) -> None:
        """Note down what the channel tells of changes and receipts."""
        on_change, on_receipt = channel.on_change, channel.on_receipt

        async def changed(change: MessageChange) -> bool:
            known = await on_change(change) if on_change is not None else False
            self.changes.append(change)
            return known

        async def received(receipt: LateReceipt) -> bool:
            known = await on_receipt(receipt) if on_receipt is not None else False
            self.receipts.append(receipt)
            return known

        channel.on_change, channel.on_receipt = changed, received

    # -- waiting ---------------------------------------------------------------------------------

    async def until(self, find: Callable[[], Awaitable[T | None]], what: str, hint: str = "") -> T:
        """What `find` finds, once it finds something; fail after the suite's patience.

        Args:
            find: looks; None for nothing yet.
            what: what is waited for: "the answer was seen".
            hint: what its author may have to do if it does not come.
        """
        self.suite.doing = f"it was waited until {what}"
        with trio.move_on_after(self.suite.patience_s):
            while self._failure is None:
                found = await find()
                if found is not None:
                    return found
                await trio.sleep(_POLL_S)
        self._failure = self._failure or AssertionError(
            f"after {self.suite.patience_s:g} s it was still not so that {what}. {hint}".rstrip()
        )
        raise self._failure

    async def until_true(self, holds: Callable[[], bool], what: str, hint: str = "") -> None:
        """Return once it `holds`; see :meth:`until`."""

        async def find() -> bool | None:
            return holds() or None

        await self.until(find, what, hint)

    async def connected(self, channel: Channel) -> None:
        """Return once the channel says that its line stands."""
        await self.until_true(
            lambda: channel.line.state == "connected",
            "the channel's line was up",
            "Call `self.line.up()` in `run` once the platform can be heard. It is now: "
            f"{channel.line!r}",
        )

    async def answered(self, text: str, conversation: str, hint: str = "") -> Seen:
        """The answer to `text`, once a human sees it."""

        async def find() -> Seen | None:
            for seen in await self.wire.seen(conversation):
                if seen.text == HEARD + text:
                    return seen
            return None

        heard = f"the answer to {text!r} was seen in {conversation!r}"
        return await self.until(find, heard, hint)

    async def asked(self, text: str, conversation: str, hint: str = "") -> Seen:
        """Say something, and return the answer to it."""
        await self.wire.user_says(text, conversation=conversation)
        return await self.answered(text, conversation, hint)

    async def answers(self, conversation: str) -> list[str]:
        """What was answered in a conversation, without :data:`HEARD`, the oldest first."""
        seen = await self.wire.seen(conversation)
        return [one.text.removeprefix(HEARD) for one in seen if one.text.startswith(HEARD)]

    async def final_outcome(self, life: Life, index: int = 0) -> tuple[str, str | None]:
        """What became of a delivery in the end: of the first one, or of a later one."""
        await self.until_true(
            lambda: len(_final(life)) > index,
            "the delivery was over",
            "`send` must return a Receipt or raise one of Unreachable, Rejected and LostAnswer; "
            f"until now: {life.outcomes()}",
        )
        return _final(life)[index]


def _final(life: Life) -> list[tuple[str, str | None]]:
    return [outcome for outcome in life.outcomes() if outcome[0] != "retrying"]


async def _collect(happening: AsyncIterator[FeedEvent], events: list[FeedEvent]) -> None:
    async for event in happening:
        events.append(event)  # noqa: PERF401  (it is read while it grows)


class Suite(ABC, Generic[W]):
    """What an author brings for every test."""

    patience_s: ClassVar[float] = 15.0
    """Seconds until a test gives up on what it waits for."""
    stuck_s: ClassVar[float] = 90.0
    """Seconds after which a test that has not even given up is left behind."""
    doing: str = "the wire was being opened"
    """What the test does, for the failure of one that is stuck."""

    @abstractmethod
    def open_wire(self) -> AbstractAsyncContextManager[W]:
        """The platform's own side, for one test; closed behind it."""

    @abstractmethod
    def make_channel(self, wire: W, name: str) -> Channel:
        """A new channel for this platform, as its configuration would make it. Connects nothing."""

    def make_wrong_channel(self, wire: W, name: str) -> Channel:
        """A channel whose token the platform does not know, if there are tokens."""
        raise NotImplementedError

    def config(self, _wire: W) -> Mapping[str, Any]:
        """Further sections of the runtime's configuration, such as `http`."""
        return {}

    def make_clock(self) -> trio.abc.Clock | None:
        """The clock: the real one. A wire in memory can do with `trio.testing.MockClock`."""
        return None


S = TypeVar("S", bound=Suite[Any])


def check(
    *needs: str, power: str | None = None, wrong_token: bool = False
) -> Callable[[Callable[[S, Trial[Any]], Awaitable[None]]], Callable[[S], None]]:
    """Make a test, which any pytest can run, of an async function.

    Args:
        needs: abilities of the wire without which it is skipped.
        power: a field of `ChannelPowers` that the channel has to declare, else it is skipped.
        wrong_token: whether the suite must know how to make a channel with a wrong token.
    """
    assert all(name in ABILITIES for name in needs)

    def make(test: Callable[[S, Trial[Any]], Awaitable[None]]) -> Callable[[S], None]:
        async def run(suite: S) -> _Result:
            async with suite.open_wire() as wire:
                suite.doing = "the channel was being made"
                lacking = _lacking(suite, wire, needs, power, wrong_token)
                if lacking:
                    return _Result(skipped=lacking)
                try:
                    await test(suite, Trial(suite, wire))
                except Exception as error:  # noqa: BLE001  (raised outside, without the wire's groups)
                    return _Result(error=error)
            return _Result()

        def test_it(self: S) -> None:
            _run_apart(self, run)

        # Not `functools.wraps`: pytest would follow `__wrapped__`, and see a fixture in `trial`.
        test_it.__name__, test_it.__qualname__ = test.__name__, test.__qualname__
        test_it.__doc__, test_it.__module__ = test.__doc__, test.__module__
        return test_it

    return make


@dataclass(frozen=True, slots=True)
class _Result:
    error: BaseException | None = None
    skipped: str = ""


def _lacking(
    suite: Suite[Any], wire: Wire, needs: tuple[str, ...], power: str | None, wrong_token: bool
) -> str:
    """Why a test does not apply; empty if it does."""
    reasons = [f"{type(wire).__name__} {words}" for words in missing_abilities(wire, needs)]
    if power is not None and not getattr(suite.make_channel(wire, "kit").powers, power):
        reasons.append(f"the channel does not declare {power}")
    if wrong_token and _is_inherited(suite, "make_wrong_channel"):
        reasons.append("make_wrong_channel is not there")
    return "; ".join(reasons)


def _is_inherited(suite: Suite[Any], method: str) -> bool:
    own: object = getattr(type(suite), method)
    return own is getattr(Suite, method)


def _run_apart(suite: S, test: Callable[[S], Awaitable[_Result]]) -> None:
    """Run a test in a thread of its own; fail, or skip, as it says."""
    results: list[_Result] = []

    def work() -> None:
        try:
            results.append(trio.run(test, suite, clock=suite.make_clock()))
        except BaseException as error:  # noqa: BLE001  (raised in the thread that waits)
            results.append(_Result(error=error))

    thread = threading.Thread(target=work, name="channel test", daemon=True)
    thread.start()
    thread.join(suite.stuck_s)
    if not results:
        raise AssertionError(
            f"the test was stuck when {suite.doing}. Something cannot be cancelled: let "
            "trio.Cancelled through (no bare `except:` or `except BaseException:` around an await, "
            "no await without end under a shield), and put calls that block into "
            "trio.to_thread.run_sync"
        )
    if results[0].error is not None:
        raise _innermost(results[0].error)
    if results[0].skipped:
        from pytest import skip  # only those who run the tests have it  # noqa: PT013

        skip(results[0].skipped)


def _innermost(error: BaseException) -> BaseException:
    """What failed, without the groups that nurseries have put around it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _innermost(group.exceptions[0]) if len(group.exceptions) == 1 else group
