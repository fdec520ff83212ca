"""Text to chunks that fit a token budget, cut at the strongest boundary in reach.

Of the strongest boundaries where a chunk may end, the text around them chooses one: the smallest hash. So after an edit
the cuts are soon where they were before (content-defined chunking, as in LBFS, Muthitacharoen et al. 2001). The room
for that choice is what the fewest chunks and 5 % more leave, spread over all.

The text is encoded once. Token sums are exact between additive places (`docreduce.text.tokens.ADDITIVE`), so a cut
costs two look-ups and at most a re-encoding of its rims.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NoReturn
from zlib import crc32

from docreduce.text.chunking.boundaries import Level, boundaries, first_cluster_end, last_boundary, row_around
from docreduce.text.chunking.measure import Measure
from docreduce.text.tokens import Tokenizer
from docreduce.values import Chunk, Mark, Span
from docreduce.values.errors import ChunkError

__all__ = ["chunk", "split"]

_SPARE = 0.05  # chunks beyond the fewest that may be spent on better cuts
_WINDOW = 0.2  # the most of a chunk that may be given up for a better cut
_SURE = 3  # code points a token of English has at least, on the average: so short a text is counted first
_AROUND = 32  # code points before and after a boundary that choose among several
_BLANK = re.compile(r"\s*")


def chunk(
    text: str, tokenizer: Tokenizer, max_tokens: int, *, overlap_tokens: int = 0, marks: Sequence[Mark] = ()
) -> list[Chunk]:
    """Chunks of at most `max_tokens` tokens that cover `text`; none for a blank one. White space that no neighbour has
    room for is left out, so no chunk is blank.

    `tokens` is exactly tokenizer.count(text[start:end]). Offsets are code points, half-open. Cuts are made at the
    strongest boundary in reach: heading (a mark, or Markdown's), paragraph, sentence, line, word, grapheme cluster; a
    table's row is cut inside only if it does not fit, a cluster only if it exceeds the whole budget. Where words and
    rows allow, there are at most 5% more chunks than the fewest possible (or one, for whole sentences). With overlap,
    a chunk begins up to `overlap_tokens` tokens before the end of the one before, at a boundary. Raises ChunkError if
    the budget is below 1, the overlap is not below the budget, or a single code point exceeds the budget."""
    if max_tokens < 1 or not 0 <= overlap_tokens < max_tokens:
        raise ChunkError(
            f"a chunk of {max_tokens} tokens cannot overlap the next by {overlap_tokens}",
            hint="chunking.max_tokens must be at least 1 and greater than chunking.overlap_tokens.",
        )
    places = _Places(marks)
    spans = _spans(text, tokenizer, max_tokens, overlap_tokens, places.heading_starts)
    return [places.chunk(text, index, span, tokens) for index, (span, tokens) in enumerate(spans)]


def _spans(
    text: str, tokenizer: Tokenizer, budget: int, overlap: int, headings: Sequence[int]
) -> list[tuple[Span, int]]:
    """The spans of `chunk` with their tokens."""
    if not text or text.isspace():
        return []
    if len(text) <= _SURE * budget:  # no need to know where each token ends
        tokens = tokenizer.count(text)
        if tokens <= budget:
            return [(Span(0, len(text)), tokens)]
    measure = Measure(text, tokenizer)
    kept: list[tuple[Span, int]] = []
    blank: Span | None = None  # before the next span, without room in the one before
    for span, tokens in _Cutter(measure, budget, overlap, headings).spans():
        start, holds = span.start, tokens
        if text[span.start : span.end].isspace():
            whole = measure.count(kept[-1][0].start, span.end) if kept and not blank else budget + 1
            if whole <= budget:
                kept[-1] = Span(kept[-1][0].start, span.end), whole
            else:
                blank = Span(blank.start if blank else span.start, span.end)
            continue
        if blank and (whole := measure.count(blank.start, span.end)) <= budget:
            start, holds = blank.start, whole
        kept.append((Span(start, span.end), holds))
        blank = None
    return kept


def split(chunk: Chunk, text: str, tokenizer: Tokenizer, *, marks: Sequence[Mark] = ()) -> list[Chunk]:
    """Two halves of `chunk`, a chunk of `text`, cut at the best boundary near its middle; indexes 0 and 1.

    Empty where it cannot be cut: a single token or a single grapheme cluster."""
    start, end = chunk.span.start, chunk.span.end
    part = text[start:end]
    measure = Measure(part, tokenizer)
    if chunk.tokens < 2:
        return []
    places = _Places(marks)
    headings = [place - start for place in places.heading_starts if start < place < end]
    first, last = len(part) - len(part.lstrip()), len(part.rstrip()) - 1  # no half is blank
    before, among = measure.before(first), measure.before(last + 1) - measure.before(first)
    middle = measure.place(before + among // 2)
    near = measure.place(before + among * 2 // 5), measure.place(before + among * 3 // 5)
    windows = [(level, *near) for level in Level if level < Level.GRAPHEME]
    windows += [(Level.WORD, first, middle), (Level.WORD, middle, last), (Level.GRAPHEME, first, middle)]
    found = (last_boundary(part, level, low, min(high, last), headings) for level, low, high in windows)
    cut = next((place for place in found if place > first), first_cluster_end(part, first, len(part)))
    row = row_around(part, cut)
    cut = next((place for place in row or () if first < place <= last), cut)
    if cut > last:
        return []
    spans = Span(start, start + cut), Span(start + cut, end)
    tokens = measure.count(0, cut), measure.count(cut, len(part))
    return [places.chunk(text, index, spans[index], tokens[index]) for index in (0, 1)]


class _Cutter:
    """The plan of one text: where each chunk ends, and how far back the next one begins."""

    def __init__(self, measure: Measure, budget: int, overlap: int, headings: Sequence[int]) -> None:
        self.measure = measure
        self.text = measure.text
        self.budget = budget
        self.overlap = overlap
        self.headings = headings
        fewest = self._chunks_for(measure.tokens)
        self.planned = max(fewest, int(fewest * (1 + _SPARE)))
        self.most = max(self.planned, fewest + 1)  # so that sentences stay whole where 5 % is no chunk

    def spans(self) -> Iterator[tuple[Span, int]]:
        """Spans in order, with their tokens."""
        start = end = done = 0
        while end < len(self.text):
            start = self._overlap_start(start, end) if end and self.overlap else end
            cut = self._end(start, end, done)
            if cut is None and start < end:  # the overlap leaves no room for anything new
                start = end
                cut = self._end(start, end, done)
            if cut is None:
                self._refuse(start)
            end, tokens = cut
            done += 1
            yield Span(start, end), tokens

    def _chunks_for(self, tokens: int) -> int:
        return max(1, -((self.overlap - tokens) // (self.budget - self.overlap)))

    def _end(self, start: int, floor: int, done: int) -> tuple[int, int] | None:
        """The end of the chunk from `start`, beyond `floor`, and its tokens; None if nothing fits."""
        high = self.measure.reach(start, self.budget)
        if high >= len(self.text):
            high = len(self.text)
            tokens = self.measure.count(start, high)
            if tokens <= self.budget:
                return high, tokens
        low, lower, lowest = self._windows(start, floor, done)
        strong = (Level.HEADING, Level.PARAGRAPH)
        whole = (*strong, Level.SENTENCE)
        return (
            self._chosen(strong, start, low, high)
            or self._chosen(strong, start, lower, low, last=True)
            or self._whole_rows(start, floor, high, self._chosen((Level.SENTENCE,), start, low, high))
            or self._whole_rows(start, floor, high, self._chosen(whole, start, lowest, low, last=True))
            or self._whole_rows(start, floor, high, self._chosen((Level.LINE,), start, low, high))
            or self._whole_rows(start, floor, high, self._nearest(start, floor, high))
            or self._last_fitting(start, floor, high)
            or self._inside_cluster(start, floor, high)
        )

    def _whole_rows(self, start: int, floor: int, high: int, cut: tuple[int, int] | None) -> tuple[int, int] | None:
        """The cut, or the begin or end of the table's row that it would cut, if that fits."""
        row = row_around(self.text, cut[0]) if cut else None
        for place in row or ():
            if floor < place <= high and (tokens := self.measure.count(start, place)) <= self.budget:
                return place, tokens
        return cut

    def _windows(self, start: int, floor: int, done: int) -> tuple[int, int, int]:
        """The nearest ends worth a good cut: where the chunks left, filled evenly on the average, still hold the rest;
        further back, where they do if all later ones are filled to the brim; and where `most` chunks do."""
        begun = self.measure.before(start)
        rest = self.measure.tokens - begun
        chunks = max(self.planned - done, self._chunks_for(rest))
        room = self.budget - self.overlap
        even = self.overlap + (rest - self.overlap) / chunks
        if rest > room / _SPARE:  # far from the end a cut depends on the text alone, while the plan allows it
            even = max(even, self.overlap + room / (1 + 0.8 * _SPARE))
        brim, last = (rest - (left - 1) * room * 0.995 for left in (chunks, max(chunks, self.most - done)))
        ends = (max(brim, even - times * (self.budget - even)) for times in (1, 2))
        near, far, furthest = (max(end, self.budget * (1 - _WINDOW)) for end in (*ends, last))
        furthest = furthest if self.most > self.planned else far
        low, lower, lowest = (begun + int(min(near, end)) for end in (near, far, furthest))
        return (
            max(floor, self.measure.place(low)),
            max(floor, self.measure.place(lower)),
            max(floor, self.measure.place(lowest)),
        )

    def _chosen(
        self, levels: Sequence[Level], start: int, low: int, high: int, *, last: bool = False
    ) -> tuple[int, int] | None:
        """The boundary in (low, high] that the text around it chooses among those that fit (or the `last`), of the
        first level that has one, and its tokens."""
        for level in levels:
            places = boundaries(self.text, level, low, high, self.headings)
            for place in reversed(places) if last else sorted(places, key=self._choice):
                tokens = self.measure.count(start, place)
                if tokens <= self.budget:
                    return place, tokens
        return None

    def _choice(self, place: int) -> tuple[int, int]:
        around = self.text[max(place - _AROUND, 0) : place + _AROUND]
        return crc32(around.encode("utf-8", "surrogatepass")), -place

    def _last_fitting(self, start: int, low: int, high: int) -> tuple[int, int] | None:
        """The last end of a cluster in (low, high] within the budget, and its tokens."""
        place = last_boundary(self.text, Level.GRAPHEME, low, high)
        while place > low:
            tokens = self.measure.count(start, place)
            if tokens <= self.budget:
                return place, tokens
            place = last_boundary(self.text, Level.GRAPHEME, low, self._back(place, tokens))
        return None

    def _nearest(self, start: int, floor: int, high: int) -> tuple[int, int] | None:
        """The last boundary above grapheme in (floor, high] that fits, of whatever level, and its tokens."""
        while True:
            place = floor
            for level in (Level.WORD, Level.LINE, Level.SENTENCE, Level.PARAGRAPH, Level.HEADING):
                place = max(place, last_boundary(self.text, level, place, high, self.headings))
            if place <= floor:
                return None
            tokens = self.measure.count(start, place)
            if tokens <= self.budget:
                return place, tokens
            high = self._back(place, tokens)

    def _back(self, place: int, tokens: int) -> int:
        """A place before `place` where `tokens` may have come down to the budget."""
        return min(place - 1, self.measure.place(self.measure.before(place) - (tokens - self.budget)))

    def _inside_cluster(self, start: int, floor: int, high: int) -> tuple[int, int] | None:
        """The end of the first cluster, if it fits after all, or else a place inside it."""
        if floor > start:
            return None
        high = first_cluster_end(self.text, start, min(high + 64, len(self.text)))
        while high > start:
            tokens = self.measure.count(start, high)
            if tokens <= self.budget:
                return high, tokens
            high = max(self._back(high, tokens), start + 1) if high > start + 1 else start
        return None

    def _overlap_start(self, start: int, end: int) -> int:
        """Where the chunk after one that ended at `end` begins: at most `overlap` tokens back."""
        ended = self.measure.before(end)
        low = max(self.measure.place(ended - self.overlap) - 1, start)
        quarter, half = (self.measure.place(ended - self.overlap * part // 4) for part in (3, 2))
        windows = [(level, low, half) for level in Level if level < Level.WORD]
        windows += [(Level.WORD, low, high) for high in (quarter, half, end - 1)]
        windows += [(Level.GRAPHEME, start, high) for high in (low + 1, quarter, half, end - 1)]
        for level, after, high in windows:
            place = last_boundary(self.text, level, after, min(high, end - 1), self.headings)
            row = row_around(self.text, place) if place > start else None
            place = row[1] if row else place  # no part of a row is context
            if start < place < end and self.measure.count(place, end) <= self.overlap:
                return place
        return end

    def _refuse(self, start: int) -> NoReturn:
        tokens = self.measure.count(start, start + 1)
        character = f"U+{ord(self.text[start]):04X}"
        raise ChunkError(
            f"the character {character} at {start} takes {tokens} tokens, the budget is {self.budget}",
            hint=f"Set chunking.max_tokens to {tokens} or more.",
        )


class _Places:
    """Headings and pages by where they begin."""

    def __init__(self, marks: Sequence[Mark]) -> None:
        headings = sorted((mark for mark in marks if mark.kind == "heading"), key=lambda mark: mark.start)
        pages = sorted((mark for mark in marks if mark.kind == "page"), key=lambda mark: mark.start)
        self.heading_starts = [mark.start for mark in headings]
        self._headings = [mark.label for mark in headings]
        self._page_starts = [mark.start for mark in pages]
        self._pages = [int(mark.label) for mark in pages]

    def chunk(self, text: str, index: int, span: Span, tokens: int) -> Chunk:
        """The chunk with its heading (the last that begins before any visible character of it) and its pages."""
        chunk = Chunk(index=index, span=span, tokens=tokens)
        if self.heading_starts:
            blank = _BLANK.match(text, span.start, span.end)
            nth = bisect_right(self.heading_starts, blank.end() if blank else span.start)
            chunk = replace(chunk, heading=self._headings[nth - 1] if nth else None)
        if self._pages:
            first = max(bisect_right(self._page_starts, span.start) - 1, 0)
            last = max(bisect_left(self._page_starts, span.end) - 1, first)
            chunk = replace(chunk, page_start=self._pages[first], page_end=self._pages[last])
        return chunk
