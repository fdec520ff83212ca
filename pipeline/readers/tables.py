"""Tables: each row of a CSV, Parquet or JSON Lines file is a document, read as a stream and in order.

CSV knows no types: kept columns of it are text. JSON Lines and Parquet keep theirs as Python values.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pipeline.config import InputSettings
from pipeline.errors import DocumentError
from pipeline.readers.base import (
    MEGABYTE,
    SAMPLE_BYTES,
    TableFormat,
    Unread,
    content_id,
    open_stream,
    read_bytes,
    read_sample,
    unreadable,
)
from pipeline.readers.text import encoding_of
from pipeline.storage import machine_errors
from pipeline.types import Document

__all__ = ["CSV", "JSONL", "PARQUET"]

_DELIMITERS = ",;\t|"
_PEEKED_LINES = 100
_PEEKED_CHARS = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table's place and columns, resolved. Makes the Documents of its rows."""

    uri: str
    media_type: str
    text_column: str
    id_column: str | None
    kept: tuple[str, ...]
    max_chars: int

    def document(self, row: int, values: Mapping[str, Any]) -> Document | Unread:
        text = values.get(self.text_column)
        if isinstance(text, bytes):
            try:
                text = text.decode()
            except UnicodeDecodeError:
                return self.unread(row, DocumentError("its text is not UTF-8", kind="not_text"), values)
        if text is None:
            text = ""
        if not isinstance(text, str):
            kind = type(text).__name__
            return self.unread(
                row, DocumentError(f"its {self.text_column!r} is {kind}, not text", kind="not_text"), values
            )
        if len(text) > self.max_chars:
            message = f"its text is larger than {self.max_chars // MEGABYTE} MB"
            return self.unread(row, DocumentError(message, kind="too_large"), values)
        return Document(
            id=self._id(row, values, text),
            uri=f"{self.uri}#{row}",
            row=row,
            text=text,
            media_type=self.media_type,
            columns={name: values.get(name) for name in self.kept},
        )

    def unread(self, row: int, error: DocumentError, values: Mapping[str, Any] | None = None) -> Unread:
        values = values or {}
        return Unread(
            id=self._id(row, values, ""),
            uri=f"{self.uri}#{row}",
            row=row,
            media_type=self.media_type,
            columns={name: values.get(name) for name in self.kept},
            error=error,
        )

    def _id(self, row: int, values: Mapping[str, Any], text: str) -> str:
        named = values.get(self.id_column) if self.id_column else None
        if named is None or named == "":
            return content_id(Path(self.uri).name, str(row), text)
        return str(named)


def _resolve(uri: str, media_type: str, columns: Sequence[str], settings: InputSettings) -> _Table:
    """The columns a job wants of this table. Raises DocumentError no_column, which lists those it has."""
    there = ", ".join(map(repr, columns)) or "none"
    if settings.text_column is None:
        raise DocumentError(
            f"a table needs input.text_column; its columns are {there}",
            kind="no_column",
            hint="Name the column that holds the text.",
        )
    kept = settings.keep_columns
    wanted = [settings.text_column, *filter(None, [settings.id_column]), *(kept or [])]
    twice = [name for name, count in Counter(columns).items() if count > 1 and (name in wanted or kept is None)]
    missing = [name for name in wanted if name not in columns]
    if missing or twice:
        problem = f"no column {missing[0]!r}" if missing else f"two columns {twice[0]!r}"
        hint = "Name one of its columns." if missing else "Name those to keep in input.keep_columns."
        raise DocumentError(f"{problem}; its columns are {there}", kind="no_column", hint=hint)
    return _Table(
        uri=uri,
        media_type=media_type,
        text_column=settings.text_column,
        id_column=settings.id_column,
        kept=tuple(kept if kept is not None else [name for name in columns if name != settings.text_column]),
        max_chars=settings.max_document_mb * MEGABYTE,
    )


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


def _peek(lines: Iterator[str]) -> list[str]:
    """The first lines, taken off: a hundred, or fewer where they are very long."""
    head: list[str] = []
    chars = 0
    while len(head) < _PEEKED_LINES and chars < _PEEKED_CHARS and (line := next(lines, None)) is not None:
        head.append(line)
        chars += len(line)
    return head


