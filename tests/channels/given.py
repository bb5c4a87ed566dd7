"""What a runtime gives a channel, and what the channel has made of it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from typing import Final

import trio

from turnkeeper import Accepted, Attachment, Channel, InboundTurn, MessageChange
from turnkeeper.actors.deliveries import LateReceipt
from turnkeeper.actors.messages import SessionId, TurnId

__all__ = ["Mark", "Runtime"]

_PATIENCE_S: Final = 60.0


class Mark:
    """A watermark in memory."""

    def __init__(self) -> None:
        self.value: str | None = None

    async def move(self, value: str, /) -> None:
        await trio.lowlevel.checkpoint()
        self.value = value


class Runtime:
    """Takes each message once, and notes all that it is told."""

    def __init__(self) -> None:
        self.mark = Mark()
        self.turns: list[InboundTurn] = []
        self.again: list[InboundTurn] = []
        """Those that were known already."""
        self.changes: list[MessageChange] = []
        self.receipts: list[LateReceipt] = []
        self.kept: list[tuple[bytes, str | None]] = []
        """Content and name of each file."""
        self.refuses: Callable[[InboundTurn], Exception | None] = lambda _turn: None
        self.knows_receipts: Callable[[LateReceipt], bool] = lambda _receipt: True
        self.waits_for: dict[str, trio.Event] = {}
        """Text of a turn -> until when it is not accepted."""
        self._known: dict[tuple[str, str], int] = {}
        self._news = trio.Event()

    def serve(self, channel: Channel) -> None:
        """Give a channel all that a runtime gives before it runs."""
        channel.watermark, channel.keep_file = self.mark, self.keep
        channel.on_change, channel.on_receipt = self.change, self.receipt

    async def deliver(self, turn: InboundTurn) -> Accepted:
        await trio.lowlevel.checkpoint()
        if turn.text in self.waits_for:
            await self.waits_for[turn.text].wait()
        refusal = self.refuses(turn)
        if refusal is not None:
            raise refusal
        key = (turn.address.conversation, turn.message_id)
        duplicate = key in self._known
        (self.again if duplicate else self.turns).append(turn)
        number = self._known.setdefault(key, len(self.turns))
        self._tell()
        return Accepted(
            session_id=SessionId("s1"), turn_id=TurnId(f"s1/{number}"), duplicate=duplicate
        )

    async def change(self, change: MessageChange) -> bool:
        self.changes.append(change)
        self._tell()
        return True

    async def receipt(self, receipt: LateReceipt) -> bool:
        self.receipts.append(receipt)
        self._tell()
        return self.knows_receipts(receipt)

    async def keep(
        self,
        content: bytes | AsyncIterable[bytes],
        /,
        *,
        kind: str,
        mime: str | None = None,
        name: str | None = None,
    ) -> Attachment:
        assert not isinstance(content, bytes)
        whole = b"".join([piece async for piece in content])
        self.kept.append((whole, name))
        reference = f"blob:{len(self.kept)}"
        return Attachment(
            kind=kind, reference=reference, mime=mime, size_bytes=len(whole), name=name
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when it holds, which must be soon."""
        with trio.fail_after(_PATIENCE_S):
            while not holds():
                with trio.move_on_after(0.2):  # a line tells nobody that it has changed
                    await self._news.wait()

    def texts(self) -> list[str]:
        return [turn.text for turn in self.turns]

    def contents(self) -> list[bytes]:
        return [content for content, _ in self.kept]

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()
