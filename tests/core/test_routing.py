"""Which session a conversation belongs to, by which rule, and what is kept of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.ownership_records import BoundRecord
from turnkeeper.actors.core.records import MalformedRecord, address_of
from turnkeeper.actors.core.routing import (
    BindingRow,
    IdentityRow,
    Key,
    KeyRow,
    Scope,
    ScopeRules,
    check_session_name,
    default_user,
    is_for_others,
    is_numbered,
    key_of,
    pair_of,
    read_binding,
    read_identity,
    read_key,
    record_of,
    root_of,
    rule_of,
    scope_of,
)
from turnkeeper.actors.messages import Address, Instance
from turnkeeper.storage.codec import decode, encode

DM = ("per-user", "per-conversation", "main")
CHANNEL = ("per-channel", "collapsed")
THREAD = ("per-thread", "per-conversation")
SCOPES: tuple[Scope, ...] = get_args(Scope)

PLACE = Address(instance=Instance("tg"), conversation="c1", thread="t1")
BINDING = BindingRow(
    session_id="s7",
    stream=7,
    version=2,
    instance="tg",
    conversation="c1",
    thread="t1",
    platform="telegram",
    guild="g1",
    direct=False,
    at_us=5,
    by="operator",
    user_id="u1",
    scope="manual",
    from_session="s3",
)


# -- the scope of a conversation -------------------------------------------------------------------

ANY: Any = object()
"""Whatever it is, it makes no difference."""

SCOPE_TABLE: list[tuple[str, Any, Any, Any, Any, Any, Scope]] = [
    # what it is, whether it is direct, its guild; dm_scope, channel_scope, thread_scope
    ("one human", True, ANY, "per-user", ANY, ANY, "user"),
    ("one human", True, ANY, "main", ANY, ANY, "main"),
    ("one conversation", True, ANY, "per-conversation", ANY, "per-thread", "place"),
    ("its threads", True, ANY, "per-conversation", ANY, "per-conversation", "conversation"),
    ("a guild", False, "g1", ANY, "collapsed", ANY, "guild"),
    ("a channel of it", False, "g1", ANY, "per-channel", "per-thread", "place"),
    ("its threads", False, "g1", ANY, "per-channel", "per-conversation", "conversation"),
    ("a group", False, None, ANY, ANY, "per-thread", "place"),
    ("its threads", False, None, ANY, ANY, "per-conversation", "conversation"),
]


def combinations(row: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Every case that a row of the table speaks of."""
    every = zip(row[1:6], ((True, False), ("g1", None), DM, CHANNEL, THREAD), strict=True)
    return list(product(*(values if value is ANY else (value,) for value, values in every)))


@pytest.mark.parametrize("row", SCOPE_TABLE, ids=lambda row: row[0])
def test_what_shares_a_session_is_what_the_rules_of_its_instance_say(row: tuple[Any, ...]) -> None:
    for direct, guild, dm, channel, thread in combinations(row):
        rules = ScopeRules(dm=dm, channel=channel, thread=thread)
        assert scope_of(direct, guild, rules) == row[6], rules


def test_the_table_of_scopes_speaks_of_each_case_once() -> None:
    spoken_of = [case for row in SCOPE_TABLE for case in combinations(row)]
    assert len(spoken_of) == len(set(spoken_of)) == 2 * 2 * 3 * 2 * 2


def test_humans_share_nothing_and_channels_are_apart_where_nothing_is_configured() -> None:
    assert ScopeRules() == ScopeRules(dm="per-user", channel="per-channel", thread="per-thread")


# -- the key of a session --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        ("user", ("user", "ops", "telegram:u1")),
        ("main", ("main", "ops")),
        ("guild", ("guild", "ops", "tg", "g1")),
        ("conversation", ("conversation", "ops", "tg", "c1")),
        ("place", None),
        ("manual", None),
    ],
)
def test_a_scope_names_the_key_under_which_its_session_is_found(
    scope: Scope, key: Key | None
) -> None:
    assert key_of(scope, "ops", PLACE, "g1", "telegram:u1") == key


