"""Running heads and feet: lines that pages repeat at their top or bottom.

A line is one where two of the four neighbouring pages have the same words among their first or last three lines, and
its figures are the same, too, or are the page's number. So a last row of a table that merely looks like another is
none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

__all__ = ["without_running_heads"]

_EDGE_LINES = 3
_NEIGHBOURS = (-2, -1, 1, 2)  # with different heads on left and right pages, every second one is alike
_NEEDED = 2
_FIGURE = re.compile(r"\d+")
_PAGE = re.compile(
    r"\b(?:page|pages?|pp?\.|seite|s\.|blatt|p[áa]gina|pagina|strana|strona|str\.|sid[ae]|sivu|oldal|lk|lpp|psl|sayfa|halaman|trang|"
    r"стр|стор|страница|сторінка|σελ|עמוד|صفحة|صفحه)|[頁页ペ쪽]|หน้า|\d\s*(?:of|von|de|di|van|av|af|z|ze|sur|из|з|/)\s*\d",
    re.IGNORECASE,
)


def without_running_heads(pages: Sequence[str], mode: Literal["once", "drop", "keep"]) -> list[str]:
    """`pages` without the heads and feet they repeat; `once`: the first of each stays. Lines end in \\n."""
    if mode == "keep" or len(pages) <= _NEEDED:
        return list(pages)
    lines = [page.split("\n") for page in pages]
    edges = [_edges(page) for page in lines]
    gone: list[set[int]] = []
    for number, edge in enumerate(edges):
        alike = {at: _alike(lines, edges, number, at) for at in edge}
        running = {at for at, steps in alike.items() if len(steps) >= _NEEDED}
        if mode == "once":  # the first of a row of pages keeps it, unless it is a bare page number
            first = {at for at in running if min(alike[at]) > 0 and re.search(r"[^\W\d_]{2}", lines[number][at])}
            running -= first
        gone.append(running)
    return [
        "\n".join(line for at, line in enumerate(page) if at not in gone[number]) for number, page in enumerate(lines)
    ]


def _edges(lines: Sequence[str]) -> dict[int, str]:
    """The first and last lines of a page: index -> which edge."""
    full = [at for at, line in enumerate(lines) if line.strip()]
    if len(full) <= _EDGE_LINES:  # a page of so few lines has no body that a head could stand over
        full = full[:1] + full[-1:] if len(full) > 2 else []
    return dict.fromkeys(full[-_EDGE_LINES:], "foot") | dict.fromkeys(full[:_EDGE_LINES], "head")


def _alike(lines: Sequence[Sequence[str]], edges: Sequence[dict[int, str]], number: int, at: int) -> list[int]:
    """How far from a page those of its neighbours are that have the same line at the same edge."""
    line, edge = lines[number][at].strip(), edges[number][at]
    return [
        step
        for step in _NEIGHBOURS
        if 0 <= number + step < len(lines)
        and any(
            place == edge and _same(line, lines[number + step][there].strip(), step)
            for there, place in edges[number + step].items()
        )
    ]


def _same(line: str, other: str, step: int) -> bool:
    if _FIGURE.sub("#", line) != _FIGURE.sub("#", other):
        return False
    figures = zip(_FIGURE.findall(line), _FIGURE.findall(other), strict=True)
    steps = {int(b[:15]) - int(a[:15]) for a, b in figures}
    if not re.search(r"[^\W\d_]", line):  # figures alone: only a count of pages
        return step in steps and steps <= {0, step}
    # "Invoice 7" on one page and "Invoice 8" on the next are no heads: only a number of pages may go on
    return steps <= {0} or (steps <= {0, step} and bool(_PAGE.search(line)))
