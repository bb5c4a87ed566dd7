"""Agents send files: those they keep, and those that came to their own session."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import turnkeeper as tk
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import AssistantRecord, FailureRecord, QuarantinedRecord
from turnkeeper.actors.journal import load_records
from turnkeeper.channels.inlet import KEPT_FOR_S
from turnkeeper.storage.base import Reads
from turnkeeper.storage.errors import BlobMissing
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel

from .filing import FILES, PLAN, REPORT, on_stage, place_of, received, reporter
from .retained import is_quiet, problems, until

REPORT_SENT = ("file", "report.pdf", REPORT)
PLAN_SENT = ("image", "plan.png", PLAN)

Answer = Callable[[tk.Turn], Awaitable["tk.Reply | str | None"]]


def chat(name: str = "tg") -> LoopbackChannel:
    return LoopbackChannel(name, powers=FILES)


class Scripted:
    """An agent that answers each turn as it is told last."""

    def __init__(self) -> None:
        self.answer: Answer = reporter
        self.faults: list[Exception] = []

    async def __call__(self, turn: tk.Turn) -> tk.Reply | str | None:
        try:
            return await self.answer(turn)
        except (ValueError, LookupError, tk.TurnRefused, OSError) as error:
            self.faults.append(error)
            return "it did not work"


def log(store: Reads, stream: int = 1) -> list[Record]:
    return [record for _, record in load_records(store, stream)]


def quarantined(store: Reads, stream: int = 1) -> list[str]:
    return [record.error for record in log(store, stream) if isinstance(record, QuarantinedRecord)]


# -- what is sent ----------------------------------------------------------------------------------


async def test_a_reply_brings_its_text_and_then_its_files(tmp_path: Path) -> None:
    async with on_stage(tmp_path, reporter, tg := chat()) as stage:
        await tg.receive("here you are", message_id="m1")
        sent = [await tg.next_sent() for _ in range(3)]
        assert received(*sent) == ["here you are", REPORT_SENT, PLAN_SENT]
        assert [(one.part, one.parts, one.reply_to) for one in sent] == [
            (1, 3, "m1"),
            (2, 3, None),
            (3, 3, None),
        ]
        assert sent[1].file is not None
        assert sent[1].file.mime == "application/pdf"
        await until(lambda: is_quiet(stage.store, "s1"))
        (said,) = [record for record in log(stage.store) if isinstance(record, AssistantRecord)]
        assert [row[4] for row in said.attachments or ()] == ["report.pdf", "plan.png"]
        assert problems(stage.store) == []


@pytest.mark.parametrize("text", [None, "", " \n"])
async def test_a_reply_of_files_alone_is_no_silence(tmp_path: Path, text: str | None) -> None:
    async def agent(turn: tk.Turn) -> tk.Reply:
        return tk.Reply(text=text, attachments=(await turn.keep_file(REPORT, name="report.pdf"),))

    async with on_stage(tmp_path, agent, tg := chat()) as stage:
        await tg.receive("hi", message_id="m1")
        sent = await tg.next_sent()
        assert received(sent) == [REPORT_SENT]
        assert (sent.part, sent.parts, sent.reply_to, sent.text) == (1, 1, "m1", "")
        await until(lambda: is_quiet(stage.store, "s1"))
        assert "silent" not in [record.kind for record in log(stage.store)]


async def test_a_message_brings_files_while_the_turn_goes_on(tmp_path: Path) -> None:
    outcomes: list[tk.Outcome] = []

    async def agent(turn: tk.Turn) -> str:
        report = await turn.keep_file(REPORT, name="report.pdf")
        outcomes.append(await turn.send_message("look", attachments=(report,)))
        outcomes.append(await turn.send_message("", attachments=(report,)))
        return "done"

    async with on_stage(tmp_path, agent, tg := chat()):
        await tg.receive("hi")
        sent = [await tg.next_sent() for _ in range(4)]
        assert received(*sent) == ["look", REPORT_SENT, REPORT_SENT, "done"]
        assert [outcome.status for outcome in outcomes] == ["delivered"] * 2
        assert [len(outcome.parts) for outcome in outcomes] == [2, 0]
        assert outcomes[1].platform_message_id == sent[2].message_id


async def test_a_program_sends_files_in_a_session(tmp_path: Path) -> None:
    async with on_stage(tmp_path, reporter, tg := chat()) as stage:
        await tg.receive("hi")
        for _ in range(3):
            await tg.next_sent()
        report = await stage.runtime.keep_file("s1", REPORT, name="report.pdf")
        outcome = await stage.runtime.send_message("s1", "weekly", attachments=(report,))
        assert outcome.status == "delivered"
        assert received(*tg.sent[3:]) == ["weekly", REPORT_SENT]
        with pytest.raises(tk.UnknownSession):
            await stage.runtime.keep_file("s9", REPORT)
        with pytest.raises(tk.UnknownSession):
            await stage.runtime.send_message("s9", "x", attachments=(report,))


async def test_a_file_may_be_bytes_or_pieces_or_lie_at_a_path(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(REPORT)

    async def pieces() -> AsyncIterator[bytes]:
        yield REPORT[:3]
        yield REPORT[3:]

    async def agent(turn: tk.Turn) -> tk.Reply:
        kept = [await turn.keep_file(content) for content in (REPORT, pieces(), path)]
        assert kept[0] == kept[1]
        return tk.Reply(text=None, attachments=tuple(kept))

    async with on_stage(tmp_path / "state", agent, tg := chat()):
        await tg.receive("hi")
        sent = [await tg.next_sent() for _ in range(3)]
        assert received(*sent) == [("file", None, REPORT)] * 2 + [REPORT_SENT]


async def test_what_a_human_sent_can_be_sent_back_much_later(tmp_path: Path) -> None:
    disk, agent = MemoryDisk(), Scripted()

    async def nothing(_turn: tk.Turn) -> None:
        return

    async def back(turn: tk.Turn) -> tk.Reply:
        (photo,) = turn.messages[0].attachments
        return tk.Reply(text="yours", attachments=(photo,))

    agent.answer = nothing
    async with on_stage(tmp_path, agent, tg := chat(), disk=disk):
        photo = await tg.keep(PLAN, kind="image", name="plan.png")
        await tg.receive("look", attachments=(photo,))
    agent.answer = back
    async with on_stage(tmp_path, agent, tg := chat(), disk=disk):
        await tg.receive("give it back")
        assert received(await tg.next_sent(), await tg.next_sent()) == ["yours", PLAN_SENT]


async def test_an_agent_finds_in_its_window_what_it_sent_and_can_read_it(tmp_path: Path) -> None:
    disk, agent = MemoryDisk(), Scripted()
    read: list[bytes] = []
    shown: list[dict[str, Any]] = []

    async def reader(turn: tk.Turn) -> str:
        shown.extend(tk.to_openai(turn.messages))
        read.extend([await turn.read_attachment(f) for f in turn.messages[1].attachments])
        return "read"

    async with on_stage(tmp_path, agent, tg := chat(), disk=disk):
        await tg.receive("a report")
        for _ in range(3):
            await tg.next_sent()
    agent.answer = reader
    async with on_stage(tmp_path, agent, tg := chat(), disk=disk):
        await tg.receive("what was in it?")
        await tg.next_sent()
    assert read == [REPORT, PLAN]
    assert shown[1] == {
        "role": "assistant",
        "content": 'a report\n[attached: file "report.pdf", application/pdf, 15 bytes]\n'
        '[attached: image "plan.png", image/png, 21 bytes]',
    }
    assert agent.faults == []


async def test_a_thread_may_send_files_too(tmp_path: Path) -> None:
    tg = chat()

    async def said() -> None:
        await tg.receive("hi")
        for _ in range(3):
            await tg.next_sent()

    def work() -> list[Any]:
        with tk.start_in_thread(tmp_path, agent=reporter, channels=[tg]) as handle:
            handle.call(said)
            report = handle.keep_file("s1", REPORT, name="report.pdf")
            assert handle.send_message("s1", "again", attachments=(report,)).status == "delivered"
        return received(*tg.sent[3:])

    assert await trio.to_thread.run_sync(work) == ["again", REPORT_SENT]


# -- what is not -----------------------------------------------------------------------------------


async def test_a_file_of_another_session_is_not_sent_and_is_named(tmp_path: Path) -> None:
    agent = Scripted()
    foreign: list[tk.Attachment] = []

    async def keeps(turn: tk.Turn) -> None:
        foreign.append(await turn.keep_file(REPORT))

    async def replies(_turn: tk.Turn) -> tk.Reply:
        return tk.Reply(text="look", attachments=(foreign[0],))

    async def sends(turn: tk.Turn) -> None:
        await turn.send_message("look", attachments=(foreign[0],))

    async with on_stage(tmp_path, agent, tg := chat()) as stage:
        agent.answer = keeps
        await tg.receive("mine", conversation="ann", user_id="ann")
        await until(lambda: is_quiet(stage.store, "s1"))
        agent.answer = replies
        await tg.receive("yours?", conversation="ben", user_id="ben")
        await until(lambda: is_quiet(stage.store, "s2"))
        (error,) = quarantined(stage.store, 2)
        assert "replied with a strange file: no message of this session came with" in error
        assert foreign[0].reference in error
        assert not any(isinstance(record, FailureRecord) for record in log(stage.store, 2))
        agent.answer = sends
        await tg.receive("yours?", conversation="ben", user_id="ben")
        await until(lambda: bool(agent.faults))
        assert isinstance(agent.faults[0], ValueError)
        assert foreign[0].reference in str(agent.faults[0])
        with pytest.raises(ValueError, match="no message of this session came with"):
            await stage.runtime.send_message("s2", "look", attachments=(foreign[0],))
        assert all(sent.file is None for sent in tg.sent)
        assert (await stage.runtime.send_message("s1", "", attachments=(foreign[0],))).status == (
            "delivered"
        )


@pytest.mark.parametrize(
    ("attachments", "told"),
    [
        ([], "attachments must be a tuple, not list"),
        ("blob:", "attachments must be a tuple, not str"),
        (("report.pdf",), "attachment 1 must be an Attachment, not str"),
        ((tk.Attachment(kind="file", reference="AgADBAAD"),) * 11, "11 attachments; 10 are allow"),
        ((tk.Attachment(kind="file", reference="AgADBAAD"),), "has not kept 'AgADBAAD'"),
        ((tk.Attachment(kind="file", reference="/etc/passwd"),), "has not kept '/etc/passwd'"),
        ((tk.Attachment(kind="file", reference="x", name="n" * 1_025),), "name must be a str of"),
    ],
)
async def test_what_cannot_be_sent_is_refused_with_the_reason(
    tmp_path: Path, attachments: Any, told: str
) -> None:
    async def agent(_turn: tk.Turn) -> tk.Reply:
        return tk.Reply(text="look", attachments=attachments)

    async with on_stage(tmp_path, agent, tg := chat(), session={"failure_notice": ""}) as stage:
        await tg.receive("hi")
        await until(lambda: is_quiet(stage.store, "s1"))
        (error,) = quarantined(stage.store)
        assert told in error
        with pytest.raises(ValueError, match=re.escape(told)):
            await stage.runtime.send_message("s1", "look", attachments=attachments)
        assert tg.sent == []


async def test_a_file_that_was_kept_long_ago_and_never_sent_must_be_kept_again(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with on_stage(tmp_path, reporter, tg := chat()) as stage:
        await tg.receive("hi")
        for _ in range(3):
            await tg.next_sent()
        fresh = await stage.runtime.keep_file("s1", b"fresh")
        mock_clock.jump(KEPT_FOR_S - 1)
        sent = await stage.runtime.send_message("s1", "", attachments=(fresh,))
        assert sent.status == "delivered"
        stale = await stage.runtime.keep_file("s1", b"stale")
        mock_clock.jump(KEPT_FOR_S)
        with pytest.raises(ValueError, match="no message of this session"):
            await stage.runtime.send_message("s1", "", attachments=(stale,))
        again = await stage.runtime.send_message("s1", "", attachments=(fresh,))
        assert again.status == "delivered"


async def test_a_file_that_is_gone_before_it_is_sent_fails_the_turn(tmp_path: Path) -> None:
    async def agent(turn: tk.Turn) -> tk.Reply:
        report = await turn.keep_file(REPORT)
        turn.attachment_path(report).unlink()
        with pytest.raises(BlobMissing):
            await turn.read_attachment(report)
        return tk.Reply(text="look", attachments=(report,))

    async with on_stage(tmp_path, agent, tg := chat(), session={"failure_notice": ""}) as stage:
        await tg.receive("hi")
        await until(lambda: is_quiet(stage.store, "s1"))
        assert "is missing: restore it from a copy" in quarantined(stage.store)[0]
        assert tg.sent == []


async def test_a_size_that_an_agent_claims_is_not_believed(tmp_path: Path) -> None:
    async with on_stage(tmp_path, reporter, tg := chat()) as stage:
        await tg.receive("hi")
        for _ in range(3):
            await tg.next_sent()
        kept = await stage.runtime.keep_file("s1", REPORT)
        claimed = tk.Attachment(kind="file", reference=kept.reference, size_bytes=1)
        await stage.runtime.send_message("s1", "", attachments=(claimed,))
        assert received(tg.sent[-1]) == [("file", None, REPORT)]


async def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    limits = {"attachment_max_bytes": len(REPORT)}
    async with on_stage(tmp_path, reporter, tg := chat(), runtime=limits) as stage:
        await tg.receive("hi")
        await until(lambda: is_quiet(stage.store, "s1"))
        keep = stage.runtime.keep_file
        with pytest.raises(tk.FileTooLarge):
            await keep("s1", REPORT + b"!")
        with pytest.raises(ValueError, match="kind must be one of image, audio, video, file"):
            await keep("s1", REPORT, kind="sticker")
        with pytest.raises(ValueError, match="name must be a str of at most"):
            await keep("s1", REPORT, name="x" * 1_025)
        with pytest.raises(FileNotFoundError):
            await keep("s1", tmp_path / "none.pdf")


async def test_a_runtime_without_a_state_directory_keeps_nothing_to_send() -> None:
    agent = Scripted()
    tg = chat()
    async with (
        open_memory(MemoryDisk()) as store,
        tk.open_runtime(None, agent=agent, channels=[tg], store=store),
    ):
        await tg.receive("hi")
        await tg.next_sent()
    assert [type(fault) for fault in agent.faults] == [tk.FileNotKept]


async def test_an_undone_link_closes_what_was_sent_to_the_other(tmp_path: Path) -> None:
    agent = Scripted()
    tg = LoopbackChannel("tg", platform="tg", powers=FILES)
    dc = LoopbackChannel("dc", platform="dc", powers=FILES)
    sent: list[tk.Attachment] = []

    async def secret(turn: tk.Turn) -> tk.Reply:
        sent.append(await turn.keep_file(turn.text.encode()))
        return tk.Reply(text=None, attachments=(sent[-1],))

    async def reads(turn: tk.Turn) -> str:
        return (await turn.read_attachment(sent[-1])).decode()

    agent.answer = secret
    async with on_stage(tmp_path, agent, tg, dc) as stage:
        for channel in (tg, dc):
            await channel.receive("before", conversation="dm", user_id="1")
            await channel.next_sent()
        await stage.runtime.link("dc", "1", "tg:1")
        await dc.receive("as one", conversation="dm", user_id="1")
        await dc.next_sent()
        agent.answer = reads
        await tg.receive("read it", conversation="dm", user_id="1")
        assert received(await tg.next_sent()) == ["as one"]
        await until(lambda: is_quiet(stage.store, "s1"))
        await stage.runtime.undo()
    # That it was kept just now is forgotten with the process; what is written down decides.
    async with on_stage(tmp_path, agent, tg, dc, disk=stage.disk):
        await tg.receive("read it again", conversation="dm", user_id="1")
        assert received(await tg.next_sent()) == ["it did not work"]
    assert [type(fault) for fault in agent.faults] == [tk.UnknownAttachment]


async def test_what_was_sent_unasked_before_an_undone_link_is_closed_to_be_sure(
    tmp_path: Path,
) -> None:
    agent = Scripted()
    tg = LoopbackChannel("tg", platform="tg", powers=FILES)
    dc = LoopbackChannel("dc", platform="dc", powers=FILES)

    async def back(turn: tk.Turn) -> tk.Reply:
        files = [file for message in turn.messages for file in message.attachments]
        return tk.Reply(text="again", attachments=tuple(files))

    agent.answer = back
    async with on_stage(tmp_path, agent, tg, dc) as stage:
        for channel in (tg, dc):
            await channel.receive("hi", conversation="dm", user_id="1")
            await channel.next_sent()
        report = await stage.runtime.keep_file("s1", REPORT)
        await stage.runtime.send_message("s1", "unasked", attachments=(report,))
    async with on_stage(tmp_path, agent, tg, dc, disk=stage.disk) as stage:
        outcome = await stage.runtime.send_message("s1", "", attachments=(report,))
        assert outcome.status == "delivered"
        await stage.runtime.link("dc", "1", "tg:1")
        await stage.runtime.undo()
        with pytest.raises(ValueError, match="no message of this session"):
            await stage.runtime.send_message("s1", "", attachments=(report,))


async def test_a_file_stays_where_a_record_names_it_and_goes_with_its_session(
    tmp_path: Path,
) -> None:
    async with on_stage(tmp_path, reporter, tg := chat()) as stage:
        await tg.receive("hi")
        await until(lambda: is_quiet(stage.store, "s1"))
        assert place_of(tmp_path, REPORT).is_file()
        await stage.runtime.delete("s1")
        assert problems(stage.store) == []
