"""Who may talk to the agent at an instance, and who may still be written to: the decision.

Pure. Deny wins always, in direct conversations and groups alike. A grant to a human opens direct
conversations only; groups are opened by the operator, one by one or all. Ids are compared exactly,
as they are made canonical before: no case folded, nothing stripped, no look-alikes made equal.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal, TypeAlias

from ..frozen import fact, message

__all__ = [
    "Access",
    "AccessRules",
    "Admitted",
    "Denied",
    "Knock",
    "Standing",
    "Unaddressed",
    "Verdict",
    "Withheld",
    "admit",
    "may_receive",
]

Access: TypeAlias = Literal["open", "allowlist", "code"]
"""Who may talk in direct conversations: everybody; those who are named or approved; the same, and
a stranger gets a code that the operator can approve."""
Standing: TypeAlias = Literal["approved", "revoked"] | None
"""What the operator has decided about a user at an instance; None for nothing."""
Withheld: TypeAlias = Literal["denied", "revoked", "not_allowed"]
"""Why nothing is sent to somebody, as the reason of an outcome."""


@message
class AccessRules:
    """What the configuration says about one instance. All ids are canonical."""

    access: Access = "open"
    allowed_users: frozenset[str] = frozenset()
    denied_users: frozenset[str] = frozenset()
    allowed_conversations: frozenset[str] | None = None
    """The only groups that are open; None if nothing was said about groups."""
    require_mention: bool = False
    """Whether a message in a group must name the agent, or answer it."""
    stated: bool = False
    """Whether any rule of access stands in the configuration at all."""


@fact
class Admitted:
    """The turn goes on. `rule` names what lets it in."""

    rule: str


@fact
class Denied:
    """The turn is refused. `rule` names what keeps it out."""

    rule: str
    text: str
    """May be told to the human: says neither why, nor anything about others."""


@fact
class Knock:
    """A stranger wrote directly, where strangers get an access code."""

    rule: ClassVar[str] = "access code"


@fact
class Unaddressed:
    """A message in a group that is meant for others: nobody answers, not even to refuse."""

    rule: ClassVar[str] = "require_mention"


Verdict: TypeAlias = Admitted | Denied | Knock | Unaddressed
"""Each has a `rule`, which `explain` shows."""

_NOT_YOU: Final = "Sorry, I cannot talk with you here."
_NOT_THIS_GROUP: Final = "Sorry, I do not take part in this conversation."
_BARRED_BY: Final[dict[Withheld, str]] = {
    "denied": "denied_users",
    "revoked": "revoked by the operator",
}


def admit(
    rules: AccessRules,
    *,
    user_id: str,
    conversation: str,
    direct: bool,
    mentioned: bool,
    standing: Standing,
) -> Verdict:
    """Decide about one inbound turn.

    Args:
        rules: of the instance that heard it.
        user_id: canonical id of the human.
        conversation: the platform's id; threads are as open as the conversation they are in.
        direct: whether nobody else is in the conversation.
        mentioned: whether the message is meant for the agent. For groups only.
        standing: of this human at this instance.
    """
    barred = _barred(rules, user_id, standing)
    if barred is not None:
        return Denied(_BARRED_BY[barred], _NOT_YOU)
    rule = _opened_by(rules, user_id, conversation, standing, direct=direct)
    if rule is not None:
        if rules.require_mention and not direct and not mentioned:
            return Unaddressed()
        return Admitted(rule)
    if direct:
        return Knock() if rules.access == "code" else Denied(f"access {rules.access}", _NOT_YOU)
    if rules.allowed_conversations is not None:
        return Denied("allowed_conversations", _NOT_THIS_GROUP)
    return Denied(f"access {rules.access}", _NOT_THIS_GROUP)


def may_receive(
    rules: AccessRules,
    *,
    user_id: str | None,
    conversation: str,
    direct: bool,
    standing: Standing,
) -> Withheld | None:
    """Why a message must not be sent now, or None if it may: the judgement of `admit`, once more.

    Args:
        rules: of the instance that would send it.
        user_id: canonical id of the human: of a direct conversation the other side, of a group
            whoever is answered. None if unknown, or in a group nobody in particular.
        conversation: the platform's id.
        direct: whether nobody else is in the conversation.
        standing: of this human at this instance; None where `user_id` is.
    """
    barred = _barred(rules, user_id, standing)
    if barred is not None:
        return barred
    opened = _opened_by(rules, user_id, conversation, standing, direct=direct)
    return "not_allowed" if opened is None else None


def _barred(rules: AccessRules, user_id: str | None, standing: Standing) -> Withheld | None:
    if user_id in rules.denied_users:
        return "denied"
    # Asked this way round, a standing that nobody knows bars too.
    return None if standing in (None, "approved") else "revoked"


def _opened_by(
    rules: AccessRules,
    user_id: str | None,
    conversation: str,
    standing: Standing,
    *,
    direct: bool,
) -> str | None:
    """Name of the rule that opens the conversation to the human; None if none does."""
    if not direct and rules.allowed_conversations is not None:
        return "allowed_conversations" if conversation in rules.allowed_conversations else None
    if rules.access == "open":
        return "access open"
    if not direct or user_id is None:
        return None
    if user_id in rules.allowed_users:
        return "allowed_users"
    return "approved by the operator" if standing == "approved" else None
