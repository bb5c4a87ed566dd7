"""The console channel: a human at a terminal, or lines through a pipe.

Owns its views (the local terminal and whatever is attached) and the list of turns that still owe an
answer. Talks to the channel actor around it through `run`, `send` and `turn_ended` only.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final, Protocol, TextIO

import trio

from ..actors.errors import ShuttingDown, TurnRefused
from ..actors.messages import Accepted, Address, DeliveryId, InboundTurn
from .base import Channel, ChannelPowers, Deliver, Outbound, Receipt, TurnEnded, Unreachable
from .console_terminal import HasDescriptor, LineReader, ShownKind, Terminal, TextOutput
from .console_turns import OpenTurns
from .display import printable

__all__ = [
    "MAX_LINE_BYTES",
    "VIEW_PATIENCE_S",
    "AttachedView",
    "ConsoleChannel",
    "ConsoleView",
    "ShownKind",
]

MAX_LINE_BYTES: Final = 1024 * 1024
"""Longest line of input; longer ones are named on stderr and skipped."""
VIEW_PATIENCE_S: Final = 5.0
"""How long one view may take to show one text before it is detached."""


class ConsoleView(Protocol):
    """A place where the conversation is seen."""

    async def show(self, kind: ShownKind, text: str) -> None:
        """Show a text, unescaped as it came.

        Raises:
            OSError, trio.BrokenResourceError, trio.ClosedResourceError: the view is gone.
        """
        ...


class ConsoleChannel(Channel):
    """A conversation seen in one terminal or several."""

    platform = "console"
    powers = ChannelPowers(after_unknown="labelled", hears_turn_ends=True)

    def __init__(  # noqa: PLR0913 (independent options, all keywords)
        self,
        name: str = "console",
        *,
        user_id: str = "local",
        conversation: str = "local",
        local: bool = True,
        input: HasDescriptor | None = None,
        output: TextOutput | None = None,
        errors: TextIO | None = None,
        run_id: str | None = None,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        """Nothing is read or written before `run`.

        Args:
            name: instance name.
            user_id: stable id of the human who types, here and in attached views.
            conversation: where the local terminal is.
            local: False for a console without a terminal of its own: only attached views.
            input: default stdin; must have a file descriptor.
            output: default stdout.
            errors: default stderr.
            run_id: prefix of the message ids; default random, so that the next run's first line is
                not taken for a repetition of this one's.
            max_line_bytes: longest line of input.

        Raises:
            ValueError: the process has no stdin or stdout.
        """
        super().__init__(name)
        self.failures = 0
        """Lines refused or too long, turns given up, and an output that broke; 0 is success."""
        self._user_id = user_id
        self._conversation = conversation
        self._errors = errors or sys.stderr
        self._run_id = run_id or secrets.token_hex(6)
        self._message_count = 0
        self._views: list[AttachedView] = []
        self._deliver: Deliver | None = None
        self._turns = OpenTurns()
        self._turn_news = trio.lowlevel.ParkingLot()
        self._output_gone = trio.Event()
        self._reader: LineReader | None = None
        if local:
            source, sink = input or sys.stdin, output or sys.stdout
            if source is None or sink is None:
                raise ValueError(f"{name}: there is no stdin or stdout here; pass local=False")
            self._open_terminal(source, sink, max_line_bytes)

    def _open_terminal(
        self, source: HasDescriptor, output: TextOutput, max_line_bytes: int
    ) -> None:
        self._reader = LineReader(source, max_line_bytes=max_line_bytes)
        dumb = os.environ.get("TERM") == "dumb"
        self._terminal = Terminal(
            output,
            interactive=os.isatty(source.fileno()) and output.isatty() and not dumb,
            colours=output.isatty() and not dumb and not os.environ.get("NO_COLOR"),
        )
        self._local_view = AttachedView(self, self._terminal, self._conversation)
        self._views.append(self._local_view)

    async def run(self, deliver: Deliver) -> None:
        """Hear the local input until it ends and every accepted line is answered.

        Without a local terminal: until cancelled.
        """
        self._deliver = deliver
        self.line.up()
        try:
            if self._reader is None:
                await trio.sleep_forever()
            else:
                await self._hear_to_the_end(self._reader)
        finally:
            self._deliver = None

    async def send(self, outbound: Outbound) -> Receipt:
        """Show a reply in every view of its conversation.

        Raises:
            Unreachable: no view is attached, or all of them broke.
        """
        label = "(again) " if outbound.resend else ""
        if not await self._show(outbound.address.conversation, "reply", label + outbound.text):
            raise Unreachable(
                f"{outbound.delivery_id}: no view of {outbound.address.conversation!r} is open"
            )
        self._turns.shown(outbound.delivery_id)
        self._turn_news.unpark_all()
        return Receipt(platform_message_id=outbound.delivery_id)

    def turn_ended(self, ended: TurnEnded) -> None:
        """Hear that a turn has ended; one that was given up is named on stderr."""
        if ended.status == "quarantined":
            self._complain(f"turn {ended.turn_id} was given up after repeated failures")
        self._turns.ended(ended.turn_id, ended.delivery_id)
        self._turn_news.unpark_all()

    def delivery_dropped(self, delivery_id: DeliveryId, /) -> None:
        """Hear that a reply will never come: nobody waits for it any more."""
        self._complain(f"reply {delivery_id} could not be delivered")
        self._turns.shown(delivery_id)
        self._turn_news.unpark_all()

    @contextmanager
    def attach(
        self, view: ConsoleView, *, conversation: str | None = None
    ) -> Generator[AttachedView]:
        """Let a further view see the conversation, and speak in it, while the block runs."""
        attached = AttachedView(self, view, conversation or self._conversation)
        self._views.append(attached)
        if self.on_reachable is not None:
            self.on_reachable(attached.conversation)
        try:
            yield attached
        finally:
            self._detach(attached)

    async def _hear_to_the_end(self, reader: LineReader) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_when_nobody_reads, nursery.cancel_scope)
            await self._hear_lines(reader)
            while self._turns:
                await self._turn_news.park()
            nursery.cancel_scope.cancel()
        with suppress(OSError):
            await self._terminal.leave()

    async def _hear_lines(self, reader: LineReader) -> None:
        with suppress(OSError):
            await self._terminal.prompt()
        while (line := await reader.next_line()) is not None:
            if line.text is None:
                self._complain(f"line {line.number} is too long and was not sent")
            elif line.text.strip():
                try:
                    await self._local_view.say(line.text)
                except TurnRefused as refused:
                    self._complain(f"line {line.number} was not accepted: {refused}")
            with suppress(OSError):
                await self._terminal.prompt()

    async def _stop_when_nobody_reads(self, scope: trio.CancelScope) -> None:
        await self._output_gone.wait()
        scope.cancel()

    async def hand_over(self, text: str, *, view: AttachedView) -> Accepted:
        """Deliver what was typed in a view, and show it in the others; see `AttachedView.say`."""
        if self._deliver is None:
            raise ShuttingDown(f"console {self.name!r} is not running")
        self._message_count += 1
        turn = InboundTurn(
            address=Address(instance=self.name, conversation=view.conversation),
            platform=self.platform,
            message_id=f"{self._run_id}-{self._message_count}",
            user_id=self._user_id,
            text=text,
        )
        # Shown first, so that no view sees the answer before the question.
        await self._show(view.conversation, "message", text, but_not=view)
        try:
            accepted = await self._deliver_when_there_is_room(self._deliver, turn)
        except TurnRefused as refused:
            await self._show(view.conversation, "notice", f"not accepted: {refused}", but_not=view)
            raise
        if not accepted.duplicate:
            self._turns.accepted(accepted.turn_id)
        return accepted

    async def _deliver_when_there_is_room(self, deliver: Deliver, turn: InboundTurn) -> Accepted:
        while True:
            try:
                return await deliver(turn)
            except TurnRefused as refused:
                # A pipe can wait: while turns of ours are open, each end may make room.
                if not (refused.retryable and self._turns):
                    raise
            await self._turn_news.park()

    async def _show(
        self,
        conversation: str,
        kind: ShownKind,
        text: str,
        *,
        but_not: AttachedView | None = None,
    ) -> int:
        """Show a text in the views of a conversation; return how many of them took it."""
        wanted = [v for v in self._views if v.conversation == conversation and v is not but_not]
        shown = 0

        async def show_in(view: AttachedView) -> None:
            nonlocal shown
            if await self._show_in(view, kind, text):
                shown += 1

        async with trio.open_nursery() as nursery:
            for view in wanted:
                nursery.start_soon(show_in, view)
        return shown

    async def _show_in(self, attached: AttachedView, kind: ShownKind, text: str) -> bool:
        is_local = self._reader is not None and attached is self._local_view
        patience_s = float("inf") if is_local else VIEW_PATIENCE_S
        with trio.move_on_after(patience_s):
            try:
                await attached.view.show(kind, text)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as gone:
                if is_local:
                    self._complain(f"nobody reads the output any more: {gone}")
                    self._output_gone.set()
            else:
                return True
        self._detach(attached)
        return False

    def _detach(self, attached: AttachedView) -> None:
        with suppress(ValueError):
            self._views.remove(attached)

    def _complain(self, text: str) -> None:
        self.failures += 1
        print(f"{self.name}: {printable(text)}", file=self._errors, flush=True)


class AttachedView:
    """A view's seat in a conversation."""

    def __init__(self, channel: ConsoleChannel, view: ConsoleView, conversation: str) -> None:
        self._channel = channel
        self.view = view
        self.conversation = conversation

    async def say(self, text: str) -> Accepted:
        """Say something in the conversation; the other views see it too.

        Returns once the turn is durable. While a bound is reached and turns of this console are
        open, waits for one of them to end.

        Raises:
            TurnRefused: it was not accepted, or the channel is not running.
        """
        return await self._channel.hand_over(text, view=self)
