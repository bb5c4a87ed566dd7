"""A business written with a third party's library works against the fake unchanged."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from .places import peers_python
from .programs import Program
from .remote import run_client
from .whatsapp_fake import WhatsApp, open_whatsapp
from .whatsapp_fake_world import Seen

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def clients() -> None:
    """Skip here, before the loop runs: from inside it the reason would be lost."""
    peers_python()


ANN = "16505551234"


@asynccontextmanager
async def running() -> AsyncGenerator[tuple[WhatsApp, Program]]:
    """The platform, and pywa with its webhook registered there."""
    async with open_whatsapp() as whatsapp:
        world = whatsapp.world
        identity = (world.token, world.phone_id, world.app_id, world.app_secret)
        async with run_client("whatsapp_pywa", whatsapp.url, *identity) as business:
            await business.until(f"running +{world.phone}")
            await whatsapp.pulse.until(lambda: world.webhook.url != "")
            yield whatsapp, business


async def answers(whatsapp: WhatsApp, count: int) -> list[Seen]:
    """What the business has written once it is that much."""
    await whatsapp.pulse.until(lambda: len(whatsapp.heard(ANN)) >= count)
    return whatsapp.heard(ANN)


async def stops_well(whatsapp: WhatsApp, business: Program) -> None:
    """The business ends by itself, with nothing untold."""
    await whatsapp.pulse.until(lambda: whatsapp.posts_pending == 0)
    business.stop()
    await business.until("stopped")
    assert await business.ends() == 0


async def test_pywa_holds_a_conversation() -> None:
    async with running() as (whatsapp, business):
        asked = whatsapp.user_says(ANN, "grüß dich 🙂/")
        (answer,) = await answers(whatsapp, 1)
        assert (answer.text, answer.reply_to) == ("echo: grüß dich 🙂/", asked)
        assert whatsapp.seen(ANN)[0].reactions == ("👍",)
        assert whatsapp.is_read(asked)
        assert not whatsapp.typing(ANN)
        await business.until("status delivered")
        whatsapp.reads(ANN)
        await business.until("status read")

        whatsapp.user_sends(
            ANN, b"\x00\xffabc", name="Straße 1.txt", mime="text/plain", caption="what?"
        )
        back = (await answers(whatsapp, 2))[1]
        assert back.file is not None
        assert (back.file.content, back.file.name) == (b"cba\xff\x00", "back-Straße 1.txt")
        assert back.text == "what?"
        await stops_well(whatsapp, business)


async def test_pywa_reads_refusals_as_what_they_are() -> None:
    async with running() as (whatsapp, business):
        whatsapp.refuses_kind("text", code=131056)
        whatsapp.user_says(ANN, "too fast")
        assert (await business.until("waits")).startswith("waits 131056 Message failed to send")
        await answers(whatsapp, 1)

        whatsapp.refuses_kind("text", code=190, subcode=463)
        whatsapp.user_says(ANN, "who are you?")
        assert (await business.until("refused")).startswith("refused 190 401 Invalid OAuth")

        whatsapp.fails_later(whatsapp.heard(ANN)[0].message_id, 131047)
        await business.until("status failed 131047")
        await stops_well(whatsapp, business)


async def test_pywa_gets_what_was_posted_with_the_right_signature_only() -> None:
    async with running() as (whatsapp, business):
        whatsapp.hook.secret = "not the secret of the app"
        whatsapp.user_says(ANN, "forged")
        await whatsapp.pulse.until(lambda: len(whatsapp.hook.statuses) >= 1)
        assert whatsapp.hook.statuses[0] in (401, 403)
        assert whatsapp.heard(ANN) == []
        whatsapp.hook.secret = None
        (answer,) = await answers(whatsapp, 1)
        assert answer.text == "echo: forged"
        await stops_well(whatsapp, business)
