"""The [extract] table compiled: the schema checked and made self-contained, the examples proven, nothing sent.

The schema of an answer is that of {"items": […]}: at every depth a field may be absent or null and a list short, since
a chunk is only a part of its document, and "evidence" stands beside the fields. What has to be there is asked of the
merged record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from docreduce.kinds.extract.paths import EVIDENCE, quotes_of
from docreduce.kinds.extract.references import laid_out
from docreduce.kinds.extract.settings import ExtractSettings
from docreduce.kinds.extract.validation import schema_errors, validator
from docreduce.kinds.extract.walking import BRANCHES, elements, members
from docreduce.values.errors import JobError
from docreduce.values.unicode import written

__all__ = ["Extraction", "compile_extraction", "self_contained"]

_COMBINATORS = frozenset({"anyOf", "oneOf", "allOf", "not", "if", "const"})
_OF_THE_WHOLE = frozenset(
    {
        *("required", "minProperties", "maxProperties", "dependentRequired", "dependentSchemas"),
        *("minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains"),
        *("not", "if", "then", "else", "unevaluatedProperties", "unevaluatedItems"),
    }
)
"""What a part of the document cannot be held to: it may lack what another part has."""
_TOP_LEVEL = ("allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "patternProperties")
_FRAME = frozenset({"additionalProperties", "$schema", "$id"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extraction:
    """What an extraction asks for: the job's `table`, and what was made of it. Schemas are compact JSON texts.

    `item_schema` is the user's, self-contained, and `record_schema` what it asks of a merged record; `schema` is that
    of an answer to one text, `rows_schema` that of an answer to packed rows. `keys`: by the path of a list (no step
    for the items themselves), the paths in its elements that make two of them the same. `examples`: (text, items as
    JSON)."""

    table: ExtractSettings
    fields: tuple[str, ...]
    item_schema: str
    record_schema: str
    schema: str
    rows_schema: str
    keys: Mapping[tuple[str, ...], tuple[tuple[str, ...], ...]]
    examples: tuple[tuple[str, str], ...]


def compile_extraction(settings: ExtractSettings) -> Extraction:
    """Read the schema and the examples, and check all that can be checked before anything is sent.

    Raises JobError that names the key, the file and what was expected."""
    where, raw = _read_schema(settings.schema_)
    item = self_contained(raw, where)
    fields = tuple(item["properties"])
    items: dict[str, Any] = {"type": "array", "items": _chunk_level(item)}
    if settings.cardinality == "one":
        items["maxItems"] = 1
    schema = _compact(_object({"items": items}))
    rows = _object({"row": {"type": "integer"}, "items": items})
    record = _compact({keyword: part for keyword, part in item.items() if keyword not in _FRAME})
    try:
        validator(schema)
        validator(record)
    except ValueError as error:
        raise JobError(f"{where}: {_first_line(error)}") from error
    return Extraction(
        table=settings,
        fields=fields,
        item_schema=_compact(item),
        record_schema=record,
        schema=schema,
        rows_schema=_compact(_object({"rows": {"type": "array", "items": rows}})),
        keys=_keys(settings.key, item),
        examples=_examples(Path(settings.examples), schema, fields) if settings.examples else (),
    )


def _keys(names: Sequence[str], item: Mapping[str, Any]) -> dict[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The key paths by the list whose elements they tell apart. Raises JobError for what is no path of the schema."""
    keys: dict[tuple[str, ...], tuple[tuple[str, ...], ...]] = {}
    for name in names:
        steps = (name,) if name in item["properties"] else tuple(name.replace("[]", "").split("."))
        node: Any = item
        begin = 0
        for at, step in enumerate(steps):
            fields = members(node)
            if step not in fields:
                where = ".".join(steps[:at])
                said = f"{step!r} is no field of {where}" if at else f"{name!r} is no field of the schema"
                raise JobError(f"extract.key: {said} ({', '.join(fields) or 'it has none'})")
            node = fields[step]
            element = elements(node)
            if element is not None and at + 1 < len(steps):
                node, begin = element, at + 1
        keys[steps[:begin]] = (*keys.get(steps[:begin], ()), steps[begin:])
    return keys


