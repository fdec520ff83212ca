"""The [extract] table compiled: the schema checked and made self-contained, the examples proven, nothing sent.

The schema of an answer is that of {"items": […]}: every field of an item may be absent or null, since a chunk is
only a part of its document, and "evidence" stands beside them. What a local `$ref` refers to takes its place; one to
a file or a URL is refused, as is a schema that refers to itself: a table has no type for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from docreduce.config import ExtractSettings
from docreduce.kinds.extract.answers import schema_errors, validator
from docreduce.kinds.extract.prompts import EVIDENCE, quotes_of
from docreduce.values.errors import JobError

__all__ = ["Extraction", "compile_extraction", "self_contained"]

MAX_SCHEMA_NODES = 20_000
"""Of the self-contained schema: `$ref`s that double each other grow without bound."""

_VERBATIM = frozenset({"enum", "const", "default", "examples"})  # values, not schemas
_BY_NAME = frozenset({"properties", "patternProperties", "dependentSchemas"})
_REPLACED = frozenset({"$ref", "$defs", "definitions"})  # what is referred to stands in its place
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "$comment"})
_COMBINATORS = frozenset({"anyOf", "oneOf", "allOf", "not", "if", "const"})
_TOP_LEVEL = ("allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "patternProperties")
_WHOLE_ITEM = frozenset({"required", "minProperties", "dependentRequired", "additionalProperties", "$schema", "$id"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extraction:
    """What an extraction asks for: the job's `table`, and what was made of it. Schemas are compact JSON texts.

    `item_schema` is the user's, self-contained; `schema` that of an answer to one text, `rows_schema` that of an
    answer to packed rows. `examples`: (text, items as JSON)."""

    table: ExtractSettings
    fields: tuple[str, ...]
    item_schema: str
    schema: str
    rows_schema: str
    examples: tuple[tuple[str, str], ...]


def compile_extraction(settings: ExtractSettings) -> Extraction:
    """Read the schema and the examples, and check all that can be checked before anything is sent.

    Raises JobError that names the key, the file and what was expected."""
    where, raw = _read_schema(settings.schema_)
    item = self_contained(raw, where)
    fields = tuple(item["properties"])
    for field in settings.key:
        if field not in fields:
            raise JobError(f"extract.key: {field!r} is no field of the schema ({', '.join(fields)})")
    schema = _compact(_object({"items": {"type": "array", "items": _chunk_level(item)}}))
    rows = _object({"row": {"type": "integer"}, "items": {"type": "array", "items": _chunk_level(item)}})
    try:
        validator(schema)
    except ValueError as error:
        raise JobError(f"{where}: {_first_line(error)}") from error
    return Extraction(
        table=settings,
        fields=fields,
        item_schema=_compact(item),
        schema=schema,
        rows_schema=_compact(_object({"rows": {"type": "array", "items": rows}})),
        examples=_examples(Path(settings.examples), schema, fields) if settings.examples else (),
    )


def self_contained(schema: Mapping[str, Any], where: str = "extract.schema") -> dict[str, Any]:
    """The JSON Schema of one item with every local `$ref` replaced by what it refers to.

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
    item = _inlined(json.loads(text), where)
    if not isinstance(item, dict) or item.get("type", "object") != "object" or not item.get("properties"):
        raise JobError(f'{where}: expected the schema of an object with "properties", one a field')
    for keyword in _TOP_LEVEL:
        if keyword in item:
            raise JobError(f'{where}: {keyword!r} at the top: give the fields in one object\'s "properties"')
    if EVIDENCE in item["properties"]:
        raise JobError(f"{where}: a field cannot be called {EVIDENCE!r}: that key holds the words values come from")
    return item


def _inlined(root: Any, where: str) -> Any:
    """`root`, whose references are known to lead somewhere, with each replaced by what it refers to, in order."""
    room = iter(range(MAX_SCHEMA_NODES))

    def inline(node: Any, within: tuple[str, ...]) -> Any:
        """`within`: the references on the way to `node`."""
        if next(room, None) is None:
            raise JobError(f"{where}: the schema is larger than {MAX_SCHEMA_NODES} parts")
        if isinstance(node, list):
            return [inline(part, within) for part in node]
        if not isinstance(node, dict):
            return node
        plain = {key: inlined(key, part, within) for key, part in node.items() if key not in _REPLACED}
        if "$ref" not in node:
            return plain
        reference = node["$ref"]
        if reference in within:
            raise JobError(f"{where}: {reference} refers to itself; a column has no type for that")
        target = inline(_at(reference, root, where), (*within, reference))
        if isinstance(target, dict) and plain.keys() <= _ANNOTATIONS:
            return {**target, **plain}
        return {**plain, "allOf": [target, *plain.get("allOf", [])]}

    def inlined(keyword: str, part: Any, within: tuple[str, ...]) -> Any:
        if keyword in _BY_NAME and isinstance(part, dict):
            return {name: inline(schema, within) for name, schema in part.items()}
        return part if keyword in _VERBATIM else inline(part, within)

    return inline(root, ())


def _at(reference: str, root: Any, where: str) -> Any:
    """What a JSON Pointer (RFC 6901, as a fragment) leads to."""
    place = root
    try:
        if reference != "#" and not reference.startswith("#/"):
            raise KeyError(reference)
        for part in unquote(reference).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            place = place[int(name)] if isinstance(place, list) else place[name]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise JobError(f'{where}: $ref {reference!r}: only places in the schema itself, as "#/$defs/…"') from error
    return place


def _chunk_level(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item as a chunk may answer it: all fields optional and nullable, no others, evidence beside them."""
    quotes = {"type": ["string", "array", "null"], "items": {"type": "string"}}
    evidence = {
        "type": ["object", "null"],
        "description": "for every field that is filled, the words of the text it comes from, verbatim",
        "properties": dict.fromkeys(item["properties"], quotes),
    }
    return {
        **{keyword: part for keyword, part in item.items() if keyword not in _WHOLE_ITEM},
        "type": "object",
        "properties": {
            **{field: _nullable(schema) for field, schema in item["properties"].items()},
            EVIDENCE: evidence,
        },
        "additionalProperties": False,
    }


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
            quotes = quotes_of(items[at], field)
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
        return path.read_text(encoding="utf-8-sig")
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
