"""Lines written from right to left whose letters pdfium has out of order: laid anew by where they stand on the page.

A page draws such a line in pieces, in an order that is its own affair. Where the letters of a word do not go on to the
left, the whole line is read from right to left, and figures and Latin words in it from left to right."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence

from docreduce.readers.writer import collapsed

__all__ = ["has_rtl", "relaid"]

_Box = tuple[float, float, float, float]

_RTL = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LTR_RUN = re.compile(r"[^\W_\u0590-\u08ff\ufb1d-\ufefc](?:[\w.,:/%@+-]*[^\W_\u0590-\u08ff\ufb1d-\ufefc%])?%?")
_MIN_TORN = 2
"""Pairs of neighbouring letters that stand the wrong way round; kerning alone turns none."""
_SPACE_HEIGHTS = 0.3
"""A gap of more than that share of the line's tallest letter is a space: letters stand less than half as far apart."""


def has_rtl(text: str) -> bool:
    """Whether a text has enough letters of Hebrew, Arabic and the like for lines of them."""
    return len(_RTL.findall(text)) > 0.2 * len(text)


def relaid(text: str, boxes: Sequence[_Box]) -> str:
    """A page's text with its torn lines laid anew; `boxes` are those of its characters."""
    return "".join(_line(text[start:end], boxes[start:end]) for start, end in _spans(text))


def _spans(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in re.finditer(r"[^\r\n]*[\r\n]*", text))


def _line(line: str, boxes: Sequence[_Box]) -> str:
    words = line.rstrip("\r\n")
    # a space that is drawn has a place, too; one that pdfium only supposes has none
    letters = [(letter, box) for letter, box in zip(words, boxes, strict=False) if box[2] > box[0]]
    wrong = sum(_goes_back(a, b, boxes[at], boxes[at + 1]) for at, (a, b) in enumerate(itertools.pairwise(words)))
    if wrong < _MIN_TORN:
        return line
    leftwards = bool(_RTL.search(words))
    tallest = max(box[3] - box[1] for _, box in letters)
    parts: list[str] = []
    before: _Box | None = None
    for letter, box in sorted(letters, key=lambda each: each[1][0] + each[1][2], reverse=leftwards):
        gap = 0.0 if before is None else before[0] - box[2] if leftwards else box[0] - before[2]
        parts += [" ", letter] if gap > _SPACE_HEIGHTS * tallest else [letter]
        before = box
    found = collapsed("".join(parts))
    return (_turned(found) if leftwards else found) + line[len(words) :]


def _goes_back(a: str, b: str, first: _Box, second: _Box) -> bool:
    """Whether two neighbouring letters stand the wrong way round."""
    if first[2] <= first[0] or second[2] <= second[0]:
        return False
    if _RTL.match(a) and _RTL.match(b):
        return first[0] < second[0] and "Mn" not in (unicodedata.category(a), unicodedata.category(b))
    return (a + b).isascii() and (a.isalnum() or b.isalnum()) and not (a + b).isspace() and first[0] > second[2]


def _turned(line: str) -> str:
    """A line that was read from right to left, its figures and Latin words turned back. Latin words that follow each
    other are one run, figures are each their own (UAX #9, W and N rules)."""
    done: list[str] = []
    run: list[str] = []
    for word in line.split(" "):
        turned = _LTR_RUN.sub(lambda match: match[0][::-1], word)
        if re.search(r"[^\W\d_]", word) and not _RTL.search(word):
            run.append(turned)
            continue
        done += [*reversed(run), turned]
        run = []
    return " ".join([*done, *reversed(run)])
