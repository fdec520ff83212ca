"""Parquet: each row is a document. Read in a child process, in batches, so that a table may be larger than memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docreduce.config import InputSettings
from docreduce.readers.base import MEGABYTE, TableFormat, Unread, is_packed, read_bytes
from docreduce.readers.sandbox import sandbox
from docreduce.readers.tables import resolve
from docreduce.storage import machine_errors
from docreduce.values import Document
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT", "batches"]

_BATCH_BYTES = 2**24
_BATCH_ROWS = 4096


def batches(path: str, wanted: list[str] | None) -> Iterator[bytes]:
    """The file's column names as JSON, then its rows in Arrow streams of one batch each, of the `wanted` columns that
    there are, or of all. For the child process. Raises DocumentError for a damaged or encrypted file, MemoryError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        names = table.schema_arrow.names
        yield json.dumps(names).encode()
        columns = None if wanted is None else [name for name in wanted if name in names]
        for batch in table.iter_batches(_batch_rows(table), columns=columns, use_threads=False):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            yield sink.getvalue().to_pybytes()
    except MemoryError:  # Arrow's own is one, too
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        kind = "encrypted" if "encrypted" in str(error) or "decryption" in str(error) else "unreadable"
        raise DocumentError(f"the Parquet file is damaged: {str(error)[:300]}", kind=kind) from error


def _batch_rows(table: Any) -> int:
    """Rows that make up about 16 MB unpacked, as far as the file's own metadata is true."""
    groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
    row_bytes = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
    return int(min(max(_BATCH_BYTES / max(row_bytes, 1.0), 1), _BATCH_ROWS))


def _rows(path: Path, uri: str, settings: InputSettings) -> Iterator[Document | Unread]:
    if not is_packed(path):
        yield from _file_rows(path, uri, settings)
        return
    raw = read_bytes(path, settings.max_document_mb * MEGABYTE)
    with tempfile.NamedTemporaryFile(suffix=".parquet") as unpacked:
        with machine_errors(Path(unpacked.name)):
            unpacked.write(raw)
            unpacked.flush()
        yield from _file_rows(Path(unpacked.name), uri, settings)


def _file_rows(path: Path, uri: str, settings: InputSettings) -> Iterator[Document | Unread]:
    import pyarrow as pa

    named = [settings.text_column, settings.id_column, *(settings.keep_columns or [])]
    wanted = None if settings.keep_columns is None else list(dict.fromkeys(filter(None, named)))
    with sandbox(settings) as box:
        answers = box.ask("parquet", json.dumps({"path": str(path.absolute()), "wanted": wanted}).encode())
        table = resolve(uri, FORMAT.media_type, json.loads(next(answers)), settings)
        row = 0
        for answer in answers:
            batch = pa.ipc.open_stream(answer).read_next_batch()
            for values in zip(*map(_values, batch.columns), strict=True):
                yield table.document(row, dict(zip(batch.schema.names, values, strict=True)))
                row += 1


def _values(column: Any) -> list[Any]:
    """A column as Python values. What Python cannot hold (nanoseconds, years past 9999) comes as text."""
    import pyarrow as pa

    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):
        pass
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):  # not UTF-8
            raw = column.cast(pa.large_binary()).to_pylist()
            return [None if value is None else value.decode("utf-8", "replace") for value in raw]
        return list(column.cast(pa.string()).to_pylist())
    except (ValueError, pa.ArrowException) as error:
        raise DocumentError(f"values of type {column.type} that cannot be read: {error}") from error


FORMAT = TableFormat(media_type="application/vnd.apache.parquet", extensions=(".parquet", ".pq"), rows=_rows)
