"""Who may talk to the agent, and who may still be written to."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.access import (
    Access,
    AccessRules,
    Admitted,
    Denied,
    Knock,
    Standing,
    Unaddressed,
    Verdict,
    Withheld,
    admit,
    may_receive,
)

ACCESSES: tuple[Access, ...] = get_args(Access)
STANDINGS: tuple[Standing, ...] = ("approved", "revoked", None)

users = st.sampled_from(["1", "01", "2", "a", "A"])
groups = st.sampled_from(["g1", "g2", "G1"])
some_rules = st.builds(
    AccessRules,
    access=st.sampled_from(ACCESSES),
    allowed_users=st.frozensets(users),
    denied_users=st.frozensets(users),
    allowed_conversations=st.none() | st.frozensets(groups),
    require_mention=st.booleans(),
)
standings = st.sampled_from(STANDINGS)


def in_dm(rules: AccessRules, user_id: str = "1", standing: Standing = None) -> Verdict:
    return admit(
        rules,
        user_id=user_id,
        conversation="dm",
        direct=True,
        mentioned=False,
        standing=standing,
    )


def in_group(rules: AccessRules, conversation: str = "g1", **changes: Any) -> Verdict:
    values: dict[str, Any] = {"user_id": "1", "mentioned": True, "standing": None}
    return admit(rules, conversation=conversation, direct=False, **(values | changes))


def send_dm(
    rules: AccessRules, user_id: str | None = "1", standing: Standing = None
) -> Withheld | None:
    return may_receive(rules, user_id=user_id, conversation="dm", direct=True, standing=standing)


def send_group(
    rules: AccessRules, conversation: str, user_id: str | None = None, standing: Standing = None
) -> Withheld | None:
    return may_receive(
        rules, user_id=user_id, conversation=conversation, direct=False, standing=standing
    )


@pytest.mark.parametrize(
    ("access", "named", "standing", "rule"),
    [
        ("open", False, None, "access open"),
        ("open", True, None, "access open"),
        ("open", False, "approved", "access open"),
        ("open", True, "revoked", None),
        ("allowlist", True, None, "allowed_users"),
        ("allowlist", False, "approved", "approved by the operator"),
        ("allowlist", False, None, None),
        ("allowlist", True, "revoked", None),
        ("code", True, None, "allowed_users"),
        ("code", False, "approved", "approved by the operator"),
        ("code", False, None, None),
        ("code", True, "revoked", None),
    ],
)
def test_a_direct_conversation_is_open_by_exactly_these_rules(
    access: Access, named: bool, standing: Standing, rule: str | None
) -> None:
    rules = AccessRules(access=access, allowed_users=frozenset({"1"} if named else ()))
    verdict = in_dm(rules, standing=standing)
    assert (verdict == Admitted(rule)) if rule else not isinstance(verdict, Admitted)
    assert (send_dm(rules, standing=standing) is None) is (rule is not None)


@pytest.mark.parametrize(
    ("access", "allowed", "conversation", "rule"),
    [
        ("open", None, "g1", "access open"),
        ("open", {"g1"}, "g1", "allowed_conversations"),
        ("open", {"g1"}, "g2", None),
        ("open", set[str](), "g1", None),
        ("allowlist", None, "g1", None),
        ("allowlist", {"g1"}, "g1", "allowed_conversations"),
        ("allowlist", {"g1"}, "g2", None),
        ("code", None, "g1", None),
        ("code", {"g1"}, "g1", "allowed_conversations"),
        ("code", {"g1"}, "g2", None),
    ],
)
def test_a_group_is_open_by_exactly_these_rules(
    access: Access, allowed: set[str] | None, conversation: str, rule: str | None
) -> None:
    rules = AccessRules(
        access=access, allowed_conversations=None if allowed is None else frozenset(allowed)
    )
    verdict = in_group(rules, conversation)
    assert verdict == Admitted(rule) if rule else isinstance(verdict, Denied)
    assert (send_group(rules, conversation) is None) is (rule is not None)


def test_a_stranger_knocks_in_a_direct_conversation_and_nowhere_else() -> None:
    rules = AccessRules(access="code")
    assert in_dm(rules) == Knock()
    assert isinstance(in_group(rules), Denied)
    assert isinstance(in_dm(AccessRules(access="allowlist")), Denied)


@pytest.mark.parametrize("standing", ["approved", None])
@pytest.mark.parametrize("access", ["allowlist", "code"])
def test_a_grant_for_direct_conversations_never_opens_a_group(
    access: Access, standing: Standing
) -> None:
    rules = AccessRules(access=access, allowed_users=frozenset({"1"}))
    assert isinstance(in_dm(rules, standing=standing), Admitted)
    assert isinstance(in_group(rules, standing=standing), Denied)
    assert send_group(rules, "g1", "1", standing) == "not_allowed"


@given(some_rules, users, st.booleans(), st.booleans(), standings)
def test_deny_wins_whatever_else_is_said(
    rules: AccessRules, user_id: str, direct: bool, mentioned: bool, standing: Standing
) -> None:
    place: dict[str, Any] = {"user_id": user_id, "conversation": "g1", "direct": direct}
    if user_id in rules.denied_users:
        wanted, reason = "denied_users", "denied"
    else:
        standing = "revoked"
        wanted, reason = "revoked by the operator", "revoked"
    verdict = admit(rules, **place, mentioned=mentioned, standing=standing)
    assert isinstance(verdict, Denied)
    assert verdict.rule == wanted
    assert may_receive(rules, **place, standing=standing) == reason


@given(some_rules, users, groups, st.booleans(), standings)
def test_what_may_be_sent_is_what_may_be_said(
    rules: AccessRules, user_id: str, conversation: str, direct: bool, standing: Standing
) -> None:
    place: dict[str, Any] = {
        "user_id": user_id,
        "conversation": conversation,
        "direct": direct,
        "standing": standing,
    }
    said = admit(rules, **place, mentioned=True)
    assert isinstance(said, Admitted) is (may_receive(rules, **place) is None)


def test_a_group_member_who_is_not_denied_may_speak_without_any_grant() -> None:
    rules = AccessRules(
        access="allowlist",
        allowed_users=frozenset({"1"}),
        denied_users=frozenset({"3"}),
        allowed_conversations=frozenset({"g1"}),
    )
    assert in_group(rules, user_id="2") == Admitted("allowed_conversations")
    assert isinstance(in_group(rules, user_id="3"), Denied)
    assert isinstance(in_group(rules, user_id="1", standing="revoked"), Denied)


def test_nobody_in_particular_may_be_written_to_in_an_open_group() -> None:
    rules = AccessRules(denied_users=frozenset({"3"}), allowed_conversations=frozenset({"g1"}))
    assert send_group(rules, "g1") is None
    assert send_group(rules, "g1", "2") is None
    assert send_group(rules, "g1", "3") == "denied"


@pytest.mark.parametrize("access", ACCESSES)
def test_a_message_in_a_group_must_name_the_agent_where_that_is_asked(access: Access) -> None:
    rules = AccessRules(
        access=access, allowed_conversations=frozenset({"g1"}), require_mention=True
    )
    assert in_group(rules, mentioned=False) == Unaddressed()
    assert in_group(rules, mentioned=True) == Admitted("allowed_conversations")
    assert isinstance(in_group(rules, "g2", mentioned=False), Denied)
    assert isinstance(in_group(rules, mentioned=False, standing="revoked"), Denied)


def test_no_mention_is_asked_for_in_a_direct_conversation_or_without_the_rule() -> None:
    assert isinstance(in_dm(AccessRules(require_mention=True)), Admitted)
    assert isinstance(in_group(AccessRules(), mentioned=False), Admitted)


@pytest.mark.parametrize(
    ("access", "reason"), [("open", None), ("allowlist", "not_allowed"), ("code", "not_allowed")]
)
def test_an_unknown_human_of_a_direct_conversation_gets_something_only_where_all_do(
    access: Access, reason: Withheld | None
) -> None:
    rules = AccessRules(access=access, allowed_users=frozenset({"1"}))
    assert send_dm(rules, None) == reason
    assert send_dm(rules, None, "approved") == reason


@pytest.mark.parametrize(
    "other",
    [
        "",
        "01",
        "1 ",
        " 1",
        "１",
        "1\u200b",
        "1\x00",
        "11",
        "u1",
        "\ufeff1",
        "1\n",
    ],
)
def test_an_id_that_only_looks_like_another_is_another(other: str) -> None:
    rules = AccessRules(access="allowlist", allowed_users=frozenset({"1"}))
    assert isinstance(in_dm(rules, other), Denied)
    assert in_dm(AccessRules(denied_users=frozenset({"1"})), other) == Admitted("access open")


@pytest.mark.parametrize(
    ("known", "other"), [("U0AB", "u0ab"), ("alice", "аlice"), ("\u00e9", "e\u0301")]
)
def test_case_homoglyphs_and_normal_forms_tell_ids_apart(known: str, other: str) -> None:
    rules = AccessRules(access="allowlist", allowed_users=frozenset({known}))
    assert in_dm(rules, known) == Admitted("allowed_users")
    assert isinstance(in_dm(rules, other), Denied)
    groups_of = AccessRules(allowed_conversations=frozenset({known}))
    assert isinstance(in_group(groups_of, other), Denied)


def test_a_direct_conversation_is_not_opened_by_its_id() -> None:
    rules = AccessRules(access="allowlist", allowed_conversations=frozenset({"dm"}))
    assert isinstance(in_dm(rules), Denied)
    assert send_dm(rules) == "not_allowed"


def test_what_nobody_knows_lets_nobody_in() -> None:
    unknown: Any = "everyone"
    assert isinstance(in_dm(AccessRules(access=unknown)), Denied)
    assert isinstance(in_group(AccessRules(access=unknown)), Denied)
    assert isinstance(in_dm(AccessRules(), standing=unknown), Denied)
    assert send_dm(AccessRules(), standing=unknown) == "revoked"


def test_a_human_is_told_the_same_whichever_rule_keeps_them_out() -> None:
    verdicts = [
        in_dm(AccessRules(access="allowlist")),
        in_dm(AccessRules(denied_users=frozenset({"1"}))),
        in_dm(AccessRules(), standing="revoked"),
    ]
    denials = [verdict for verdict in verdicts if isinstance(verdict, Denied)]
    assert [denied.rule for denied in denials] == [
        "access allowlist",
        "denied_users",
        "revoked by the operator",
    ]
    assert len({denied.text for denied in denials}) == 1


@given(some_rules, users, groups, st.booleans(), st.booleans(), standings)
def test_every_verdict_names_its_rule(
    rules: AccessRules,
    user_id: str,
    conversation: str,
    direct: bool,
    mentioned: bool,
    standing: Standing,
) -> None:
    verdict = admit(
        rules,
        user_id=user_id,
        conversation=conversation,
        direct=direct,
        mentioned=mentioned,
        standing=standing,
    )
    assert verdict.rule
    if isinstance(verdict, Denied):
        assert user_id not in verdict.text.split()
        assert conversation not in verdict.text
