"""The channel actor: everything around a channel that no channel should have to do.

Runs and restarts the channel's `run`, hands its turns to the registry, and sends what sessions
ask for: one lane for each conversation, in order, so that a stuck one holds no other. Retries,
backoff, `Retry-After` and giving up are here; the session that asked writes each fact down.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar, Final, Literal, get_args

import trio

from ..actors.deliveries import (
    Deliver,
    DeliveryReported,
    LaneSeen,
    LateReceipt,
    LateStatus,
    LookAtLanes,
    MayRetry,
    MayTell,
    Notice,
    OutcomeStatus,
)
from ..actors.errors import Overloaded
from ..actors.kernel import ActorDeadError, ActorRef, TrioActor, TrioFuture
from ..actors.messages import (
    Address,
    AgentBegan,
    AgentEnded,
    AgentSays,
    CatchUp,
    HearChange,
    MessageChange,
    SessionId,
    TurnEnded,
)
from ..actors.provenance import HearReceipt
from .base import Channel
from .file_desk import FileDesk, ReadFile
from .parcel import MAX_ID_CHARS, Failure, Parcel, is_id, word
from .presence import Presence
from .retry import GiveUp, RetryPolicy, Verdict

__all__ = ["MAX_CHANGES_IN_FLIGHT", "MAX_QUEUED", "MAX_RECEIPTS_IN_FLIGHT", "ChannelActor"]

logger = logging.getLogger("turnkeeper.channels")

MAX_QUEUED: Final = 10_000
"""Deliveries of one instance that wait in lanes; the next one fails as `outbox_full`."""
MAX_RECEIPTS_IN_FLIGHT: Final = 256
"""Late receipts of one instance that wait to become durable; `on_receipt` of the next one waits."""
MAX_CHANGES_IN_FLIGHT: Final = 256
"""Changes of one instance that wait to become durable; `on_change` of the next one waits."""

_LATE_STATUSES: Final[tuple[str, ...]] = get_args(LateStatus)
_MAX_RESTING: Final = 64
"""Tasks kept for the next lane: to wake one costs half of what a new one does."""
_NOBODY: Final = SessionId("")
"""Stands for the session of a notice, which has none."""


@dataclass(slots=True)
class _Lane:
    queue: deque[Deliver]
    reachable: bool = False
    """Whether the conversation has become reachable since the last attempt began."""
    pause: trio.CancelScope | None = None
    """Ends the pause between two attempts."""
    sending: bool = False
    """Whether an attempt at the first delivery is under way."""
    next_try_at_us: int = 0
    """When the first delivery is tried again; 0 if it does not pause."""
    reason: str | None = None
    """Why the last attempt at it failed; None if none has."""


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
        read_file: ReadFile,
    ) -> None:
        super().__init__()
        self._channel = channel
        self._files = FileDesk(read_file)
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
        self._receipts = trio.Semaphore(MAX_RECEIPTS_IN_FLIGHT)
        self._presence = Presence(channel, nursery, lambda place: place not in self._lanes)
        channel.on_reachable = self._reachable
        channel.on_receipt = self._hear_receipt
        self._changes = trio.Semaphore(MAX_CHANGES_IN_FLIGHT)
        channel.on_change = self._hear_change

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
            case AgentBegan():
                self._presence.began(message)
            case AgentSays():
                self._presence.says(message)
            case AgentEnded():
                self._presence.ended(message)
            case CatchUp():
                self._answer_when_quiet(self.take_reply())
            case LookAtLanes():
                return tuple(_seen(place, lane) for place, lane in self._lanes.items())
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
            self._asked_again(lane, deliver)
            return
        if self._queued >= MAX_QUEUED:
            parcel = Parcel(self._channel, deliver, self._files)
            self._give_up(parcel, deliver.attempt, "outbox_full")
            return
        self._queued += 1
        if lane is not None:
            lane.queue.append(deliver)
        else:
            lane = self._lanes[place] = _Lane(deque((deliver,)))
            self._new_lanes.append((place, lane))
            if not self._resting.unpark():
                self._nursery.start_soon(self._work)

    def _asked_again(self, lane: _Lane, deliver: Deliver) -> None:
        """A session was loaded anew and does not know that its delivery is here.

        One that pauses has no leave to go on from that session, which takes it to be under way: so
        it begins once more, behind the attempt that is not made any more.
        """
        first, *others = (queued.delivery_id for queued in lane.queue)
        if first == deliver.delivery_id and not lane.sending and first not in others:
            lane.queue.insert(1, deliver)
            self._queued += 1

    async def _work(self) -> None:
        """Empty lanes, one after the other; every new lane finds a task that has no other."""
        while True:
            while self._new_lanes:
                place, lane = self._new_lanes.popleft()
                while lane.queue:
                    lane.reason = None
                    is_over = await self._settle(lane, lane.queue[0])
                    done = lane.queue.popleft().delivery_id
                    self._queued -= 1
                    if is_over and lane.queue and lane.queue[0].delivery_id == done:
                        lane.queue.popleft()  # asked for again, and not needed any more
                        self._queued -= 1
                del self._lanes[place]
            if len(self._resting) >= _MAX_RESTING:
                return
            await self._resting.park()

    async def _settle(self, lane: _Lane, deliver: Deliver) -> bool:
        """Try until the delivery has an outcome; False if its session does not want this try."""
        parcel = Parcel(self._channel, deliver, self._files)
        attempt = deliver.attempt
        if deliver.ambiguous and self._channel.powers.after_unknown == "never":
            self._give_up(parcel, attempt, "interrupted")
            return True
        tries = attempt
        parcel.draft = await self._presence.claim(deliver.turn_id)
        while True:
            if deliver.notice is not None and not await self._may_tell(deliver.notice):
                self._give_up(parcel, attempt, "withheld")
                return True
            lane.reachable = False
            arrived = len(parcel.arrived)
            lane.sending = True
            try:
                failure = await self._attempt(parcel, attempt)
            finally:
                lane.sending = False
            if failure is None:
                self._report(parcel, attempt, "delivered", parcel.shortfall)
                return True
            if len(parcel.arrived) > arrived:
                tries = 1  # of the part that is next: a long text need not wear out its platform
            verdict = self._verdict(deliver, tries, failure)
            if isinstance(verdict, GiveUp):
                self._give_up(parcel, attempt, verdict.reason)
                return True
            self._report(parcel, attempt, "retrying", failure.reason)
            lane.reason = failure.reason
            lane.next_try_at_us = self._now_us() + round(verdict.after_s * 1_000_000)
            await self._pause(lane, verdict.after_s, failure.retry_after_s or 0.0)
            lane.next_try_at_us = 0
            attempt += 1
            tries += 1
            if not parcel.arrived:  # its session may have the draft taken back
                self._presence.give_back(deliver, parcel.draft)
            if not await self._may_retry(deliver, attempt):
                return False
            if not parcel.arrived:
                parcel.draft = await self._presence.claim(deliver.turn_id)

    async def _attempt(self, parcel: Parcel, attempt: int) -> Failure | None:
        self._sending += 1
        try:
            return await parcel.attempt(attempt)
        finally:
            self._sending -= 1
            self._sent += 1
            if not self._sending:
                self._answer_quiet()

    def _verdict(self, deliver: Deliver, tries: int, failure: Failure) -> Verdict:
        never_again = failure.lost and self._channel.powers.after_unknown == "never"
        if failure.final or never_again:
            return GiveUp(failure.reason)
        return self._policy.after_failure(
            tries,
            (self._now_us() - deliver.asked_at_us) / 1e6,
            self._rng,
            reason=failure.reason,
            retry_after_s=failure.retry_after_s,
        )

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

    async def _may_tell(self, notice: Notice) -> bool:
        """Whether a notice may go out; its reader may have been shut out since it was made."""
        try:
            return bool(await self._registry.ask(MayTell(notice=notice), block=False))
        except Exception as error:  # the supervisor's edge: one bad notice stops no channel
            logger.warning("%s: %s is not told", self, notice.delivery_id, exc_info=error)
            return False

    def _tell_dropped(self, deliver: Deliver) -> None:
        try:
            self._channel.delivery_dropped(deliver.delivery_id)
        except Exception:  # the supervisor's edge: the channel's deliveries go on
            logger.exception("%s broke when it heard of the end of %s", self, deliver.delivery_id)

    def _give_up(self, parcel: Parcel, attempt: int, reason: str) -> None:
        """End a delivery that has not arrived, as far as anybody knows."""
        if self._channel.powers.hears_turn_ends:
            self._tell_dropped(parcel.deliver)
        if parcel.may_have_arrived:
            self._report(parcel, attempt, "unknown", reason)
        elif parcel.arrived:
            self._report(parcel, attempt, "failed", f"partial: {reason}")
        else:
            self._presence.abandon(parcel.deliver, parcel.draft)
            self._report(parcel, attempt, "failed", reason)

    def _report(
        self, parcel: Parcel, attempt: int, status: OutcomeStatus, reason: str | None = None
    ) -> None:
        deliver, in_all = parcel.deliver, parcel.parts_in_all
        if deliver.session_id == _NOBODY:
            return
        self._registry.tell(
            DeliveryReported(
                session_id=deliver.session_id,
                delivery_id=deliver.delivery_id,
                attempt=attempt,
                status=status,
                reason=reason,
                platform_message_id=parcel.arrived[0] if status == "delivered" else None,
                may_have_arrived=status == "retrying" and parcel.in_doubt,
                address=deliver.address,
                parts=parcel.arrived if in_all > 1 else (),
                parts_in_all=in_all,
                keep_id=deliver.keep_id,
            )
        )

    # -- late receipts ---------------------------------------------------------------------------

    async def _hear_receipt(self, receipt: LateReceipt) -> bool:
        """What a channel calls as `on_receipt`."""
        hear = HearReceipt(instance=self._channel.name, receipt=_checked(receipt))
        async with self._receipts:
            try:
                return bool(await self._registry.ask(hear, block=False))
            except ActorDeadError as error:
                raise Overloaded(f"nobody is there to hear the receipt: {error}") from error

    # -- changes of what was said -----------------------------------------------------------------

    async def _hear_change(self, change: MessageChange) -> bool:
        """What a channel calls as `on_change`."""
        hear = HearChange(change=_of_here(change, self._channel.name))
        async with self._changes:
            try:
                return bool(await self._registry.ask(hear, block=False))
            except ActorDeadError as error:
                raise Overloaded(f"nobody is there to hear the change: {error}") from error


def _of_here(change: MessageChange, instance: str) -> MessageChange:
    """A channel's change of a message, if it is one; the registry looks at its fields.

    Raises:
        ValueError: it is none, or of another instance.
    """
    if type(change) is not MessageChange:
        raise ValueError(f"a change must be a MessageChange, not {type(change).__name__}")
    if type(change.address) is Address and change.address.instance != instance:
        raise ValueError(f"instance must be {instance!r}, not {change.address.instance!r:.80}")
    return change


def _seen(place: Address, lane: _Lane) -> LaneSeen:
    return LaneSeen(
        address=place,
        waiting=len(lane.queue),
        delivery_id=lane.queue[0].delivery_id,
        next_try_at_us=lane.next_try_at_us,
        reason=lane.reason,
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
        notice=notice,
    )


def _checked(receipt: LateReceipt) -> LateReceipt:
    """A channel's late receipt as it can be written down.

    Raises:
        ValueError: it is none; the text names what is wrong.
    """
    if type(receipt) is not LateReceipt:
        raise ValueError(f"a late receipt must be a LateReceipt, not {type(receipt).__name__}")
    for field in ("conversation", "platform_message_id"):
        if not is_id(getattr(receipt, field)):
            raise ValueError(f"{field} must be a str of 1 to {MAX_ID_CHARS} characters")
    status: object = receipt.status
    if type(status) is not str or status not in _LATE_STATUSES:
        raise ValueError(f"the status of a late receipt is one of {', '.join(_LATE_STATUSES)}")
    reason = receipt.reason
    return replace(receipt, reason=word(reason) if reason is not None else None)
