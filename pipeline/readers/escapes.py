r"""CSV whose quotes are escaped by a backslash (`"He said \"yes\""`), as Spark and MySQL write it: told by its first
megabyte, and rewritten as RFC 4180 has it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

from docreduce.readers.lines import Lines

__all__ = ["unescaping"]

_ESCAPE = re.compile(r'\\(\\|"|\r?\n|\r)')
_OTHERS = re.compile(r'\\(?:\\|"|\r|\n|N\b|0)|(\\)')
_HEAD_CHARS = 2**20


def unescaping(lines: Lines, delimiter: str, most: int) -> Lines:
    """The lines with quotes doubled where the table escapes them; as they are where it does not, or that is in doubt:
    every row is as wide as the header with the backslashes for escapes, and without not."""
    head = lines.block(_HEAD_CHARS)
    lines.put_back_text(head)
    if '\\"' not in head:
        return lines
    rewrite = _rewriter(head)
    is_cut = len(head) >= _HEAD_CHARS
    if _is_even(head, delimiter, is_cut=is_cut) or not _is_even(rewrite(head), delimiter, is_cut=is_cut):
        return lines

    def read() -> str:
        text = lines.block(_HEAD_CHARS) or lines.next()  # which raises where the lines break off
        return rewrite(text) if text else ""

    return Lines(read, most)


def _rewriter(head: str) -> Callable[[str], str]:
    """What doubles the quotes. MySQL escapes backslashes and line ends, too; Spark a backslash only before a quote, and
    then it has some that escape nothing."""
    escapes_all = not any(match[1] for match in _OTHERS.finditer(head))

    def piece(match: re.Match[str]) -> str:
        sign = match[1]
        if sign == '"':
            return '""'
        if sign == "\\":
            return "\\" if escapes_all or match.string.startswith('"', match.end()) else match[0]
        return sign if escapes_all else match[0]

    return lambda text: _ESCAPE.sub(piece, text)


def _is_even(text: str, delimiter: str, *, is_cut: bool) -> bool:
    """Whether every row of the text is as wide as its first one; the last may be cut."""
    lines = list(io.StringIO(text, newline=""))
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    width = 0
    try:
        for row in filter(None, rows):
            width = width or len(row)
            if len(row) != width:
                return False
    except csv.Error:
        return is_cut and rows.line_num >= len(lines) and width > 0
    return True
