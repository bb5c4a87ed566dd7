"""A token of a channel, in what an agent, a summariser or a resolver raises, is seen by nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import FeedEvent, IdentityUnavailable, MissionRun, SummaryRequest, Turn
from turnkeeper.actors.core.shown import Message
from turnkeeper.actors.counting import Counting
from turnkeeper.actors.journal import load_records
from turnkeeper.actors.summarising import SummaryWriter, words_of
from turnkeeper.channels.secret import MASK, Secret, redact
from turnkeeper.explain import explain
from turnkeeper.histories import history
from turnkeeper.identity import resolve_user
from turnkeeper.links import IdentityLink
from turnkeeper.missions import mission
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import on_stage

TOKEN: Final = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
FAULT: Final = f"ConnectionError: no answer from https://api.example.org/bot{MASK}/getMe"


class Tokened(LoopbackChannel):
    """A channel that has a token, as those of platforms have."""

    def __init__(self) -> None:
        super().__init__("tg")
        self.token = Secret.of(TOKEN, "token")


async def careless(_turn: Turn) -> str:
    """Call the platform past its channel, and let the URL out in the error."""
    raise ConnectionError(f"no answer from https://api.example.org/bot{TOKEN}/getMe")


async def test_a_token_in_an_agents_error_is_neither_stored_nor_told_nor_logged(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    caplog.set_level(logging.DEBUG, "turnkeeper")
    tg = Tokened()
    seen: list[FeedEvent] = []
    async with on_stage(careless, tg) as stage, trio.open_nursery() as nursery:
        async with stage.runtime.feed() as events:

            async def watch() -> None:
                async for event in events:
                    seen.append(event)  # noqa: PERF401  (so that it is seen at once)

            nursery.start_soon(watch)
            await tg.receive("hi")
            await trio.sleep(60)
            await wait_all_tasks_blocked()
            events.close()
        stored = repr(list(load_records(stage.store, 1)))
        shown = repr(history(stage.store, "s1"))
        story = explain(stage.store, "s1/4")
    assert story is not None
    told = repr(seen)
    for text in (stored, shown, told, "\n".join(story.lines)):
        assert FAULT in text
        assert TOKEN not in text
    assert TOKEN not in caplog.text
    assert caplog.text.count(FAULT) == 3  # the last line of each attempt's traceback
    assert autojump_clock.current_time() < 100


async def test_a_token_in_the_error_of_a_run_is_told_to_nobody_who_asks_or_is_sent_a_notice(
    autojump_clock: MockClock,
) -> None:
    tg = Tokened()

    async def agent(turn: Turn) -> str:
        return await careless(turn) if turn.mission else turn.text

    async with on_stage(agent, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        await stage.runtime.add_mission("job", "0 9 * * *", "look", on_failure="tg")
        run: MissionRun = await stage.runtime.run_mission("job")
        notice = await tg.next_sent()
        found = mission(stage.store, "job")
    assert run.error == FAULT
    assert FAULT in notice.text
    assert TOKEN not in notice.text
    assert TOKEN not in repr(found)
    assert autojump_clock.current_time() < 100


async def test_what_holds_no_secret_is_stored_as_it_was_raised() -> None:
    async def agent(_turn: Turn) -> str:
        raise ValueError("a *** b")

    async with on_stage(agent, LoopbackChannel("tg")) as stage:
        await stage.runtime.add_mission("job", "0 9 * * *", "look")
        run = await stage.runtime.run_mission("job")
    assert run.error == "ValueError: a *** b"


class Resolver:
    """Knows nobody, and says with which password it has asked."""

    in_memory = True

    def resolve(self, platform: str, user_id: str) -> str:
        raise ConnectionError("x" * 190 + TOKEN)

    def link(self, platform: str, user_id: str, user: str) -> None:
        raise NotImplementedError

    def unlink(self, platform: str, user_id: str) -> None:
        raise NotImplementedError

    def links(self, user: str | None = None) -> Iterable[IdentityLink]:
        raise NotImplementedError


async def test_a_token_in_a_resolvers_error_is_hidden_before_the_error_is_cut() -> None:
    token = Secret.of(TOKEN, "token")
    with pytest.raises(IdentityUnavailable) as caught:
        await resolve_user(Resolver(), "tg", "1", timeout_s=1)
    assert str(caught.value).endswith(f"x{MASK}")
    assert token.reveal()[:7] not in str(caught.value)


async def test_a_token_in_a_summarisers_error_is_hidden_before_the_error_is_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    token = Secret.of(TOKEN, "token")

    async def summariser(_request: SummaryRequest) -> str:
        raise ConnectionError("x" * 475 + token.reveal())

    class ByLength:
        name = "length"
        exact = True

        async def count(self, texts: Sequence[str]) -> list[int]:
            return [len(text) for text in texts]

    writer = SummaryWriter(
        Counting(ByLength()),
        {"main": summariser},
        timeout_s=1,
        attempts=1,
        redact=redact,
    )
    said = Message(role="user", kind="user", text="word " * 300, seq=2, at_us=1)
    written = await writer.write(
        SummaryRequest(session_id="s1", agent="main", messages=(said,), max_tokens=900), 1_500
    )
    assert written is not None
    assert written.fault is not None
    assert written.fault.endswith(f"x{MASK}")
    assert TOKEN[:4] not in written.fault
    assert TOKEN[:9] not in caplog.text
    assert words_of(ConnectionError("no secret"), redact) == "ConnectionError: no secret"
