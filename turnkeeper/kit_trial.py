"""What a test of a channel has in hand: a wire, and a real runtime, life after life."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import trio

from .actors.happenings import FeedEvent
from .actors.provenance import LateReceipt
from .agent import Agent, Turn
from .channels.base import Channel, MessageChange
from .identity import IdentityResolver
from .kit_suite import Suite
from .kit_wire import Seen, Wire
from .opening import open_runtime
from .runtime import Runtime
from .storage.memory import MemoryDisk, MemoryStore, open_memory

__all__ = ["HEARD", "Life", "Trial", "require"]

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
    store: MemoryStore
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
        """What has failed, or was waited for in vain."""
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
                life = Life(runtime, channel, store)
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

    def failed(self, sentence: str) -> AssertionError:
        """The failure of the test, to be raised; also by an agent, which is only asked again."""
        self._failure = self._failure or AssertionError(sentence.rstrip())
        return self._failure

    async def until(
        self,
        find: Callable[[], Awaitable[T | None]],
        what: str,
        hint: str | Callable[[], str] = "",
        patience_s: float | None = None,
    ) -> T:
        """What `find` finds, once it finds something; fail after the suite's patience.

        Args:
            find: looks; None for nothing yet.
            what: what is waited for: "the answer was seen".
            hint: what its author may have to do if it does not come; or makes that text then.
            patience_s: another patience: an agent's is shorter than that with its answer.
        """
        patience_s = patience_s or self.suite.patience_s
        self.suite.doing = f"it was waited until {what}"
        with trio.move_on_after(patience_s):
            while self._failure is None:
                began = trio.current_time()
                found = await find()
                if found is not None:
                    return found
                # A platform that is slow to be looked at has to get on with its work, too.
                await trio.sleep(max(_POLL_S, trio.current_time() - began))
        words = hint() if callable(hint) else hint
        raise self.failed(f"after {patience_s:g} s it was still not so that {what}. {words}")

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
        there: list[Seen] = []

        async def find() -> Seen | None:
            there[:] = await self.wire.seen(conversation)
            return next((seen for seen in there if seen.text == HEARD + text), None)

        def seen_instead() -> str:
            heard = [turn.text for turn in self.turns]
            return f"The agent heard {heard}, and there was seen {[s.text for s in there]}. {hint}"

        answer = f"the answer to {text!r} was seen in {conversation!r}"
        return await self.until(find, answer, seen_instead)

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
