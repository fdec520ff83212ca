"""Where a quote stands in a text: exactly, in another spelling, with a slip of the pen, or nowhere.

Spellings that count as equal: letter case, white space, hyphenation, typographic quotes and dashes, compatibility
forms (Unicode NFKC: full width, ligatures; not superscripts, since 10² is not 102), decimal digits of all scripts,
the points of Arabic and Hebrew, invisible format characters. With a slip: the same words, numbers and signs in the same
order, some words misspelt (text/slips.py). So a quote with another number, currency, negation, modal or order of
names is found nowhere, as is one that breaks off inside a number or a word: "able" is no quote of "unable".
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

import regex
from docreduce.text.slips import is_slip
from docreduce.values import Mark, Span
from rapidfuzz.fuzz import partial_ratio_alignment

__all__ = ["Aligner", "Alignment", "Places", "Quote", "fold", "page_at"]

Alignment: TypeAlias = Literal["exact", "normalized", "fuzzy", "none"]

FUZZY_THRESHOLD = 85.0
"""Of 100: about one slip in seven letters. Below it, no window of the text is compared word by word."""
FUZZY_MIN_CHARS = 12
"""A shorter quote resembles something in every long text."""
FUZZY_MAX_CHARS = 4_000
"""Bounds the work: 4,000 characters against a 100,000-token chunk take about 50 ms."""
SPEAKING_WORDS = 5
"""A verbatim quote of more words is known although it breaks off inside one: labels of real contracts do so."""
MAX_SLIPS = 3
"""Misspelt words of one quote, and at most one in four."""
_MAX_FINDS = 20_000
"""Places of one quote that are looked at: bounds the work for a quote of one letter."""


@dataclass(frozen=True, slots=True)
class Quote:
    """Words given as evidence, and the span of the document where they stand; None where they do not.

    `ambiguous`: they stand in more places than they were given for; `elsewhere` begin the first of the others."""

    text: str | None
    span: Span | None
    alignment: Alignment
    ambiguous: bool = False
    elsewhere: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    """All places of a quote in the document, in order; whole words before parts of words."""

    spans: tuple[Span, ...]
    alignment: Alignment


class Aligner:
    """Finds quotes in `text`, which begins at code point `offset` of its document."""

    def __init__(self, text: str, offset: int = 0) -> None:
        self._text = text
        self._offset = offset
        self._folded: _Folded | None = None
        self._known: dict[str, Places] = {}

    def places(self, quote: str) -> Places:
        """Everywhere that `quote` stands, in the closest spelling that stands anywhere."""
        known = self._known.get(quote)
        if known is None:
            found, alignment = self._find(quote)
            spans = tuple(Span(start + self._offset, end + self._offset) for start, end in found)
            known = self._known[quote] = Places(spans, alignment)
        return known

    def find(self, quote: str, nth: int = 0) -> Quote:
        """The `nth` occurrence (from 0) of `quote`, or the last one there is."""
        places = self.places(quote)
        if not places.spans:
            return Quote(quote, None, "none")
        at = min(nth, len(places.spans) - 1)
        return Quote(quote, places.spans[at], places.alignment, ambiguous=len(places.spans) > nth + 1)

    def only(self, words: str) -> Quote | None:
        """`words` where they stand in the text exactly once, as whole words: "fuzzy", since nobody quoted them."""
        found = list(islice(_finds(self._text, words), 2)) if words.strip() else []
        whole = len(found) == 1 and all(_cut(self._text, edge) == 0 for edge in found[0])
        return Quote(words, self._span(*found[0]), "fuzzy") if whole else None

    def _span(self, start: int, end: int) -> Span:
        return Span(start + self._offset, end + self._offset)

    def _find(self, quote: str) -> tuple[list[tuple[int, int]], Alignment]:
        if quote.strip() and (found := _wholest(self._text, _finds(self._text, quote))):
            return found, "exact"
        if self._folded is None:
            self._folded = _Folded(self._text)
        if found := self._folded.find(quote):
            return found, "normalized"
        if found := self._folded.find_nearly(quote):
            return found, "fuzzy"
        return [], "none"


def page_at(pages: Sequence[Mark], position: int) -> int | None:
    """The number of the page that code point `position` stands on; None where it stands on none."""
    at = bisect_right(pages, position, key=lambda mark: mark.start) - 1
    return int(pages[at].label) if at >= 0 and pages[at].label.isdecimal() else None


def fold(text: str) -> str:
    """`text` in the spelling in which quotes are compared, without white space."""
    return _Folded(text).text


def _finds(text: str, words: str) -> Iterator[tuple[int, int]]:
    at = text.find(words)
    while at >= 0:
        yield at, at + len(words)
        at = text.find(words, at + len(words))


# --- edges ----------------------------------------------------------------------------------------------------


def _wholest(text: str, places: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of `places` that are whole words in `text`; where none is, those that are glued to other words."""
    by_cut: tuple[list[tuple[int, int]], ...] = ([], [], [])
    for start, end in islice(places, _MAX_FINDS):
        signed = _negative(text, start)
        by_cut[2 if signed else max(_cut(text, start), _cut(text, end))].append((start, end))
    return by_cut[0] or by_cut[1] or [place for place in by_cut[2] if _speaks(text, *place)]


