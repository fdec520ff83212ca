"""JSON Lines: each object is a document, read as a stream. A JSON array of objects, or the one list of objects that an
object holds, is read as if each had its line.

Columns have the narrowest Arrow types that hold a batch's values exactly: integers past 64 bits are decimals, what
differs from row to row is text. Arrow's and polars' own readers are not asked: they round integers that share a column
with a real, refuse NaN, and take `\\ud800` for a zero byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from docreduce.readers.arrays import elements, rows_at
from docreduce.readers.base import MEGABYTE, Blocks, TableFormat, Unread, content_id, read_bytes
from docreduce.readers.lines import Lines, open_lines
from docreduce.readers.tables import BATCH_BYTES, BATCH_ROWS, Batch, Columns, Part, documents
from docreduce.readers.text import decode
from docreduce.settings import InputSettings
from docreduce.values import Document
from docreduce.values.columns import array_of, text_of
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ARRAY", "JSONL", "is_array"]

_PEEKED_ROWS = 100
_MAX_COLUMNS = 1000
"""A file with a new key in each line would fill the memory with columns."""


def _rows(
    path: Path, uri: str, settings: InputSettings, pinned: pa.Schema | None = None, blocks: Blocks | None = None
) -> Iterator[Document | Unread | int]:
    with open_lines(path, settings) as lines:
        yield from documents(_parts(lines, settings), uri, JSONL.media_type, settings, pinned, blocks)


def _array_rows(
    path: Path, uri: str, settings: InputSettings, pinned: pa.Schema | None = None, blocks: Blocks | None = None
) -> Iterator[Document | Unread | int]:
    most = settings.max_document_mb * MEGABYTE
    text, _ = decode(read_bytes(path, most), settings.encoding)
    # a file was called an array by its head; what follows may have more lists
    start = text.index("[") if text.lstrip().startswith("[") else rows_at(text, str(settings.text_column))
    if start is None:
        message = f"more than one list in it has {settings.text_column!r}, or an object around the list has"
        raise DocumentError(message, hint="Write the rows as JSON Lines or as one array.")
    rows = elements(text, start)
    lines = Lines(lambda: next(rows, ""), most)
    yield from documents(_parts(lines, settings), uri, ARRAY.media_type, settings, pinned, blocks)


def is_array(head: bytes, column: str) -> bool:
    """Whether a JSON file that begins so is an array of objects, or an object that holds one list of objects, among
    them one with that key."""
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"[", b"{")):
        return False
    names = (json.dumps(column, ensure_ascii=False).encode("utf-8", "replace"), json.dumps(column).encode())
    if not any(name in head for name in names):
        return False
    return rows_at(head.decode("utf-8-sig", "replace"), column) is not None


def _parts(lines: Lines, settings: InputSettings) -> Iterator[Part]:
    whole = settings.text_column is None
    # A key may be left out where it is null, so the columns are those of the first lines together.
    first = _take(lines, BATCH_BYTES if whole else _PEEKED_ROWS)
    names = list(dict.fromkeys(name for _, record in first if isinstance(record, dict) for name in record))
    if not names and first and isinstance(first[0][1], DocumentError):
        raise first[0][1]
    yield Columns(names=names)
    batches = _Batches(settings, dict.fromkeys(names if whole else ()))
    while first:
        yield batches.batch(first)
        first = _take(lines, BATCH_ROWS)


def _take(lines: Lines, most: int) -> list[tuple[str, dict[str, Any] | DocumentError]]:
    """The next lines, at most so many, each with its record or what is wrong with it."""
    records: list[tuple[str, dict[str, Any] | DocumentError]] = []
    chars = 0
    while len(records) < most and chars < BATCH_BYTES:
        try:
            line = lines.next()
        except DocumentError:
            if records:  # it is raised again once these are read
                break
            raise
        if line is None:
            break
        chars += len(line)
        if line.strip():
            records.append((line, _record(line)))
    return records


def _record(line: str) -> dict[str, Any] | DocumentError:
    try:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:  # NaN, half a surrogate pair, 1e400: not JSON, but some write it
            record = json.loads(line, parse_float=_real)
        if not isinstance(record, dict):
            return DocumentError("the line is JSON, but not an object")
        if any(map(_rounded, record.values())):
            record = json.loads(line, parse_float=_real)
    except (ValueError, RecursionError) as error:
        return DocumentError(f"the line is not JSON: {error}")
    if "\\ud" in line or "\\uD" in line:
        record = _escaped(record)
    return record  # type: ignore[no-any-return]


def _rounded(value: Any) -> bool:
    """Whether there may be an integer past 64 bits in it, of which orjson makes a float."""
    if isinstance(value, float):
        return abs(value) >= 2**63
    if isinstance(value, dict):
        return any(map(_rounded, value.values()))
    return isinstance(value, list) and any(map(_rounded, value))


def _real(digits: str) -> float | str:
    """A number; as it stands where no float is so large."""
    value = float(digits)
    return digits if value in (float("inf"), float("-inf")) else value


def _escaped(value: Any) -> Any:
    """The value with each half of a surrogate pair as the escape that stood in the line, for it has no UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(name): _escaped(part) for name, part in value.items()}
    return [_escaped(part) for part in value] if isinstance(value, list) else value


