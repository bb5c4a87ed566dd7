"""Channels that hear badly."""

from __future__ import annotations

import logging
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import trio

import turnkeeper as tk
from turnkeeper.testing import SeenFile

from .broken import Broken
from .whole_platform import Feed, Whole

logger = logging.getLogger("whole")


class NamesAnotherPlace(
    Broken, caught="a_message_is_answered_where_it_was_said", saying="Address.conversation"
):
    def address(self, update: dict[str, Any]) -> tk.Address:
        return tk.Address(self.name, "x" + update["room"])

    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        place = outbound.address.conversation.removeprefix("x")
        return await self.whole.post(self.token, place, outbound.text)


class DropsAMessage(
    Broken, caught="messages_are_answered_in_the_order_they_were_said", saying="none may be left"
):
    async def give(self, turn: tk.InboundTurn, deliver: tk.Deliver) -> None:
        if not turn.text.endswith("7"):
            await super().give(turn, deliver)


class SwapsMessages(
    Broken,
    caught="messages_are_answered_in_the_order_they_were_said",
    saying="Deliver one message after",
):
    kept: tk.InboundTurn | None = None

    async def give(self, turn: tk.InboundTurn, deliver: tk.Deliver) -> None:
        if turn.text.endswith("4"):
            self.kept = turn
            return
        await super().give(turn, deliver)
        if self.kept is not None:
            await super().give(self.kept, deliver)
            self.kept = None


class AnswersWhereItHeardLast(
    Broken, caught="answers_go_to_the_conversation_of_their_question", saying="`outbound.address`"
):
    heard = ""

    async def give(self, turn: tk.InboundTurn, deliver: tk.Deliver) -> None:
        self.heard = turn.address.conversation
        await super().give(turn, deliver)

    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        return await self.whole.post(self.token, self.heard, outbound.text)


QUOTES = "an_answer_quotes_its_question_and_a_question_what_it_quotes"


class QuotesNothing(Broken, caught=QUOTES, saying="`outbound.reply_to`"):
    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        return await self.whole.post(self.token, outbound.address.conversation, outbound.text)


class HearsNoQuotes(Broken, caught=QUOTES, saying="`InboundTurn.reply_to`"):
    async def turn(self, update: dict[str, Any]) -> tk.InboundTurn:
        return await super().turn({**update, "quotes": None})


class KnowsNoThreads(Broken, caught="threads_are_kept_apart", saying="`Address.thread`"):
    def address(self, update: dict[str, Any]) -> tk.Address:
        return tk.Address(self.name, update["room"])


class LeavesThreads(Broken, caught="threads_are_kept_apart", saying="answered in None"):
    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        return await self.whole.post(self.token, outbound.address.conversation, outbound.text)


class NumbersUpdates(
    Broken, caught="a_message_that_is_told_again_is_answered_once", saying="InboundTurn.message_id"
):
    def message_id(self, update: dict[str, Any]) -> str:
        return str(update["n"])


class NumbersLives(
    Broken,
    caught="a_message_that_is_told_again_after_a_restart_is_answered_once",
    saying="no counter, no time",
):
    def message_id(self, update: dict[str, Any]) -> str:
        return f"{id(self)}-{update['id']}"


class AcknowledgesFirst(
    Broken,
    caught="a_message_that_was_refused_for_now_is_heard_again",
    saying="acknowledged before `deliver` returned",
):
    async def hear(self, line: str, deliver: tk.Deliver) -> None:
        await self.move()
        update = self.parsed(line)
        if update is not None:
            await self.handle(update, deliver)


class AcknowledgesRefusals(
    Broken,
    caught="a_message_that_was_refused_for_now_is_heard_again",
    saying="acknowledged before `deliver` returned",
):
    async def give(self, turn: tk.InboundTurn, deliver: tk.Deliver) -> None:
        try:
            await deliver(turn)
        except tk.TurnRefused:
            logger.debug("refused")


class AcknowledgesWhateverHappens(
    Broken,
    caught="a_message_that_was_being_accepted_at_the_stop_is_heard_again",
    saying="acknowledged before `deliver` returned",
):
    async def hear(self, line: str, deliver: tk.Deliver) -> None:
        try:
            await super().hear(line, deliver)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.move()
            raise


class AcknowledgesToThePlatform(
    Broken,
    caught="a_message_that_was_not_stored_is_heard_again",
    saying="acknowledged before `deliver` returned",
):
    """Has an offset beside the runtime's, which no failing store holds back."""

    offsets: ClassVar[WeakKeyDictionary[Whole, int]] = WeakKeyDictionary()

    def place(self) -> int:
        return self.offsets.get(self.whole, 0)

    async def move(self) -> None:
        return

    async def hear(self, line: str, deliver: tk.Deliver) -> None:
        self.offsets[self.whole] = self.place() + 1
        await super().hear(line, deliver)


class BeginsAtTheEnd(
    Broken,
    caught="what_is_said_while_the_runtime_is_down_is_answered_once",
    saying="self.watermark.value",
):
    async def connect(self) -> Feed:
        assert self.watermark is not None
        await self.watermark.move(str(self.whole.newest))
        return await super().connect()


