"""A small value that is valid by a JSON Schema: what a forecast takes for an answer before there is one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["instance"]

MAX_DEPTH = 20
_FORMATS = {"date": "2000-01-01", "date-time": "2000-01-01T00:00:00Z"}


def instance(schema: Any, depth: int = 0) -> Any:
    """The smallest value that `schema`, which holds no references, is likely to accept: null where it may be, what it
    names where it names something, only the required fields. Patterns, `not` and `if` are not looked at."""
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return None
    for word in ("default", "const"):
        if word in schema:
            return schema[word]
    if schema.get("enum"):
        return schema["enum"][0]
    merged = dict(schema)
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            merged = {**schema[word][0], **{key: part for key, part in merged.items() if key != word}}
    for part in schema.get("allOf", ()):
        merged = {**merged, **part} if isinstance(part, Mapping) else merged
    if "enum" in merged and "enum" not in schema:
        return merged["enum"][0]
    kinds = merged.get("type", "object" if "properties" in merged else "null")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return _of("null" if "null" in kinds else kinds[0], merged, depth)


def _of(kind: str, schema: Mapping[str, Any], depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: instance(properties.get(name, {}), depth + 1) for name in schema.get("required", ())}
    if kind == "array":
        return [instance(schema.get("items", {}), depth + 1)] * int(schema.get("minItems", 0))
    if kind == "string":
        length = max(1, int(schema.get("minLength", 0)))  # an empty one is read as none
        return _FORMATS.get(schema.get("format", ""), "x" * length)
    if kind in {"integer", "number"}:
        return _number(schema, 1 if kind == "integer" else 0.5)
    return False if kind == "boolean" else None


def _number(schema: Mapping[str, Any], step: float) -> float:
    least = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf))
    most = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
    step = schema.get("multipleOf", step)
    value = (
        0
        if least < 0 < most
        else math.ceil(least / step) * step
        if least > -math.inf
        else math.floor(most / step) * step
    )
    if value == schema.get("exclusiveMinimum"):
        value += step
    return value - step if value == schema.get("exclusiveMaximum") else value
