import copy
import gc
import io
import json
import logging
import pickle
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.secret import MASK, Secret, redact

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler at the root writes while the talkative loggers are at DEBUG."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    names = ("httpx", "httpcore.http11", "hypercorn.error", "trio-websocket")
    root.addHandler(handler)
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield stream
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    root.removeHandler(handler)


def test_nothing_shows_a_secret_but_reveal() -> None:
    secret = Secret.of(TOKEN, "token")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>60}", f"{secret!r}", repr([secret])]
    assert all(TOKEN not in text and MASK in text for text in shown)
    assert secret.reveal() == TOKEN


def test_no_encoder_writes_a_secret() -> None:
    secret = Secret.of(TOKEN, "token")
    with pytest.raises(TypeError):
        json.dumps(secret)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(secret, protocol)


def test_a_copy_of_a_secret_is_the_secret() -> None:
    secret = Secret.of(TOKEN, "token")
    assert copy.copy(secret) is copy.deepcopy([secret])[0] is Secret.of(secret, "token") is secret


@pytest.mark.parametrize(
    "value",
    ["", "  ", "\t", " token", "token\n", "to\nken", "to\x00ken", "tökén", None, 7, b"x", "abc"],
)
def test_what_cannot_be_a_secret_is_refused_by_its_key_and_not_shown(value: object) -> None:
    with pytest.raises(ValueError, match="bot_token") as caught:
        Secret.of(value, "bot_token")
    assert str(value).strip() == "" or repr(value) not in str(caught.value)


@given(st.text(max_size=20) | st.binary(max_size=20))
def test_only_the_secret_itself_matches(other: str | bytes) -> None:
    secret = Secret("correct horse")
    assert not secret.matches(other)
    assert secret.matches("correct horse")
    assert secret.matches(b"correct horse")


def test_a_secret_is_hidden_from_the_urls_that_others_log(written: io.StringIO) -> None:
    secret = Secret.of(TOKEN, "token")
    url = f"https://api.example.org/bot{secret.reveal()}/send"
    logging.getLogger("httpx").info('HTTP Request: %s %s "%s %d"', "POST", url, "HTTP/1.1", 200)
    logging.getLogger("httpcore.http11").debug("send_request_headers.started %r", [url.encode()])
    logging.getLogger("hypercorn.error").error("GET /%s", quote(TOKEN, safe=""))
    logging.getLogger("trio-websocket").debug("headers %s", [("authorization", TOKEN)])
    assert written.getvalue().count(MASK) == 4
    assert "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw" not in written.getvalue()


def test_a_secret_is_hidden_from_logged_exceptions(written: io.StringIO) -> None:
    secret = Secret.of(TOKEN, "token")
    try:
        raise ValueError(f"no such host: {secret.reveal()}")
    except ValueError:
        logging.getLogger("httpx").exception("it failed", stack_info=True)
    assert TOKEN not in written.getvalue()
    assert f"ValueError: no such host: {MASK}" in written.getvalue()


@pytest.mark.parametrize("name", ["turnkeeper", "turnkeeper.channels", "turnkeeper.channels.mine"])
def test_a_secret_is_hidden_from_what_we_log_of_a_channel(name: str, written: io.StringIO) -> None:
    logger = logging.getLogger(name)
    secret = Secret.of(TOKEN, "token")
    try:
        raise ExceptionGroup("of a nursery", [ValueError(f"no such host: {secret.reveal()}")])
    except ExceptionGroup:
        logger.exception("the channel broke")
    assert TOKEN not in written.getvalue()
    assert f"ValueError: no such host: {MASK}" in written.getvalue()


@pytest.mark.parametrize("around", ["{}", "it's {}", '"{}"', 'it\'s "{}"'])
def test_a_secret_is_hidden_from_literals_whatever_quotes_are_around_it(around: str) -> None:
    secret = Secret("correct'horse\\battery")
    for shown in (repr(around.format(secret.reveal())), repr(around.format("é" + secret.reveal()))):
        assert "horse" not in redact(shown)


def test_what_holds_no_secret_is_logged_untouched(written: io.StringIO) -> None:
    secret = Secret.of(TOKEN, "token")
    logging.getLogger("httpx").info("%s of %d", "one", 2)
    assert written.getvalue() == "one of 2\n"
    assert secret.reveal() == TOKEN


def test_the_filter_is_put_on_a_logger_once() -> None:
    kept = [Secret(f"secret-{number}") for number in range(5)]
    filters = [kind for kind in logging.getLogger("httpx").filters if "Redaction" in repr(kind)]
    assert len(filters) == 1
    assert len(kept) == 5


def test_of_two_secrets_the_longer_is_hidden_whole() -> None:
    kept = [Secret("abcd"), Secret("abcdefgh")]
    assert redact("abcdefgh and abcd") == f"{MASK} and {MASK}"
    assert len(kept) == 2


def test_a_secret_that_nobody_holds_is_forgotten() -> None:
    secret = Secret("only-for-a-while")
    assert redact("only-for-a-while") == MASK
    del secret
    gc.collect()
    assert redact("only-for-a-while") == "only-for-a-while"


def test_an_account_is_the_same_for_the_same_secret_and_does_not_tell_it() -> None:
    account = Secret("a token").account()
    assert account == Secret("a token").account()
    assert account != Secret("another token").account()
    assert re.fullmatch("[0-9a-f]{32}", account)
