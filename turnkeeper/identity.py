"""Who is who: resolvers, which know the user that an identity is linked to.

An identity is a platform and that platform's own id of a human. Links are exact: no case is
folded, nothing is stripped, and display names have no part in it. Without a link the user is
`platform:user_id`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, Protocol, TypeVar, cast, runtime_checkable

import trio

from .actors.core.intake import MAX_ID_CHARS
from .actors.core.routing import default_user
from .channels.secret import redact
from .links import IdentityLink

__all__ = [
    "IdentityResolver",
    "IdentityUnavailable",
    "call_resolver",
    "resolve_user",
]

T = TypeVar("T")


class IdentityUnavailable(Exception):
    """Nobody can say now who is speaking: the resolver failed, was too slow or made no sense."""


@runtime_checkable
class IdentityResolver(Protocol):
    """Says which user an identity is. Each method may be sync or async (on trio).

    Sync methods run in a worker thread, several at once, so that a database may take its time. A
    resolver whose `resolve` never waits says so with a class attribute, `in_memory = True`, and is
    spared the thread. Whatever a method raises means that the answer is not known now.
    """

    def resolve(self, platform: str, user_id: str) -> str | Awaitable[str]:
        """The user of an identity: 1 to 1,024 characters, the same for all identities of one human.

        Without a link it is `default_user(platform, user_id)`.
        """
        ...

    def link(self, platform: str, user_id: str, user: str) -> Awaitable[None] | None:
        """Make the identity this user, instead of whoever it was."""
        ...

    def unlink(self, platform: str, user_id: str) -> Awaitable[None] | None:
        """Make the identity nobody but itself. Nothing happens if it is."""
        ...

    def links(
        self, user: str | None = None
    ) -> Iterable[IdentityLink] | Awaitable[Iterable[IdentityLink]]:
        """Every link, or those of one user."""
        ...


# -- asking a resolver ---------------------------------------------------------------------------

_MAX_THREADS: Final = 16
"""Most threads that resolvers may hold at once. One that hangs starves no other work of threads."""
_MAX_ERROR_CHARS: Final = 200

_threads: Final = trio.lowlevel.RunVar[trio.CapacityLimiter]("turnkeeper_resolver_threads")


async def resolve_user(
    resolver: IdentityResolver, platform: str, user_id: str, *, timeout_s: float
) -> str:
    """The user of an identity, as `resolver` says.

    Raises:
        IdentityUnavailable: it failed, took longer than `timeout_s` seconds, or its answer is no
            str of 1 to 1,024 characters.
    """
    asked = f"say who {user_id!r:.80} on {platform} is"
    call = cast("Callable[[], object]", partial(resolver.resolve, platform, user_id))
    here = getattr(resolver, "in_memory", False) is True
    answer = await call_resolver(resolver, call, asked=asked, timeout_s=timeout_s, here=here)
    if not isinstance(answer, str):
        said = f"a {type(answer).__name__}"
    elif 0 < len(answer) <= MAX_ID_CHARS or answer == default_user(platform, user_id):
        return str.__str__(answer)
    else:
        said = f"a str of {len(answer)} characters"
    raise IdentityUnavailable(f"{type(resolver).__name__} cannot {asked}: it answered with {said}")


async def call_resolver(
    resolver: IdentityResolver,
    call: Callable[[], T | Awaitable[T]],
    *,
    asked: str,
    timeout_s: float,
    here: bool = False,
) -> T:
    """What `call`, a method of `resolver` with its arguments, returns.

    After a timeout, a thread that was left behind may still carry out what it was asked.

    Args:
        resolver: whose method it is; named in errors.
        call: is run in a worker thread unless it is async.
        asked: what it is to do, for errors: "cannot <asked>".
        timeout_s: how long it may take, in seconds, the wait for a thread included.
        here: call it without a thread.

    Raises:
        IdentityUnavailable: it raised, or took too long.
    """
    cannot = f"{type(resolver).__name__} cannot {asked}"
    with trio.move_on_after(timeout_s):
        try:
            if here or inspect.iscoroutinefunction(call):
                answer = call()
            else:
                # In a tuple, because trio lets no coroutine out of a thread.
                (answer,) = await trio.to_thread.run_sync(
                    lambda: (call(),), abandon_on_cancel=True, limiter=_limiter()
                )
            return cast("T", await answer if inspect.isawaitable(answer) else answer)
        except BaseException as error:
            # asyncio's CancelledError is no Exception, and cancels nothing of ours.
            if isinstance(error, Exception) or type(error).__module__ == "asyncio.exceptions":
                raise IdentityUnavailable(f"{cannot}: {_described(error)}") from error
            raise
    raise IdentityUnavailable(f"{cannot}: no answer within {timeout_s:g} s")


def _limiter() -> trio.CapacityLimiter:
    try:
        return _threads.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_MAX_THREADS)
        _threads.set(limiter)
        return limiter


def _described(error: BaseException) -> str:
    try:
        text = " ".join(redact(str(error)).split())
    except Exception:  # noqa: BLE001  (a foreign exception may be broken itself)
        text = ""
    if isinstance(error, IdentityUnavailable):
        return text
    name = type(error).__name__
    return f"{name}: {text:.{_MAX_ERROR_CHARS}}" if text else name


# -- links ---------------------------------------------------------------------------------------
