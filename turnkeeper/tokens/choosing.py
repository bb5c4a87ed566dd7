"""Which counter is meant by what an operator or an embedding program says."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, cast

import trio

from ..actors.tokens import TokenCounter
from .encoding_counter import BOUND_NAME, EncodingCounter
from .function_counter import ESTIMATE_NAME, FunctionCounter, estimate
from .worker import SHIPPED

__all__ = ["CounterSpec", "check_name", "counter_of", "open_counter"]

CounterSpec: TypeAlias = TokenCounter | Callable[[str], int] | str | None

_logger: Final = logging.getLogger(__name__)
_ENCODING_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def counter_of(spec: CounterSpec) -> TokenCounter:
    """The counter that `spec` means. Nothing is loaded or started before the first count.

    ==================  ========================================================================
    None, "o200k_base"  the encoding that is part of the package
    "estimate"          a rule of thumb, see :func:`~.function_counter.estimate`; not exact
    any other string    the encoding of that name, from tiktoken, which may need the network;
                        whether it can be had shows at the first count, and whether tiktoken knows
                        it when :func:`open_counter` opens it
    a `TokenCounter`    itself
    a function          from a text to its tokens: called in a thread, and taken at its word
    ==================  ========================================================================

    All but a `TokenCounter` of others' making have an `aclose` to be awaited at the end.

    Raises:
        TypeError: it is nothing of these.
        ValueError: it is a string that names no encoding.
    """
    if spec is None:
        return EncodingCounter()
    if isinstance(spec, str):
        return _named(spec)
    if inspect.isclass(spec):
        raise TypeError(f"token_counter is {spec!r:.80}, a class: give one of its objects")
    if isinstance(spec, TokenCounter):
        return _checked(spec)
    if not callable(spec):
        raise TypeError(
            f"token_counter is {spec!r:.80} ({type(spec).__name__}): give the name of an encoding, "
            "a function from str to int, or an object with `name`, `exact` and `count`"
        )
    if inspect.iscoroutinefunction(spec) or inspect.iscoroutinefunction(type(spec).__call__):
        raise TypeError(
            f"token_counter {spec!r:.80} is an async function: give a plain one, which is called "
            "in a thread, or an object with `name`, `exact` and an async `count`"
        )
    return FunctionCounter(spec)


@asynccontextmanager
async def open_counter(spec: CounterSpec) -> AsyncGenerator[TokenCounter]:
    """The counter that `spec` means, closed at the end unless the caller made it.

    Raises: as :func:`counter_of`, and ValueError for an encoding that tiktoken does not know.
    """
    counter = counter_of(spec)
    if counter is not spec and isinstance(counter, EncodingCounter) and counter.encoding != SHIPPED:
        known = await trio.to_thread.run_sync(_encodings)
        if known and counter.encoding not in known:
            raise ValueError(
                f"token_counter {counter.encoding!r} is no encoding that tiktoken knows: it has "
                f"{', '.join(known)}"
            )
    try:
        yield counter
    finally:
        if counter is not spec and isinstance(counter, EncodingCounter | FunctionCounter):
            await counter.aclose()


def check_name(name: str) -> None:
    """See that `name` may name an encoding. Nothing is loaded.

    Raises:
        ValueError: it cannot.
    """
    if name == BOUND_NAME or not _ENCODING_NAME.fullmatch(name):
        raise ValueError(
            f"token_counter {name!r:.120} names no encoding: give {SHIPPED!r}, {ESTIMATE_NAME!r} "
            "or the name of another encoding of tiktoken"
        )


def _named(name: str) -> TokenCounter:
    if name == ESTIMATE_NAME:
        return FunctionCounter(estimate, name=ESTIMATE_NAME, exact=False)
    check_name(name)
    return EncodingCounter(name)


def _encodings() -> list[str]:
    """The encodings that tiktoken knows, plugins included; none if that cannot be found out.

    For a thread: tiktoken is imported here, and by nothing else in this process.
    """
    try:
        from tiktoken import list_encoding_names

        return list_encoding_names()
    except Exception as error:  # a plugin may be anybody's; the first count tells what is wrong
        _logger.debug("the encodings of tiktoken cannot be listed", exc_info=error)
        return []


def _checked(counter: TokenCounter) -> TokenCounter:
    # Whoever wrote it may not use a type checker.
    name, exact = cast("object", counter.name), cast("object", counter.exact)
    if not isinstance(name, str) or not name:
        raise TypeError(f"the token counter {counter!r:.80} has the name {name!r:.80}: give a text")
    if not isinstance(exact, bool):
        raise TypeError(f"the token counter {name!r:.80} says {exact!r:.80} for `exact`")
    if not inspect.iscoroutinefunction(counter.count):
        raise TypeError(f"`count` of the token counter {name!r:.80} is no async method")
    return counter
