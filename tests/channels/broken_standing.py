"""Channels that stand, stop and tell of themselves badly."""

from __future__ import annotations

import logging
from typing import ClassVar

import trio

import turnkeeper as tk
from turnkeeper.channels.line import Line
from turnkeeper.testing import SeenFile

from .broken import Broken
from .whole_platform import Feed, Refused, Whole

logger = logging.getLogger("whole")

DRAIN_S = 60.0
"""Longer than a runtime may take to stop."""
LEAVES = "it_stops_at_once_and_leaves_no_task"


DECLARES = "what_it_declares_is_there"


class HasNoPlatform(Broken, caught=DECLARES, saying="`platform` is"):
    platform = "Whole "


class HasAnotherName(Broken, caught=DECLARES, saying="hand `name`"):
    def __init__(self, name: str, whole: Whole, token: str) -> None:
        super().__init__("mine", whole, token)


class CannotType(Broken, caught=DECLARES, saying="has no typing()"):
    typing = tk.Channel.typing


class CannotWithdraw(Broken, caught=DECLARES, saying="has no withdraw()"):
    withdraw = tk.Channel.withdraw


class HasManyAccounts(Broken, caught=DECLARES, saying="`account` must be the same"):
    @property
    def account(self) -> str | None:
        return str(id(self))


class AsksAnInstance(Broken, caught=DECLARES, saying="must be a @staticmethod"):
    @classmethod
    def canonical_user_id(  # pyright: ignore[reportIncompatibleMethodOverride]  (as intended)
        cls, user_id: str, /
    ) -> str:
        return user_id


class AddsToIds(Broken, caught="a_user_has_one_id", saying="`canonical_user_id` made"):
    @staticmethod
    def canonical_user_id(user_id: str, /) -> str:
        return f"+{user_id}"


class LeavesATask(Broken, caught=LEAVES, saying="never as system tasks"):
    async def run(self, deliver: tk.Deliver) -> None:
        trio.lowlevel.spawn_system_task(trio.sleep_forever)
        await super().run(deliver)


class TakesItsTime(Broken, caught=LEAVES, saying="s to stop"):
    async def run(self, deliver: tk.Deliver) -> None:
        try:
            await super().run(deliver)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(DRAIN_S)


class ShieldsItsSends(Broken, caught="it_stops_while_a_send_hangs", saying="s to stop"):
    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        with trio.CancelScope(shield=True), trio.move_on_after(DRAIN_S):
            return await super().send(outbound)
        raise tk.LostAnswer("it took too long")


class RepeatsWhatHung(
    Broken, caught="it_stops_while_a_send_hangs", saying="'same_id' cannot be so"
):
    powers = tk.ChannelPowers(after_unknown="same_id")  # which this platform does not know

    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        try:
            return await super().post(outbound, file)
        except trio.Cancelled:
            self.whole.arrive(outbound.address.conversation, outbound.text)
            raise


class ShieldsItsConnecting(Broken, caught="it_stops_while_it_connects", saying="s to stop"):
    async def connect(self) -> Feed:
        try:
            return await super().connect()
        except tk.Unreachable:
            self.line.down("not there")
            with trio.CancelScope(shield=True):
                await trio.sleep(DRAIN_S)
            raise


class ConnectsOnlyOnce(Broken, caught="it_stops_while_it_connects", saying="cannot connect"):
    async def connect(self) -> Feed:
        try:
            return await super().connect()
        except tk.Unreachable:
            await trio.sleep_forever()
            raise


LINE = "its_line_tells_whether_it_stands"


class HidesThatItIsDown(Broken, caught=LINE, saying="its line is down"):
    async def next(self, feed: Feed) -> str:
        try:
            return await super().next(feed)
        except tk.Unreachable:
            await trio.sleep_forever()
            raise


class GivesNoReason(Broken, caught=LINE, saying="needs a `why`"):
    async def next(self, feed: Feed) -> str:
        try:
            return await super().next(feed)
        except tk.Unreachable as error:
            raise tk.Unreachable("") from error


class NeverSaysItIsUp(Broken, caught=LINE, saying="Call `self.line.up()`"):
    def __init__(self, name: str, whole: Whole, token: str) -> None:
        super().__init__(name, whole, token)
        self.line = Mute()


class Mute(Line):
    """A line that nobody hears is up."""

    def up(self) -> None:
        return


TWO = "two_instances_do_not_know_of_each_other"


