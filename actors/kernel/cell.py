"""Cell: one actor's life between its mailbox and whoever lends it a task.

A drain is a plain function: it handles messages until there are none, its budget is used up, or a
handler suspends. A suspended handler comes back as a :data:`Work` for a task to finish, so that
handlers which never wait never cost a task switch.
"""
# The kernel's modules are one unit: they use each other's internals, and nobody else does.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import types
from collections.abc import Coroutine, Generator
from random import Random
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import trio
from pykka import ActorDeadError, ActorRegistry

from .future import TrioFuture
from .mailbox import Mailbox, answer_with, fail_with
from .messages import SPECIAL, START, STOPS, Envelope, Quarantined, Retry, Start, Stop
from .supervision import GiveUp, RestartPolicy
from .supervisor import FailureHistory

if TYPE_CHECKING:
    from .actor import TrioActor
    from .kernel import Kernel

__all__ = [
    "DRAIN_LIMIT_MESSAGES",
    "MORE",
    "Cell",
    "Guard",
    "Hook",
    "More",
    "Work",
]

_FEW: Final = 8
"""Replies that are looked through whenever an actor comes to rest, which costs next to nothing."""
DRAIN_LIMIT_MESSAGES: Final = 64
"""Messages one actor may handle before others get their turn."""

Hook: TypeAlias = Coroutine[Any, Any, Any]
Work: TypeAlias = tuple[Hook, Any, Any]
"""A handler that has suspended, what it waits for, and the message which it handles."""


class More:
    """The answer of a drain that has used up its budget."""


MORE: Final = More()
_COROUTINE: Final[type] = CoroutineType

_log: Final = logging.getLogger(__name__)


