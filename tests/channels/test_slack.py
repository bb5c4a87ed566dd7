"""What is particular about Slack: connections, threads, drafts, files, scopes and signatures."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import trio

import turnkeeper as tk
from turnkeeper import Address, Outbound
from turnkeeper.actors.messages import DeliveryId
from turnkeeper.channels.base import OutboundFile, Rejected, Unreachable
from turnkeeper.channels.slack import SlackChannel
from turnkeeper.storage.memory import MemoryDisk, open_memory

from ..peers.slack_fake_events import signed
from ..peers.slack_fake_world import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET
from .slack_platform import SlackWire, make_slack, open_slack_wire

pytestmark = pytest.mark.slow

SECRETS: Final = (BOT_TOKEN, APP_TOKEN, SIGNING_SECRET)


async def echo(turn: tk.Turn) -> str:
    return f"Heard {turn.text}"


@asynccontextmanager
async def living(
    wire: SlackWire,
    channel: SlackChannel,
    agent: Any = echo,
    folder: Path | None = None,
    **section: Any,
) -> AsyncGenerator[tk.Runtime]:
    """The channel in a runtime, connected; with a `folder` it keeps files."""
    config = {
        "http": {"listen": "127.0.0.1:0"},
        "channels": {channel.name: {"access": "open", **section}},
    }
    async with (
        open_memory(MemoryDisk()) as store,
        tk.open_runtime(
            folder, agent=agent, channels=[channel], store=store, config=config
        ) as runtime,
    ):
        await until(lambda: channel.line.state != "starting")
        await wire.attached(channel)
        yield runtime


async def until(holds: Any) -> None:
    with trio.fail_after(15):
        while not holds():  # noqa: ASYNC110  (nobody tells)
            await trio.sleep(0.01)


async def seen(wire: SlackWire, place: str, count: int) -> list[Any]:
    """What the agent has said there, once it is so much."""
    with trio.fail_after(15):
        while len(shown := list(await wire.seen(place))) < count:  # noqa: ASYNC110
            await trio.sleep(0.01)
    return shown


def outbound(channel: SlackChannel, place: str, text: str = "", **more: Any) -> Outbound:
    thread = more.pop("thread", None)
    return Outbound(
        delivery_id=DeliveryId("s1/1"),
        address=Address(channel.name, place, thread),
        text=text,
        **more,
    )


# -- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
@pytest.mark.parametrize("close", [True, False])
async def test_a_connection_that_is_to_be_refreshed_is_replaced_without_a_gap(
    reason: str, close: bool
) -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        async with living(wire, channel):
            here = wire.conversations[0]
            deliveries = wire.slack.deliveries
            for number in range(3):
                await wire.user_says(f"{number} before", conversation=here)
                deliveries.disconnect(reason, close=close)
                await wire.user_says(f"{number} after", conversation=here)
                await until(lambda: len(deliveries.connections) >= 1)
            told = await seen(wire, here, 6)
            assert sorted(one.text for one in told) == sorted(
                f"Heard {number} {when}" for number in range(3) for when in ("before", "after")
            )
            assert channel.line.breaks == 0
            assert channel.line.warning == ""


async def test_another_program_on_the_same_app_is_told_to_the_operator() -> None:
    async with open_slack_wire() as wire:
        first, second = make_slack(wire, "one"), make_slack(wire, "two")
        async with living(wire, first), living(wire, second):
            assert first.line.warning == ""
            assert second.line.warning.startswith("another program is connected")


async def test_a_socket_mode_that_is_switched_off_refuses() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        async with living(wire, channel):
            wire.slack.deliveries.disconnect("link_disabled")
            await until(lambda: channel.line.state == "refused")
            assert "switched off" in channel.line.error


async def test_what_is_not_acknowledged_in_time_is_heard_once() -> None:
    began = trio.Event()

    class Slow:
        in_memory = True

        async def resolve(self, platform: str, user_id: str) -> str:
            await began.wait()
            return f"{platform}:{user_id}"

        async def link(self, platform: str, user_id: str, user: str) -> None: ...
        async def unlink(self, platform: str, user_id: str) -> None: ...
        async def links(self, user: str | None = None) -> tuple[()]:
            return ()

    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        wire.slack.deliveries.ack_within_s = 0.05
        async with (
            open_memory(MemoryDisk()) as store,
            tk.open_runtime(
                None,
                agent=echo,
                channels=[channel],
                store=store,
                config={"channels": {"slack": {"access": "open"}}},
                identity_resolver=Slow(),
            ),
        ):
            await until(lambda: channel.line.state == "connected")
            here = wire.conversations[0]
            await wire.user_says("patience", conversation=here)
            deliveries = wire.slack.deliveries
            await until(lambda: len(deliveries.log) >= 2)
            began.set()
            await seen(wire, here, 1)
            await wire.user_says("next", conversation=here)
            told = await seen(wire, here, 2)
        assert [one.text for one in told] == ["Heard patience", "Heard next"]


# -- threads -------------------------------------------------------------------------------------


async def test_a_mention_in_a_channel_is_answered_in_the_thread_below_it() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        async with living(wire, channel):
            question = await wire.user_says("hi", conversation=wire.slack.general, mention=True)
            told = await seen(wire, wire.slack.general, 1)
            assert [(one.text, one.thread) for one in told] == [("Heard hi", question)]
            await wire.user_says(
                "more", conversation=wire.slack.general, thread=question, mention=True
            )
            assert (await seen(wire, wire.slack.general, 2))[1].thread == question
            assert sum(method == "chat.postMessage" for method, _, _ in wire.slack.calls) == 2


async def test_a_channel_can_be_answered_itself() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack", reply_in_thread=False)
        async with living(wire, channel):
            await wire.user_says("hi", conversation=wire.slack.general, mention=True)
            assert (await seen(wire, wire.slack.general, 1))[0].thread is None


async def test_a_thread_that_cannot_be_one_is_refused() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        with pytest.raises(Rejected) as caught:
            await channel.send(outbound(channel, wire.slack.general, "hi", thread="main"))
        assert caught.value.reason == "thread_not_found"


# -- what is said --------------------------------------------------------------------------------


async def test_nothing_that_an_agent_says_notifies_everybody_or_opens_a_link() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        await channel.send(
            outbound(channel, wire.slack.general, "<!channel> @here <@U1> **b** a & b")
        )
        (_, told, outcome) = wire.slack.calls[-1]
        assert outcome == "ok"
        assert told["text"] == "&lt;!channel&gt; @here &lt;@U1&gt; *b* a &amp; b"
        assert told["link_names"] is False
        assert told["parse"] == "none"
        assert (told["unfurl_links"], told["unfurl_media"]) == (False, False)


async def test_a_draft_that_is_gone_or_too_short_for_its_text_becomes_a_new_message() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        place = wire.conversations[0]
        shown = (await channel.send(outbound(channel, place, "It begins"))).platform_message_id
        long = "<" * 1_500  # 6,000 characters, of which 4,000 may be edited into a message
        receipt = await channel.send(outbound(channel, place, long, draft=shown))
        assert receipt.platform_message_id != shown
        assert [one.text for one in await wire.seen(place)] == [long]
        again = await channel.send(outbound(channel, place, "short", draft=shown))
        assert [one.text for one in await wire.seen(place)] == [long, "short"]
        kept = await channel.send(outbound(channel, place, "end", draft=again.platform_message_id))
        assert kept == again
        assert [one.text for one in await wire.seen(place)] == [long, "end"]


async def test_many_drafts_share_what_slack_allows() -> None:
    async with open_slack_wire() as wire:

        async def agent(_turn: tk.Turn) -> AsyncIterator[str]:
            for _ in range(25):
                yield "more "
                await trio.sleep(0.2)

        channel = make_slack(wire, "slack")
        async with living(wire, channel, agent):
            began = trio.current_time()
            for place in wire.conversations:
                await wire.user_says("go", conversation=place)
            for place in wire.conversations:
                await seen(wire, place, 1)
                with trio.fail_after(20):
                    while not (await wire.seen(place))[0].text.endswith("more"):  # noqa: ASYNC110
                        await trio.sleep(0.05)
            took_s = trio.current_time() - began
        edits = sum(method == "chat.update" for method, _, _ in wire.slack.calls)
        assert 2 < edits <= 2 + 1 + took_s / 1.25  # both final texts, and one edit in that time


async def test_a_pause_holds_every_message_to_its_channel() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        here, there = wire.conversations
        wire.slack.limits("chat.postMessage", retry_after_s=50)
        with pytest.raises(Unreachable) as caught:
            await channel.send(outbound(channel, here, "one"))
        assert (caught.value.reason, caught.value.retry_after_s) == ("rate_limited", 50.0)
        await channel.send(outbound(channel, there, "not held"))
        with trio.move_on_after(0.1) as patience:
            await channel.send(outbound(channel, here, "held"))
        assert patience.cancelled_caught


async def test_after_a_pause_it_goes_on() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        here, _ = wire.conversations
        wire.slack.limits("chat.postMessage", retry_after_s=1)
        began = trio.current_time()
        with pytest.raises(Unreachable):
            await channel.send(outbound(channel, here, "one"))
        await channel.send(outbound(channel, here, "held"))
        assert trio.current_time() - began >= 1.0


@pytest.mark.parametrize(
    ("error", "reason"),
    [("is_archived", "archived"), ("not_in_channel", "not_member"), ("no_text", "empty")],
)
async def test_a_refusal_has_one_word(error: str, reason: str) -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        wire.slack.fails("chat.postMessage", error)
        with pytest.raises(Rejected) as caught:
            await channel.send(outbound(channel, wire.slack.general, "hello"))
        assert caught.value.reason == reason


# -- files ---------------------------------------------------------------------------------------


def a_file(content: bytes) -> OutboundFile:
    async def read() -> bytes:
        return content

    return OutboundFile(kind="file", size_bytes=len(content), read=read, name="a b.bin")


async def test_a_file_goes_into_its_thread() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        place, thread = wire.threads[0]
        receipt = await channel.send(
            outbound(channel, place, thread=thread, file=a_file(b"\x00\xff" * 9))
        )
        told = (await wire.seen(place))[0]
        assert (told.thread, told.message_id) == (thread, receipt.platform_message_id)
        assert told.file is not None
        assert (told.file.name, told.file.content) == ("a b.bin", b"\x00\xff" * 9)


async def test_who_may_not_read_files_gets_the_id_of_a_file_as_its_receipt() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        wire.slack.scopes.discard("files:read")
        receipt = await channel.send(outbound(channel, wire.slack.general, file=a_file(b"x")))
        assert receipt.platform_message_id.startswith("F")


async def test_a_file_of_a_shared_channel_is_asked_for(tmp_path: Path) -> None:
    got: list[tuple[str | None, str, bytes]] = []

    async def agent(turn: tk.Turn) -> str:
        (file,) = turn.attachments
        got.append((file.name, file.kind, await turn.read_attachment(file)))
        return "Heard"

    async with open_slack_wire() as wire:
        here = wire.conversations[0]
        wire.slack.world.places[here].connected = True
        channel = make_slack(wire, "slack")
        async with living(wire, channel, agent, tmp_path):
            await wire.user_sends_file("a.png", b"\x89PNG", "image/png", conversation=here)
            await seen(wire, here, 1)
        assert got == [("a.png", "image", b"\x89PNG")]


async def test_a_page_to_sign_in_is_not_taken_for_a_file() -> None:
    got: list[tk.Turn] = []

    async def agent(turn: tk.Turn) -> str:
        got.append(turn)
        return "Heard"

    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        wire.slack.scopes.discard("files:read")
        async with living(wire, channel, agent):
            here = wire.conversations[0]
            await wire.user_sends_file("a.html", b"<html>", "text/html", conversation=here)
            await seen(wire, here, 1)
        (attachment,) = got[0].attachments
        assert (attachment.name, attachment.size_bytes) == ("a.html", 6)
        assert attachment.reference.startswith("F")


# -- the operator --------------------------------------------------------------------------------


async def test_a_probe_names_the_scopes_that_are_missing() -> None:
    async with open_slack_wire() as wire:
        channel = make_slack(wire, "slack")
        wire.slack.scopes.discard("chat:write")
        wrong = [check for check in await channel.probe() if not check.ok]
        assert [check.what for check in wrong] == ["may write"]
        await wire.slack.revoke(APP_TOKEN)
        wrong = [check for check in await channel.probe() if not check.ok]
        assert [check.what for check in wrong] == ["may write", "app token"]
        assert not any(secret in repr(wrong) for secret in SECRETS)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "either app_token"),
        ({"app_token": APP_TOKEN, "signing_secret": "s"}, "either app_token"),
        ({"app_token": BOT_TOKEN}, "xapp-"),
        ({"app_token": APP_TOKEN, "token": APP_TOKEN}, "xoxb-"),
        ({"app_token": ""}, "app_token is empty"),
        ({"signing_secret": " "}, "signing_secret is empty"),
        ({"signing_secret": "s", "token": ""}, "token is empty"),
        ({"signing_secret": "enough", "api_url": "http://slack.com/api"}, "https"),
    ],
)
def test_a_wrong_configuration_is_refused_without_its_secrets(
    keys: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        SlackChannel("slack", **{"token": BOT_TOKEN, **keys})  # type: ignore[arg-type]
    assert not any(secret in str(caught.value) for secret in SECRETS)


# -- signatures ----------------------------------------------------------------------------------


async def test_only_what_slack_has_signed_just_now_is_heard() -> None:
    async with open_slack_wire(hooked=True) as wire:
        channel = make_slack(wire, "slack")
        turns: list[str] = []

        async def agent(turn: tk.Turn) -> str:
            turns.append(turn.text)
            return "Heard"

        async with living(wire, channel, agent):
            assert channel.hook_url is not None
            event = {
                "type": "message",
                "channel": wire.conversations[0],
                "channel_type": "im",
                "user": "U1",
                "ts": "1.000001",
                "text": "forged",
            }
            body = json.dumps({"type": "event_callback", "event_id": "E1", "event": event}).encode()
            now = signed(body)
            stamp = int(now["X-Slack-Request-Timestamp"])
            forged: list[dict[str, str]] = [
                {},
                {"X-Slack-Signature": now["X-Slack-Signature"]},
                signed(body + b" "),
                signed(body, "another secret"),
                signed(body, at_s=stamp - 400),
                signed(body, at_s=stamp + 400),
                {**now, "X-Slack-Request-Timestamp": str(stamp + 1)},
                {**now, "X-Slack-Signature": now["X-Slack-Signature"].upper()},
                {**now, "X-Slack-Signature": now["X-Slack-Signature"].removeprefix("v0=")},
                {**now, "X-Slack-Request-Timestamp": "soon"},
            ]
            async with httpx.AsyncClient(trust_env=False) as client:
                for headers in forged:
                    answer = await client.post(channel.hook_url, content=body, headers=headers)
                    assert answer.status_code == 401, headers
                assert (await client.get(channel.hook_url)).status_code == 405
                for nonsense in (b"{", b"[]", b'{"a": 1, "a": 2}', b'{"type": "event_callback"}'):
                    answer = await client.post(
                        channel.hook_url, content=nonsense, headers=signed(nonsense)
                    )
                    assert answer.status_code == 200, nonsense
                assert turns == []
                answer = await client.post(channel.hook_url, content=body, headers=now)
                assert answer.status_code == 200
            await seen(wire, wire.conversations[0], 1)
            assert turns == ["forged"]
            assert "could not be read" in channel.line.warning
