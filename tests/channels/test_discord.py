"""The Discord channel against a Discord in another process: what the kit does not ask."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from turnkeeper.actors.errors import Unidentified
from turnkeeper.actors.messages import (
    Accepted,
    Address,
    DeliveryId,
    InboundTurn,
    Instance,
    MessageChange,
    SessionId,
    TurnId,
)
from turnkeeper.channels import discord_voice
from turnkeeper.channels.base import LostAnswer, Outbound, Rejected, Unreachable
from turnkeeper.channels.discord import DiscordChannel
from turnkeeper.channels.discord_api import DiscordApi

from ..peers.discord_peer import DiscordPeer, open_discord
from .discord_platform import WRONG_TOKEN

pytestmark = pytest.mark.slow

SENDS = "/channels/*/messages"


class Marks:
    """A watermark in memory."""

    def __init__(self) -> None:
        self.value: str | None = None

    async def move(self, value: str, /) -> None:
        await trio.lowlevel.checkpoint()
        self.value = value


class Listener:
    """Stands where the runtime stands."""

    def __init__(self, discord: DiscordPeer, **keys: Any) -> None:
        self.discord = discord
        self.keys = keys
        self.marks = Marks()
        self.turns: list[InboundTurn] = []
        self.changes: list[MessageChange] = []
        self.errors: list[Exception] = []
        self.refuses = False
        self.channel = self.make()

    def make(self) -> DiscordChannel:
        """A new channel with the same memory, as after a restart."""
        keys: dict[str, Any] = {"token": self.discord.token, **self.keys}
        keys["api_url"] = self.discord.url
        channel = DiscordChannel("d", **keys)
        channel.watermark = self.marks
        channel.on_change = self._hear_change
        return channel

    async def deliver(self, turn: InboundTurn) -> Accepted:
        await trio.lowlevel.checkpoint()
        if self.refuses:
            raise Unidentified("not now")
        self.turns.append(turn)
        return Accepted(session_id=SessionId("s"), turn_id=TurnId("s/1"), duplicate=False)

    async def _hear_change(self, change: MessageChange) -> bool:
        await trio.lowlevel.checkpoint()
        self.changes.append(change)
        return True

    async def live(self) -> None:
        """Run it again and again, as the runtime does."""
        while True:
            try:
                await self.channel.run(self.deliver)
            except (Unreachable, Rejected) as error:
                self.errors.append(error)
                self.channel.line.down(str(error))
            await trio.sleep(0.2)

    def texts(self, conversation: str) -> list[str]:
        """What was heard in a conversation, each message once."""
        once = {turn.message_id: turn for turn in self.turns}
        return [turn.text for turn in once.values() if turn.address.conversation == conversation]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once it `holds`."""
        with trio.fail_after(30):
            while not holds():  # noqa: ASYNC110  (nobody tells when)
                await trio.sleep(0.02)

    async def until_up(self) -> None:
        """Return once the line stands."""
        await self.until(lambda: self.channel.line.state == "connected")

    @asynccontextmanager
    async def living(self) -> AsyncGenerator[None]:
        """One life of the channel."""
        self.channel = self.make()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.live)
            await self.until_up()
            yield
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open(folder: Path, **keys: Any) -> AsyncGenerator[tuple[DiscordPeer, Listener, str]]:
    """A Discord, a listener, and the direct conversation with Ann."""
    async with open_discord(folder) as discord:
        yield discord, Listener(discord, **keys), await discord.dm(await discord.add_user("Ann"))


def _outbound(channel: str, text: str = "hello", **more: Any) -> Outbound:
    return Outbound(
        delivery_id=DeliveryId("s1/2"), address=Address(Instance("d"), channel), text=text, **more
    )


# -- sessions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "value", "then"),
    [
        ("reconnect", None, "resume"),
        ("invalidate", True, "resume"),
        ("invalidate", False, "identify"),
        ("close", 4000, "resume"),
        ("close", 4009, "identify"),
        ("cut", None, "resume"),
    ],
)
async def test_a_connection_that_ends_is_taken_up_again(
    tmp_path: Path, what: str, value: Any, then: str
) -> None:
    async with _open(tmp_path) as (discord, listener, _), listener.living():
        ann = await discord.add_user("Bo")
        await discord.user_says(discord.general, ann, "before")
        await listener.until(lambda: listener.texts(discord.general) == ["before"])
        before = len(await discord.gateway_log())
        await discord.gateway(what, value)
        await listener.until(lambda: listener.channel.line.breaks > 0)
        await discord.user_says(discord.general, ann, "after")
        await listener.until(lambda: listener.texts(discord.general) == ["before", "after"])
        log = (await discord.gateway_log())[before:]
        assert [one for one in log if one in ("resume", "identify")][:1] == [then]


