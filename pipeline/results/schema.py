"""The Arrow schemas of the tables, and from a JSON Schema to Arrow: types, and values that have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

import pyarrow as pa

__all__ = [
    "CALLS",
    "CHUNKS",
    "DOCUMENTS",
    "EVIDENCE",
    "FLAG",
    "ITEM",
    "MONEY",
    "WORD",
    "Settle",
    "TableSpec",
    "arrow_fields",
    "coerce",
    "free_name",
    "text_of",
]

TEXT: pa.DataType = pa.string()
WORD: pa.DataType = pa.dictionary(pa.int32(), pa.string())
COUNT: pa.DataType = pa.int64()
REAL: pa.DataType = pa.float64()
FLAG: pa.DataType = pa.bool_()
TIME: pa.DataType = pa.timestamp("us", tz="UTC")
MONEY: pa.DataType = pa.decimal128(18, 12)
"""US dollars, exact to the pico-dollar."""

Settle: TypeAlias = Callable[[pa.Table], pa.Table]
"""Fills in, at the end of a run, what no row could say before: a table's rows, with the same columns."""

_TYPES = {"text": TEXT, "word": WORD, "int": COUNT, "real": REAL, "flag": FLAG, "time": TIME, "usd": MONEY}


def _schema(columns: str) -> pa.Schema:
    return pa.schema([(name, _TYPES[word]) for name, word in (column.split() for column in columns.split(","))])


DOCUMENTS = _schema("""document_id text, uri text, row int, change word, digest text, status word, error_kind word,
    error text, media_type word, chars int, source_tokens int, chunks int, calls int, attempts int,
    input_tokens int, output_tokens int, cost_usd usd, unknown_cost_usd usd, reused_cost_usd usd, packed_with text,
    counts text, summary text""")
CHUNKS = _schema("""document_id text, chunk int, char_start int, char_end int, page_start int, page_end int,
    heading text, tokens int, status word, error text, output text, model word, endpoint word""")
EVIDENCE = _schema("""item int, field word, value text, quote text, char_start int, char_end int,
    page int, alignment word, value_in_quote flag, ambiguous flag, chosen flag, chunk int, support int, conflict flag,
    coerced text, reason text""")
CALLS = _schema("""call_key text, document_id text, stage word, chunk int, attempt int, started_at time,
    latency_s real, http_status int, outcome word, finish_reason word, input_tokens int, output_tokens int,
    cached_input_tokens int, cache_write_tokens int, reasoning_tokens int, model word, endpoint word,
    service_tier word, batch text, billing word, cost_usd usd, reused_cost_usd usd, request_id text, error text""")
