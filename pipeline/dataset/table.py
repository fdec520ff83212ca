"""One Parquet file, written in row groups of bounded size, whose carried columns find their types on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.schema import free_name, text_of
from pipeline.unicode import well_formed

__all__ = ["Table"]

GROUP_ROWS = 5000
GROUP_CHARS = 2**24
"""A row group is written when it holds so many rows, or so many characters of text."""

_UNFIT = (pa.ArrowException, ValueError, TypeError, OverflowError)
_MIXES = ({int, float}, {int, Decimal})
"""What may stand in one column; Arrow also takes an integer for a date, and cuts a datetime to one."""


class Table:
    """Rows of fixed columns, and beside them carried ones whose names and types differ from input to input.

    A carried column has the narrowest type that holds all its values: when a later row does not fit, the file is
    written anew with a wider type, text at the widest. One named like a fixed column becomes `input_<name>`.
    Strings are made valid Unicode. Not safe for threads."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self._fixed = schema
        self._carried: dict[str, pa.Field[Any]] = {}  # by the input's name
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
        self._flush()
        self._open().close()

    def abandon(self) -> None:
        """Give up; the file may be anything."""
        if self._writer:
            with contextlib.suppress(OSError, pa.ArrowException):  # the disk's failure is what made us give up
                self._writer.close()

    def _open(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, self._schema(), compression="zstd")
        return self._writer

    def _schema(self) -> pa.Schema:
        return pa.schema([*self._fixed, *self._carried.values()])

    def _flush(self) -> None:
        if not self._buffer:
            return
        columns = zip(*self._buffer, strict=True)
        arrays = [_array(list(column), field.type) for column, field in zip(columns, self._fixed, strict=True)]
        arrays += self._carried_arrays()
        self._open().write_batch(pa.record_batch(arrays, schema=self._schema()))
        self.rows += len(self._buffer)
        self._buffer, self._beside, self._chars = [], [], 0

    def _carried_arrays(self) -> list[pa.Array[Any]]:
        names = dict.fromkeys([*self._carried, *(name for row in self._beside for name in row)])
        known = {name: self._carried[name].type if name in self._carried else pa.null() for name in names}
        found = {name: _fit([row.get(name) for row in self._beside], known[name]) for name in names}
        try:
            return self._widen({name: _wider(known[name], array.type) for name, array in found.items()}, found)
        except pa.ArrowException:  # a float would round whole numbers, or such: what differs becomes text
            kinds = {name: _wider(known[name], array.type, mix=False) for name, array in found.items()}
            return self._widen(kinds, found)

    def _widen(self, kinds: Mapping[str, pa.DataType], found: Mapping[str, pa.Array[Any]]) -> list[pa.Array[Any]]:
        """Let the carried columns have `kinds` from now on; `found` in those types."""
        arrays = [_as_type(array, kinds[name]) for name, array in found.items()]
        before = self._carried
        fields: dict[str, pa.Field[Any]] = {}
        for name, kind in kinds.items():
            taken = {*self._fixed.names, *(field.name for field in fields.values())}
            fields[name] = pa.field(free_name(well_formed(str(name)), "input_", taken), kind)
        self._carried = fields
        if self._writer and fields != before:
            try:
                self._rewrite()
            except pa.ArrowException:
                self._carried = before
                raise
        return arrays

    def _rewrite(self) -> None:
        """Write what stands in the file anew in the schema that holds now, one row group at a time."""
        self._open().close()
        old = self.path.rename(self.path.with_suffix(".old"))
        self._writer = None
        schema = self._schema()
        try:
            with pq.ParquetFile(old) as file:
                for number in range(file.num_row_groups):
                    group = file.read_row_group(number)  # new columns only ever come behind those that are there
                    columns = [_as_type(column, field.type) for column, field in zip(group.columns, schema)]  # noqa: B905
                    columns += [pa.nulls(len(group), field.type) for field in list(schema)[len(columns) :]]
                    self._open().write_table(pa.table(columns, schema=schema))
        except pa.ArrowException:
            self.abandon()
            old.replace(self.path)
            raise
        old.unlink()


def _fit(values: list[Any], kind: pa.DataType) -> pa.Array[Any]:
    """`values` as `kind` if it holds them unchanged, else as the type they suggest, text if they suggest none."""
    if not pa.types.is_null(kind):
        with contextlib.suppress(*_UNFIT):
            array = _array(values, kind)
            if array.to_pylist() == values:  # Arrow cuts the time off a datetime for a date column
                return array
    types = {type(value) for value in values if value is not None}
    if len(types) < 2 or any(types <= mix for mix in _MIXES):
        with contextlib.suppress(*_UNFIT):
            array = _array(values, None)
            if _writable(array.type):
                return array
    return _texts(values)


def _writable(kind: pa.DataType) -> bool:
    """Whether Parquet can hold the type: it has no struct without fields."""
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return bool(inner or not pa.types.is_struct(kind)) and all(map(_writable, inner))


def _wider(one: pa.DataType, other: pa.DataType, *, mix: bool = True) -> pa.DataType:
    """The type that holds both; text where none does, or where they are not to be mixed."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if mix:
        with contextlib.suppress(pa.ArrowException):
            both = [pa.schema({"": one}), pa.schema({"": other})]
            wider: pa.DataType = pa.unify_schemas(both, promote_options="permissive").field(0).type
            return wider
    return pa.string()


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
