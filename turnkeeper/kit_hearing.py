"""What every channel must understand of what it hears."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from .agent import Turn
from .kit_check import check
from .kit_suite import Suite
from .kit_trial import HEARD, Trial, require
from .kit_wire import Wire

__all__ = ["HearingChecks"]

W = TypeVar("W", bound=Wire)

_ELSEWHERE: Final = "`send` must use `outbound.address`, not the place that was heard last."


class HearingChecks(Suite[W]):
    """Tests of `run`."""

    @check()
    async def test_a_message_is_answered_where_it_was_said(self, trial: Trial[W]) -> None:
        """The round trip."""
        async with trial.living() as life:
            message_id = await trial.wire.user_says("hello there", conversation=trial.here)
            await trial.answered("hello there", trial.here)
            context, address = trial.turns[0].context, trial.here
            require(
                context.chat_id == address,
                f"the turn came from conversation {context.chat_id!r}, and the wire said it in "
                f"{address!r}: put the platform's id into `Address.conversation`",
            )
            require(bool(context.user_id), "`InboundTurn.user_id` is empty")
            require(
                bool(message_id) and context.platform == life.channel.platform,
                "`InboundTurn.platform` must be the channel's own `platform`",
            )
        require(
            await trial.answers(trial.there) == [],
            f"something was said in {trial.there!r}, where nobody has asked",
        )

    @check()
    async def test_messages_are_answered_in_the_order_they_were_said(self, trial: Trial[W]) -> None:
        """Twenty of them, one after the other."""
        said = [f"number {number}" for number in range(20)]
        async with trial.living():
            for text in said:
                await trial.wire.user_says(text, conversation=trial.here)
            await trial.answered(said[-1], trial.here)
        answers = await trial.answers(trial.here)
        require(
            answers == said,
            f"said: {said}; answered: {answers}. Deliver one message after the other "
            "(`await deliver(...)` in the loop that reads), and none may be left out",
        )

    @check()
    async def test_answers_go_to_the_conversation_of_their_question(self, trial: Trial[W]) -> None:
        """Two conversations at once."""
        places = (trial.here, trial.there)
        async with trial.living():
            for number in range(5):
                for place in places:
                    await trial.wire.user_says(f"{place} {number}", conversation=place)
            for place in places:
                await trial.answered(f"{place} 4", place, _ELSEWHERE)
        for place in places:
            answers = await trial.answers(place)
            require(
                answers == [f"{place} {number}" for number in range(5)],
                f"in {place!r} was answered: {answers}. {_ELSEWHERE}",
            )

    @check("quotes")
    async def test_an_answer_quotes_its_question_and_a_question_what_it_quotes(
        self, trial: Trial[W]
    ) -> None:
        """Both ways."""
        async with trial.living():
            first = await trial.wire.user_says("first", conversation=trial.here)
            seen = await trial.answered("first", trial.here)
            require(
                seen.reply_to == first,
                f"the answer quotes {seen.reply_to!r} instead of {first!r}: pass "
                "`outbound.reply_to` to the platform",
            )
            await trial.wire.user_says("second", conversation=trial.here, reply_to=seen.message_id)
            await trial.answered("second", trial.here)
            require(
                trial.turns[-1].reply_to == seen.message_id,
                f"the human quotes {seen.message_id!r}, and the turn {trial.turns[-1].reply_to!r}: "
                "fill `InboundTurn.reply_to`",
            )

    @check("threads")
    async def test_threads_are_kept_apart(self, trial: Trial[W]) -> None:
        """A turn says in which it was said, and its answer stays there."""
        async with trial.living():
            for number, (conversation, thread) in enumerate(trial.wire.threads[:2]):
                text = f"thread {number}"
                await trial.wire.user_says(text, conversation=conversation, thread=thread)
                seen = await trial.answered(text, conversation)
                require(
                    seen.thread == thread,
                    f"asked in thread {thread!r}, answered in {seen.thread!r}: fill "
                    "`Address.thread`, and send to `outbound.address.thread`",
                )
        heard = [(turn.context.chat_id, turn.context.thread_id) for turn in trial.turns]
        require(
            heard == list(trial.wire.threads[:2]),
            f"the turns came from {heard}, and it was said in {trial.wire.threads[:2]}",
        )

    @check("unknown_update")
    async def test_an_update_of_an_unknown_kind_is_ignored(self, trial: Trial[W]) -> None:
        """Platforms grow."""
        async with trial.living() as life:
            await trial.asked("one", trial.here)
            await trial.wire.unknown_update()
            await trial.asked(
                "two",
                trial.here,
                "Skip what you do not know, and acknowledge it, or it is told again for ever.",
            )
            require(
                not [event for event in life.events if event.kind == "error"],
                "the channel broke: an update of an unknown kind is no error",
            )
        require(len(trial.turns) == 2, "an update of an unknown kind became a turn")

    @check("own_echo")
    async def test_the_agents_own_messages_are_no_turns(self, trial: Trial[W]) -> None:
        """Or it would answer itself for ever."""
        async with trial.living():
            await trial.asked("one", trial.here)
            await trial.wire.own_echo("said by me", conversation=trial.here)
            await trial.asked("two", trial.here)
        _no_turn(trial, "said by me", "Compare the author with the agent's own id.")

    @check("other_bot_says")
    async def test_messages_of_other_bots_are_no_turns(self, trial: Trial[W]) -> None:
        """Or two of them would talk for ever."""
        async with trial.living():
            await trial.asked("one", trial.here)
            await trial.wire.other_bot_says("said by a bot", conversation=trial.here)
            await trial.asked("two", trial.here)
        _no_turn(trial, "said by a bot", "Leave out what the platform marks as written by a bot.")

    @check("group")
    async def test_in_a_group_it_is_known_who_is_meant(self, trial: Trial[W]) -> None:
        """With `require_mention`, only what names the agent is answered."""
        group = str(trial.wire.group)
        async with trial.living(section={"require_mention": True}):
            await trial.wire.user_says("among us", conversation=group)
            await trial.wire.user_says("to the agent", conversation=group, mention=True)

            async def find() -> bool | None:
                return any("to the agent" in turn.text for turn in trial.turns) or None

            await trial.until(
                find,
                "a message that names the agent was heard",
                "Set `InboundTurn.mentioned` when the text names the agent or answers it.",
            )
        texts = [turn.text for turn in trial.turns]
        require(
            not any("among us" in text for text in texts),
            f"{texts} were heard: in a group set `direct=False`, and `mentioned=False` unless the "
            "message names the agent or answers it",
        )

    @check("edit")
    async def test_an_edit_is_a_change_and_no_turn(self, trial: Trial[W]) -> None:
        """It reaches `on_change`."""
        async with trial.living():
            message_id = await trial.wire.user_says("befor", conversation=trial.here)
            await trial.answered("befor", trial.here)
            await trial.wire.edit(message_id, "before", conversation=trial.here)
            await trial.until_true(
                lambda: bool(trial.changes), "an edit was told", "Await `self.on_change(...)`."
            )
            change = trial.changes[0]
            require(
                (change.message_id, change.text, change.address.conversation)
                == (message_id, "before", trial.here),
                f"the change is {change!r}; its message is {message_id!r} and says 'before' now",
            )
            require(bool(change.change_id), "`MessageChange.change_id` is empty")
            await trial.asked("next", trial.here)
        _no_turn(trial, "before", "An edit goes to `self.on_change`, not to `deliver`.")

    @check("delete")
    async def test_a_deletion_is_a_change_and_no_turn(self, trial: Trial[W]) -> None:
        """It reaches `on_change`, without a text."""
        async with trial.living():
            message_id = await trial.wire.user_says("regret", conversation=trial.here)
            await trial.answered("regret", trial.here)
            await trial.wire.delete(message_id, conversation=trial.here)
            await trial.until_true(
                lambda: bool(trial.changes), "a deletion was told", "Await `self.on_change(...)`."
            )
            change = trial.changes[0]
            require(
                (change.message_id, change.text) == (message_id, None),
                f"the change is {change!r}; message {message_id!r} was deleted: its text is None",
            )
            await trial.asked("next", trial.here)
        require(len(trial.turns) == 2, "a deletion became a turn")

    @check("user_sends_file")
    async def test_a_file_is_kept_before_its_turn(self, trial: Trial[W]) -> None:
        """And the agent reads exactly what was sent."""
        content = bytes(range(256)) * 40
        read: list[tuple[bytes, str | None]] = []

        async def agent(turn: Turn) -> str:
            for attachment in turn.attachments:
                found = await turn.read_attachment(attachment)
                read.append((found, attachment.name))
            return HEARD + "a file"

        async with trial.living(agent=agent):
            await trial.wire.user_sends_file(
                "notes.txt", content, "text/plain", conversation=trial.here
            )
            await trial.answered(
                "a file",
                trial.here,
                "Fetch the file, `await self.keep_file(...)`, and put what it returns into "
                "`InboundTurn.attachments`.",
            )
        require(len(read) == 1, f"the turn had {len(read)} files instead of one")
        require(read[0][0] == content, "the file that was kept is not the one that was sent")
        require(read[0][1] == "notes.txt", f"the file is called {read[0][1]!r}, not 'notes.txt'")


def _no_turn(trial: Trial[Any], text: str, hint: str) -> None:
    require(not any(turn.text == text for turn in trial.turns), f"{text!r} became a turn. {hint}")