ITEM = _schema("item int")
HEAD = _schema("document_id text, uri text")
OUTCOME = _schema("status word, error text, cost_usd usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """A table of a kind's own. Its rows come by column name in `Result.tables`.

    `columns` are those the kind fills, `names` what they are called in its rows (in the same order). `kept`: the
    input's kept columns are carried along; `outcome`: status, error and the document's cost, split over its rows;
    `always`: exactly one row a document, whatever became of it."""

    columns: pa.Schema
    names: tuple[str, ...] = ()
    kept: bool = False
    outcome: bool = False
    always: bool = False

    @classmethod
    def of(cls, own: pa.Schema, fields: Iterable[pa.Field[Any]], **flags: bool) -> TableSpec:
        """A table of the kind's `own` columns and a user's `fields`, of which one that is named like a column of ours
        becomes `field_<name>`."""
        fields = list(fields)
        ours = {*HEAD.names, *own.names, *OUTCOME.names}
        taken = ours | {each.name for each in fields}
        named = [
            each.with_name(free_name(each.name, "field_", taken)) if each.name in ours else each for each in fields
        ]
        names = (*own.names, *(each.name for each in fields))
        return cls(columns=pa.schema([*own, *named]), names=names, **flags)

    @property
    def schema(self) -> pa.Schema:
        """All its columns but the carried ones."""
        return pa.schema([*HEAD, *self.columns, *(OUTCOME if self.outcome else ())])


def free_name(name: str, prefix: str, taken: Iterable[str]) -> str:
    """`name` with as many `prefix`es as it takes to be none of `taken`."""
    while name in taken:
        name = prefix + name
    return name


# --- from JSON Schema -----------------------------------------------------------------------------------------


def arrow_fields(schema: Mapping[str, Any]) -> list[pa.Field[Any]]:
    """One nullable field for each property of a JSON Schema object without references, in its order.

    The same schema gives the same fields. Enums of strings become dictionaries, dates dates, nested objects structs,
    arrays lists. What has no Arrow type (mixed unions, free-form objects) becomes a string: its JSON."""
    return [pa.field(name, _type(part)) for name, part in _merged(schema).get("properties", {}).items()]


def _merged(schema: Any) -> dict[str, Any]:
    """A schema with its `allOf` parts folded in; {} where it says nothing."""
    if not isinstance(schema, Mapping):
        return {}
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema.get("allOf", ()):
        inner = _merged(part)
        properties = {**inner.get("properties", {}), **merged.get("properties", {})}
        merged = {**inner, **merged, **({"properties": properties} if properties else {})}
    return merged


def _type(schema: Any) -> pa.DataType:
    whole = _merged(schema)
    if "const" in whole or "enum" in whole:
        return _common(_type_of(value) for value in whole.get("enum", [whole.get("const")]) if value is not None)
    for word in ("anyOf", "oneOf"):
        if word in whole:
            return _common(_type(part) for part in whole[word] if _merged(part).get("type") != "null")
    words = whole.get("type", "object" if "properties" in whole else "any")
    words = [words] if isinstance(words, str) else words
    return _common(_simple(word, whole) for word in words if word != "null")


def _simple(word: str, schema: Mapping[str, Any]) -> pa.DataType:
    if word == "string":
        return {"date": pa.date32(), "date-time": TIME}.get(schema.get("format", ""), TEXT)
    if word == "array" and isinstance(schema.get("items"), Mapping):
        return pa.list_(pa.field("element", _type(schema["items"])))
    names = schema.get("properties")
    if word == "object" and names and not schema.get("patternProperties") and not _more(schema):
        return pa.struct([pa.field(name, _type(part)) for name, part in names.items()])
    return {"integer": COUNT, "number": REAL, "boolean": FLAG}.get(word, TEXT)


def _more(schema: Mapping[str, Any]) -> bool:
    """Whether an object's schema says something of parts that it has no name for: no struct has a place for them."""
    return isinstance(schema.get("additionalProperties"), Mapping)


def _type_of(value: object) -> pa.DataType:
    for kind, arrow in ((str, WORD), (bool, FLAG), (int, COUNT), (float, REAL)):
        if isinstance(value, kind):
            return arrow
    return TEXT


def _common(types: Iterable[pa.DataType]) -> pa.DataType:
    """The one type that holds all of them; text where none does."""
    distinct = set(types)
    if distinct == {COUNT, REAL}:
        return REAL
    return distinct.pop() if len(distinct) == 1 else TEXT


# --- values ---------------------------------------------------------------------------------------------------


def coerce(value: Any, kind: pa.DataType) -> Any:  # noqa: C901, PLR0911 - one line a type
    """A JSON value as `kind` holds it: real dates and times, UTC where none is named; None if it does not fit."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        if not isinstance(value, Mapping):
            return None
        return {part.name: coerce(value.get(part.name), part.type) for part in kind}
    if pa.types.is_list(kind):
        return [coerce(part, kind.value_type) for part in value] if isinstance(value, list) else None
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        return text_of(value)
    try:
        if pa.types.is_date(kind):
            return date.fromisoformat(value)
        if pa.types.is_timestamp(kind):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        if pa.types.is_boolean(kind) or isinstance(value, bool):
            return value if pa.types.is_boolean(kind) and isinstance(value, bool) else None
        if pa.types.is_integer(kind):
            return int(value) if isinstance(value, int | float) and value == int(value) and abs(value) < 2**63 else None
        return float(value) if isinstance(value, int | float) else None
    except (ValueError, TypeError, OverflowError):
        return None


def text_of(value: object) -> str:
    """A value as text: JSON for what JSON has (a string stands for itself), else as Python says it."""
    if isinstance(value, Mapping | list | tuple | bool | int | float):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