class ForgetsItsPlaceOnTheWay(
    Broken,
    caught="what_is_said_while_the_line_is_down_is_answered_once",
    saying="After a new connection, go on behind",
):
    connected = False

    async def connect(self) -> Feed:
        assert self.watermark is not None
        if self.connected:
            await self.watermark.move(str(self.whole.newest))
        feed = await super().connect()
        self.connected = True
        return feed


class ChokesOnGarbage(Broken, caught="malformed_input_stops_nothing", saying="malformed input"):
    def parsed(self, line: str) -> dict[str, Any] | None:
        if super().parsed(line) is None:
            raise ValueError("what is this?")
        return super().parsed(line)


NEW_KINDS = "an_update_of_an_unknown_kind_is_ignored"


class ChokesOnNewKinds(Broken, caught=NEW_KINDS, saying="Skip what you do not know"):
    async def handle(self, update: dict[str, Any], deliver: tk.Deliver) -> None:
        if update["kind"] == "waved":
            raise KeyError("waved")
        await super().handle(update, deliver)


class BreaksOnceOnNewKinds(Broken, caught=NEW_KINDS, saying="is no error"):
    async def hear(self, line: str, deliver: tk.Deliver) -> None:
        await super().hear(line, deliver)
        if "waved" in line:
            raise KeyError("waved")


class TurnsWhatItDoesNotKnow(Broken, caught=NEW_KINDS, saying="became a turn"):
    async def handle(self, update: dict[str, Any], deliver: tk.Deliver) -> None:
        if update["kind"] == "waved":
            update = {**update, "kind": "message", "id": "w", "user": "r1", "text": "waved"}
        await super().handle(update, deliver)


class HearsItself(Broken, caught="the_agents_own_messages_are_no_turns", saying="own id"):
    def is_human(self, update: dict[str, Any]) -> bool:
        return not update.get("bot")


class HearsBots(Broken, caught="messages_of_other_bots_are_no_turns", saying="written by a bot"):
    def is_human(self, update: dict[str, Any]) -> bool:
        return bool(update["user"] != "me")


GROUP = "in_a_group_it_is_known_who_is_meant"


class TakesAllForItself(Broken, caught=GROUP, saying="`mentioned=False`"):
    def is_mentioned(self, update: dict[str, Any]) -> bool:
        return True


class TakesGroupsForDirect(Broken, caught=GROUP, saying="`direct=False`"):
    def is_direct(self, update: dict[str, Any]) -> bool:
        return True


class NeverFeelsMeant(Broken, caught=GROUP, saying="`InboundTurn.mentioned`"):
    def is_mentioned(self, update: dict[str, Any]) -> bool:
        return False


class TurnsEdits(Broken, caught="an_edit_is_a_change_and_no_turn", saying="self.on_change"):
    async def change(self, update: dict[str, Any], _deliver: tk.Deliver) -> None:
        turned = {**update, "kind": "message", "user": update["room"], "id": f"e{update['n']}"}
        await self.handle(turned, _deliver)


class TurnsEditsToo(Broken, caught="an_edit_is_a_change_and_no_turn", saying="not to `deliver`"):
    async def change(self, update: dict[str, Any], _deliver: tk.Deliver) -> None:
        await super().change(update, _deliver)
        turned = {**update, "kind": "message", "user": update["room"], "id": f"e{update['n']}"}
        await self.handle(turned, _deliver)


class NamesEditsAnew(Broken, caught="an_edit_is_a_change_and_no_turn", saying="its message is"):
    async def change(self, update: dict[str, Any], _deliver: tk.Deliver) -> None:
        await super().change({**update, "id": "e"}, _deliver)


class IgnoresDeletions(
    Broken, caught="a_deletion_is_a_change_and_no_turn", saying="a deletion was told"
):
    async def change(self, update: dict[str, Any], _deliver: tk.Deliver) -> None:
        if update["kind"] != "deleted":
            await super().change(update, _deliver)


class EmptiesWhatIsDeleted(
    Broken, caught="a_deletion_is_a_change_and_no_turn", saying="its text is None"
):
    async def change(self, update: dict[str, Any], _deliver: tk.Deliver) -> None:
        await super().change({"text": "", **update}, _deliver)


FILE_IN = "a_file_is_kept_before_its_turn"


class LosesFiles(Broken, caught=FILE_IN, saying="0 files instead of one"):
    async def files(self, update: dict[str, Any]) -> tuple[tk.Attachment, ...]:
        return ()


class CutsFiles(Broken, caught=FILE_IN, saying="not the one that was sent"):
    async def files(self, update: dict[str, Any]) -> tuple[tk.Attachment, ...]:
        if "file" not in update:
            return ()
        file = {**update["file"], "content": update["file"]["content"][:20]}
        return await super().files({**update, "file": file})


class RenamesFiles(Broken, caught=FILE_IN, saying="is called 'file'"):
    async def files(self, update: dict[str, Any]) -> tuple[tk.Attachment, ...]:
        if "file" not in update:
            return ()
        return await super().files({**update, "file": {**update["file"], "name": "file"}})


SLOW = "a_runtime_that_is_slow_bounds_what_the_channel_holds"


class StartsATaskForEach(Broken, caught=SLOW, saying="tasks more"):
    async def run(self, deliver: tk.Deliver) -> None:
        feed = await self.connect()
        self.line.up()
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self.hear, await self.next(feed), deliver)
