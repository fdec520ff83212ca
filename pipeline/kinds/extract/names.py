"""When two values are the same: equal after normalization, or names that differ by a slip in one word.

What has a meaning of its own counts: signs, currencies, comparisons, marks between digits, a plus or minus at a word
(+5 and -5, $5 and €5, C++ and C, A- and A, 1.5 and 15, 10² and 102), and the case of a unit (5 mW and 5 MW).
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import regex
from docreduce.text.slips import MIN_CHARS, is_slip

__all__ = ["Groups", "near_equal_names", "normalize", "spelling"]

NEIGHBOURS = 16
"""How many of the next words in sorted order a word is compared with: the sorted neighbourhood method of
Hernández and Stolfo, 1995. It bounds the work where a hundred thousand names share all other words."""

_SIGNS = str.maketrans(dict.fromkeys("‐‑‒–—―−", "-") | dict.fromkeys("‘’‚‛′`´", "'") | dict.fromkeys("&＆", " and "))
_UNSAID = regex.compile(r"[™®©℠\u0640\p{Cf}]|(?<=[\p{Arabic}\p{Hebrew}]\p{M}*)\p{Mn}", regex.VERSION1)
_WORD = regex.compile(
    r"(?<=\p{Nd}\s?)(?P<unit>\p{L}{1,4})(?![\p{L}\p{Nd}])"
    r"|\p{Nd}+(?:[.,:/'\-]\p{Nd}+)*"  # what stands between digits counts
    r"|\p{L}[\p{L}\p{Nd}\p{M}'.]*(?:\++|\#|(?<!\p{L}{4})-(?![\p{L}\p{N}])|(?<!\p{L}{2})\*)?"  # U.S.A., C++, A-
    r"|(?<![\p{L}\p{N}])-(?=[\p{Sc}]?\s?\p{Nd})|\((?=[\p{Sc}\s]*\p{Nd}[\p{Nd}.,\s]*%?\))"  # -5, (5)
    r"|[\p{Sc}%‰‱°<>≤≥≠≈=~±×÷/+§#^√∞]|[\p{N}--\p{Nd}]|\p{M}+|\p{So}|\p{Sm}",
    regex.VERSION1,
)
_THOUSANDS = regex.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_CASED_UNITS = frozenset(
    [
        "m",
        "g",
        "k",
        "b",
        "mw",
        "mg",
        "mm",
        "mpa",
        "mhz",
        "mv",
        "mj",
        "ms",
        "ma",
        "pa",
        "mb",
        "gb",
        "kb",
        "tb",
        "mbit",
        "gbit",
        "kbit",
        "mwh",
        "mbps",
        "gbps",
    ]
)
"""Their capitals are other units: milli and mega, bit and byte."""
_LEGAL_FORMS = {
    **dict.fromkeys(("incorporated",), "inc"),
    **dict.fromkeys(("corporation",), "corp"),
    **dict.fromkeys(("limited",), "ltd"),
    **dict.fromkeys(("company",), "co"),
    **dict.fromkeys(("aktiengesellschaft",), "ag"),
    **dict.fromkeys(("und", "et", "og", "och"), "and"),
}
"""Only the last words of a name, and the word between two partners: one spelt out, the other not."""
_MARKED = regex.compile(r"[\p{Latin}\p{Greek}\p{M}]+")
_UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe"}


def normalize(value: Any) -> Hashable:
    """What two values that mean the same share: letter case, white space and punctuation of strings do not
    count (Unicode NFKC, case folding), nor the difference of 1 and 1.0; the order of a list does."""
    if isinstance(value, str):
        return _normalize_text(value)
    if isinstance(value, dict):
        return tuple(sorted((key, normalize(part)) for key, part in value.items() if part is not None))
    if isinstance(value, list):
        return tuple(normalize(part) for part in value)
    return ("bool", value) if isinstance(value, bool) else value


@lru_cache(maxsize=2**16)
def _normalize_text(text: str) -> str:
    raised = not text.isascii() and any(
        unicodedata.decomposition(sign).startswith(("<super>", "<sub>")) for sign in text
    )
    plain = _UNSAID.sub("", unicodedata.normalize("NFC" if raised else "NFKC", _UNSAID.sub("", text)))
    words = []
    for match in _WORD.finditer(plain.translate(_SIGNS)):
        word = match.group()
        if match["unit"] is None or word.casefold() not in _CASED_UNITS:
            word = word.casefold()
        if word[0].isalpha():
            word = word.replace(".", "").replace("'", "")
        elif not word.isascii():
            word = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in word)
        words.append(word.replace(",", "") if _THOUSANDS.fullmatch(word) else word)
    return " ".join(words) or plain.strip()


@lru_cache(maxsize=2**16)
def spelling(name: str) -> str:
    """A normalized name as it may be spelt elsewhere: legal forms in short, no marks on Latin and Greek letters."""
    return " ".join(_unmarked(word) for word in _short(name).split(" "))


def _short(name: str) -> str:
    """The name with its legal form in short."""
    return " ".join(_LEGAL_FORMS.get(word, word) if at else word for at, word in enumerate(name.split(" ")))


def _unmarked(word: str) -> str:
    if word.isascii() or not _MARKED.fullmatch(word):
        return word
    spelt = "".join(_UMLAUTS.get(sign, sign) for sign in unicodedata.normalize("NFC", word))
    return "".join(sign for sign in unicodedata.normalize("NFD", spelt) if not unicodedata.combining(sign))


class Groups:
    """Disjoint sets over 0..n-1. The root of a set is its least member, whatever order they were united in."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, member: int) -> int:
        while self._parent[member] != member:
            self._parent[member] = member = self._parent[self._parent[member]]
        return member

    def unite(self, left: int, right: int) -> None:
        low, high = sorted((self.root(left), self.root(right)))
        self._parent[high] = low

    def members(self) -> list[list[int]]:
        """The sets, each ascending, by their least members."""
        sets: dict[int, list[int]] = defaultdict(list)
        for member in range(len(self._parent)):
            sets[self.root(member)].append(member)
        return list(sets.values())


