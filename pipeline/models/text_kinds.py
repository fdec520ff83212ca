"""Kinds of text on which tokenizers differ: by script, in Latin letters by language, figures, code."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import cast

from docreduce.models.catalogue import TextKind

__all__ = ["prior_kind", "text_kind"]

_DIGITS = re.compile(r"\d+")
_SYMBOLS = re.compile(r"[{}\[\]<>=;_\\|#@/*+&^~$`]+")


def text_kind(text: str) -> str:
    """What tokenizers see in `text`, from its first, middle and last words: they differ on these kinds.

    "code", "digits", else the script by its Unicode name: "devanagari", "cjk"; of Latin letters "latin0" to "latin2" by
    the share that is not ASCII, and the language where it shows: "latin0-en", "latin1-de"."""
    middle = len(text) // 2
    part = text if len(text) <= 300 else text[:100] + text[middle - 50 : middle + 50] + text[-100:]
    visible = max(1, len(part) - part.count(" "))
    other = [] if part.isascii() else [c for c in part if c > "\x7f" and c.isalpha()]
    scripts = Counter(unicodedata.name(c, "?").split()[0].lower() for c in other if c > "\u024f")
    scripts.pop("latin", None)  # Vietnamese letters with two marks stand far above
    if sum(scripts.values()) > 0.3 * visible:
        return scripts.most_common(1)[0][0]
    if len(_DIGITS.sub("", part)) < len(part) - 0.25 * visible:
        return "digits"
    if len(_SYMBOLS.sub("", part)) < len(part) - 0.08 * visible:
        return "code"
    latin = "latin0" if len(other) <= 0.01 * visible else "latin1" if len(other) <= 0.1 * visible else "latin2"
    language = _language(part)
    return f"{latin}-{language}" if language else latin


_COMMON = {
    "en": "the of and to in is that it was for with as his on be",
    "de": "der die und das den von zu mit sich des auf dem nicht ein eine",
    "fr": "le la les et des du une est que dans pour qui sur au pas",
    "es": "el los las y del una que por con para su no lo como al",
    "it": "il di che la un per non una del sono con gli della alla nel",
    "pt": "o os e do da uma que não para com em dos as um ao",
    "nl": "de het een van en dat niet te zijn op met voor er aan bij",
    "pl": "w i na się z do nie to że jest od za przez po jak",
    "sv": "och att det som en på är av för med den till inte ett han",
    "vi": "và của là có không một được cho những người trong với các này đã",
    "id": "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga ke ada",
    "tr": "bir ve bu için de ile çok ne daha gibi olarak ama kadar sonra olan",
}
"""The most frequent function words of languages in Latin letters (Leipzig Corpora Collection), 15 each."""
_LANGUAGES = {language: frozenset(words.split()) for language, words in _COMMON.items()}
_COMMON_SHARE = 0.08
"""Of a text's words that are such, at least: in any of these languages they are a quarter to a half of prose."""


def _language(text: str) -> str:
    """The language whose function words are the most of a text's; "" where no language's are more than a few."""
    words = text.lower().split()
    found = {language: sum(map(common.__contains__, words)) for language, common in _LANGUAGES.items()}
    best = max(found, key=found.__getitem__)
    return best if found[best] > max(1, _COMMON_SHARE * len(words)) else ""


def prior_kind(kind: str) -> TextKind:
    """Which of the catalogue's four kinds of text a prior for `kind` stands under."""
    if kind in {"code", "digits"}:
        return cast(TextKind, kind)
    return "prose" if kind.startswith("latin") else "nonlatin"
