"""Which sessions are in memory, and what is held for those that leave."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.directory import Directory, Recent


def test_what_is_used_in_every_generation_is_never_idle() -> None:
    recent: Recent[str, int] = Recent()
    recent.put("used", 1)
    recent.put("idle", 2)
    assert recent.rotate() == {}
    assert recent.get("used") == 1
    assert recent.rotate() == {"idle": 2}
    assert recent.get("idle") is None
    assert recent.items() == [("used", 1)]


def test_what_is_put_again_is_in_use_and_kept_once() -> None:
    recent: Recent[str, int] = Recent()
    recent.put("a", 1)
    recent.rotate()
    recent.put("a", 2)
    assert len(recent) == 1
    assert recent.rotate() == {}
    assert recent.get("a") == 2


def test_what_was_dropped_is_gone_from_both_generations() -> None:
    recent: Recent[str, int] = Recent()
    recent.put("a", 1)
    recent.rotate()
    assert recent.drop("a") == 1
    assert recent.drop("a") is None
    assert len(recent) == 0


@given(st.lists(st.tuples(st.sampled_from(["get", "put", "drop", "rotate"]), st.integers(0, 4))))
def test_recent_is_a_dict_that_forgets_what_a_whole_generation_did_not_use(
    events: list[tuple[str, int]],
) -> None:
    recent: Recent[int, int] = Recent()
    model: dict[int, int] = {}
    idle_for: dict[int, int] = {}
    for step, (event, key) in enumerate(events):
        match event:
            case "get":
                assert recent.get(key) == model.get(key)
                if key in model:
                    idle_for[key] = 0
            case "put":
                recent.put(key, step + 1)
                model[key] = step + 1
                idle_for[key] = 0
            case "drop":
                assert recent.drop(key) == model.pop(key, None)
            case _:
                stale = {k: v for k, v in model.items() if idle_for[k] == 1}
                assert recent.rotate() == stale
                for k in stale:
                    del model[k]
                for k in model:
                    idle_for[k] += 1
        assert dict(recent.items()) == model
        assert len(recent) == len(model)


def leaving() -> Directory[str, int, str]:
    """One session, asked to leave, with two messages held for it."""
    directory: Directory[str, int, str] = Directory()
    directory.add("s1", 1)
    assert directory.idle() == []
    assert directory.idle() == [("s1", 1)]
    directory.hold("s1", "first")
    directory.hold("s1", "second")
    return directory


def test_a_session_that_is_leaving_takes_no_messages() -> None:
    directory = leaving()
    assert directory.is_leaving("s1")
    assert directory.find("s1") is None
    assert len(directory) == 1
    assert directory.items() == [("s1", 1)]


def test_what_was_held_for_a_session_that_left_is_handed_out_in_order_and_once() -> None:
    directory = leaving()
    assert directory.left("s1") == ["first", "second"]
    assert directory.left("s1") == []
    assert len(directory) == 0


def test_a_session_that_stays_takes_messages_again_and_is_in_use() -> None:
    directory = leaving()
    assert directory.stayed("s1") == ["first", "second"]
    assert directory.find("s1") == 1
    assert directory.idle() == []


def test_a_session_that_died_unasked_is_forgotten() -> None:
    directory: Directory[str, int, str] = Directory()
    directory.add("s1", 1)
    assert directory.left("s1") == []
    assert directory.find("s1") is None


def test_a_session_that_died_holds_messages_until_it_is_known_to_have_gone() -> None:
    directory: Directory[str, int, str] = Directory()
    directory.add("s1", 1)
    directory.leaves("s1", 1)
    directory.hold("s1", "hi")
    assert directory.is_leaving("s1")
    assert directory.find("s1") is None
    assert directory.find_any("s1") == 1
    assert directory.left("s1") == ["hi"]
    assert directory.find_any("s1") is None
