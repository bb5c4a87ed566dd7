"""Sending: the half of the registry that finds out where a message goes which is no answer.

Also what else reaches a session without a human: a mirror, a mission's tick, a late receipt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .addressing import goes_on_in, place_of_user, session_of_user
from .core.directory import Recent
from .core.head import Head
from .core.intake import check_outgoing
from .core.routing import BindingRow
from .deliveries import Outcome, SendMessage, SendPlan
from .journal import find_session, load_binding, load_sent
from .kernel import TrioFuture
from .messages import Address, Instance, SessionId
from .missions import RunMission
from .noting import NoteDesk
from .provenance import AimAtDefault, HearReceipt, Mirror, Mirrored
from .services import Services
from .unknown import UnknownInstance, UnknownSession

__all__ = ["Sender"]


class Sender(NoteDesk):
    """Finds the place or the session; the session does the rest."""

    def __init__(self, services: Services, next_stream: int) -> None:
        super().__init__(services, next_stream)
        self._agents: Recent[SessionId, str] = Recent()

    # -- messages --------------------------------------------------------------------------------

    def _send(self, message: SendMessage, answer: TrioFuture[Any] | None) -> None:
        """Pass a message on to its session, if that may speak where it is to go."""
        if not message.dry_run:
            check_outgoing(message.text, files=bool(message.attachments))
        is_fresh = message.route is None  # else it has waited for an act, with its place
        if is_fresh and message.to is not None and message.user is not None:
            raise ValueError("a message goes to a conversation or to a user, not to both")
        if message.to is None and message.user is None and not message.dry_run:
            self._to_session(message.session_id, message, answer)
            return
        plan = self._plan_send(message)
        if message.dry_run:
            if answer is not None:
                answer.resolve(plan)
        elif plan.refused is not None:
            if answer is not None:
                answer.resolve(Outcome(status="failed", reason=plan.refused))
        else:
            addressed = replace(message, to=plan.address, route=plan.route)
            self._to_session(message.session_id, addressed, answer)

    def _plan_send(self, message: SendMessage) -> SendPlan:
        """Where a message would go now, and why not."""
        place, route, refused = message.to, message.route or "address", None
        if message.user is not None:
            agent = self._agent_of(message.session_id)
            place = place_of_user(self._services.store, message.user, agent)
            route = f"user {message.user}"
            refused = "no_recipient" if place is None else None
        elif place is not None:
            refused = self._why_not(message.session_id, place)
        else:
            head = self._head(message.session_id)
            place = head.active_channel
            route = "active channel" if head.instance is not None else "feed"
            if place is None and head.instance is not None:
                refused = "no_recipient"
        owner: BindingRow | None = None
        if message.dry_run and place is not None:
            refused = refused or self._services.door.closed_to(place, None)
            owner = load_binding(self._services.store, place)
        return SendPlan(
            session_id=message.session_id,
            address=place,
            route=route,
            owner=SessionId(owner.session_id) if owner is not None else None,
            refused=refused,
        )

    def _why_not(self, session_id: SessionId, place: Address) -> str | None:
        """Why a session may not speak in `place`; None if it may."""
        agent, rules = self._agent_of(session_id), self._services.rules.get(place.instance)
        if rules is not None and place.conversation in rules.send_to:
            return None
        owner = self._owner_of(place)
        if owner is None:
            return "no_recipient"
        return None if owner == session_id or self._agent_of(owner) == agent else "not_allowed"

    def _agent_of(self, session_id: SessionId) -> str:
        """Who speaks in a session, which never changes."""
        agent = self._agents.get(session_id)
        if agent is None:
            agent = self._head(session_id).agent
            self._agents.put(session_id, agent)
        return agent

    def _head(self, session_id: SessionId) -> Head:
        found = find_session(self._services.store, session_id)
        if found is None:
            raise UnknownSession(f"there is no session {session_id!r}")
        return found[1]

    def _aim_at_default(self, message: AimAtDefault, answer: TrioFuture[Any] | None) -> None:
        self._known(message.instance)
        self._to_session(message.session_id, message, answer)

    def _known(self, instance: Instance) -> None:
        rules = self._services.rules
        if instance not in rules:
            known = ", ".join(sorted(rules)) or "none"
            raise UnknownInstance(f"there is no channel {instance!r}; there is: {known}")

    # -- what is not sent ------------------------------------------------------------------------

    def _mirror(self, message: Mirror, answer: TrioFuture[Any] | None) -> None:
        """Pass a mirror on to the session that will get the answer."""
        check_outgoing(message.text)
        store = self._services.store
        session_id = message.session_id
        if message.user is not None:
            session_id = session_of_user(store, message.user)
        if session_id is None:
            if answer is not None:
                answer.resolve(Mirrored(status="failed", reason="no_session"))
            return
        self._to_session(SessionId(goes_on_in(store, session_id)), message, answer)

    def _hear_receipt(self, message: HearReceipt, answer: TrioFuture[Any] | None) -> None:
        receipt = message.receipt
        place = Address(message.instance, receipt.conversation)
        sent = load_sent(self._services.store, place, receipt.platform_message_id)
        if sent is None:
            if answer is not None:
                answer.resolve(False)
            return
        session_id = SessionId(sent.session_id)
        found = replace(message, session_id=session_id, delivery_seq=sent.seq)
        self._to_session(found.session_id, found, answer)

    # -- missions --------------------------------------------------------------------------------

    def _run(self, message: RunMission, answer: TrioFuture[Any] | None) -> None:
        """Pass a tick on to the session of its mission, which is opened if there is none yet."""
        if message.notify is not None:
            self._known(message.notify)
        if self._is_unrouted(message, answer):
            return
        self._open_alone(message.session_id, message.agent, f"mission {message.turn.mission}")
        self._to_session(message.session_id, message, answer)
