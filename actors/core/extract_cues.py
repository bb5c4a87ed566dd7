"""Words by which a sentence is known to tell a decision, or something that is worth keeping.

The lists are small and know ten languages: English, German, French, Spanish, Italian, Portuguese,
Dutch, Russian, Chinese and Japanese. They are a preference, never a condition: what holds names and
numbers, what is asked and what answers a question is found in every language.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["courtesy_of", "decision_cue", "keeping_cue"]

_DECIDED: Final = """
we agreed|agreed on|agreed to|decided|decision|we decide|let's go with|we'll go with|i'll take|
we'll take|we'll use|go ahead|approved|confirmed|settled|signed off|it's a deal|
beschlossen|entschieden|entscheidung|vereinbart|abgemacht|einverstanden|wir nehmen|ich nehme|
gebucht|bestätigt|festgelegt|wir einigen uns|
décidé|décision|convenu|c'est d'accord|on prend|nous prenons|je prends|confirmé|réservé|
decidido|decisión|acordado|acordamos|de acuerdo|quedamos en|me quedo con|confirmado|reservado|
deciso|decisione|d'accordo|confermato|prendiamo|
decidimos|decisão|combinado|fechado|
besloten|afgesproken|akkoord|bevestigd|
решено|решили|договорились|согласен|согласна|подтверждаю
"""
_INTENDED: Final = """
let's|let us|i will|i'll|we will|we'll|i'm going to|i am going to|we're going to|the plan is|
lass uns|lasst uns|lassen sie uns|ich werde|wir werden|machen wir|so machen wir|
allons|on va|je vais|nous allons|faisons|
vamos a|voy a|hagamos|vamos|vou|faremos|andiamo|facciamo|
laten we|ik zal|we gaan|давайте|давай|я буду|мы будем
"""
_KEPT: Final = """
my name is|call me|i live|i work|i prefer|allergic|remember|don't forget|do not forget|important|
deadline|always|never|must|my birthday|my address|my favourite|my favorite|not allowed|budget|
ich heiße|mein name|nenn mich|nennen sie mich|ich wohne|ich arbeite|allergisch|merk dir|
vergiss nicht|wichtig|frist|immer|niemals|meine adresse|unbedingt|
je m'appelle|mon nom|j'habite|je travaille|je préfère|allergique|n'oublie pas|n'oubliez pas|
rappelle-toi|délai|toujours|jamais|mon adresse|
me llamo|mi nombre|vivo en|trabajo en|prefiero|alérgico|alérgica|recuerda|no olvides|importante|
plazo|siempre|nunca|mi dirección|presupuesto|
mi chiamo|il mio nome|abito|preferisco|ricorda|scadenza|sempre|mai|
meu nome|chamo|moro em|prefiro|lembre|prazo|sempre|
mijn naam|ik heet|ik woon|onthoud|belangrijk|altijd|nooit|
меня зовут|я живу|запомни|не забудь|важно|аллергия|срок|всегда|никогда
"""
_COURTEOUS: Final = """
thanks|thank you|many thanks|you're welcome|you are welcome|my pleasure|no problem|no worries|
never mind|good morning|good afternoon|good evening|good night|have a good|have a great|
have a nice|see you|hi|hello|hey|dear|bye|goodbye|take care|glad to|happy to|always happy|cheers|
danke|vielen dank|gern geschehen|bitte sehr|guten morgen|guten tag|guten abend|gute nacht|hallo|
schönen tag|tschüss|bis bald|bis morgen|
merci|de rien|bonjour|bonsoir|bonne nuit|salut|au revoir|à bientôt|
gracias|muchas gracias|de nada|buenos días|buenas tardes|buenas noches|hola|adiós|hasta luego|
grazie|prego|buongiorno|buonasera|ciao|obrigado|obrigada|bom dia|boa tarde|boa noite|olá|
dank je|bedankt|graag gedaan|goedemorgen|hoi|tot ziens|
спасибо|пожалуйста|привет|здравствуйте|доброе утро|добрый день|добрый вечер|до свидания
"""
_DECIDED_UNSPACED: Final = (
    "决定 決定 说好了 同意 确认 確認しました 決まり 了解 予約しました ✅ ☑ ✔ 👍 🤝"
)
_INTENDED_UNSPACED: Final = "我们就 让我们 我会 しましょう することに にします"
_KEPT_UNSPACED: Final = (
    "我叫 我的名字 记住 重要 过敏 過敏 截止 名前は と申します 覚えて アレルギー 締め切り 締切"
)
_COURTESY_CHARS: Final = 80
"""What is longer says more than the courtesy that it begins with."""
_WORD: Final = re.compile(r"[\w'-]+")


def _folded(text: str) -> str:
    """`text` in words with one space around each, without case."""
    return f" {' '.join(_WORD.findall(text.replace('’', chr(39)).casefold()))} "


def _listed(phrases: str) -> list[str]:
    return phrases.replace("\n", "").split("|")


def _phrases(listed: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_folded(cue) for cue in _listed(listed)))


_DECISIONS: Final = (
    (3, _phrases(_DECIDED), tuple(_DECIDED_UNSPACED.split())),
    (1, _phrases(_INTENDED), tuple(_INTENDED_UNSPACED.split())),
)
_KEEPING: Final = ((3, _phrases(_KEPT), tuple(_KEPT_UNSPACED.split())),)


_COURTESIES: Final = re.compile(
    rf"[\s\W]*(?:{'|'.join(map(re.escape, sorted(_listed(_COURTEOUS), key=len, reverse=True)))})\b",
    re.IGNORECASE,
)


def courtesy_of(text: str) -> str:
    """The thanks or the greeting with which `text` begins, if it is short and tells no number."""
    if len(text) > _COURTESY_CHARS or any(map(str.isdecimal, text)):
        return ""
    found = _COURTESIES.match(text.replace("’", "'"))
    return found[0] if found is not None else ""


def decision_cue(text: str) -> int:
    """3 if `text` says what was decided, 1 if it says what somebody means to do, else 0."""
    return _weight(text, _DECISIONS)


def keeping_cue(text: str) -> int:
    """3 if `text` says of itself that it is to be kept in mind, or who somebody is, else 0."""
    return _weight(text, _KEEPING)


def _weight(text: str, cues: tuple[tuple[int, tuple[str, ...], tuple[str, ...]], ...]) -> int:
    folded = _folded(text)
    for weight, phrases, unspaced in cues:
        if any(cue in folded for cue in phrases) or any(cue in text for cue in unspaced):
            return weight
    return 0
