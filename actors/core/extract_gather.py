"""What a summary could say: gathered message by message, before anything is left out."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from .attached import attachment_line
from .extract_cues import courtesy_of, decision_cue, keeping_cue
from .extract_fold import Folded, group_of, unfold
from .extract_room import Item
from .extract_terms import terms, terms_weight
from .extract_text import clipped, is_question, one_line, pieces, unclipped
from .names import quoted_name
from .shown import Message

__all__ = ["Gathered"]

_LAST_US: Final = 253_402_300_799_000_000
"""The end of the year 9999."""
_SENTENCE_CHARS: Final = 180
_FIRST_CHARS: Final = 300
_LAST_CHARS: Final = 240
_NOTE_CHARS: Final = 160
_CALL_CHARS: Final = (60, 120)
"""Of the arguments, and of the result."""
_ASKED_CHARS: Final = 90
_REPLY_CHARS: Final = 80
"""A message that is no longer answers a question with little more than yes or no."""
_QUESTIONS: Final = 8
"""Most open questions that are remembered."""
_WORTH_A_LINE: Final = 3
_WORTH_A_NAME: Final = 2
"""A short number by itself tells nothing without its sentence."""
_SAID_BY: Final = re.compile(
    r"(\d{4}-\d\d-\d\d (you|the user|the mission|\"(?:[^\"\\]|\\.){0,400}\")"
    r"(?:, to \"(?:[^\"\\]|\\.){0,400}\")?: )(.*)",
    re.ASCII,
)
_PLAIN: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)
_SPEAKER: Final = re.compile(r'"(?:[^"\\]|\\.){1,400}"')


class Gathered:
    """The items of each section, oldest first."""

    __slots__ = ("_asked", "_has_first", "_pending", "_seen", "folded", "items", "last", "terms")

    def __init__(self) -> None:
        self.folded = Folded()
        """Period, people and what was left out, of all that was folded in and added."""
        self.items: dict[str, dict[str, Item]] = {}
        """By section, then by what it says."""
        self.terms: dict[str, int] = {}
        """Names and numbers, with how much each is worth."""
        self.last: dict[str, Item] = {}
        """What each side said last; the later of the two stands last."""
        self._pending: list[tuple[str, Item]] = []
        self._asked: tuple[str, str] | None = None
        self._seen: set[str] = set()
        self._has_first: set[str] = set()

    @property
    def questions(self) -> list[Item]:
        """What was asked and not answered."""
        return [item for _, item in self._pending]

    def fold(self, text: str) -> None:
        """Fold in an earlier summary; what it says is older than what is added later."""
        folded = Folded(self.folded.period, self.folded.people, {}, self.folded.more)
        unfold(text, folded)
        self._has_first.update(("user", "assistant"))
        for name in folded.items.pop("names", []):
            self._add_term(name, max(terms(name).values(), default=2))
        for section, texts in folded.items.items():
            for line in texts:
                if line not in self._seen:
                    self._seen.add(line)
                    self._fold_item(section, line)

    def add(self, message: Message, most: int) -> None:
        """Add a message, of whose text at most about `most` characters are looked at."""
        if message.kind in ("summary", "system"):
            return
        minute = _minute(message.at_us)
        self.folded.period.add(minute, minute)
        text = _looked_at(message.text, most)
        if message.kind == "tool" or message.role == "tool":
            self._add_call(minute, message, most)
        elif message.kind == "note":
            self._add_note(minute, message, text)
        elif message.kind in ("receipt", "changed"):
            self.folded.period.notes += 1
            told = one_line(text).removeprefix("[").removesuffix("]")
            self._add_item("notes", Item(f"{minute} {clipped(told, _LAST_CHARS)}", 3))
        else:
            self._add_spoken(minute, message, text)

    def _add_item(self, section: str, item: Item, key: str = "") -> Item | None:
        """Add an item as the newest; the one that said the same before, which it replaces."""
        items = self.items.setdefault(section, {})
        key = key or item.text
        before = items.pop(key, None)
        items[key] = item
        return before

    def _add_term(self, term: str, weight: int) -> None:
        clean = one_line(term)
        if clean and weight >= _WORTH_A_NAME:
            self.terms[clean] = max(weight, self.terms.get(clean, 0))

    def _add_spoken(self, minute: str, message: Message, text: str) -> None:
        day, who = minute[:10], _who(message)
        self.folded.period.messages += 1
        label = who
        if who not in ("you", "the mission") and message.platform and message.user_id:
            label = f"{who} ({clipped(one_line(message.platform), 32)} {_id(message.user_id)})"
        self.folded.people[label] = self.folded.people.get(label, 0) + 1
        for attachment in message.attachments:
            told = attachment_line(attachment).removeprefix("[attached: ").removesuffix("]")
            self._add_item("files", Item(f"{minute} {who}: {told}"))
        sentences = list(pieces(text))
        whole = one_line(text[: 4 * _FIRST_CHARS])
        if not whole:
            return
        side = "assistant" if who == "you" else "user"
        if side not in self._has_first:
            self._has_first.add(side)
            said = clipped(whole, _FIRST_CHARS)
            self._add_item("first", Item(f"{day} {who}: {said}", said=said))
        said = clipped(whole, _LAST_CHARS)
        self.last.pop(side, None)
        self.last[side] = Item(f"{day} {who}: {said}", said=said)
        human = 2 if side == "user" else 0
        if self._follow_questions(day, who, sentences, whole, human):
            return
        for sentence in sentences:
            self._add_sentence(f"{day} {who}: ", sentence, human)

    def _follow_questions(
        self, day: str, who: str, sentences: list[str], whole: str, human: int
    ) -> bool:
        """Keep book of what was asked; whether this is a short answer, which is added whole.

        Somebody else who says anything but a question has answered what was asked before.
        """
        questions = [sentence for sentence in sentences if is_question(sentence)]
        states = len(questions) < len(sentences)
        asked = self._asked
        replies = asked is not None and asked[0] != who and len(whole) <= _REPLY_CHARS
        if asked is not None and replies and not questions:
            quote = json.dumps(clipped(asked[1], _ASKED_CHARS), ensure_ascii=False)
            weight = max(self._judged(sentence)[1] for sentence in sentences)
            reply = Item(f"{day} {who}, to {quote}: {whole}", max(weight, 4) + human, said=whole)
            self._add_item("decisions", reply)
        if states:
            self._pending = [(asker, item) for asker, item in self._pending if asker == who]
            self._asked = None
        for question in questions[-2:]:
            said = clipped(question, _SENTENCE_CHARS)
            self._pending.append((who, Item(f"{day} {who}: {said}", said=said)))
        del self._pending[:-_QUESTIONS]
        if sentences and is_question(sentences[-1]):
            self._asked = (who, sentences[-1])
        return replies and not questions

    def _add_sentence(self, prefix: str, sentence: str, human: int) -> None:
        """Add what `sentence` names, and itself if it decides or tells something."""
        if sentence in self._seen:
            return
        self._seen.add(sentence)
        section, weight, around = self._judged(sentence)
        if section:
            said = clipped(sentence, _SENTENCE_CHARS, around)
            self._add_item(section, Item(prefix + said, weight + human, said=said), sentence)

    def _judged(self, sentence: str) -> tuple[str, int, str]:
        """To which section a sentence belongs, if any; its weight, and what it is about."""
        found = terms(sentence)
        for term, weight in found.items():
            self._add_term(term, weight)
        if is_question(sentence):
            return "", 0, ""
        around = max(found, key=found.__getitem__, default="")
        worth = terms_weight(found)
        decides = decision_cue(sentence)
        if decides > 1 or (decides and worth > 1):
            return "decisions", 3 * decides + worth, around
        courtesy = courtesy_of(sentence)
        keeps = keeping_cue(sentence[len(courtesy) :])
        if keeps or (worth >= _WORTH_A_LINE and not courtesy):
            return "facts", 3 * keeps + worth, around
        return "", 0, ""

    def _add_call(self, minute: str, message: Message, most: int) -> None:
        self.folded.period.calls += 1
        call = message.tool
        if call is None:
            name, told = "tool", clipped(one_line(message.text[:most]), sum(_CALL_CHARS))
        else:
            name = call.name if _PLAIN.fullmatch(call.name) else quoted_name(call.name, "?")
            arguments, result = (
                clipped(one_line(part[: 4 * chars]), chars)
                for part, chars in zip((call.arguments, call.result), _CALL_CHARS, strict=True)
            )
            told = f"{arguments}) -> {result}"
        item = Item(f"{minute[:10]} {name}({told}", group=name)
        if self._add_item("calls", item, f"{name}({told}") is not None:
            self._count_left_out("calls", name)

    def _add_note(self, minute: str, message: Message, text: str) -> None:
        self.folded.period.notes += 1
        source = message.source
        body = "\n".join(line[2:] for line in text.splitlines() if line.startswith("| "))
        said = clipped(one_line(body or text), _NOTE_CHARS)
        label = quoted_name(source.label if source is not None else None, "?")
        told: list[str] = []
        if source is not None:
            if source.session_id is not None:
                told.append(f"session {_id(source.session_id)}")
            if source.delivery_id is not None:
                told.append(f"delivery {_id(source.delivery_id)}")
            if source.status != "delivered":
                told.append(clipped(one_line(source.status), 16))
        ids = f" ({', '.join(told)})" if told else ""
        item = Item(f"{minute} by {label}{ids}: {said}", group=label)
        if self._add_item("notes", item, f"{label}: {said}") is not None:
            self._count_left_out("notes", label)
        for sentence in islice(pieces(body or text), 50):
            self._judged(sentence)

    def _count_left_out(self, section: str, group: str) -> None:
        groups = self.folded.more.setdefault(section, {})
        groups[group] = groups.get(group, 0) + 1

    def _fold_item(self, section: str, line: str) -> None:
        parts = _SAID_BY.fullmatch(line)
        prefix, who, said = parts.groups() if parts is not None else ("", "", line)
        if section in ("notes", "calls"):
            item = Item(line, group=group_of(section, line))
            told = line.partition(": ")[2]
            key = f"{item.group}: {told}" if section == "notes" else line[11:]
            if self._add_item(section, item, key) is not None:
                self._count_left_out(section, item.group)
            if section == "notes":
                self._judged(unclipped(told))
            return
        if section == "questions":
            self._pending.append((who, Item(line, said=said)))
            return
        if section == "last":
            for sentence in pieces(unclipped(said)):
                self._add_sentence(prefix, sentence, 0 if who == "you" else 2)
            return
        _, weight, _ = self._judged(unclipped(said))
        if section == "decisions" and ", to " in prefix:
            weight = max(weight, 4)
        human = 0 if who in ("", "you") else 2
        self._seen.add(said)
        self._add_item(section, Item(line, weight + human, said=said), said)


def _who(message: Message) -> str:
    if message.role == "assistant":
        return "you"
    if message.kind == "mission":
        return "the mission"
    if message.speaker is None:
        return "the user"
    speaker = one_line(message.speaker)
    if _SPEAKER.fullmatch(speaker):
        return speaker
    return quoted_name(speaker, message.user_id or "?")


def _id(name: str) -> str:
    """An id as a JSON string in ASCII."""
    return clipped(quoted_name(None, name), 80)


def _minute(at_us: int) -> str:
    at_s = max(0, min(at_us, _LAST_US)) // 1_000_000
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")


def _looked_at(text: str, most: int) -> str:
    """The beginning of a long text, and its end."""
    if len(text) <= most:
        return text
    return f"{text[: most * 3 // 4]}\n{text[-(most // 4) :]}"
