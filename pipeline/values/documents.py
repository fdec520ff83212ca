"""Documents and their chunks. Offsets are Unicode code points, half-open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Chunk", "Document", "Mark", "Span"]


@dataclass(frozen=True, slots=True)
class Span:
    """Code points `start` up to, not including, `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def overlaps(self, other: Span) -> bool:
        """Whether they share a code point."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Mark:
    """A page, a heading or a table that begins at code point `start`.

    A page's `label` is its number, from "1"; a heading's is its text, its `level` 1–6. A table's rows are lines, from
    `start` up to `end`; the first `level` of them are its header, and `label` is their text."""

    kind: Literal["page", "heading", "table"]
    start: int
    label: str
    level: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text to work on. `id` is a hash of what the document is, or its name, never of where it stands; `digest`
    one of what it says; `place` where it stands in the input, from 0.

    `change` says what it is since the last complete run: new, changed or same. `doubt` is what a reader is unsure of (a
    word for programs, and a sentence): the document is partial at best.
    `row` is the 0-based row in its table, None for a file; `columns` are the kept columns of that row."""

    id: str
    uri: str
    text: str
    digest: str = ""
    change: str = "new"
    place: int = 0
    media_type: str
    row: int | None = None
    marks: tuple[Mark, ...] = ()
    doubt: tuple[str, str] | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A span of a document that fits the budget. `tokens` is exact in the job's tokenizer.

    Pages are 1-based numbers; `heading` is the last heading at or before the start."""

    index: int
    span: Span
    tokens: int
    heading: str | None = None
    page_start: int | None = None
    page_end: int | None = None