async def test_what_a_lost_session_has_missed_is_fetched_before_what_comes_live(
    tmp_path: Path,
) -> None:
    async with _open(tmp_path) as (discord, listener, _):
        ann = await discord.add_user("Bo")
        thread = await discord.add_thread(discord.general, ann, "aside")
        ids = (discord.general, thread)
        async with listener.living():
            for channel in ids:
                await discord.user_says(channel, ann, f"first in {channel}")
            await listener.until(lambda: len(listener.turns) == 2)
            await trio.sleep(0.5)  # until the watermark has followed
        await discord.gateway("forget sessions")
        for number in range(150):
            await discord.user_says(discord.general, ann, f"missed {number}")
        await discord.user_says(thread, ann, "missed aside")
        async with listener.living():
            await discord.user_says(discord.general, ann, "live")
            await listener.until(lambda: len(listener.texts(discord.general)) == 154)
        texts = listener.texts(discord.general)
        main = [text for text in texts if "aside" not in text and "first" not in text]
        assert main == [*(f"missed {number}" for number in range(150)), "live"]
        aside = [turn for turn in listener.turns if turn.text == "missed aside"]
        assert [(turn.address.thread, turn.guild) for turn in aside] == [(thread, discord.guild)]


async def test_the_watermark_does_not_pass_what_was_refused(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, _):
        ann = await discord.add_user("Bo")
        listener.refuses = True
        async with listener.living():
            await discord.user_says(discord.general, ann, "refused")
            await trio.sleep(1.0)
        await discord.gateway("forget sessions")
        listener.refuses = False
        async with listener.living():
            await listener.until(lambda: listener.texts(discord.general) == ["refused"])


async def test_a_killed_discord_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, _), listener.living():
        people = [await discord.add_user(f"user{number}") for number in range(3)]
        places = [await discord.dm(person) for person in people]
        for place, person in zip(places, people, strict=True):
            await discord.user_says(place, person, "0")
        await listener.until(lambda: len(listener.turns) == 3)
        await trio.sleep(0.5)  # until the watermark has followed
        for number in range(1, 31):
            for place, person in zip(places, people, strict=True):
                await discord.user_says(place, person, str(number))
            if number in (10, 20):
                await discord.down(kill=True)
                await discord.up()
        await listener.until(lambda: all(len(listener.texts(place)) == 31 for place in places))
        for place in places:
            assert listener.texts(place) == [str(number) for number in range(31)]


async def test_heartbeats_that_are_not_answered_end_the_connection_and_not_the_session(
    tmp_path: Path,
) -> None:
    async with _open(tmp_path) as (discord, listener, _):
        await discord.gateway("heartbeat interval", 0.3)
        await discord.gateway("answer heartbeats", False)
        async with listener.living():
            await listener.until(lambda: listener.channel.line.breaks > 0)
            await discord.gateway("answer heartbeats", True)
            await discord.until_gateway(lambda log: "resume" in log)
            await listener.until_up()
            await discord.gateway("ask for a heartbeat")
            await discord.until_gateway(lambda log: "beat" in log)


async def test_a_token_that_is_replaced_is_told_to_the_operator(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, _), listener.living():
        await discord.replace_token(WRONG_TOKEN)
        await listener.until(lambda: bool(listener.errors))
        assert isinstance(listener.errors[0], Rejected)
        assert listener.errors[0].reason == "unauthorized"


async def test_an_intent_that_is_not_switched_on_is_told_with_what_to_do(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, _):
        await discord.gateway("allow intents", [])
        with pytest.raises(Rejected, match="Message Content Intent") as refused:
            await listener.channel.run(listener.deliver)
        assert refused.value.reason == "disallowed_intents"


async def test_without_the_intent_mentions_are_heard(tmp_path: Path) -> None:
    async with _open(tmp_path, message_content=False) as (discord, listener, _):
        await discord.gateway("allow intents", [])
        ann = await discord.add_user("Bo")
        async with listener.living():
            await discord.user_says(discord.general, ann, "among us")
            await discord.user_says(discord.general, ann, f"<@{discord.bot}> to you")
            await listener.until(lambda: bool(listener.turns))
        assert listener.texts(discord.general) == ["to you"]


