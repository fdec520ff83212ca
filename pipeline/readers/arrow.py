"""Arrow IPC (Feather 2) files and streams: each row is a document, read batch by batch from the mapped file.

By pyarrow, which brings all types as they are; polars knows neither list views, decimal256, unions nor intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from docreduce.readers.base import TableFormat
from docreduce.readers.columnar import damage, read_rows, sliced
from docreduce.readers.tables import Columns, Lost, Part
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT", "MAGIC", "parts"]

MAGIC = b"ARROW1\0\0"


def parts(path: str, _wanted: list[str] | None, _text_column: str | None) -> Iterator[Part]:
    """The file's columns and rows, for the child process. A file whose end is missing is read as the stream that it is
    up to there."""
    import pyarrow as pa

    source = pa.memory_map(path)
    head = source.read(8)
    source.seek(0)
    if head.startswith(b"FEA1"):
        hint = "Write it anew: pyarrow and pandas write version 2."
        raise DocumentError("the file is of Feather's version 1", kind="unreadable", hint=hint)
    if head == MAGIC:
        try:
            file = pa.ipc.open_file(source)
        except (pa.ArrowException, OSError) as error:
            source.seek(len(MAGIC))
            yield from _stream(source, f"{error}; its end is missing")
            return
        yield Columns(names=file.schema.names)
        for number in range(file.num_record_batches):
            try:
                batch = file.get_batch(number)
            except MemoryError:
                raise
            except (pa.ArrowException, OSError, ValueError) as error:
                yield Lost(None, damage(error))
                continue
            yield from sliced(batch)
        return
    yield from _stream(source, None)


def _stream(source: Any, broken: str | None) -> Iterator[Part]:
    """A stream's parts. `broken`: what is wrong with its end, whatever it brings."""
    import pyarrow as pa

    try:
        stream = pa.ipc.open_stream(source)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damage(error) from error
    yield Columns(names=stream.schema.names)
    try:
        for batch in stream:
            yield from sliced(batch)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        broken = str(error)
    if broken is None and source.tell() < source.size():
        broken = "there is more behind the stream's end"
    if broken is not None:
        yield Lost(None, damage(ValueError(broken)))


FORMAT = TableFormat(
    media_type="application/vnd.apache.arrow.file",
    extensions=(".arrow", ".feather", ".ipc", ".arrows"),
    rows=read_rows("arrow", "application/vnd.apache.arrow.file"),
)