def _csv_rows(path: Path, uri: str, settings: InputSettings) -> Iterator[Document | Unread]:
    # The csv module has one limit for all its readers; a run has one value for it.
    csv.field_size_limit(settings.max_document_mb * MEGABYTE)
    lines = _lines(path, settings)
    head = _peek(lines)
    delimiter = max(_DELIMITERS, key=lambda delimiter: _fit(delimiter, head, settings.text_column))
    cells = _cells(itertools.chain(head, lines), delimiter)
    header = _header(next(cells, []))
    table = _resolve(uri, CSV.media_type, header, settings)
    for row, record in enumerate(cells):
        values = dict(zip(header, record, strict=False))
        if len(record) < len(header) or any(record[len(header) :]):
            message = f"the row has {len(record)} cells and the header {len(header)}"
            yield table.unread(row, DocumentError(message, kind="malformed_row"), values)
        else:
            yield table.document(row, values)


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
    lines = _lines(path, settings)
    head = list(_records(_peek(lines)))
    # A key may be left out where it is null, so the columns are those of the first hundred lines together.
    columns = list(dict.fromkeys(name for record in head if isinstance(record, dict) for name in record))
    if not columns and head and isinstance(head[0], DocumentError):
        raise head[0]
    table = _resolve(uri, JSONL.media_type, columns, settings)
    for row, record in enumerate(itertools.chain(head, _records(lines))):
        if isinstance(record, DocumentError):
            yield table.unread(row, record)
        else:
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


def _parquet_rows(path: Path, uri: str, settings: InputSettings) -> Iterator[Document | Unread]:
    with unreadable(path), path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if not packed:
        yield from _parquet_file(path, uri, settings)
        return
    with tempfile.NamedTemporaryFile(suffix=".parquet") as unpacked:
        raw = read_bytes(path, settings.max_document_mb * MEGABYTE)
        with machine_errors(Path(unpacked.name)):
            unpacked.write(raw)
            unpacked.flush()
        yield from _parquet_file(Path(unpacked.name), uri, settings)


def _parquet_file(path: Path, uri: str, settings: InputSettings) -> Iterator[Document | Unread]:
    import pyarrow as pa

    from pipeline.readers.sandbox import sandbox

    with sandbox(settings) as box:
        box.send(b"T", json.dumps({"path": str(path.absolute())}).encode())
        _, payload = box.receive()
        table = _resolve(uri, PARQUET.media_type, json.loads(payload)["columns"], settings)
        wanted = list(dict.fromkeys([table.text_column, *filter(None, [table.id_column]), *table.kept]))
        box.send(b"C", json.dumps(wanted).encode())
        row = 0
        while True:
            kind, payload = box.receive()
            if kind == b"Z":
                return
            batch = pa.ipc.open_stream(payload).read_next_batch()
            columns = [_values(batch.column(name)) for name in wanted]
            for values in zip(*columns, strict=True):
                yield table.document(row, dict(zip(wanted, values, strict=True)))
                row += 1


def _values(column: Any) -> list[Any]:
    """A column as Python values. What Python cannot hold (nanoseconds, years past 9999) comes as text."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:
            raw = column.cast(pa.large_binary()).to_pylist()
            return [None if value is None else value.decode("utf-8", "replace") for value in raw]
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):
        try:
            return list(column.cast(pa.string()).to_pylist())
        except (ValueError, pa.ArrowException) as error:
            raise DocumentError(f"values of type {column.type} that cannot be read: {error}") from error


CSV = TableFormat(name="csv", media_type="text/csv", extensions=(".csv", ".tsv", ".tab"), rows=_csv_rows)
JSONL = TableFormat(
    name="jsonl", media_type="application/x-ndjson", extensions=(".jsonl", ".ndjson", ".jsonlines"), rows=_jsonl_rows
)
PARQUET = TableFormat(
    name="parquet", media_type="application/vnd.apache.parquet", extensions=(".parquet", ".pq"), rows=_parquet_rows
)
