"""The channel actor: everything around a channel that no channel should have to do.

Runs and restarts the channel's `run`, hands its turns to the registry, and sends what sessions
ask for: one lane for each conversation, in order, so that a stuck one holds no other. Retries,
backoff, `Retry-After` and giving up are here; the session that asked writes each fact down.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Final, Literal

import trio

from ..actors.errors import InvalidTurn, Overloaded, ShuttingDown
from ..actors.frozen import fact
from ..actors.kernel import ActorDeadError, ActorRef, TrioActor, TrioFuture
from ..actors.messages import (
    Accept,
    Accepted,
    Address,
    CatchUp,
    Deliver,
    DeliveryReported,
    InboundTurn,
    Instance,
    MayRetry,
    Notice,
    OutcomeStatus,
    SessionId,
    TurnEnded,
)
from .base import Channel, LostAnswer, Outbound, Receipt, Rejected, Unreachable
from .retry import GiveUp, RetryPolicy

__all__ = ["MAX_QUEUED", "MAX_TURNS_IN_FLIGHT", "ChannelActor", "Inlet"]

logger = logging.getLogger("turnkeeper.channels")

MAX_TURNS_IN_FLIGHT: Final = 256
"""Turns of one instance that wait to become durable: enough to fill a commit. `deliver` of the next
one waits its turn."""
MAX_QUEUED: Final = 10_000
"""Deliveries of one instance that wait in lanes; the next one fails as `outbox_full`."""

_MAX_RESTING: Final = 64
"""Tasks kept for the next lane: to wake one costs half of what a new one does."""
_NOBODY: Final = SessionId("")
"""Stands for the session of a notice, which has none."""
_REASON_CHARS: Final = 200
"""Longest reason that is kept: it is meant to be a word."""


@fact
class _Failed:
    """An attempt that did not give a receipt."""

    reason: str
    retry_after_s: float | None = None
    final: bool = False
    lost: bool = False
    """Whether it may have arrived all the same."""


@dataclass(slots=True)
class _Lane:
    queue: deque[Deliver]
    reachable: bool = False
    """Whether the conversation has become reachable since the last attempt began."""
    pause: trio.CancelScope | None = None
    """Ends the pause between two attempts."""


class ChannelActor(TrioActor):
    """Shell of one channel instance."""

    scheduling: ClassVar[Literal["pool", "resident"]] = "resident"

    def __init__(
        self,
        channel: Channel,
        registry: ActorRef[Any],
        nursery: trio.Nursery,
        *,
        policy: RetryPolicy,
        now_us: Callable[[], int],
        rng: Random,
    ) -> None:
        super().__init__()
        self._channel = channel
        self._registry = registry
        self._nursery = nursery
        self._policy = policy
        self._now_us = now_us
        self._rng = rng
        self._lanes: dict[Address, _Lane] = {}
        self._new_lanes: deque[tuple[Address, _Lane]] = deque()
        self._resting = trio.lowlevel.ParkingLot()
        self._queued = 0
        self._sending = 0
        self._sent = 0
        self._curious: list[TrioFuture[int]] = []
        channel.on_reachable = self._reachable

    def __str__(self) -> str:
        return f"channel {self._channel.name}"

    def on_receive(self, message: Any) -> Any:
        """Queue a delivery, or pass on that a turn has ended."""
        match message:
            case Deliver():
                self._enqueue(message)
            case Notice():
                self._enqueue(_delivery_of(message, self._now_us()))
            case TurnEnded():
                self._tell_channel(message)
            case CatchUp():
                self._answer_when_quiet(self.take_reply())
            case _:
                return super().on_receive(message)
        return None

    def _tell_channel(self, ended: TurnEnded) -> None:
        try:
            self._channel.turn_ended(ended)
        except Exception:  # the supervisor's edge: the channel's deliveries go on
            logger.exception("%s broke when it heard that %s has ended", self, ended.turn_id)

    def _answer_when_quiet(self, answer: TrioFuture[int] | None) -> None:
        """Tell how many sends there have been, once none is under way."""
        if answer is not None:
            self._curious.append(answer)
        if not self._sending:
            self._answer_quiet()

    def _answer_quiet(self) -> None:
        for answer in self._curious:
            answer.set(self._sent)
        self._curious.clear()

    # -- lanes -----------------------------------------------------------------------------------

    def _enqueue(self, deliver: Deliver) -> None:
        if self._nursery.cancel_scope.cancel_called:
            return  # the runtime stops: it goes out at the next start
        place = deliver.address
        assert place is not None  # what has no place goes to the feed
        lane = self._lanes.get(place)
        if lane is not None and any(d.delivery_id == deliver.delivery_id for d in lane.queue):
            return  # its session was loaded anew and asks again
        if self._queued >= MAX_QUEUED:
            self._report(deliver, deliver.attempt, "failed", reason="outbox_full")
            return
        self._queued += 1
        if lane is not None:
            lane.queue.append(deliver)
        else:
            lane = self._lanes[place] = _Lane(deque((deliver,)))
            self._new_lanes.append((place, lane))
            if not self._resting.unpark():
                self._nursery.start_soon(self._work)

    async def _work(self) -> None:
        """Empty lanes, one after the other; every new lane finds a task that has no other."""
        while True:
            while self._new_lanes:
                place, lane = self._new_lanes.popleft()
                while lane.queue:
                    await self._settle(lane, lane.queue[0])
                    lane.queue.popleft()
                    self._queued -= 1
                del self._lanes[place]
            if len(self._resting) >= _MAX_RESTING:
                return
            await self._resting.park()

    async def _settle(self, lane: _Lane, deliver: Deliver) -> None:
        """Try until the delivery has an outcome, or its session does not want it any more."""
        attempt, may_have_arrived = deliver.attempt, deliver.ambiguous
        resends = self._channel.powers.after_unknown != "never"
        if may_have_arrived and not resends:
            self._report(deliver, attempt, "unknown", reason="interrupted")
            return
        while True:
            lane.reachable = False
            result = await self._attempt(deliver, attempt, resend=may_have_arrived)
            if isinstance(result, Receipt):
                self._report(deliver, attempt, "delivered", platform_id=result.platform_message_id)
                return
            if result.lost and not resends:
                self._report(deliver, attempt, "unknown", reason=result.reason)
                return
            may_have_arrived |= result.lost
            verdict = self._policy.after_failure(
                attempt,
                (self._now_us() - deliver.asked_at_us) / 1e6,
                self._rng,
                reason=result.reason,
                retry_after_s=result.retry_after_s,
            )
            if result.final:
                verdict = GiveUp(result.reason)
            if isinstance(verdict, GiveUp):
                status: OutcomeStatus = "unknown" if may_have_arrived else "failed"
                self._report(deliver, attempt, status, reason=verdict.reason)
                return
            self._report(
                deliver,
                attempt,
                "retrying",
                reason=result.reason,
                may_have_arrived=may_have_arrived,
            )
            await self._pause(lane, verdict.after_s, result.retry_after_s or 0.0)
            attempt += 1
            if not await self._may_retry(deliver, attempt):
                return

    async def _attempt(self, deliver: Deliver, attempt: int, *, resend: bool) -> Receipt | _Failed:
        assert deliver.address is not None
        outbound = Outbound(
            delivery_id=deliver.delivery_id,
            address=deliver.address,
            text=deliver.text,
            reply_to=deliver.reply_to,
            attempt=attempt,
            resend=resend,
        )
        self._sending += 1
        try:
            receipt = await self._channel.send(outbound)
        except Unreachable as error:
            return _Failed(_word(error.reason), _least_pause_s(error.retry_after_s))
        except Rejected as error:
            return _Failed(_word(error.reason), final=True)
        except LostAnswer as error:
            logger.warning("%s: no answer for %s: %s", self, deliver.delivery_id, error)
            return _Failed("lost_answer", lost=True)
        except (
            Exception
        ):  # the supervisor's edge: a defect of the channel says nothing of the bytes
            logger.exception("%s broke while sending %s", self, deliver.delivery_id)
            return _Failed("channel_error", lost=True)
        finally:
            self._sending -= 1
            self._sent += 1
            if not self._sending:
                self._answer_quiet()
        if type(receipt) is not Receipt or type(receipt.platform_message_id) is not str:
            logger.error("%s returned %r as a receipt", self, receipt)
            return _Failed("no_receipt", lost=True)
        return receipt

    async def _pause(self, lane: _Lane, after_s: float, least_s: float) -> None:
        """Wait `after_s`, or less once the conversation can be reached, but at least `least_s`."""
        await trio.sleep(least_s)
        if not lane.reachable:
            with trio.move_on_after(after_s - least_s) as lane.pause:
                await trio.sleep_forever()
            lane.pause = None

    def _reachable(self, conversation: str) -> None:
        for place, lane in self._lanes.items():
            if place.conversation == conversation:
                lane.reachable = True
                if lane.pause is not None:
                    lane.pause.cancel()

    async def _may_retry(self, deliver: Deliver, attempt: int) -> bool:
        if deliver.session_id == _NOBODY:
            return True
        ask = MayRetry(
            session_id=deliver.session_id, delivery_id=deliver.delivery_id, attempt=attempt
        )
        try:
            return bool(await self._registry.ask(ask, block=False))
        except Exception as error:  # the supervisor's edge: one bad session stops no channel
            logger.warning("%s: %s waits for its session", self, ask.delivery_id, exc_info=error)
            return False

    def _report(
        self,
        deliver: Deliver,
        attempt: int,
        status: OutcomeStatus,
        *,
        reason: str | None = None,
        platform_id: str | None = None,
        may_have_arrived: bool = False,
    ) -> None:
        if status in ("failed", "unknown") and self._channel.powers.hears_turn_ends:
            self._channel.delivery_dropped(deliver.delivery_id)
        if deliver.session_id == _NOBODY:
            return
        self._registry.tell(
            DeliveryReported(
                session_id=deliver.session_id,
                delivery_id=deliver.delivery_id,
                attempt=attempt,
                status=status,
                reason=reason,
                platform_message_id=platform_id,
                may_have_arrived=may_have_arrived,
                address=deliver.address,
                keep_id=deliver.keep_id,
            )
        )


def _delivery_of(notice: Notice, now_us: int) -> Deliver:
    """A notice, as something to send whose outcome nobody writes down."""
    return Deliver(
        session_id=_NOBODY,
        delivery_id=notice.delivery_id,
        address=notice.address,
        text=notice.text,
        asked_at_us=now_us,
        reply_to=notice.reply_to,
    )


def _word(reason: object) -> str:
    """A channel's reason, as far as it can be written down."""
    return str.__str__(reason)[:_REASON_CHARS] if isinstance(reason, str) else "unnamed"