def self_contained(schema: Mapping[str, Any], where: str = "extract.schema") -> dict[str, Any]:
    """The JSON Schema of one item with every local `$ref` replaced by what it refers to (references.py).

    Raises JobError for what is no JSON Schema of an object with properties, and for what cannot be a row's type."""
    try:
        text = _compact(schema)
        validator(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise JobError(
            f"{where}: {_first_line(error)}",
            hint='A `$ref` may only point into the schema itself ("#/$defs/…"); patterns have no look-around.',
        ) from error
    for keyword in ("$dynamicRef", "$recursiveRef"):
        if f'"{keyword}":' in text:
            raise JobError(f"{where}: {keyword} is not supported")
    item = laid_out(json.loads(text), where)
    if not isinstance(item, dict) or item.get("type", "object") != "object" or not item.get("properties"):
        raise JobError(f'{where}: expected the schema of an object with "properties", one a field')
    for keyword in _TOP_LEVEL:
        if keyword in item:
            raise JobError(f'{where}: {keyword!r} at the top: give the fields in one object\'s "properties"')
    if EVIDENCE in item["properties"]:
        raise JobError(f"{where}: a field cannot be called {EVIDENCE!r}: that key holds the words values come from")
    return item


def _chunk_level(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item as a chunk may answer it: all fields optional and nullable at every depth, evidence beside them."""
    quotes: dict[str, Any] = {"type": ["string", "array", "null"], "items": {"type": ["string", "null"]}}
    evidence = {
        "type": ["object", "null"],
        "description": "for every field that is filled, the words of the text it comes from, verbatim; "
        "for a list a list of quotes, one an element",
        "properties": dict.fromkeys(item["properties"], quotes),
        "additionalProperties": True,
    }
    part = _part_of(item)
    return {
        **{keyword: inner for keyword, inner in part.items() if keyword not in _FRAME},
        "type": "object",
        "properties": {**part["properties"], EVIDENCE: evidence},
        "additionalProperties": False,
    }


def _part_of(schema: Any) -> Any:
    """`schema` as a part of the document can be held to it: what is inside may be missing, short or null."""
    if not isinstance(schema, Mapping):
        return schema
    part: dict[str, Any] = {}
    for keyword, inner in schema.items():
        if keyword in _OF_THE_WHOLE:
            continue
        if keyword in {"properties", "patternProperties"}:
            part[keyword] = {name: _nullable(_part_of(field)) for name, field in inner.items()}
        elif keyword in {"items", "additionalProperties"} and isinstance(inner, Mapping):
            part[keyword] = _nullable(_part_of(inner))
        elif keyword == "prefixItems":
            part[keyword] = [_nullable(_part_of(field)) for field in inner]
        elif keyword in BRANCHES:
            # Short parts of two alternatives look alike: one of them is enough.
            part["anyOf" if keyword == "oneOf" and "anyOf" not in schema else keyword] = list(map(_part_of, inner))
        else:
            part[keyword] = inner
    if "oneOf" in part:
        part["allOf"] = [*part.get("allOf", ()), {"anyOf": part.pop("oneOf")}]
    return part


def _nullable(schema: Any) -> Any:
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind is None or schema.keys() & _COMBINATORS:
        told = {k: v for k, v in schema.items() if k in {"title", "description"}} if isinstance(schema, dict) else {}
        return {**told, "anyOf": [schema, {"type": "null"}]}
    kinds = kind if isinstance(kind, list) else [kind]
    nullable = {**schema, "type": kinds if "null" in kinds else [*kinds, "null"]}
    if "enum" in schema and None not in schema["enum"]:
        nullable["enum"] = [*schema["enum"], None]
    return nullable


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _examples(path: Path, schema: str, fields: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The examples, each valid against the schema and each value with words that stand verbatim in its text."""
    examples = []
    for number, line in enumerate(_read(path, "extract.examples").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}: extract.examples"
        example = _loads(line, where)
        if not isinstance(example, dict) or not isinstance(example.get("text"), str) or "items" not in example:
            raise JobError(f'{where}: expected an object {{"text": "…", "items": […]}}')
        text, items = example["text"], example["items"]
        wrong = schema_errors({"items": items}, schema)
        for at, field in product(range(0 if wrong else len(items)), fields):
            quotes = [quote for path, quote in quotes_of(items[at]) if path[0] == field]
            if items[at].get(field) is not None and not quotes:
                wrong.append(f"/items/{at}/evidence/{field}: missing, and {field!r} has a value")
            wrong += [
                f"/items/{at}/evidence/{field}: {quote!r} does not stand in the text"
                for quote in quotes
                if quote not in text
            ]
        if wrong:
            raise JobError(f"{where}: {'; '.join(wrong)}")
        examples.append((text, _compact(items)))
    return tuple(examples)


def _read_schema(schema: str | dict[str, Any]) -> tuple[str, Any]:
    if isinstance(schema, dict):
        return "extract.schema", schema
    where = f"{schema}: extract.schema"
    return where, _loads(_read(Path(schema), "extract.schema"), where)


def _read(path: Path, key: str) -> str:
    try:
        return written(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: {key}: cannot be read: {error}") from error


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JobError(f"{where}: not JSON: {error}") from error


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _first_line(error: Exception) -> str:
    path = "".join(f"/{part}" for part in getattr(error, "instance_path", ()))
    return f"no JSON Schema: {path + ': ' if path else ''}{(str(error).splitlines() or [''])[0][:500]}"