class Guard:
    """What is needed to restart a supervised actor."""

    __slots__ = ("args", "history", "kwargs", "policy")

    def __init__(
        self, policy: RestartPolicy, rng: Random, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.policy = policy
        self.history = FailureHistory(policy, rng)
        self.args = args
        self.kwargs = kwargs


class Cell(Mailbox):
    """A mailbox with its actor. Methods run on the loop thread."""

    __slots__ = (
        "_actor",
        "_guard",
        "_reply",
        "_resident",
        "_scope",
        "_taken",
        "actor_class",
    )

    actor_class: type[TrioActor]

    def __init__(self, kernel: Kernel, actor: TrioActor) -> None:
        cls = type(actor)
        super().__init__(kernel, cls.mailbox_limit)
        self.actor_class = cls
        self._actor: TrioActor | None = actor
        self._reply: Any = None
        """Where the answer to the current message goes, while the kernel owes it."""
        self._taken: list[TrioFuture[Any]] | None = None
        """Replies which the actor has taken upon itself; some may have been set since."""
        self._scope: trio.CancelScope | None = None
        """Cancels the task that runs a suspended handler."""
        self._resident: Any = None
        self._guard: Guard | None = None

    def _drain(self) -> Work | More | None:  # noqa: C901, PLR0912  (calls cost: one hot loop)
        """Handle what is waiting; None when the actor has become idle, or is dead."""
        actor = self._actor
        if actor is None:
            return None
        receive = actor.on_receive
        result: Any
        batch = self._batch
        budget = DRAIN_LIMIT_MESSAGES
        while budget:
            if self._urgent is not None:
                item = self._take_urgent()
            elif batch:
                item = batch.pop()
            else:
                batch = self._queue
                if not batch:
                    self._queue = self._batch = None
                    if self._taken is not None and len(self._taken) <= _FEW:
                        self._let_go_of_answered()
                    return None
                batch.reverse()
                self._batch = batch
                self._queue = []
                continue
            budget -= 1
            if self._bound is not None:
                self._admit_sender()
            try:
                if type(item) in SPECIAL:
                    result = self._receive_special(item)
                else:
                    result = receive(item)
                if type(result) is not _COROUTINE:
                    if self._reply is not None:
                        self._settle(result)
                    continue
            except Exception as error:
                result = self._failed(error, item)
                if result is None:
                    continue
            except BaseException:
                self._abort()
                raise
            work = self._step(result, item)
            if work is not None:
                return work
            actor = self._actor  # another one, if it has been restarted
            if actor is None:
                return None
            receive = actor.on_receive
            batch = self._batch
        return MORE

    def _step(self, hook: Hook, item: Any) -> Work | None:
        """Run `hook` up to where it first waits, if it does; most never do."""
        while True:
            try:
                return hook, hook.send(None), item
            except StopIteration as stop:
                self._settle(stop.value)
                return None
            except Exception as error:
                failing = self._failed(error, item)
                if failing is None:
                    return None
                hook = failing
            except BaseException:
                self._abort()
                raise

    async def _finish(self, work: Work) -> None:
        """Run a suspended handler to its end, in the task of the caller.

        Raises:
            trio.Cancelled: the task was cancelled; the actor is dead and every ask answered.
        """
        hook, waits_for, item = work
        try:
            try:
                self._settle(await _resume(hook, waits_for))
            except Exception as error:
                failing = self._failed(error, item)
                if failing is not None:
                    await failing
        except BaseException:
            self._abort()
            raise

    def _receive_special(self, item: Any) -> Any:
        """Handle what does not go straight to `on_receive`."""
        actor = self._actor
        assert actor is not None
        message: Any = item
        if type(message) is Envelope:
            self._reply = message.reply_to
            message = message.message
        if type(message) is Retry:
            message = message.message
        if type(message) not in SPECIAL:
            return actor.on_receive(message)
        if type(message) in STOPS:
            return self._end(type(message) is Stop)
        if type(message) is Start:
            return actor.on_start()
        if type(message) is Quarantined:
            return actor.on_quarantine(message.message, message.error)
        return actor._handle_receive(message)

    def _settle(self, result: Any) -> None:
        """Answer the current message, unless that is no longer the kernel's duty."""
        reply = self._reply
        if reply is not None:
            self._reply = None
            answer_with(reply, result)

    def _take_reply(self) -> TrioFuture[Any] | None:
        """Let the actor answer the current message itself."""
        reply = self._reply
        if reply is None:
            return None
        self._reply = None
        taken = self._taken
        if taken is None:
            self._taken = [reply]
        else:
            taken.append(reply)
            if len(taken) & (len(taken) - 1) == 0:  # at each power of two: amortised
                taken[:] = [future for future in taken if not future.done()]
        return reply  # type: ignore[no-any-return]

    def _let_go_of_answered(self) -> None:
        """Keep no answer that was given: an actor may rest for long."""
        self._taken = [reply for reply in self._taken or () if not reply.done()] or None

    def _failed(self, error: Exception, item: Any) -> Hook | None:
        """Give an error to the asker; without one, what has to be done about it."""
        reply = self._reply
        if reply is not None:
            self._reply = None
            _log.info("Exception returned from %s to caller:", self, exc_info=error)
            fail_with(reply, error)
            return None
        if self._stopped:
            _log.error("Unhandled exception in %s, after its end:", self, exc_info=error)
            return None
        return self._fail(error, item)

    async def _fail(self, error: Exception, item: Any) -> None:
        """Restart the actor where it is supervised, else let it die."""
        _log.error("Unhandled exception in %s:", self, exc_info=error)
        guard = self._guard
        decision = None if guard is None else guard.history.add()
        if guard is None or decision is None or isinstance(decision, GiveUp):
            leftover = self._close()
            try:
                if item is not START:
                    await self._tell_of_failure(error)
            finally:
                self._bury(leftover)
            if decision is not None:
                self._kernel._escalate(self, error)
            return
        _log.warning("%s restarts in %.3g s", self, decision.delay_s)
        if item is not START:
            await self._tell_of_failure(error)
            attempts = item.attempts + 1 if type(item) is Retry else 1
            self._put_back(item, error, attempts, guard.policy.max_attempts)
        self._break_promises()
        await trio.sleep(decision.delay_s)
        try:
            self._actor = self._reborn(guard)
        except Exception as again:
            await self._fail(again, START)
            return
        self._urgent = [START, *(self._urgent or ())]

    def _put_back(self, item: Any, error: Exception, attempts: int, max_attempts: int) -> None:
        """Have the failed message handled next, or named as poison."""
        if type(item) is Quarantined:
            return
        message: Any = item.message if type(item) is Retry or type(item) is Envelope else item
        again: Any = Retry(message, attempts)
        if attempts >= max_attempts:
            _log.error("%s puts a message in quarantine after %d attempts", self, attempts)
            again = Quarantined(message, error)
        if self._batch is None:
            self._batch = []
        self._batch.append(again)

    def _reborn(self, guard: Guard) -> TrioActor:
        actor = self.actor_class.__new__(self.actor_class)
        actor._ref = self  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        actor.__init__(*guard.args, **guard.kwargs)  # type: ignore[misc]
        return actor

    async def _tell_of_failure(self, error: Exception) -> None:
        assert self._actor is not None
        try:
            on_failure: Any = self._actor.on_failure  # may be async, unlike pykka's
            hook = on_failure(type(error), error, error.__traceback__)
            if isinstance(hook, CoroutineType):
                await hook
        except Exception as second:
            _log.error("Unhandled exception in on_failure of %s:", self, exc_info=second)

    async def _end(self, answer: bool) -> None:
        """Stop, as pykka does: the inbox closes, `on_stop` runs, the rest is refused."""
        actor = self._actor
        assert actor is not None
        leftover = self._close()
        reply, self._reply = self._reply, None  # true from here on, even if `on_stop` is cut off
        try:
            on_stop: Any = actor.on_stop  # may be async, unlike pykka's
            hook = on_stop()
            if isinstance(hook, CoroutineType):
                await hook
        except Exception as error:
            _log.error("Unhandled exception in on_stop of %s:", self, exc_info=error)
        finally:
            self._bury(leftover)
            answer_with(reply, answer or None)

    def _abort(self) -> None:
        """Die at once: the current ask and the backlog get ActorDeadError."""
        if not self._stopped:
            self._bury(self._close())
        if self._reply is not None:
            reply, self._reply = self._reply, None
            fail_with(reply, ActorDeadError(f"{self} died while handling the message"))

    def _kill(self, _: Any = None) -> None:
        """Die at once, and cancel the handler that is running."""
        self._abort()
        if self._scope is not None:
            self._scope.cancel()

    def _close(self) -> list[Any]:
        leftover = super()._close()
        if self.actor_class.listed:
            ActorRegistry.unregister(self)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self._kernel._announce_stop(self)
        return leftover

    def _bury(self, leftover: list[Any]) -> None:
        """Answer everybody who still waits, and let the actor go."""
        for item in leftover:
            self._refuse(item, was_alive=True)
        self._break_promises()
        self._actor = None
        self._guard = None
        self._kernel._retire(self)

    def _break_promises(self) -> None:
        """Answer what the actor had taken upon itself and has not answered."""
        taken, self._taken = self._taken, None
        for reply in taken or ():
            reply.fail(ActorDeadError(f"{self} died before it answered the message"))


@types.coroutine
def _resume(hook: Hook, waits_for: Any) -> Generator[Any, Any, Any]:
    """Await a coroutine that has already run up to `waits_for`: PEP 380, begun in the middle."""
    try:
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                hook.close()
                raise
            except BaseException as error:
                waits_for = hook.throw(error)
            else:
                waits_for = hook.send(sent)
    except StopIteration as stop:
        return stop.value
