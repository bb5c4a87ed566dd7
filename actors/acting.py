"""Acts, one at a time: the half of the registry that changes what was decided before.

An act is planned on a moment of the store in which nothing of the registry's is on its way, and in
which the sessions concerned hold still: whatever is meant for them waits here, for the time of two
or three commits. So does whatever belongs to no session yet. Conversations that the act does not
concern go on meanwhile. The act is written as one batch; then everything that waited is let in
again, and goes where it belongs now.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import deque
from contextlib import suppress
from typing import Any, ClassVar, Final, Literal

from ..storage.base import Batch
from ..storage.errors import Conflict, StorageError, StoreClosed, StoreFailed
from .acts import ActRefused
from .bench import Bench, Work
from .core.records import MalformedRecord
from .core.routing import IdentityRow
from .core.view_records import ErasedRecord
from .errands import BindPlace, HeldStill, HoldStill, PlaceBound
from .errors import Overloaded, SessionDamaged, ShuttingDown, TurnRefused
from .kernel import ActorDeadError, TrioActor, TrioFuture
from .messages import Address, SessionId
from .self_works import SelfLink
from .services import Ref, Services
from .works import work_of

__all__ = ["MAX_ACTS", "ActDesk", "Held"]

logger = logging.getLogger("turnkeeper.registry")

MAX_ACTS: Final = 1_000
"""Acts that wait; the next one is refused."""
_TRIES: Final = 5
"""How often an act is planned anew because a session was not as still as it said."""

Held = tuple[Any, "TrioFuture[Any] | None"]
"""A message, and the future that its answer goes to."""


class ActDesk(TrioActor):
    """Carries out acts; the registry routes."""

    scheduling: ClassVar[Literal["pool", "resident"]] = "resident"

    def __init__(self, services: Services, next_stream: int) -> None:
        super().__init__()
        self._services = services
        self._next_stream: int = next_stream
        self._acts: deque[Held] = deque()
        self._act: Held | None = None
        """The act that is being carried out."""
        self._tries = 0
        self._restless: set[SessionId] = set()
        """Sessions that have not said yet that they hold still."""
        self._still: dict[SessionId, list[Held]] = {}
        """What waits for the sessions that hold still."""
        self._unrouted: list[Held] = []
        """Turns of conversations that belong to no session yet."""
        self._binding: dict[Address, SessionId] = {}
        """Places that sessions were asked to own, and whether they do is not known yet."""
        self._awaits_quiet = False
        """Whether the act goes on once the last of them is known, and no note is being written."""

    # -- what the registry has -------------------------------------------------------------------

    @abstractmethod
    def _session_in_memory(self, session_id: SessionId) -> Ref | None:
        """The actor of a session, if it is in memory."""

    @abstractmethod
    def _let_in(self, message: Any, answer: TrioFuture[Any] | None) -> None:
        """Handle a message that has waited, as though it came now."""

    @abstractmethod
    def _forget_place(self, place: Address) -> None:
        """The place may belong to another session than was known."""

    @abstractmethod
    def _writes_notes(self) -> bool:
        """Whether a note and the outcome of its delivery are just being written together."""

    @abstractmethod
    def _goes(self, session_id: SessionId) -> None:
        """A session in memory has been deleted: pass nothing on to it any more."""

    @abstractmethod
    def _relinked(self, before: IdentityRow, after: IdentityRow) -> None:
        """An identity is another user from now on."""

    # -- one act after the other -----------------------------------------------------------------

    def _request_act(self, act: Any, answer: TrioFuture[Any] | None) -> None:
        if len(self._acts) >= MAX_ACTS:
            if answer is not None:
                full = ActRefused(f"{MAX_ACTS} changes wait already; try again later")
                answer.fail(_refusal(act, full))
            return
        self._acts.append((act, answer))
        if self._act is None:
            self._next_act()

    def _next_act(self) -> None:
        if self._acts:
            self._act = self._acts.popleft()
            self._tries = 0
            self._when_durable(self._begin)

    def _when_durable(self, then: Any, batch: Batch | None = None) -> None:
        """Call `then` once `batch`, and all that was submitted before it, is durable."""
        try:
            self._services.store.submit(batch if batch is not None else Batch(), then)
        except StorageError as error:  # too large, or a commit failed before
            then(error)

    def _begin(self, error: StorageError | None) -> None:
        """Nothing of ours is on its way: see what the act comes to, and whom it concerns."""
        if error is None and (self._binding or self._writes_notes()):
            self._awaits_quiet = True
            return
        work = self._planned(error)
        if work is None:
            return
        self._restless = {
            taken.session_id
            for taken in work.taken_over
            if taken.session_id not in self._still and self._asked_to_hold(taken.session_id)
        }
        for taken in work.taken_over:
            self._still.setdefault(taken.session_id, [])
        if not self._restless:
            self._write(work)

    def _planned(self, error: StorageError | None) -> Work | None:
        assert self._act is not None  # one is being carried out
        if error is not None:
            self._end_act(error)
            return None
        services = self._services
        bench = Bench(
            store=services.store,
            now_us=services.now_us(),
            next_stream=self._next_stream,
            rules=services.rules,
            canonical=services.canonical,
            random=services.random,
        )
        try:
            work = work_of(bench, self._act[0])
        except (ActRefused, StorageError, MalformedRecord) as refusal:
            self._end_act(refusal)
            return None
        except Exception as defect:  # the supervisor's edge: it ends this act, and nothing else
            logger.exception("%s could not be planned", type(self._act[0]).__name__)
            self._end_act(defect)
            return None
        if work.batch is None:
            self._end_act(None, work)
            return None
        return work

    def _asked_to_hold(self, session_id: SessionId) -> bool:
        """Ask a session to hold still; False if it is not in memory, which is as still."""
        ref = self._session_in_memory(session_id)
        if ref is None:
            return False
        try:
            ref.tell(HoldStill(session_id=session_id))
        except ActorDeadError:
            return False
        return True

    def _place_bound(self, message: PlaceBound) -> None:
        self._binding.pop(message.address, None)
        if not message.stored:
            self._forget_place(message.address)
        self._at_quiet()

    def _no_more_binding(self, session_id: SessionId, held: list[Held]) -> None:
        """A session has left memory: what it has not stored by now, nor `held`, is not stored."""
        lost = {place for place, owner in self._binding.items() if owner == session_id}
        lost -= {message.row.address for message, _ in held if isinstance(message, BindPlace)}
        for place in lost:
            del self._binding[place]
            self._forget_place(place)
        self._at_quiet()

    def _at_quiet(self) -> None:
        """A place has got its owner, or a note has been written: perhaps it was the last."""
        if self._awaits_quiet and not self._binding and not self._writes_notes():
            self._awaits_quiet = False
            self._when_durable(self._begin)

    def _held_still(self, message: HeldStill) -> None:
        self._at_rest(message.session_id)

    def _at_rest(self, session_id: SessionId) -> None:
        """A session holds still, or has left memory."""
        if session_id in self._restless:
            self._restless.discard(session_id)
            if not self._restless and (work := self._planned(None)) is not None:
                self._write(work)

    def _write(self, work: Work) -> None:
        if any(taken.session_id not in self._still for taken in work.taken_over):
            self._again(None)  # meanwhile it concerns others too
            return
        self._next_stream += work.opened

        def written(error: StorageError | None) -> None:
            if isinstance(error, Conflict):
                self._again(error)
            else:
                self._end_act(error, work)

        self._when_durable(written, work.batch)

    def _again(self, error: Conflict | None) -> None:
        self._tries += 1
        if self._tries < _TRIES:
            self._when_durable(self._begin)
        else:
            self._end_act(error or Conflict("the sessions concerned did not come to rest"))

    # -- afterwards ------------------------------------------------------------------------------

    def _end_act(self, error: Exception | None, work: Work | None = None) -> None:
        assert self._act is not None  # one is being carried out
        act, answer = self._act
        self._act = None
        self._restless.clear()
        if error is not None:
            log = logger.debug if answer is not None else logger.warning
            log("%s was not carried out: %s", type(act).__name__, error)
        elif work is not None:
            self._done(work)
        if answer is not None:
            if error is not None:
                answer.fail(_refusal(act, error))
            else:
                answer.resolve(work.value if work is not None else None)
        if isinstance(error, StoreClosed | StoreFailed):
            self._give_up(error)
        self._let_go()
        if self._act is None:  # what was let go may have begun the next one
            self._next_act()

    def _give_up(self, error: StorageError) -> None:
        """Nothing is stored any more: no act that waits can be carried out."""
        while self._acts:
            act, answer = self._acts.popleft()
            if answer is not None:
                answer.fail(_refusal(act, error))

    def _done(self, work: Work) -> None:
        self._services.acts_done += 1
        if work.decided:
            self._services.door.decided()
        for place in work.moved:
            self._forget_place(place)
        for before, after in work.relinked:
            self._relinked(before, after)
        if work.batch is not None:
            for taken in work.taken_over:
                if (ref := self._session_in_memory(taken.session_id)) is not None:
                    if isinstance(taken.records[-1], ErasedRecord):
                        self._goes(taken.session_id)
                    with suppress(ActorDeadError):  # it comes back as what is stored
                        ref.tell(taken)
        post = self._services.post
        for notice in work.notices:
            if (ref := post.channels.get(notice.address.instance)) is not None:
                with suppress(ActorDeadError):  # a stopping channel says nothing more
                    ref.tell(notice)
        if work.ended is not None and work.ended.address.instance in post.hearers:
            with suppress(ActorDeadError):
                post.channels[work.ended.address.instance].tell(work.ended)

    def _let_go(self) -> None:
        """Let in what has waited for the act to end, in the order in which it came."""
        still, self._still = self._still, {}
        unrouted, self._unrouted = self._unrouted, []
        for held in still.values():
            for message, answer in held:
                self._let_in(message, answer)
        for message, answer in unrouted:
            self._let_in(message, answer)

    def _is_held(self, session_id: SessionId, message: Any, answer: TrioFuture[Any] | None) -> bool:
        """Keep `message`, if its session holds still."""
        held = self._still.get(session_id)
        if held is None:
            return False
        held.append((message, answer))
        return True

    def _is_unrouted(self, message: Any, answer: TrioFuture[Any] | None) -> bool:
        """Keep what cannot be routed, because an act is being carried out."""
        if self._act is None:
            return False
        self._unrouted.append((message, answer))
        return True


def _refusal(act: Any, error: Exception) -> Exception:
    """`error` in the words of whoever asks; of a human's command, that is a channel."""
    refused: TurnRefused | None = None
    if isinstance(error, StoreClosed | StoreFailed):
        refused = ShuttingDown(f"nothing is stored any more: {error}")
    elif isinstance(act, SelfLink):
        if isinstance(error, ActRefused | Conflict):
            refused = Overloaded(f"the command cannot be carried out now: {error}")
        elif isinstance(error, StorageError | MalformedRecord):
            refused = SessionDamaged(f"what the command needs cannot be read: {error}")
    if refused is not None:
        refused.__cause__ = error
    return refused or error
