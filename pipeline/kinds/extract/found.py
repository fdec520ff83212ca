"""What was found: items, the elements of their lists, and where their words stand."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from docreduce.kinds.extract.names import normalize
from docreduce.kinds.extract.paths import Path, fields_of, leaves, shown
from docreduce.text.alignment import Quote
from docreduce.values import Span

__all__ = ["Answer", "Element", "Fields", "Found", "elements_of"]

Fields: TypeAlias = tuple[str, ...]
Answer: TypeAlias = tuple[int, int, int, int]
"""An answer, by its place in the document: the chunk's start, end and number, and which of its answers it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One item of one chunk's answer. `values` are its fields that are not empty; `quotes` the words for them and
    `coerced` what was changed, by path as text; `span` is the chunk's; `ordinal` the item's place in the answer;
    `answer` tells apart several answers about one chunk, `voice` those of several models in a vote."""

    chunk: int
    span: Span
    ordinal: int
    values: Mapping[str, Any]
    quotes: Mapping[str, tuple[Quote, ...]]
    coerced: Mapping[str, str] = field(default_factory=dict)
    answer: int = 0
    voice: str = ""

    def quotes_at(self, path: Path) -> tuple[Quote, ...]:
        """The words for the value at `path`, else those for what it is part of."""
        for end in range(len(path), 0, -1):
            if quotes := self.quotes.get(shown(path[:end])):
                return quotes
        return ()

    def order(self) -> Answer:
        """Its answer's place in the document, and among those about the same words."""
        return self.span.start, self.span.end, self.chunk, self.answer


@dataclass(slots=True, eq=False)
class Element:
    """One element of one list of an answer, at `path` in its item (() for the item itself)."""

    found: Found
    path: Path
    value: Any
    index: int  # in its list
    answer: Answer
    is_last: bool = False
    scalars: dict[Fields, Hashable] = field(default_factory=dict)  # through objects, not through lists
    shape: frozenset[Fields] = frozenset()  # the fields that are there, lists too
    spots: list[tuple[Fields, Hashable, Span]] = field(default_factory=list)  # words that stand in one place
    doubts: list[tuple[Fields, Hashable, Span]] = field(default_factory=list)  # each place of words with several
    start: int | None = None
    end: int = 0
    first: int = 0  # where it begins at the earliest, and ends at the latest, wherever doubtful words stand
    latest: int = 0

    def content(self) -> Hashable:
        return frozenset(self.scalars.items()), self.shape


def elements_of(parts: Iterable[tuple[Found, Path, Any]]) -> list[Element]:
    """The elements of one list, or the items of one answer, in their order."""
    made: list[Element] = []
    for index, (found, path, value) in enumerate(parts):
        element = Element(found=found, path=path, value=value, index=index, answer=found.order())
        _describe(element)
        made.append(element)
    if made:
        made[-1].is_last = True
    return made


def _describe(element: Element) -> None:
    shape: set[Fields] = set()
    depth = len(element.path)
    for path, value in leaves(element.value, element.path):
        if value is None:  # an empty place of a tuple
            continue
        inner = path[depth:]
        listed = next((at for at, step in enumerate(inner) if isinstance(step, int)), None)
        fields = fields_of(inner)
        plain = normalize(value)
        shape.add(fields if listed is None else fields_of(inner[:listed]))
        if listed is None:
            element.scalars[fields] = plain
        for quote in element.found.quotes_at(path):
            if quote.span is None:
                continue
            element.start = quote.span.start if element.start is None else min(element.start, quote.span.start)
            element.end = max(element.end, quote.span.end)
            if quote.ambiguous:
                starts = (quote.span.start, *quote.elsewhere)
                element.doubts += [(fields, plain, Span(at, at + len(quote.span))) for at in starts]
            else:
                element.spots.append((fields, plain, quote.span))
    element.shape = frozenset(shape)
    spans = [span for _, _, span in (*element.spots, *element.doubts)]
    element.first = min((span.start for span in spans), default=0)
    element.latest = max((span.end for span in spans), default=0)