class _Batches:
    """Makes batches of records. `names`: the columns there were until now."""

    def __init__(self, settings: InputSettings, names: dict[str, None]) -> None:
        self._text = settings.text_column
        self._id = settings.id_column
        self._only = None if settings.keep_columns is None else {self._text, self._id, *settings.keep_columns}
        self._names = names

    def batch(self, records: list[tuple[str, dict[str, Any] | DocumentError]]) -> Batch:
        import pyarrow as pa

        wrong: dict[int, DocumentError] = {}
        rows = [self._row(at, record, wrong) for at, (_, record) in enumerate(records)]
        arrays = [array_of([row.get(name) for row in rows]) for name in self._names] or [pa.nulls(len(rows))]
        # Of the record alone: what type a column has depends on the rows around it, and an id must not.
        if self._id is not None:
            ids = [text_of(value) if (value := row.get(self._id)) is not None else "" for row in rows]
        else:
            ids = [""] * len(rows)
        own = [name or _content_id(*each) for name, each in zip(ids, records, strict=True)]
        return Batch(pa.RecordBatch.from_arrays(arrays, list(self._names) or [""]), wrong, own)

    def _row(self, at: int, record: dict[str, Any] | DocumentError, wrong: dict[int, DocumentError]) -> dict[str, Any]:
        if isinstance(record, DocumentError):
            wrong[at] = record
            return {}
        row = {}
        for name, value in record.items():
            if self._only is not None and name not in self._only:
                continue
            if name not in self._names:
                if len(self._names) >= _MAX_COLUMNS:
                    message = f"more than {_MAX_COLUMNS} columns in the table, among them {name!r}"
                    hint = "Name those to keep in input.keep_columns."
                    wrong[at] = DocumentError(message, kind="malformed_row", hint=hint)
                    continue
                self._names[name] = None
            if name == self._text and not isinstance(value, str | None):
                message = f"its {name!r} is {type(value).__name__}, not text"
                wrong[at] = DocumentError(message, kind="not_text")
                continue
            row[name] = value
        return row


def _content_id(line: str, record: dict[str, Any] | DocumentError) -> str:
    """A hash of what the record says; of the line, where it says nothing."""
    if isinstance(record, DocumentError):
        return content_id("line", line.strip())
    said = {name: value for name, value in record.items() if value is not None}
    try:
        return content_id("record", orjson.dumps(said, option=orjson.OPT_SORT_KEYS))
    except TypeError:  # an integer past 64 bits
        return content_id("record", json.dumps(said, sort_keys=True, ensure_ascii=False))


JSONL = TableFormat(media_type="application/x-ndjson", extensions=(".jsonl", ".ndjson", ".jsonlines"), rows=_rows)
ARRAY = TableFormat(media_type="application/json", extensions=(), rows=_array_rows)
