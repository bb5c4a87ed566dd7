"""Run turnkeeper until somebody stops it: the blocking way in."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterable, Callable
from os import PathLike
from typing import Unpack

import trio

from .collector import relax_collector
from .opening import RuntimeOptions, open_runtime
from .runtime import Runtime

__all__ = ["run", "serve"]

logger = logging.getLogger("turnkeeper")


def run(state_dir: str | PathLike[str] | None, **options: Unpack[RuntimeOptions]) -> None:
    """Run turnkeeper until SIGINT or SIGTERM, or until no channel can hear anything any more.

    The first signal lets running agents and sends come to an end, within
    `runtime.stop_deadline_s`; the second one stops at once. Nothing acknowledged is lost either
    way. Arguments and errors are those of :func:`~turnkeeper.opening.open_runtime`.
    """

    async def main() -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with open_runtime(state_dir, **options) as runtime:
                await serve(runtime, signals)

    relax_collector()
    trio.run(main)


async def serve(
    runtime: Runtime, signals: AsyncIterable[int], hung_up: Callable[[], bool] | None = None
) -> None:
    """Wait for the first of `signals`, or until `runtime` can hear nothing any more.

    A second signal, while the runtime stops, makes it hurry. `hung_up` is called for SIGHUP; where
    it returns True, the runtime goes on.
    """
    stop = trio.Event()

    async def listen() -> None:
        async for number in signals:
            if number == signal.SIGHUP and hung_up is not None and hung_up():
                continue
            name = signal.Signals(number).name
            if stop.is_set():
                logger.warning("%s again: stopping at once", name)
                runtime.hurry()
            else:
                logger.info("%s: stopping; once more to stop at once", name)
                stop.set()

    async def end_of_input() -> None:
        await runtime.wait_exhausted()
        stop.set()

    runtime.start_soon(listen)
    runtime.start_soon(end_of_input)
    await stop.wait()