def _speaks(text: str, start: int, end: int) -> bool:
    """Whether words that break off inside a word say enough to be known all the same: a sentence, cut inside a word
    that is no number and from which no negation is taken away."""
    digits = any(text[at - 1].isdecimal() and text[at].isdecimal() for at in (start, end) if 0 < at < len(text))
    before = regex.search(r"[^\W\d_]*\Z", text[max(0, start - 20) : start])
    negation = bool(before and _NEGATING.fullmatch(before[0]))
    return not (digits or negation or _negative(text, start)) and text[start:end].count(" ") >= SPEAKING_WORDS


_NEGATING = regex.compile(r"(?:un|in|im|ir|il|dis|non|mis|a|anti|des|dés|ne|niet|nicht|nie|не|без)", regex.IGNORECASE)
_NUMBER = regex.compile(r"(?<![\d.,])\d+[.,]\d+(?![\d.,]*\d)|(?<![\d.,])\d{1,3}([.,'’٬]\d{3})+(?!\d)")


def _cut(text: str, at: int) -> Literal[0, 1, 2]:
    """What an edge at code point `at` cuts: 0 nothing, 1 what is only glued together, 2 a word, number or grapheme."""
    if not 0 < at < len(text):
        return 0
    left, right = text[at - 1], text[at]
    if unicodedata.category(right) in {"Mn", "Me", "Mc"} or "\u200d" in {left, right}:
        return 2
    if (left.isdecimal() and right in ".,'’٬٫") or (left in ".,'’٬٫" and right.isdecimal()):
        return _cut_number(text, at)
    # Scripts without spaces begin about here: no word boundary can be seen between two of their signs.
    if not (left.isalnum() and right.isalnum()) or max(left, right) >= "\u2e80":
        return 0
    same = (left.isdecimal() and right.isdecimal()) or (left.islower() and right.islower())
    return 2 if same or (left.isupper() and (right.isupper() or right.islower())) else 1


def _cut_number(text: str, at: int) -> Literal[0, 2]:
    """A comma between digits may divide two cells of a table: cut is what can only be one number."""
    for number in _NUMBER.finditer(text, max(at - 24, 0), at + 24):
        if number.start() < at < number.end():
            comma = "," in number.group() and number.group().count(",") == 1 and not number.group(1)
            return 0 if comma else 2
    return 0


def _negative(text: str, start: int) -> bool:
    """Whether a minus sign, not a hyphen or a dash, stands before the number that begins at `start`."""
    number = start < len(text) and (text[start].isdecimal() or unicodedata.category(text[start]) == "Sc")
    if not number or start == 0 or text[start - 1] not in "-−":
        return False
    return start == 1 or not (text[start - 2].isalnum() or text[start - 2] in ".)/-−")


# --- spellings ------------------------------------------------------------------------------------------------

