"""Where a text may be cut: the boundaries of a level inside a window, and the table's row that a place lies in."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from enum import IntEnum
from typing import TypeAlias

import regex

__all__ = ["Level", "boundaries", "first_cluster_end", "last_boundary", "row_around"]


class Level(IntEnum):
    """Boundaries, the strongest first."""

    HEADING = 0
    PARAGRAPH = 1
    SENTENCE = 2
    LINE = 3
    WORD = 4
    GRAPHEME = 5


# Quantifiers are bounded, so that no text makes a search slower than linear. A boundary is the end of the match.
_HEADING = re.compile(  # ATX and setext, CommonMark 4.2 and 4.3
    r"\n(?=#{1,6}[ \t]{1,9}[^\s#]|[^\s#>|-][^\n]{0,200}\n(?:={3,200}|-{3,200})[ \t]{0,9}\r?(?:\n|\Z))"
)
_PARAGRAPH = re.compile(r"\n(?:[ \t\r\x0b\x0c\xa0\u3000]*\n)+")
_SENTENCE = regex.compile(  # not after an initial or a title; a line break that follows stays with the sentence
    r"(?:[.!?…](?<!\b[A-Z].)(?<!\b(?:Mr|Ms|Dr|St|vs|No|Nr|Fr|cf).)(?<!\bMrs.)[\"'”’»)\]]{0,3}(?=\s)"
    r"|[\p{Sentence_Terminal}--[.!?]][\p{Sentence_Terminal}\p{Pe}\p{Pf}\p{Pi}\"']{0,3})(?:[ \t]{0,9}\r?\n)?"
    r"|\s(?<=[\p{Thai}\p{Lao}]\s)(?=[\p{Thai}\p{Lao}])",  # Thai and Lao write a space instead
    regex.V1,
)
_LINE = re.compile(r"\r?\n|\r")
_WORD = re.compile(r"(?<=\S)(?=\s)|(?<=[，、；：,;])(?=[^\x00-\x7f，、；：」』”’])")
_CLUSTER = regex.compile(r"\X")  # extended grapheme clusters, UAX #29
_SETTLED = re.compile(r"(?<=[ -~\u4e00-\u9fff])(?=[ -~\u4e00-\u9fff])")  # always between two clusters

_QUOTED = re.compile(r'"[^"\n]*"')
MAX_ROW = 65_536
"""Code points at most that a line is searched for its ends: a longer one is no row."""

_Pattern: TypeAlias = "re.Pattern[str] | regex.Pattern[str]"

# What a search reads first, in code points; then four times as much, and so on.
_BLOCK = {Level.HEADING: 16_384, Level.PARAGRAPH: 4096, Level.SENTENCE: 512, Level.LINE: 512, Level.WORD: 64}
_PATTERN: dict[Level, _Pattern] = {
    Level.HEADING: _HEADING,
    Level.PARAGRAPH: _PARAGRAPH,
    Level.SENTENCE: _SENTENCE,
    Level.LINE: _LINE,
    Level.WORD: _WORD,
}


def boundaries(text: str, level: Level, low: int, high: int, headings: Sequence[int] = ()) -> list[int]:
    """All boundaries p of `level`, above GRAPHEME, with low < p <= high, in order."""
    if high <= low:
        return []
    ahead = 256 if level is Level.HEADING else 4
    found = []
    for match in _PATTERN[level].finditer(text, max(low - 1, 0), min(high + ahead, len(text))):
        if match.end() > high:
            break
        if match.end() > low:
            found.append(match.end())
    if level is Level.HEADING and headings:
        found = sorted({*found, *headings[bisect_right(headings, low) : bisect_right(headings, high)]})
    return found


def row_around(text: str, place: int) -> tuple[int, int] | None:
    """Where the table's row that `place` cuts begins and ends, its line break with it; None where it cuts none.

    A row is a line that begins with a pipe or has the separators of the line before or after it: pipes with spaces,
    tabs, semicolons, or commas without a space."""
    first = text.rfind("\n", max(place - MAX_ROW, 0), place) + 1
    last = text.find("\n", place, place + MAX_ROW)
    last = min(len(text), place + MAX_ROW) if last < 0 else last
    if place in (first, last + 1) or (not first and place > MAX_ROW):
        return None
    row = text[first:last]
    if not row.lstrip().startswith("|"):
        before = text[text.rfind("\n", max(first - MAX_ROW, 0), max(first - 1, 0)) + 1 : max(first - 1, 0)]
        after = text[last + 1 : last + MAX_ROW].partition("\n")[0]
        cells = _separators(row)
        if not any(cells) or cells not in (_separators(before), _separators(after)):
            return None
    return first, min(last + 1, len(text))


def _separators(line: str) -> tuple[int, ...]:
    bare = _QUOTED.sub("", line)
    pipes, commas = bare.count(" | "), 0 if ", " in bare else bare.count(",")
    return pipes, bare.count("\t"), *(number if number > 1 else 0 for number in (bare.count(";"), commas))


def last_boundary(text: str, level: Level, low: int, high: int, headings: Sequence[int] = ()) -> int:
    """The last boundary p of `level` with low < p <= high, or -1. `headings` are starts known otherwise, ascending.

    For GRAPHEME, `low` must itself lie between two clusters. Reads O(high - low) code points at most."""
    if high <= low:
        return -1
    if level is Level.GRAPHEME:
        return _last_cluster(text, low, high)
    ahead = 256 if level is Level.HEADING else 4  # a boundary at the window's end is known by what follows it
    found = _last_match(_PATTERN[level], text, low, high, min(high + ahead, len(text)), _BLOCK[level])
    if level is Level.HEADING and headings:
        known = bisect_right(headings, high)
        if known and headings[known - 1] > max(low, found):
            found = headings[known - 1]
    return found


def first_cluster_end(text: str, start: int, limit: int) -> int:
    """Where the grapheme cluster that begins at `start` ends; `limit` if it goes on there."""
    match = _CLUSTER.match(text[start:limit])
    return start + match.end() if match else limit


def _last_match(pattern: _Pattern, text: str, low: int, high: int, end: int, block: int) -> int:
    begin = high
    while begin > low:
        begin = max(low, begin - block)
        best = -1
        for match in pattern.finditer(text, max(begin - 1, 0), end):
            if match.end() > high:
                break
            best = match.end()
        if best > low:
            return best
        block *= 4
    return -1


def _last_cluster(text: str, low: int, high: int) -> int:
    if high >= len(text):
        return len(text)
    start = low
    for match in _SETTLED.finditer(text, max(low, high - 64), high):
        start = max(low, match.start())
    best = start if start > low else -1
    piece = 256
    while start < high:
        # A slice, since to pair regional indicators `regex` looks back to where the string begins; one code point
        # more than wanted, since that tells whether the last cluster goes on.
        stop = min(start + piece, high + 1)
        *whole, _ = (start + cluster.end() for cluster in _CLUSTER.finditer(text[start:stop]))
        if whole:
            best = start = whole[-1]
        elif stop > high:
            break
        else:
            piece *= 2
    return best
