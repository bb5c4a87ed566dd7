"""The webhook of the Telegram channel."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from turnkeeper import (
    Overloaded,
    Rejected,
    Unreachable,
)
from turnkeeper.channels.hooks import HookDenied, HookHead
from turnkeeper.channels.secret import Secret
from turnkeeper.channels.telegram import TelegramChannel
from turnkeeper.channels.telegram_hook import hook_secret

from ..peers.telegram_fake import TOKEN, Telegram
from .given import Runtime
from .telegram_living import api_of, ending, make, people
from .telegram_platform import ANN


def head(secret: str | None, method: str = "POST") -> HookHead:
    headers = {} if secret is None else {"x-telegram-bot-api-secret-token": secret}
    return HookHead(method=method, path="/hooks/tg", query={}, headers=headers, peer="127.0.0.1")


@pytest.mark.parametrize("secret", [None, "", "wrong", TOKEN, "ä"])
def test_who_does_not_know_the_secret_is_not_read(secret: str | None) -> None:
    hook = TelegramChannel("tg", token=TOKEN, webhook=True).hook
    assert hook is not None
    with pytest.raises(HookDenied) as caught:
        hook.admit(head(secret))
    assert caught.value.status == 401


async def test_a_hook_whose_channel_does_not_run_says_later() -> None:
    channel = TelegramChannel("tg", token=TOKEN, webhook=True)
    assert channel.hook is not None
    secret = hook_secret(Secret(TOKEN), "tg").reveal()
    answer = channel.hook.admit(head(secret))
    assert answer is not None
    assert answer.status == 503
    assert (await channel.hook.hear(head(secret), b"{}")).status == 503
    with pytest.raises(HookDenied) as caught:
        channel.hook.admit(head(secret, "GET"))
    assert caught.value.status == 405


def test_the_secret_of_a_hook_is_its_own_and_of_allowed_characters() -> None:
    token = Secret(TOKEN)
    one, two = hook_secret(token, "tg").reveal(), hook_secret(token, "other").reveal()
    assert one != two
    assert len(one) == 64
    assert one.isalnum()


@asynccontextmanager
async def called(telegram: Telegram) -> AsyncGenerator[tuple[TelegramChannel, Runtime, str]]:
    """A channel whose hook is called by hand."""
    channel, runtime = make(telegram, webhook=True, webhook_check_s=1.0), Runtime()
    channel.hook_url = "http://127.0.0.1:9/hooks/tg"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run, runtime.deliver)
        await telegram.pulse.until(lambda: bool(telegram.called("setWebhook")))
        yield channel, runtime, hook_secret(Secret(TOKEN), "tg").reveal()
        nursery.cancel_scope.cancel()


async def test_what_cannot_be_read_is_settled_and_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with people() as telegram, called(telegram) as (channel, runtime, secret):
        assert channel.hook is not None
        assert channel.hook.admit(head(secret)) is None
        deep = b'{"update_id": 1, "message": ' + b"[" * 9999 + b"]" * 9999 + b"}"
        for body in (
            b"",
            b"{",
            b"\xff",
            deep,
            b'"\\ud800"',
            b"7",
            b'{"update_id": 1, "message": 7}',
        ):
            channel.line.warning = ""
            assert (await channel.hook.hear(head(secret), body)).status == 200
            assert "could not be read" in channel.line.warning
        assert runtime.turns == []


async def test_a_refusal_for_now_is_no_answer_of_200() -> None:
    async with people() as telegram, called(telegram) as (channel, runtime, secret):
        assert channel.hook is not None
        runtime.refuses = lambda _turn: Overloaded("full")
        body = (
            b'{"update_id": 1, "message": {"message_id": 5, "chat": {"id": 1001, "type": '
            b'"private"}, "from": {"id": 1001, "is_bot": false}, "text": "hello"}}'
        )
        with pytest.raises(Overloaded):
            await channel.hook.hear(head(secret), body)
        runtime.refuses = lambda _turn: None
        assert (await channel.hook.hear(head(secret), body)).status == 200
        assert runtime.texts() == ["hello"]


async def test_a_webhook_that_somebody_else_takes_is_noticed() -> None:
    async with (
        people() as telegram,
        ending(telegram, webhook=True, webhook_check_s=1.0) as (channel, ends),
    ):
        await telegram.pulse.until(lambda: bool(telegram.called("setWebhook")))
        await api_of(telegram).ask("deleteWebhook")
        error = await ends()
        assert isinstance(error, Unreachable)
        assert error.reason == "conflict"
        assert "taken the webhook" in channel.line.warning


async def test_an_address_that_telegram_cannot_call_leads_to_where_it_is_configured() -> None:
    public = "http://bot.example.org/hooks/tg"
    async with people() as telegram, ending(telegram, hook_url=public, webhook=True) as (_, ends):
        error = await ends()
        assert isinstance(error, Rejected)
        assert "An HTTPS URL must be provided for webhook; see public_url of [http]" in str(error)


async def test_a_webhook_that_fails_is_told() -> None:
    async with people() as telegram, called(telegram) as (channel, _, _):
        telegram.user_says(ANN, ANN, "hello")  # nobody listens where the hook is said to be
        with trio.fail_after(10):
            while not channel.line.warning:  # noqa: ASYNC110  (nobody tells when it is set)
                await trio.sleep(0.05)
        assert "last call failed" in channel.line.warning
        checks = await channel.probe()
        assert [check.ok for check in checks] == [True, True, False]
        assert "could not call 127.0.0.1" in checks[2].detail
        # Once everything has arrived, Telegram still tells of the last call that failed.
        telegram.world.updates.clear()
        updates = (await channel.probe())[2]
        assert updates.ok
        assert "Connection failed" in updates.detail
