"""Text to chunks that fit a token budget, cut at the strongest boundary in reach.

The text is encoded once. Token sums are exact between additive places (`docreduce.text.tokens.ADDITIVE`), so a cut
costs two look-ups and at most a re-encoding of its rims.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NoReturn

from docreduce.text.chunking.boundaries import Level, first_cluster_end, last_boundary
from docreduce.text.chunking.measure import Measure
from docreduce.text.tokens import Tokenizer
from docreduce.values import Chunk, Mark, Span
from docreduce.values.errors import ChunkError

__all__ = ["chunk", "split"]

_SPARE = 0.05  # chunks beyond the fewest that may be spent on better cuts
_WINDOW = 0.2  # the most of a chunk that may be given up for a better cut
_BLANK = re.compile(r"\s*")


def chunk(
    text: str, tokenizer: Tokenizer, max_tokens: int, *, overlap_tokens: int = 0, marks: Sequence[Mark] = ()
) -> list[Chunk]:
    """Chunks of at most `max_tokens` tokens that cover `text` without a gap; none for empty text.

    `tokens` is exactly tokenizer.count(text[start:end]). Offsets are code points, half-open. Cuts are made at the
    strongest boundary in reach: heading (a mark, or Markdown's), paragraph, sentence, line, word, grapheme cluster;
    a cluster is cut inside only if it exceeds the whole budget. There are at most 5% more chunks than the fewest
    possible, where words allow. With overlap, a chunk begins up to `overlap_tokens` tokens before the end of the
    one before, at a boundary. Raises ChunkError if the budget is below 1, the overlap is not below the budget, or
    a single code point exceeds the budget."""
    if max_tokens < 1 or not 0 <= overlap_tokens < max_tokens:
        raise ChunkError(
            f"a chunk of {max_tokens} tokens cannot overlap the next by {overlap_tokens}",
            hint="chunking.max_tokens must be at least 1 and greater than chunking.overlap_tokens.",
        )
    places = _Places(marks)
    spans = _Cutter(Measure(text, tokenizer), max_tokens, overlap_tokens, places.heading_starts).spans()
    return [places.chunk(text, index, span, tokens) for index, (span, tokens) in enumerate(spans)]


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
    middle = measure.place(measure.tokens // 2)
    near = measure.place(measure.tokens * 2 // 5), measure.place(measure.tokens * 3 // 5)
    last = len(part) - 1
    windows = [(level, *near) for level in Level if level < Level.GRAPHEME]
    windows += [(Level.WORD, 0, middle), (Level.WORD, middle, last), (Level.GRAPHEME, 0, middle)]
    found = (last_boundary(part, level, low, min(high, last), headings) for level, low, high in windows)
    cut = next((place for place in found if place > 0), first_cluster_end(part, 0, len(part)))
    if cut >= len(part):
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

    def spans(self) -> Iterator[tuple[Span, int]]:
        """Spans in order, with their tokens."""
        start = end = done = 0
        while end < len(self.text):
            start = self._overlap_start(start, end) if end and self.overlap else end
            cut = self._end(start, end, self.planned - done)
            if cut is None and start < end:  # the overlap leaves no room for anything new
                start = end
                cut = self._end(start, end, self.planned - done)
            if cut is None:
                self._refuse(start)
            end, tokens = cut
            done += 1
            yield Span(start, end), tokens

    def _chunks_for(self, tokens: int) -> int:
        return max(1, -((self.overlap - tokens) // (self.budget - self.overlap)))

    def _end(self, start: int, floor: int, chunks_left: int) -> tuple[int, int] | None:
        """The end of the chunk from `start`, beyond `floor`, and its tokens; None if nothing fits."""
        high = self.measure.reach(start, self.budget)
        if high >= len(self.text):
            high = len(self.text)
            tokens = self.measure.count(start, high)
            if tokens <= self.budget:
                return high, tokens
        low, lower = self._windows(start, floor, chunks_left)
        strong = (Level.HEADING, Level.PARAGRAPH)
        weak = (Level.SENTENCE, Level.LINE, Level.WORD)
        return (
            self._last_fitting(strong, start, low, high)
            or self._last_fitting(strong, start, lower, low)
            or self._last_fitting(weak, start, low, high)
            or self._nearest(start, floor, low)
            or self._last_fitting((Level.GRAPHEME,), start, floor, high)
            or self._inside_cluster(start, floor, high)
        )

    def _windows(self, start: int, floor: int, chunks_left: int) -> tuple[int, int]:
        """The nearest ends worth a good cut: where the chunks left, filled evenly, still hold the rest; and
        further back, where they do if all later ones are filled to the brim."""
        begun = self.measure.before(start)
        rest = self.measure.tokens - begun
        chunks = max(chunks_left, self._chunks_for(rest))
        room = self.budget - self.overlap
        even = self.overlap + (rest - self.overlap) / chunks
        least = max(rest - (chunks - 1) * room * 0.995, even - 3 * (self.budget - even))
        near, far = (max(tokens, self.budget * (1 - _WINDOW)) for tokens in (even, least))
        return (
            max(floor, self.measure.place(begun + int(near))),
            max(floor, self.measure.place(begun + int(min(near, far)))),
        )

    def _last_fitting(self, levels: Sequence[Level], start: int, low: int, high: int) -> tuple[int, int] | None:
        """The last boundary in (low, high] of the first level that has one within the budget, and its tokens."""
        for level in levels:
            place = last_boundary(self.text, level, low, high, self.headings)
            while place > low:
                tokens = self.measure.count(start, place)
                if tokens <= self.budget:
                    return place, tokens
                place = last_boundary(self.text, level, low, self._back(place, tokens), self.headings)
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
            if place > start and self.measure.count(place, end) <= self.overlap:
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
