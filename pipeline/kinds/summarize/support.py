"""What a summary rests on: each of its sentences with the passages of the source that say it, without a model.

A passage is a sentence of the source. The best one shares the most words, each weighed by how rare it is in the source
(IDF); another one is added where it says a part of the sentence that those before do not. Hard evidence has to stand in
the passages: numbers, months, names, and that something is negated or is not. A sentence with hard evidence that its
passages do not have is unsupported, however alike the rest is. A name may also stand before a passage that has none of
its own ("She sold it in 2019"), or be what the whole source is about. What stands in the source word for word is
supported by that place, whatever its words weigh.

What cannot be seen so: who did what to whom where the words are the same, and other words for the same thing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from docreduce.kinds.summarize.verbatim import Verbatim
from docreduce.kinds.summarize.wording import Wording, wording
from docreduce.text.sentences import sentences

__all__ = ["support"]

MAX_PASSAGES = 4
"""Of one sentence: what rests on more is no longer a statement of any of them."""
LEAST_SCORE = 0.15
"""Share of a sentence's weight that its passages have at least; below it nothing in the source says it."""
MOST = 0.5
"""The same of a sentence whose every word is common: none of them alone tells anything."""
ADDS = 0.2
"""Share of the weight of a sentence's words, but for its hard evidence, that a further passage adds."""
COMMON = 0.2
"""Share of the source's sentences from which on a word tells nothing; MANY sentences at least."""
MANY = 10
BEFORE = 3
"""Sentences before a passage without a name in which its name may stand."""
PROOF = 0.1
"""What a piece of hard evidence counts for among passages, as such a share."""
CANDIDATES = 24
"""Passages with the most weight that are compared by their hard evidence."""


@dataclass(slots=True)
class _Source:
    """The source's sentences by the stems in them."""

    text: str
    spans: list[tuple[int, int]]
    by_stem: dict[str, list[int]]
    names: Counter[str]
    _read: dict[int, Wording] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> _Source:
        spans = sentences(text)
        by_stem: dict[str, list[int]] = defaultdict(list)
        names: Counter[str] = Counter()
        source = cls(text=text, spans=spans, by_stem=by_stem, names=names)
        for at in range(len(spans)):
            read = source.sentence(at)
            for stem in read.stems:
                by_stem[stem].append(at)
            names.update(read.names)
        return source

    def sentence(self, at: int) -> Wording:
        if at not in self._read:
            start, end = self.spans[at]
            self._read[at] = wording(self.text[start:end])
        return self._read[at]

    def weight(self, stem: str) -> float:
        """How much a word tells: nothing where it is everywhere."""
        seen, total = len(self.by_stem.get(stem, ())), len(self.spans)
        if seen > max(COMMON * total, MANY):
            return 0.0
        return math.log(1 + total / (seen or 1))

    def weights(self, stems: Iterable[str]) -> tuple[dict[str, float], bool]:
        """What each of a sentence's words tells, and whether one of them is rare: where none is, all count alike."""
        weights = {stem: self.weight(stem) for stem in stems}
        rare = any(weights.values())
        return (weights if rare else dict.fromkeys(weights, 1.0)), rare


def support(summary: str, text: str) -> list[dict[str, Any]]:
    """Rows of `support.parquet`: for each sentence of `summary` its passages in `text`, the best first, with their
    share of its weight; one row without a place where there is none. Linear in the text: about a second a megabyte."""
    source = _Source.of(text)
    verbatim = Verbatim(text, [start for start, _ in source.spans])
    rows: list[dict[str, Any]] = []
    for number, (start, end) in enumerate(sentences(summary)):
        said = summary[start:end]
        row: dict[str, Any] = {"sentence": number, "text": said, "status": "supported"}
        if place := verbatim.place(said):
            rows.append({**row, "char_start": place[0], "char_end": place[1], "score": 1.0})
            continue
        read = wording(said, source.names)
        places, enough = _passages(read, source)
        if not enough or _lacking(read, places, source):
            row["status"] = "unsupported"
        for at, share in places:
            first, last = source.spans[at]
            rows.append({**row, "char_start": first, "char_end": last, "score": round(share, 4)})
        if not places:
            rows.append({**row, "char_start": None, "char_end": None, "score": 0.0})
    return rows


def _passages(read: Wording, source: _Source) -> tuple[list[tuple[int, float]], bool]:
    """The passages of a sentence with the share of its weight that each one has, and whether they have enough of it."""
    weights, rare = source.weights(read.stems)
    total = sum(weights.values()) or 1.0
    soft = sum(weights[stem] for stem in read.soft) or 1.0
    shared: Counter[int] = Counter()
    for stem, weight in weights.items():
        if weight:
            for at in source.by_stem.get(stem, ()):
                shared[at] += weight  # type: ignore[assignment]
    places: list[tuple[int, float]] = []
    covered: set[str] = set()
    left = [at for at, _ in shared.most_common(CANDIDATES)]
    missing = read.hard()
    while left and len(places) < MAX_PASSAGES:
        fresh = read.soft - covered
        adds = {
            at: (
                sum(weights[stem] for stem in fresh & source.sentence(at).stems) / soft,
                PROOF * sum(map(source.sentence(at).has, missing)),
            )
            for at in left
        }
        best = max(left, key=lambda at: sum(adds[at]))
        new, proves = adds[best]
        # One thing alone proves nothing: the name that was put for another stands somewhere, too.
        if places and new < ADDS and not (proves >= 2 * PROOF and new > 0):
            break
        places.append((best, shared[best] / total))
        covered |= source.sentence(best).stems
        missing = [item for item in missing if not source.sentence(best).has(item)]
        left.remove(best)
    score = sum(weight for stem, weight in weights.items() if stem in covered) / total
    return places, score >= (LEAST_SCORE if rare else MOST)


def _lacking(read: Wording, places: Sequence[tuple[int, float]], source: _Source) -> bool:
    """Whether hard evidence of the sentence is not in its passages, or a negation of theirs is not in it."""
    passages = [source.sentence(at) for at, _ in places]
    for kind, word in read.hard():
        if any(passage.has((kind, word)) for passage in passages):
            continue
        if kind != "name" or not _named_before(word, places, source):
            return True
    if read.negated:
        return not any(passage.negated for passage in passages)
    return any(passage.negated and _same_statement(read, passage, source) for passage in passages[:1])


def _named_before(name: str, places: Sequence[tuple[int, float]], source: _Source) -> bool:
    before = [
        at - back for at, _ in places if not source.sentence(at).names for back in range(1, BEFORE + 1) if at >= back
    ]
    return any(name in source.sentence(at).names for at in before)


def _same_statement(read: Wording, passage: Wording, source: _Source) -> bool:
    """Whether what a passage negates is said in the sentence without the negation: the words beside the "not", or half
    of the passage."""
    beside = [stem for stem in passage.beside if source.weight(stem) > 0]
    if beside and sum(stem in read.stems for stem in beside) * 2 > len(beside):
        return True
    weights, _ = source.weights(passage.stems)
    return sum(weights[stem] for stem in passage.stems & read.stems) >= sum(weights.values()) / 2 > 0
