import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.whatsapp_identity import canonical_user_id

SPACERS = st.text(" ().-", max_size=3)
NUMBERS = st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True, alphabet="0123456789")
LIKELY = st.text("+0123456789 ().-a\u0661\uff0b", min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("+15551234567", "15551234567"),
        ("+1 (555) 123-4567", "15551234567"),
        ("+1.555.123.4567", "15551234567"),
        ("+ 1 555 123 4567", "15551234567"),
        ("15551234567", "15551234567"),
        ("+6834000", "6834000"),
        ("+123456789012345", "123456789012345"),
    ],
)
def test_a_number_in_international_form_is_its_digits(written: str, canonical: str) -> None:
    assert canonical_user_id(written) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "0015551234567",  # dialled, and not everywhere for the same
        "(555) 123-4567",  # national, of who knows which country
        "555-123-4567",
        "+44 (0)20 7946 0958",
        "+39 ( 0)6 123 4567",
        "+05551234567",
        "+123456",
        "+1234567890123456",
        "+1",
        "1",
        "01",
        "+",
        "+-",
        "++15551234567",
        "+1 555 123 4567 ",
        " +15551234567",
        "+15551234567\n",
        "+1 555 123 4567 ext 1",
        "+1555CALLNOW",
        "US.13491208655302741918",
        "US.+15551234567",
        "15551234567@s.whatsapp.net",
        "+\u0661\u0665\u0665\u0665\u0661\u0662\u0663\u0664\u0665\u0666\u0667",
        "+1555123456\uff17",
        "\uff0b15551234567",
        "+1\u200b5551234567",
        "+1\u00a05551234567",
        "+1\u20115551234567",
    ],
)
def test_what_is_not_surely_an_international_number_stays_exactly_as_it_is(text: str) -> None:
    assert canonical_user_id(text) == text


def test_nobody_has_an_empty_id() -> None:
    with pytest.raises(ValueError, match="empty"):
        canonical_user_id("")


@given(st.text(min_size=1) | LIKELY)
def test_a_canonical_id_is_its_own_canonical_form(text: str) -> None:
    canonical = canonical_user_id(text)
    assert canonical_user_id(canonical) == canonical


@given(st.text(min_size=1) | LIKELY)
def test_nothing_is_left_out_but_the_plus_and_what_stands_between_digits(text: str) -> None:
    canonical = canonical_user_id(text)
    if canonical != text:
        assert re.fullmatch("[1-9][0-9]{6,14}", canonical)
        assert text.startswith("+")
        assert [char for char in text if char not in "+ ().-"] == list(canonical)


@given(NUMBERS, NUMBERS, st.lists(SPACERS, min_size=15, max_size=15))
def test_two_numbers_are_one_user_only_if_they_are_one_number(
    one: str, other: str, spacers: list[str]
) -> None:
    written = "+" + "".join(spacer + digit for spacer, digit in zip(spacers, other, strict=False))
    if not re.search(r"\( *0", written):
        assert canonical_user_id(written) == other
    assert (canonical_user_id(one) == canonical_user_id(written)) <= (one == other)
