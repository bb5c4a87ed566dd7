"""Files on their way: durable before they leave, each a part with a receipt, or a line instead."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import turnkeeper as tk
from turnkeeper import views
from turnkeeper.actors.blob_rows import named_in
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.core.runtime_records import FeedRecord
from turnkeeper.actors.core.turn_records import AssistantRecord
from turnkeeper.actors.journal import FEED_STREAM, load_records
from turnkeeper.channels.file_desk import MAX_FILES_AT_ONCE
from turnkeeper.export import export_lines
from turnkeeper.importing import plan_import
from turnkeeper.storage.base import Reads, Table
from turnkeeper.storage.memory import MemoryDisk, MemoryReads, open_memory
from turnkeeper.sweeping import sweep_blobs
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification

from ..actors.stage import crashed
from ..channels.scripted import LONG, Scripted, outcomes, receipt_for
from .filing import FILES, NOW, PLAN, REPORT, on_stage, place_of, received, reporter
from .retained import is_quiet, left_of, problems, until

REPORT_SENT = ("file", "report.pdf", REPORT)
PLAN_SENT = ("image", "plan.png", PLAN)
REPORT_LABEL = 'file "report.pdf", application/pdf, 15 bytes'
PLAN_LABEL = 'image "plan.png", image/png, 21 bytes'


async def settled(store: Reads, session_id: str = "s1") -> None:
    await until(lambda: is_quiet(store, session_id))


def last_of(store: Reads) -> tk.Message:
    """What the first session's agent would see last."""
    window = views.window(store, "s1")
    assert window is not None
    return window[-1]


# -- before anything leaves ------------------------------------------------------------------------


async def test_all_of_it_is_durable_before_any_part_leaves(tmp_path: Path) -> None:
    disk = MemoryDisk()
    found: list[bool] = []

    def look(outbound: tk.Outbound) -> tk.Receipt:
        reads = MemoryReads(crashed(disk))
        said = [r for _, r in load_records(reads, 1) if isinstance(r, AssistantRecord)]
        named = [list(named_in(reads, sha256(kept).digest(), 1)) for kept in (REPORT, PLAN)]
        there = [place_of(tmp_path, kept).read_bytes() == kept for kept in (REPORT, PLAN)]
        found.append(len(said) == 1 and all(named) and all(there))
        return receipt_for(outbound)

    async with on_stage(tmp_path, reporter, tg := Scripted(FILES, look), disk=disk) as stage:
        await tg.receive("hi")
        await settled(stage.store)
    assert found == [True] * 3


async def test_the_rest_goes_out_after_a_power_cut_between_two_parts(tmp_path: Path) -> None:
    disk = MemoryDisk()
    tg = LoopbackChannel("tg", powers=FILES)
    tg.fail_next("rate_limited", retry_after_s=1_000.0, after=1)
    async with on_stage(tmp_path, reporter, tg, disk=disk) as stage:
        await tg.receive("hi")
        await until(lambda: bool(outcomes(stage.store)))
        left = crashed(disk)
    assert received(*tg.sent) == ["hi"]
    again = LoopbackChannel("tg", powers=FILES)
    async with on_stage(tmp_path, reporter, again, disk=left) as stage:
        await settled(stage.store)
        assert received(*again.sent) == [REPORT_SENT, PLAN_SENT]
        assert [(sent.part, sent.parts) for sent in again.sent] == [(2, 3), (3, 3)]
        assert outcomes(stage.store)[-1][0::3] == ("delivered", 3)
        assert problems(stage.store) == []


async def test_a_file_of_which_nobody_knows_whether_it_arrived_is_sent_with_its_id_again(
    tmp_path: Path,
) -> None:
    disk = MemoryDisk()
    stuck = trio.Event()

    def answer(outbound: tk.Outbound) -> Any:
        if outbound.part == 2:
            stuck.set()
            return trio.Event().wait()
        return receipt_for(outbound)

    tg, left = Scripted(FILES, answer), MemoryDisk()
    async with on_stage(tmp_path, reporter, tg, disk=disk, runtime={"stop_deadline_s": 0}):
        await tg.receive("hi")
        await stuck.wait()
        left = crashed(disk)
    again = Scripted(FILES, receipt_for)
    async with on_stage(tmp_path, reporter, again, disk=left) as stage:
        await settled(stage.store)
    delivery = tg.sends[0].delivery_id
    # A receipt that was not written down yet is asked for once more, by the same id.
    assert [(out.part_id, out.resend) for out in again.sends] == [
        (f"{delivery}.{part}", True) for part in (1, 2, 3)
    ]


