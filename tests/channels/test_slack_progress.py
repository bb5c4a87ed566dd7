"""How far Slack's channels are heard, and which mention is left to its message."""

from __future__ import annotations

import json
import random
from typing import Final

import pytest
import trio
import trio.testing

import turnkeeper as tk
from turnkeeper.actors.messages import Address
from turnkeeper.channels.base import Channel, Deliver, Outbound, Receipt
from turnkeeper.channels.handover import Handover
from turnkeeper.channels.secret import Secret
from turnkeeper.channels.slack_api import SlackApi, SlackPlace, SlackRates
from turnkeeper.channels.slack_batch import Batch
from turnkeeper.channels.slack_fields import seconds_of, stamp_at
from turnkeeper.channels.slack_files import Files
from turnkeeper.channels.slack_hearing import Ear
from turnkeeper.channels.slack_mark import Mark
from turnkeeper.channels.slack_mentions import Mentions
from turnkeeper.channels.slack_progress import LAG_S, MAX_CHANNELS, MAX_THREADS, Progress
from turnkeeper.channels.slack_wire import Me, Reader
from turnkeeper.channels.strangers import Strangers

BOT: Final = "T0 U0BOT"
LONGEST_WATERMARK: Final = 65_536


def at(seconds: float) -> str:
    return f"{1_700_000_000 + seconds:.6f}"


def heard(progress: Progress, channel: str, message_id: str, now_s: float = 0.0) -> None:
    progress.came(channel, message_id)
    progress.passed(channel, message_id, now_s)


# -- marks ---------------------------------------------------------------------------------------


def test_a_new_channel_counts_from_its_first_message_on() -> None:
    progress = Progress(None, BOT)
    progress.came("C1", "1700000000.000000")
    assert progress.marks["C1"] == "1699999999.999999"


def test_a_mark_follows_once_it_has_waited_and_never_goes_back() -> None:
    progress = Progress(None, BOT)
    heard(progress, "C1", at(0), now_s=100)
    heard(progress, "C1", at(3), now_s=103)
    assert progress.ripen(100 + LAG_S - 1) == 100 + LAG_S
    assert seconds_of(progress.marks["C1"]) < seconds_of(at(0))
    due_s = progress.ripen(100 + LAG_S)
    assert (progress.marks["C1"], due_s) == (at(0), 100 + 2 * LAG_S)
    heard(progress, "C1", at(2), now_s=105 + LAG_S)
    assert progress.ripen(100 + 2 * LAG_S) is None
    assert progress.marks["C1"] == at(3)
    heard(progress, "C1", at(1), now_s=200)
    assert progress.ripen(200 + LAG_S) is None
    assert progress.marks["C1"] == at(3)


def test_a_mark_passes_no_message_that_is_not_settled() -> None:
    progress = Progress(None, BOT)
    heard(progress, "C1", at(0))
    heard(progress, "C1", at(5))
    progress.came("C1", at(3))  # overtaken on its way
    progress.ripen(LAG_S)
    assert progress.ripen(2 * LAG_S) is not None
    assert seconds_of(at(0)) <= seconds_of(progress.marks["C1"]) < seconds_of(at(3))
    progress.passed("C1", at(3), 2 * LAG_S)
    assert progress.ripen(4 * LAG_S) is None
    assert progress.marks["C1"] == at(5)


def test_the_mark_of_a_channel_that_is_behind_stays_until_it_is_caught_up() -> None:
    progress = Progress(None, BOT)
    heard(progress, "C1", at(0))
    before = progress.marks["C1"]
    assert progress.all_behind() == ["C1"]
    ticket = progress.ticket("C1")
    heard(progress, "C1", at(200))
    heard(progress, "C1", at(150))
    assert progress.ripen(1_000) is None
    assert progress.marks["C1"] == before
    assert progress.caught_up("C1", at(100), ticket, 1_000)
    assert progress.marks["C1"] == at(100)
    progress.ripen(1_000 + LAG_S)
    assert progress.marks["C1"] == at(200)


def test_what_is_missed_while_a_channel_is_caught_up_is_still_to_be_heard() -> None:
    progress = Progress(None, BOT)
    heard(progress, "C1", at(0))
    progress.fall_behind("C1")
    ticket = progress.ticket("C1")
    progress.fall_behind("C1")
    assert not progress.caught_up("C1", at(100), ticket, 0)
    assert seconds_of(progress.marks["C1"]) < seconds_of(at(0))
    assert progress.caught_up("C1", at(100), progress.ticket("C1"), 0)
    assert progress.ticket("C1") == 0


def test_a_channel_that_is_gone_takes_its_threads_with_it() -> None:
    progress = Progress(None, BOT)
    for channel in ("C1", "C2"):
        heard(progress, channel, at(0))
        progress.took_part(channel, at(0))
    progress.forget("C1")
    progress.fall_behind("C1")
    assert progress.all_behind() == ["C2"]
    assert (progress.threads_in("C1"), progress.threads_in("C2")) == ([], [at(0)])


def test_a_watermark_is_read_as_it_was_stored_and_by_no_other_bot() -> None:
    progress = Progress(None, BOT)
    for number in range(3):
        heard(progress, f"C{number}", at(number))
        progress.took_part(f"C{number}", at(number))
        progress.took_part("C0", at(number))
    stored = progress.stored()
    again = Progress(stored, BOT)
    assert again.stored() == stored
    assert again.all_behind() == ["C2", "C1", "C0"]
    assert again.threads_in("C0") == progress.threads_in("C0")
    assert Progress(stored, "T1 U0BOT").all_behind() == []


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        json.dumps({"bot": BOT}),
        json.dumps({"bot": BOT, "marks": [], "threads": {}}),
        json.dumps({"bot": BOT, "marks": {"?": at(0), "C1": 5, "C2": "x"}, "threads": [5, [1]]}),
        json.dumps({"bot": BOT, "marks": {}, "threads": [["C1", at(0)], ["C1"]]}),
    ],
)
def test_a_watermark_that_cannot_be_read_is_none(stored: str) -> None:
    progress = Progress(stored, BOT)
    assert progress.all_behind() == []
    assert progress.threads_in("C1") == []


