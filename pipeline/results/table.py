"""One Parquet file, written in row groups of bounded size, whose carried columns keep the types they came with.

Carried columns come as rows of record batches (`Kept`) and go out as slices of them. Row groups whose carried columns
are others than those before begin another piece of the file; `close` writes the pieces as one, in types that hold them
all. It also does so where a dictionary grew on the way: a file whose row groups have different dictionaries is read by
everybody, but pyarrow refuses to group by such a column.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from docreduce.results.arrays import batches, columns_of, gathered, held_type, plain
from docreduce.results.schema import Settle, free_name
from docreduce.values.columns import Kept, as_type, wider
from docreduce.values.unicode import well_formed

__all__ = ["Table"]

GROUP_ROWS = 5000
GROUP_CHARS = 2**24
"""A row group is written when it holds so many rows, or so many characters of text and bytes of carried columns."""
_DICTIONARY_BYTES = 2**22
"""A dictionary larger than this is written as plain values: it would be held in memory, and written once a group."""
_TEXTS = {"string", "large_string", "string_view", "null"}


class Table:
    """Rows of fixed columns, and beside them carried ones whose names and types differ from input to input.

    A carried column has its input's type; where inputs differ, the one that holds all its values, text at the widest;
    a type that Parquet lacks (unions, intervals) becomes text. `pinned`: columns that there are anyway, with the types
    they had before. A column named like a fixed one becomes `input_<name>`. Strings are made valid Unicode. Not safe
    for threads."""

    def __init__(self, path: Path, schema: pa.Schema, pinned: pa.Schema | None = None) -> None:
        self.path = path
        self.rows = 0
        self._fixed = self._schema = schema
        self._names: dict[str, str] = {}  # of the carried columns, by the input's
        self._carried: dict[str, pa.Field[Any]] = {}  # by the output's names
        self._kinds: dict[str, set[str]] = {}  # the types they came with
        self._dictionaries: dict[str, pa.Array[Any]] = {}
        self._scattered = False  # row groups differ in their dictionaries
        self._pieces: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._buffer: list[list[tuple[Any, ...]] | pa.Table] = [[]]  # runs of rows, and rows that are Arrow already
        self._buffered = 0
        self._beside: list[Mapping[str, Any]] = []
        self._chars = 0
        self._last: pa.RecordBatch | None = None
        for field in pinned or ():
            self._widen(field)

    @property
    def schema(self) -> pa.Schema:
        """The fixed columns."""
        return self._fixed

    @property
    def carried(self) -> pa.Schema:
        """The carried columns until now, by the input's names and with the output's types; without those that only had
        nulls, which say nothing of a type."""
        fields = [self._carried[own].with_name(name) for name, own in self._names.items()]
        return pa.schema([field for field in fields if not pa.types.is_null(field.type)])

    @property
    def as_text(self) -> dict[str, list[str]]:
        """The carried columns that are text because of what they came as: several types that nothing else holds, or one
        that Parquet lacks."""
        text = {own for own, field in self._carried.items() if field.type == pa.string()}
        return {own: sorted(kinds) for own, kinds in self._kinds.items() if own in text and kinds - _TEXTS}

    def append(self, row: tuple[Any, ...], carried: Mapping[str, Any]) -> None:
        """Add a row: its fixed values in the order of the schema, and its carried ones by name."""
        last = self._buffer[-1]
        if isinstance(last, list):
            last.append(row)
        else:
            self._buffer.append([row])
        self._buffered += 1
        self._beside.append(carried)
        self._chars += sum(len(value) for value in row if isinstance(value, str))
        if isinstance(carried, Kept):
            if carried.batch is not self._last:  # its rows come together
                self._chars += carried.batch.nbytes
                self._last = carried.batch
                for field in carried.batch.schema:
                    self._widen(field)
        else:
            self._chars += sum(len(value) for value in carried.values() if isinstance(value, str))
        if self._buffered >= GROUP_ROWS or self._chars >= GROUP_CHARS:
            self._flush()

    def extend(self, rows: pa.Table, carried: Sequence[Mapping[str, Any]] | None) -> None:
        """Add rows that have the fixed columns with their types, and the carried ones of each."""
        for start in range(0, len(rows), GROUP_ROWS):
            part = rows.slice(start, GROUP_ROWS)
            self._buffer.append(part)
            self._buffered += len(part)
            self._beside += carried[start : start + GROUP_ROWS] if carried else [{}] * len(part)
            self._chars += part.nbytes
            for batch in {id(each.batch): each.batch for each in carried or () if isinstance(each, Kept)}.values():
                for field in batch.schema:
                    self._widen(field)
            if self._buffered >= GROUP_ROWS or self._chars >= GROUP_CHARS:
                self._flush()

    def close(self) -> None:
        """Write what is left; the file is whole then, also without a row."""
        if self._buffered or not self._pieces:
            self._flush()
        if self._writer:
            self._writer.close()
        if len(self._pieces) == 1 and not self._scattered:
            self._pieces[0].rename(self.path)
            return
        while not self._rewrite():  # once, but for columns that turn out to need text
            pass
        for piece in self._pieces:
            piece.unlink()

    def settle(self, change: Settle) -> None:
        """Replace the rows of the closed file, a row group at a time, by what `change` makes of them."""
        before = self.path.with_suffix(".unsettled")
        self.path.rename(before)
        with pq.ParquetFile(before) as file, _writer(self.path, file.schema_arrow) as out:
            for number in range(file.num_row_groups):
                group = change(file.read_row_group(number))
                out.write_table(group, row_group_size=max(len(group), 1))
        before.unlink()

    def abandon(self) -> None:
        """Give up; the file may be anything."""
        if self._writer:
            with contextlib.suppress(OSError, pa.ArrowException):  # the disk's failure is what made us give up
                self._writer.close()

    def _flush(self) -> None:
        runs = [columns_of(run, self._fixed) for run in self._buffer if len(run)] or [columns_of([], self._fixed)]
        arrays: list[Any] = [pa.chunked_array(parts) for parts in map(list, zip(*runs, strict=True))]
        arrays += self._carried_columns()
        fields = [*self._fixed, *self._carried.values()]
        self._write(fields, arrays, self._buffered)
        self._buffer, self._buffered, self._beside, self._chars, self._last = [[]], 0, [], 0, None

    def gather(self, parts: Sequence[pa.Table], order: pa.Array[Any]) -> None:
        """Add the rows of tables that were written here before, in the order of these places in all of them; columns
        that one of them lacks are null there. Not to be mixed with `append`."""
        if not len(order):
            return
        fields: list[pa.Field[Any]] = []
        arrays = []
        for field in [*self._fixed, *self._carried.values()]:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            columns = [gathered(part, field.name, kind) for part in parts]
            if any(unfit for _, unfit in columns):
                kind = pa.string()
                field = self._carried[field.name] = field.with_type(kind)  # noqa: PLW2901 - it is another one now
                columns = [gathered(part, field.name, kind) for part in parts]
            whole: Any = pa.chunked_array([chunk for chunks, _ in columns for chunk in chunks], kind).take(order)
            if kind != field.type and pa.types.is_dictionary(field.type):
                whole = whole.combine_chunks().dictionary_encode()
                whole = pa.DictionaryArray.from_arrays(
                    whole.indices.cast(field.type.index_type), whole.dictionary, ordered=field.type.ordered
                )
            fields.append(field)
            arrays.append(whole)
        self._write(fields, arrays, len(order))

    def _write(self, fields: Sequence[pa.Field[Any]], arrays: list[Any], rows: int) -> None:
        """Write a row group."""
        arrays = [self._with_dictionary(field.name, array) for field, array in zip(fields, arrays, strict=True)]
        schema = pa.schema([field.with_type(array.type) for field, array in zip(fields, arrays, strict=True)])
        if self._writer is None or self._schema != schema:
            if self._writer:
                self._writer.close()
            self._pieces.append(self.path.with_suffix(f".{len(self._pieces)}"))
            self._writer = _writer(self._pieces[-1], schema)
            self._schema = schema
        self._writer.write_table(pa.table(arrays, schema=schema), row_group_size=max(rows, 1))
        self.rows += rows

    def _carried_columns(self) -> list[pa.ChunkedArray[Any]]:
        """The carried columns of the buffered rows, in types that hold what came until now."""
        parts = list(batches(self._beside))
        for batch, _ in parts:
            for field in batch.schema if batch is not None else ():  # of rows that came without types
                self._widen(field)
        columns: dict[str, list[Any]] = {name: [] for name in self._carried}
        for batch, rows in parts:
            for name, own in self._names.items():
                at = -1 if batch is None else batch.schema.get_field_index(name)
                kind = self._carried[own].type
                chunk = pa.nulls(rows, kind) if batch is None or at < 0 else plain(batch.column(at))
                columns[own].append(chunk)
        whole = []
        for own, chunks in columns.items():
            kind = self._carried[own].type
            fitted = [as_type(chunk, kind) for chunk in chunks]
            if any(unfit for _, unfit in fitted):
                self._carried[own] = self._carried[own].with_type(pa.string())
                fitted = [as_type(chunk, pa.string()) for chunk in chunks]
            whole.append(pa.chunked_array([chunk for chunk, _ in fitted], self._carried[own].type))
        return whole

    def _widen(self, field: pa.Field[Any]) -> None:
        """Make room for a column of an input."""
        if field.name not in self._names:
            taken = {*self._fixed.names, *self._carried}
            own = self._names[field.name] = free_name(well_formed(field.name), "input_", taken)
            # a row that failed has no values, so every column may be null
            self._carried[own] = field.with_name(own).with_type(held_type(field.type)).with_nullable(True)
            self._kinds[own] = {str(field.type)}
            return
        own = self._names[field.name]
        known = self._carried[own]
        self._kinds[own].add(str(field.type))
        if known.type != field.type:
            self._carried[own] = known.with_type(wider(known.type, held_type(field.type)))

    def _with_dictionary(self, name: str, array: Any) -> Any:
        """A dictionary column in terms of all its words until now."""
        if not pa.types.is_dictionary(array.type):
            return array
        chunks: list[Any] = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        known = self._dictionaries.get(name)
        if known is not None:
            chunks = [pa.DictionaryArray.from_arrays(pa.array([], array.type.index_type), known), *chunks]
        try:
            kind: Any = array.type
            whole: Any = pa.chunked_array(chunks, kind).unify_dictionaries()
        except pa.ArrowException:  # more words than the index can count
            return self._as_values(name, array)
        if whole.num_chunks == 0:
            return array
        words = whole.chunk(0).dictionary
        if words.nbytes > _DICTIONARY_BYTES:
            return self._as_values(name, array)
        if known is not None and len(words) > len(known):
            self._scattered = True
        self._dictionaries[name] = words
        return whole

    def _as_values(self, name: str, array: Any) -> Any:
        kind = array.type.value_type
        if name in self._carried:
            self._carried[name] = self._carried[name].with_type(kind)
        self._scattered = True
        return array.cast(kind)

    def _rewrite(self) -> bool:
        """Write the pieces as one file; False, and a column's type is text, where a value does not fit the type."""
        fields = [field.with_type(self._final(field)) for field in [*self._fixed, *self._carried.values()]]
        schema = pa.schema(fields)
        with _writer(self.path, schema) as out:
            for piece in self._pieces:
                with pq.ParquetFile(piece) as file:
                    for number in range(file.num_row_groups):
                        group = file.read_row_group(number)
                        columns = []
                        for field in schema:
                            column, fits = self._column(group, field)
                            if not fits:
                                self._carried[field.name] = self._carried[field.name].with_type(pa.string())
                                return False
                            columns.append(column)
                        out.write_table(pa.table(columns, schema=schema), row_group_size=max(len(group), 1))
        return True

    def _final(self, field: pa.Field[Any]) -> pa.DataType:
        kind: pa.DataType = field.type
        written: pa.DataType = self._schema.field(
            field.name
        ).type  # of the last piece: plain, where words became too many
        return written if pa.types.is_dictionary(kind) else kind

    def _column(self, group: pa.Table, field: pa.Field[Any]) -> tuple[Any, bool]:
        if field.name not in group.schema.names:  # it came later
            return pa.nulls(len(group), field.type), True
        column = group[field.name]
        if pa.types.is_dictionary(field.type) and column.type == field.type:
            return self._with_dictionary(field.name, column), True
        fitted = [
            as_type(plain(chunk) if not pa.types.is_dictionary(field.type) else chunk, field.type)
            for chunk in column.chunks
        ]
        return pa.chunked_array([chunk for chunk, _ in fitted], field.type), not any(unfit for _, unfit in fitted)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # past the limit pages would go without their dictionary, and readers would make one of their own for each group
    return pq.ParquetWriter(path, schema, compression="zstd", dictionary_pagesize_limit=4 * _DICTIONARY_BYTES)
