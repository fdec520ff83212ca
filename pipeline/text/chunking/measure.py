"""Tokens between any two places of a text, from one encoding of the whole."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from docreduce.text.tokens import ADDITIVE, SEGMENT, Tokenizer

__all__ = ["Measure"]

_REACH = 1024  # how far an additive place is looked for before the whole span is counted anew


class Measure:
    """A text encoded once, in segments. `tokens` is its total, exact unless the text is all one long word."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self.text = text
        self._tokenizer = tokenizer
        self._seams: list[int] = []  # segment ends that are not additive: no sum may reach over them
        parts = []
        start = 0
        while start < len(text):
            end = self._segment_end(start)
            part = tokenizer.token_ends(text[start:end])
            part += np.uint32(start)
            parts.append(part)
            start = end
        self._ends = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
        self.tokens = len(self._ends)
        self._last_rim = (-1, 0, 0)  # start, additive place, tokens between: asked again for each end that is tried

    def _segment_end(self, start: int) -> int:
        if len(self.text) - start <= SEGMENT:
            return len(self.text)
        cut = ADDITIVE.search(self.text, start + SEGMENT, start + 2 * SEGMENT)
        if cut:
            return cut.start()
        end = min(start + 2 * SEGMENT, len(self.text))
        if end < len(self.text):
            self._seams.append(end)
        return end

    def before(self, place: int) -> int:
        """Tokens of the whole text that end at or before `place`: exact sums between additive places."""
        return int(self._ends.searchsorted(np.uint32(place), side="right"))

    def place(self, tokens: int) -> int:
        """About where the first `tokens` tokens of the whole text end."""
        if tokens <= 0:
            return 0
        return int(self._ends[tokens - 1]) if tokens <= self.tokens else len(self.text)

    def reach(self, start: int, budget: int) -> int:
        """About the furthest end of a span from `start` that holds `budget` tokens; never much too near."""
        slack = 0 if self._additive(start) else 2
        return max(self.place(self.before(start) + budget + slack), start + 1)

    def count(self, start: int, end: int) -> int:
        """Exactly tokenizer.count(text[start:end]): sums between additive places, the rims counted anew."""
        left, rim = self._rim(start, end)
        right = self._additive_before(end) if left < end else 0
        if left >= right or (self._seams and bisect_right(self._seams, left) != bisect_right(self._seams, right)):
            return self._tokenizer.count(self.text[start:end])
        tokens = rim + self.before(right) - self.before(left)
        return tokens + self._tokenizer.count(self.text[right:end]) if right < end else tokens

    def _rim(self, start: int, end: int) -> tuple[int, int]:
        """The next additive place from `start` (`end` if it is far or beyond), and the tokens up to it."""
        if self._additive(start):
            return start, 0
        if self._last_rim[0] != start:
            found = ADDITIVE.search(self.text, start, min(start + _REACH, end))
            if not found:
                return end, 0
            self._last_rim = start, found.start(), self._tokenizer.count(self.text[start : found.start()])
        return self._last_rim[1:]

    def _additive(self, place: int) -> bool:
        return place <= 0 or place >= len(self.text) or ADDITIVE.match(self.text, place) is not None

    def _additive_before(self, end: int) -> int:
        """The last additive place up to `end`, or 0 if it is far."""
        if self._additive(end):
            return end
        block = 64
        while block <= _REACH:
            begin = max(end - block, 0)
            best = 0
            for found in ADDITIVE.finditer(self.text, begin, end):
                best = found.start()
            if best:
                return best
            block *= 4
        return 0
