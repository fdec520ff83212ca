"""Frames of somebody's own program: a polars, pandas or Arrow table as the documents of its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from docreduce.readers.base import Unread
from docreduce.readers.columnar import sliced
from docreduce.readers.tables import BATCH_ROWS, Columns, Part, documents
from docreduce.settings import InputSettings
from docreduce.values import Document
from docreduce.values.columns import array_of
from docreduce.values.errors import DocumentError, JobError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["frame_rows"]

_MEDIA_TYPE = "application/vnd.apache.arrow.stream"


def frame_rows(
    frame: Any,
    column: str,
    *,
    id_column: str | None = None,
    keep_columns: Sequence[str] | None = None,
    max_document_mb: int = 256,
    name: str = "frame",
) -> Iterator[Document | Unread]:
    """The rows of a frame in order, as they would come from a file: polars (eager, or lazy: then it is collected in
    batches), pandas (without its index), or whatever has Arrow's C stream. `name` stands in their uri.

    Raises JobError for what is no frame, or has no such columns."""
    kept = None if keep_columns is None else list(keep_columns)
    settings = InputSettings(
        paths=[name], text_column=column, id_column=id_column, keep_columns=kept, max_document_mb=max_document_mb
    )
    try:
        rows = documents(_parts(frame), name, _MEDIA_TYPE, settings)
        yield from (each for each in rows if not isinstance(each, int))  # nothing is passed over
    except DocumentError as error:
        raise JobError(f"{name}: {error.message}", hint=error.hint) from error


def _parts(frame: Any) -> Iterator[Part]:
    names, batches = _batches(frame)
    yield Columns(names=names)
    for batch in batches:
        yield from sliced(batch)


def _batches(frame: Any) -> tuple[list[str], Iterable[pa.RecordBatch]]:
    """A frame's columns and its rows in Arrow's batches."""
    import polars as pl
    import pyarrow as pa

    if isinstance(frame, pl.LazyFrame):
        names = frame.collect_schema().names()
        frames = frame.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True)
        return names, (batch for part in frames for batch in _of_polars(part))
    if isinstance(frame, pl.DataFrame):
        return frame.columns, (batch for part in frame.iter_slices(BATCH_ROWS) for batch in _of_polars(part))
    if type(frame).__module__.partition(".")[0] == "pandas":
        return [str(name) for name in frame.columns], _of_pandas(frame)
    if isinstance(frame, pa.RecordBatch):
        return frame.schema.names, [frame]
    if hasattr(frame, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(frame)
        return reader.schema.names, reader
    hint = "Give a polars, pandas or Arrow table."
    raise JobError(f"a {type(frame).__name__} is no frame", hint=hint)


def _of_polars(frame: Any) -> list[pa.RecordBatch]:
    """Batches of Arrow's own types: 128-bit integers, which it lacks, as decimals."""
    import polars as pl

    wide = [name for name, kind in frame.schema.items() if kind in (pl.Int128, pl.UInt128)]
    frame = frame.with_columns(pl.col(name).cast(pl.Decimal(38, 0)) for name in wide) if wide else frame
    return list(frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks().to_batches())


def _of_pandas(frame: Any) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    names = [str(name) for name in frame.columns]
    columns = [_of_series(frame.iloc[:, at]) for at in range(len(names))]
    table = pa.Table.from_arrays(columns, names)
    yield from table.combine_chunks().to_batches()


def _of_series(series: Any) -> pa.Array[Any]:
    import pyarrow as pa

    try:
        return pa.Array.from_pandas(series)
    except (pa.ArrowException, OverflowError):  # objects of several kinds
        missing = series.isna()
        return array_of([None if gone else value for value, gone in zip(series, missing, strict=True)])
