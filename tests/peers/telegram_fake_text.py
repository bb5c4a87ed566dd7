"""How Telegram reads text: UTF-16 units, strict HTML, and the entities that it finds by itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

__all__ = ["BadEntities", "Entity", "found_entities", "parse_html", "tidy", "utf16_length"]

Entity: TypeAlias = dict[str, Any]
"""A MessageEntity; offsets and lengths are in UTF-16 units."""

_TAGS: Final = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "tg-emoji": "custom_emoji",
    "a": "text_link",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
}
_NAMED: Final = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_REFERENCE: Final = re.compile(r"&(?:#(\d+)|#[xX]([0-9a-fA-F]+)|([a-z]+));")
_TAG_NAME: Final = re.compile(r"[^\s>]*")
_SPACES: Final = re.compile(r"\s*")
_ATTRIBUTE_NAME: Final = re.compile(r"[^\s=>/\"']*")
_BARE_VALUE: Final = re.compile(r"[A-Za-z0-9.\-]*")
_LITERAL: Final = ("code", "pre")
"""What is inside these holds no further entity."""

_FINDERS: Final = (
    ("url", re.compile(r"https?://[^\s<>\"]*[^\s<>\".,;:!?)\]]")),
    ("email", re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")),
    ("mention", re.compile(r"(?<![\w@])@[A-Za-z]\w{2,31}\b")),
    ("bot_command", re.compile(r"(?<![\w/@])/[A-Za-z0-9_]{1,64}(?:@\w{3,32})?\b")),
    ("hashtag", re.compile(r"(?<!\w)#\w*[^\W\d]\w*")),
)


class BadEntities(Exception):
    """Telegram refuses the markup; the text is what it says after `can't parse entities: `."""


def utf16_length(text: str) -> int:
    """Length as Telegram counts it."""
    return len(text.encode("utf-16-le")) // 2


@dataclass(slots=True)
class _Open:
    tag: str
    start: int
    """Where it begins in the text, in UTF-16 units."""
    entity: Entity | None
    text_at: int
    """Where it begins in the text, in characters."""


@dataclass(slots=True)
class _Markup:
    """One pass over HTML, in the order in which Telegram finds fault with it."""

    source: str
    at: int = 0
    text: str = ""
    entities: list[Entity] = field(default_factory=list[Entity])
    nested: list[_Open] = field(default_factory=list[_Open])

    def parse(self) -> None:
        while self.at < len(self.source):
            character = self.source[self.at]
            if character == "&":
                self.text += self._reference()
            elif character != "<":
                self.text += character
                self.at += 1
            elif self.source.startswith("</", self.at):
                self._end_tag()
            else:
                self._start_tag()
        if self.nested:
            tag = self.nested[-1].tag
            raise BadEntities(f'Can\'t find end tag corresponding to start tag "{tag}"')

    def _byte(self, at: int) -> int:
        return len(self.source[:at].encode("utf-8", "surrogatepass"))

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.source, self.at)
        taken = found.group() if found else ""
        self.at += len(taken)
        return taken

    def _next(self) -> str:
        return self.source[self.at : self.at + 1]

    def _reference(self) -> str:
        found = _REFERENCE.match(self.source, self.at)
        if found:
            decimal, hexadecimal, name = found.groups()
            if name in _NAMED:
                self.at = found.end()
                return _NAMED[name]
            code = int(decimal) if decimal else int(hexadecimal, 16) if hexadecimal else 0
            if 0 < code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF:
                self.at = found.end()
                return chr(code)
        self.at += 1
        return "&"

    def _start_tag(self) -> None:
        begin = self.at
        self.at += 1
        name = self._take(_TAG_NAME)
        if not self._next():
            raise BadEntities(f"Unclosed start tag at byte offset {self._byte(begin)}")
        tag = name.lower()
        if tag not in _TAGS:
            raise BadEntities(
                f'Unsupported start tag "{name.lower()}" at byte offset {self._byte(begin)}'
            )
        attributes = self._attributes(tag, begin)
        self.at += 1
        entity = self._entity(tag, attributes, begin)
        self.nested.append(_Open(tag, utf16_length(self.text), entity, len(self.text)))

    def _attributes(self, tag: str, begin: int) -> dict[str, str]:
        attributes: dict[str, str] = {}
        while True:
            self._take(_SPACES)
            if self._next() == ">":
                return attributes
            name = self._take(_ATTRIBUTE_NAME).lower()
            if not name:
                where = self._byte(begin)
                raise BadEntities(f'Empty attribute name in the tag "{tag}" at byte offset {where}')
            self._take(_SPACES)
            value = ""
            if self._next() == "=":
                self.at += 1
                self._take(_SPACES)
                value = self._value(tag, begin)
            attributes.setdefault(name, value)

    def _value(self, tag: str, begin: int) -> str:
        quote = self._next()
        if not quote:
            raise BadEntities(f'Unclosed start tag "{tag}" at byte offset {self._byte(begin)}')
        if quote not in "\"'":
            start = self.at
            bare = self._take(_BARE_VALUE)
            if not self._next() or self._next() not in " \t\r\n>":
                raise BadEntities(
                    f"Unexpected end of name token at byte offset {self._byte(start)}"
                )
            return bare.lower()
        self.at += 1
        value = ""
        while self._next() and self._next() != quote:
            if self._next() == "&":
                value += self._reference()
            else:
                value += self._next()
                self.at += 1
        if not self._next():
            raise BadEntities(f"Unclosed start tag at byte offset {self._byte(begin)}")
        self.at += 1
        return value

    def _entity(self, tag: str, attributes: dict[str, str], begin: int) -> Entity | None:
        kind = _TAGS[tag]
        entity: Entity = {"type": kind}
        where = self._byte(begin)
        if tag == "span" and attributes.get("class") != "tg-spoiler":
            raise BadEntities(f'Tag "span" must have class "tg-spoiler" at byte offset {where}')
        if tag == "tg-emoji":
            if not attributes.get("emoji-id", "").isdigit():
                raise BadEntities(
                    f"Invalid custom emoji identifier specified at byte offset {where}"
                )
            entity["custom_emoji_id"] = attributes["emoji-id"]
        if tag == "a":
            entity["url"] = attributes.get("href", "")
        if tag == "blockquote" and "expandable" in attributes:
            entity["type"] = "expandable_blockquote"
        language = attributes.get("class", "").removeprefix("language-")
        if tag == "code" and self.nested and self.nested[-1].tag == "pre" and language:
            outer = self.nested[-1].entity
            if outer is not None:
                outer["language"] = language
            return None
        return entity

    def _end_tag(self) -> None:
        begin = self.at
        where = self._byte(begin)
        if not self.nested:
            raise BadEntities(f"Unexpected end tag at byte offset {where}")
        self.at += 2
        name = self._take(_TAG_NAME).lower()
        self._take(_SPACES)
        if self._next() != ">":
            raise BadEntities(f"Unclosed end tag at byte offset {where}")
        self.at += 1
        opened = self.nested.pop()
        if name and name != opened.tag:
            raise BadEntities(
                f"Unmatched end tag at byte offset {where}, "
                f'expected "</{opened.tag}>", found "</{name}>"'
            )
        length = utf16_length(self.text) - opened.start
        entity = opened.entity
        if entity is None or length == 0:
            return
        if entity["type"] == "text_link":
            entity = _link(entity["url"] or self.text[opened.text_at :])
            if entity is None:
                return
        self.entities.append({**entity, "offset": opened.start, "length": length})


def _link(url: str) -> Entity | None:
    """The entity that a link becomes; None if Telegram takes the address for no address."""
    user = re.fullmatch(r"tg://user\?id=(\d+)", url)
    if user:
        return {"type": "text_mention", "user": {"id": int(user[1])}}
    address = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https", "tg", "ton", "tonsite") or not host:
        return None
    if parts.scheme in ("http", "https"):
        if "." not in host or re.search(r"\s", address):
            return None
        if not parts.path:
            address = parts._replace(path="/").geturl()
    return {"type": "text_link", "url": address}


def parse_html(markup: str) -> tuple[str, list[Entity]]:
    """Text and entities of HTML as `parse_mode` has it; raises BadEntities."""
    parsed = _Markup(markup)
    parsed.parse()
    return parsed.text, _nested_well(parsed.entities)


def _end(entity: Entity) -> int:
    end: int = entity["offset"] + entity["length"]
    return end


def _nested_well(entities: list[Entity]) -> list[Entity]:
    """Entities in order, without those that Telegram drops because of what they are in."""
    in_order = sorted(entities, key=lambda entity: (entity["offset"], -entity["length"]))
    kept: list[Entity] = []
    for entity in in_order:
        around = [outer for outer in kept if outer["offset"] <= entity["offset"] < _end(outer)]
        quoted = "blockquote" in entity["type"]
        if any(outer["type"] in _LITERAL for outer in around):
            continue
        if quoted and any("blockquote" in outer["type"] for outer in around):
            continue
        kept.append(entity)
    return kept


def found_entities(text: str, known: list[Entity]) -> list[Entity]:
    """`known`, and those which Telegram finds in a text by itself beside them."""
    taken = [(entity["offset"], _end(entity)) for entity in known if _excludes(entity)]
    found: list[Entity] = []
    for kind, pattern in _FINDERS:
        for match in pattern.finditer(text):
            start = utf16_length(text[: match.start()])
            end = start + utf16_length(match.group())
            if all(end <= other_start or start >= other_end for other_start, other_end in taken):
                taken.append((start, end))
                found.append({"type": kind, "offset": start, "length": end - start})
    return sorted([*known, *found], key=lambda entity: (entity["offset"], -entity["length"]))


def _excludes(entity: Entity) -> bool:
    """Whether nothing is looked for inside an entity."""
    return entity["type"] in (*_LITERAL, "text_link", "text_mention", "custom_emoji")


def tidy(text: str, entities: list[Entity]) -> tuple[str, list[Entity]]:
    """A text without the space around it, as Telegram stores it, and its entities moved along."""
    end_trimmed = text.rstrip()
    lead = len(end_trimmed) - len(end_trimmed.lstrip())
    shift = utf16_length(end_trimmed[:lead])
    trimmed = end_trimmed[lead:]
    length = utf16_length(trimmed)
    moved: list[Entity] = []
    for entity in entities:
        start = max(0, entity["offset"] - shift)
        end = min(length, _end(entity) - shift)
        if end > start:
            moved.append({**entity, "offset": start, "length": end - start})
    return trimmed, moved