def test_a_guild_that_nobody_named_has_no_key() -> None:
    assert key_of("guild", "ops", PLACE, None, "telegram:u1") is None


def test_every_scope_has_been_thought_of() -> None:
    assert set(SCOPES) == {"user", "main", "place", "conversation", "guild", "manual"}


names = st.text(alphabet="ab:/", max_size=3)
places = st.builds(
    Address, instance=names.map(Instance), conversation=names, thread=st.none() | names
)
asked = st.tuples(st.sampled_from(SCOPES), names, places, names, names)


def shares(scope: Scope, agent: str, place: Address, guild: str, user: str) -> tuple[Any, ...]:
    """Everything by which two conversations of a scope may be told apart."""
    told_apart: dict[Scope, tuple[Any, ...]] = {
        "user": (user,),
        "main": (),
        "guild": (place.instance, guild),
        "conversation": (place.instance, place.conversation),
    }
    return scope, agent, *told_apart[scope]


@given(asked, asked)
def test_two_conversations_have_one_key_only_if_they_share_all_that_their_scope_names(
    one: tuple[Scope, str, Address, str, str], other: tuple[Scope, str, Address, str, str]
) -> None:
    keys = key_of(*one), key_of(*other)
    if None not in keys:
        assert (keys[0] == keys[1]) == (shares(*one) == shares(*other))


@given(places, names, names, names)
def test_the_thread_is_part_of_no_key(place: Address, agent: str, guild: str, user: str) -> None:
    for scope in SCOPES:
        key = key_of(scope, agent, place, guild, user)
        assert key == key_of(scope, agent, place._replace(thread="another"), guild, user)


# -- who somebody is -------------------------------------------------------------------------------


def people(*rows: IdentityRow) -> Callable[[str, str], IdentityRow | None]:
    """Finds the decisions about identities."""
    table = {(row.platform, row.user_id): row for row in rows}
    return lambda platform, user_id: table.get((platform, user_id))


def test_without_a_link_an_identity_is_its_own_user() -> None:
    assert IdentityRow("telegram", "123").unified == "telegram:123"
    assert default_user("telegram", "123") == "telegram:123"
    assert IdentityRow("telegram", "123", user="jason").unified == "jason"


def test_an_identity_is_paired_to_what_was_said_of_itself_before_all_else() -> None:
    root = IdentityRow("telegram", "1", session_id="of-root")
    linked = IdentityRow("discord", "2", user="telegram:1")
    own = linked._replace(session_id="of-itself")
    assert pair_of(root, people(root)) == "of-root"
    assert pair_of(own, people(root, own)) == "of-itself"
    assert pair_of(linked, people(root, linked)) == "of-root"


@pytest.mark.parametrize(
    "user",
    [None, "jason", "telegram:9", "telegram", "telegram:", ":1", "", "telegram:1:1"],
)
def test_an_identity_is_paired_to_nothing_that_was_said_of_somebody_else(user: str | None) -> None:
    root = IdentityRow("telegram", "1", session_id="of-root")
    linked = IdentityRow("discord", "2", user=user)
    assert pair_of(linked, people(root, linked)) is None


def test_an_id_with_a_colon_is_still_one_id() -> None:
    root = IdentityRow("matrix", "@ann:example.org", session_id="of-root", user="ann")
    linked = IdentityRow("discord", "2", user="matrix:@ann:example.org")
    assert pair_of(linked, people(root, linked)) == "of-root"
    assert root_of("matrix:@ann:example.org", people(root)) == "ann"