def _least_pause_s(retry_after_s: object) -> float | None:
    """The pause that a platform asks for, if it makes sense."""
    if isinstance(retry_after_s, int | float) and retry_after_s > 0:  # which NaN is not
        return float(retry_after_s)
    return None


class Inlet:
    """What a channel's `run` is given as `deliver`.

    Turns reach the registry in the order of the calls, those that had to wait for room included.
    """

    def __init__(self, instance: Instance, registry: ActorRef[Any]) -> None:
        self._instance = instance
        self._registry = registry
        self._in_flight = 0
        self._waiting: OrderedDict[TrioFuture[Accepted], InboundTurn] = OrderedDict()
        self._open = True

    def __repr__(self) -> str:
        return f"<Inlet in_flight={self._in_flight} waiting={len(self._waiting)}>"

    def close(self) -> None:
        """Refuse everything from now on."""
        self._open = False
        for answer in self._waiting:
            answer.fail(_shutting_down())

    async def __call__(self, turn: InboundTurn) -> Accepted:
        """Hand `turn` over; return once it is durable."""
        if not self._open:
            raise _shutting_down()
        if turn.address.instance != self._instance:
            raise InvalidTurn(
                f"channel {self._instance!r} delivered a turn of {turn.address.instance!r}"
            )
        answer: TrioFuture[Accepted] = TrioFuture()
        if self._in_flight < MAX_TURNS_IN_FLIGHT:
            self._in_flight += 1
            self._registry.forward(Accept(turn=turn), answer)
        else:
            self._waiting[answer] = turn
        try:
            return await answer
        except ActorDeadError as error:
            raise Overloaded(f"the session stopped before it took the turn: {error}") from error
        finally:
            if self._waiting.pop(answer, None) is None:  # else it was never handed over
                self._make_room()

    def _make_room(self) -> None:
        if self._waiting and self._open:
            answer, turn = self._waiting.popitem(last=False)
            self._registry.forward(Accept(turn=turn), answer)
        else:
            self._in_flight -= 1


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("the runtime is stopping and takes no more turns")