async def test_what_an_operator_sends_again_goes_on_with_the_missing_file(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg", powers=FILES)
    tg.fail_next("rejected", after=2)
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await settled(stage.store)
        assert outcomes(stage.store) == [("failed", 1, "partial: rejected", 2)]
        outcome = await stage.runtime.retry_delivery(tg.sent[0].delivery_id)
        assert outcome.status == "delivered"
        assert [part.status for part in outcome.parts] == ["delivered"] * 3
        assert received(*tg.sent) == ["hi", REPORT_SENT, PLAN_SENT]


@pytest.mark.parametrize("after_unknown", ["never", "reconcile"])
async def test_a_text_of_which_nothing_is_missing_is_not_sent_again_before_its_file(
    tmp_path: Path, after_unknown: Any
) -> None:
    # It fits alone, but not behind the mark of what comes twice.
    text = " ".join(["word"] * 8)
    powers = tk.ChannelPowers(files=True, text_limit=40, after_unknown=after_unknown)
    refused = [tk.Rejected("not now")]

    def answer(outbound: tk.Outbound) -> Any:
        return refused.pop() if outbound.file is not None and refused else receipt_for(outbound)

    tg = Scripted(powers, answer, lambda _: None)
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive(text)
        await settled(stage.store)
        assert outcomes(stage.store)[-1][0] == "failed"
        outcome = await stage.runtime.retry_delivery(tg.sends[0].delivery_id)
        assert outcome.status == "delivered"
        whole = " ".join(sent.text for sent in tg.sends if sent.file is None)
        assert whole == text
        assert problems(stage.store) == []


async def test_a_file_is_not_marked_where_a_text_would_be(tmp_path: Path) -> None:
    powers = tk.ChannelPowers(files=True)
    tg = LoopbackChannel("tg", powers=powers)
    tg.fail_next("timeout_after_send", after=1)
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await settled(stage.store)
        assert outcomes(stage.store) == [("unknown", 1, "lost_answer", 1)]
        outcome = await stage.runtime.retry_delivery(tg.sent[0].delivery_id, mark_duplicate=True)
        assert outcome.status == "delivered"
        assert received(*tg.sent) == ["hi", REPORT_SENT, REPORT_SENT, PLAN_SENT]
        assert [sent.resend for sent in tg.sent] == [False, False, True, True]


async def test_files_follow_a_text_that_its_channel_splits_by_itself(tmp_path: Path) -> None:
    def answer(outbound: tk.Outbound) -> tk.Receipt:
        if outbound.file is not None:
            return receipt_for(outbound)
        return tk.Receipt(platform_message_id="b", parts=("a", "b"))

    tg = Scripted(tk.ChannelPowers(files=True), answer)
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await settled(stage.store)
        (delivered,) = [
            record
            for _, record in load_records(stage.store, 1)
            if isinstance(record, DeliveryRecord)
        ]
        assert delivered.status == "delivered"
        delivery = tg.sends[0].delivery_id
        assert list(delivered.parts) == ["b", f"p-{delivery}.2", f"p-{delivery}.3"]


# -- what is gone ----------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["gone", "damaged", "too long"])
async def test_a_file_that_is_not_there_any_more_fails_and_goes_out_once_it_is_back(
    tmp_path: Path, damage: str
) -> None:
    tg = LoopbackChannel("tg", powers=FILES)
    tg.hold()
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await until(lambda: stage.store.last_seq(1) > 4)
        place = place_of(tmp_path, PLAN)
        if damage == "gone":
            place.unlink()
        else:
            place.write_bytes(PLAN.upper() if damage == "damaged" else PLAN + b"!")
        tg.release()
        await settled(stage.store)
        assert received(*tg.sent) == ["hi", REPORT_SENT]
        assert outcomes(stage.store) == [("failed", 1, "partial: file_missing", 2)]
        place.write_bytes(PLAN)
        outcome = await stage.runtime.retry_delivery(tg.sent[0].delivery_id)
        assert outcome.status == "delivered"
        assert received(*tg.sent[2:]) == [PLAN_SENT]


async def test_a_file_that_cannot_be_read_now_is_tried_again(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    tg = LoopbackChannel("tg", powers=FILES)
    tg.hold()
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await until(lambda: stage.store.last_seq(1) > 4)
        place = place_of(tmp_path, PLAN)
        place.unlink()
        place.mkdir()
        tg.release()
        await until(lambda: bool(outcomes(stage.store)))
        assert outcomes(stage.store) == [("retrying", 1, "file_unreadable", 2)]
        place.rmdir()
        place.write_bytes(PLAN)
        await wait_all_tasks_blocked()
        mock_clock.jump(3_600)
        await settled(stage.store)
        assert received(*tg.sent) == ["hi", REPORT_SENT, PLAN_SENT]


async def test_files_of_an_open_delivery_are_never_removed(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg", powers=FILES)
    tg.hold()
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await until(lambda: stage.store.last_seq(1) > 4)
        await stage.runtime.keep_file("s1", b"never sent")
        assert await sweep_blobs(stage.store, stage.blobs, 2**62) == 1
        tg.release()
        await settled(stage.store)
        assert received(*tg.sent) == ["hi", REPORT_SENT, PLAN_SENT]


async def test_an_old_file_that_is_about_to_be_sent_counts_as_kept_now(tmp_path: Path) -> None:
    def later(days: int) -> datetime:
        return NOW + timedelta(days=days)

    days = [0]
    async with on_stage(
        tmp_path,
        reporter,
        tg := LoopbackChannel("tg", powers=FILES),
        clock=lambda: later(days[0]),
    ) as stage:
        await tg.receive("hi")
        await settled(stage.store)
        report = last_of(stage.store).attachments[0]
        days[0] = 30
        await stage.runtime.send_message("s1", "", attachments=(report,))
        kept_us = int(later(29).timestamp() * 1e6)
        assert set(stage.blobs.older_than(kept_us)) == {sha256(PLAN).digest()}


async def test_files_go_with_the_session_that_sent_them(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg", powers=FILES)
    async with on_stage(tmp_path, reporter, tg) as stage:
        for user in ("ann", "ben"):
            await tg.receive("hi", conversation=user, user_id=user)
        await settled(stage.store)
        await settled(stage.store, "s2")
        await stage.runtime.delete("s1")
        await until(lambda: len(stage.store.scan(Table.BLOBS, limit=9)) == 2)
        assert await sweep_blobs(stage.store, stage.blobs, 2**62) == 0
        await stage.runtime.delete("s2")
        await until(lambda: not stage.store.scan(Table.BLOBS, limit=9))
        assert await sweep_blobs(stage.store, stage.blobs, 2**62) == 2
        assert problems(stage.store) == []


async def test_a_session_with_files_comes_back_from_its_export_as_it_was(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg", powers=FILES)
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await settled(stage.store)
        lines = list(export_lines(stage.store, "s1", 1))
        path = tmp_path / "s1.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines))
        async with open_memory() as other:
            _, batch = plan_import(other, path, 0)
            await other.commit(batch)
            assert list(export_lines(other, "s1", 1)) == lines
            assert other.scan(Table.BLOBS, limit=9) == stage.store.scan(Table.BLOBS, limit=9)
            assert problems(other) == []
            assert views.window(other, "s1") == views.window(stage.store, "s1")


async def test_verify_names_what_was_sent_and_is_not_right(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg", powers=FILES)
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await settled(stage.store)
        (seq,) = named_in(stage.store, sha256(PLAN).digest(), 1)
        examine = partial(Verification, stage.store, 0, blobs=stage.blobs)
        assert list(examine().problems()) == []
        place_of(tmp_path, PLAN).unlink()
        (problem,) = map(str, examine().problems())
        assert problem.startswith(f"log 1/{seq}: names a file: ")


async def test_explain_and_the_listing_of_deliveries_name_the_files(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg", powers=FILES)
    tg.fail_next("rejected", after=1)
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await settled(stage.store)
        story = await stage.runtime.explain(tg.sent[0].delivery_id)
        assert story is not None
        assert [line.partition("  ")[2] for line in story.lines if "it brings" in line] == [
            f"it brings {REPORT_LABEL}, kept as blob:sha256:{sha256(REPORT).hexdigest()}",
            f"it brings {PLAN_LABEL}, kept as blob:sha256:{sha256(PLAN).hexdigest()}",
        ]
        (dead,) = await stage.runtime.deliveries()
        assert dead.text == f"hi\n[attached: {REPORT_LABEL}]\n[attached: {PLAN_LABEL}]"
        assert dead.reason == "partial: rejected"


# -- where files cannot be sent --------------------------------------------------------------------


async def test_a_line_stands_for_each_file_where_none_can_be_sent(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        assert (await tg.next_sent()).text == (
            f"hi\n\n[{REPORT_LABEL}: cannot be sent here]\n[{PLAN_LABEL}: cannot be sent here]"
        )
        await settled(stage.store)
        assert outcomes(stage.store) == [("delivered", 1, "file_not_sent", 0)]
        kept = await stage.runtime.keep_file("s1", b"!", name="a]\n[b.txt")
        outcome = await stage.runtime.send_message("s1", "", attachments=(kept,))
        assert (outcome.status, outcome.reason) == ("delivered", "file_not_sent")
        assert tg.sent[-1].text == '[file "a) (b.txt", 1 byte: cannot be sent here]'


async def test_a_file_that_is_too_large_has_a_line_and_the_others_are_sent(tmp_path: Path) -> None:
    powers = tk.ChannelPowers(files=True, file_limit_bytes=len(REPORT))
    tg = LoopbackChannel("tg", powers=powers)
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await settled(stage.store)
        assert received(*tg.sent) == [
            f"hi\n\n[{PLAN_LABEL}: too large to be sent here]",
            REPORT_SENT,
        ]
        assert outcomes(stage.store) == [("delivered", 1, "file_not_sent", 2)]


async def test_a_long_text_with_lines_for_files_is_split_as_any_other(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg", powers=tk.ChannelPowers(text_limit=40))
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive(LONG)
        await settled(stage.store)
        assert len(tg.sent) > 4
        assert all(len(sent.text) <= 40 and sent.file is None for sent in tg.sent)
        assert tg.sent[-1].text.endswith("cannot be sent here]")


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "1"])
def test_a_limit_that_cannot_be_is_refused(limit: Any) -> None:
    tg = LoopbackChannel("tg", powers=tk.ChannelPowers(files=True, file_limit_bytes=limit))
    with pytest.raises(tk.ConfigError, match="file_limit_bytes"):
        trio.run(_open, tg)


async def _open(channel: LoopbackChannel) -> None:
    async with (
        open_memory() as store,
        tk.open_runtime(None, agent=reporter, channels=[channel], store=store),
    ):
        pass


async def test_the_feed_tells_of_files(tmp_path: Path) -> None:
    async with on_stage(tmp_path, reporter, LoopbackChannel("tg")) as stage:
        await stage.runtime.add_mission("daily", "0 9 * * *", "look around")
        run = await stage.runtime.run_mission("daily")
        await settled(stage.store, "mission-daily")
        (shown,) = [r for _, r in load_records(stage.store, FEED_STREAM)]
        assert isinstance(shown, FeedRecord)
        assert shown.text == (
            f"look around\n[{REPORT_LABEL}: cannot be shown here]\n"
            f"[{PLAN_LABEL}: cannot be shown here]"
        )
        assert [(outcome.status, outcome.reason) for outcome in run.outcomes] == [
            ("rendered", "file_not_sent")
        ]
        assert problems(stage.store) == []


async def test_the_note_in_another_session_mentions_the_files(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg", powers=FILES)
    async with on_stage(tmp_path, reporter, tg) as stage:
        await tg.receive("hi")
        await settled(stage.store)
        await stage.runtime.add_mission("daily", "0 9 * * *", "see", notify="tg")
        run = await stage.runtime.run_mission("daily")
        assert [outcome.noted_in for outcome in run.outcomes] == ["s1"]
        assert received(*tg.sent[3:]) == ["see", REPORT_SENT, PLAN_SENT]
        note = last_of(stage.store)
        assert note.text.splitlines()[1:] == [
            "| see",
            f"| [attached: {REPORT_LABEL}]",
            f"| [attached: {PLAN_LABEL}]",
        ]
        assert problems(stage.store) == []


# -- what it takes ---------------------------------------------------------------------------------


async def test_what_is_in_a_file_is_in_no_log_and_only_so_often_in_memory(tmp_path: Path) -> None:
    big = b"\x00\x01\x02\x03needle " * 200_000
    held: list[bytes] = []
    most = 0
    gate = trio.Event()

    async def answer(outbound: tk.Outbound) -> tk.Receipt:
        nonlocal most
        if outbound.file is not None:
            held.append(await outbound.file.read())
            most = max(most, len(held))
            await gate.wait()
            held.pop()
        return receipt_for(outbound)

    async def agent(turn: tk.Turn) -> tk.Reply:
        return tk.Reply(text="", attachments=(await turn.keep_file(big),))

    tg = Scripted(FILES, answer)
    async with on_stage(tmp_path, agent, tg) as stage:
        for number in range(MAX_FILES_AT_ONCE + 3):
            await tg.receive("hi", conversation=f"c{number}", user_id=f"u{number}")
        await until(lambda: len(held) == MAX_FILES_AT_ONCE)
        await wait_all_tasks_blocked()
        assert len(held) == MAX_FILES_AT_ONCE
        gate.set()
        for number in range(MAX_FILES_AT_ONCE + 3):
            await settled(stage.store, f"s{number + 1}")
        assert most == MAX_FILES_AT_ONCE
        assert left_of(stage.store, b"needle") == set()
