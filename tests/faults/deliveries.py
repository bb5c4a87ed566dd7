"""What was to be sent, what became of it, and whether that is true and meant for whoever got it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from turnkeeper.actors.core.delivery_records import DeliveryRecord, ReceiptRecord, ReopenedRecord
from turnkeeper.actors.core.records import address_of
from turnkeeper.actors.core.runtime_records import FeedRecord
from turnkeeper.actors.core.turn_records import AssistantRecord
from turnkeeper.actors.deliveries import Outcome
from turnkeeper.actors.messages import Address
from turnkeeper.channels.base import Outbound
from turnkeeper.channels.parcel import AGAIN

from .findings import Findings
from .ownership import Owners
from .people import GRANTED, human_of, show
from .platforms import Arrival, Platforms

__all__ = ["OVER", "Deliveries", "Delivery", "was_heard"]

OVER: Final = frozenset({"delivered", "rendered", "failed", "unknown"})


@dataclass
class Delivery:
    """One delivery, as its session's log has it."""

    id: str
    session_id: str
    seq: int
    record: AssistantRecord
    place: Address | None
    status: str = "waiting"
    may_have_arrived: bool = False
    reopened: bool = False
    marked: bool = False
    """Whether an operator has asked for a repetition."""
    failed_late: bool = False
    """Whether the platform has said later that it did not arrive after all."""
    was_denied: bool = False
    """Whether it has ever said so: then it vouches that nobody has seen it."""
    held: set[str] = field(default_factory=set[str])
    """The platform's ids of it that the log holds."""

    def __str__(self) -> str:
        where = show(self.place) if self.place is not None else "the feed"
        return f"{self.id} {self.record.text!r} at {where}"


def was_heard(record: DeliveryRecord) -> bool:
    """Whether the conversation has got something of what is over, or may have."""
    is_partial = record.status == "failed" and bool(record.parts)
    return is_partial or record.status in ("delivered", "unknown")


def is_whole(delivery: Delivery, arrivals: Collection[Arrival]) -> bool:
    """Whether every word of a delivery has arrived, in order."""
    parts = {one.outbound.part: one.outbound.text.removeprefix(AGAIN) for one in arrivals}
    words = " ".join(parts[number] for number in sorted(parts)).split()
    return words == delivery.record.text.split()


