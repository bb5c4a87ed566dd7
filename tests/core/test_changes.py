"""What links, pairs, moves and undo change, planned on a world of dicts and applied to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType]  (untyped there)
)

from turnkeeper.actors.acts import ActRefused
from turnkeeper.actors.core.changes import plan_join, plan_link, plan_move, plan_pair, plan_undo
from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.head import Head
from turnkeeper.actors.core.ownership_records import (
    BoundRecord,
    KeyedRecord,
    OpenedRecord,
    ReleasedRecord,
)
from turnkeeper.actors.core.records import Record, pack, unpack
from turnkeeper.actors.core.routing import (
    BindingRow,
    IdentityRow,
    Key,
    KeyRow,
    Scope,
    default_user,
    is_for_others,
    key_of,
    pair_of,
    record_of,
)
from turnkeeper.actors.core.runtime_records import ChangeRecord
from turnkeeper.actors.core.world import Plan
from turnkeeper.actors.messages import Address, InboundTurn, Instance

PLATFORMS: Final = {
    "tg": "telegram",
    "tg2": "telegram",
    "tg_ops": "telegram",
    "dc": "discord",
    "dc_ops": "discord",
    "wa_ops": "whatsapp",
}
INSTANCES_OF: Final = {
    platform: [name for name, p in PLATFORMS.items() if p == platform]
    for platform in PLATFORMS.values()
}


def agent_at(instance: str) -> str:
    return "ops" if instance.endswith("ops") else "main"


class Who(NamedTuple):
    platform: str
    user_id: str

    def __str__(self) -> str:
        return default_user(*self)


ANN, BOB, CID = Who("telegram", "1"), Who("discord", "2"), Who("discord", "3")


class Paper:
    """A world of dicts; the logs are replayed after every plan."""

    def __init__(self) -> None:
        self.now_us = 1_700_000_000_000_000
        self.logs: dict[int, list[Record]] = {}
        self.cores: dict[int, Conversation] = {}
        self.names: dict[str, int] = {}
        self.identities: dict[Who, IdentityRow] = {}
        self.bindings: dict[Address, BindingRow] = {}
        self.past: dict[Address, list[BindingRow]] = {}
        self.keys: dict[Key, KeyRow] = {}
        self.ledger: list[ChangeRecord] = []

    # -- the world, as plans read it -------------------------------------------------------------

    @property
    def next_stream(self) -> int:
        return len(self.logs) + 1

    @property
    def next_number(self) -> int:
        return len(self.ledger) + 1

    def agent_at(self, instance: str) -> str:
        return agent_at(instance)

    def identity(self, platform: str, user_id: str) -> IdentityRow | None:
        return self.identities.get(Who(platform, user_id))

    def identities_of(self, user: str) -> Sequence[IdentityRow]:
        return [row for row in self.identities.values() if row.user == user]

    def paired_to(self, session_id: str) -> Sequence[IdentityRow]:
        return [row for row in self.identities.values() if row.session_id == session_id]

    def places_of_identity(self, platform: str, user_id: str) -> Sequence[BindingRow]:
        who = (platform, user_id)
        return [row for row in self.bindings.values() if (row.platform, row.user_id) == who]

    def places_of_session(self, stream: int) -> Sequence[BindingRow]:
        return [row for row in self.bindings.values() if row.stream == stream]

    def key(self, key: Key) -> KeyRow | None:
        return self.keys.get(key)

    def session(self, session_id: str) -> tuple[int, Head] | None:
        stream = self.names.get(session_id)
        return (stream, self.cores[stream].head()) if stream is not None else None

    # -- what happens ----------------------------------------------------------------------------

    def later(self) -> int:
        self.now_us += 1_000_000
        return self.now_us

    def _append(self, stream: int, records: Sequence[Record]) -> None:
        core = self.cores.setdefault(stream, Conversation())
        for record in records:
            stored = unpack(pack(record))
            self.logs.setdefault(stream, []).append(stored)
            core.apply(stored)

    def hears(
        self, who: Who, instance: str = "", conversation: str = "", scope: Scope = "user"
    ) -> str:
        """A direct message: its place is bound as the rules say, if it is new. The session."""
        instance = instance or INSTANCES_OF[who.platform][0]
        place = Address(Instance(instance), conversation or f"dm {who.user_id}")
        now_us = self.later()
        if place not in self.bindings:
            self._bind(who, place, scope, agent_at(instance))
        row = self.bindings[place]
        turn = InboundTurn(
            address=place,
            platform=who.platform,
            message_id=f"m{now_us}",
            user_id=who.user_id,
            text="hi",
        )
        core = self.cores[row.stream]
        step = core.accept(turn, now_us)
        self.logs[row.stream].extend(step.records)
        return row.session_id

    def _bind(self, who: Who, place: Address, scope: Scope, agent: str) -> None:
        identity = self.identity(*who) or IdentityRow(*who)
        paired = pair_of(identity, self.identity) if scope == "user" else None
        key = key_of(scope, agent, place, None, identity.unified) if paired is None else None
        holder = self.keys.get(key) if key is not None else None
        if holder is not None and is_for_others(
            self.places_of_session(holder.stream),
            identity.unified,
            holder.session_id or "",
            self.identity,
        ):
            holder = holder._replace(session_id=None)
        session_id = paired or (holder.session_id if holder is not None else None)
        stream = self.names.get(session_id or "")
        if stream is None:
            stream = self.next_stream
            session_id = session_id or f"s{stream}"
            opened = OpenedRecord(
                at_us=self.now_us, session_id=session_id, agent=agent, by="first message"
            )
            self.names[session_id] = stream
            self._append(stream, [opened])
            if key is not None:
                version = holder.version + 1 if holder is not None else 1
                self.keys[key] = KeyRow(session_id, stream, version, key)
                self._append(stream, [KeyedRecord(at_us=self.now_us, key=key, version=version)])
        assert session_id is not None
        row = BindingRow(
            session_id=session_id,
            stream=stream,
            version=1,
            instance=place.instance,
            conversation=place.conversation,
            thread=None,
            platform=who.platform,
            guild=None,
            direct=True,
            at_us=self.now_us,
            by="first message",
            user_id=who.user_id,
            scope=scope,
        )
        self.bindings[place] = row
        self._append(stream, [record_of(row)])

    def apply(self, plan: Plan) -> Plan:
        """Write a plan, as the one batch would be."""
        assert plan.change.number == self.next_number
        assert set(plan.concerned.values()) | set(plan.opened.values()) == set(plan.logs)
        for session_id, stream in plan.opened.items():
            assert session_id not in self.names
            assert stream == self.next_stream
            self.names[session_id] = stream
            self._append(stream, plan.logs[stream])
        for session_id, stream in plan.concerned.items():
            assert self.names[session_id] == stream
            self._append(stream, plan.logs[stream])
        for before, after in plan.bindings:
            assert self.bindings[before.address] == before
            assert after.version == before.version + 1
            self.past.setdefault(before.address, []).append(before)
            self.bindings[after.address] = after
        for old, row in plan.identities:
            assert self.identity(row.platform, row.user_id) == old
            self.identities[Who(row.platform, row.user_id)] = row
        for earlier, key in plan.keys:
            assert self.keys.get(key.key) == earlier
            assert key.version > (earlier.version if earlier is not None else 0)
            self.keys[key.key] = key
        stored = unpack(pack(plan.record))
        assert isinstance(stored, ChangeRecord)
        self.ledger.append(stored)
        return plan

    # -- acts ------------------------------------------------------------------------------------

    def link(self, who: Who, user: str) -> Plan:
        return self.apply(plan_link(self, *who, user, now_us=self.later(), by="operator"))

    def unlink(self, who: Who) -> Plan:
        return self.apply(plan_link(self, *who, None, now_us=self.later(), by="operator"))

    def pair(self, who: Who, session_id: str | None) -> Plan:
        return self.apply(plan_pair(self, *who, session_id, now_us=self.later(), by="operator"))

    def join(self, issuer: Who, redeemer: Who) -> Plan:
        rows = [self.identity(*who) or IdentityRow(*who) for who in (issuer, redeemer)]
        return self.apply(plan_join(self, rows[0], rows[1], now_us=self.later()))

    def move(self, place: Address, session_id: str | None, scope: Scope = "user") -> Plan:
        row, now_us = self.bindings[place], self.later()
        agent = agent_at(row.instance)
        return self.apply(
            plan_move(self, row, session_id, scope, agent, now_us=now_us, by="operator")
        )

    def undo(self, number: int) -> Plan:
        later = list(enumerate(self.ledger, 1))[number:]
        undone, now_us = self.ledger[number - 1], self.later()
        return self.apply(plan_undo(self, number, undone, later, now_us=now_us, by="operator"))

    # -- looking ---------------------------------------------------------------------------------

    def home(self, who: Who) -> str:
        """The one session of all direct conversations of an identity."""
        (home,) = {row.session_id for row in self.places_of_identity(*who)}
        return home

    def joined(self, session_id: str) -> set[str]:
        """The earlier sessions that are part of a session's context."""
        head = self.cores[self.names[session_id]].head()
        return {name for _, name in head.joined or () if self.goes_on_in(name, session_id)}

    def goes_on_in(self, earlier: str, session_id: str) -> bool:
        """Whether a session that was merged, and what that was merged into, lead to another."""
        seen: set[str] = set()
        while earlier not in seen:
            seen.add(earlier)
            following = self.cores[self.names[earlier]].merged_into
            if following is None or following == session_id:
                return following is not None
            earlier = following
        return False

    def active(self, session_id: str) -> Address | None:
        return self.cores[self.names[session_id]].active_channel

    def kinds(self, session_id: str) -> list[str]:
        return [record.kind for record in self.logs[self.names[session_id]]]

    def state(self, names: Sequence[str]) -> dict[str, Any]:
        """What an undo must bring back; of sessions those with these `names`."""
        heads = {name: self.cores[self.names[name]].head() for name in names}
        return {
            "owners": {place: (r.session_id, r.scope) for place, r in self.bindings.items()},
            "identities": {
                who: row
                for who, row in self.identities.items()
                if (row.user, row.session_id) != (None, None)
            },
            "holders": {k: r.session_id for k, r in self.keys.items() if r.session_id is not None},
            "joined": {name: self.joined(name) & set(names) for name in names},
            "active": {n: h.active_channel for n, h in heads.items() if h.active_channel},
            "merged": {name: head.merged_into for name, head in heads.items()},
        }