@pytest.mark.parametrize(
    ("user", "root"),
    [
        ("telegram:1", "jason"),
        ("telegram:2", "telegram:2"),
        ("telegram:3", "telegram:3"),
        ("jason", "jason"),
        ("1", "1"),
        ("", ""),
    ],
)
def test_the_name_of_a_linked_identity_leads_to_whom_it_is_linked_to(user: str, root: str) -> None:
    find = people(IdentityRow("telegram", "1", user="jason"), IdentityRow("telegram", "2"))
    assert root_of(user, find) == root


def place_of(user_id: str | None, *, platform: str = "telegram", scope: str = "user") -> BindingRow:
    return BINDING._replace(platform=platform, user_id=user_id, scope=scope, direct=True)


LINKED = IdentityRow("discord", "5", user="telegram:1")
GUEST = IdentityRow("discord", "6", session_id="s7")
GUEST_OF_GUEST = IdentityRow("discord", "7", user="discord:6")


@pytest.mark.parametrize(
    ("owned", "expected"),
    [
        ([], False),
        ([place_of("1")], False),
        ([place_of("5", platform="discord")], False),
        ([place_of("6", platform="discord")], False),
        ([place_of("7", platform="discord")], False),
        ([place_of("2", scope="manual"), place_of(None), place_of("2", scope="place")], False),
        ([place_of("2")], True),
        ([place_of("01")], True),
        ([place_of("1", platform="discord")], True),
        ([place_of("1"), place_of("2")], True),
    ],
    ids=[
        "nobody",
        "the user",
        "linked to the user",
        "paired with the session",
        "linked to somebody paired with the session",
        "put there by an operator, and places of nobody",
        "somebody else",
        "an id that looks alike",
        "the same id on another platform",
        "the user, and somebody else",
    ],
)
def test_a_session_is_for_others_once_somebody_lives_there_whom_nobody_invited(
    owned: Iterable[BindingRow], expected: bool
) -> None:
    find = people(LINKED, GUEST, GUEST_OF_GUEST)
    assert is_for_others(owned, "telegram:1", "s7", find) is expected


def test_somebody_who_was_linked_to_another_user_since_is_somebody_else() -> None:
    find = people(IdentityRow("telegram", "1", user="jason"))
    assert is_for_others([place_of("1")], "telegram:1", "s7", find)
    assert not is_for_others([place_of("1")], "jason", "s7", find)


# -- the names of rules and sessions ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "paired", "user", "rule"),
    [
        ("user", None, None, "first message, dm_scope per-user"),
        ("user", None, "jason", "link to jason"),
        ("user", "user-jason", "jason", "pair with user-jason"),
        ("user", "user-jason", None, "pair with user-jason"),
        ("main", "user-jason", "jason", "first message, dm_scope main"),
        ("guild", None, None, "first message, channel_scope collapsed"),
        ("conversation", None, None, "first message, thread_scope per-conversation"),
        ("place", None, "jason", "first message, its own session"),
    ],
)
def test_a_rule_is_named_as_in_the_configuration_and_a_pair_beats_a_link(
    scope: Scope, paired: str | None, user: str | None, rule: str
) -> None:
    assert rule_of(scope, paired, user) == rule


@pytest.mark.parametrize("name", ["a", "7", "user-jason", "s1", "A.b_c-d", "x" * 64])
def test_letters_digits_and_three_marks_name_a_session(name: str) -> None:
    check_session_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 65,
        "-a",
        ".",
        "..",
        "_a",
        "a b",
        "a\n",
        "\na",
        "s1/3",
        "a\\b",
        "a:b",
        "a\0",
        "j\u00fcrgen",
        "\u0430nn",
        "s\u0661",
        "\uff41",
        "a\u200b",
        "a\ud800",
    ],
)
def test_nothing_else_names_a_session_and_the_error_shows_it(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a session") as refused:
        check_session_name(name)
    assert len(str(refused.value)) < 200
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s1", True),
        ("s01", True),
        ("s184467440737095516150", True),
        ("s", False),
        ("S1", False),
        ("s1a", False),
        ("1", False),
        ("s1\n", False),
        ("s\u0661", False),
    ],
)
def test_the_names_that_the_runtime_gives_are_known(name: str, expected: bool) -> None:
    assert is_numbered(name) is expected


