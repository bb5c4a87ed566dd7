"""What humans ask of the runtime itself, in a direct message, and what it answers.

Pure. A command is no turn: it reaches no agent and stands in no history. The answers say nothing of
anybody but whom they are sent to; a code is shown in the one message that gives it.
"""

from __future__ import annotations

from math import ceil
from typing import Final, Literal, TypeAlias, cast

from ..frozen import fact
from .codes import ACCESS_CODE_S, LINK_CODE_S, show_code

__all__ = [
    "ALREADY_LINKED",
    "APPROVED",
    "MAX_COMMAND_CHARS",
    "NOTHING_TO_UNLINK",
    "NOT_IN_GROUPS",
    "OWN_CODE",
    "TOO_MANY_CODES",
    "TRY_LATER",
    "UNLINKED",
    "WRONG_CODE",
    "Command",
    "Verb",
    "access_code",
    "linked",
    "locked",
    "new_link_code",
    "read_command",
]

MAX_COMMAND_CHARS: Final = 200
"""Characters in which a command is looked for; the longest sensible one has some 60."""

Verb: TypeAlias = Literal["link", "unlink"]

_VERBS: Final = frozenset({"link", "unlink"})


@fact
class Command:
    """A command to the runtime. Its argument may be a code, and is not shown."""

    verb: Verb
    argument: str | None

    def __repr__(self) -> str:
        return f"<Command: /{self.verb}{'' if self.argument is None else ' …'}>"


def read_command(text: str) -> Command | None:
    """The command that a message is; None for what belongs to the agent.

    A name behind the verb, as in `/link@some_bot`, is what apps put there in groups; it is ignored.
    So is whatever follows in further lines: what begins as a command may hold a code, and so never
    reaches the agent.
    """
    beginning = text[:MAX_COMMAND_CHARS].strip()
    if not beginning.startswith("/"):
        return None
    word, *rest = beginning.split(maxsplit=1)
    verb = word[1:].partition("@")[0]
    # Of letters that are no ASCII, some turn into the ones that are meant.
    if not verb.isascii() or verb.lower() not in _VERBS:
        return None
    return Command(cast("Verb", verb.lower()), rest[0].splitlines()[0].strip() if rest else None)


def new_link_code(code: str) -> str:
    """To whoever asked for a code with `/link`."""
    shown = show_code(code)
    return (
        f"Your code is {shown}. To bring another account of yours into this conversation, send "
        f"this from that account, in a direct message to me:\n\n/link {shown}\n\n"
        f"It works once, within {LINK_CODE_S // 60} minutes. Never post it in a group and give it "
        "to nobody: whoever sends it shares this conversation with you."
    )


def linked(platform: str) -> str:
    """To both sides: the two accounts are one. `platform` is where the other one is."""
    return (
        f"Done. This account and your account on {platform} now share one conversation with me. "
        "If that is not what you wanted, send /unlink."
    )


def locked(wait_s: float) -> str:
    """To whoever sent too many wrong codes, and has to wait for so many seconds."""
    minutes = ceil(wait_s / 60)
    if minutes <= 1:
        wait = "a minute"
    elif minutes <= 120:
        wait = f"{minutes} minutes"
    else:
        wait = f"{ceil(minutes / 60)} hours"
    return f"There were too many wrong codes. Please try again in {wait}."


def access_code(code: str) -> str:
    """To a stranger, where the operator approves strangers."""
    shown = show_code(code)
    return (
        "Hello! I do not know you yet. Please ask the person who runs me to let you in, with this "
        f"command:\n\nturnkeeper access approve {shown}\n\n"
        f"The code works once, within {ACCESS_CODE_S // 3600} hours."
    )


WRONG_CODE: Final = (
    "That code does not work. Codes can be used once and only for a short time. To get a new one, "
    "send /link from your other account."
)
"""The one answer to every code that is wrong, expired, used or void."""
TOO_MANY_CODES: Final = (
    "You have asked for several codes already. Please use the last one, or try again in an hour."
)
ALREADY_LINKED: Final = "These two accounts share one conversation already."
OWN_CODE: Final = "This is the account that asked for the code. Please send it from the other one."
NOT_IN_GROUPS: Final = (
    "Accounts are linked in direct messages only. If you have just posted a code here, it no "
    "longer works: send me /link in a direct message to get a new one."
)
UNLINKED: Final = "Done. This account now has a conversation with me of its own."
NOTHING_TO_UNLINK: Final = "This account is not linked to any other."
APPROVED: Final = "You have been let in. Welcome! Just write to me."
TRY_LATER: Final = "I cannot do that right now. Please try again later."
"""Something is full, or too much is going on."""
