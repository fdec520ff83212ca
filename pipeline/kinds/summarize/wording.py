"""A sentence as it can be compared: stems of its words, and what is hard in it: numbers, months, names, negations.

Names are words written with a capital where not every word is: not at the beginning, unless the word is known as a
name from elsewhere or is no common word. In German every noun has a capital: there a name is a capital that no common
word has, or two of them in a row. Scripts without capitals have no names here, those without spaces pairs of signs
for words.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache

import regex
from docreduce.kinds.extract.coercion import number_of
from docreduce.kinds.extract.grounding import value_in_quote

__all__ = ["Wording", "wording"]

Hard = tuple[str, str]
"""Its kind (number, month, name) and the word."""

STEM_CHARS = 5
"""Letters of a longer word that are compared: "admis" and "admise", "terminated" and "termination" are one."""
BESIDE = 3
"""Words on either side of a negation that it is about."""

_WORD = regex.compile(
    r"(?P<number>\p{Nd}+(?:[.,'’٫٬:/-]\p{Nd}+)*)"
    r"|(?P<signs>[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+)"
    r"|(?P<word>\p{L}[\p{L}\p{M}]*(?:['’-]\p{L}[\p{L}\p{M}]*)*)"
    r"|(?P<end>[.!?;:,—–()])"
)
_NEGATIONS = frozenset(
    regex.findall(
        r"\S+",
        """not no never none nobody nothing neither nor without cannot nicht kein keine keinen keiner keinem keines nie
        niemals niemand nichts ohne weder pas jamais aucun aucune sans rien ni nunca ningún ninguna ninguno nada nadie
        sin jamás tampoco non nessun nessuno nessuna senza niente não nem nenhum nenhuma sem niet geen nooit zonder inte
        ingen inget aldrig utan ikke bez żaden żadna не нет ни без никогда никто нельзя ничего لا لم لن ليس ليست غير
        بدون دون לא אין בלי אינו אינה नहीं न बिना""",
    )
)
"""Without "mai": Italian for never, German and French for May."""
_NEGATIVE_SIGNS = regex.compile(r"不|没|沒|無|无|未|非(?!常|洲)|ない|なし|ません|ไม่|មិន|မ")
_PARTS = regex.compile(r"[./-]")
_POSSESSIVE = regex.compile(r"(?<=.)['’]s?$")
_CONTRACTED = regex.compile(r"\p{L}+n['’]t$")
_MONTHS = {
    stem: month
    for month, stems in enumerate(
        (
            "january januar janvier enero gennaio janeiro januari январ",
            "february februar février febrero febbraio fevereiro februari феврал",
            "march märz mars marzo março maart март",
            "april avril abril aprile апрел",
            "may mai mayo maggio maio mei мая май",
            "june juni juin junio giugno junho июн",
            "july juli juillet julio luglio julho июл",
            "august août agosto augustus август",
            "september septembre septiembre settembre setembro сентябр",
            "october oktober octobre octubre ottobre outubro октябр",
            "november novembre noviembre novembro ноябр",
            "december dezember décembre diciembre dicembre dezembro december декабр",
        ),
        1,
    )
    for stem in stems.split()
}
_CYRILLIC_ENDING = regex.compile(
    r"(?:ями|ами|ого|его|ому|ему|ыми|ими|ой|ей|ом|ем|ым|им|ую|юю|ая|яя|ах|ях|[аяыиуюеоёьй])$"
)
_SCALES = {
    "thousand": 1e3,
    "tausend": 1e3,
    "mille": 1e3,
    "тыс": 1e3,
    "milliard": 1e9,
    "mrd": 1e9,
    "млрд": 1e9,
    "миллиард": 1e9,
    "billion": 1e9,
    "bn": 1e9,
    "mill": 1e6,
    "mio": 1e6,
    "млн": 1e6,
    "миллион": 1e6,
    "mil": 1e3,
}
"""Words behind a number, as they begin; the first that fits holds."""


@dataclass(frozen=True, slots=True)
class Wording:
    """A sentence. `words` are whole, without case endings; `soft` are the stems of no hard evidence; `beside`
    those around its negations."""

    text: str
    words: frozenset[str]
    stems: frozenset[str]
    soft: frozenset[str]
    numbers: tuple[str, ...]
    months: frozenset[str]
    names: frozenset[str]
    negated: bool
    beside: tuple[str, ...]

    def hard(self) -> list[Hard]:
        """What has to stand in the passages."""
        return [
            *(("number", number) for number in self.numbers),
            *(("month", month) for month in self.months),
            *(("name", name) for name in self.names),
        ]

    def has(self, item: Hard) -> bool:
        """Whether that stands in the sentence."""
        kind, word = item
        if kind == "name":
            return word in self.words
        if kind == "month":
            return word in self.months or (not self.months and any(word in _parts(number) for number in self.numbers))
        return _has_number(word, self)


def wording(text: str, names: Container[str] = ()) -> Wording:
    """The sentence `text`; `names` are known."""
    stems: list[str] = []
    whole: set[str] = set()
    digits: set[str] = set()
    numbers: list[str] = []
    months: set[str] = set()
    capitals: list[tuple[str, str, bool, int]] = []  # the word, its name, whether it begins, its place
    negations: list[int] = []
    words = begins = 0
    begins = 1
    for match in _WORD.finditer(text):
        kind, word = match.lastgroup, match.group()
        if kind == "end":
            begins = begins or word in ".!?:"
            continue
        if kind == "number":
            numbers.append(_scaled(word, text[match.end() : match.end() + 12]))
            stems.append(word)
            digits.add(word)
        elif kind == "signs":
            stems += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
            if _NEGATIVE_SIGNS.search(word):
                negations.append(len(stems))
        else:
            words += 1
            lexeme = _lexeme(word)
            if lexeme.negates:
                negations.append(len(stems))
            elif lexeme.month:
                months.add(lexeme.month)
            else:
                if lexeme.capital:
                    capitals.append((word, lexeme.name, bool(begins), words))
                stems.append(lexeme.stem)
                whole.update(lexeme.wholes)
        begins = 0
    beside = [stem for at in negations for stem in stems[max(0, at - BESIDE) : at + BESIDE]]
    found = _names(capitals, words, names)
    return Wording(
        text=text,
        words=frozenset(whole),
        stems=frozenset(stems),
        soft=frozenset(stems) - {_stem(name) for name in found} - digits,
        numbers=tuple(dict.fromkeys(numbers)),
        months=frozenset(months),
        names=frozenset(found),
        negated=bool(negations),
        beside=tuple(dict.fromkeys(beside)),
    )


def _names(capitals: list[tuple[str, str, bool, int]], words: int, known: Container[str]) -> list[str]:
    inner = [each for each in capitals if not each[2]]
    all_nouns = len(inner) > 0.25 * words
    places = {place for *_, place in capitals}
    found = []
    for word, name, begins, place in capitals:
        beside = place - 1 in places or place + 1 in places
        if begins or all_nouns:
            is_name = name in known if not all_nouns else False
            is_name = is_name or not _is_common(word) or (all_nouns and beside and not begins)
        else:
            is_name = True
        if is_name:
            found.append(name)
    return found


@dataclass(frozen=True, slots=True)
class _Lexeme:
    """A word by itself: without its case ending, its stem, its parts and itself, the number of its month."""

    name: str
    stem: str
    wholes: tuple[str, ...]
    month: str
    negates: bool
    capital: bool


@lru_cache(maxsize=2**16)
def _lexeme(word: str) -> _Lexeme:
    plain = word.casefold()
    return _Lexeme(
        name=_name(plain),
        stem=_stem(plain),
        wholes=(_name(plain), *(_name(part) for part in plain.split("-") if part and part != plain)),
        month=str(_month(plain, word) or ""),
        negates=plain in _NEGATIONS or bool(_CONTRACTED.search(plain)),
        capital=word[0].isupper() and len(word) > 1,
    )


def _name(plain: str) -> str:
    """A name without its case ending: Kiels, Kiel's; Анны."""
    plain = _POSSESSIVE.sub("", plain)
    if plain[-1:] == "s" and len(plain) > 4 and plain[-2:] != "ss":
        return plain[:-1]
    return _CYRILLIC_ENDING.sub("", plain) if "\u0400" <= plain[0] <= "\u04ff" and len(plain) > 3 else plain


