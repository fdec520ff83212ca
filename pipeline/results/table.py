"""One Parquet file, written in row groups of bounded size, whose carried columns find their types on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from docreduce.results.schema import free_name, text_of
from docreduce.values.unicode import well_formed

__all__ = ["Table"]

GROUP_ROWS = 5000
GROUP_CHARS = 2**24
"""A row group is written when it holds so many rows, or so many characters of text."""

_UNFIT = (pa.ArrowException, ValueError, TypeError, OverflowError)


class Table:
    """Rows of fixed columns, and beside them carried ones whose names and types differ from input to input.

    A carried column has the narrowest type that holds all its values, text at the widest: row groups of other types
    than those before begin another piece of the file, and `close` makes one of them. A column named like a fixed one
    becomes `input_<name>`. Strings are made valid Unicode. Not safe for threads."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self._fixed = self._schema = schema
        self._names: dict[str, str] = {}  # of the carried columns, by the input's
        self._pieces: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._buffer: list[tuple[Any, ...]] = []
        self._beside: list[Mapping[str, Any]] = []
        self._chars = 0

    def append(self, row: tuple[Any, ...], carried: Mapping[str, Any]) -> None:
        """Add a row: its fixed values in the order of the schema, and its carried ones by name."""
        self._buffer.append(row)
        self._beside.append(carried)
        self._chars += sum(len(value) for value in (*row, *carried.values()) if isinstance(value, str))
        if len(self._buffer) >= GROUP_ROWS or self._chars >= GROUP_CHARS:
            self._flush()

    def close(self) -> None:
        """Write what is left; the file is whole then, also without a row."""
        if self._buffer or not self._pieces:
            self._flush()
        if self._writer:
            self._writer.close()
        if len(self._pieces) == 1:
            self._pieces[0].rename(self.path)
            return
        try:
            self._unite(_wider)
        except pa.ArrowException:  # a float would round whole numbers, or such: what differs becomes text
            self._unite(lambda *_: pa.string())
        for piece in self._pieces:
            piece.unlink()

    def abandon(self) -> None:
        """Give up; the file may be anything."""
        if self._writer:
            with contextlib.suppress(OSError, pa.ArrowException):  # the disk's failure is what made us give up
                self._writer.close()

    def _flush(self) -> None:
        for name in (name for row in self._beside for name in row if name not in self._names):
            taken = {*self._fixed.names, *self._names.values()}
            self._names[name] = free_name(well_formed(str(name)), "input_", taken)
        columns = zip(*self._buffer, strict=True) if self._buffer else [()] * len(self._fixed)
        arrays = [_array(list(column), field.type) for column, field in zip(columns, self._fixed, strict=True)]
        carried = [_typed([row.get(name) for row in self._beside]) for name in self._names]
        kinds = zip(self._names.values(), (array.type for array in carried), strict=True)
        schema = pa.schema([*self._fixed, *(pa.field(name, kind) for name, kind in kinds)])
        if self._writer is None or self._schema != schema:
            if self._writer:
                self._writer.close()
            self._pieces.append(self.path.with_suffix(f".{len(self._pieces)}"))
            self._writer = pq.ParquetWriter(self._pieces[-1], schema, compression="zstd")
            self._schema = schema
        self._writer.write_batch(pa.record_batch([*arrays, *carried], schema=schema))
        self.rows += len(self._buffer)
        self._buffer, self._beside, self._chars = [], [], 0

    def _unite(self, wider: Callable[[pa.DataType, pa.DataType], pa.DataType]) -> None:
        """Write the pieces as one file, whose columns have types that hold those of all pieces."""
        kinds: dict[str, pa.DataType] = {}
        for piece in self._pieces:
            for field in pq.read_schema(piece):
                known = kinds.setdefault(field.name, field.type)
                if pa.types.is_null(known):
                    kinds[field.name] = field.type
                elif known != field.type and not pa.types.is_null(field.type):
                    kinds[field.name] = wider(known, field.type)
        schema = pa.schema(list(kinds.items()))
        with pq.ParquetWriter(self.path, schema, compression="zstd") as out:
            for piece in self._pieces:
                with pq.ParquetFile(piece) as file:
                    for number in range(file.num_row_groups):
                        group = file.read_row_group(number)  # a column that came late stands behind those before
                        columns = [_as_type(column, field.type) for column, field in zip(group.columns, schema)]  # noqa: B905
                        columns += [pa.nulls(len(group), field.type) for field in list(schema)[len(columns) :]]
                        out.write_table(pa.table(columns, schema=schema))


def _typed(values: list[Any]) -> pa.Array[Any]:
    """`values` as the type they suggest, text if they suggest none."""
    types = {type(value) for value in values if value is not None}
    if len(types) < 2 or types == {int, float}:  # Arrow also takes an integer for a date, and cuts a datetime to one
        with contextlib.suppress(*_UNFIT):
            array = _array(values, None)
            if _writable(array.type):
                return array
    return _texts(values)


def _writable(kind: pa.DataType) -> bool:
    """Whether Parquet can hold the type: it has no struct without fields."""
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return bool(inner or not pa.types.is_struct(kind)) and all(map(_writable, inner))


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type that holds both; text where none does."""
    try:
        both = [pa.schema({"": one}), pa.schema({"": other})]
        wider: pa.DataType = pa.unify_schemas(both, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.string()
    return wider


def _as_type(array: Any, kind: pa.DataType) -> Any:
    """An array cast without loss. Raises pa.ArrowException where it cannot be."""
    if array.type == kind:
        return array
    return _texts(array.to_pylist()) if pa.types.is_string(kind) else array.cast(kind)


def _texts(values: list[Any]) -> pa.Array[Any]:
    return _array([None if value is None else text_of(value) for value in values], pa.string())


def _array(values: list[Any], kind: pa.DataType | None) -> pa.Array[Any]:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # a lone surrogate somewhere
        return pa.array([well_formed(value) for value in values], kind)