@pytest.fixture
def world() -> Paper:
    return Paper()


# -- links -----------------------------------------------------------------------------------------


def test_a_link_before_any_message_moves_nothing_and_the_first_message_goes_where_it_says(
    world: Paper,
) -> None:
    plan = world.link(ANN, "alice")
    assert (plan.change.moved, plan.change.joined, plan.change.opened) == ((), (), ())
    world.link(BOB, "alice")
    assert world.hears(ANN) == world.hears(BOB) == "s1"


def test_the_first_of_a_user_keeps_its_session_and_the_next_one_joins_it(world: Paper) -> None:
    assert [world.hears(ANN), world.hears(BOB)] == ["s1", "s2"]
    assert world.link(ANN, "alice").change.moved == ()
    change = world.link(BOB, "alice").change
    assert [(m.from_session, m.to_session, m.version) for m in change.moved] == [("s2", "s1", 2)]
    assert [(j.session_id, j.earlier, j.joined) for j in change.joined] == [("s1", "s2", True)]
    assert world.joined("s1") == {"s2"}
    assert world.cores[2].merged_into == "s1"
    assert world.hears(ANN) == world.hears(BOB) == "s1"


def test_the_log_that_joins_stays_whole(world: Paper) -> None:
    world.hears(ANN)
    world.hears(BOB)
    before = list(world.logs[2])
    world.link(BOB, str(ANN))
    assert world.logs[2][: len(before)] == before
    assert [record.kind for record in world.logs[2][len(before) :]] == ["released"]
    assert world.kinds("s1")[-3:] == ["bound", "linked", "active"]


