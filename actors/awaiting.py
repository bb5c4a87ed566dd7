"""Awaiting: the part of a session's shell that tells when a run, and all it has sent, is over."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from ..storage.base import Batch, Reads
from ..storage.errors import StorageError
from .core.conversation import Conversation
from .core.effects import Effect
from .core.records import MalformedRecord
from .core.turn_records import AssistantRecord, QuarantinedRecord, SilentRecord
from .journal import load_records
from .kernel import TrioFuture
from .missions import AwaitRun
from .services import Services
from .unasked import Unasked

__all__ = ["Awaiting", "sent_in_turn"]


@dataclass(slots=True, eq=False)
class _Awaited:
    """A run for whose end somebody waits."""

    seq: int
    answer: TrioFuture[Any]
    has_ended: bool = False
    """Whether its turn is over, which need not be durable yet."""
    sent: tuple[int, ...] | None = None
    """Its deliveries, once the end of the turn is durable."""


class Awaiting(Unasked):
    """Answers whoever waits for the end of a run."""

    def __init__(self, services: Services, stream: int, conversation: Conversation) -> None:
        super().__init__(services, stream, conversation)
        self._awaited: list[_Awaited] | None = None

    def _await_run(self, message: AwaitRun) -> None:
        if (answer := self.take_reply()) is not None:
            self._awaited = [*(self._awaited or ()), _Awaited(message.turn_seq, answer)]
            self._look_for_ends()

    def _durable(
        self,
        effects: list[Effect],
        answer: TrioFuture[Any] | None,
        error: StorageError | None,
    ) -> None:
        super()._durable(effects, answer, error)
        if self._awaited is not None and error is None:
            self._look_for_ends()

    def _look_for_ends(self) -> None:
        """See which runs are over; what is decided of them need not be durable yet, but will."""
        core = self._core
        for run in self._awaited or ():
            if not run.has_ended and core.settled >= run.seq:
                run.has_ended = True
                self._submit(Batch(), partial(self._has_ended, run))
            elif run.sent is not None and not any(map(core.has_open_delivery, run.sent)):
                self._forget(run)
                self._submit(Batch(), partial(self._answered, run.answer, True))

    def _has_ended(self, run: _Awaited, error: StorageError | None) -> None:
        try:
            if error is not None:
                raise error
            run.sent = sent_in_turn(self._services.store, self._stream, run.seq)
        except (StorageError, MalformedRecord) as unknown:
            self._forget(run)
            run.answer.fail(unknown)
        else:
            self._look_for_ends()

    def _forget(self, run: _Awaited) -> None:
        self._awaited = [one for one in self._awaited or () if one is not run] or None


def sent_in_turn(store: Reads, stream: int, seq: int) -> tuple[int, ...]:
    """The deliveries that the turn of record `seq`, which is over, has asked for."""
    sent: list[int] = []
    for number, record in load_records(store, stream, seq + 1):
        match record:
            case AssistantRecord(turn_seq=turn) if turn == seq:
                sent.append(number)
                break
            case AssistantRecord(during=turn) if turn == seq:
                sent.append(number)
            case SilentRecord(turn_seq=turn) | QuarantinedRecord(turn_seq=turn) if turn == seq:
                break
            case _:
                pass
    return tuple(sent)
