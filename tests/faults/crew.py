"""The agents of a fault run: each does what the text of its turn says."""

from __future__ import annotations

import trio

from turnkeeper import Reply, Turn
from turnkeeper.actors.messages import Address, ToolCall

from .events import CutPower
from .humans import Message
from .lives import Life, shown
from .operators import Operators
from .people import place_named, show

__all__ = ["Crew"]


class Crew(Operators):
    """Answers, stays silent, breaks, hangs, speaks elsewhere; and looks at what it is given."""

    def __init__(self, seed: int, cut: CutPower | None = None) -> None:
        super().__init__(seed, cut)
        self._runs: set[str] = set()
        """Runs of missions that were given to an agent."""

    async def agent(self, turn: Turn) -> str | Reply | None:
        """Answer a turn."""
        life = self.life
        if life.is_cut:
            await trio.sleep_forever()
        session_id, _, seq = turn.id.rpartition("/")
        self.say(f"  {turn.id} is given to its agent, attempt {turn.attempt}")
        if session_id in life.running:
            self.fail(f"3: {turn.id} is begun while another turn of {session_id} runs")
        if int(seq) < life.begun.get(session_id, 0):
            self.fail(f"3: {turn.id} is begun after turn {life.begun[session_id]}")
        life.running.add(session_id)
        life.begun[session_id] = int(seq)
        try:
            return await self._behave(life, turn)
        finally:
            life.running.discard(session_id)

    async def _behave(self, life: Life, turn: Turn) -> str | Reply | None:
        asked, behaviour = turn.text.split(": ", 1)
        if turn.mission is None:
            message = self.messages[asked]
            self._check_turn(turn, message)
            answer = f"re {asked} to {show(message.event.place)}"
        else:
            self._check_run(turn)
            asked = turn.id
            answer = f"re {asked} by {turn.session.id}"
        said = f"{asked}.{turn.attempt}"
        match behaviour.split():
            case ["silence"]:
                return None
            case ["raise", times]:
                if turn.attempt <= int(times):
                    raise RuntimeError("the agent is confused (a schedule asked for it)")
            case ["think", seconds]:
                await trio.sleep(float(seconds))
            case ["hang"]:
                await life.wake_agents.wait()
            case ["say", place]:
                await self._say_in(turn, f"{said} to {place}", to=place_named(place))
            case ["tell", user]:
                await self._say_in(turn, f"{said} for {user}", user=user)
            case ["here"]:
                await self._say_in(turn, f"{said} by {turn.session.id}")
            case ["long"]:
                words = " ".join(f"word{number}" for number in range(20))
                return f"{words} {answer}"
            case ["work"]:
                calls = (ToolCall(name="look", arguments="{}", result="nothing"),)
                return Reply(text=answer, tools=calls)
            case _:
                pass
        return answer

    async def _say_in(
        self, turn: Turn, text: str, *, to: Address | None = None, user: str | None = None
    ) -> None:
        self.auditor.owners.asks(text)
        outcome = await turn.send_message(text, to, user=user)
        self.say(f"  {turn.id} is told of {text!r}: {shown(outcome)}")
        self.auditor.answered(outcome)

    def _check_run(self, turn: Turn) -> None:
        if turn.id in self._runs or turn.attempt > 1:
            self.fail(f"run {turn.id} of {turn.mission} is given to its agent again")
        self._runs.add(turn.id)

    def _check_turn(self, turn: Turn, message: Message) -> None:
        place, context = message.event.place, turn.context
        if (context.instance, context.chat_id, context.thread_id) != place:
            self.fail(f"12: {turn.id} is said to be from {context}, not from {show(place)}")
        if turn.messages[-1].text != message.event.text:
            self.fail(f"the window of {turn.id} ends with {turn.messages[-1]!r}")
        quoted, quotes = turn.quoted, message.quotes
        if quotes is None:
            return
        quoted_id = self.platforms.by_id[place, quotes].outbound.delivery_id
        if quoted is not None and quoted.delivery_id != quoted_id:
            self.fail(f"{turn.id} quotes {quoted_id}, and is shown {quoted}")
        delivery = self.auditor.deliveries.known[quoted_id]
        if quoted is None and quotes in delivery.held and not delivery.record.turn_seq:
            self.fail(f"{turn.id} quotes {quoted_id} as {quotes}, and is shown nothing")
