from __future__ import annotations

from turnkeeper.channels.latest import Latest


def test_the_key_that_was_set_longest_ago_goes_first() -> None:
    latest: Latest[str, int] = Latest(2)
    latest["a"], latest["b"], latest["a"] = 1, 2, 3
    latest["c"] = 4
    assert dict(latest) == {"a": 3, "c": 4}


def test_what_is_only_read_is_as_old_as_it_was() -> None:
    latest: Latest[str, int] = Latest(2)
    latest["a"], latest["b"] = 1, 2
    assert latest["a"] == latest.get("a") == latest.setdefault("a", 7) == 1
    latest["c"] = 3
    assert list(latest) == ["b", "c"]
