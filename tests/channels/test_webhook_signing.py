"""Signatures of Standard Webhooks: the vector of the specification, and what is no signature."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.webhook_signing import SigningKey, Unsigned, presented_id, sign

from .webhook_program import IN, OLD, OUT, digest

# Of the reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # a published example
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def headers(signature: str = SIGNATURE, at: str = str(AT)) -> dict[str, str]:
    return {"webhook-id": MESSAGE_ID, "webhook-timestamp": at, "webhook-signature": signature}


def test_the_published_vector_is_made_and_verified() -> None:
    key = SigningKey(SECRET, "secret")
    assert sign([key], MESSAGE_ID, AT, BODY) == headers()
    key.verify(headers(), BODY)


def test_one_of_several_signatures_is_enough() -> None:
    key, old = SigningKey(IN, "secret"), SigningKey(OLD, "old_secret")
    both = sign([SigningKey(OUT, "other"), key], "m", AT, BODY)
    assert len(both["webhook-signature"].split(" ")) == 2
    key.verify(both, BODY)
    with pytest.raises(Unsigned):
        old.verify(both, BODY)


@given(st.binary(max_size=60), st.integers(0, 10**10))
def test_what_is_signed_here_is_what_others_verify(body: bytes, at: int) -> None:
    told = sign([SigningKey(IN, "secret")], "msg_1", at, body)
    assert told["webhook-signature"] == f"v1,{digest(IN, 'msg_1', str(at), body)}"


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "v1,",
        SIGNATURE[3:],
        SIGNATURE[:-1],
        SIGNATURE[:-2] + "=",
        SIGNATURE.replace("v1,", "v1a,"),
        SIGNATURE.replace("v1,", "v2,"),
        SIGNATURE.replace("v1,", "V1,"),
        SIGNATURE.replace("+", "-").replace("/", "_"),
        SIGNATURE + "=",
        "v1," + base64.b64decode(SIGNATURE[3:]).hex(),
        SIGNATURE.lower(),
        SIGNATURE.replace(" ", "") + ",",
        " ".join(["v1,AAAA"] * 8 + [SIGNATURE]),
    ],
)
def test_every_other_spelling_is_no_signature(signature: str) -> None:
    with pytest.raises(Unsigned):
        SigningKey(SECRET, "secret").verify(headers(signature), BODY)


def test_id_time_and_body_are_signed() -> None:
    key = SigningKey(SECRET, "secret")
    for changed in (
        headers() | {"webhook-id": MESSAGE_ID + "x"},
        headers() | {"webhook-timestamp": str(AT + 1)},
    ):
        with pytest.raises(Unsigned):
            key.verify(changed, BODY)
    with pytest.raises(Unsigned):
        key.verify(headers(), BODY.replace(b" ", b""))


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "ä", "x" * 257, "a\n"])
def test_an_id_that_could_be_read_in_two_ways_is_none(message_id: str) -> None:
    now = str(int(time.time()))
    with pytest.raises(Unsigned, match="webhook-id"):
        presented_id(headers(at=now) | {"webhook-id": message_id})
    assert presented_id(headers(at=now)) == MESSAGE_ID


@pytest.mark.parametrize("late_s", [-301, 301, 10**9])
def test_a_time_outside_of_five_minutes_is_none(late_s: int) -> None:
    with pytest.raises(Unsigned, match="five minutes"):
        presented_id(headers(at=str(int(time.time()) + late_s)))


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_dG9vIHNob3J0",
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_not base64 at all, not at all !!",
        "whpk_" + base64.b64encode(bytes(32)).decode(),
        " " + SECRET,
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSä",
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^outbound_secret ") as refused:
        SigningKey(secret, "outbound_secret")
    assert len(secret) < 7 or secret[6:] not in str(refused.value)


def test_a_key_is_not_shown() -> None:
    assert SECRET[6:] not in repr(SigningKey(SECRET, "secret"))
