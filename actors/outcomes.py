"""What a channel reports of a delivery, as whoever asked for it is told. Pure."""

from __future__ import annotations

from .deliveries import DeliveryReported, Outcome, Part
from .messages import SessionId

__all__ = ["outcome_of"]


def outcome_of(report: DeliveryReported, noted_in: SessionId | None = None) -> Outcome:
    """The outcome that `report` tells of.

    Args:
        report: of one attempt.
        noted_in: the session that has a note of it.
    """
    return Outcome(
        status=report.status,
        reason=report.reason,
        platform_message_id=report.platform_message_id or next(iter(report.parts), None),
        delivery_id=report.delivery_id,
        provenance="recorded" if noted_in is not None else "not_needed",
        noted_in=noted_in,
        parts=_parts(report),
    )


def _parts(report: DeliveryReported) -> tuple[Part, ...]:
    """Each part of a message that takes several: those that arrived, the one tried, the rest."""
    if report.parts_in_all <= 1:
        return ()
    arrived = [
        Part(number=number, status="delivered", platform_message_id=platform_id)
        for number, platform_id in enumerate(report.parts, 1)
    ]
    missing = [
        Part(number=number, status="not_sent")
        for number in range(len(arrived) + 1, report.parts_in_all + 1)
    ]
    if missing and report.status in ("failed", "unknown"):
        missing[0] = Part(number=missing[0].number, status=report.status)
    return (*arrived, *missing)
