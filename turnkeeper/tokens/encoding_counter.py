"""Counts by an encoding of tiktoken, which a process of its own holds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import trio

from .failures import EncodingUnavailable
from .pieces import MAX_PIECE_CHARS, pieces_of
from .worker import RANK_FILE, SHIPPED
from .worker_process import WorkerFailed, WorkerProcess

__all__ = ["BOUND_NAME", "EncodingCounter"]

BOUND_NAME: Final = "bytes"
"""The rule that a byte of UTF-8 is one token at most: what is left without an encoding."""

_MAX_FRAME_BYTES: Final = 1 << 18
"""Some 50 ms of work: counts that are asked for at the same time take turns so often."""
_MAX_FRAME_PIECES: Final = 4096
_START_WITHIN_S: Final = 60.0
"""Loading takes half a second; another encoding than the shipped one may have to be fetched."""
_ANSWER_WITHIN_S: Final = 30.0
_MAX_ATTEMPTS: Final = 3
"""Processes that may fail one after the other before there are no more."""
_REFUSED_FOR_S: Final = 60.0
"""An encoding that could not be had is not looked for again at every count."""

_logger: Final = logging.getLogger(__name__)


class EncodingCounter(trio.abc.AsyncResource):
    """Counts the tokens of one encoding; special tokens count as the text they are written in.

    The first count starts a process, which `aclose` ends; it also ends when this one does, in
    whatever way. When it dies or hangs, another takes its place and nothing is lost. After three
    failures in a row there is no fourth: from then on `name` is "bytes", `exact` is false, and
    every count is the bound of one token a byte. The log says so once.

    Counts are those of tiktoken; `pieces_of` tells the one exception. Counts that are asked for at
    the same time take turns. One that is cancelled ends at once, and disturbs no other.

    Args:
        encoding: its name. "o200k_base" is part of the package and needs no network; tiktoken
            finds any other in its cache (`TIKTOKEN_CACHE_DIR`), or fetches it.
        rank_file: where o200k_base is found.
        answer_within_s: how long the process may take for a quarter of a megabyte.
    """

    def __init__(
        self,
        encoding: str = SHIPPED,
        *,
        rank_file: Path = RANK_FILE,
        answer_within_s: float = _ANSWER_WITHIN_S,
    ) -> None:
        self.encoding: Final = encoding
        self._rank_file = rank_file
        self._answer_within_s = answer_within_s
        self._limiter = trio.CapacityLimiter(1)
        """Held by the thread that asks the process, until it has its answer."""
        self._worker: WorkerProcess | None = None
        self._refused: tuple[str, float] | None = None
        self._given_up = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<EncodingCounter {self.encoding!r}, process {self.pid}>"

    @property
    def name(self) -> str:
        """The encoding; "bytes" after its process failed for good."""
        return BOUND_NAME if self._given_up else self.encoding

    @property
    def exact(self) -> bool:
        """Whether an encoding counts, and not the bound."""
        return not self._given_up

    @property
    def pid(self) -> int | None:
        """The process, if there is one."""
        worker = self._worker
        return None if worker is None else worker.pid

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, in their order. Lone surrogates count as U+FFFD.

        Raises:
            EncodingUnavailable: the encoding cannot be loaded.
            TypeError: something in `texts` is no string.
            trio.ClosedResourceError: the counter is closed, or was while this waited.
        """
        if isinstance(texts, str):
            raise TypeError("count() takes a sequence of texts, not one text")
        batch = _Batch(texts)
        # Also for no texts: a count is always a moment in which others go on.
        while not batch.done:
            await trio.to_thread.run_sync(
                self._count_some, batch, abandon_on_cancel=True, limiter=self._limiter
            )
        return batch.counts

    async def aclose(self) -> None:
        """End the process. Who still waits for a count gets `trio.ClosedResourceError`."""
        self._closed = True
        if self._worker is not None:
            self._worker.kill()
        if self._worker is not None or self._limiter.borrowed_tokens:
            # Short: the thread that asks gets no answer more, and ends a process just started.
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._discard, limiter=self._limiter)
        await trio.lowlevel.checkpoint()

    # -- in the thread that asks the process -----------------------------------------------------

    def _count_some(self, batch: _Batch) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the token counter is closed")
        batch.prepare()
        if not batch.done:
            indexes, pieces = batch.take()
            batch.add(indexes, self._tokens_of(pieces, meanwhile=batch.prepare))
            batch.prepare()

    def _tokens_of(self, pieces: Sequence[bytes], meanwhile: Callable[[], None]) -> Sequence[int]:
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            if self._given_up:
                break
            try:
                return self._running().count(pieces, self._answer_within_s, meanwhile)
            except (WorkerFailed, EncodingUnavailable) as error:
                self._discard()
                if self._closed:
                    raise trio.ClosedResourceError("the token counter was closed") from error
                if isinstance(error, EncodingUnavailable):
                    raise
                if attempt == _MAX_ATTEMPTS:
                    self._give_up(error)
            except BaseException:
                self._discard()  # its answer is still to come, and would be taken for the next
                raise
        return [len(piece) for piece in pieces]

    def _running(self) -> WorkerProcess:
        if self._refused is not None:
            reason, until_s = self._refused
            if time.monotonic() < until_s:
                raise EncodingUnavailable(reason)
            self._refused = None
        if self._worker is None:
            self._worker = WorkerProcess(self.encoding, self._rank_file)
        if self._closed:
            self._worker.kill()  # `aclose` may have looked before there was one
        try:
            self._worker.wait_ready(_START_WITHIN_S)
        except EncodingUnavailable as error:
            self._refused = str(error), time.monotonic() + _REFUSED_FOR_S
            raise
        return self._worker

    def _discard(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _give_up(self, error: WorkerFailed) -> None:
        self._given_up = True
        _logger.error(
            "tokens are no more counted by %s until a restart, but bounded (a byte of UTF-8 is "
            "one token at most): its process failed %d times in a row, the last time because %s",
            self.encoding,
            _MAX_ATTEMPTS,
            error,
        )


class _Batch:
    """Texts that are being counted, cut and encoded no earlier than they are asked for.

    That happens in a thread, and in small steps: the loop never waits for a large text.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.counts = [0] * len(texts)
        self._rest = _encoded(texts)
        self._next: tuple[list[int], list[bytes]] | None = None

    @property
    def done(self) -> bool:
        """Whether it is known that no piece is left."""
        return self._next is not None and not self._next[1]

    def prepare(self) -> None:
        """Have the next pieces ready. A second time changes nothing."""
        if self._next is not None:
            return
        indexes: list[int] = []
        pieces: list[bytes] = []
        size = 0
        for index, piece in self._rest:
            indexes.append(index)
            pieces.append(piece)
            size += len(piece)
            if size >= _MAX_FRAME_BYTES or len(pieces) == _MAX_FRAME_PIECES:
                break
        self._next = indexes, pieces

    def take(self) -> tuple[list[int], list[bytes]]:
        """The pieces that are ready, a frame of them, and for each the index of its text."""
        assert self._next is not None
        taken, self._next = self._next, None
        return taken

    def add(self, indexes: Sequence[int], tokens: Sequence[int]) -> None:
        """Take what was counted."""
        for index, number in zip(indexes, tokens, strict=True):
            self.counts[index] += number


def _encoded(texts: Sequence[str]) -> Iterator[tuple[int, bytes]]:
    for index, text in enumerate(texts):
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"text {index} is no string but {type(text).__name__}")
        if len(text) > MAX_PIECE_CHARS:
            for piece in pieces_of(text):
                yield index, piece.encode("utf-8", "surrogatepass")
        elif text:
            yield index, text.encode("utf-8", "surrogatepass")