def near_equal_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of normalized `names` that are one: spelt with and without marks or a legal form in full, or with a slip
    in one word (text/slips.py).

    Blocked by all the other words, so that 100,000 names take seconds; the same names give the same pairs in any
    order. A plain spelling of several marked ones is none of them: nobody knows which (Hà, Hạ and Ha)."""
    distinct = sorted(set(names))
    spelt: dict[str, list[str]] = defaultdict(list)
    blocks: dict[tuple[int, str, str], dict[str, str]] = defaultdict(dict)
    for name in distinct:
        spelt[spelling(name)].append(name)
    pairs = []
    for plain, same in spelt.items():
        if len(same) > 1:
            pairs += _spelt_alike(same)
        words = plain.split(" ")
        for place, word in enumerate(words):
            if len(word) >= MIN_CHARS and not any(sign.isdecimal() for sign in word):
                blocks[place, " ".join(words[:place]), " ".join(words[place + 1 :])][word] = same[0]
    for block in blocks.values():
        for one, two in _neighbours(list(block)):
            if is_slip(one, two):
                pairs.append((min(block[one], block[two]), max(block[one], block[two])))
    return sorted(set(pairs))


def _neighbours(words: list[str]) -> set[tuple[str, str]]:
    """Pairs that stand near each other sorted from their beginnings or from their ends."""
    pairs = set()
    for turn in (1, -1):
        ordered = sorted(words, key=lambda word: word[::turn])
        for at, word in enumerate(ordered):
            pairs |= {(min(word, other), max(word, other)) for other in ordered[at + 1 : at + 1 + NEIGHBOURS]}
    return pairs


def _spelt_alike(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names with one plain spelling that are one: all of them, unless their marks say different things."""
    by_short: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_short[_short(name)].append(name)
    pairs = [(same[0], other) for same in by_short.values() for other in same[1:]]
    marked = [short for short in by_short if any(map(unicodedata.combining, unicodedata.normalize("NFD", short)))]
    if len(marked) <= 1:
        first, *others = by_short.values()
        pairs += [(first[0], other[0]) for other in others]
    return pairs
