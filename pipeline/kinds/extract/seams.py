"""What is found at the border of two chunks: fragments of something longer.

Where chunks overlap, one of them may see the whole of what the other saw a fragment of: the fragment goes. Where
both saw a fragment, of the same field, up to the border from both sides, only the text around that seam can tell
whether these are two things or one: `seams` says which text that is. What a second look at it finds across the
border is then the whole that takes the fragments in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from docreduce.kinds.extract.merge import Found
from docreduce.kinds.extract.names import normalize
from docreduce.values import Span

__all__ = ["absorb_fragments", "seams"]


def seams(
    found: Sequence[Found], chunks: Sequence[Span], text: str, *, context_chars: int, whole_items: bool
) -> list[Span]:
    """The spans of `text` to look at again, in order, disjoint, with that much context on either side.

    `chunks`: the answered ones, in order."""
    ends: dict[Span, list[tuple[Found, str, Span]]] = defaultdict(list)
    starts: dict[Span, list[tuple[Found, str, Span]]] = defaultdict(list)
    for item in found:
        for field, span, border in _at_borders(item, text):
            (ends if border == item.span.end else starts)[item.span].append((item, field, span))
    windows: list[Span] = []
    for left, right in pairwise(chunks):
        open_spans = [
            Span(span.start, other.end)
            for item, field, span in ends[left]
            for neighbour, same_field, other in starts[right]
            if field == same_field
            and right.start <= left.end
            and span.start < other.start
            and span.end < other.end
            and (not whole_items or _agree(item, neighbour, field))
        ]
        if open_spans:
            start = max(left.start, min(span.start for span in open_spans) - context_chars)
            end = min(right.end, max(span.end for span in open_spans) + context_chars)
            if windows and start < windows[-1].end:
                start = windows.pop().start
            windows.append(Span(start, end))
    return windows


def absorb_fragments(
    found: Sequence[Found], text: str, *, whole_items: bool, second_look: Sequence[Found] = ()
) -> list[Found]:
    """`found` without what is a fragment, at its chunk's border, of the same field's evidence in another one.

    With `whole_items` the whole item goes into the other one, if they agree in all other fields they share;
    otherwise only the field's value goes. Of the `second_look` only what takes fragments in is kept."""
    items: list[Found | None] = [*sorted(found, key=_place), *sorted(second_look, key=_place)]
    took: dict[int, set[str]] = defaultdict(set)
    wholes = _across(items)
    for at, item in enumerate(items[: len(found)]):
        if item is None:
            continue
        for field, span, border in list(_at_borders(item, text)):
            current = items[at]
            wider = (w for span_, w in wholes[border, field] if w != at and _contains(span_, span))
            for whole in wider:
                other = items[whole]
                if current is None or other is None or (whole_items and not _agree(current, other, field)):
                    continue
                took[whole].add(field)
                if whole_items:
                    values, quotes = {**current.values, **other.values}, {**current.quotes, **other.quotes}
                    items[whole] = replace(other, values=values, quotes=quotes)
                    items[at] = None
                else:
                    items[at] = replace(current, values={k: v for k, v in current.values.items() if k != field})
                break
    for at in range(len(found), len(items)):
        seen = items[at]
        if seen is not None and not whole_items:
            seen = replace(seen, values={k: v for k, v in seen.values.items() if k in took[at]})
        items[at] = seen if took[at] else None
    return [item for item in items if item is not None and item.values]


def _across(items: Sequence[Found | None]) -> dict[tuple[int, str], list[tuple[Span, int]]]:
    """The evidence that stands across each border, (span, item) by (border, field), the longest first."""
    present = [(at, item) for at, item in enumerate(items) if item is not None]
    borders = sorted({border for _, item in present for border in (item.span.start, item.span.end)})
    across: dict[tuple[int, str], list[tuple[Span, int]]] = defaultdict(list)
    for at, item in present:
        for field in item.values:
            for span in item.spans(field):
                for border in borders[bisect_right(borders, span.start) : bisect_left(borders, span.end)]:
                    across[border, field].append((span, at))
    for spans in across.values():
        spans.sort(key=lambda pair: (-len(pair[0]), pair[0].start, pair[1]))
    return across


def _at_borders(item: Found, text: str) -> Iterator[tuple[str, Span, int]]:
    """(field, evidence span, border) where the only evidence of a field reaches an inner border of its chunk."""
    for field in item.values:
        spans = item.spans(field)
        if len(spans) != 1:
            continue
        (span,) = spans
        if item.span.start > 0 and not text[item.span.start : span.start].strip():
            yield field, span, item.span.start
        if item.span.end < len(text) and not text[span.end : item.span.end].strip():
            yield field, span, item.span.end


def _place(item: Found) -> tuple[int, int, int]:
    return item.span.start, item.span.end, item.ordinal


def _contains(whole: Span, part: Span) -> bool:
    return whole.start <= part.start and part.end <= whole.end and whole != part


def _agree(one: Found, other: Found, apart_from: str) -> bool:
    return all(
        normalize(value) == normalize(other.values[field])
        for field, value in one.values.items()
        if field != apart_from and field in other.values
    )
