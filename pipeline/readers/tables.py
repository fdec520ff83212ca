"""Tables: each row of a CSV or JSON Lines file is a document, read as a stream and in order.

CSV knows no types: kept columns of it are text. JSON Lines keeps its own as Python values.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from docreduce.config import InputSettings
from docreduce.readers.base import (
    MEGABYTE,
    SAMPLE_BYTES,
    TableFormat,
    Unread,
    content_id,
    open_stream,
    read_sample,
    unreadable,
)
from docreduce.readers.text import encoding_of
from docreduce.values import Document
from docreduce.values.errors import DocumentError

__all__ = ["CSV", "JSONL", "Table", "resolve"]

_DELIMITERS = ",;\t|"
_PEEKED_LINES = 100
_PEEKED_CHARS = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table's place and what a job wants of it; `kept` are the names of the columns carried along, in order."""

    uri: str
    media_type: str
    settings: InputSettings
    kept: dict[str, None]

    def document(self, row: int, values: Mapping[Any, Any], error: DocumentError | None = None) -> Document | Unread:
        """The document of a row; Unread for `error`, or where its text is none."""
        text = error or self._text(values.get(self.settings.text_column))
        name = values.get(self.settings.id_column)
        if name is None or name == "":
            file = self.uri.rpartition("/")[2]
            name = content_id(f"{file}#{row}", text if isinstance(text, str) else "")
        columns = {name: values.get(name) for name in self.kept}
        place = f"{self.uri}#{row}"
        if isinstance(text, str):
            return Document(id=str(name), uri=place, row=row, text=text, media_type=self.media_type, columns=columns)
        return Unread(id=str(name), uri=place, row=row, media_type=self.media_type, columns=columns, error=text)

    def _text(self, value: Any) -> str | DocumentError:
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                return DocumentError("its text is not UTF-8", kind="not_text")
        if value is None:
            return ""
        if not isinstance(value, str):
            message = f"its {self.settings.text_column!r} is {type(value).__name__}, not text"
            return DocumentError(message, kind="not_text")
        if len(value) > self.settings.max_document_mb * MEGABYTE:
            return DocumentError(f"its text is larger than {self.settings.max_document_mb} MB", kind="too_large")
        return value


def resolve(uri: str, media_type: str, columns: Sequence[str], settings: InputSettings) -> Table:
    """The columns a job wants of a table. Raises DocumentError no_column, which lists those it has."""
    text_column, kept = settings.text_column, settings.keep_columns
    wanted = [text_column, *filter(None, [settings.id_column]), *(kept or [])]
    twice = [name for name, count in Counter(columns).items() if count > 1 and (name in wanted or kept is None)]
    missing = [name for name in wanted if name not in columns]
    if text_column is None:
        problem, hint = "a table needs input.text_column", "Name the column that holds the text."
    elif missing:
        problem, hint = f"no column {missing[0]!r}", "Name one of its columns."
    elif twice:
        problem, hint = f"two columns {twice[0]!r}", "Name those to keep in input.keep_columns."
    else:
        kept = [name for name in columns if name != text_column] if kept is None else kept
        return Table(uri=uri, media_type=media_type, settings=settings, kept=dict.fromkeys(kept))
    there = ", ".join(map(repr, columns)) or "none"
    raise DocumentError(f"{problem}; its columns are {there}", kind="no_column", hint=hint)


