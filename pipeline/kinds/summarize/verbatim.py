"""Where a sentence of a summary stands word for word in the source, white space and Unicode's composition (NFC) aside.

Only from the beginning of a sentence of the source on: "It is not true that Moss sold it." does not say "Moss sold it."
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate

import regex

__all__ = ["Verbatim", "after_mark"]

_MARK = regex.compile(r"(?:#{1,6}|[-*•‣–+>]|\(?(?:\d{1,3}|[a-z]|[ivx]{1,5})[.)])\s++")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\u3000-\u303f\uff00-\uffef-]")
"""Where a line breaks beside these, no space is written when it is mended."""
_ENDS = r"\b(?=[^\S\n]*(?:\n|\Z|[^\w\s,]))"
"""What has no stop of its own ends where its source does: "Moss sold it" is not all of "Moss sold it to nobody"."""


def after_mark(text: str, begin: int) -> int:
    """Where the sentence at `begin` of `text` begins behind its mark of a heading or a list's item, if it has one."""
    mark = _MARK.match(text, begin)
    return mark.end() if mark else begin


class Verbatim:
    """The source `text`, whose sentences begin at `begins`, to be searched for sentences."""

    def __init__(self, text: str, begins: Iterable[int]) -> None:
        self._lines = [text] if unicodedata.is_normalized("NFC", text) else text.splitlines(keepends=True)
        self._composed = [unicodedata.normalize("NFC", line) for line in self._lines]
        self._text = "".join(self._composed)
        self._begins = {at for begin in begins for at in (begin, after_mark(text, begin))}
        self._starts = list(accumulate(map(len, self._lines), initial=0))
        self._composed_starts = list(accumulate(map(len, self._composed), initial=0))

    def place(self, sentence: str) -> tuple[int, int] | None:
        """The first place of `sentence` as a half-open span of code points of the source; None if it stands nowhere."""
        pattern = _pattern(unicodedata.normalize("NFC", sentence))
        for match in pattern.finditer(self._text):
            start = self._raw(match.start())
            if start in self._begins:
                return start, self._raw(match.end())
        return None

    def _raw(self, at: int) -> int:
        """The offset in the source of one in its composed text."""
        number = min(bisect_right(self._composed_starts, at), len(self._lines)) - 1
        line, inside = self._lines[number], at - self._composed_starts[number]
        if line is not self._composed[number] and line != self._composed[number]:
            sizes = range(len(line) + 1)
            inside = bisect_right(sizes, inside, key=lambda size: len(unicodedata.normalize("NFC", line[:size]))) - 1
        return self._starts[number] + inside


def _pattern(sentence: str) -> re.Pattern[str]:
    """Finds the sentence with any white space where it has some, and none or some beside signs of unspaced scripts."""
    parts: list[str] = []
    before = ""
    for sign in " ".join(sentence.split()):
        if sign == " ":
            parts.append(r"\s*" if before and _UNSPACED.match(before) else r"\s+")
        else:
            if before and before != " " and (_UNSPACED.match(before) or _UNSPACED.match(sign)):
                parts.append(r"\s*")
            parts.append(re.escape(sign))
        before = sign
    return re.compile("".join(parts) + (_ENDS if re.match(r"\w", before) else ""))