async def test_edits_in_threads_and_deletions_are_changes(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, _), listener.living():
        ann = await discord.add_user("Bo")
        thread = await discord.add_thread(discord.general, ann, "aside")
        message = await discord.user_says(thread, ann, "helo")
        await discord.edits(thread, message, "hello")
        await discord.deletes(thread, message)
        await listener.until(lambda: len(listener.changes) == 2)
        edit, deletion = listener.changes
        assert (edit.text, edit.user_id, edit.address.thread) == ("hello", ann, thread)
        assert (deletion.text, deletion.address) == (None, edit.address)


# -- what may have arrived -----------------------------------------------------------------------


async def test_a_message_whose_answer_was_lost_is_found_by_its_nonce(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, direct):
        outbound = _outbound(direct)
        await discord.fail("cut", method="POST", path=SENDS, acts=True)
        with pytest.raises(LostAnswer):
            await listener.channel.send(outbound)
        receipt = await listener.channel.reconcile(replace(outbound, attempt=2, resend=True))
        (seen,) = await discord.seen(direct)
        assert receipt.platform_message_id == seen.message_id


async def test_a_message_that_did_not_arrive_is_sent_by_asking_for_it(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, direct):
        await discord.fail("cut", method="POST", path=SENDS)
        with pytest.raises(LostAnswer):
            await listener.channel.send(_outbound(direct))
        assert await discord.seen(direct) == []
        receipt = await listener.channel.reconcile(_outbound(direct))
        (seen,) = await discord.seen(direct)
        assert receipt.platform_message_id == seen.message_id


async def test_a_message_is_not_sent_again_when_discord_may_have_forgotten_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _open(tmp_path) as (discord, listener, direct):
        await discord.fail("cut", method="POST", path=SENDS, acts=True)
        with pytest.raises(LostAnswer):
            await listener.channel.send(_outbound(direct))
        monkeypatch.setattr(discord_voice, "NONCE_S", 0.0)
        await discord.forget_nonces()
        with pytest.raises(Rejected) as refused:
            await listener.channel.reconcile(_outbound(direct))
        assert refused.value.reason == "lost_answer"
        assert len(await discord.seen(direct)) == 1


async def test_a_message_that_the_gateway_has_told_of_has_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _open(tmp_path) as (discord, listener, direct), listener.living():
        await discord.fail("cut", method="POST", path=SENDS, acts=True)
        with pytest.raises(LostAnswer):
            await listener.channel.send(_outbound(direct))
        monkeypatch.setattr(discord_voice, "NONCE_S", 0.0)
        ann = await discord.add_user("Bo")
        await discord.user_says(discord.general, ann, "later than that")
        await listener.until(lambda: bool(listener.turns))
        receipt = await listener.channel.reconcile(_outbound(direct))
        (seen,) = await discord.seen(direct)
        assert receipt.platform_message_id == seen.message_id


async def test_after_a_restart_only_what_answers_a_recent_message_is_sent_again(
    tmp_path: Path,
) -> None:
    async with _open(tmp_path) as (discord, listener, direct):
        ann = await discord.add_user("Bo")
        asked = await discord.user_says(discord.general, ann, "hello?")
        answer = _outbound(discord.general, reply_to=asked)
        await discord.fail("cut", method="POST", path=SENDS, acts=True)
        with pytest.raises(LostAnswer):
            await listener.channel.send(answer)
        receipt = await listener.make().reconcile(answer)
        own = [one for one in await discord.seen(discord.general) if one.user == discord.bot]
        assert [one.message_id for one in own] == [receipt.platform_message_id]
        with pytest.raises(Rejected):
            await listener.make().reconcile(_outbound(direct))


async def test_equal_ids_of_other_messages_are_no_repeats(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, direct):
        for text in ("one", "two"):
            await listener.channel.send(_outbound(direct, text))
        assert [one.text for one in await discord.seen(direct)] == ["one", "two"]


# -- speaking ------------------------------------------------------------------------------------