# -- what is kept ----------------------------------------------------------------------------------


def test_the_record_of_a_binding_says_all_that_its_row_says() -> None:
    record = record_of(BINDING)
    assert record == BoundRecord(
        at_us=5,
        instance="tg",
        conversation="c1",
        thread="t1",
        version=2,
        by="operator",
        platform="telegram",
        guild="g1",
        direct=False,
        user_id="u1",
        scope="manual",
        from_session="s3",
    )
    assert address_of(record) == BINDING.address == PLACE


texts = st.text(alphabet=st.characters(exclude_categories=()), max_size=10)
optional_texts = st.none() | texts
counts = st.integers(0, 2**53)
bindings = st.builds(
    BindingRow,
    session_id=texts,
    stream=counts,
    version=counts,
    instance=texts,
    conversation=texts,
    thread=optional_texts,
    platform=texts,
    guild=optional_texts,
    direct=st.booleans(),
    at_us=counts,
    by=texts,
    user_id=optional_texts,
    scope=texts,
    from_session=optional_texts,
)
keys = st.builds(
    KeyRow,
    session_id=optional_texts,
    stream=counts,
    version=counts,
    key=st.lists(texts, max_size=4).map(tuple),
)
identities = st.builds(
    IdentityRow,
    platform=texts,
    user_id=texts,
    user=optional_texts,
    session_id=optional_texts,
    paired_by=optional_texts,
    linked_us=counts,
    paired_us=counts,
)

READERS: list[tuple[Callable[[object], Any], int, int]] = [
    (read_binding, 11, 14),
    (read_key, 4, 4),
    (read_identity, 2, 7),
]
"""How each kind of row is read, and how many fields it has at least and at most."""


@given(bindings)
def test_a_binding_comes_back_from_the_disk_as_it_was_written(row: BindingRow) -> None:
    assert read_binding(decode(encode(list(row)))) == row


@given(keys)
def test_the_holder_of_a_key_comes_back_with_a_key_that_can_be_looked_up(row: KeyRow) -> None:
    again = read_key(decode(encode(list(row))))
    assert again == row
    assert hash(again.key) == hash(row.key)


@given(identities)
def test_an_identity_comes_back_from_the_disk_as_it_was_written(row: IdentityRow) -> None:
    assert read_identity(decode(encode(list(row)))) == row


def test_a_binding_from_before_people_were_told_apart_is_still_read() -> None:
    old = read_binding(list(BINDING)[:11])
    assert old == BINDING._replace(user_id=None, scope="place", from_session=None)


def test_an_identity_of_which_nothing_was_decided_is_nobody_but_itself() -> None:
    bare = read_identity(["telegram", "123"])
    assert (bare.unified, bare.session_id, bare.paired_by) == ("telegram:123", None, None)


@pytest.mark.parametrize(("read", "least", "most"), READERS)
@pytest.mark.parametrize("payload", [None, True, 3, 0.5, "row", b"row", {}, {"session_id": "s1"}])
def test_what_is_no_row_is_refused(
    read: Callable[[object], Any], least: int, most: int, payload: object
) -> None:
    with pytest.raises(MalformedRecord, match="must be a list"):
        read(payload)


@pytest.mark.parametrize(("read", "least", "most"), READERS)
def test_a_row_with_too_few_or_too_many_fields_is_refused_and_says_how_many(
    read: Callable[[object], Any], least: int, most: int
) -> None:
    for count in (0, least - 1, most + 1, most + 50):
        with pytest.raises(MalformedRecord, match=f"has {count} fields, not {most}"):
            read(["x"] * count)
    for count in range(least, most + 1):
        assert len(read([["x"]] * count)) == most
