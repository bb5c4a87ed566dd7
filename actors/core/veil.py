"""What undone links take out of a log: an identity's turns, and all that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence

from ..frozen import fact
from .delivery_records import NoteRecord
from .turn_records import AssistantRecord, MissionRecord, UserRecord

__all__ = ["Hidden", "Veil"]


@fact
class Hidden:
    """What is left out of a log: an identity's turns, from a time to a record."""

    platform: str
    user_id: str
    since_us: int
    """First time of arrival that is left out."""
    until_seq: int
    """First sequence number that is shown again."""


class Veil:
    """What undone links take out of one log, whose records it is shown in order."""

    __slots__ = ("_places", "_shown", "_spans", "_until_seq", "_whole")

    def __init__(self, hidden: Sequence[Hidden], *, whole: bool = True) -> None:
        """A veil over the records that are shown.

        Args:
            hidden: what undone links take out.
            whole: whether they begin where the log does: else a question that is hidden may stand
                before them, and so nobody can tell whose a conversation was.
        """
        self._whole = whole
        self._spans: dict[tuple[str, str], list[Hidden]] = {}
        for entry in hidden:
            self._spans.setdefault((entry.platform, entry.user_id), []).append(entry)
        self._until_seq = max(entry.until_seq for entry in hidden)
        self._shown: set[int] = set()
        """Turns before `_until_seq` whose question is shown."""
        self._places: set[tuple[str | None, ...]] = set()
        """Direct conversations of which a question is hidden."""

    def covers_question(self, seq: int, record: UserRecord | MissionRecord) -> bool:
        """Whether a turn's own message is left out."""
        if isinstance(record, UserRecord) and self.hides(seq, record):
            if record.direct:
                self._places.add((record.instance, record.conversation, record.thread))
            return True
        self._shown.add(seq)
        return False

    def hides(self, seq: int, record: UserRecord) -> bool:
        """Whether message `seq` is left out, be it among the records or not."""
        return any(
            record.at_us >= entry.since_us and seq < entry.until_seq
            for entry in self._spans.get((record.platform, record.user_id), ())
        )

    def covers_answer(self, turn_seq: int) -> bool:
        """Whether what belongs to a turn is left out.

        So is what belongs to one whose question is not in the stretch, because nobody can tell any
        more whose it was.
        """
        return turn_seq < self._until_seq and turn_seq not in self._shown

    def covers_aside(self, seq: int, record: AssistantRecord | NoteRecord) -> bool:
        """Whether what was said unasked is left out: it was, in the conversation of a hidden turn.

        Only where that conversation is a direct one, because nobody else was there; and in any
        conversation, where the log is not shown from its beginning.
        """
        if seq >= self._until_seq or record.conversation is None:
            return False
        place = (record.instance, record.conversation, record.thread)
        return place in self._places or not self._whole

    def covers_unknown(self, seq: int) -> bool:
        """Whether what cannot be told to be anybody's is left out."""
        return seq < self._until_seq
