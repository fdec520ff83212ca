"""Tables on a grid: a cell that spans rows or columns stands once, at its upper left; what else it covers is empty.

After HTML's table model (https://html.spec.whatwg.org/multipage/tables.html#forming-a-table)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["Cell", "headers_of", "lay"]

Cell = tuple[str, int, int]
"""A cell's text, and how many rows and columns it spans; 0 rows: all that are left."""

_MAX_COLUMNS = 1000  # HTML's own bound on a span
_MAX_PLACES = 2**20  # a table of 1,000 columns and as many rows; past it, spans are left alone


def lay(rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    """The texts of `rows` on a grid: rows of one length, without the rows and columns that are empty throughout."""
    bounded = sum(map(len, rows)) <= _MAX_PLACES
    grid: list[dict[int, str]] = []
    covered: dict[int, int] = {}  # column -> how many of the next rows a cell from above still covers
    width = 0
    for row in rows:
        line: dict[int, str] = {}
        taken = {column for column, left in covered.items() if left > 0}
        covered = {column: left - 1 for column, left in covered.items() if left > 1}
        column = 0
        for text, height, span in row:
            while column in taken:
                column += 1
            span = min(max(span, 1), _MAX_COLUMNS) if bounded else 1  # noqa: PLW2901
            if text:
                line[column] = text
            if bounded and height != 1:
                covered.update(dict.fromkeys(range(column, column + span), (height or len(rows)) - 1))
            column += span
            width = max(width, column)
            bounded = bounded and width * len(rows) <= _MAX_PLACES
        grid.append(line)
    used = sorted({column for line in grid for column in line})
    return [[line.get(column, "") for column in used] for line in grid if line]


def headers_of(rows: Sequence[Sequence[str]], marked: Iterable[bool]) -> int:
    """How many rows are the header: those first ones `marked` as such, else the first one if there are more and it is
    full and without a figure."""
    count = 0
    for is_header in marked:
        if not is_header:
            break
        count += 1
    if count == 0 and len(rows) > 1 and all(cell and not any(map(str.isdigit, cell)) for cell in rows[0]):
        count = 1
    return count if count < len(rows) else 0
