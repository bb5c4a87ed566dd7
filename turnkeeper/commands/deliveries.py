"""`deliveries`: what has not arrived, what became of it, and another try."""

from __future__ import annotations

from typing import Any, Final

from .. import stories
from ..control import BadLine, RequestFailed, ask
from ..stories import show_place
from ..views import DeliveryInfo
from .base import Command, CommandError, Exit, Invocation, NoSuchThing, NothingRuns, argument
from .output import limit_of, moment, print_fields, print_json, print_line, print_rows
from .reading import frozen
from .sessions import LIMIT

__all__ = ["COMMANDS"]

_RETRY_TIMEOUT_S: Final = 60.0
"""Longer than a platform takes to answer one attempt."""
_ARRIVED_OR_ON_ITS_WAY: Final = frozenset({"delivered", "rendered", "retrying"})
_OVER_AND_WELL: Final = frozenset({"delivered", "rendered"})
_ID: Final = argument("id", metavar="ID", help="the delivery, e.g. s1/4")


def _list(invocation: Invocation) -> int:
    limit = limit_of(invocation)
    with frozen(invocation.state_dir) as reads:
        found = stories.deliveries(reads)
    shown = found[:limit]
    if invocation.json:
        print_json(shown)
    else:
        print_rows(
            ("DELIVERY", "STATUS", "REASON", "ATTEMPTS", "ASKED", "TO", "TEXT"),
            shown,
            _row,
            left_out=len(found) - len(shown),
            nothing="every delivery has arrived",
        )
    return Exit.OK


def _row(info: DeliveryInfo) -> tuple[object, ...]:
    return (
        info.delivery_id,
        info.status,
        info.reason,
        info.attempts,
        moment(info.asked),
        _place(info),
        info.text,
    )


def _place(info: DeliveryInfo) -> str:
    return show_place(info.to) if info.nobody_at is None else f"nobody on {info.nobody_at}"


def _no_such_delivery(delivery_id: str) -> NoSuchThing:
    return NoSuchThing(
        f"there is no delivery {delivery_id!r}; `turnkeeper deliveries list` shows those that "
        "have not arrived"
    )


def _show(invocation: Invocation) -> int:
    delivery_id: str = invocation.arguments.id
    with frozen(invocation.state_dir) as reads:
        info = stories.delivery(reads, delivery_id)
    if info is None:
        raise _no_such_delivery(delivery_id)
    if invocation.json:
        print_json(info)
    else:
        print_fields(
            [
                ("delivery", info.delivery_id),
                ("session", info.session_id),
                ("to", _place(info)),
                ("status", info.status),
                ("reason", info.reason),
                ("attempts", f"{info.attempts}"),
                ("platform id", info.platform_message_id),
                ("parts", " ".join(info.parts) or None),
                ("note", info.note),
                ("receipt", info.receipt),
                ("asked", moment(info.asked)),
                ("updated", moment(info.updated)),
                ("text", info.text),
            ]
        )
    return Exit.OK


def _retry(invocation: Invocation) -> int:
    delivery_id: str = invocation.arguments.id
    with frozen(invocation.state_dir) as reads:
        info = stories.delivery(reads, delivery_id)
    if info is None:
        raise _no_such_delivery(delivery_id)
    if info.status in _OVER_AND_WELL:
        raise CommandError(f"delivery {delivery_id} is {info.status} already: nothing to retry")
    try:
        outcome: dict[str, Any] | None = ask(
            invocation.state_dir,
            "retry_delivery",
            id=delivery_id,
            mark_duplicate=invocation.arguments.mark_duplicate,
            timeout_s=_RETRY_TIMEOUT_S,
        )
    except TimeoutError as error:
        raise CommandError(
            f"delivery {delivery_id} is being tried, and has no outcome after "
            f"{_RETRY_TIMEOUT_S:g} s; `turnkeeper deliveries show {delivery_id}` tells it later"
        ) from error
    except (RequestFailed, BadLine, OSError) as error:
        raise CommandError(f"delivery {delivery_id} was not tried again: {error}") from error
    if outcome is None:
        raise NothingRuns(
            f"no runtime runs on {invocation.state_dir}, and only one can send: "
            "start `turnkeeper run`, then retry"
        )
    if outcome["reason"] == "may_have_arrived":
        raise CommandError(
            f"delivery {delivery_id} may have arrived, so it was not sent again; "
            f"`turnkeeper deliveries retry {delivery_id} --mark-duplicate` sends it all the same, "
            "marked as a possible repetition"
        )
    if invocation.json:
        print_json(outcome)
    else:
        reason = f" ({outcome['reason']})" if outcome["reason"] else ""
        print_line(f"{delivery_id}: {outcome['status']}{reason}")
    return Exit.OK if outcome["status"] in _ARRIVED_OR_ON_ITS_WAY else Exit.FAILED


COMMANDS: Final = (
    Command(
        words=("deliveries", "list"),
        summary="list the deliveries that are open, failed or unknown, oldest first",
        action=_list,
        arguments=(LIMIT,),
        examples=("turnkeeper deliveries list",),
        lists=True,
    ),
    Command(
        words=("deliveries", "show"),
        summary="show one delivery, and what became of it",
        action=_show,
        arguments=(_ID,),
        examples=("turnkeeper deliveries show s1/4",),
        lists=True,
    ),
    Command(
        words=("deliveries", "retry"),
        summary="send a failed or unknown delivery again, through the runtime that runs",
        action=_retry,
        arguments=(
            _ID,
            argument(
                "--mark-duplicate",
                action="store_true",
                help="send it even if it may have arrived, marked as a possible repetition",
            ),
        ),
        examples=(
            "turnkeeper deliveries retry s1/4",
            "turnkeeper deliveries retry s1/4 --mark-duplicate",
        ),
        lists=True,
    ),
)
