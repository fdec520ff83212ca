"""A JSON Schema as strict services want it. Pure.

Sources: OpenAI, "Structured outputs: supported schemas" (every object closed, every property required, no
composition but anyOf); Anthropic, "Structured outputs: JSON Schema limitations" (objects closed, no bounds of
numbers, strings or lists, at most 16 parameters of union types), and its SDKs' own transformation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

__all__ = ["for_anthropic", "for_openai", "without_nulls"]

MOST_UNIONS = 16
"""Of Anthropic's grammar."""

_FOREIGN = frozenset(
    {"allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties"}
    | {"propertyNames", "unevaluatedProperties", "prefixItems", "contains", "minProperties", "maxProperties"}
)
"""Keywords that neither service compiles; a schema that has one is not sent strictly."""
_BOUNDS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"}
    | {"minItems", "maxItems", "uniqueItems", "pattern"}
)
"""Keywords that Anthropic's form refuses. Nothing is lost: answers are validated here against the whole schema."""


class _NotStrictError(Exception):
    """The schema says what a strict one cannot."""


@lru_cache(maxsize=16)  # a job has few schemas, and every call has one
def for_openai(schema: str) -> dict[str, Any] | None:
    """`schema` closed, all properties required, optional ones nullable; None where that would change its meaning."""
    return _compiled(schema, _required)


@lru_cache(maxsize=16)
def for_anthropic(schema: str) -> dict[str, Any] | None:
    """`schema` closed, type lists as unions, without bounds; None where it has too many unions or other keywords."""
    compiled = _compiled(schema, _unions)
    return compiled if compiled is not None and _count(compiled) <= MOST_UNIONS else None


def without_nulls(text: str, schema: str) -> str:
    """The answer `text` to a schema of `for_openai`, without the nulls that stand for properties left out."""
    try:
        value, wanted = orjson.loads(text), orjson.loads(schema)
        _drop(value, wanted, wanted)
        return orjson.dumps(value).decode()
    except (ValueError, TypeError, RecursionError, AttributeError):
        return text  # no JSON: the kind that asked says what is wrong with it


def _compiled(schema: str, shape: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any] | None:
    try:
        parsed = orjson.loads(schema)
        if not isinstance(parsed, dict) or parsed.get("type") != "object":
            return None
        return _walk(parsed, shape)
    except (ValueError, _NotStrictError, RecursionError):
        return None


def _walk(node: Any, shape: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Every subschema of `node` in its shape. Raises _NotStrictError."""
    if not isinstance(node, dict) or _FOREIGN & node.keys():
        raise _NotStrictError
    done = dict(node)
    for name in ("properties", "$defs", "definitions"):
        if name in node:
            done[name] = {key: _walk(part, shape) for key, part in node[name].items()}
    if "items" in node:
        done["items"] = _walk(node["items"], shape)
    if "anyOf" in node:
        done["anyOf"] = [_walk(part, shape) for part in node["anyOf"]]
    if "properties" in node or node.get("type") in ("object", ["object", "null"]):
        if not node.get("properties") or node.get("additionalProperties") not in (None, False):
            raise _NotStrictError  # an object of any properties would be closed to all of them
        done["additionalProperties"] = False
    return shape(done)


def _required(node: dict[str, Any]) -> dict[str, Any]:
    properties = node.get("properties")
    if properties is None:
        return node
    needed = set(node.get("required", ()))
    shaped = {name: part if name in needed else _nullable(part) for name, part in properties.items()}
    return {**node, "properties": shaped, "required": list(properties)}


def _nullable(node: dict[str, Any]) -> dict[str, Any]:
    if _takes_null(node):
        return node
    if isinstance(node.get("type"), str) and not {"enum", "const"} & node.keys():
        return {**node, "type": [node["type"], "null"]}
    return {"anyOf": [node, {"type": "null"}]}


def _unions(node: dict[str, Any]) -> dict[str, Any]:
    node = {name: value for name, value in node.items() if name not in _BOUNDS}
    types = node.get("type")
    if not isinstance(types, list):
        return node
    rest = {name: value for name, value in node.items() if name not in ("type", "description", "title")}
    said: dict[str, Any] = {name: node[name] for name in ("description", "title") if name in node}
    if "enum" in rest:
        rest["enum"] = [value for value in rest["enum"] if value is not None]
    if len(types) == 1:
        return {**said, **rest, "type": types[0]}
    return {**said, "anyOf": [{"type": kind, **(rest if kind != "null" else {})} for kind in types]}


def _count(node: Any) -> int:
    """Unions in `node`."""
    if isinstance(node, dict):
        return ("anyOf" in node) + sum(_count(part) for part in node.values())
    return sum(_count(part) for part in node) if isinstance(node, list) else 0


def _takes_null(node: Mapping[str, Any]) -> bool:
    types = node.get("type")
    return (
        types == "null"
        or (isinstance(types, list) and "null" in types)
        or None in node.get("enum", ())
        or any(_takes_null(part) for part in node.get("anyOf", ()))
        or not {"type", "enum", "anyOf", "$ref", "const"} & node.keys()
    )


def _drop(value: Any, node: Mapping[str, Any], root: Mapping[str, Any]) -> None:
    if "$ref" in node:
        name = str(node["$ref"]).rsplit("/", 1)[-1]
        node = root.get("$defs", root.get("definitions", {})).get(name, {})
    for part in node.get("anyOf", ()):
        _drop(value, part, root)
    if isinstance(value, list):
        for item in value:
            _drop(item, node.get("items", {}), root)
    elif isinstance(value, dict):
        needed = node.get("required", ())
        for name, part in node.get("properties", {}).items():
            if value.get(name, 0) is None and name not in needed and not _takes_null(part):
                del value[name]
            elif name in value:
                _drop(value[name], part, root)
