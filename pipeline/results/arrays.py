"""Arrays of a table on their way to Parquet: slices of what is carried, columns of rows, types that it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from docreduce.results.schema import free_name
from docreduce.values.columns import Kept, array_of, as_type
from docreduce.values.unicode import well_formed

__all__ = ["batches", "columns_of", "gathered", "held_type", "plain"]


def batches(rows: list[Mapping[str, Any]]) -> Iterator[tuple[pa.RecordBatch | None, int]]:
    """The carried values of rows as few slices of batches, and how many rows each is for; None for rows without any."""
    start = 0
    while start < len(rows):
        first, end = rows[start], start + 1
        if isinstance(first, Kept):
            while end < len(rows) and _follows(rows[end], first, end - start):
                end += 1
            yield first.batch.slice(first.row, end - start), end - start
        else:
            while end < len(rows) and not isinstance(rows[end], Kept):
                end += 1
            names: dict[str, str] = {}
            for name in (name for row in rows[start:end] for name in row if name not in names):
                names[name] = free_name(well_formed(str(name)), "input_", names.values())
            arrays = [array_of([row.get(name) for row in rows[start:end]]) for name in names]
            yield (pa.record_batch(arrays, list(names.values())) if names else None), end - start
        start = end


def _follows(row: Mapping[str, Any], first: Kept, distance: int) -> bool:
    return isinstance(row, Kept) and row.batch is first.batch and row.row == first.row + distance


def held_type(kind: pa.DataType) -> pa.DataType:
    """The type that Parquet holds the values of `kind` in."""
    if pa.types.is_run_end_encoded(kind):
        return held_type(kind.value_type)
    try:
        # asked of Parquet itself, whose list of types grows
        with pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([("", kind)])):
            return kind
    except (pa.ArrowException, ValueError):
        return pa.string()


def gathered(part: pa.Table, name: str, kind: pa.DataType) -> tuple[list[Any], bool]:
    """The column's chunks as `kind`, and whether some values do not fit it."""
    if name not in part.schema.names:
        nothing: Any = pa.nulls(part.num_rows).cast(kind)
        return [nothing], False
    chunks = [plain(chunk) for chunk in part[name].chunks]
    chunks = [chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk for chunk in chunks]
    fitted = [as_type(chunk, kind) for chunk in chunks]
    return [chunk for chunk, _ in fitted], any(unfit for _, unfit in fitted)


def plain(array: Any) -> Any:
    """Run-end and dictionary encoding taken off, which casts do not look through."""
    if pa.types.is_run_end_encoded(array.type):
        return plain(pc.call_function("run_end_decode", [array]))
    return array


def columns_of(run: list[tuple[Any, ...]] | pa.Table, schema: pa.Schema) -> list[pa.Array[Any]]:
    """The columns of rows with a schema's types."""
    if isinstance(run, pa.Table):
        return [pa.concat_arrays(column.unify_dictionaries().chunks) for column in run.columns]
    values = zip(*run, strict=True) if run else [()] * len(schema)
    return [_array(list(column), field.type) for column, field in zip(values, schema, strict=True)]


def _array(values: list[Any], kind: pa.DataType | None) -> pa.Array[Any]:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # a lone surrogate somewhere
        return pa.array([well_formed(value) for value in values], kind)