@pytest.mark.parametrize("hears", range(3))
@pytest.mark.parametrize("order", [(ANN, BOB, CID), (CID, BOB, ANN), (BOB, ANN, CID)])
def test_three_identities_of_one_user_end_in_one_session_in_any_order(
    world: Paper, hears: int, order: tuple[Who, ...]
) -> None:
    for number, who in enumerate(order):
        if number < hears:
            world.hears(who)
        world.link(who, "alice")
        if number >= hears:
            world.hears(who)
    homes = {world.hears(who) for who in order}
    (home,) = homes
    others = set(world.names) - homes
    assert world.joined(home) == others


def test_a_link_to_a_linked_identity_is_one_to_its_user(world: Paper) -> None:
    world.link(ANN, "alice")
    world.link(BOB, str(ANN))
    assert world.identities[BOB].user == "alice"


def test_whoever_was_linked_to_an_identity_goes_along_with_it(world: Paper) -> None:
    for who in (ANN, BOB, CID):
        world.hears(who)
    world.link(BOB, str(ANN))
    world.link(ANN, str(CID))
    assert world.identities[BOB].user == str(CID)
    assert world.home(ANN) == world.home(BOB) == world.home(CID)


def test_a_circle_of_links_is_refused_at_its_last_link(world: Paper) -> None:
    world.link(BOB, str(ANN))
    world.link(CID, str(BOB))
    with pytest.raises(
        ActRefused, match=r"discord:2|telegram:1 cannot be linked to itself|already"
    ):
        world.link(ANN, str(CID))
    assert world.next_number == 3


def test_a_link_to_oneself_is_refused(world: Paper) -> None:
    with pytest.raises(ActRefused, match="is telegram:1 already"):
        world.link(ANN, str(ANN))
    world.link(ANN, "alice")
    with pytest.raises(ActRefused, match="is alice already"):
        world.link(ANN, str(ANN))
    with pytest.raises(ActRefused, match="is alice already"):
        world.link(ANN, "alice")


