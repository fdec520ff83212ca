"""What a schema asks of a whole record, and what a merged one has not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from docreduce.kinds.extract.paths import shown
from docreduce.kinds.extract.schema import Extraction
from docreduce.kinds.extract.validation import validator
from docreduce.kinds.extract.walking import alternatives, members, named, placed

__all__ = ["missing_in", "whole_schema"]

MAX_MISSING = 20
"""Paths of one record that are named as missing."""


def missing_in(record: Mapping[str, Any], extraction: Extraction) -> list[str]:
    """What the schema asks of a whole record and this one has not, as "path: reason"."""
    schema = whole_schema(extraction)
    errors = validator(extraction.record_schema).iter_errors(_filled(record, schema))
    said = []
    for _, error in zip(range(MAX_MISSING), errors, strict=False):
        path = shown(tuple(error.instance_path))
        lacking = getattr(error.kind, "property", None)
        said.append(
            f"{path}.{lacking}".removeprefix(".") + ": missing" if lacking else f"{path}: {error.message[:200]}"
        )
    return said


def whole_schema(extraction: Extraction) -> Any:
    """The user's schema of one item, parsed once."""
    return _parsed(extraction.item_schema)


@lru_cache(maxsize=16)
def _parsed(schema: str) -> Any:
    return json.loads(schema)


def _filled(value: Any, schema: Any) -> Any:
    """`value` with null where the schema allows it, [] for a list that nothing was found for, else without."""
    if isinstance(value, list):
        return [_filled(part, placed(schema, at)) for at, part in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    fields = members(schema)
    whole = {name: _filled(part, named(schema, name)) for name, part in value.items() if part is not None}
    for name, inner in fields.items():
        if name not in whole:
            if _takes_null(inner):
                whole[name] = None
            elif any(one.get("type") == "array" for one in alternatives(inner)):
                whole[name] = []
    return whole


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return schema is not False
    if "enum" in schema:
        return None in schema["enum"]
    if "type" in schema:
        return "null" in (schema["type"] if isinstance(schema["type"], list) else [schema["type"]])
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if branches:
        return any(map(_takes_null, branches))
    return "const" not in schema and all(map(_takes_null, schema.get("allOf", ())))
