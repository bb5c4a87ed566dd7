"""A Telegram channel that runs, among people on a Telegram of our own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from turnkeeper import (
    Address,
    Outbound,
    OutboundFile,
)
from turnkeeper.actors.messages import DeliveryId, Instance
from turnkeeper.channels.base import ChannelError
from turnkeeper.channels.secret import Secret
from turnkeeper.channels.telegram import TelegramChannel
from turnkeeper.channels.telegram_api import TelegramApi

from ..peers.telegram_fake import TOKEN, Telegram, open_telegram
from .given import Runtime
from .telegram_platform import ANN, BEN, GROUP, HASTY

__all__ = ["TG", "api_of", "ending", "file", "hearing", "make", "people", "saying"]


TG: Final = Instance("tg")


def make(telegram: Telegram, name: str = "tg", **keys: Any) -> TelegramChannel:
    keys = {"token": TOKEN, "api_url": telegram.url, "rates": HASTY, **keys}
    return TelegramChannel(name, **keys)


def api_of(telegram: Telegram) -> TelegramApi:
    """What somebody else can do with the same token."""
    return TelegramApi(telegram.url, Secret(TOKEN), HASTY)


@asynccontextmanager
async def people(**options: Any) -> AsyncGenerator[Telegram]:
    async with open_telegram(**options) as telegram:
        telegram.opens_private(ANN)
        telegram.opens_private(BEN)
        telegram.opens_chat(GROUP)
        yield telegram


@asynccontextmanager
async def hearing(
    telegram: Telegram, **keys: Any
) -> AsyncGenerator[tuple[TelegramChannel, Runtime]]:
    channel, runtime = make(telegram, **keys), Runtime()
    runtime.serve(channel)
    async with trio.open_nursery() as nursery:
        await telegram.pulse.until(lambda: not telegram.polling)
        nursery.start_soon(channel.run, runtime.deliver)
        await telegram.pulse.until(lambda: telegram.polling)
        yield channel, runtime
        nursery.cancel_scope.cancel()
    assert runtime.again == []


@asynccontextmanager
async def ending(
    telegram: Telegram, *, hook_url: str = "http://127.0.0.1:9/hooks/tg", **keys: Any
) -> AsyncGenerator[tuple[TelegramChannel, Callable[[], Awaitable[ChannelError]]]]:
    """A channel that runs, and how to wait for what ends it."""
    channel = make(telegram, **keys)
    channel.hook_url = hook_url
    errors, ended = list[ChannelError](), trio.Event()

    async def run() -> None:
        try:
            await channel.run(Runtime().deliver)
        except ChannelError as error:
            errors.append(error)
        ended.set()

    async def ends() -> ChannelError:
        with trio.fail_after(10):
            await ended.wait()
        return errors[0]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield channel, ends
        nursery.cancel_scope.cancel()


def saying(text: str, conversation: int = ANN, **more: Any) -> Outbound:
    thread = more.pop("thread", None)
    return Outbound(
        delivery_id=DeliveryId("s1/2"),
        address=Address(TG, str(conversation), thread),
        text=text,
        **more,
    )


def file(content: bytes, kind: str, mime: str, name: str) -> OutboundFile:
    async def read() -> bytes:
        return content

    return OutboundFile(kind=kind, size_bytes=len(content), read=read, mime=mime, name=name)