def _stem(plain: str) -> str:
    short = _name(plain)
    return short[:STEM_CHARS]


def _month(plain: str, word: str) -> int | None:
    found = _MONTHS.get(plain)
    if found is None and "\u0400" <= plain[0] <= "\u04ff":
        found = next((month for stem, month in _MONTHS.items() if len(stem) > 3 and plain.startswith(stem)), None)
    # "may" and "march" are words of their own: a month has its capital where English writes it.
    return None if plain in {"may", "march"} and not word[0].isupper() else found


def _parts(number: str) -> list[str]:
    return [part.lstrip("0") for part in _PARTS.split(number)]


def _scaled(number: str, after: str) -> str:
    """The number with the scale that follows it: "3 mill"."""
    word = after.strip(" -\u00a0").casefold()
    scale = next((name for name in _SCALES if word.startswith(name)), "")
    return f"{number} {scale}".strip()


def _has_number(number: str, there: Wording) -> bool:
    digits, _, scale = number.partition(" ")
    if digits in there.stems:
        return True
    value = number_of(digits)
    if value is None:  # a date, a version, a ratio: its parts in any order
        return all(any(part in _parts(other.split(" ")[0]) for other in there.numbers) for part in _parts(digits)) or (
            bool(there.months) and _has_date(digits, there)
        )
    values = [value, value * _SCALES[scale]] if scale else [value]
    return any(value_in_quote(float(each), there.text) for each in values)


def _has_date(digits: str, there: Wording) -> bool:
    known = {*there.months, *(part for number in there.numbers for part in _parts(number.split(" ")[0]))}
    return all(part in known for part in _parts(digits))


@lru_cache(maxsize=2**14)
def _is_common(word: str) -> bool:
    """Whether the word, in small letters, is one token: the o200k vocabulary was learned from text and holds the common
    words of many languages."""
    from docreduce.text.tokens import tokenizer

    return tokenizer("o200k_base").count(f" {word.lower()}") == 1
