"""A bot on slack_sdk: `python slack_bot.py API_URL BOT_TOKEN APP_TOKEN`.

It answers each message of a human in its thread with `heard: TEXT`, what files say included; to
`file` with a file, to `draft` with a message that it edits, to `wink` with an emoji, to `recall TS`
by reading what was said since then in the channel, and in the thread of that message. It
acknowledges everything but the first delivery of a message that says `silent`. Standard output
says `connected`, `event ID TYPE SUBTYPE RETRY`, `recalled WHAT TEXT+REPLIES…`, and `refused ERROR`.
"""

# mypy: disable-error-code="import-not-found"
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import sys
import threading
from typing import Any
from urllib.request import Request, urlopen

from lines import say
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web import WebClient


class Bot:
    """Answers humans."""

    def __init__(self, url: str, bot_token: str, app_token: str) -> None:
        self._token = bot_token
        self._web = WebClient(bot_token, base_url=url)
        self._web.retry_handlers.append(RateLimitErrorRetryHandler(max_retry_count=2))
        self._me = self._web.auth_test()["user_id"]
        self.socket = SocketModeClient(app_token, web_client=WebClient(app_token, base_url=url))
        self.socket.socket_mode_request_listeners.append(self.hear)

    def hear(self, client: Any, request: Any) -> None:
        """Acknowledge an envelope, and answer what it brings."""
        payload = request.payload
        event = payload["event"]
        silent = event.get("text") == "silent" and not request.retry_attempt
        if not silent:
            client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        kind, subtype = event["type"], event.get("subtype", "-")
        say("event", payload["event_id"], kind, subtype, request.retry_attempt)
        said = kind == "message" and subtype in ("-", "file_share")
        if said and not silent and event["user"] != self._me:
            self._answer(event)

    def _answer(self, event: dict[str, Any]) -> None:
        channel, ts = event["channel"], event["ts"]
        thread = event.get("thread_ts", ts)
        if event["text"] == "file":
            self._web.files_upload_v2(
                channel=channel, thread_ts=thread, filename="sent.txt", content="sent"
            )
        elif event["text"] == "draft":
            draft = self._web.chat_postMessage(channel=channel, thread_ts=thread, text="dra")
            self._web.chat_update(channel=channel, ts=draft["ts"], text="draft")
        elif event["text"] == "wink":
            self._web.reactions_add(channel=channel, timestamp=ts, name="wink")
        elif event["text"].startswith("recall "):
            self._recall(channel, event["text"].partition(" ")[2])
        else:
            read = [f" {file['name']}={self._read(file)!r}" for file in event.get("files", ())]
            text = f"heard: {event['text']}{''.join(read)}"
            self._web.chat_postMessage(channel=channel, thread_ts=thread, text=text)

    def _recall(self, channel: str, since: str) -> None:
        """Say what stands in a channel, and in a thread, reading two messages at a time."""
        page = {"channel": channel, "oldest": since, "limit": 2}
        for what, pages in (
            ("channel", self._web.conversations_history(**page)),
            ("thread", self._web.conversations_replies(ts=since, **page)),
        ):
            # Its answers turn their own pages.
            said = [
                f"{message['text']}+{message.get('reply_count', 0)}"
                for answer in pages
                for message in answer["messages"]
                if message["ts"] != since and message["user"] != self._me
            ]
            say("recalled", what, *said)

    def _read(self, file: dict[str, Any]) -> bytes:
        headers = {"Authorization": f"Bearer {self._token}"}
        with urlopen(Request(file["url_private"], headers=headers), timeout=10) as answer:
            content: bytes = answer.read()
            return content


def main() -> None:
    """Run until standard input ends."""
    try:
        bot = Bot(*sys.argv[1:])
        bot.socket.connect()
    except SlackApiError as error:
        say("refused", error.response["error"])
        return
    say("connected")
    sys.stdin.read()
    bot.socket.close()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(timeout=0.1)


if __name__ == "__main__":
    main()
