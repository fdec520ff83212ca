"""Tables with tables in their cells: which of them say something by their rows, and which only arrange a page.

Pages of the nineties and newsletters arrange what they have by tables. Such a one has no header, or says it is none;
its rows differ in width, or their cells hold whole columns of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from docreduce.readers.lists import integer

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

__all__ = ["has_rows"]

_MAX_CELL_CHARS = 200
_SECTIONS = ("thead", "tbody", "tfoot")


def has_rows(table: LexborNode, *, is_deep: bool) -> bool:
    """Whether a table around other ones has a header of its own, or rows of one width and short cells. `is_deep`: there
    are tables in the tables in it, as no short cell has."""
    if table.attributes.get("role") in ("presentation", "none"):
        return False
    rows = [cells for row in _rows(table) if (cells := list(_children(row, "td", "th")))]
    if any(cell.tag == "th" for cells in rows for cell in cells):
        return True
    widths = {sum(max(integer(cell.attributes.get("colspan"), 1), 1) for cell in cells) for cells in rows}
    if is_deep or len(rows) < 2 or len(widths) > 1 or max(widths) < 2:
        return False
    return all(len(" ".join((cell.text() or "").split())) <= _MAX_CELL_CHARS for cells in rows for cell in cells)


def _rows(table: LexborNode) -> Iterator[LexborNode]:
    for section in _children(table, *_SECTIONS):
        yield from _children(section, "tr")


def _children(node: LexborNode, *tags: str) -> Iterator[LexborNode]:
    child = node.child
    while child is not None:
        if child.tag in tags:
            yield child
        child = child.next
