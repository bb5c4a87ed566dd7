"""What humans say on a platform that is killed meanwhile, and what must come of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import trio

import turnkeeper as tk
from turnkeeper.storage.memory import MemoryDisk, open_memory

EACH: Final = 25
"""Messages in every conversation."""
KILLS: Final = 4


class Mortal(Protocol):
    """A platform that can be killed, and is there again with what it knew."""

    async def kill(self) -> None: ...

    async def start(self) -> None: ...


class Load:
    """Messages in several conversations, one after the other in turns."""

    def __init__(self, places: Sequence[Any]) -> None:
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        self._rng = random.Random(seed)
        self._places = places
        self.said = [(place, f"{place} {number}") for number in range(EACH) for place in places]
        self.outcomes: dict[str, tuple[str, str | None]] = {}
        self.answered: dict[str, str] = {}

    @asynccontextmanager
    async def living(self, channel: tk.Channel) -> AsyncGenerator[None]:
        """A runtime with this channel, whose agent says what it has heard."""

        async def agent(turn: tk.Turn) -> str:
            self.answered[turn.id] = turn.text
            return f"Heard {turn.text}"

        config = {
            "http": {"listen": "127.0.0.1:0"},
            "channels": {channel.name: {"access": "open"}},
        }
        async with (
            open_memory(MemoryDisk()) as store,
            tk.open_runtime(
                None, agent=agent, channels=[channel], store=store, config=config
            ) as runtime,
            runtime.feed(max_behind=100_000) as feed,
        ):
            runtime.start_soon(self._watch, feed)
            yield

    async def _watch(self, feed: Any) -> None:
        async for event in feed:
            if event.kind == "delivery":
                self.outcomes[event.id] = (event.detail["status"], event.detail["reason"])

    async def speak(
        self,
        peer: Mortal,
        say: Callable[[Any, str], Awaitable[object]],
        restarted: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Say everything with `say`, and kill the platform now and then."""
        kills = sorted(self._rng.sample(range(5, len(self.said)), KILLS))
        for number, (place, text) in enumerate(self.said):
            if number in kills:
                await trio.sleep(self._rng.uniform(0, 0.05))
                await peer.kill()
                await peer.start()
                if restarted is not None:
                    await restarted()
            await say(place, text)

    async def settle(
        self, nudge: Callable[[], Awaitable[object]] | None = None, *, every_s: float = 0.1
    ) -> None:
        """Wait until every delivery is over; no longer than two minutes."""
        with trio.move_on_after(120):
            while not self._is_settled():
                if nudge is not None:
                    await nudge()
                await trio.sleep(every_s)

    def _is_settled(self) -> bool:
        done = [status for status, _ in self.outcomes.values() if status != "retrying"]
        return len(done) == len(self.said)

    def check(self, seen: Mapping[Any, Sequence[str]], *, as_heard: bool = False) -> None:
        """Nothing is lost, said twice or out of order; what is missing is `unknown`.

        Args:
            seen: what the agent has said in each conversation.
            as_heard: whether the order is that in which messages were heard, because the platform
                tells again later what was cut off; else that in which they were said.
        """
        unknown = sum(status == "unknown" for status, _ in self.outcomes.values())
        print(f"{unknown} of {len(self.outcomes)} unknown")
        assert {status for status, _ in self.outcomes.values()} <= {"delivered", "unknown"}
        assert sorted(self.answered.values()) == sorted(text for _, text in self.said)
        missing = 0
        for place in self._places:
            texts = list(self.answered.values()) if as_heard else [text for _, text in self.said]
            expected = [f"Heard {text}" for text in texts if text.startswith(f"{place} ")]
            assert max(Counter(seen[place]).values()) == 1
            assert seen[place] == [text for text in expected if text in seen[place]]
            missing += len(expected) - len(seen[place])
        assert missing <= unknown
