"""What is whole in an answer that broke off, and from where in the text to ask on.

Read strictly: an item counts where its own brackets are closed, nothing is added or mended. Asked again is from behind
the words of the last item but one: the last one is answered once more, whole, so that nothing between two items is
passed over. Where items do not stand in the order of the text, or without words in it, nobody can tell how far the
answer came: nothing is kept.

A model that loops says one item again and again until the limit. An item can only be there as often as the longest
words given for it: what is said oftener is repetition, and the answer is good up to there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import regex
from docreduce.kinds.extract.answers import ReadItem, read_items
from docreduce.kinds.extract.placing import place
from docreduce.kinds.pieces import Kept
from docreduce.kinds.steps import InvalidAnswerError
from docreduce.text.alignment import Aligner
from docreduce.values import Chunk, Span

__all__ = ["complete_items", "keep"]

_OPENING = regex.compile(r'\s*+(?:```(?:json)?\s*+)?(?:\{\s*+"items"\s*+:\s*+)?\[\s*+')
_BETWEEN = regex.compile(r"\s*+,\s*+")
_DECODER = json.JSONDecoder()


def keep(text: str, answer: str, chunk: Chunk, schema: str) -> Kept[Sequence[ReadItem]] | None:
    """The items of an `answer` to text[chunk.span] that broke off, and where to go on; None where nothing can be kept.

    At least two items have to be whole, since the last one is asked for again, unless it is the one that repeats."""
    try:
        items = read_items(f'{{"items":[{",".join(complete_items(answer))}]}}', schema)
    except InvalidAnswerError:
        return None
    aligner = Aligner(text[chunk.span.start : chunk.span.end], chunk.span.start)
    once = list(_without_repetition(items, aligner))
    repeats = len(once) < len(items)
    if len(once) < 2 - repeats:
        return None
    extents = _extents(once, text, chunk)
    last, before = extents[-1], [extent for extent in extents[:-1] if extent]
    if last is None or any(extent.end > last.start for extent in before):
        return None
    if len(once) == 1:
        rest = text[last.end : chunk.span.end]
        return Kept(value=once, resume=last.end if rest.strip() else chunk.span.end, repeats=repeats)
    if extents[-2] is None:
        return None
    end = max(extent.end for extent in before)
    line = text.find("\n", end, last.start)
    resume = line + 1 if line >= 0 else last.start
    return Kept(value=once[:-1], resume=resume, repeats=repeats) if resume > chunk.span.start else None


def complete_items(answer: str) -> Iterator[str]:
    """The JSON text of each item of a broken answer `{"items": [{…}, {…}, {…`, in order, that is whole."""
    opening = _OPENING.match(answer)
    at = opening.end() if opening else len(answer)
    while at < len(answer) and answer[at] == "{":
        try:
            _, end = _DECODER.raw_decode(answer, at)
        except (ValueError, RecursionError):
            return
        yield answer[at:end]
        between = _BETWEEN.match(answer, end)
        at = between.end() if between else len(answer)


def _without_repetition(items: Sequence[ReadItem], aligner: Aligner) -> Iterator[ReadItem]:
    """The items up to the first that is said oftener than its longest words stand in the text."""
    said: Counter[str] = Counter()
    for item in items:
        same = json.dumps([item.values, list(item.quotes)], sort_keys=True, ensure_ascii=False)
        said[same] += 1
        if said[same] > 1:
            words = max((words for _, words in item.quotes), key=len, default="")
            if said[same] > max(1, len(aligner.places(words).spans) if words else 0):
                return
        yield item


@dataclass(slots=True)
class _Extent:
    start: int
    end: int


def _extents(items: Sequence[ReadItem], text: str, chunk: Chunk) -> list[_Extent | None]:
    """Where each item's own words stand: those that no other item shares, and that stand there alone where any do."""
    found = {one.ordinal: one for one in place(items, text, chunk=chunk.index, span=chunk.span)}
    shared: Counter[Span] = Counter()
    for one in found.values():
        shared.update({quote.span for quotes in one.quotes.values() for quote in quotes if quote.span})
    extents: list[_Extent | None] = []
    for at in range(len(items)):
        quotes = [quote for each in found[at].quotes.values() for quote in each] if at in found else []
        own = [(quote.span, quote.ambiguous) for quote in quotes if quote.span and shared[quote.span] == 1]
        sure = [span for span, ambiguous in own if not ambiguous] or [span for span, _ in own]
        if not sure:
            extents.append(None)
            continue
        extents.append(_Extent(min(span.start for span in sure), max(span.end for span in sure)))
    return extents
