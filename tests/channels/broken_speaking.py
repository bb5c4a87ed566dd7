"""Channels that speak badly."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import turnkeeper as tk
from turnkeeper.testing import SeenFile

from .broken import Broken
from .whole_platform import Gone, Refused

LOST = "a_message_whose_answer_is_lost_is_not_sent_twice"
TYPING = "it_is_shown_that_the_agent_is_at_work"


class InventsIds(
    Broken, caught="a_receipt_holds_the_platforms_own_id", saying="not one of your own"
):
    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        await super().send(outbound)
        return tk.Receipt(platform_message_id=outbound.part_id)


LONG = "a_long_text_arrives_whole_and_in_parts_that_fit"


class CutsTexts(Broken, caught=LONG, saying="words were sent and"):
    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        room = outbound.address.conversation
        return await self.whole.post(self.token, room, outbound.text[:100])


class PromisesTooMuch(Broken, caught=LONG, saying="declare the platform's `text_limit`"):
    powers = tk.ChannelPowers(text_limit=150)


class Pieces(Broken):
    """Splits by itself, with its own idea of where."""

    room = 50

    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        text, place = outbound.text, outbound.address.conversation
        cuts = [*range(0, len(text), self.room), len(text)]
        ids = [await self.whole.post(self.token, place, text[a:b]) for a, b in pairwise(cuts)]
        return tk.Receipt(platform_message_id=ids[0])


class TearsCharacters(
    Pieces, caught="no_character_is_torn_by_a_long_text", saying="a character was torn"
):
    powers = tk.ChannelPowers(text_limit=120)


class Escapes(Broken, caught="a_text_arrives_as_it_was_said", saying="Escape what has a meaning"):
    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        text = outbound.text.replace("<", "&lt;")
        return await self.whole.post(self.token, outbound.address.conversation, text)


PAUSE = "a_pause_that_the_platform_asks_for_is_kept"


class ForgetsThePause(Broken, caught=PAUSE, saying="retry_after_s="):
    def refusal(self, error: Refused) -> tk.Unreachable | tk.Rejected | tk.LostAnswer:
        return tk.Unreachable("slower")


class InsistsAtOnce(Broken, caught=PAUSE, saying="retry_after_s="):
    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        try:
            return await super().post(outbound, file)
        except Refused:
            return await super().post(outbound, file)


class GivesUpTooSoon(
    Broken, caught="a_platform_that_was_not_reached_is_tried_again", saying="Unreachable where"
):
    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        try:
            return await super().post(outbound, file)
        except Gone as error:
            raise tk.Rejected("no connection") from error


SERVER_ERROR = "an_error_of_the_platform_loses_and_repeats_nothing"


class GivesUpAtAnError(Broken, caught=SERVER_ERROR, saying="is not for good"):
    def refusal(self, error: Refused) -> tk.Unreachable | tk.Rejected | tk.LostAnswer:
        return tk.Rejected("it broke")


class ClaimsWhatDidNotArrive(Broken, caught=SERVER_ERROR, saying="the message is not there"):
    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        try:
            return await super().post(outbound, file)
        except Refused:
            return "perhaps"


class NeverGivesUp(
    Broken, caught="what_the_platform_forbids_has_failed", saying="refuses for good"
):
    def refusal(self, error: Refused) -> tk.Unreachable | tk.Rejected | tk.LostAnswer:
        return tk.Unreachable("perhaps later")


class DoubtsARefusal(
    Broken, caught="a_message_to_a_conversation_that_is_gone_has_failed", saying="became unknown"
):
    def refusal(self, error: Refused) -> tk.Unreachable | tk.Rejected | tk.LostAnswer:
        return tk.LostAnswer("who knows")


class HasNoReason(
    Broken, caught="a_message_to_a_conversation_that_is_gone_has_failed", saying="empty reason"
):
    def refusal(self, error: Refused) -> tk.Unreachable | tk.Rejected | tk.LostAnswer:
        return tk.Rejected("gone", reason="")


class DoubtsTheToken(
    Broken, caught="a_token_that_is_refused_is_no_lost_answer", saying="had refused it"
):
    def refusal(self, error: Refused) -> tk.Unreachable | tk.Rejected | tk.LostAnswer:
        return tk.LostAnswer("who knows")


class SendsAgain(Broken, caught=LOST, saying="seen 2 times"):
    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        try:
            return await super().send(outbound)
        except tk.LostAnswer:
            return await super().send(outbound)


class CallsItUnreachable(Broken, caught=LOST, saying="seen 2 times"):
    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        try:
            return await super().send(outbound)
        except tk.LostAnswer as error:
            raise tk.Unreachable("try again") from error


class CallsItRejected(Broken, caught=LOST, saying="must become unknown, not failed"):
    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        try:
            return await super().send(outbound)
        except tk.LostAnswer as error:
            raise tk.Rejected("no answer") from error


class RepeatsUnderNoId(Broken, caught=LOST, saying="seen 2 times"):
    powers = tk.ChannelPowers(after_unknown="same_id")


class RepeatsWithoutALabel(Broken, caught=LOST, saying="mark what is sent"):
    powers = tk.ChannelPowers(after_unknown="labelled")


FILE_OUT = "a_file_arrives_as_it_was_sent"


class SendsNoFiles(Broken, caught=FILE_OUT, saying="0 files were seen"):
    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        return await super().post(outbound, None)


class SendsHalfAFile(Broken, caught=FILE_OUT, saying="another content"):
    async def file(self, file: tk.OutboundFile) -> SeenFile:
        return SeenFile(content=(await file.read())[:5_000], name=file.name)


class SendsNamelessFiles(Broken, caught=FILE_OUT, saying="is called None"):
    async def file(self, file: tk.OutboundFile) -> SeenFile:
        return SeenFile(content=await file.read())


class InventsIdsOfFiles(Broken, caught=FILE_OUT, saying="the receipt says"):
    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        receipt = await super().send(outbound)
        return receipt if outbound.file is None else tk.Receipt(platform_message_id="file")


class NeverTypes(Broken, caught=TYPING, saying="Let `typing` tell the platform"):
    async def typing(self, address: tk.Address, /) -> None:
        return


class TypesEverywhere(Broken, caught=TYPING, saying="in another place too"):
    async def typing(self, address: tk.Address, /) -> None:
        for room in self.whole.conversations:
            await self.whole.show_typing(self.token, room)


DRAFT = "a_draft_becomes_the_answer"


class LeavesTheDraft(Broken, caught=DRAFT, saying="`outbound.draft` into the answer"):
    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        room = outbound.address.conversation
        return tk.Receipt(
            platform_message_id=await self.whole.post(self.token, room, outbound.text)
        )


class KeepsTheDraft(Broken, caught=DRAFT, saying="not the whole answer"):
    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        if outbound.draft is not None:
            return tk.Receipt(platform_message_id=outbound.draft)
        return await super().send(outbound)


class ShowsNoDraft(Broken, caught=DRAFT, saying="no draft was seen"):
    async def draft(self, draft: tk.Draft, /) -> tk.Receipt:
        return tk.Receipt(platform_message_id="nothing")


class KeepsWhatCameToNothing(
    Broken, caught="a_draft_that_comes_to_nothing_is_taken_back", saying="Let `withdraw` delete"
):
    async def withdraw(self, address: tk.Address, message_id: str, /) -> None:
        return


LATER = "what_the_platform_tells_later_reaches_its_delivery"


class IgnoresReceipts(Broken, caught=LATER, saying="self.on_receipt"):
    async def receipt(self, update: dict[str, Any]) -> None:
        return


class MistakesReceipts(Broken, caught=LATER, saying="the receipts are of"):
    async def receipt(self, update: dict[str, Any]) -> None:
        await super().receipt({**update, "id": "another"})