def test_a_relink_takes_the_conversations_to_the_other_user(world: Paper) -> None:
    for who in (ANN, BOB, CID):
        world.hears(who)
    world.link(ANN, "alice")
    world.link(BOB, "alice")
    world.link(CID, "carol")
    change = world.link(BOB, "carol").change
    assert [(m.from_session, m.to_session) for m in change.moved] == [("s1", "s3")]
    assert (world.home(ANN), world.home(BOB), world.home(CID)) == ("s1", "s3", "s3")
    assert change.joined == (), "what was alice's stays hers"


def test_a_user_may_be_named_like_an_identity_that_nobody_has_met(world: Paper) -> None:
    world.hears(BOB)
    world.link(BOB, str(ANN))
    assert world.hears(ANN) == world.hears(BOB) == "s1"


@pytest.mark.parametrize("name", ["", " alice", "alice ", "a\nb", "a\u202eb", "x" * 1_025, "\0"])
def test_a_name_that_names_no_user_is_refused(world: Paper, name: str) -> None:
    with pytest.raises(ActRefused, match="cannot name a user"):
        world.link(ANN, name)


def test_an_unlinked_identity_leaves_with_its_conversations_and_without_the_past(
    world: Paper,
) -> None:
    world.hears(ANN)
    world.link(BOB, str(ANN))
    assert world.hears(BOB) == "s1"
    change = world.unlink(BOB).change
    assert [(m.from_session, m.to_session) for m in change.moved] == [("s1", "s2")]
    assert change.opened == ("s2",)
    assert world.joined("s1") == world.joined("s2") == set()
    assert world.hears(ANN) == "s1"


def test_an_unlinked_identity_goes_back_to_the_session_that_it_came_with(world: Paper) -> None:
    world.hears(ANN)
    world.hears(BOB)
    world.link(BOB, str(ANN))
    change = world.unlink(BOB).change
    assert world.home(BOB) == "s2"
    assert [(j.session_id, j.earlier, j.joined) for j in change.joined] == [("s1", "s2", False)]
    assert world.joined("s1") == set()
    assert world.cores[2].merged_into is None


def test_whoever_is_alone_with_a_user_name_keeps_the_session_when_unlinked(world: Paper) -> None:
    world.hears(ANN)
    world.link(ANN, "alice")
    change = world.unlink(ANN).change
    assert change.moved == ()
    assert world.hears(ANN, conversation="another") == "s1"
    world.link(BOB, "alice")
    assert world.hears(BOB) != "s1", "alice is somebody else from now on"


def test_what_is_not_linked_cannot_be_unlinked_and_the_refusal_names_who_is(world: Paper) -> None:
    with pytest.raises(ActRefused, match=r"telegram:1 is not linked$"):
        world.unlink(ANN)
    world.link(BOB, str(ANN))
    with pytest.raises(ActRefused, match="these are linked to it: discord:2"):
        world.unlink(ANN)


def test_agents_keep_apart_what_one_user_says_to_each(world: Paper) -> None:
    zoe = Who("whatsapp", "+1")
    assert [world.hears(ANN), world.hears(zoe)] == ["s1", "s2"]
    world.link(ANN, "alice")
    assert world.link(zoe, "alice").change.moved == ()
    assert (world.home(ANN), world.home(zoe)) == ("s1", "s2")
    assert world.hears(ANN, "tg2") == "s1"


def test_two_instances_of_one_platform_share_the_session_of_one_identity(world: Paper) -> None:
    assert world.hears(ANN, "tg") == world.hears(ANN, "tg2") == "s1"
    world.hears(BOB)
    change = world.link(ANN, str(BOB)).change
    assert {m.address.instance for m in change.moved} == {"tg", "tg2"}


def test_a_conversation_that_stands_for_itself_is_moved_by_no_link(world: Paper) -> None:
    world.hears(ANN, scope="place")
    world.hears(BOB)
    assert world.link(ANN, str(BOB)).change.moved == ()
    assert world.home(ANN) == "s1"


# -- proof by a code -------------------------------------------------------------------------------


def test_whoever_is_alone_joins_the_other_whichever_of_them_asked_for_the_code() -> None:
    for issuer, redeemer in ((BOB, ANN), (ANN, BOB)):
        world = Paper()
        world.link(ANN, "alice")
        world.link(CID, "alice")
        world.join(issuer, redeemer)
        assert {world.identities[who].user for who in (ANN, BOB, CID)} == {"alice"}


def test_two_users_that_are_proven_one_become_one_whole(world: Paper) -> None:
    people = [ANN, BOB, CID, Who("telegram", "4")]
    for who in people:
        world.hears(who)
    world.link(BOB, str(ANN))
    world.link(people[3], str(CID))
    world.join(issuer=BOB, redeemer=people[3])
    assert len({world.home(who) for who in people}) == 1
    users = {(world.identities.get(who) or IdentityRow(*who)).unified for who in people}
    assert len(users) == 1


