"""CSV and TSV: rows of text, decoded and read as a stream, whatever the delimiter, the encoding and the size.

Blocks of a megabyte in which every quote opens or closes a cell and every row is as wide as the header are read by
polars. Any other block goes line by line through the csv module, so that a quote in the wrong place costs its own
line: a record over several lines that turns out to be broken, or to have swallowed whole rows, is taken back but for
its first line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from docreduce.readers.base import MEGABYTE, Blocks, TableFormat, Unread
from docreduce.readers.escapes import unescaping
from docreduce.readers.lines import Lines, open_lines
from docreduce.readers.regular import SWALLOWED, by_polars, regular
from docreduce.readers.tables import BATCH_BYTES, BATCH_ROWS, Batch, Columns, Part, documents, text_batch
from docreduce.settings import InputSettings
from docreduce.values import Document
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CSV"]

_DELIMITERS = ",;\t|"
_NO_DELIMITER = "\x1f"
"""Of a table with one column: its cells may hold commas."""
_PEEKED_LINES = 100
_BLOCK_CHARS = 2**20


def _rows(
    path: Path, uri: str, settings: InputSettings, pinned: pa.Schema | None = None, blocks: Blocks | None = None
) -> Iterator[Document | Unread | int]:
    with open_lines(path, settings) as lines:
        yield from documents(_parts(lines, settings), uri, CSV.media_type, settings, pinned, blocks)


def _parts(lines: Lines, settings: InputSettings) -> Iterator[Part]:
    # The csv module has one limit for all its readers; a run has one value for it.
    most = settings.max_document_mb * MEGABYTE
    csv.field_size_limit(most)
    delimiter = _delimiter(lines, settings.text_column)
    lines = unescaping(lines, delimiter, most)
    records = _Records(lines, delimiter)
    if settings.text_column is None:
        yield from _grid(records)
        return
    names = _header(records.header() or [])
    yield Columns(names=names)
    records.width = len(names)
    while True:
        batch = records.fast_batch(names) or records.slow_batch(names)
        if batch is None:
            break
        yield batch


def _grid(records: _Records) -> Iterator[Part]:
    """All cells as they stand: a table that is read as one text needs no header and no equal widths."""
    yield Columns(names=())
    while rows := [cells for cells, _ in records.take(BATCH_ROWS)]:
        yield text_batch([str(at) for at in range(max(map(len, rows)))], rows, {})


def _delimiter(lines: Lines, text_column: str | None) -> str:
    """The delimiter: what a first line `sep=;` says, which is taken off, or what explains the first lines best."""
    first = lines.next()
    if first is None:
        return ","
    if said := re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE | re.DOTALL):
        return said[1]
    head, chars = [first], len(first)
    while len(head) < _PEEKED_LINES and chars < BATCH_BYTES and (line := lines.next()) is not None:
        head.append(line)
        chars += len(line)
    lines.put_back(head)
    best = max(_DELIMITERS, key=lambda delimiter: _fit(delimiter, head, text_column))
    return best if _fit(best, head, text_column)[2] > 1 else _NO_DELIMITER


def _fit(delimiter: str, head: Sequence[str], text_column: str | None) -> tuple[bool, float, int]:
    """How well a delimiter explains the first lines: the text column is in the header, rows are as long as it."""
    try:
        rows = [row for row in csv.reader(head, delimiter=delimiter) if row]
    except csv.Error:
        return False, 0.0, 0
    if not rows or len(rows[0]) < 2:
        return False, 0.0, 0
    whole = rows[:-1] or rows  # the last one may be cut in its middle
    return text_column in _header(rows[0]), sum(len(row) == len(rows[0]) for row in whole) / len(whole), len(rows[0])


def _header(cells: Sequence[str]) -> list[str]:
    """Column names: a cell without one is called column_N, N from 1."""
    return [cell.strip() or f"column_{number}" for number, cell in enumerate(cells, 1)]


class _Records:
    """A table's records: by polars where a block is regular, else one by one. `width`: of the header, 0 before it."""

    def __init__(self, lines: Lines, delimiter: str) -> None:
        self.lines = lines
        self.delimiter = delimiter
        self.width = 0
        self._slow_chars = 0  # of a block that polars does not get
        cell = rf'"(?:[^"]|""|"(?!{re.escape(delimiter)}|$))*+"(?={re.escape(delimiter)}|$)|[^{re.escape(delimiter)}]*+'
        self._cell = re.compile(cell, re.DOTALL)

    def header(self) -> list[str] | None:
        return next((cells for cells, _ in self.take(1)), None)

    # --- regular blocks ---

    def fast_batch(self, names: Sequence[str]) -> Batch | None:
        """The rows of the next block by polars, if it is regular; else None, and nothing is taken."""
        if self._slow_chars > 0:
            return None
        text = self.lines.block(_BLOCK_CHARS)
        raw = text.encode("utf-8", "surrogatepass")
        end, rows = regular(raw, self.delimiter, self.width)
        batch = by_polars(raw[:end], self.delimiter, names, rows) if rows else None
        if batch is None:
            self.lines.put_back_text(text)
            self._slow_chars = len(text)
            return None
        if end < len(raw):
            self.lines.put_back_text(raw[end:].decode("utf-8", "surrogatepass"))
        return batch

    # --- one by one ---

    def slow_batch(self, names: Sequence[str]) -> Batch | None:
        """The next rows one by one; None after the last."""
        rows: list[list[str]] = []
        wrong: dict[int, DocumentError] = {}
        for cells, fault in self.take(BATCH_ROWS, BATCH_BYTES):
            error = fault
            if error is None and (len(cells) < self.width or any(cells[self.width :])):
                message = f"the row has {len(cells)} cells and the header {self.width}"
                error = DocumentError(message, kind="malformed_row")
            if error is not None:
                wrong[len(rows)] = error
            rows.append(cells)
        return text_batch(names, rows, wrong) if rows else None

    def take(self, most: int, chars: int = BATCH_BYTES) -> Iterator[tuple[list[str], DocumentError | None]]:
        """The next records, at most so many, and what is wrong with each."""
        while most > 0 and chars > 0:
            line = self.lines.next()
            if line is None:
                return
            self._slow_chars -= len(line)
            plain = line.rstrip("\r\n")
            if not plain and self.width != 1:  # a blank line between rows is no row, but that of a single column
                continue
            most -= 1
            record = self._record(line) if '"' in plain else (plain.split(self.delimiter), None)
            chars -= sum(map(len, record[0])) + 1
            yield record

    def _record(self, line: str) -> tuple[list[str], DocumentError | None]:
        """The record that begins with `line`, which has a quote."""
        taken = [line]

        def following() -> Iterator[str]:
            yield line
            while (more := self.lines.next()) is not None:
                taken.append(more)
                yield more

        try:
            cells = next(csv.reader(following(), delimiter=self.delimiter, strict=True))
        except (csv.Error, DocumentError):
            cells = None
        if cells is not None and not (len(taken) > 1 and self._swallows(cells, taken)):
            self._slow_chars -= sum(map(len, taken[1:]))
            return cells, None
        self.lines.put_back(taken[1:])
        return self._alone(line.rstrip("\r\n"))

    def _swallows(self, cells: Sequence[str], taken: Sequence[str]) -> bool:
        """Whether a record over several lines is rows that a stray quote made one."""
        inside = taken[1:-1]
        rows = sum(map(self._like_a_row, inside))
        if len(cells) != self.width:
            return rows > 0
        return rows >= SWALLOWED and rows == len(inside)

    def _like_a_row(self, line: str) -> bool:
        if '"' in line or self.width < 2 or line.count(self.delimiter) != self.width - 1:
            return False
        # prose has one comma, too, but seldom after a single word
        return self.width > 2 or len(line.partition(self.delimiter)[0].split()) == 1

    def _alone(self, line: str) -> tuple[list[str], DocumentError | None]:
        """A line with a stray quote, taken as it stands where its cells are as many as the header's."""
        cells: list[str] = []
        at, open_ended = 0, False
        while True:
            found = self._cell.match(line, at)
            cell = found[0] if found else ""
            at += len(cell)
            quoted = len(cell) > 1 and cell.startswith('"') and cell.endswith('"')
            open_ended = open_ended or (not quoted and cell.startswith('"'))
            cells.append(cell[1:-1].replace('""', '"') if quoted else cell)
            if at >= len(line) or line[at] != self.delimiter:
                break
            at += 1
        if not open_ended and len(cells) == self.width:
            return cells, None
        message = f"a quote in the wrong place: {line[:80]!r}"
        hint = "Inside a quoted cell a quote is written twice."
        return line.split(self.delimiter), DocumentError(message, kind="malformed_row", hint=hint)


CSV = TableFormat(media_type="text/csv", extensions=(".csv", ".tsv", ".tab"), rows=_rows)