class Deliveries:
    """Nothing goes out unasked, twice, out of order or to somebody else; outcomes are true."""

    def __init__(self, findings: Findings, platforms: Platforms, owners: Owners) -> None:
        self.known: dict[str, Delivery] = {}
        self._findings = findings
        self._platforms = platforms
        self._owners = owners
        self._rendered: dict[str, str] = {}

    # -- records -----------------------------------------------------------------------------------

    def asked(
        self,
        session_id: str,
        agent: str,
        seq: int,
        record: AssistantRecord,
        places: Collection[Address],
    ) -> None:
        """A session has said something; `places` are those in which it has been written to."""
        delivery = Delivery(f"{session_id}/{seq}", session_id, seq, record, address_of(record))
        self.known[delivery.id] = delivery
        if delivery.place is not None:
            self._check_right(delivery, delivery.place, agent, places)

    def _check_right(
        self, delivery: Delivery, place: Address, agent: str, places: Collection[Address]
    ) -> None:
        """Whether what is said is meant for those who will read it: the text says for whom."""
        expect, text = self._findings.expect, delivery.record.text
        _, kind, aim = text.rsplit(" ", 2) if " " in text else ("", "", "")
        if kind == "to":
            expect(aim == show(place), f"12: {delivery} is not meant for that place")
        elif kind == "for":
            human = human_of(place)
            users = self._owners.users_since(text, human) if human is not None else ()
            expect(aim in users, f"12: {delivery} is read by {human}, who is {' or '.join(users)}")
        else:
            expect(place in places, f"12: {delivery}, where nobody has written to that session")
        if delivery.record.route == "address" and place != GRANTED:
            agents = self._owners.agents_since(text, place)
            expect(agent in agents, f"12: {delivery} is said by {agent}, not by {agents}")

    def reported(self, session_id: str, record: DeliveryRecord) -> Delivery:
        """What became of an attempt is durable."""
        delivery = self.known[f"{session_id}/{record.delivery_seq}"]
        expect = self._findings.expect
        what = f"6: {delivery} is {record.status!r}"
        arrivals = self._platforms.by_delivery.get(delivery.id, [])
        expect(delivery.status not in OVER, f"{what} after it was {delivery.status!r}")
        ids = {*record.parts, *filter(None, [record.platform_message_id])}
        missing = ids - {one.message_id for one in arrivals}
        expect(not missing, f"{what}, and the platform has no {missing}")
        match record.status:
            case "delivered":
                expect(bool(ids), f"{what} without an id")
                expect(is_whole(delivery, arrivals), f"{what}, and not all of it has arrived")
            case "failed":
                expect(
                    not arrivals or delivery.may_have_arrived or bool(record.parts),
                    f"{what}, and has arrived as {[one.message_id for one in arrivals]}",
                )
            case "rendered":
                expect(delivery.place is None, f"{what} instead of being sent")
                text = self._rendered.get(delivery.id)
                expect(text == delivery.record.text, f"{what}, and the feed shows {text!r}")
            case _:
                pass
        delivery.status = record.status
        delivery.held |= ids
        delivery.may_have_arrived |= record.may_have_arrived or record.status == "unknown"
        return delivery

    def reopened(self, session_id: str, record: ReopenedRecord) -> None:
        """An operator wants another attempt."""
        delivery = self.known[f"{session_id}/{record.delivery_seq}"]
        expect, what = self._findings.expect, f"6: {delivery} is opened again"
        expect(address_of(record) == delivery.place, f"{what}, for another place")
        is_trouble = delivery.failed_late or delivery.status in ("failed", "unknown")
        expect(is_trouble, f"{what} when it is {delivery.status!r}")
        expect(
            record.duplicate or not delivery.may_have_arrived,
            f"{what} without a mark, and may have arrived",
        )
        delivery.status, delivery.reopened, delivery.failed_late = "waiting", True, False
        delivery.marked |= record.duplicate

    def told_later(self, session_id: str, record: ReceiptRecord) -> None:
        """The platform has told more of what was over."""
        delivery = self.known[f"{session_id}/{record.delivery_seq}"]
        self._findings.expect(
            record.platform_message_id in delivery.held,
            f"6: {delivery} is {record.status} as {record.platform_message_id}, which it is not",
        )
        delivery.failed_late |= record.status == "failed"
        delivery.was_denied |= record.status == "failed"

    def shown_in_feed(self, record: FeedRecord) -> None:
        """The console feed has a line."""
        self._findings.expect(
            record.delivery_id not in self._rendered,
            f"6: {record.delivery_id} is shown in the feed twice",
        )
        self._rendered[record.delivery_id] = record.text

    # -- what goes out -----------------------------------------------------------------------------

    def sending(self, outbound: Outbound) -> None:
        """A channel is asked to send."""
        expect, delivery = self._findings.expect, self.known.get(outbound.delivery_id)
        if delivery is None:
            self._findings.fail(f"5: {outbound} is sent, and no durable record asks for it")
            return
        expect(outbound.address == delivery.place, f"5: {delivery} goes to {outbound.address}")
        text = outbound.text
        if delivery.marked:
            text = text.removeprefix(AGAIN)
        is_said = text == delivery.record.text or (
            outbound.parts > 1 and text in delivery.record.text
        )
        expect(is_said, f"5: {delivery} is sent as {outbound.text!r}")
        expect(delivery.status not in OVER, f"5: {delivery} is sent when it is {delivery.status!r}")

    def arriving(self, arrival: Arrival) -> None:
        """A message has arrived on its platform."""
        outbound = arrival.outbound
        delivery = self.known.get(outbound.delivery_id)
        if delivery is None:
            return  # told when it was sent
        if len(self._platforms.by_part[outbound.part_id]) > 1:
            marked = outbound.resend or delivery.marked or delivery.was_denied
            self._findings.expect(marked, f"6: {delivery} arrives a second time, unmarked")
        elif not delivery.reopened:
            self._check_lane(delivery)

    def _check_lane(self, delivery: Delivery) -> None:
        for other in self._platforms.arrived[:-1]:
            earlier = self.known.get(other.outbound.delivery_id)
            if (
                earlier is not None
                and earlier.place == delivery.place
                and earlier.session_id == delivery.session_id
                and not earlier.reopened
                and earlier.seq > delivery.seq
            ):
                self._findings.fail(f"3: {delivery} arrives after {earlier}")

    def answered(self, outcome: Outcome) -> None:
        """Somebody is told what became of a message."""
        expect, delivery = self._findings.expect, self.known.get(outcome.delivery_id or "")
        if delivery is None:
            expect(outcome.status == "failed", f"6: nobody asked for what is said to be {outcome}")
        elif outcome.status in OVER:
            what = f"6: {delivery} is said to be {outcome.status!r} ({outcome.reason})"
            arrived = delivery.id in self._platforms.by_delivery
            expect(outcome.status != "delivered" or arrived, f"{what}, and never arrived")
            expect(
                outcome.status == delivery.status or outcome.reason == "may_have_arrived",
                f"{what}, and the log says {delivery.status!r}",
            )

    def unfinished(self) -> list[str]:
        """What has no outcome."""
        return [f"{one} ({one.status})" for one in self.known.values() if one.status not in OVER]