def test_one_user_proves_nothing_to_itself(world: Paper) -> None:
    world.link(ANN, "alice")
    world.link(BOB, "alice")
    with pytest.raises(ActRefused, match="one user already"):
        world.join(ANN, BOB)


# -- pairs -----------------------------------------------------------------------------------------


def test_a_pair_beats_a_link_and_its_end_gives_way_to_the_link_again(world: Paper) -> None:
    world.hears(ANN)
    world.hears(BOB)
    world.link(BOB, str(ANN))
    world.pair(BOB, "user-bob")
    assert (world.home(ANN), world.home(BOB)) == ("s1", "user-bob")
    world.pair(BOB, None)
    assert world.home(BOB) == "s1"


def test_a_pair_of_the_one_who_others_are_linked_to_is_theirs_too(world: Paper) -> None:
    world.hears(BOB)
    world.link(BOB, str(ANN))
    world.pair(ANN, "user-ann")
    assert world.hears(ANN) == world.hears(BOB) == "user-ann"


def test_a_pair_with_a_session_that_does_not_exist_opens_it_when_it_is_needed(
    world: Paper,
) -> None:
    assert world.pair(ANN, "user-ann").change.opened == ()
    assert world.hears(ANN) == "user-ann"
    world.hears(BOB)
    assert world.pair(BOB, "user-bob").change.opened == ("user-bob",)


@pytest.mark.parametrize("name", ["s7", "s0", "s1000000"])
def test_a_numbered_name_of_no_session_is_refused(world: Paper, name: str) -> None:
    with pytest.raises(ActRefused, match="names are given by the runtime"):
        world.pair(ANN, name)


@pytest.mark.parametrize("name", ["", " ", "a/b", "-x", "a b", "x" * 65, "ä", "a\n"])
def test_what_cannot_name_a_session_is_refused(world: Paper, name: str) -> None:
    with pytest.raises(ActRefused, match="cannot name a session"):
        world.pair(ANN, name)


def test_a_pair_of_the_configuration_is_changed_there_only(world: Paper) -> None:
    world.apply(plan_pair(world, *ANN, "user-ann", now_us=world.later(), by="config"))
    for session_id in ("other", None):
        with pytest.raises(ActRefused, match=r"the configuration pairs telegram:1 with user-ann"):
            world.pair(ANN, session_id)
    world.apply(plan_pair(world, *ANN, None, now_us=world.later(), by="config"))
    world.pair(ANN, "other")


def test_the_configuration_takes_over_a_pair_that_somebody_else_made(world: Paper) -> None:
    world.pair(ANN, "user-ann")
    world.apply(plan_pair(world, *ANN, "user-ann", now_us=world.later(), by="config"))
    assert world.identities[ANN].paired_by == "config"


def test_a_conversation_goes_back_to_its_own_agent_when_its_pair_ends(world: Paper) -> None:
    world.hears(ANN, "tg")
    world.hears(ANN, "tg_ops")
    world.pair(ANN, "family")
    assert world.cores[world.names[world.home(ANN)]].agent == "main"
    world.pair(ANN, None)
    agents = {row.instance: world.cores[row.stream].agent for row in world.places_of_identity(*ANN)}
    assert agents == {"tg": "main", "tg_ops": "ops"}


def test_two_who_are_paired_to_one_session_share_it_until_one_leaves(world: Paper) -> None:
    world.hears(ANN)
    world.hears(BOB)
    world.pair(ANN, "family")
    world.pair(BOB, "family")
    assert world.home(ANN) == world.home(BOB) == "family"
    world.pair(BOB, None)
    assert (world.home(ANN), world.home(BOB)) == ("family", "s2")
    assert "s2" not in world.joined("family")


# -- moves -----------------------------------------------------------------------------------------


def test_a_moved_conversation_follows_no_link_until_it_is_moved_by_the_rules(
    world: Paper,
) -> None:
    world.hears(ANN)
    world.hears(BOB)
    (row,) = world.places_of_identity(*BOB)
    world.move(row.address, "s1")
    assert world.bindings[row.address].scope == "manual"
    world.link(BOB, "bob")
    world.unlink(BOB)
    assert world.home(BOB) == "s1"
    world.move(row.address, None)
    assert world.home(BOB) == "s2"
    assert world.bindings[row.address].scope == "user"


def test_a_move_to_where_it_is_or_to_nowhere_is_refused(world: Paper) -> None:
    world.hears(ANN)
    (row,) = world.places_of_identity(*ANN)
    with pytest.raises(ActRefused, match="belongs to s1 already, by the rules of now"):
        world.move(row.address, None)
    with pytest.raises(ActRefused, match="there is no session 's9'"):
        world.move(row.address, "s9")


# -- undo ------------------------------------------------------------------------------------------