async def test_nobody_is_notified_by_what_an_agent_says(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, _):
        ann = await discord.add_user("Bo")
        text = f"@everyone @here <@{ann}> <@&{discord.guild}>"
        receipt = await listener.channel.send(_outbound(discord.general, text))
        told = await discord.message(discord.general, receipt.platform_message_id)
        assert "@everyone" not in told["content"]
        assert told["mention_everyone"] is False
        assert told["flags"] == 4


async def test_every_message_says_that_it_notifies_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[dict[str, Any]] = []

    async def write(_api: DiscordApi, _path: str, _values: Any, body: Any, **_more: Any) -> Any:
        await trio.lowlevel.checkpoint()
        written.append(body)
        return {"id": "5"}

    monkeypatch.setattr(DiscordApi, "write", write)
    for notifies in (True, False):
        channel = DiscordChannel("d", token=WRONG_TOKEN, notify_asker=notifies)
        await channel.send(_outbound("10", reply_to="4"))
    assert [body["allowed_mentions"] for body in written] == [
        {"parse": [], "replied_user": True},
        {"parse": [], "replied_user": False},
    ]
    assert len(written[0]["nonce"]) == 25
    assert written[0]["enforce_nonce"] is True


async def test_an_answer_to_what_is_gone_is_sent_all_the_same(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, _):
        ann = await discord.add_user("Bo")
        asked = await discord.user_says(discord.general, ann, "hello?")
        await discord.deletes(discord.general, asked)
        await listener.channel.send(_outbound(discord.general, reply_to=asked))
        assert [one.text for one in await discord.seen(discord.general)][-1] == "hello"


async def test_a_draft_that_is_gone_becomes_a_new_message(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, direct):
        draft = await listener.channel.send(_outbound(direct, "so far"))
        await discord.deletes(direct, draft.platform_message_id)
        outbound = _outbound(direct, "all of it", draft=draft.platform_message_id)
        receipt = await listener.channel.send(outbound)
        (seen,) = await discord.seen(direct)
        assert (seen.text, seen.message_id) == ("all of it", receipt.platform_message_id)


async def test_discord_refuses_in_one_word(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, _):
        quiet, gone = await discord.add_channel("quiet"), await discord.add_channel("gone")
        await discord.forbids(quiet)
        await discord.removes_channel(gone)
        for channel, reason in ((quiet, "forbidden"), (gone, "not_found")):
            with pytest.raises(Rejected) as refused:
                await listener.channel.send(_outbound(channel))
            assert refused.value.reason == reason
        await discord.removes_bot()
        with pytest.raises(Rejected) as refused:
            await listener.channel.send(_outbound(discord.general))
        assert refused.value.reason in {"no_access", "not_found"}


async def test_limits_are_kept_without_being_refused(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, direct):
        await discord.limit(True)
        began = trio.current_time()
        for number in range(7):
            await listener.channel.send(_outbound(direct, str(number)))
        assert trio.current_time() - began > 4.0
        statuses = [call["status"] for call in await discord.calls()]
        assert 429 not in statuses
        assert len(await discord.seen(direct)) == 7


async def test_a_limit_of_all_holds_every_channel(tmp_path: Path) -> None:
    async with _open(tmp_path) as (discord, listener, direct):
        scope = {"retry_after_s": 30.0, "scope": "global"}
        await discord.fail("rate limit", method="POST", path=SENDS, **scope)  # type: ignore[arg-type]
        for channel in (direct, discord.general):
            with pytest.raises(Unreachable) as limited:
                await listener.channel.send(_outbound(channel))
            assert limited.value.reason == "rate_limited"
            assert (limited.value.retry_after_s or 0) > 25
        sends = [call for call in await discord.calls() if call["method"] == "POST"]
        assert len(sends) == 1


# -- configuration -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"token": ""}, "token is empty"),
        ({"token": "Bot " + WRONG_TOKEN}, "none of Discord's"),
        ({"token": "123:abc"}, "none of Discord's"),
        ({"api_url": "http://example.org/api"}, "https"),
        ({"api_url": "https://user@example.org"}, "must be like"),
        ({"api_url": "https://[::"}, "no URL"),
    ],
)
def test_a_wrong_configuration_is_refused_without_its_secrets(
    keys: dict[str, str], words: str
) -> None:
    wrong: dict[str, Any] = {"token": WRONG_TOKEN, **keys}
    with pytest.raises(ValueError, match=words) as refused:
        DiscordChannel("d", **wrong)
    assert WRONG_TOKEN not in str(refused.value)
