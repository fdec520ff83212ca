"""Text in the making, as a reader of the page sees it, with its marks: what every format that is no plain text ends in.

Paragraphs are apart by a blank line, list items begin with their number or "- ", the cells of a table's row are joined
by " | ". White space waits until a word follows it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from docreduce.values import Mark

__all__ = ["Writer", "collapsed"]

_SPACE = re.compile(r"[ \t\n\r\f]+")  # HTML's own white space: a no-break space is a character
# Signs of typesetting that tear words apart for whoever searches them.
_TYPESET = {
    0xAD: None,
    0xFB00: "ff",
    0xFB01: "fi",
    0xFB02: "fl",
    0xFB03: "ffi",
    0xFB04: "ffl",
    0xFB05: "st",
    0xFB06: "st",
}


def collapsed(text: str) -> str:
    """`text` in one line, a space for each stretch of white space."""
    return _SPACE.sub(" ", text).strip(" ")


def plain_letters(text: str) -> str:
    """`text` without soft hyphens and with ligatures undone."""
    return text if text.isascii() else text.translate(_TYPESET)


class Writer:
    """Collects parts and marks. All operations are in the order of the text."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.marks: list[Mark] = []
        self.length = 0
        self._gap = ""
        self._lead = ""  # written before the next word: a list item's number, the sign that opens struck words
        self._heading: tuple[int, int] | None = None  # where it starts: code point, part
        self._level = 0
        self._page: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.parts)

    @property
    def last(self) -> str:
        """The character before the next word; empty at the start and after white space."""
        return "" if self._gap or not self.parts else self.parts[-1][-1:]

    def words(self, text: str) -> None:
        """Running text: white space is collapsed."""
        text = plain_letters(text)
        if text[:1] in " \t\n\r\f":
            self._gap = self._gap or " "
        words = _SPACE.sub(" ", text).strip(" ")
        if not words.strip():  # a lone no-break space only keeps things apart
            self._gap = self._gap or (" " if text else "")
        else:
            self.verbatim(words)
            self._gap = " " if text[-1] in " \t\n\r\f" else ""

    def verbatim(self, text: str) -> None:
        """Text as it stands."""
        self._append(self._gap if self.length else "")
        if self._page is not None:
            self.marks.append(Mark("page", self.length, self._page))
        self._append(self._lead)
        self._gap, self._lead, self._page = "", "", None
        if self._level and self._heading is None:
            self._heading = self.length, len(self.parts)
        self._append(text)

    def block(self, lines: int) -> None:
        """What follows stands on a line of its own (1) or in a paragraph of its own (2)."""
        if lines > len(self._gap) or self._gap == " ":
            self._gap = "\n" * lines

    def item(self, label: str) -> None:
        """A list's item begins."""
        self.block(1)
        self._lead = label

    def open(self, sign: str) -> None:
        """`sign` stands before the next word."""
        self._lead += sign

    def close(self, sign: str) -> None:
        """`sign` stands after the last word; where none came since it was opened, it is taken back."""
        if self._lead.endswith(sign):
            self._lead = self._lead.removesuffix(sign)
        else:
            self._append(sign)

    def heading(self, level: int) -> None:
        """A heading of `level` begins; 0: it ends."""
        if not level and self._heading:
            start, part = self._heading
            self.marks.append(Mark("heading", start, collapsed("".join(self.parts[part:])), self._level))
        self._level, self._heading = level, None

    def page(self, label: str) -> None:
        """A page begins with the next word. One without a word gets no mark."""
        self._page = label

    def table(self, rows: Sequence[Sequence[str]], headers: int) -> None:
        """A table, a row a line; its first `headers` rows say what the columns are."""
        self.block(2)
        lines = [" | ".join(row) for row in rows]
        for number, line in enumerate(lines):
            self.verbatim(line)
            if not number:
                start = self.length - len(line)
            self.block(1)
        if lines:
            self.marks.append(Mark("table", start, "\n".join(lines[:headers]), headers, self.length))
        self.block(2)

    def _append(self, text: str) -> None:
        if text:
            self.parts.append(text)
            self.length += len(text)
