"""One-time codes, and how often anybody may try them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.codes import (
    ACCESS_CODE_S,
    ALPHABET,
    CODE_BYTES,
    CODE_CHARS,
    LINK_CODE_S,
    LOCKED_S,
    LONGEST_LOCK_S,
    MAX_ISSUED,
    MAX_PENDING,
    MAX_WRONG,
    REDEMPTIONS,
    SALT_BYTES,
    WINDOW_S,
    Attempts,
    CodeKind,
    PendingCode,
    RateLimit,
    after_issue,
    after_right,
    after_wrong,
    find,
    is_blank,
    is_expired,
    is_locked,
    make_code,
    read_attempts,
    read_code,
    read_pending,
    seal,
    show_code,
)
from turnkeeper.actors.core.records import MalformedRecord
from turnkeeper.actors.messages import Address, InboundTurn, Instance
from turnkeeper.storage.codec import decode, encode

S = 1_000_000
NOW = 1_800_000_000 * S
SALT = bytes(range(SALT_BYTES))
CODE = "ABCDEFGH"
TURN = InboundTurn(
    address=Address(instance=Instance("tg"), conversation="c1", thread="t1"),
    platform="telegram",
    message_id="m1",
    user_id="u1",
    user_name="Bob",
    text="/link",
)
PENDING = seal(CODE, SALT, "link", TURN, NOW)
FRESH = Attempts()

codes = st.text(alphabet=ALPHABET, min_size=CODE_CHARS, max_size=CODE_CHARS)
names = st.text(alphabet=st.characters(exclude_categories=()), min_size=1, max_size=20)
turns = st.builds(
    InboundTurn,
    address=st.builds(Address, instance=names, conversation=names, thread=st.none() | names),
    platform=names,
    message_id=names,
    user_id=names,
    user_name=st.none() | names,
    text=st.just("/link"),
)
kinds: st.SearchStrategy[CodeKind] = st.sampled_from(["link", "access"])


# Making and reading


@given(st.binary(min_size=CODE_BYTES, max_size=CODE_BYTES))
def test_a_code_stands_for_its_random_bytes_and_no_others(random: bytes) -> None:
    bits = 0
    for character in make_code(random):
        bits = bits * 32 + ALPHABET.index(character)
    assert bits.to_bytes(CODE_BYTES, "big") == random


@pytest.mark.parametrize("position", range(CODE_CHARS))
def test_at_each_position_each_character_comes_of_as_many_random_bytes(position: int) -> None:
    high_bit = 40 - 5 * position
    seen: Counter[str] = Counter()
    for value in range(1024):
        # Ten bits, of which the five of this position are some, go through all of their values.
        bits = value << max(0, high_bit - 10)
        seen[make_code(bits.to_bytes(CODE_BYTES, "big"))[position]] += 1
    assert set(seen) == set(ALPHABET)
    assert set(seen.values()) == {32}


@pytest.mark.parametrize("size", [0, CODE_BYTES - 1, CODE_BYTES + 1])
def test_a_code_takes_as_many_random_bytes_as_are_said(size: int) -> None:
    with pytest.raises(ValueError, match=f"5 random bytes, not {size}"):
        make_code(bytes(size))


def test_no_two_characters_look_alike() -> None:
    assert len(set(ALPHABET)) == 32
    assert not set("01OI") & set(ALPHABET)
    assert re.fullmatch("[0-9A-Z]+", ALPHABET)


@given(codes, st.data())
def test_a_code_is_read_whatever_its_case_spaces_and_hyphens(
    code: str, data: st.DataObject
) -> None:
    typed = "".join(
        data.draw(st.sampled_from([c, c.lower(), f" {c}", f"-{c}", f"{c} - "])) for c in code
    )
    assert read_code(typed) == code
    assert read_code(show_code(code)) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ABCDEFG",
        "ABCDEFGHJ",
        "ABCDEFG0",
        "ABCDEFGO",
        "ABCDEFG1",
        "ABCDEFGI",
        "ABCD_EFGH",
        "ABCD.EFGH",
        "ABCD\nEFGH",
        "ABCD\tEFGH",
        "ABCD\u2011EFGH",
        "ABCD\u00a0EFGH",
        "ABCD\u200bEFGH",
        "ABCDEFGſ",
        "АBCDEFGH",
        "ＡBCDEFGH",
        "ABCDEFG２",
        "ABCDEFGH" * 2,
        "ABCDEFGH" + " " * 57,
        "-" * 10_000_000,
    ],
    ids=repr,
)
def test_what_is_no_code_is_read_as_none(text: str) -> None:
    assert read_code(text) is None


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=20))
def test_whatever_is_read_is_a_code(text: str) -> None:
    code = read_code(text)
    assert code is None or (len(code) == CODE_CHARS and set(code) <= set(ALPHABET))


def test_a_code_is_shown_in_two_groups() -> None:
    assert show_code("ABCDEFGH") == "ABCD-EFGH"


# What is stored


@given(codes, st.binary(min_size=16, max_size=16), kinds, turns, st.integers(0, 2**53))
def test_a_sealed_code_comes_back_from_the_disk_and_is_found(
    code: str, salt: bytes, kind: CodeKind, turn: InboundTurn, now_us: int
) -> None:
    pending = seal(code, salt, kind, turn, now_us)
    again = read_pending(decode(encode(tuple(pending))))
    assert again == pending
    assert find([again], code, now_us) == pending


def test_a_sealed_code_says_whom_it_was_made_for_and_for_how_long() -> None:
    link, access = PENDING, seal(CODE, SALT, "access", TURN, NOW)
    assert link.expires_us - link.made_us == LINK_CODE_S * S
    assert access.expires_us - access.made_us == ACCESS_CODE_S * S
    assert link[:2] == ("link", SALT)
    assert link[5:] == ("telegram", "u1", "Bob", "tg", "c1", "t1")


def test_what_is_stored_and_what_is_shown_of_it_hold_no_code() -> None:
    stored = encode(tuple(PENDING))
    for form in (CODE, show_code(CODE)):
        assert form.encode() not in stored
        assert form not in repr(PENDING)


def test_the_repr_shows_neither_salt_nor_digest() -> None:
    shown = f"{PENDING!r} {PENDING!s} {PENDING}"
    for secret in (PENDING.salt, PENDING.digest):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    assert "salt" not in shown
    assert "digest" not in shown
    assert "user_id='u1'" in shown


def test_the_same_code_is_stored_differently_each_time() -> None:
    digests = {seal(CODE, bytes([n]) * SALT_BYTES, "link", TURN, NOW).digest for n in range(50)}
    assert len(digests) == 50


@pytest.mark.parametrize("code", ["", "abcdefgh", "ABCD-EFGH", "ABCDEFG0", "ABCDEFGHJ"])
def test_only_a_code_is_sealed_and_the_error_does_not_repeat_it(code: str) -> None:
    with pytest.raises(ValueError, match="a code has 8 characters") as caught:
        seal(code, SALT, "link", TURN, NOW)
    assert not code or code not in str(caught.value)


@pytest.mark.parametrize("size", [0, 15, 17, 64])
def test_a_code_is_sealed_with_a_whole_salt_only(size: int) -> None:
    with pytest.raises(ValueError, match=f"16 bytes, not {size}"):
        seal(CODE, bytes(size), "link", TURN, NOW)


WRONG_VALUES: dict[str, list[Any]] = {
    "kind": [None, "", "links", "LINK", b"link", 1, ["link"], {}],
    "salt": [None, b"", bytes(15), bytes(17), "x" * 16, [0] * 16],
    "digest": [None, b"", bytes(31), bytes(33), "x" * 32, [0] * 32],
    "made_us": [None, -1, 2**63, True, 1.0, "1", b"1"],
    "expires_us": [None, -1, 2**63, True, 1e18, "1", b"1"],
    "platform": [None, "", b"telegram", 1, ["telegram"]],
    "user_id": [None, "", b"u1", 1, True, ["u1"]],
    "user_name": [b"Bob", 1, ["Bob"]],
    "instance": [None, "", b"tg", 1],
    "conversation": [None, "", b"c1", 1],
    "thread": ["", b"t1", 1],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, bad in WRONG_VALUES.items() for value in bad]
)
def test_a_pending_code_with_a_wrong_field_is_refused_by_its_name_alone(
    field: str, value: Any
) -> None:
    payload = list(PENDING._replace(**{field: value}))
    with pytest.raises(MalformedRecord, match=f"no sound .*{field}$") as caught:
        read_pending(payload)
    assert repr(PENDING.digest) not in str(caught.value)


def test_every_field_of_a_pending_code_is_checked() -> None:
    assert set(WRONG_VALUES) == set(PendingCode._fields)


@pytest.mark.parametrize(
    "payload",
    [None, 1, "x" * 11, b"x" * 11, {}, [], [*PENDING, None], list(PENDING)[:-1]],
    ids=repr,
)
def test_what_is_no_pending_code_is_refused(payload: object) -> None:
    with pytest.raises(MalformedRecord):
        read_pending(payload)


# Finding


class Counted:
    """Candidates that know how many of them were taken, and whether all were."""

    def __init__(self, candidates: Iterable[PendingCode]) -> None:
        self.candidates = list(candidates)
        self.taken = 0
        self.exhausted = False

    def __iter__(self) -> Iterator[PendingCode]:
        for candidate in self.candidates:
            self.taken += 1
            yield candidate
        self.exhausted = True


def many(count: int, seed: int = 1) -> list[tuple[str, PendingCode]]:
    rng = Random(seed)
    made: list[tuple[str, PendingCode]] = []
    for _ in range(count):
        code = make_code(rng.randbytes(CODE_BYTES))
        made.append((code, seal(code, rng.randbytes(SALT_BYTES), "link", TURN, NOW)))
    return made


@pytest.mark.parametrize("place", [0, 10, 19, None])
@pytest.mark.parametrize("late_s", [0, LINK_CODE_S])
def test_a_code_is_compared_with_every_candidate_wherever_it_is_found(
    place: int | None, late_s: int
) -> None:
    made = many(20)
    candidates = Counted(pending for _, pending in made)
    code = "ZZZZZZZZ" if place is None else made[place][0]
    found = find(candidates, code, NOW + late_s * S)
    assert found == (None if place is None or late_s else made[place][1])
    assert candidates.taken == 20
    assert candidates.exhausted


def test_each_of_as_many_codes_as_can_wait_is_found_and_no_other() -> None:
    made = many(MAX_PENDING)
    pending = [sealed for _, sealed in made]
    for place in (0, 499, MAX_PENDING - 1):
        code, sealed = made[place]
        assert find(pending, code, NOW) is sealed
        assert find(pending[:place] + pending[place + 1 :], code, NOW) is None


@pytest.mark.parametrize(
    ("after_us", "is_there"),
    [(0, True), (LINK_CODE_S * S - 1, True), (LINK_CODE_S * S, False), (2**60, False)],
)
def test_a_code_is_worth_nothing_from_the_moment_it_expires(after_us: int, is_there: bool) -> None:
    assert (find([PENDING], CODE, NOW + after_us) == PENDING) is is_there
    assert is_expired(PENDING, NOW + after_us) is not is_there


def test_nothing_is_found_among_nothing() -> None:
    assert find([], CODE, NOW) is None


@given(codes)
def test_another_code_does_not_fit(code: str) -> None:
    assert find([PENDING], code, NOW) == (PENDING if code == CODE else None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "access"),
        ("salt", bytes(SALT_BYTES)),
        ("digest", bytes(32)),
        ("made_us", NOW + 1),
        ("expires_us", NOW + 10 * LINK_CODE_S * S),
        ("platform", "discord"),
        ("user_id", "u2"),
        ("user_name", None),
        ("instance", "tg2"),
        ("conversation", "c2"),
        ("thread", None),
    ],
)
def test_a_stored_code_that_was_changed_or_given_to_another_fits_no_code(
    field: str, value: Any
) -> None:
    changed = read_pending(list(PENDING._replace(**{field: value})))
    assert find([changed], CODE, NOW) is None


# How often anybody may try


def wrong_times(count: int, attempts: Attempts = FRESH, at_us: int = NOW) -> Attempts:
    for _ in range(count):
        attempts = after_wrong(attempts, at_us)
    return attempts


def test_the_last_wrong_code_that_is_allowed_locks_for_as_long_as_is_said() -> None:
    almost = wrong_times(MAX_WRONG - 1)
    assert not is_locked(almost, NOW)
    locked = after_wrong(almost, NOW)
    assert is_locked(locked, NOW)
    assert is_locked(locked, NOW + LOCKED_S * S - 1)
    assert not is_locked(locked, NOW + LOCKED_S * S)


def test_a_wrong_code_while_locked_changes_nothing() -> None:
    locked = wrong_times(MAX_WRONG)
    assert after_wrong(locked, NOW + 1) is locked


def test_each_lock_in_a_row_is_twice_as_long_up_to_a_day() -> None:
    attempts, now_us = Attempts(), NOW
    locks_s: list[int] = []
    for _ in range(12):
        attempts = wrong_times(MAX_WRONG, attempts, now_us)
        locks_s.append((attempts.locked_until_us - now_us) // S)
        now_us = attempts.locked_until_us
    assert locks_s == [900 * 2**n for n in range(7)] + [LONGEST_LOCK_S] * 5


def test_wrong_codes_are_forgotten_after_their_window() -> None:
    almost = wrong_times(MAX_WRONG - 1)
    assert is_locked(after_wrong(almost, NOW + WINDOW_S * S - 1), NOW + WINDOW_S * S - 1)
    later = NOW + WINDOW_S * S
    assert after_wrong(almost, later) == Attempts(since_us=later, wrong=1)


def test_a_day_after_a_lock_the_next_one_is_short_again() -> None:
    locked = wrong_times(MAX_WRONG)
    early = locked.locked_until_us + LONGEST_LOCK_S * S - 1
    assert wrong_times(MAX_WRONG, locked, early).lockouts == 2
    assert wrong_times(MAX_WRONG, locked, early + 1).lockouts == 1


def test_codes_of_ones_own_in_between_buy_no_more_guesses() -> None:
    attempts = Attempts()
    for guess in range(MAX_WRONG):
        assert not is_locked(attempts, NOW + guess)
        attempts = after_right(after_wrong(attempts, NOW + guess), NOW + guess)
    assert is_locked(attempts, NOW + MAX_WRONG)


def test_a_right_code_makes_the_next_lock_a_short_one() -> None:
    once = wrong_times(MAX_WRONG)
    later = once.locked_until_us
    again = wrong_times(MAX_WRONG, after_right(once, later), later)
    assert again.locked_until_us == later + LOCKED_S * S


def test_an_identity_gets_so_many_codes_in_a_window_and_no_more() -> None:
    attempts: Attempts | None = Attempts()
    for number in range(MAX_ISSUED):
        assert attempts is not None
        attempts = after_issue(attempts, NOW + number)
    assert attempts is not None
    assert after_issue(attempts, NOW + WINDOW_S * S - 1) is None
    later = NOW + WINDOW_S * S
    assert after_issue(attempts, later) == Attempts(since_us=later, issued=1)


def test_codes_asked_for_and_wrong_codes_do_not_count_for_each_other() -> None:
    attempts = wrong_times(MAX_WRONG - 1)
    for _ in range(MAX_ISSUED):
        issued = after_issue(attempts, NOW)
        assert issued is not None
        attempts = issued
    assert attempts.wrong == MAX_WRONG - 1
    assert after_wrong(attempts, NOW).issued == MAX_ISSUED


def test_a_clock_that_goes_backwards_forgives_nothing() -> None:
    locked = wrong_times(MAX_WRONG)
    assert is_locked(locked, NOW - 10**12)
    almost = wrong_times(MAX_WRONG - 1)
    assert is_locked(after_wrong(almost, NOW - 10**12), NOW - 10**12)


@given(st.lists(st.integers(0, 3 * WINDOW_S * S // 2), max_size=200))
def test_however_guesses_are_spread_few_are_looked_at(pauses_us: list[int]) -> None:
    attempts, now_us = Attempts(), NOW
    judged: list[int] = []
    for pause_us in pauses_us:
        now_us += pause_us
        if not is_locked(attempts, now_us):
            judged.append(now_us)
            attempts = after_wrong(attempts, now_us)
    for moment in judged:
        within = [other for other in judged if moment <= other < moment + LOCKED_S * S]
        assert len(within) < 2 * MAX_WRONG


def test_attempts_may_be_forgotten_once_nothing_of_them_counts() -> None:
    assert is_blank(Attempts(), NOW)
    once = after_wrong(Attempts(), NOW)
    assert not is_blank(once, NOW + WINDOW_S * S - 1)
    assert is_blank(once, NOW + WINDOW_S * S)
    locked = wrong_times(MAX_WRONG)
    over_us = locked.locked_until_us + LONGEST_LOCK_S * S
    assert not is_blank(locked, over_us - 1)
    assert is_blank(locked, over_us)


@given(st.builds(Attempts, *[st.integers(0, 2**63 - 1)] * 5), st.integers(0, 2**63 - 1))
def test_attempts_come_back_from_the_disk_and_any_of_them_can_be_judged(
    attempts: Attempts, now_us: int
) -> None:
    again = read_attempts(decode(encode(tuple(attempts))))
    assert again == attempts
    if not is_locked(again, now_us):
        after = after_wrong(again, now_us)
        assert after.locked_until_us <= max(again.locked_until_us, now_us + LONGEST_LOCK_S * S)


@pytest.mark.parametrize(
    "payload",
    [
        None,
        0,
        b"",
        "00000",
        {},
        [],
        [0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
        *(
            [0] * place + [bad] + [0] * (4 - place)
            for place in range(5)
            for bad in (-1, None, True)
        ),
        [0, 0.0, 0, 0, 0],
        ["0", 0, 0, 0, 0],
        [0, 0, 0, 2**63, 0],
    ],
    ids=repr,
)
def test_what_are_no_attempts_is_refused(payload: object) -> None:
    with pytest.raises(MalformedRecord):
        read_attempts(payload)


# How often anybody together may try


def test_a_bucket_gives_its_burst_and_then_one_token_at_a_time() -> None:
    limit = RateLimit(burst=3, every_s=10)
    full_us = 0
    taken: list[bool] = []
    for second in (0, 0, 0, 0, 9, 10, 10, 19, 20):
        is_taken, full_us = limit.take(full_us, NOW + second * S)
        taken.append(is_taken)
    assert taken == [True, True, True, False, False, True, False, False, True]


def test_a_bucket_that_rests_is_full_again_and_never_fuller() -> None:
    limit = RateLimit(burst=2, every_s=10)
    full_us = 0
    for start_s in (0, 1_000_000):
        answers: list[bool] = []
        for _ in range(3):
            is_taken, full_us = limit.take(full_us, NOW + start_s * S)
            answers.append(is_taken)
        assert answers == [True, True, False]


def test_a_clock_that_goes_backwards_empties_a_bucket_but_does_not_close_it() -> None:
    limit = RateLimit(burst=2, every_s=10)
    _, full_us = limit.take(0, NOW)
    back_us = NOW - 10**15
    is_taken, full_us = limit.take(full_us, back_us)
    assert not is_taken
    assert limit.take(full_us, back_us + 10 * S)[0]


@given(
    st.integers(1, 5), st.integers(1, 20), st.lists(st.integers(0, 15 * S), min_size=1, max_size=60)
)
def test_no_stretch_of_time_gives_more_than_the_burst_and_what_came_back(
    burst: int, every_s: int, pauses_us: list[int]
) -> None:
    limit = RateLimit(burst=burst, every_s=every_s)
    full_us, now_us = 0, NOW
    taken: list[int] = []
    for pause_us in pauses_us:
        now_us += pause_us
        is_taken, full_us = limit.take(full_us, now_us)
        if is_taken:
            taken.append(now_us)
    for first, start in enumerate(taken):
        for last, end in enumerate(taken[first:], first):
            assert last - first + 1 <= burst + (end - start) // (every_s * S)


def test_a_guess_among_as_many_codes_as_can_wait_hits_one_in_a_hundred_years() -> None:
    guesses_a_day = 86_400 / REDEMPTIONS.every_s
    days = len(ALPHABET) ** CODE_CHARS / (guesses_a_day * MAX_PENDING)
    assert days > 100 * 365
