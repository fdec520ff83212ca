"""Where a quote stands in a text: exactly, in another spelling, nearly, or nowhere.

Spellings that count as equal: letter case, white space, hyphenation, typographic quotes and dashes, compatibility
forms (Unicode NFKC: full width, ligatures) and invisible format characters. Nearly: rapidfuzz's
partial ratio (normalized indel similarity of the best window) of at least FUZZY_THRESHOLD.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import regex
from docreduce.values import Mark, Span
from rapidfuzz.fuzz import partial_ratio_alignment

__all__ = ["FUZZY_THRESHOLD", "Aligner", "Quote", "page_at"]

FUZZY_THRESHOLD = 85.0
"""Of 100: about one slip in seven letters. Below it, a quote is not found."""
FUZZY_MIN_CHARS = 12
"""A shorter quote resembles something in every long text."""
FUZZY_MAX_CHARS = 4_000
"""Bounds the work: 4,000 characters against a 100,000-token chunk take about 50 ms."""
_MAX_FINDS = 20_000
"""Places of one quote that are looked at: bounds the work for a quote of one letter."""


@dataclass(frozen=True, slots=True)
class Quote:
    """Words given as evidence, and the span of the document where they stand; None where they do not.

    `ambiguous`: they stand in more places than they were given for, and `span` is the first that was left."""

    text: str | None
    span: Span | None
    alignment: Literal["exact", "normalized", "fuzzy", "none"]
    ambiguous: bool = False


class Aligner:
    """Finds quotes in `text`, which begins at code point `offset` of its document."""

    def __init__(self, text: str, offset: int = 0) -> None:
        self._text = text
        self._offset = offset
        self._folded: _Folded | None = None

    def find(self, quote: str, nth: int = 0) -> Quote:
        """The `nth` occurrence (from 0) of `quote`, or the last one there is. Whole words go before parts of words."""
        if quote.strip() and (found := _first(self._text, _finds(self._text, quote), nth + 2)):
            return self._quote(quote, found, nth, "exact")
        if self._folded is None:
            self._folded = _Folded(self._text)
        if found := self._folded.find(quote, nth + 2):
            return self._quote(quote, found, nth, "normalized")
        if found := self._folded.find_nearly(quote):
            return self._quote(quote, found, nth, "fuzzy")
        return Quote(quote, None, "none")

    def only(self, words: str) -> Quote | None:
        """`words` where they stand in the text exactly once, as whole words: "fuzzy", since nobody quoted them."""
        found = _first(self._text, _finds(self._text, words), 2) if words.strip() else []
        whole = len(found) == 1 and _is_whole(self._text, *found[0])
        return self._quote(words, found, 0, "fuzzy") if whole else None

    def _quote(
        self, text: str, found: list[tuple[int, int]], nth: int, alignment: Literal["exact", "normalized", "fuzzy"]
    ) -> Quote:
        start, end = found[min(nth, len(found) - 1)]
        return Quote(text, Span(start + self._offset, end + self._offset), alignment, ambiguous=len(found) > nth + 1)


def page_at(pages: Sequence[Mark], position: int) -> int | None:
    """The number of the page that code point `position` stands on; None where it stands on none."""
    at = bisect_right(pages, position, key=lambda mark: mark.start) - 1
    return int(pages[at].label) if at >= 0 and pages[at].label.isdecimal() else None


def _finds(text: str, words: str) -> Iterator[tuple[int, int]]:
    at = text.find(words)
    while at >= 0:
        yield at, at + len(words)
        at = text.find(words, at + len(words))


def _first(text: str, places: Iterator[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """The first `most` of `places` that are whole words in `text`; where none is, of all."""
    looked_at = list(islice(places, _MAX_FINDS))
    return list(islice((place for place in looked_at if _is_whole(text, *place)), most)) or looked_at[:most]


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether no word, number or grapheme is cut at either side."""
    return not (start > 0 and _joined(text[start - 1], text[start])) and not (
        end < len(text) and _joined(text[end - 1], text[end])
    )


def _joined(left: str, right: str) -> bool:
    if unicodedata.category(right) in {"Mn", "Me", "Mc"} or "\u200d" in {left, right}:
        return True
    # Scripts without spaces begin about here: no word boundary can be seen between two of their signs.
    return left.isalnum() and right.isalnum() and max(left, right) < "\u2e80"


_SIGNS = str.maketrans(
    dict.fromkeys("“”„‟«»〝〞", '"') | dict.fromkeys("‘’‚‛′`", "'") | dict.fromkeys("‐‑‒–—―−", "-") | {"\ufe0f": None}
)
_PIECE = regex.compile(
    r"(?P<drop>\s+|\p{Cf}+|(?<=\p{L})[-\u2010\u2011\u00ad]\s*(?=\p{L}))"
    r"|(?P<plain>[\p{Han}&&[一-鿿]]+(?!\p{M})|[!-,./-_a-~]+(?!\p{M}))|(?P<other>\X)",
    regex.VERSION1,
)


class _Folded:
    """A text in its folded spelling, and where in the text each of its characters comes from."""

    def __init__(self, text: str) -> None:
        self._original = text
        folded: list[str] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        for piece in _PIECE.finditer(text):
            start, end = piece.span()
            if piece.lastgroup == "plain":
                folded.append(piece.group().lower())
                self._starts.extend(range(start, end))
                self._ends.extend(range(start + 1, end + 1))
            elif piece.lastgroup == "other":
                sign = unicodedata.normalize("NFKC", piece.group().translate(_SIGNS)).casefold().translate(_SIGNS)
                sign = "".join(sign.split())
                folded.append(sign)
                self._starts.extend([start] * len(sign))
                self._ends.extend([end] * len(sign))
        self.text = "".join(folded)

    def find(self, quote: str, most: int) -> list[tuple[int, int]]:
        words = _Folded(quote).text
        places = (self._span(*place) for place in _finds(self.text, words)) if words else iter(())
        return _first(self._original, places, most)

    def find_nearly(self, quote: str) -> list[tuple[int, int]]:
        """The window most like `quote`. A window with other numbers is not taken: that would be another fact."""
        words = _Folded(quote).text
        if not FUZZY_MIN_CHARS <= len(words) <= min(FUZZY_MAX_CHARS, len(self.text)):
            return []
        best = partial_ratio_alignment(words, self.text, score_cutoff=FUZZY_THRESHOLD)
        if best is None or best.dest_start >= best.dest_end:
            return []
        start, end = self._span(best.dest_start, best.dest_end)
        while start > 0 and _joined(self._original[start - 1], self._original[start]):
            start -= 1
        while end < len(self._original) and _joined(self._original[end - 1], self._original[end]):
            end += 1
        return [(start, end)] if _numbers(quote) <= _numbers(self._original[start:end]) else []

    def _span(self, start: int, end: int) -> tuple[int, int]:
        return self._starts[start], self._ends[end - 1]


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+", unicodedata.normalize("NFKC", text)))
