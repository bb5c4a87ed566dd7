"""How every channel must say what it is given to say."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator
from typing import Any, Final, TypeVar

import trio

from .actors.messages import Address, DeliveryId
from .agent import Turn
from .channels.base import Outbound, OutboundFile
from .channels.parts import text_size
from .kit_check import check
from .kit_suite import Suite
from .kit_trial import HEARD, Trial, require
from .kit_wire import Seen, Wire

__all__ = ["FAMILY", "SpeakingChecks"]

W = TypeVar("W", bound=Wire)

FAMILY: Final = "👩‍👩‍👧‍👦"
"""One character for its reader: seven code points, eleven units of UTF-16, 25 bytes."""
_DRAFT: Final = "`draft` must send it, and edit it when `draft.shown` is not None."
_PIECE_EVERY_S: Final = 0.3


class SpeakingChecks(Suite[W]):
    """Tests of `send`, and of what shows an agent at work."""

    @check()
    async def test_a_receipt_holds_the_platforms_own_id(self, trial: Trial[W]) -> None:
        """By which the platform names the message later."""
        async with trial.living() as life:
            seen = await trial.asked("hello", trial.here)
            require(
                await trial.final_outcome(life) == ("delivered", None),
                f"the answer was seen, and yet it is not delivered: {life.outcomes()}",
            )
            ids = [e.detail["platform_message_id"] for e in life.events if e.kind == "delivery"]
            require(
                ids == [seen.message_id],
                f"the receipt says {ids}, the platform {seen.message_id!r}: return the id that the "
                "platform gave the message, not one of your own",
            )

    @check(power="text_limit")
    async def test_a_long_text_arrives_whole_and_in_parts_that_fit(self, trial: Trial[W]) -> None:
        """Words, four times as much as fits."""
        limit = _limit(trial)
        words = [f"word{number}" for number in range(4 * limit // 5)]
        parts = await _say_long(trial, " ".join(words))
        require(len(parts) > 1, "a text of four times the limit arrived as one message")
        found = " ".join(part.text for part in parts).split()
        require(
            found == words,
            f"{len(words)} words were sent and {len(found)} arrived, or in another order: "
            "`send` must send `outbound.text` as it is, and all of it",
        )

    @check(power="text_limit")
    async def test_no_character_is_torn_by_a_long_text(self, trial: Trial[W]) -> None:
        """Families of emoji, without a blank between them."""
        count = _limit(trial) // 10
        parts = await _say_long(trial, FAMILY * count)
        texts = [part.text for part in parts]
        require(
            all(text == FAMILY * (len(text) // len(FAMILY)) for text in texts),
            f"a character was torn: parts end with {[text[-3:] for text in texts]}. Send "
            "`outbound.text` as it is: it was split at whole characters; a channel that splits by "
            "itself must do so too",
        )
        arrived = sum(len(text) // len(FAMILY) for text in texts)
        require(arrived == count, f"{count} characters were sent and {arrived} arrived")

    @check()
    async def test_a_text_arrives_as_it_was_said(self, trial: Trial[W]) -> None:
        """Characters that mean something in markup, JSON or HTML, and those of other scripts."""
        text = 'a < b & c > d "quoted" \\ 100% naïve 日本語 🙂'

        async def agent(_turn: Turn) -> str:
            return text

        async with trial.living(agent=agent):
            await trial.wire.user_says("say it", conversation=trial.here)

            async def find() -> Seen | None:
                seen = await trial.wire.seen(trial.here)
                return seen[0] if seen else None

            seen = await trial.until(find, "the answer was seen")
        require(
            unicodedata.normalize("NFC", seen.text) == text,
            f"said: {text!r}; seen: {seen.text!r}. Escape what has a meaning on the platform",
        )

    # -- files -----------------------------------------------------------------------------------

    @check(power="files")
    async def test_a_file_arrives_as_it_was_sent(self, trial: Trial[W]) -> None:
        """Its content and its name."""
        content = bytes(range(256)) * 40

        async def read() -> bytes:
            return content

        async with trial.living() as life:
            context = await _context(trial)
            outbound = Outbound(
                delivery_id=DeliveryId("kit/1"),
                address=Address(life.channel.name, context.chat_id, context.thread_id),
                text="",
                file=OutboundFile(
                    kind="file",
                    size_bytes=len(content),
                    read=read,
                    mime="application/octet-stream",
                    name="numbers.bin",
                ),
            )
            receipt = await life.channel.send(outbound)
            files = [one for one in await trial.wire.seen(trial.here) if one.file is not None]
        require(len(files) == 1, f"{len(files)} files were seen: `send` must send `outbound.file`")
        file = files[0].file
        assert file is not None  # they were chosen by that
        require(file.content == content, "the file arrived with another content")
        require(file.name == "numbers.bin", f"the file is called {file.name!r}, not 'numbers.bin'")
        require(
            files[0].message_id in (receipt.platform_message_id, *receipt.parts),
            f"the receipt says {receipt!r}, the platform {files[0].message_id!r}",
        )

    # -- at work ---------------------------------------------------------------------------------

    @check("typing", power="typing_every_s")
    async def test_it_is_shown_that_the_agent_is_at_work(self, trial: Trial[W]) -> None:
        """While it works, and where it was asked."""

        async def agent(turn: Turn) -> str:
            async def find() -> int | None:
                return await trial.wire.typing(trial.here) or None

            await trial.until(
                find,
                "it was shown that the agent types",
                "Let `typing` tell the platform.",
                self.patience_s / 2,
            )
            return HEARD + turn.text

        async with trial.living(agent=agent):
            await trial.asked("work", trial.here)
        require(await trial.wire.typing(trial.there) == 0, "it was shown in another place too")

    @check(power="draft_every_s")
    async def test_a_draft_becomes_the_answer(self, trial: Trial[W]) -> None:
        """One message, which holds the whole answer in the end."""
        shown: list[Seen] = []

        async def agent(_turn: Turn) -> AsyncIterator[str]:
            yield "It begins,"
            async for piece in _until_drafted(trial, shown):
                yield piece
            yield " and ends."

        async with trial.living(agent=agent) as life:
            await trial.wire.user_says("bit by bit", conversation=trial.here)
            await trial.final_outcome(life)
        seen = await trial.wire.seen(trial.here)
        require(
            [one.message_id for one in seen] == [shown[0].message_id],
            f"seen in the end: {[one.text for one in seen]}. `send` must edit the message "
            "`outbound.draft` into the answer instead of sending another one",
        )
        require(
            seen[0].text.startswith("It begins,") and seen[0].text.endswith(" and ends."),
            f"the draft became {seen[0].text!r}, which is not the whole answer",
        )

    @check(power="draft_every_s")
    async def test_a_draft_that_comes_to_nothing_is_taken_back(self, trial: Trial[W]) -> None:
        """`withdraw` deletes what was shown."""
        shown: list[Seen] = []

        async def agent(turn: Turn) -> AsyncIterator[str]:
            if turn.attempt > 1:
                return  # in silence
            yield "It begins,"
            async for piece in _until_drafted(trial, shown):
                yield piece
            raise ValueError("the agent breaks")

        async with trial.living(agent=agent):
            await trial.wire.user_says("try", conversation=trial.here)
            await trial.until_true(lambda: bool(shown), "a draft was seen", _DRAFT)

            async def gone() -> bool | None:
                return not await trial.wire.seen(trial.here) or None

            await trial.until(gone, "the draft was gone", "Let `withdraw` delete the message.")

    @check("read", power="late_receipts")
    async def test_what_the_platform_tells_later_reaches_its_delivery(
        self, trial: Trial[W]
    ) -> None:
        """That it was read."""
        async with trial.living() as life:
            seen = await trial.asked("tell me", trial.here)
            await trial.final_outcome(life)
            await trial.wire.read(seen.message_id, conversation=trial.here)
            await trial.until_true(
                lambda: any(receipt.status == "read" for receipt in trial.receipts),
                "it was told that the message was read",
                "Await `self.on_receipt(LateReceipt(…, status='read'))`.",
            )
        ids = {receipt.platform_message_id for receipt in trial.receipts}
        require(ids == {seen.message_id}, f"the receipts are of {ids}, not {seen.message_id!r}")


async def _until_drafted(trial: Trial[Any], shown: list[Seen]) -> AsyncIterator[str]:
    """Say more and more until a draft is seen, and note down what was seen first."""
    began = trio.current_time()
    while not (seen := await trial.wire.seen(trial.here)):
        if trio.current_time() - began > trial.suite.patience_s / 2:
            raise trial.failed(f"no draft was seen. {_DRAFT}")
        await trio.sleep(_PIECE_EVERY_S)
        yield " goes on,"
    shown.append(seen[0])


async def _context(trial: Trial[Any]) -> Any:
    """Where the wire's first conversation is, as a turn has it."""
    await trial.asked("hello", trial.here)
    return trial.turns[-1].context


def _limit(trial: Trial[Any]) -> int:
    limit = trial.suite.make_channel(trial.wire, "kit").powers.text_limit
    assert isinstance(limit, int)  # it is skipped otherwise
    return limit


async def _say_long(trial: Trial[Any], text: str) -> list[Seen]:
    """Let the agent say `text`; return all of what was seen, each part of which fits."""

    async def agent(_turn: Turn) -> str:
        return text

    async with trial.living(agent=agent) as life:
        await trial.wire.user_says("tell me", conversation=trial.here)
        outcome = await trial.final_outcome(life)
        require(
            outcome == ("delivered", None),
            f"a long text became {outcome}: declare the platform's `text_limit`, in its "
            "`text_unit`; the platform may have refused a part",
        )
        powers = life.channel.powers
    parts = list(await trial.wire.seen(trial.here))
    sizes = [text_size(part.text, powers.text_unit) for part in parts]
    assert powers.text_limit is not None  # it is skipped otherwise
    require(
        all(size <= powers.text_limit for size in sizes),
        f"parts of {sizes} {powers.text_unit} were seen; at most {powers.text_limit} are declared",
    )
    return parts
