"""Extractive summary: the sentences of a text that speak most of what the whole text speaks of.

A sentence scores the sum of its terms' log sentence frequency over the square root of its
length: a centroid score (Radev et al. 2004) without the inverse frequency, as SumBasic weighs terms
(Nenkova and Vanderwende 2005). Measured by `tests/benchmarks/offline_quality.py` it was a little ahead of
TF-IDF centroid and LexRank. The digest is spread over equal parts of the text, and repetition is kept
out by maximal marginal relevance (Carbonell and Goldstein 1998) over TF-IDF cosines. Deterministic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import regex
from docreduce.kinds.extract.offline_prose import CUT_MARK, Sentence, sentences, word_weight

__all__ = ["summarize"]

SPREAD_WORDS = 75  # one part of the text for so many words of summary
MAX_PARTS = 60
MAX_POOL = 600  # candidates compared with each other
RELEVANCE = 0.5  # MMR's lambda
REPEATED = 0.6  # a cosine from which a sentence says what was said
FULL_TERMS = 12  # shorter sentences are weighed as if they had so many: "Yes, absolutely." says little
LEAD_BONUS = 0.15  # a paragraph's first sentence carries its topic
OPENING_BONUS = 0.5  # a short text's first sentence says what it is about
SHORT_TEXT = 1_000  # sentences up to this many words together are a short text
DANGLING = 0.85  # "This", "However": refers to a sentence that may be missing
CUT = 0.8
STEM = 7  # characters of a word that count: inflection in English and German without a stemmer
SHORTEN = 3  # a digest takes at most a third of its text …
SHORTEST_WORDS = 50  # … but may always take so many words

_TERM = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]+|(?:(?![\p{Han}\p{Hiragana}\p{Katakana}])[\p{L}\p{N}]){2,}")
_HAN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_DANGLING = regex.compile(
    r"[\"“„‘(]*(?:He|She|It|They|This|These|Those|That|However|But|And|So|Thus|Therefore|Such|His|Her|Their|"
    r"Er|Sie|Es|Dies\w*|Aber|Und|Daher|Deshalb|Dazu|Dabei|Jedoch|[他她它此但而故亦])\b"
)

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Vectors:
    """TF-IDF of the sentences as coordinates: `values[i]` of term `columns[i]` in sentence `rows[i]`."""

    rows: Ints
    columns: Ints
    values: Floats
    frequency: Floats  # sentences a term stands in


def summarize(text: str, *, max_words: int, max_tokens: int, count: Callable[[str], int], shorten: bool = True) -> str:
    """A digest of `text` in its own sentences and order, in paragraphs; "" for white space only.

    At most `max_words` words (a Han character is 0.6) and `max_tokens` tokens by `count`: sentences that
    do not fit are left out. `shorten` also bounds it to a third of the text; switch it off for text that
    is a digest already."""
    found = sentences(text)
    total = sum(sentence.words for sentence in found)
    words = min(float(max_words), max(total / SHORTEN, SHORTEST_WORDS)) if shorten else float(max_words)
    parts = max(1, min(MAX_PARTS, round(min(words, total) / SPREAD_WORDS)))
    middle = np.cumsum([s.words for s in found]) - np.array([s.words for s in found]) / 2
    part = np.minimum((middle / max(total, 1.0) * parts).astype(np.int64), parts - 1)
    chosen = _choose(found, part, parts, words) if found else []
    while chosen:  # the last chosen are the least worth
        digest = _render(found, part, sorted(chosen))
        if count(digest) <= max_tokens:
            return digest
        chosen = chosen[: min(len(chosen) - 1, max(1, int(len(chosen) * max_tokens / count(digest))))]
    return _beginning(found[0].text if found else text, words, max_tokens, count)


def _terms(text: str) -> list[str]:
    """The terms of `text`: word beginnings without case, character pairs for Chinese."""
    terms: list[str] = []
    for run in _TERM.findall(text):
        if _HAN.match(run):
            terms += [run[i : i + 2] for i in range(len(run) - 1)]
        else:
            terms.append(run.casefold()[:STEM])
    return terms


def _vectors(found: list[Sentence]) -> _Vectors:
    vocabulary: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    counts: list[float] = []
    for row, sentence in enumerate(found):
        for term, number in Counter(_terms(sentence.text)).items():
            rows.append(row)
            columns.append(vocabulary.setdefault(term, len(vocabulary)))
            counts.append(1.0 + math.log(number))
    row_ids, column_ids = np.array(rows, dtype=np.int64), np.array(columns, dtype=np.int64)
    frequency = np.bincount(column_ids, minlength=len(vocabulary)).astype(np.float64)
    values = np.array(counts) * np.log((len(found) + 1) / frequency)[column_ids]
    norm = np.sqrt(np.bincount(row_ids, weights=values**2, minlength=len(found)))
    return _Vectors(row_ids, column_ids, values / np.maximum(norm, 1e-9)[row_ids], frequency)


def _scores(found: list[Sentence], vectors: _Vectors) -> Floats:
    weight = np.where(vectors.frequency >= 2, np.log1p(vectors.frequency), 0.0)
    length = np.bincount(vectors.rows, minlength=len(found))
    spoken = np.bincount(vectors.rows, weights=weight[vectors.columns], minlength=len(found))
    score: Floats = spoken / np.sqrt(np.maximum(length, FULL_TERMS))
    for row, sentence in enumerate(found):
        score[row] *= 1.0 + LEAD_BONUS * sentence.lead
        score[row] *= DANGLING if _DANGLING.match(sentence.text) else 1.0
        score[row] *= CUT if sentence.text.endswith(CUT_MARK) else 1.0
    if sum(sentence.words for sentence in found) <= SHORT_TEXT:
        score[0] *= 1.0 + OPENING_BONUS
    return score / max(float(score.max()), 1e-9)


def _choose(found: list[Sentence], part: Ints, parts: int, words: float) -> list[int]:
    """Indices into `found`, the most worth first; each part of the text gets its share of `words` first."""
    vectors = _vectors(found)
    score = _scores(found, vectors)
    weight = np.array([sentence.words for sentence in found])
    best = [np.flatnonzero(part == number) for number in range(parts)]
    pool = np.concatenate([rows[np.argsort(-score[rows], kind="stable")[: MAX_POOL // parts]] for rows in best])
    cosine = _cosines(vectors, pool, len(found))
    share = np.full(parts, words / parts)
    free = np.ones(len(pool), dtype=bool)
    nearest = np.zeros(len(pool))
    left = words
    chosen: list[int] = []
    for shared in (True, False):
        while True:
            open_ = free & (weight[pool] <= left) & (nearest <= REPEATED)
            if shared:
                open_ &= share[part[pool]] >= np.minimum(weight[pool] / 2, words / parts)
            if not open_.any():
                break
            value = RELEVANCE * score[pool] - (1 - RELEVANCE) * nearest
            pick = int(np.where(open_, value, -np.inf).argmax())
            free[pick] = False
            chosen.append(int(pool[pick]))
            left -= weight[pool[pick]]
            share[part[pool[pick]]] -= weight[pool[pick]]
            nearest = np.maximum(nearest, cosine[pick])
    return chosen


def _cosines(vectors: _Vectors, pool: Ints, size: int) -> Floats:
    place = np.full(size, -1, dtype=np.int64)
    place[pool] = np.arange(len(pool))
    kept = place[vectors.rows] >= 0
    terms, columns = np.unique(vectors.columns[kept], return_inverse=True)
    dense = np.zeros((len(pool), len(terms)), dtype=np.float32)
    dense[place[vectors.rows[kept]], columns] = vectors.values[kept]
    cosine: Floats = np.asarray(dense @ dense.T, dtype=np.float64)
    return cosine.round(4)  # a machine's BLAS may differ in the last digits


def _render(found: list[Sentence], part: Ints, chosen: list[int]) -> str:
    paragraphs: list[str] = []
    for place, row in enumerate(chosen):
        text = found[row].text
        if not place or part[row] != part[chosen[place - 1]]:
            paragraphs.append(text)
        else:
            paragraphs[-1] += ("" if _HAN.match(text) and not paragraphs[-1][-1].isascii() else " ") + text
    return "\n\n".join(paragraphs)


def _beginning(text: str, words: float, max_tokens: int, count: Callable[[str], int]) -> str:
    """The beginning of `text` that fits, at a word: what is left where no sentence does."""
    folded = " ".join(text[:20_000].split())
    while folded and (word_weight(folded) > words or count(folded) > max_tokens):
        shorter = folded[: len(folded) * 9 // 10]
        folded = shorter.rpartition(" ")[0] or shorter
    return folded
