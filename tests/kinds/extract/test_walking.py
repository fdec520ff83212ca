"""Parts of a value whose names or places a schema leaves open: maps, tuples, branches, and what refers to itself."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from docreduce.kinds.extract.answers import read_items
from docreduce.kinds.extract.merge import Merged, merge
from docreduce.kinds.extract.placing import place
from docreduce.kinds.extract.walking import is_open, is_tuple, named, placed
from docreduce.results.schema import arrow_fields
from docreduce.values import Span
from driving_extract import settings

TEXT, INTEGER = {"type": "string"}, {"type": "integer"}


def fields(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def merged(schema: Any, *answers: Any) -> Merged:
    """One item of each chunk, merged to one record."""
    asked = settings(schema)
    found = []
    for at, item in enumerate(answers):
        read = read_items(json.dumps({"items": [item]}), asked.schema)
        found += place(read, " " * 100 * len(answers), chunk=at, span=Span(100 * at, 100 * at + 100))
    return merge(found, asked)


SECTION = {
    "type": "object",
    "properties": {"title": TEXT, "parts": {"type": "array", "items": {"$ref": "#/$defs/section"}}},
    "required": ["title"],
}
TREE = fields(root={"$ref": "#/$defs/section"}) | {"$defs": {"section": SECTION}}


def nest(depth: int) -> dict[str, Any]:
    """A section in a section, `depth` times."""
    section: dict[str, Any] = {"title": f"level {depth}"}
    for level in range(depth - 1, -1, -1):
        section = {"title": f"level {level}", "parts": [section]}
    return section


def titles(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [value["title"], *titles(value.get("parts") or [])]
    return [title for part in value for title in titles(part)]


@pytest.mark.parametrize("depth", [0, 1, 4, 5, 9])
def test_a_schema_that_refers_to_itself_keeps_what_lies_deep(depth):
    result = merged(TREE, {"root": nest(depth)})
    assert titles(result.records[0]["root"]) == [f"level {n}" for n in range(depth + 1)]
    assert result.missing == {}


def test_what_lies_deeper_than_the_columns_go_stands_as_json():
    (column,) = arrow_fields(json.loads(settings(TREE).item_schema))
    kind, levels = column.type, 0
    while pa.types.is_struct(kind) or pa.types.is_list(kind):
        levels += pa.types.is_struct(kind)
        kind = kind.value_type if pa.types.is_list(kind) else kind.field("parts").type
    assert levels == 5
    assert pa.types.is_string(kind)


def test_sections_of_two_chunks_unite_at_every_level():
    one = {"root": {"title": "Contract", "parts": [{"title": "Term", "parts": [{"title": "Start"}]}]}}
    other = {"root": {"parts": [{"title": "Fees"}]}}
    assert titles(merged(TREE, one, other).records[0]["root"]) == ["Contract", "Term", "Start", "Fees"]


def test_a_schema_that_refers_to_itself_twice_a_level_stays_small():
    node = fields(name=TEXT, **{f"side{n}": {"$ref": "#/$defs/node"} for n in range(6)})
    compiled = settings(fields(a={"$ref": "#/$defs/node"}) | {"$defs": {"node": node}})
    assert len(compiled.schema) < 60_000
    assert json.loads(compiled.item_schema)["properties"]["a"]["properties"]["side3"]["properties"]["name"] == TEXT


def test_a_schema_may_refer_to_its_root():
    schema = fields(name=TEXT, children={"type": "array", "items": {"$ref": "#"}})
    item = {"name": "a", "children": [{"name": "b", "children": [{"name": "c"}]}]}
    (record,) = merged(schema, item).records
    assert record["children"][0]["children"][0]["name"] == "c"


POINT = {"type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}], "minItems": 2, "maxItems": 2}


def test_places_of_a_tuple_are_fields_and_not_a_list_that_grows():
    assert merged(fields(at=POINT), {"at": [48.1, 11.6]}, {"at": [48.1, 11.6]}).records == [{"at": [48.1, 11.6]}]
    result = merged(fields(at=POINT), {"at": [48.1, 11.6]}, {"at": [48.1, 11.7]})
    assert result.records == [{"at": [48.1, 11.6]}]
    assert result.missing == {}
    assert {row["field"] for row in result.evidence if row["conflict"]} == {"at[1]"}


def test_a_tuples_values_are_coerced_by_their_place():
    pair = {"type": "array", "prefixItems": [TEXT, INTEGER]}
    assert merged(fields(pair=pair), {"pair": ["12", "1,250"]}).records == [{"pair": ["12", 1250]}]


RATES = fields(
    rates={
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {"sum": INTEGER, "note": {"type": ["string", "null"]}},
            "required": ["sum", "note"],
        },
    }
)


def test_a_map_of_names_unites_and_misses_nothing_that_may_be_null():
    result = merged(RATES, {"rates": {"day": {"sum": 3}}}, {"rates": {"night": {"sum": 4, "note": None}}})
    assert result.records[0]["rates"] == {"day": {"sum": 3}, "night": {"sum": 4}}
    assert result.missing == {}
    assert merged(RATES, {"rates": {"day": {"note": "x"}}}).missing == {0: ["rates.day.sum: missing"]}


def test_a_list_in_a_map_is_kept_to_what_the_schema_says_of_it():
    tags = fields(tags={"type": "object", "patternProperties": {"^t": {"type": "array", "uniqueItems": True}}})
    answers = [{"tags": {"t1": ["a", "b"]}}, {"tags": {"t1": ["b", "c"]}}]
    assert merged(tags, *answers).records == [{"tags": {"t1": ["a", "b", "c"]}}]


def test_an_object_with_open_names_beside_fields_loses_none():
    schema = fields(costs=fields(total=INTEGER) | {"additionalProperties": INTEGER})
    (column,) = arrow_fields(json.loads(settings(schema).item_schema))
    assert pa.types.is_string(column.type)
    assert merged(schema, {"costs": {"total": 5, "rent": 3}}).records == [{"costs": {"total": 5, "rent": 3}}]


def test_a_part_is_found_through_branches_patterns_and_what_holds_for_all_others():
    schema = {
        "anyOf": [fields(a=TEXT), {"patternProperties": {"^x": INTEGER}}, {"type": "null"}],
        "additionalProperties": {"type": "boolean"},
    }
    assert [named(schema, name) for name in ("a", "x1", "other")] == [TEXT, INTEGER, {"type": "boolean"}]
    assert named({"patternProperties": {"(?<n>x": INTEGER}}, "x") is None
    assert named(None, "a") is None
    tuple_ = {"prefixItems": [TEXT], "items": INTEGER}
    assert [placed(tuple_, at) for at in range(3)] == [TEXT, INTEGER, INTEGER]
    assert is_tuple({"anyOf": [tuple_, {"type": "null"}]})
    assert not is_tuple({"items": INTEGER})
    assert is_open(schema)
    assert not is_open(fields(a=TEXT) | {"additionalProperties": False})


TRIPLE = {"type": "array", "prefixItems": [TEXT, TEXT, TEXT], "items": False}


def test_an_empty_place_of_a_tuple_moves_no_other():
    assert merged(fields(t=TRIPLE), {"t": [None, "red", "Kiel"]}).records == [{"t": [None, "red", "Kiel"]}]
    answers = [{"t": [None, "red", "Kiel"]}, {"t": ["bolt", None, "Kiel"]}]
    assert merged(fields(t=TRIPLE), *answers).records == [{"t": ["bolt", "red", "Kiel"]}]
    assert merged(fields(t=TRIPLE, n=INTEGER), {"t": [None, "", None], "n": 1}).records == [{"t": None, "n": 1}]


def test_evidence_of_a_tuple_stays_with_its_place():
    asked = settings(fields(t=TRIPLE))
    text = "It is red and lies in Kiel."
    item = {"t": [None, "red", "Kiel"], "evidence": {"t[1]": "It is red", "t[2]": "lies in Kiel"}}
    found = place(read_items(json.dumps({"items": [item]}), asked.schema), text, chunk=0, span=Span(0, len(text)))
    rows = {row["field"]: row["quote"] for row in merge(found, asked).evidence}
    assert rows == {"t[1]": "It is red", "t[2]": "lies in Kiel"}
