"""The schema of a part of a value, wherever JSON Schema lets it stand (2020-12 core, 10.2 and 10.3).

Everything that goes through a value beside its schema (coercion, merge, what is missing at the end, the answer's
expected length) asks here, so that a map of names, a tuple and a branch of `anyOf` are walked alike by all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import regex

__all__ = ["BRANCHES", "alternatives", "elements", "is_open", "is_tuple", "members", "named", "placed"]

BRANCHES = ("anyOf", "oneOf", "allOf")


def alternatives(schema: Any) -> Iterator[Mapping[str, Any]]:
    """`schema` and every schema that its `allOf`, `anyOf` and `oneOf` are made of."""
    if isinstance(schema, Mapping):
        yield schema
        for word in BRANCHES:
            for branch in schema.get(word, ()):
                yield from alternatives(branch)


def members(schema: Any) -> dict[str, Any]:
    """The fields of an object that have a name, in the schema's order; empty where it has none."""
    return {name: part for one in alternatives(schema) for name, part in one.get("properties", {}).items()}


def elements(schema: Any) -> Any:
    """The schema of a list's elements, or None; of a tuple that of those behind its stated places."""
    return next((one["items"] for one in alternatives(schema) if isinstance(one.get("items"), Mapping)), None)


def named(schema: Any, name: str) -> Any:
    """The schema of an object's part of that name, by `properties`, else by a pattern, else that of all others; None
    where nothing is said of it."""
    every = list(alternatives(schema))
    for one in every:
        if name in (fields := one.get("properties", {})):
            return fields[name]
    for one in every:
        for pattern, part in one.get("patternProperties", {}).items():
            if _matches(pattern, name):
                return part
    return next((part for one in every if isinstance(part := one.get("additionalProperties"), Mapping)), None)


def placed(schema: Any, at: int) -> Any:
    """The schema of a list's part at that place, or None."""
    for one in alternatives(schema):
        if at < len(first := _prefix(one)):
            return first[at]
    return elements(schema)


def is_tuple(schema: Any) -> bool:
    """Whether the places of a list have meanings of their own."""
    return any(map(_prefix, alternatives(schema)))


def is_open(schema: Any) -> bool:
    """Whether an object may have parts whose names the schema leaves open and says something of."""
    return any(
        one.get("patternProperties") or isinstance(one.get("additionalProperties"), Mapping)
        for one in alternatives(schema)
    )


def _prefix(schema: Mapping[str, Any]) -> Sequence[Any]:
    first: Sequence[Any] = schema.get("prefixItems", ())
    return first


def _matches(pattern: str, name: str) -> bool:
    try:
        return regex.search(pattern, name) is not None
    except regex.error:  # ECMA's and not Python's: nothing is known of the part, the validator judges it
        return False
