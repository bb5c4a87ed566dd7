"""Sessions that break in the middle of a note or of a delivery: everybody goes on afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Address
from turnkeeper.actors.core.delivery_records import ReceiptRecord
from turnkeeper.actors.deliveries import LateReceipt
from turnkeeper.actors.kernel import ActorDeadError, ActorRef
from turnkeeper.actors.messages import Instance
from turnkeeper.actors.provenance import KeepNote, NoteLent
from turnkeeper.testing import LoopbackChannel

from .stage import Stage, echo, kinds, log, on_stage, said
from .test_acting import assert_sound
from .test_feed_bus import of_kind, watched
from .test_notes import C2, greet, notes

C9 = Address(Instance("tg"), "c9")


async def break_before(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, session_id: str, kind: type
) -> None:
    """Let a session be told what it cannot handle, just before its next message of `kind`."""
    ref = await stage.runtime.session_ref(session_id)
    tell: Callable[[ActorRef[Any], Any], None] = ActorRef[Any].tell
    broken: list[object] = []

    def tell_nonsense_first(self: ActorRef[Any], message: Any) -> None:
        if self is ref and not broken and isinstance(message, kind):
            broken.append(message)
            tell(self, "what no session understands")
        tell(self, message)

    monkeypatch.setattr(ActorRef, "tell", tell_nonsense_first)


async def send(stage: Stage, place: Address) -> None:
    with trio.move_on_after(60), suppress(ActorDeadError):
        await stage.runtime.send_message("s1", "psst", place)


@pytest.mark.parametrize(("breaks", "kind"), [("s2", KeepNote), ("s1", NoteLent)])
async def test_two_sessions_go_on_after_one_broke_before_it_handled_a_note(
    breaks: str, kind: type, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1", "c2")
        await break_before(stage, monkeypatch, breaks, kind)
        await send(stage, C2)
        await trio.sleep(30)
        assert len(notes(stage.store, 2)) == 1
        with trio.fail_after(60):
            assert (await stage.runtime.send_message("s1", "more", C2)).noted_in == "s2"
            await tg.receive("yo", conversation="c2", user_id="u2")
            await stage.runtime.move_binding("tg", "c2", session_id="s1")
        assert_sound(stage.store)


async def test_an_owner_whose_note_is_not_kept_decides_nothing_more_on_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is asked next waits in its mailbox already, when it hears of it."""
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage, watched(stage.runtime) as seen:
        await greet(tg, "c1", "c2")
        await break_before(stage, monkeypatch, "s1", NoteLent)
        await send(stage, C2)
        await trio.sleep(30)
        assert [event.session_id for event in of_kind(seen, "error")] == ["s1"]
        assert len(notes(stage.store, 2)) == 1
        assert_sound(stage.store)


async def test_an_owner_that_broke_comes_back_once_the_note_it_lent_is_stored(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        await greet(tg, "c1", "c2")
        speaker = await stage.runtime.session_ref("s1")
        owner = await stage.runtime.session_ref("s2")
        on_its_way = keep_back(monkeypatch, speaker, NoteLent)
        nursery.start_soon(send, stage, C2)
        await trio.sleep(5)
        (lent,) = on_its_way
        owner.tell("what no session understands")
        nursery.start_soon(say_yo, tg)
        await trio.sleep(30)
        assert said(stage.store, 2)[0] == ["hi"]
        monkeypatch.undo()
        speaker.tell(lent)
        await trio.sleep(30)
        assert said(stage.store, 2)[0] == ["hi", "yo"]
        assert kinds(stage.store, 2).index("note") < kinds(stage.store, 2).index("user", 1)
        with trio.fail_after(60):
            assert (await stage.runtime.send_message("s1", "more", C2)).noted_in == "s2"
        assert [note.text for note in notes(stage.store, 2)] == ["psst", "more"]
        assert_sound(stage.store)


def keep_back(monkeypatch: pytest.MonkeyPatch, receiver: ActorRef[Any], kind: type) -> list[object]:
    """Let messages of `kind` not come to `receiver`, as though it were busy; returns them."""
    tell: Callable[[ActorRef[Any], Any], None] = ActorRef[Any].tell
    kept: list[object] = []

    def tell_others(self: ActorRef[Any], message: Any) -> None:
        if self is receiver and isinstance(message, kind):
            kept.append(message)
        else:
            tell(self, message)

    monkeypatch.setattr(ActorRef, "tell", tell_others)
    return kept


async def say_yo(tg: LoopbackChannel) -> None:
    await tg.receive("yo", conversation="c2", user_id="u2")


async def test_a_place_without_an_owner_gets_one_after_the_speaker_broke(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, channels={"tg": {"send_to": ["c9"]}}) as stage:
        await greet(tg, "c1")
        await break_before(stage, monkeypatch, "s1", NoteLent)
        await send(stage, C9)
        await trio.sleep(30)
        with trio.fail_after(60):
            await tg.receive("yo", conversation="c9", user_id="u9")
        assert [note.text for note in notes(stage.store, 2)] == ["psst"]
        assert_sound(stage.store)


@pytest.mark.parametrize("after_s", [0.1, 0.4, 0.9, 1.5, 2.2, 5.0, 6.5, 9.0])
async def test_a_delivery_goes_out_once_though_its_session_broke_while_it_paused(
    after_s: float, autojump_clock: MockClock
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1")
        tg.fail_next("refused", times=5)
        await tg.receive("again", conversation="c1", user_id="u1")
        await trio.sleep(after_s)
        (await stage.runtime.session_ref("s1")).tell("what no session understands")
        await trio.sleep(3600)
        assert [sent.text for sent in tg.sent] == ["hi", "again"]
        await tg.receive("and on", conversation="c1", user_id="u1")
        await wait_all_tasks_blocked()
        assert tg.sent[-1].text == "and on"


async def test_two_late_receipts_at_once_are_both_remembered() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        await greet(tg, "c1", "c2")
        message_id = (await stage.runtime.send_message("s1", "psst", C2)).platform_message_id or ""

        async def tell(status: Any) -> None:
            assert tg.on_receipt is not None
            receipt = LateReceipt(conversation="c2", platform_message_id=message_id, status=status)
            assert await tg.on_receipt(receipt)

        stage.store.hold()
        for status in ("delivered", "read"):
            nursery.start_soon(tell, status)
            await wait_all_tasks_blocked()
        stage.store.release()
        await wait_all_tasks_blocked()
        await tell("delivered")
        told = [r.status for r in log(stage.store) if isinstance(r, ReceiptRecord)]
        assert told == ["delivered", "read"]
