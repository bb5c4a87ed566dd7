# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# The libraries are installed where this runs, and not where it is checked.

"""A business as pywa's users write one: it echoes, reacts, and turns documents around.

Runs in the peers' environment: `whatsapp_pywa.py URL TOKEN PHONE_ID APP_ID APP_SECRET`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from functools import partial

import httpx
from hypercorn.asyncio import serve
from hypercorn.config import Config
from lines import say
from pywa import WhatsApp, filters
from pywa import handlers as client_handlers
from pywa.errors import TooManyMessages, WhatsAppError
from pywa.types import Message, MessageStatus
from starlette.applications import Starlette


class Detour(httpx.HTTPTransport):
    """Takes requests for Meta's servers to the fake; pywa itself knows of none other."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = httpx.URL(url)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on."""
        if request.url.host == "graph.facebook.com":
            request.url = request.url.copy_with(
                scheme="http", host=self._url.host, port=self._url.port
            )
        return super().handle_request(request)


def echo(client: WhatsApp, message: Message) -> None:
    """Show to be typing, react, and answer."""
    message.indicate_typing()
    message.react("👍")
    while True:
        try:
            message.reply_text(f"echo: {message.text}", quote=True)
            return
        except TooManyMessages as error:
            say("waits", error.code, error.details)
            time.sleep(0.1)
        except WhatsAppError as error:
            say("refused", error.code, error.status_code, error.message)
            return


def turn_around(client: WhatsApp, message: Message) -> None:
    """Send a document back, the last byte first."""
    content = message.document.get_bytes()
    message.reply_document(
        content[::-1],
        filename=f"back-{message.document.filename}",
        caption=message.caption,
        mime_type=message.document.mime_type,
    )


def status(client: WhatsApp, told: MessageStatus) -> None:
    """Say what has become of a message."""
    say("status", told.status.value, told.error.code if told.error else "")


async def main() -> None:
    """Serve the webhook until a signal."""
    url, token, phone_id, app_id, app_secret = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", 0))
    application = Starlette()
    client = WhatsApp(
        phone_id=phone_id,
        token=token,
        session=httpx.Client(transport=Detour(url)),
        server=application,
        callback_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
        webhook_endpoint="/hook",
        verify_token="a verify token",
        app_id=int(app_id),
        app_secret=app_secret,
        webhook_challenge_delay=1,
    )
    client.add_handlers(
        *(
            handler(callback, filters=wanted)
            for handler, callback, wanted in (
                (client_handlers.MessageHandler, echo, filters.text),
                (client_handlers.MessageHandler, turn_around, filters.document),
                (client_handlers.MessageStatusHandler, status, None),
            )
        )
    )
    number = client.get_business_phone_number()
    say("running", number.display_phone_number)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    await serve(application, config, shutdown_trigger=partial(ended.wait))
    say("stopped")


if __name__ == "__main__":
    asyncio.run(main())