def _stray_bytes(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are not UTF-8 in a table that began as UTF-8: a cell pasted from Windows, so Windows-1252."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("docreduce-stray", _stray_bytes)


def _lines(path: Path, settings: InputSettings) -> Iterator[str]:
    """The file's lines with their ends, decoded as they stream. Raises DocumentError for one past the limit."""
    sample = read_sample(path)
    encoding = encoding_of(sample, whole=len(sample) < SAMPLE_BYTES)
    errors = "docreduce-stray" if encoding.startswith("utf-8") else "replace"
    most = settings.max_document_mb * MEGABYTE
    with unreadable(path), open_stream(path) as stream, io.TextIOWrapper(stream, encoding, errors, newline="") as text:
        while line := text.readline(most):
            if len(line) == most:
                raise DocumentError(f"a line longer than {settings.max_document_mb} MB", kind="too_large")
            yield line


def _peeked(lines: Iterator[str]) -> tuple[list[str], Iterator[str]]:
    """The first lines (a hundred, or fewer where they are very long), and all of them."""
    head: list[str] = []
    chars = 0
    while len(head) < _PEEKED_LINES and chars < _PEEKED_CHARS and (line := next(lines, None)) is not None:
        head.append(line)
        chars += len(line)
    return head, itertools.chain(head, lines)


def _csv_rows(path: Path, uri: str, settings: InputSettings) -> Iterator[Document | Unread]:
    # The csv module has one limit for all its readers; a run has one value for it.
    csv.field_size_limit(settings.max_document_mb * MEGABYTE)
    head, lines = _peeked(_lines(path, settings))
    cells = _cells(lines, max(_DELIMITERS, key=lambda delimiter: _fit(delimiter, head, settings.text_column)))
    header = _header(next(cells, []))
    table = resolve(uri, CSV.media_type, header, settings)
    for row, record in enumerate(cells):
        error = None
        if len(record) < len(header) or any(record[len(header) :]):
            message = f"the row has {len(record)} cells and the header {len(header)}"
            error = DocumentError(message, kind="malformed_row")
        yield table.document(row, dict(zip(header, record, strict=False)), error)


def _cells(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    try:
        for record in csv.reader(lines, delimiter=delimiter):
            if record:  # a blank line between rows is no row
                yield record
    except csv.Error as error:
        kind = "too_large" if "field larger" in str(error) else "unreadable"
        raise DocumentError(f"broken CSV: {error}", kind=kind, hint="A quote that never closes?") from error


def _fit(delimiter: str, head: Sequence[str], text_column: str | None) -> tuple[bool, float, int]:
    """How well a delimiter explains the first lines: the text column is in the header, rows are as long as it."""
    rows = list(_cells(head, delimiter))
    if not rows or len(rows[0]) < 2:
        return False, 0.0, 0
    whole = rows[:-1] or rows  # the last one may be cut in its middle
    return text_column in _header(rows[0]), sum(len(row) == len(rows[0]) for row in whole) / len(whole), len(rows[0])


def _header(cells: Sequence[str]) -> list[str]:
    """Column names: a cell without one is called column_N, N from 1."""
    return [cell.strip() or f"column_{number}" for number, cell in enumerate(cells, 1)]


def _jsonl_rows(path: Path, uri: str, settings: InputSettings) -> Iterator[Document | Unread]:
    head, lines = _peeked(_lines(path, settings))
    first = list(_records(head))
    # A key may be left out where it is null, so the columns are those of the first lines together.
    columns = list(dict.fromkeys(name for record in first if isinstance(record, dict) for name in record))
    if not columns and first and isinstance(first[0], DocumentError):
        raise first[0]
    table = resolve(uri, JSONL.media_type, columns, settings)
    for row, record in enumerate(_records(lines)):
        if isinstance(record, DocumentError):
            yield table.document(row, {}, record)
            continue
        if settings.keep_columns is None:  # a key that comes late is kept from there on
            table.kept.update(dict.fromkeys(record))
            table.kept.pop(str(settings.text_column), None)
        yield table.document(row, record)


def _records(lines: Iterable[str]) -> Iterator[dict[str, Any] | DocumentError]:
    for line in lines:
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield DocumentError(f"the line is not JSON: {error}")
            continue
        yield record if isinstance(record, dict) else DocumentError("the line is JSON, but not an object")


CSV = TableFormat(media_type="text/csv", extensions=(".csv", ".tsv", ".tab"), rows=_csv_rows)
JSONL = TableFormat(media_type="application/x-ndjson", extensions=(".jsonl", ".ndjson", ".jsonlines"), rows=_jsonl_rows)
