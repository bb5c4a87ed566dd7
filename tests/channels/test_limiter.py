import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.base import Unreachable
from turnkeeper.channels.limiter import Bucket, Limiter, Rate, limited, pausing

rates = st.builds(
    Rate,
    per_s=st.sampled_from([0.05, 1 / 3, 1.0, 7.0, 30.0, 1_000.0]),
    burst=st.integers(1, 5),
    scope=st.sampled_from(["all", "place"]),
)
asked = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(0, 5) | st.just(0.0)), min_size=1, max_size=40
)
clocks = st.sampled_from([0.0, 123_456.789, 1_800_000_000.0])


def assert_kept(rate: Rate, turns: list[float]) -> None:
    turns = sorted(turns)
    for first, start in enumerate(turns):
        for last, end in enumerate(turns[first:], first):
            count = last - first + 1
            # A clock of seconds since 1970 tells them apart to a quarter of a microsecond.
            assert count <= rate.burst + rate.per_s * (end - start + 2e-6) + 1e-6


def test_a_bucket_lets_a_burst_through_and_then_a_steady_rate() -> None:
    bucket = Bucket(Rate(per_s=2, burst=3), 0)
    for now_s in (0.0, 100.0):
        assert [bucket.take(now_s) for _ in range(3)] == [True] * 3
        assert bucket.ready_at(now_s) == now_s + 0.5
    assert bucket.ready_at(100.25) == 100.5
    assert bucket.take(100.5)
    assert not bucket.take(100.5)


@given(st.lists(rates, min_size=1, max_size=3), asked, clocks)
def test_no_window_ever_has_more_turns_than_its_rule_allows(
    rules: list[Rate], asked: list[tuple[str, float]], now: float
) -> None:
    limiter = Limiter(rules)
    turns: list[tuple[str, float]] = []
    for place, pause_s in asked:
        now += pause_s
        turns.append((place, now + limiter.reserve(place, now)))
    for rate in rules:
        if rate.scope == "all":
            assert_kept(rate, [at for _, at in turns])
        else:
            for one in "abc":
                assert_kept(rate, [at for place, at in turns if place == one])


@given(st.lists(rates, min_size=1, max_size=3), asked, clocks)
def test_the_turns_of_a_place_are_in_the_order_of_asking_and_nobody_starves(
    rules: list[Rate], asked: list[tuple[str, float]], now: float
) -> None:
    limiter = Limiter(rules)
    latest: dict[str, float] = {}
    for before, (place, pause_s) in enumerate(asked):
        now += pause_s
        at = now + limiter.reserve(place, now)
        assert at >= latest.get(place, at)
        latest[place] = at
        # At worst, each of those before holds it up once under each rule.
        assert at - now <= before * sum(1 / rate.per_s for rate in rules) + 1e-3


@given(asked)
def test_a_lone_rate_wastes_no_turn(asked: list[tuple[str, float]]) -> None:
    rate = Rate(per_s=2.0, burst=3)
    limiter = Limiter([rate])
    turns = [limiter.reserve(place, 0.0) for place, _ in asked]
    assert turns == pytest.approx([max(0.0, (n - 2) / 2.0) for n in range(len(turns))])


def test_a_place_that_must_wait_holds_up_no_other() -> None:
    limiter = Limiter([Rate(per_s=30, burst=30), Rate(per_s=1, burst=1, scope="place")])
    waits = [limiter.reserve("busy", 0.0) for _ in range(60)]
    assert waits == pytest.approx(list(range(60)))
    assert limiter.reserve("quiet", 0.0) == 0.0
    assert limiter.reserve("other", 0.5) == 0.0


def test_ten_thousand_that_ask_at_once_do_not_search_behind_each_other() -> None:
    # With a search of all that wait for each that asks, this takes minutes.
    limiter = Limiter([Rate(per_s=30, burst=30), Rate(per_s=1, scope="place")])
    waits = [limiter.reserve(f"place {number}", 0.0) for number in range(10_000)]
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx((10_000 - 30) / 30)
    assert limiter.reserve("place 0", 100.0) == pytest.approx(waits[-1] + 1 / 30 - 100.0)


def test_a_pause_holds_its_place_and_no_other() -> None:
    limiter = Limiter([Rate(per_s=10, burst=10)])
    limiter.pause("busy", 60.0)
    limiter.pause("busy", 5.0)
    assert limiter.reserve("busy", 0.0) == 60.0
    assert limiter.held("busy", 20.0) == 40.0
    assert limiter.reserve("quiet", 20.0) == 0.0