def test_undo_of_a_link_gives_back_the_session_and_hides_what_was_said_since(
    world: Paper,
) -> None:
    world.hears(ANN)
    world.hears(BOB)
    world.link(BOB, str(ANN))
    since_us = world.ledger[0].at_us
    assert world.hears(BOB) == "s1"
    world.undo(1)
    assert (world.home(ANN), world.home(BOB)) == ("s1", "s2")
    head = world.cores[1].head()
    assert head.hidden == ((*BOB, since_us, world.kinds("s1").index("hidden") + 1),)
    assert head.joined is None
    assert world.active("s1") == Address(Instance("tg"), "dm 1")
    assert world.active("s2") == Address(Instance("dc"), "dm 2")


def test_undo_hides_in_the_session_of_every_agent_what_was_said_there(world: Paper) -> None:
    for who in (ANN, BOB):
        for instance in INSTANCES_OF[who.platform]:
            world.hears(who, instance, f"dm {instance}")
    world.link(BOB, str(ANN))
    left = {row.session_id for row in world.places_of_identity(*BOB)}
    assert len(left) == 2
    world.undo(1)
    assert all(world.kinds(session_id)[-1] == "active" for session_id in left)
    assert all("hidden" in world.kinds(session_id) for session_id in left)


def test_undo_is_refused_when_something_builds_on_the_change(world: Paper) -> None:
    world.hears(ANN)
    world.hears(BOB)
    world.link(BOB, str(ANN))
    world.link(BOB, "carol")
    with pytest.raises(ActRefused, match=r"change 2 .* builds on it: undo that one first"):
        world.undo(1)
    world.undo(2)
    world.undo(1)
    assert world.home(BOB) == "s2"


def test_a_change_is_undone_once_and_an_undo_not_at_all(world: Paper) -> None:
    world.link(BOB, str(ANN))
    world.undo(1)
    with pytest.raises(ActRefused, match="change 1 was taken back already"):
        world.undo(1)
    with pytest.raises(ActRefused, match="change 2 is itself an undo"):
        world.undo(2)


def test_undo_of_a_move_that_was_moved_on_is_refused(world: Paper) -> None:
    world.hears(ANN)
    world.hears(BOB)
    (row,) = world.places_of_identity(*BOB)
    world.move(row.address, "s1")
    world.move(row.address, None)
    with pytest.raises(ActRefused, match=r"change 2 .* builds on it"):
        world.undo(1)


def test_undo_puts_a_conversation_back_where_somebody_had_put_it_with_its_past(
    world: Paper,
) -> None:
    world.hears(ANN)
    (row,) = world.places_of_identity(*ANN)
    world.move(row.address, "family")
    assert world.joined("family") == {"s1"}
    for session_id in ("s1", None):
        world.move(row.address, session_id)
        assert (world.home(ANN), world.joined("family")) == ("s1", set())
        world.undo(len(world.ledger))
        assert (world.home(ANN), world.joined("family")) == ("family", {"s1"})


def test_who_has_come_back_takes_nobody_along_who_has_gone_elsewhere_since(world: Paper) -> None:
    world.hears(BOB)
    world.hears(ANN)
    (first,) = world.places_of_identity(*ANN)
    world.move(first.address, "family")
    assert world.hears(ANN, "tg2") == "s2"
    world.move(Address(Instance("tg2"), "dm 1"), "s1")
    assert (world.joined("s1"), world.joined("family")) == ({"s2"}, set())
    world.move(first.address, "s1")
    world.undo(3)
    assert (world.joined("s1"), world.joined("family")) == ({"s2"}, set())


def test_undo_of_a_move_leads_to_where_the_links_and_pairs_of_now_say(world: Paper) -> None:
    world.hears(ANN)
    (row,) = world.places_of_identity(*ANN)
    world.hears(BOB)
    world.move(row.address, "family")
    world.link(ANN, str(BOB))
    assert world.home(ANN) == "family"
    world.undo(1)
    assert world.home(ANN) == world.home(BOB) == "s2"
    assert world.bindings[row.address].scope == "user"


def test_undo_goes_back_step_by_step(world: Paper) -> None:
    for who in (ANN, BOB, CID):
        world.hears(who)
    start = world.state(list(world.names))
    world.link(BOB, str(ANN))
    world.pair(BOB, "family")
    world.link(CID, str(BOB))
    for number in (3, 2, 1):
        world.undo(number)
    assert world.state(["s1", "s2", "s3"]) == start


def test_a_conversation_that_is_kept_where_it_is_stays_the_active_one(world: Paper) -> None:
    world.hears(ANN)
    (row,) = world.places_of_identity(*ANN)
    world.move(row.address, "s1")
    assert (world.home(ANN), world.active("s1")) == ("s1", row.address)


