"""Schemas as strict services want them, without a change of what is valid."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import orjson
import pytest
from docreduce.providers.schemas import MOST_UNIONS, for_anthropic, for_openai, without_nulls
from hypothesis import given
from hypothesis import strategies as st

LINE = {"type": "object", "properties": {"n": {"type": "integer"}}}
SCHEMA = {
    "type": "object",
    "properties": {
        "seller": {"type": "string", "minLength": 2},
        "total": {"type": ["number", "null"], "minimum": 0},
        "kind": {"enum": ["a", "b"]},
        "lines": {
            "type": "array",
            "maxItems": 3,
            "items": {"type": "object", "properties": {"n": {"type": "integer"}}},
        },
    },
    "required": ["seller"],
}


def text(schema: object) -> str:
    return orjson.dumps(schema).decode()


def objects(node: Any) -> list[dict[str, Any]]:
    """Every object schema in `node`."""
    inner = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    own = [node] if isinstance(node, dict) and "additionalProperties" in node else []
    return own + [found for part in inner for found in objects(part)]


def test_openai_gets_every_object_closed_and_every_property_required() -> None:
    strict = for_openai(text(SCHEMA))
    assert strict is not None
    assert len(objects(strict)) == 2
    for node in objects(strict):
        assert node["additionalProperties"] is False
        assert node["required"] == list(node["properties"])
    assert strict["properties"]["kind"] == {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}
    assert strict["properties"]["seller"] == {"type": "string", "minLength": 2}


def test_anthropic_gets_unions_for_lists_of_types_and_no_bounds() -> None:
    compiled = for_anthropic(text(SCHEMA))
    assert compiled is not None
    assert all(node["additionalProperties"] is False for node in objects(compiled))
    assert compiled["properties"]["total"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}
    assert not {"minLength", "maxItems", "minimum"} & set(text(compiled).replace('"', " ").split())
    assert compiled["required"] == ["seller"]


@pytest.mark.parametrize(("unions", "fits"), [(MOST_UNIONS, True), (MOST_UNIONS + 1, False)])
def test_anthropic_takes_no_more_unions_than_its_limit(unions: int, fits: bool) -> None:
    schema = {"type": "object", "properties": {f"f{n}": {"type": ["string", "null"]} for n in range(unions)}}
    assert (for_anthropic(text(schema)) is not None) == fits


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},  # of any properties
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"not": {"type": "string"}}}},
        {"type": "object", "properties": {"a": True}},
        {"anyOf": [{"type": "object", "properties": {"a": {}}}]},
        {"type": "array", "items": {"type": "string"}},
        [],
    ],
)
def test_a_schema_that_strictness_would_change_is_not_made_strict(schema: object) -> None:
    assert for_openai(text(schema)) is None
    assert for_anthropic(text(schema)) is None


LEAVES = st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": ["number", "null"]}, {"enum": ["x", "y"]}])
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(lambda item: {"type": "array", "items": item}, inner)
        | st.builds(
            lambda parts, needed: {
                "type": "object",
                "properties": parts,
                "required": [name for name in parts if name in needed],
            },
            st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=4),
            st.sets(st.sampled_from("abcd")),
        )
    ),
    max_leaves=8,
).filter(lambda schema: schema.get("type") == "object")


def example(node: dict[str, Any], *, nulls: bool) -> Any:
    """A value that is valid by a strict schema, with null wherever it is allowed or not."""
    if "anyOf" in node:
        return None if nulls else example(node["anyOf"][0], nulls=nulls)
    kind = node.get("type")
    if isinstance(kind, list):
        return None if nulls else example({**node, "type": kind[0]}, nulls=nulls)
    if kind == "object":
        return {name: example(part, nulls=nulls) for name, part in node["properties"].items()}
    return (
        [example(node["items"], nulls=nulls)]
        if kind == "array"
        else node.get("enum", {"string": "s"}.get(kind, [7]))[0]
    )


@given(schema=SCHEMAS, nulls=st.booleans())
def test_an_answer_to_the_strict_schema_is_valid_by_the_one_that_was_asked(schema: dict[str, Any], nulls: bool) -> None:
    strict = for_openai(text(schema))
    assert strict is not None
    value = example(strict, nulls=nulls)
    assert jsonschema_rs.is_valid(strict, value)
    restored = orjson.loads(without_nulls(text(value), text(schema)))
    assert jsonschema_rs.is_valid(schema, restored)


ANSWERS = st.recursive(
    st.none() | st.integers(-9, 9), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abcn"), inner)
)


@given(st.text() | ANSWERS.map(text))
def test_any_answer_survives(answer: str) -> None:
    assert isinstance(without_nulls(answer, text(SCHEMA)), str)
