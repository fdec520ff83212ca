"""Avro's types as Arrow's, for what polars does not read: maps, unions of several types, nulls, rarer codecs.

A union of null and one type is that type; any other is text, for Arrow's unions are what Parquet lacks. Sources: the
Avro 1.11 specification, "Schema Declaration" and "Logical Types".
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from docreduce.values.columns import text_of, type_of
from docreduce.values.errors import DocumentError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["by_fastavro"]

_PLAIN = {
    "null": "null",
    "boolean": "bool",
    "int": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "bytes": "large_binary",
    "string": "large_string",
    "enum": "large_string",
}
_LOGICAL = {
    "date": "date32",
    "time-millis": "time32[ms]",
    "time-micros": "time64[us]",
    "local-timestamp-millis": "timestamp[ms]",
    "local-timestamp-micros": "timestamp[us]",
    "timestamp-millis": "timestamp[ms, tz=UTC]",
    "timestamp-micros": "timestamp[us, tz=UTC]",
    "uuid": "large_string",
}


def by_fastavro(container: bytes) -> pa.RecordBatch:
    """The records of a container. Raises DocumentError for a broken one, or where the extra is missing."""
    import pyarrow as pa

    try:
        import fastavro
    except ImportError as error:
        message = "polars does not read this Avro file (a map, a union, a codec)"
        raise DocumentError(message, kind="no_reader", hint='pip install "docreduce[avro]"') from error
    try:
        reader = fastavro.reader(io.BytesIO(container))
        schema: Any = reader.writer_schema
        fields = [(field["name"], _type(field["type"], {})) for field in schema["fields"]]
        records: list[Any] = list(reader)
        columns = [pa.array([_value(record[name], kind) for record in records], kind) for name, kind in fields]
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        EOFError,
        TypeError,
        ValueError,
        zlib.error,
    ) as error:
        raise DocumentError(f"the Avro file is damaged: {str(error)[:300]}", kind="unreadable") from error
    return pa.RecordBatch.from_arrays(columns, [name for name, _ in fields])


def _type(schema: Any, named: dict[str, pa.DataType]) -> pa.DataType:
    """The Arrow type of an Avro schema. `named`: those that were declared before."""
    import pyarrow as pa

    if isinstance(schema, list):
        kinds = [_type(part, named) for part in schema if part != "null"]
        return kinds[0] if len(kinds) == 1 else pa.large_string()
    if isinstance(schema, str):
        return named[schema] if schema in named else type_of(_PLAIN[schema])
    if isinstance(schema["type"], dict | list):
        return _type(schema["type"], named)
    kind = _logical(schema) or _compound(schema, named)
    if "name" in schema:
        named[schema["name"]] = kind
    return kind


def _logical(schema: Mapping[str, Any]) -> pa.DataType | None:
    import pyarrow as pa

    word = schema.get("logicalType", "")
    if word == "decimal":
        digits, scale = schema["precision"], schema.get("scale", 0)
        return pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale)
    return type_of(_LOGICAL[word]) if word in _LOGICAL else None


def _compound(schema: Mapping[str, Any], named: dict[str, pa.DataType]) -> pa.DataType:
    import pyarrow as pa

    word = schema["type"]
    if word == "array":
        return pa.large_list(_type(schema["items"], named))
    if word == "map":
        return pa.map_(pa.large_string(), _type(schema["values"], named))
    if word == "fixed":
        fixed: pa.DataType = pa.binary(schema["size"])
        return fixed
    if word in ("record", "error"):
        return pa.struct([(field["name"], _type(field["type"], named)) for field in schema["fields"]])
    return _type(word, named)


def _value(value: Any, kind: pa.DataType) -> Any:
    """A value as Arrow takes it for the type."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_map(kind):
        return [(name, _value(part, kind.item_type)) for name, part in value.items()]
    if pa.types.is_large_list(kind):
        return [_value(part, kind.value_type) for part in value]
    if pa.types.is_struct(kind):
        return {field.name: _value(value[field.name], field.type) for field in kind}
    return text_of(value) if pa.types.is_large_string(kind) else value