def test_a_session_that_nobody_wrote_in_lends_no_active_channel(world: Paper) -> None:
    world.hears(BOB)
    world.hears(ANN)
    (row,) = world.places_of_identity(*BOB)
    world.move(row.address, "s2")
    assert world.active("s2") == Address(Instance("tg"), "dm 1")
    world.move(row.address, "family")
    world.undo(2)
    assert world.active("s2") == Address(Instance("tg"), "dm 1")


def test_a_session_that_came_to_serve_others_serves_its_first_user_no_more(world: Paper) -> None:
    world.hears(ANN)
    (row,) = world.places_of_identity(*ANN)
    world.pair(BOB, "s1")
    world.hears(BOB)
    world.move(row.address, "family")
    world.pair(BOB, None)
    assert world.home(BOB) == "s1"
    assert world.hears(ANN, "tg2") not in {"s1", "family"}
    world.move(row.address, None)
    assert world.home(ANN) != world.home(BOB)


def test_undo_of_a_pair_takes_those_along_who_followed_it(world: Paper) -> None:
    world.pair(BOB, "family")
    world.pair(CID, "family")
    world.link(ANN, str(BOB))
    assert world.hears(CID) == world.hears(ANN) == "family"
    world.undo(1)
    assert world.home(ANN) != "family"


def test_undo_of_a_link_takes_those_along_who_came_under_the_same_name(world: Paper) -> None:
    world.pair(BOB, "family")
    world.link(ANN, str(BOB))
    world.hears(ANN)
    world.link(CID, "carol")
    world.link(ANN, "carol")
    assert world.hears(CID) == world.home(ANN)
    world.undo(4)
    assert world.home(ANN) == "family"
    assert world.home(CID) != "family"


def test_changes_of_other_people_do_not_keep_one_from_being_undone(world: Paper) -> None:
    for who in (ANN, BOB, CID):
        world.hears(who)
    world.link(BOB, str(ANN))
    world.link(CID, "carol")
    world.undo(1)
    assert [world.home(who) for who in (ANN, BOB, CID)] == ["s1", "s2", "s3"]


# -- whatever happens ------------------------------------------------------------------------------


def _place(record: BoundRecord | ReleasedRecord) -> Address:
    return Address(Instance(record.instance), record.conversation, record.thread)


PEOPLE: Final = [Who(p, n) for p in ("telegram", "discord", "whatsapp") for n in ("1", "2")]
USERS: Final = ["alice", "carol", *map(str, PEOPLE[:3])]
SESSIONS: Final = ["family", "s1", "s2", "s3"]
people = st.sampled_from(PEOPLE)