class SharesItsConnection(Broken, caught=TWO, saying="seen in 'r1'"):
    shared: ClassVar[list[Whole]] = []

    async def connect(self) -> Feed:
        self.shared.append(self.whole)
        return await super().connect()

    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        room = outbound.address.conversation
        return await self.shared[-1].post(self.token, room, outbound.text)


class SaysItTwice(Broken, caught=TWO, saying="keep nothing in the class"):
    everywhere: ClassVar[list[Whole]] = []

    def __init__(self, name: str, whole: Whole, token: str) -> None:
        super().__init__(name, whole, token)
        self.everywhere.append(whole)

    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        room = outbound.address.conversation
        if "again" in outbound.text:
            for whole in {*self.everywhere} - {self.whole}:
                await whole.post(self.token, room, outbound.text)
        return await super().post(outbound, file)


PROBE = "a_probe_finds_nothing_wrong_where_nothing_is"


class FindsFault(Broken, caught=PROBE, saying="nothing is wrong, and"):
    async def probe(self) -> tuple[tk.Check, ...]:
        return (tk.Check(what="token", ok=False, detail="I do not like it"),)


class SpeaksWhenProbed(Broken, caught=PROBE, saying="must change nothing"):
    async def probe(self) -> tuple[tk.Check, ...]:
        await self.whole.post(self.token, "r1", "Heard nothing, this is a test")
        return await super().probe()


WRONG_TOKEN = "a_probe_finds_a_wrong_token"


class LikesEveryToken(Broken, caught=WRONG_TOKEN, saying="the token is wrong, and"):
    async def probe(self) -> tuple[tk.Check, ...]:
        return (tk.Check(what="token", ok=True),)


class RaisesWhenProbed(Broken, caught=WRONG_TOKEN, saying="is a Check with ok=False"):
    async def probe(self) -> tuple[tk.Check, ...]:
        raise tk.Rejected("wrong token")


class SaysNothingOfIt(Broken, caught=WRONG_TOKEN, saying="what to do"):
    async def probe(self) -> tuple[tk.Check, ...]:
        return (tk.Check(what="token", ok=False),)


TOLD = "a_wrong_token_is_told_to_the_operator"


class HopesForAnotherToken(Broken, caught=TOLD, saying="Raise Rejected from `run`"):
    async def connect(self) -> Feed:
        try:
            return await super().connect()
        except tk.Rejected as error:
            raise tk.Unreachable(str(error)) from error


class BlamesTheToken(Broken, caught=TOLD, saying="shows secret number 2"):
    async def connect(self) -> Feed:
        try:
            return await super().connect()
        except tk.Rejected as error:
            raise tk.Rejected(f"{self.token} is wrong") from error


SECRETS = "secrets_are_never_shown"


class ShowsItsToken(Broken, caught=SECRETS, saying="repr(channel) shows secret number 1"):
    def __repr__(self) -> str:
        return f"<Whole {self.token}>"


class LogsItsToken(Broken, caught=SECRETS, saying="the log at DEBUG shows secret number 1"):
    async def connect(self) -> Feed:
        logger.debug("GET https://whole.example/%s/updates", self.token)
        return await super().connect()


class LogsItWithAnError(Broken, caught=SECRETS, saying="the log at DEBUG shows secret number 1"):
    async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
        try:
            return await super().post(outbound, file)
        except Refused as error:
            raise RuntimeError(f"https://whole.example/{self.token}/post") from error


class PutsItIntoTheLine(Broken, caught=SECRETS, saying="shows secret number 1"):
    async def next(self, feed: Feed) -> str:
        try:
            return await super().next(feed)
        except tk.Unreachable as error:
            raise tk.Unreachable(f"https://whole.example/{self.token} is gone") from error


class NamesItsAccount(Broken, caught=SECRETS, saying="channel.account shows secret number 1"):
    @property
    def account(self) -> str | None:
        return self.token


class ChecksWithItsToken(Broken, caught=SECRETS, saying="`probe` found shows secret number 1"):
    async def probe(self) -> tuple[tk.Check, ...]:
        return (tk.Check(what="token", ok=True, detail=f"{self.token} is right"),)


class NamesItsTokenInReceipts(Broken, caught=SECRETS, saying="shows secret number 1"):
    def refusal(self, error: Refused) -> tk.Unreachable | tk.Rejected | tk.LostAnswer:
        return tk.Rejected("no", reason=f"{self.token}: {error.code}")
