"""Kept columns: values of a table's row that travel beside its text, with the Arrow types they came with.

A reader cuts the columns to keep from each of its batches and gives every document of the batch a `Kept`: the batch and
the number of a row in it. Nothing is turned into Python values on the way, so nothing is guessed when it is written:
the results put slices of the batches together again. Types change in three places only, all of them here: `fit` casts
to types that a job or an earlier run stated, `array_of` finds types for values that have none (JSON), and `wider`
says what holds the columns of two tables that differ.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from docreduce.values.unicode import well_formed

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Kept",
    "array_of",
    "as_type",
    "fit",
    "pinned_for",
    "schema_from_json",
    "schema_to_json",
    "text_of",
    "type_of",
    "values_of",
    "wider",
]


class Kept(Mapping[str, Any]):
    """A row of a record batch as a mapping from column names to Python values, which are made when they are asked for.

    What Python cannot hold (nanoseconds, years past 9999) comes as text."""

    __slots__ = ("batch", "row")

    def __init__(self, batch: pa.RecordBatch, row: int) -> None:
        self.batch = batch
        self.row = row

    def __getitem__(self, name: str) -> Any:
        at = self.batch.schema.get_field_index(name)
        if at < 0:
            raise KeyError(name)
        return values_of(self.batch.column(at).slice(self.row, 1))[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.schema.names)

    def __len__(self) -> int:
        return self.batch.num_columns

    def __repr__(self) -> str:
        return repr(dict(self))


# --- types as words -----------------------------------------------------------------------------------------------

_WORDS = {
    "text": "string",
    "integer": "int64",
    "number": "float64",
    "boolean": "bool",
    "date": "date32",
    "datetime": "timestamp[us]",
}


def type_of(word: str) -> pa.DataType:
    """The Arrow type that a word names: text, integer, number, boolean, date, datetime, decimal(10,2),
    timestamp[us, tz=UTC], or any of Arrow's own names without parts. Raises ValueError."""
    import pyarrow as pa

    plain = word.strip().lower()
    if found := re.fullmatch(r"decimal(?:128|256)?\((\d+) *, *(\d+)\)", plain):
        digits, scale = int(found[1]), int(found[2])
        return pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)
    if found := re.fullmatch(r"timestamp\[(s|ms|us|ns), *tz=(.+)\]", word.strip()):
        return pa.timestamp(cast(Literal["s", "ms", "us", "ns"], found[1]), found[2])
    try:
        kind: pa.DataType = pa.type_for_alias(cast(Any, _WORDS.get(plain, plain)))
        return kind
    except ValueError:
        known = ", ".join([*_WORDS, "decimal(10,2)", "int32", "timestamp[us, tz=UTC]", "…"])
        raise ValueError(f"no type {word!r}; types are {known}") from None


def schema_to_json(schema: pa.Schema) -> str:
    """A schema as JSON: the types in words for people, and all of it in Arrow's own form for `schema_from_json`."""
    words = {field.name: str(field.type) for field in schema}
    return json.dumps({"types": words, "arrow": base64.b64encode(schema.serialize().to_pybytes()).decode()})


def schema_from_json(text: str) -> pa.Schema:
    """The schema that `schema_to_json` wrote, equal to the last bit of its metadata. Raises ValueError."""
    import pyarrow as pa

    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(json.loads(text)["arrow"])))
    except (KeyError, TypeError, pa.ArrowException) as error:
        raise ValueError(f"no schema: {error}") from error


def pinned_for(schema: pa.Schema, keep: Sequence[str] | None, types: Mapping[str, str]) -> pa.Schema:
    """What an earlier run's kept columns are for a job: those of them that it keeps (None: all), in the types that it
    states, else in those they had. Raises ValueError for a type that is none."""
    import pyarrow as pa

    stated = {name: type_of(word) for name, word in types.items()}
    fields = [field for field in schema if keep is None or field.name in keep]
    return pa.schema([field.with_type(stated.get(field.name, field.type)) for field in fields])


# --- from one type to another -------------------------------------------------------------------------------------


def fit(batch: pa.RecordBatch, schema: pa.Schema) -> tuple[pa.RecordBatch, dict[int, str]]:
    """The columns of `schema` with its types, null where the batch lacks them, and what is wrong with the rows whose
    values do not fit (they are null): row number → words."""
    import pyarrow as pa

    columns: list[pa.Array[Any]] = []
    wrong: dict[int, str] = {}
    for field in schema:
        at = batch.schema.get_field_index(field.name)
        column = batch.column(at) if at >= 0 else pa.nulls(batch.num_rows, field.type)
        column, unfit = as_type(column, field.type)
        columns.append(column)
        for row in unfit:
            value = text_of(values_of(batch.column(at).slice(row, 1))[0])[:80]
            wrong.setdefault(row, f"its {field.name!r} is {value!r}, which is no {field.type}")
    return pa.RecordBatch.from_arrays(columns, schema=schema), wrong