class Lives(RuleBasedStateMachine):
    """Acts and first messages in any order. After each, everything is where the rules have it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Paper()

    def attempt(self, act: Callable[[], Plan], *, and_back: bool) -> None:
        """Do an act, if it makes sense, and perhaps take it back at once."""
        names = list(self.world.names)
        before = self.world.state(names)
        try:
            act()
        except ActRefused:
            return
        if and_back and self.world.ledger[-1].act != "undo":
            self.look()
            done = self.world.ledger[-1]
            self.world.undo(len(self.world.ledger))
            after = self.world.state(names)
            if done.act in {"unlink", "unpair"} or any(not joined for *_, joined in done.joins):
                # Whoever went apart is together again, with all that was said meanwhile. What had
                # lived on inside one session, was given people, and loses them to another one now,
                # lives on by itself: of others nobody is shown more than before.
                apart = {to for *_, to, _, _ in done.moves}
                for name in names:
                    assert after["joined"][name] - before["joined"][name] <= apart
                del after["joined"], before["joined"], after["merged"], before["merged"]
            after["active"] = {
                n: place for n, place in after["active"].items() if n in before["active"]
            }
            assert after == before

    @rule(who=people, instance=st.sampled_from(list(PLATFORMS)), number=st.integers(1, 2))
    def somebody_writes(self, who: Who, instance: str, number: int) -> None:
        if PLATFORMS[instance] == who.platform:
            self.world.hears(who, instance, f"dm {who.user_id}.{number}")

    @rule(who=people, user=st.sampled_from(USERS), back=st.booleans())
    def somebody_is_linked(self, who: Who, user: str, back: bool) -> None:
        self.attempt(lambda: self.world.link(who, user), and_back=back)

    @rule(who=people, back=st.booleans())
    def somebody_is_unlinked(self, who: Who, back: bool) -> None:
        self.attempt(lambda: self.world.unlink(who), and_back=back)

    @rule(issuer=people, redeemer=people, back=st.booleans())
    def somebody_proves_who_they_are(self, issuer: Who, redeemer: Who, back: bool) -> None:
        if issuer != redeemer:
            self.attempt(lambda: self.world.join(issuer, redeemer), and_back=back)

    @rule(who=people, session=st.sampled_from([None, *SESSIONS]), back=st.booleans())
    def somebody_is_paired(self, who: Who, session: str | None, back: bool) -> None:
        self.attempt(lambda: self.world.pair(who, session), and_back=back)

    @rule(pick=st.integers(0, 20), session=st.sampled_from([None, *SESSIONS]), back=st.booleans())
    def a_conversation_is_moved(self, pick: int, session: str | None, back: bool) -> None:
        places = sorted(self.world.bindings)
        if places:
            place = places[pick % len(places)]
            self.attempt(lambda: self.world.move(place, session), and_back=back)

    @rule(back=st.integers(1, 4))
    def something_is_undone(self, back: int) -> None:
        number = len(self.world.ledger) + 1 - back
        if number > 0:
            self.attempt(lambda: self.world.undo(number), and_back=False)

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def look(self) -> None:
        self.every_place_has_one_owner_and_a_history_without_gaps()
        self.the_logs_agree_with_the_bindings()
        self.everybody_is_where_the_rules_have_them()
        self.nobody_shares_a_session_by_accident()
        self.what_has_joined_a_context_owns_nothing()

    def every_place_has_one_owner_and_a_history_without_gaps(self) -> None:
        for place, row in self.world.bindings.items():
            history = [*self.world.past.get(place, []), row]
            assert [r.version for r in history] == list(range(1, len(history) + 1))
            for earlier, later in pairwise(history):
                assert later.from_session == earlier.session_id
            assert self.world.names[row.session_id] == row.stream

    def the_logs_agree_with_the_bindings(self) -> None:
        owned: dict[Address, tuple[int, int]] = {}
        """The newest version of each place, and the log that has it."""
        released: set[tuple[Address, int]] = set()
        held: dict[Key, tuple[int, bool, int]] = {}
        """The newest version of each key; in whose log it was given, if not only given up."""
        for stream, log in self.world.logs.items():
            for record in log:
                match record:
                    case BoundRecord():
                        place = _place(record)
                        owned[place] = max(owned.get(place, (0, 0)), (record.version, stream))
                    case ReleasedRecord():
                        released.add((_place(record), record.version))
                    case KeyedRecord():
                        said = (record.version, record.held, stream)
                        held[record.key] = max(held.get(record.key, said), said)
                    case _:
                        pass
        for place, row in self.world.bindings.items():
            assert owned[place] == (row.version, row.stream)
            assert {v for p, v in released if p == place} == set(range(2, row.version + 1))
        for key, holder in self.world.keys.items():
            version, is_held, stream = held[key]
            assert version == holder.version
            if is_held:
                assert holder.session_id == self.world.cores[stream].session_id
            else:
                assert holder.session_id is None

    def wanted(self, row: BindingRow) -> tuple[str, ...]:
        """What decides about the session of a place."""
        assert row.user_id is not None
        identity = self.world.identity(row.platform, row.user_id) or IdentityRow(
            row.platform, row.user_id
        )
        paired = pair_of(identity, self.world.identity)
        if paired is not None:
            return ("session", paired)
        return ("user", agent_at(row.instance), identity.unified)

    def everybody_is_where_the_rules_have_them(self) -> None:
        for row in self.world.bindings.values():
            if row.scope != "user":
                continue
            wanted = self.wanted(row)
            if wanted[0] == "session":
                assert row.session_id == wanted[1]
            else:
                holder = self.world.keys.get(wanted)
                assert holder is not None, (row, wanted)
                assert holder.session_id == row.session_id, (row, wanted)

    def nobody_shares_a_session_by_accident(self) -> None:
        for stream in self.world.logs:
            rows = [r for r in self.world.places_of_session(stream) if r.scope == "user"]
            alone = {self.wanted(row) for row in rows if self.wanted(row)[0] == "user"}
            assert len(alone) <= 1, alone

    def what_has_joined_a_context_owns_nothing(self) -> None:
        for stream, core in self.world.cores.items():
            head = core.head()
            assert stream not in {number for number, _ in head.joined or ()}
            for number, name in head.joined or ():
                assert self.world.names[name] == number
                if self.world.goes_on_in(name, head.session_id):
                    owned = self.world.places_of_session(number)
                    assert not owned, f"{name} owns {owned} and is shown in {head.session_id}"
            if head.merged_into is not None:
                assert not self.world.places_of_session(stream)


def test_whatever_is_decided_everybody_is_where_the_rules_have_them() -> None:
    run_state_machine_as_test(
        Lives, settings=settings(deadline=None, max_examples=300, stateful_step_count=25)
    )


@pytest.mark.slow
def test_however_much_is_decided_everybody_is_where_the_rules_have_them() -> None:
    run_state_machine_as_test(
        Lives, settings=settings(deadline=None, max_examples=3_000, stateful_step_count=40)
    )