def test_a_watermark_of_the_longest_names_fits() -> None:
    progress = Progress(None, "T" * 64 + " " + "U" * 64)
    for number in range(MAX_CHANNELS + MAX_THREADS):
        channel = f"{number:064}"
        heard(progress, channel, f"{9_999_999_999_999_999}.999999999")
        progress.took_part(channel, f"{9_999_999_999_999_999}.{number:09}")
    assert len(progress.marks) == MAX_CHANNELS
    assert len(progress.stored()) <= LONGEST_WATERMARK


def test_times_are_rounded_to_what_is_before_them() -> None:
    assert stamp_at(seconds_of("5.123456999")) == "5.123456"
    assert stamp_at(seconds_of("0.000000") - 1) == "0.000000"


def test_missed_messages_are_heard_in_their_order_whatever_the_order_of_their_pages() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    messages = [{"ts": at(number), "text": str(number)} for number in range(1, 40)]
    batch = Batch(at(0))
    shuffled = rng.sample(messages, len(messages))
    for start in range(0, len(shuffled), 7):
        assert batch.add([{"ts": at(0)}, *shuffled[start : start + 9], {"ts": 5}]) == 1
    texts: list[str] = []
    while batch:
        texts.append(batch.first()["text"])
        batch.settle_first()
    assert texts == [str(number) for number in range(1, 40)]
    assert (batch.newest, batch.is_cut) == (at(39), False)


# -- the watermark -------------------------------------------------------------------------------


class Stored:
    """A watermark that notes its states."""

    def __init__(self) -> None:
        self.values: list[str] = []

    @property
    def value(self) -> str | None:
        return self.values[-1] if self.values else None

    async def move(self, value: str, /) -> None:
        await trio.lowlevel.checkpoint()
        self.values.append(value)


async def no_words(_address: Address, _words: str, _reply_to: str) -> None:
    raise NotImplementedError


class Deaf(Channel):
    """A channel that only has a watermark."""

    async def run(self, deliver: Deliver) -> None:
        raise NotImplementedError

    async def send(self, outbound: Outbound) -> Receipt:
        raise NotImplementedError


async def test_states_are_stored_now_and_then_and_at_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    channel, stored = Deaf("slack"), Stored()
    channel.watermark = stored
    mark = Mark(channel, BOT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mark.store)
        for number in range(1_000):
            heard(mark.progress, "C1", at(number), trio.current_time())
            mark.touch()
            await trio.sleep(0.03)
        assert 2 <= len(stored.values) <= 4
        await trio.sleep(2 * LAG_S + 1)  # in which nothing comes
        assert Mark(channel, BOT).progress.marks["C1"] == at(999)
        mark.progress.took_part("C1", at(999))
        nursery.cancel_scope.cancel()
    assert Mark(channel, BOT).progress.threads_in("C1") == [at(999)]


async def test_a_message_that_takes_longer_than_its_call_is_asked_for_and_holds_up_no_mark(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def deliver(_turn: tk.InboundTurn) -> tk.Accepted:
        await trio.sleep_forever()

    channel, missed = Deaf("slack"), list[str]()
    mark = Mark(channel, BOT)
    api = SlackApi(SlackPlace("https://slack.example/api"), Secret("xoxb-1"), SlackRates())
    ear = Ear(
        channel.name,
        Reader(channel.name, Me(user_id="U0BOT")),
        Files(channel, api),
        Handover(channel, deliver, Strangers("slack", no_words)),
        mark,
        Mentions(hopeful=False),
        fetch_s=1.0,
        patient=False,
    )
    ear.on_missed = missed.append
    said = {"type": "message", "channel": "C1", "user": "U1", "text": "hi", "ts": at(0)}
    hearing = ear.take({"type": "event_callback", "event_id": "Ev1", "event": said})
    with trio.move_on_after(30):
        await hearing.settle()
    assert missed == ["C1"]
    assert not await hearing.follow()
    heard(mark.progress, "C1", at(5))
    mark.progress.ripen(LAG_S)
    assert mark.progress.marks["C1"] == at(5)


# -- mentions ------------------------------------------------------------------------------------


async def test_a_mention_waits_for_its_message(autojump_clock: trio.testing.MockClock) -> None:
    mentions = Mentions(hopeful=True)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def come() -> None:
            await trio.sleep(0.5)
            mentions.message_came("C2", at(0))
            mentions.message_came("C1", at(0))

        assert await mentions.is_left_to_message("C1", at(0))
        assert trio.current_time() < 0.6
    assert await mentions.is_left_to_message("C2", at(0))


async def test_mentions_wait_no_more_once_one_has_waited_in_vain(
    autojump_clock: trio.testing.MockClock,
) -> None:
    mentions = Mentions(hopeful=True)
    waited: list[float] = []
    for number in range(4):
        if number == 2:
            mentions.message_came("C9", at(0))
        began = trio.current_time()
        assert not await mentions.is_left_to_message("C1", at(number))
        waited.append(round(trio.current_time() - began, 1))
    assert waited == [1.0, 0.0, 1.0, 0.0]


async def test_who_may_not_hear_channels_waits_for_no_message(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert not await Mentions(hopeful=False).is_left_to_message("C1", at(0))
    assert trio.current_time() == 0.0
