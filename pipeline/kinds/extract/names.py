"""When two values are the same: equal after normalization, or names that differ by a slip in one word."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable
from functools import lru_cache
from typing import Any

import regex
from rapidfuzz.fuzz import ratio

__all__ = ["Groups", "near_equal_names", "normalize"]

WORD_SIMILARITY = 90.0
"""Of 100, rapidfuzz's ratio: Johnson/Jonson are the same, employer/employee (87.5) and lessor/lessee are not."""
MIN_WORD_CHARS = 5
"""Shorter words are never a slip of one another: II and III, Series A and Series B."""
NEIGHBOURS = 16
"""How many of the next words in sorted order a word is compared with: the sorted neighbourhood method of
Hernández and Stolfo, 1995. It bounds the work where a hundred thousand names share all other words."""

_DROPPED = regex.compile(r"[\p{P}\p{S}\p{Z}\p{C}]+", regex.VERSION1)
_NEVER_A_SLIP = regex.compile(r"\d|[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]", regex.VERSION1)


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
    plain = unicodedata.normalize("NFKC", text).casefold()
    return _DROPPED.sub(" ", plain).strip() or plain.strip()


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
    """Pairs of normalized `names` that differ in one word, by a slip: see WORD_SIMILARITY, MIN_WORD_CHARS.

    Words with digits and those of scripts without spaces never count as slips. Blocked by all the other words,
    so that 100,000 names take seconds; the same names give the same pairs in any order."""
    blocks: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for name in sorted(set(names)):
        words = name.split(" ")
        for place, word in enumerate(words):
            if len(word) >= MIN_WORD_CHARS and not _NEVER_A_SLIP.search(word):
                blocks[place, " ".join(words[:place]), " ".join(words[place + 1 :])].append(word)
    pairs = []
    for (_, before, after), words in blocks.items():
        words.sort()
        for at, word in enumerate(words):
            near = (w for w in words[at + 1 : at + 1 + NEIGHBOURS] if ratio(word, w, score_cutoff=WORD_SIMILARITY))
            pairs += [(f"{before} {word} {after}".strip(), f"{before} {other} {after}".strip()) for other in near]
    return pairs
