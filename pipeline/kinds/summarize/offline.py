"""Extractive summary: of each part of a text the sentences that speak most of what the whole text speaks of.

A sentence scores the sum of its terms' log frequency (of sentences) over the square root of its length, as SumBasic
weighs terms (Nenkova and Vanderwende 2005). Every part of the text has its share of the words, and a term that
was said counts half. Nothing is written that does not stand in the text, white space aside; no sentence comes twice.
Deterministic; time is linear in the text. Measured beside lead sentences by `tests/benchmarks/offline_quality.py`.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import regex
from docreduce.kinds.summarize.verbatim import after_mark
from docreduce.text.sentences import sentences, words

__all__ = ["summarize"]

PART_WORDS = 75
"""One part of the text for so many words of summary: about three sentences, so that each part is heard."""
SHORTEN = 3
"""A digest takes at most a third of its text, but may always take SHORTEST_WORDS."""
SHORTEST_WORDS = 50
STEM_CHARS = 7
"""Characters of a word that count: inflection in European languages without a stemmer for each."""
SAID = 0.5
"""What a term that was said already still counts; 0 and 1 both score lower on the reports."""
MIN_WORDS = 3
"""A shorter sentence is a heading, a label or an interjection."""
MAX_TOKEN_CHARS = 20
"""Few tokens are longer: bounds what is counted of a text that has no sentence."""

_CLUSTER = regex.compile(r"\X")
_CJK_END = regex.compile(r"[\u3000-\u303f\uff00-\uffef]")  # no space is written after these
_LETTER = regex.compile(r"[\p{L}\p{M}]")
_TERM = regex.compile(r"(?:[\p{L}\p{N}][\p{M}]*+){2,}+|\p{L}\p{M}*+")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
_BROKEN_LINE = regex.compile(r"(?<=-|[\p{Han}\p{Hiragana}\p{Katakana}，、。])[^\S\n]*+\n\s*+")
_TERMINAL = regex.compile(r"[\p{Sentence_Terminal}…][\p{Pe}\p{Pf}\p{Pi}\"'*_\d]*+$|[\p{Thai}\p{Lao}]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sentence:
    text: str  # white space folded, a list's mark in front left out
    words: int
    terms: tuple[str, ...]  # sorted, so that sums of floats come out the same everywhere


def summarize(
    source: str, *, max_words: int, max_tokens: int, count: Callable[[str], int], shorten: bool = False
) -> str:
    """A digest of `source` in its own sentences and order, a paragraph for each part of it; "" for white space only.

    At most `max_words` words and `max_tokens` tokens by `count`: what does not fit is left out. `shorten` also bounds
    it to a third of the text."""
    found = _quotable(source)
    total = sum(one.words for one in found)
    room = min(max_words, max(total // SHORTEN, SHORTEST_WORDS)) if shorten else max_words
    chosen = _choose(found, room)
    while chosen:  # the last chosen are the least worth
        digest = _digest(found, chosen)
        tokens = count(digest)
        if tokens <= max_tokens:
            return digest
        chosen = dict(list(chosen.items())[: min(len(chosen) - 1, len(chosen) * max_tokens // tokens)])
    return _beginning(found[0].text if found else source, room, max_tokens, count)


def _quotable(source: str) -> list[_Sentence]:
    """The sentences that read as prose, each once; all of them where those are less than a fifth of the words."""
    every: dict[str, _Sentence] = {}
    prose: list[_Sentence] = []
    for start, end in sentences(source):
        text = " ".join(_BROKEN_LINE.sub("", source[after_mark(source, start) : end]).split())
        letters = len(_LETTER.findall(text))
        key = unicodedata.normalize("NFKC", text).casefold()
        if not letters or key in every:
            continue
        one = _Sentence(text=text, words=words(text), terms=_terms(text))
        every[key] = one
        if one.words >= MIN_WORDS and _TERMINAL.search(text) and 2 * letters >= len(text):
            prose.append(one)
    spoken = sum(one.words for one in prose)
    return prose if 5 * spoken >= sum(one.words for one in every.values()) else list(every.values())


def _terms(text: str) -> tuple[str, ...]:
    """The terms of `text`: word beginnings without case, pairs of letters where a script has no spaces."""
    terms: set[str] = set()
    for run in _TERM.findall(text):
        if _UNSPACED.match(run):
            terms.update(run[i : i + 2] for i in range(max(1, len(run) - 1)))
        else:
            terms.add(run.casefold()[:STEM_CHARS])
    return tuple(sorted(terms))


def _choose(found: list[_Sentence], room: int) -> dict[int, int]:
    """Indices into `found` with the part of the text each stands in, together at most `room` words.

    In turns every part gives the best it has that fits, so the first ones chosen are the most worth."""
    frequency = Counter(term for one in found for term in one.terms)
    weight = {term: math.log1p(times) for term, times in frequency.items() if times > 1}
    said: set[str] = set()

    def score(row: int) -> float:
        terms = found[row].terms
        spoken = sum(weight.get(term, 0.0) * (SAID if term in said else 1.0) for term in terms)
        return spoken / math.sqrt(max(1, len(terms)))

    parts = _parts(found, room)
    chosen: dict[int, int] = {}
    before = -1
    while len(chosen) > before:
        before = len(chosen)
        for number, part in enumerate(parts):
            part[:] = [row for row in part if found[row].words <= room and row not in chosen]
            if part:
                best = max(part, key=lambda row: (score(row), -row))
                chosen[best] = number
                room -= found[best].words
                said.update(found[best].terms)
    return chosen


def _parts(found: list[_Sentence], room: int) -> list[list[int]]:
    """The indices of `found` in parts of about as many words each."""
    total = sum(one.words for one in found)
    parts: list[list[int]] = [[] for _ in range(max(1, round(min(room, total) / PART_WORDS)))]
    place = 0
    for row, one in enumerate(found):
        parts[(2 * place + one.words) * len(parts) // (2 * total + 1)].append(row)
        place += one.words
    return parts


def _digest(found: list[_Sentence], chosen: dict[int, int]) -> str:
    paragraphs = []
    for _, rows in groupby(sorted(chosen), key=lambda row: chosen[row]):
        text = ""
        for row in rows:
            text += ("" if not text or _CJK_END.search(text, len(text) - 1) else " ") + found[row].text
        paragraphs.append(text)
    return "\n\n".join(paragraphs)


def _beginning(text: str, room: int, max_tokens: int, count: Callable[[str], int]) -> str:
    """The beginning of `text` that fits, up to a white space where there is one: for a text with no sentence that
    fits."""
    head = " ".join(text.split())[: MAX_TOKEN_CHARS * max_tokens]
    while (share := min(room / max(1, words(head)), max_tokens / max(1, count(head)))) < 1:
        clusters = _CLUSTER.findall(head)
        shorter = "".join(clusters[: int(len(clusters) * min(share, 0.9))])
        head = shorter.rpartition(" ")[0] or shorter
    return head