_SIGNS = str.maketrans(
    dict.fromkeys("“”„‟«»〝〞", '"')
    | dict.fromkeys("‘’‚‛′`", "'")
    | dict.fromkeys("‐‑‒–—―−", "-")
    | {"٫": ".", "٬": ",", "٪": "%", "،": ",", "؛": ";", "؟": "?", "\u0640": None, "\ufe0f": None}
)
_POINTS = regex.compile(r"[\p{Arabic}\p{Hebrew}\p{Inherited}&&\p{Mn}]", regex.VERSION1)
_POINTED = regex.compile(r"[\p{Arabic}\p{Hebrew}]")
_PIECE = regex.compile(
    r"(?P<drop>\s+|\p{Cf}+|(?<=\p{L})[-\u2010\u2011\u00ad]\s*(?=\p{L}))"
    r"|(?P<plain>[\p{Han}&&[一-鿿]]+(?!\p{M})|[!-,./-_a-~]+(?!\p{M}))|(?P<other>\X)",
    regex.VERSION1,
)
_TOKEN = regex.compile(
    r"\p{L}[\p{L}\p{M}]*(?:['’][\p{L}\p{M}]+)?(?:[-\u2010\u2011\u00ad]\s*\n\s*\p{L}[\p{L}\p{M}]*|\u00ad[\p{L}\p{M}]+)*"
    r"|\p{Nd}+(?:[.,٫٬'’]\p{Nd}+)*|\p{N}|[\p{S}%‰#@&*/]|[-−](?=[\p{Sc}]?\p{Nd})"
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
                sign = _folded_grapheme(piece.group())
                folded.append(sign)
                self._starts.extend([start] * len(sign))
                self._ends.extend([end] * len(sign))
        self.text = "".join(folded)

    def find(self, quote: str) -> list[tuple[int, int]]:
        words = _Folded(quote).text
        places = (self._span(*place) for place in _finds(self.text, words)) if words else iter(())
        return _wholest(self._original, places)

    def find_nearly(self, quote: str) -> list[tuple[int, int]]:
        """The window most like `quote`, where it has the same words and signs but for slips."""
        words = _Folded(quote).text
        if not FUZZY_MIN_CHARS <= len(words) <= min(FUZZY_MAX_CHARS, len(self.text)):
            return []
        best = partial_ratio_alignment(words, self.text, score_cutoff=FUZZY_THRESHOLD)
        if best is None or best.dest_start >= best.dest_end:
            return []
        start, end = self._span(best.dest_start, best.dest_end)
        # Some letters more on either side: the best window may begin inside a word.
        span = _same_words(quote, self._original, max(start - 40, 0), min(end + 40, len(self._original)))
        return [span] if span and not any(_cut(self._original, edge) == 2 for edge in span) else []

    def _span(self, start: int, end: int) -> tuple[int, int]:
        return self._starts[start], self._ends[end - 1]


def _folded_grapheme(grapheme: str) -> str:
    if any(unicodedata.decomposition(sign).startswith(("<super>", "<sub>")) for sign in grapheme):
        return grapheme
    plain = unicodedata.normalize("NFKC", grapheme.translate(_SIGNS)).casefold().translate(_SIGNS)
    if _POINTED.search(plain):
        plain = _POINTS.sub("", plain)
    if not plain.isascii():
        plain = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in plain)
    return "".join(plain.split())


def _same_words(quote: str, text: str, start: int, end: int) -> tuple[int, int] | None:
    """The span in text[start:end] with the words, numbers and signs of `quote`, in order, some misspelt."""
    wanted = [fold(token.group()) for token in _TOKEN.finditer(quote)]
    there = [(fold(token.group()), token.span()) for token in _TOKEN.finditer(text, start, end)]
    most = min(MAX_SLIPS, len(wanted) // 4 or 1)
    for first in range(len(there) - len(wanted) + 1):
        window = there[first : first + len(wanted)]
        other = [(word, mine) for word, (mine, _) in zip(wanted, window, strict=True) if word != mine]
        if len(other) <= most and all(is_slip(word, mine) for word, mine in other):
            return (window[0][1][0], window[-1][1][1]) if window else None
    return None
