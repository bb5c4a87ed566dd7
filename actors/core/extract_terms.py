"""The names and the numbers in a sentence."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["terms", "terms_weight"]

_MAX_TERM_CHARS: Final = 60
_MAX_URL_CHARS: Final = 120

_QUOTED: Final = re.compile(
    '"([^"]{2,60})"|“([^“”]{2,60})”|„([^„“”]{2,60})[“”]|«([^«»]{2,60})»|「([^「」]{1,60})」'
    "|『([^『』]{1,60})』|`([^`]{2,60})`"
)
_QUOTES: Final = re.compile('["“„«「『`]')
_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}"
)
_URL: Final = re.compile(r"(?:https?://|www\.)[^\s<>\"'`，。、）」]{2,120}", re.IGNORECASE)
_PHONE: Final = re.compile(r"(?<![\w.])(?:\+\d|\(?0\d|\d{3}[ -])[\d ()/.-]{5,20}\d(?!\w)")
_DIGIT: Final = re.compile(r"\d")
_IDEOGRAPHIC: Final = re.compile(
    r"(?:\d[\d.,:/]{0,12}[年月日時时點点分秒円元人名個个号號楼室階层歳岁万千]){1,6}"
)
_NUMBER: Final = re.compile(r"[#+$€£¥₹₽]?\d[\d.,:/'’_-]{0,30}[%€$£¥₹₽]?")
_HONOURED: Final = re.compile("[\u3400-\u9fff\u30a0-\u30ff]{1,8}(?:さん|さま|様|先生|氏)")
_IDENTIFIER: Final = re.compile(r"[\w.:/-]{3,60}(?:\(\))?")
_HUMP: Final = re.compile("[a-z][A-Z]")
_AROUND: Final = ".,;:!?…\"'“”„’‘«»()[]{}<>*~|、。，！？「」『』`"


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_FILES: Final = tuple(
    sorted(_words(".py .js .ts .rs .go .c .h .md .txt .json .toml .yaml .yml .csv .pdf .png .sql"))
)
_CURRENCIES: Final = _words("eur euro euros usd dollar dollars chf gbp jpy € $ £ ¥ ₽ руб")
_UNITS: Final = _CURRENCIES | _words(
    """
    % am pm uhr h hrs hours hour min minutes day days week weeks month months year years nights
    people tage wochen monate jahre personen nächte stunden heures jours semaines mois ans nuits
    personnes horas días semanas meses años noches personas km m cm mm kg g l ml kb mb gb tb °c °f
    kw kwh mg january february march april may june july august september october november december
    jan feb mar apr jun jul aug sep sept oct nov dec januar februar märz mai juni juli oktober
    dezember janvier février mars avril juin juillet août septembre octobre novembre décembre enero
    febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre de января
    февраля марта апреля мая июня июля августа сентября октября ноября декабря часов человек
    """
)
_GERMAN: Final = _words("der die das und ist nicht ich ein eine einen wir für den dem sie")
_TITLES: Final = _words("herr herrn frau dr prof familie firma nach aus")
_OF_VERBS: Final = ("ed", "ing")
"""How English words end that tell what was done, and not what a number behind them counts."""
_NO_NAME: Final = _words("i i'm i'll i'd i've i’m i’ll i’d i’ve ok sie ihr ihre ihnen ihren ihrer")


def terms(piece: str) -> dict[str, int]:
    """What a sentence of bounded length names, with how much each is worth keeping, from 1 to 4.

    These are addresses, telephone numbers, amounts, dates, times and other numbers, ids, quoted
    words, identifiers of code, and words with a capital letter inside a sentence: in German, where
    every noun has one, only those that stand in a row or behind a title.
    """
    found: dict[str, int] = {}
    rest = piece
    if "@" in rest:
        rest = _taken(_EMAIL, rest, found, 4)
    if "://" in rest or "www." in rest:
        rest = _taken(_URL, rest, found, 4, _MAX_URL_CHARS)
    if _QUOTES.search(rest):
        rest = _taken(_QUOTED, rest, found, 2)
    if _DIGIT.search(rest):
        rest = _taken(_PHONE, rest, found, 4)
        rest = _taken(_IDEOGRAPHIC, rest, found, 3)
    for match in _HONOURED.finditer(rest):
        _add(found, match[0], 3)
    _add_words(found, rest.split())
    return found


def terms_weight(found: dict[str, int]) -> int:
    """How much a sentence with these names and numbers is worth keeping, from 0 to 6."""
    return min(sum(found.values()), 6)


def _taken(
    expression: re.Pattern[str],
    text: str,
    found: dict[str, int],
    weight: int,
    most: int = _MAX_TERM_CHARS,
) -> str:
    """`text` without what `expression` finds in it, which is added to `found`."""
    for match in expression.finditer(text):
        _add(found, match[match.lastindex or 0], weight, most)
    return expression.sub(" ", text)


def _add(found: dict[str, int], term: str, weight: int, most: int = _MAX_TERM_CHARS) -> None:
    clean = term.replace("·", " ").strip(_AROUND if weight < 4 else ".,;:!?) ").strip()
    if 1 <= len(clean) <= most:
        found[clean] = max(weight, found.get(clean, 0))


def _add_words(found: dict[str, int], words: list[str]) -> None:
    bare = [word.strip(_AROUND) for word in words]
    lowered = [word.casefold() for word in bare]
    capital = [
        word[:1].isupper() and low not in _NO_NAME for word, low in zip(bare, lowered, strict=True)
    ]
    german = len(_GERMAN.intersection(lowered)) >= 2
    shouted = len(words) > 4 and 4 * sum(capital) > 3 * len(words)
    at = 0
    while at < len(words):
        if _DIGIT.search(bare[at]):
            at = _add_number(found, words, lowered, at)
            continue
        end = at + 1
        if _is_identifier(words[at].strip(".,;:!?`")):
            _add(found, bare[at], 2)
        elif capital[at] and not shouted and _is_inside(words, at):
            while end < min(len(words), at + 4) and capital[end] and _goes_on(words[end - 1]):
                end += 1
            titled = lowered[at - 1].rstrip(".") in _TITLES
            if end > at + 1 or (len(bare[at]) > 1 and (titled or not german)):
                _add(found, " ".join(words[at:end]), 3 if end > at + 1 else 2)
        at = end


def _is_identifier(word: str) -> bool:
    """Whether a word is one of code, or names a file."""
    if not _IDENTIFIER.fullmatch(word):
        return False
    return (
        word.endswith(("()", *_FILES))
        or "_" in word.strip("_")
        or word.count("/") > 1
        or _HUMP.search(word) is not None
    )


def _is_inside(words: list[str], at: int) -> bool:
    """Whether a word stands inside a sentence, where a capital letter says something."""
    return at > 0 and not words[at - 1].endswith((".", "!", "?", ":", "…", "-", "–", "•", "*", '"'))


def _goes_on(word: str) -> bool:
    """Whether a name may go on behind `word`: `M. Dupont`."""
    return not word.endswith((",", ":", ";", "!", "?", ")")) and (
        len(word) <= 3 or not word.endswith(".")
    )


def _add_number(found: dict[str, int], words: list[str], lowered: list[str], at: int) -> int:
    """Add the number at `at` with the word that tells what it counts; where to go on."""
    word = words[at].strip(_AROUND)
    if len(word) > _MAX_TERM_CHARS or not word.isascii():
        for match in _NUMBER.finditer(words[at]):
            _add(found, match[0], 2)
        return at + 1
    after = lowered[at + 1 : at + 3]
    if after and (after[0] in _UNITS or words[at + 1] in _CURRENCIES):
        end = at + 2
        if after[0] in _UNITS and len(after) > 1 and _is_year(after[1]):
            end += 1
        _add(found, " ".join(one.strip(_AROUND) or one for one in words[at:end]), 3)
        return end
    before = words[at - 1] if at else ""
    if any(sign in words[at] for sign in "$€£¥₹₽#"):
        _add(found, words[at], 4)
    elif any(map(str.isalpha, word)) or ":" in word or sum(map(word.count, "-./")) > 1:
        _add(found, word, 3 if len(word) > 2 else 1)
    elif (
        before.isalpha()
        and len(before) > 2
        and not before.endswith(_OF_VERBS)
        and (len(word) > 2 or lowered[at - 1] in _UNITS)
    ):
        _add(found, f"{before} {word}", 3 if len(word) >= 3 else 2)
    else:
        _add(found, word, 2 if len(word) > 3 else 1)
    return at + 1


def _is_year(word: str) -> bool:
    return len(word) == 4 and word.isdecimal()
