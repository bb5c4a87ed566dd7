"""The platforms of a fault run: they live on when the process dies, and know what arrived.

A :class:`Platforms` is the outside world; a :class:`Wire` is one life's connection to one instance,
and carries nothing any more once the power is off.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

import trio

from turnkeeper.actors.messages import Accepted, Address, InboundTurn
from turnkeeper.channels.base import (
    ChannelPowers,
    Deliver,
    LostAnswer,
    Outbound,
    Receipt,
    Rejected,
    Unreachable,
)
from turnkeeper.testing import LoopbackChannel

from .events import Fail
from .people import PLATFORMS, show

__all__ = ["Arrival", "Platforms", "Wire", "describe"]

_LATENCIES_S: Final = (0.0, 0.0, 0.0, 0.02, 0.3, 2.0)


class Arrival(NamedTuple):
    """A message that a human can see."""

    message_id: str
    place: Address
    outbound: Outbound
    life: int


class Platforms:
    """What has really arrived, and what is wrong with the lines at the moment."""

    def __init__(self, seed: int) -> None:
        self.arrived: list[Arrival] = []
        self.by_delivery: dict[str, list[Arrival]] = {}
        self.by_part: dict[str, list[Arrival]] = {}
        self.by_id: dict[tuple[Address, str], Arrival] = {}
        self._rng = rng = Random(f"lines {seed}")
        self.powers = {
            name: ChannelPowers(
                after_unknown=rng.choice(choices),
                text_limit=rng.choice((None, 60)),
                late_receipts=rng.random() < 0.5,
            )
            for name, (_, choices) in PLATFORMS.items()
        }
        self._faults: dict[str, deque[Fail]] = {name: deque() for name in PLATFORMS}
        self._gates: dict[str, trio.Event] = {}

    def fail(self, event: Fail) -> None:
        """Make the next sends of an instance fail."""
        self._faults[event.instance].extend([event] * event.times)

    def next_fault(self, instance: str) -> Fail | None:
        faults = self._faults[instance]
        return faults.popleft() if faults else None

    def latency_s(self) -> float:
        return self._rng.choice(_LATENCIES_S)

    def coin(self) -> bool:
        return self._rng.random() < 0.5

    def hold(self, instance: str) -> None:
        """Let every send of an instance hang until `release`."""
        self._gates.setdefault(instance, trio.Event())

    def release(self, instance: str) -> None:
        gate = self._gates.pop(instance, None)
        if gate is not None:
            gate.set()

    async def wait_open(self, instance: str) -> None:
        while instance in self._gates:
            await self._gates[instance].wait()

    def heal(self) -> None:
        """Everything works from now on."""
        for faults in self._faults.values():
            faults.clear()
        for instance in list(self._gates):
            self.release(instance)

    def arrive(self, outbound: Outbound, life: int) -> Arrival:
        arrival = Arrival(f"out-{len(self.arrived) + 1}", outbound.address, outbound, life)
        self.arrived.append(arrival)
        self.by_delivery.setdefault(outbound.delivery_id, []).append(arrival)
        self.by_part.setdefault(outbound.part_id, []).append(arrival)
        self.by_id[arrival.place, arrival.message_id] = arrival
        return arrival


class Wire(LoopbackChannel):
    """The loopback channel over :class:`Platforms`."""

    def __init__(
        self,
        name: str,
        platforms: Platforms,
        life: int,
        *,
        before_sending: Callable[[Outbound], None],
        on_arrival: Callable[[Arrival], None],
        on_hand_over: Callable[[InboundTurn], None],
    ) -> None:
        super().__init__(name, platform=PLATFORMS[name][0], powers=platforms.powers[name])
        self.is_cut = False
        self._platforms = platforms
        self._on_life = life
        self._before_sending = before_sending
        self._on_arrival = on_arrival
        self._on_hand_over = on_hand_over

    async def run(self, deliver: Deliver) -> None:
        """Be there until cancelled."""

        async def hand_over(turn: InboundTurn) -> Accepted:
            self._on_hand_over(turn)
            return await deliver(turn)

        await super().run(hand_over)

    async def send(self, outbound: Outbound) -> Receipt:
        """Carry a message, or fail as the platforms say."""
        platforms, name = self._platforms, self.name
        await self._carry()
        self._before_sending(outbound)
        await platforms.wait_open(name)
        await trio.sleep(platforms.latency_s())
        await self._carry()
        event = platforms.next_fault(name)
        match event and event.fault:
            case "refused":
                raise Unreachable("connection refused")
            case "timeout_before_send":
                raise Unreachable("timed out while connecting", reason="timeout")
            case "rate_limited" if event is not None:
                pause_s = event.retry_after_s
                raise Unreachable("429", reason="rate_limited", retry_after_s=pause_s)
            case "rejected":
                raise Rejected("400: bad request")
            case "timeout_after_send":
                self._arrive(outbound)
                raise LostAnswer("timed out while waiting for the answer")
            case "broken":
                if platforms.coin():
                    self._arrive(outbound)
                raise RuntimeError("the channel is broken (a schedule asked for it)")
            case _:
                arrival = self._arrive(outbound)
        await trio.sleep(platforms.latency_s())
        await self._carry()
        return Receipt(platform_message_id=arrival.message_id)

    async def reconcile(self, outbound: Outbound, /) -> Receipt | None:
        """Look whether a message has arrived."""
        await self._carry()
        await trio.sleep(self._platforms.latency_s())
        await self._carry()
        event = self._platforms.next_fault(self.name)
        if event is not None and event.fault == "refused":
            raise Unreachable("connection refused")
        earlier = self._platforms.by_part.get(outbound.part_id)
        return Receipt(platform_message_id=earlier[-1].message_id) if earlier else None

    def _arrive(self, outbound: Outbound) -> Arrival:
        earlier = self._platforms.by_part.get(outbound.part_id)
        if earlier and self.powers.after_unknown == "same_id":
            return earlier[0]
        arrival = self._platforms.arrive(outbound, self._on_life)
        self._on_arrival(arrival)
        return arrival

    async def _carry(self) -> None:
        if self.is_cut:
            await trio.sleep_forever()


def describe(arrival: Arrival) -> str:
    """What arrived, in one line."""
    outbound = arrival.outbound
    again = " (again)" if outbound.resend else ""
    return (
        f"{arrival.message_id} arrives at {show(arrival.place)}: {outbound.part_id} "
        f"{outbound.text!r}{again}"
    )
