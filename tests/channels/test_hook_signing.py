import base64
import hashlib
import hmac
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.hook_signing import is_fresh, signature_fits, signature_of
from turnkeeper.channels.secret import Secret

SECRET = Secret("shhh, a secret")
# RFC 4231, test case 2.
KNOWN = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"


def sign(body: bytes) -> bytes:
    return hmac.new(SECRET.reveal().encode(), body, hashlib.sha256).digest()


def test_a_known_signature_fits() -> None:
    assert signature_fits(Secret("Jefe"), b"what do ya want for nothing?", KNOWN)


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=64))
def test_what_is_signed_here_fits_with_a_secret_of_bytes_too(body: bytes, key: bytes) -> None:
    assert signature_fits(key, body, signature_of(key, body))
    assert signature_of(SECRET, body) == signature_of(SECRET.reveal().encode(), body)
    packed = signature_of(key, body, spelling="base64")
    assert signature_fits(key, body, f"v1,{packed}", prefix="v1,", spelling="base64")


@given(st.binary(max_size=40), st.sampled_from(["", "sha256=", "v0="]))
def test_what_was_signed_fits(body: bytes, prefix: str) -> None:
    presented = prefix + sign(body).hex()
    assert signature_fits(SECRET, body, presented, prefix=prefix)
    packed = prefix + base64.b64encode(sign(body)).decode()
    assert signature_fits(SECRET, body, packed, prefix=prefix, spelling="base64")


@given(st.binary(max_size=40), st.integers(0, 39), st.integers(1, 255))
def test_a_body_with_one_byte_changed_does_not_fit(body: bytes, at: int, change: int) -> None:
    changed = bytearray(body + b"\0" * 40)
    changed[at] ^= change
    assert not signature_fits(SECRET, bytes(changed), sign(body + b"\0" * 40).hex())


BODY = b'{"a": 1}'
HEX = sign(BODY).hex()
BASE64 = base64.b64encode(sign(BODY)).decode()


@pytest.mark.parametrize(
    "presented",
    [
        "",
        HEX,
        "sha256=",
        f"sha256={HEX.upper()}",
        f"SHA256={HEX}",
        f"sha1={HEX}",
        f"sha256={HEX[:-2]}",
        f"sha256={HEX}00",
        f"sha256={HEX} ",
        f" sha256={HEX}",
        f"sha256={HEX}, sha256={HEX}",
        f"sha256={'0' * 64}",
        f"sha256={BASE64}",
        "sha256=é",
        "\udc80",
    ],
)
def test_every_other_spelling_is_wrong(presented: str) -> None:
    assert signature_fits(SECRET, BODY, f"sha256={HEX}", prefix="sha256=")
    assert not signature_fits(SECRET, BODY, presented, prefix="sha256=")


@pytest.mark.parametrize(
    "presented", [BASE64.rstrip("="), BASE64 + "=", BASE64 + "\n", HEX, BASE64[:-2] + "E="]
)
def test_every_other_base64_of_the_same_bytes_is_wrong(presented: str) -> None:
    assert not signature_fits(SECRET, BODY, presented, spelling="base64")


def test_the_base64_of_urls_is_wrong() -> None:
    number = next(n for n in range(999) if {*b"+/"} & {*base64.b64encode(sign(b"%d" % n))})
    body = b"%d" % number
    spelling: Literal["base64"] = "base64"
    for_urls = base64.urlsafe_b64encode(sign(body)).decode()
    assert not signature_fits(SECRET, body, for_urls, spelling=spelling)


@pytest.mark.parametrize(
    ("timestamp", "fresh"),
    [
        ("1000", True),
        ("700", True),
        ("699", False),
        ("1300", True),
        ("1301", False),
        ("", False),
        ("-1000", False),
        ("+1000", False),
        ("1e3", False),
        ("1000.0", False),
        (" 1000", False),
        ("1000\n", False),
        ("1_000", False),
        ("١٠٠٠", False),
        ("9" * 400, False),
    ],
)
def test_only_digits_near_the_present_are_fresh(timestamp: str, fresh: bool) -> None:
    assert is_fresh(timestamp, now_s=1_000.0) is fresh


def test_without_a_time_the_clock_decides() -> None:
    assert not is_fresh("1000")
