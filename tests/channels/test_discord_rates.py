"""Discord's limits, as its answers tell them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.discord_rates import INVALID_LIMIT, INVALID_S, Rates

SEND = "POST /channels/{channel}/messages"
EDIT = "PATCH /channels/{channel}/messages/{message}"


def _told(remaining: int, reset_after_s: float, bucket: str = "b") -> dict[str, str]:
    return {
        "x-ratelimit-bucket": bucket,
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset-after": str(reset_after_s),
    }


def test_nothing_is_known_before_the_first_answer() -> None:
    assert Rates().wait_s(SEND, "1", 0.0) == 0.0


def test_what_is_left_is_used_and_then_waited_for() -> None:
    rates = Rates()
    rates.learn(SEND, "1", 200, _told(2, 5.0), 10.0)
    assert [rates.wait_s(SEND, "1", 11.0) for _ in range(3)] == [0.0, 0.0, 4.0]
    assert rates.wait_s(SEND, "1", 15.0) == 0.0


def test_channels_have_limits_of_their_own() -> None:
    rates = Rates()
    rates.learn(SEND, "1", 200, _told(0, 5.0), 10.0)
    assert rates.wait_s(SEND, "2", 10.0) == 0.0


def test_routes_with_one_bucket_share_it() -> None:
    rates = Rates()
    rates.learn(SEND, "1", 200, _told(5, 5.0), 10.0)
    rates.learn(EDIT, "1", 200, _told(0, 5.0), 10.0)
    assert rates.wait_s(SEND, "1", 10.0) == 5.0


def test_answers_that_overtake_each_other_do_not_raise_what_is_left() -> None:
    rates = Rates()
    rates.learn(SEND, "1", 200, _told(1, 5.0), 10.0)
    rates.learn(SEND, "1", 200, _told(3, 5.0), 10.1)
    assert [rates.wait_s(SEND, "1", 10.2) > 0 for _ in range(2)] == [False, True]


def test_a_refusal_holds_one_route_in_one_channel() -> None:
    rates = Rates()
    rates.pause(SEND, "1", 20.0)
    assert rates.wait_s(SEND, "1", 12.0) == 8.0
    assert rates.wait_s(SEND, "2", 12.0) == 0.0
    assert rates.wait_s(SEND, "1", 20.0) == 0.0


def test_a_global_refusal_holds_everything() -> None:
    rates = Rates()
    rates.pause(None, "1", 20.0)
    assert rates.wait_s(EDIT, "2", 12.0) == 8.0
    assert rates.wait_s(EDIT, "2", 20.0) == 0.0


def test_after_many_refusals_nothing_is_asked_for_a_while() -> None:
    rates = Rates()
    for number in range(INVALID_LIMIT):
        assert rates.wait_s(SEND, "1", number / 10) == 0.0
        rates.learn(SEND, "1", (401, 403, 429)[number % 3], {}, number / 10)
    now = INVALID_LIMIT / 10
    assert rates.wait_s(SEND, "1", now) == INVALID_S - now
    assert rates.wait_s(SEND, "1", INVALID_S + 0.1) == 0.0


def test_a_shared_limit_is_nobodys_fault() -> None:
    rates = Rates()
    for _ in range(INVALID_LIMIT):
        rates.learn(SEND, "1", 429, {"x-ratelimit-scope": "shared"}, 1.0)
    assert rates.wait_s(SEND, "1", 1.0) == 0.0


@given(
    st.dictionaries(
        st.sampled_from(["x-ratelimit-bucket", "x-ratelimit-remaining", "x-ratelimit-reset-after"]),
        st.text(max_size=20)
        | st.sampled_from(["-1", "nan", "inf", "1e9", "5", "0", "٣", "9" * 400]),
    )
)
def test_nonsense_in_headers_means_nothing(headers: dict[str, str]) -> None:
    rates = Rates()
    rates.learn(SEND, "1", 200, headers, 5.0)
    assert 0.0 <= rates.wait_s(SEND, "1", 5.0) <= 7 * 24 * 3600


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 100).map(lambda tenths: tenths / 10)),
        max_size=20,
    )
)
def test_no_more_is_asked_in_a_window_than_is_left(windows: list[tuple[int, float]]) -> None:
    rates, now = Rates(), 0.0
    for limit, reset_s in windows:
        rates.learn(SEND, "1", 200, _told(limit, reset_s), now)
        taken = 0
        while rates.wait_s(SEND, "1", now) == 0.0 and taken <= limit:
            taken += 1
        assert taken == limit
        now += reset_s + 0.001


def test_what_is_remembered_is_bounded() -> None:
    rates = Rates()
    for number in range(10_000):
        rates.learn(SEND, str(number), 200, _told(1, 0.5), float(number))
    assert "2048" in repr(rates) or int(repr(rates).split()[1]) <= 2_048