def test_a_pause_of_all_holds_everybody() -> None:
    limiter = Limiter([Rate(per_s=10, burst=10)])
    limiter.pause(None, 60.0)
    assert limiter.reserve("one", 0.0) == 60.0
    assert limiter.held("another", 0.0) == 60.0
    assert limiter.held("another", 61.0) == 0.0


def test_a_limiter_without_rules_only_pauses() -> None:
    limiter = Limiter([])
    assert limiter.reserve("one", 0.0) == 0.0
    limiter.pause("one", 3.0)
    assert limiter.reserve("one", 1.0) == 2.0


def test_a_clock_that_runs_backwards_gives_no_turn_twice() -> None:
    limiter = Limiter([Rate(per_s=1, burst=1)])
    assert limiter.reserve("one", 100.0) == 0.0
    assert limiter.reserve("one", 0.0) == 1.0


def test_places_with_full_buckets_are_forgotten() -> None:
    limiter = Limiter([Rate(per_s=1, burst=1, scope="place")])
    limiter.pause("held", 1e9)
    for number in range(20_000):
        limiter.reserve(f"place-{number}", float(number))
    assert limiter.places <= 2_000
    assert limiter.held("held", 20_000.0) > 0


@pytest.mark.parametrize("bad", [{"per_s": 0}, {"per_s": float("inf")}, {"per_s": 1, "burst": 0}])
def test_a_rate_that_lets_nothing_through_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a rate needs"):
        Rate(**bad)  # type: ignore[arg-type]


async def test_waiting_takes_the_time_of_the_rule(autojump_clock: trio.abc.Clock) -> None:
    limiter = Limiter([Rate(per_s=2, burst=2)])
    started = trio.current_time()
    for _ in range(6):
        await limited(limiter, "one")
    assert trio.current_time() - started == pytest.approx(2.0)


async def test_a_pause_catches_those_who_wait_already(autojump_clock: trio.abc.Clock) -> None:
    limiter = Limiter([Rate(per_s=1, burst=1)])
    started = trio.current_time()
    turns: list[float] = []

    async def speak() -> None:
        await limited(limiter, "one")
        turns.append(trio.current_time() - started)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(speak)
        await trio.testing.wait_all_tasks_blocked()
        limiter.pause("one", started + 30)
    assert turns[0] == 0.0
    assert turns[1:] == pytest.approx([30.0, 31.0])


async def test_who_is_cancelled_while_waiting_holds_up_nobody_for_ever(
    autojump_clock: trio.abc.Clock,
) -> None:
    limiter = Limiter([Rate(per_s=1, burst=1)])
    await limited(limiter, "one")
    with trio.move_on_after(0.1):
        await limited(limiter, "one")
    with trio.fail_after(2.5):
        await limited(limiter, "one")


@pytest.mark.parametrize("place", ["a", None])
async def test_a_long_pause_is_not_waited_for(
    place: str | None, autojump_clock: trio.abc.Clock
) -> None:
    limiter = Limiter([Rate(per_s=0.1)])
    await limited(limiter, "a")
    caught: list[float | None] = []

    async def wait() -> None:
        with pytest.raises(Unreachable, match="nothing more for 86") as refused:
            await limited(limiter, "a")
        assert refused.value.reason == "rate_limited"
        caught.append(refused.value.retry_after_s)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)  # and is caught waiting
        await trio.sleep(1)
        limiter.pause(place, trio.current_time() + 86_400.0)
        await wait()
    assert caught == [86_400.0, pytest.approx(86_391.0)]
    limiter.pause(place, float("inf"))
    limiter.pause(place, float("nan"))
    with pytest.raises(Unreachable):
        await limited(limiter, "a")


async def test_an_error_that_asks_for_a_pause_holds_its_place_and_no_other(
    autojump_clock: trio.abc.Clock,
) -> None:
    limiter = Limiter([])
    with pytest.raises(Unreachable), pausing(limiter, "a"):
        raise Unreachable("too much", retry_after_s=5)
    with pytest.raises(Unreachable), pausing(limiter, "b"):
        raise Unreachable("not now")
    now = trio.current_time()
    assert limiter.held("a", now) == pytest.approx(5)
    assert limiter.held("b", now) == 0