def as_type(array: pa.Array[Any], kind: pa.DataType) -> tuple[pa.Array[Any], list[int]]:
    """`array` as `kind` without loss, and the places of values that do not fit, null there. Empty text is null where
    the type is not text."""
    import pyarrow as pa

    if array.type == kind:
        return array, []
    if _is_text(kind) and not _is_text(array.type):
        return _texts(values_of(array)).cast(kind), []
    if _is_text(array.type) and not _is_text(kind):
        stripped = [None if value is None or not value.strip() else value.strip() for value in array.to_pylist()]
        array = pa.array(stripped, pa.string())
    try:
        return array.cast(kind), []
    except (pa.ArrowException, OverflowError):
        pass
    parts: list[Any] = []
    unfit: list[int] = []
    for place in range(len(array)):
        try:
            parts.append(array.slice(place, 1).cast(kind))
        except (pa.ArrowException, OverflowError):
            parts.append(pa.array([None], kind))
            unfit.append(place)
    return pa.concat_arrays(parts), unfit


def wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type to hold columns of both: itself, a wider one, text where none is. A cast to it may still refuse a value
    (an integer that no float can say); it never changes one."""
    import pyarrow as pa

    if one == other:
        return one
    if {pa.types.is_decimal(one), pa.types.is_decimal(other)} == {True, False} and (
        pa.types.is_floating(one) or pa.types.is_floating(other)
    ):
        return pa.string()  # Arrow makes it a float, and cents are lost
    try:
        both = [pa.schema({"": one}), pa.schema({"": other})]
        both_hold: pa.DataType = pa.unify_schemas(both, promote_options="permissive").field(0).type
        return both_hold
    except pa.ArrowException:
        return pa.string()


# --- values -------------------------------------------------------------------------------------------------------


def values_of(column: pa.Array[Any]) -> list[Any]:
    """A column as Python values, the same ones whatever is installed. What Python cannot hold (nanoseconds, years past
    9999) comes as text, bytes that are no UTF-8 with U+FFFD."""
    import pyarrow as pa

    if not _has_nanoseconds(column.type):  # pandas, where it is, would answer with types of its own
        try:
            return list(column.to_pylist())
        except (ValueError, OverflowError, pa.ArrowException):
            pass
    if pa.types.is_nested(column.type):
        return _nested(column)
    if _is_text(column.type):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "replace") for value in raw]
    for kind in (_micro(column.type), pa.string(), pa.int64()):
        try:
            shown: pa.Array[Any] = column.cast(kind)
            return list(shown.to_pylist())
        except (ValueError, OverflowError, pa.ArrowException):
            continue
    return [f"a {column.type} past what can be shown" if valid else None for valid in column.is_valid().to_pylist()]


def _nested(column: pa.Array[Any]) -> list[Any]:
    """A nested column whose leaves are as `values_of` has them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array: Any = column
    valid = array.is_valid().to_pylist()
    if pa.types.is_dictionary(array.type):
        return values_of(array.dictionary_decode())
    if pa.types.is_struct(array.type):
        names = [field.name for field in array.type]
        rows = zip(*map(values_of, array.flatten()), strict=True) if names else [()] * len(array)
        return [dict(zip(names, row, strict=True)) if there else None for row, there in zip(rows, valid, strict=True)]
    if pa.types.is_map(array.type):
        items = pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)]))
        pairs = values_of(array.cast(items))
        return [None if row is None else [tuple(pair.values()) for pair in row] for row in pairs]
    try:
        lengths = pc.call_function("list_value_length", [array]).to_pylist()
        flat = iter(values_of(pc.call_function("list_flatten", [array])))
    except pa.ArrowException:  # a union, a run-end encoding of what Python cannot hold
        return [f"a {array.type} past what can be shown" if there else None for there in valid]
    return [None if length is None else [next(flat) for _ in range(length)] for length in lengths]


def _has_nanoseconds(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _has_nanoseconds(kind.value_type)
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return bool(kind.unit == "ns")
    return any(_has_nanoseconds(kind.field(number).type) for number in range(kind.num_fields))


def _micro(kind: pa.DataType) -> pa.DataType:
    """The type of the same in microseconds, which Python holds."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind):
        return pa.duration("us")
    return pa.time64("us") if pa.types.is_time64(kind) else pa.string()


def array_of(values: Sequence[Any]) -> pa.Array[Any]:
    """Python values as the narrowest Arrow type that holds each exactly; as text (JSON for what JSON has) where none
    does. Integers past 64 bits are decimals of 38 or 76 digits without a fraction."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    unfit = (pa.ArrowException, ValueError, TypeError, OverflowError)
    if kinds == {int} and not all(-(2**63) <= value < 2**63 for value in values if value is not None):
        for kind in (pa.decimal128(38, 0), pa.decimal256(76, 0)):
            try:
                return pa.array(values, kind)
            except unfit:
                continue
        return _texts(values)
    if len(kinds) < 2 or kinds == {int, float}:  # Arrow also takes an integer for a date, and cuts a datetime to one
        try:
            array = pa.array(values)
        except UnicodeEncodeError:  # a lone surrogate somewhere
            return array_of(well_formed(values))
        except unfit:
            return _texts(values)
        if _writable(array.type):
            return cast("pa.Array[Any]", array)
    return _texts(values)


def text_of(value: object) -> str:
    """A value as text: JSON for what JSON has (a string stands for itself), else as Python says it."""
    if isinstance(value, Mapping | list | tuple | bool | int | float):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _texts(values: Sequence[Any]) -> pa.Array[Any]:
    import pyarrow as pa

    return pa.array([None if value is None else well_formed(text_of(value)) for value in values], pa.string())


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _writable(kind: pa.DataType) -> bool:
    """Whether Parquet can hold the type: it has no struct without fields."""
    import pyarrow as pa

    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return bool(inner or not pa.types.is_struct(kind)) and all(map(_writable, inner))
