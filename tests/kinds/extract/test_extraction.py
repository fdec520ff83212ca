"""What is refused before anything is sent."""

from __future__ import annotations

import json

import pytest
from docreduce.kinds.extract.validation import schema_errors
from docreduce.values.errors import JobError
from driving_extract import PARTY, settings

TEXT = {"type": "string"}


def fields(**properties):
    return {"type": "object", "properties": properties}


A = {"$ref": "#/$defs/a"}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array"}, "expected the schema of an object"),
        ({"type": "object"}, "expected the schema of an object"),
        (fields(a={"type": "strin"}), "/properties/a/type"),
        (fields(a={"$ref": "file:///etc/passwd"}), "passwd"),
        (fields(a={"$ref": "other.json"}), "other.json"),
        (fields(a={"$ref": "http://127.0.0.1/x"}), "127.0.0.1"),
        (fields(a=TEXT) | {"$defs": {"x": {"$ref": "https://127.0.0.1/x"}}}, "127.0.0.1"),
        (fields(a={"$ref": "#/$defs/nowhere"}), "nowhere"),
        (fields(a={"$ref": "#/$defs/a"}) | {"$defs": {"a": {"$ref": "#/$defs/a"}}}, "refers to itself"),
        (
            fields(a={"$ref": "#/$defs/a"}) | {"$defs": {"a": {"anyOf": [TEXT, {"$ref": "#/$defs/a"}]}}},
            "refers to itself",
        ),
        (
            fields(a={"$ref": "#/$defs/a"}) | {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
            "itself",
        ),
        (fields(a={"$ref": "#x", "description": "…"}, b={"$anchor": "x"}), "only places in the schema itself"),
        (fields(a={"type": "string", "pattern": "(?=x)y"}), "regex"),
        (fields(a={"type": "string", "pattern": "((a{1000}){1000}){1000}"}), "regex"),
        (fields(evidence=TEXT), "evidence"),
        (fields(a=TEXT) | {"anyOf": [{"required": ["a"]}]}, "anyOf"),
        (fields(a={"$dynamicRef": "#x"}, b={"$dynamicAnchor": "x"}), "dynamicRef"),
    ],
)
def test_a_schema_that_cannot_be_a_table_is_refused_with_its_reason(schema, said):
    with pytest.raises(JobError, match=r"extract\.schema") as refused:
        settings(schema)
    assert said in refused.value.message


def test_references_that_double_each_other_are_bounded():
    doubling = {f"d{n}": fields(l={"$ref": f"#/$defs/d{n + 1}"}, r={"$ref": f"#/$defs/d{n + 1}"}) for n in range(40)}
    with pytest.raises(JobError, match="larger than"):
        settings(fields(a={"$ref": "#/$defs/d0"}) | {"$defs": doubling | {"d40": TEXT}})


def test_a_pointer_may_be_escaped():
    schema = fields(a={"$ref": "#/$defs/x~1y%20z"}) | {"$defs": {"x/y z": {"type": "integer"}}}
    assert json.loads(settings(schema).item_schema)["properties"]["a"] == {"type": "integer"}


def test_local_references_take_their_place_and_names_are_not_keywords():
    schema = fields(**{"$ref": TEXT, "day": {"$ref": "#/$defs/day", "description": "signed on"}}) | {
        "$defs": {"day": {"type": "string", "format": "date"}}
    }
    compiled = settings(schema)
    assert compiled.fields == ("$ref", "day")
    assert json.loads(compiled.item_schema)["properties"]["day"]["description"] == "signed on"
    assert "$defs" not in compiled.schema
    assert not schema_errors({"items": [{"day": "2024-01-31"}]}, compiled.schema)
    assert schema_errors({"items": [{"day": "31.1.2024"}]}, compiled.schema)


@pytest.mark.parametrize(
    "field",
    [
        TEXT,
        {"type": ["string", "integer"]},
        {"enum": ["a", "b"]},
        {"type": "string", "enum": ["a"]},
        {"const": "a"},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"$ref": "#/$defs/a"},
    ],
)
def test_at_chunk_level_every_field_may_be_null_or_absent_and_no_other_may_come(field):
    compiled = settings({**fields(a=field), "required": ["a"], "minProperties": 1, "$defs": {"a": TEXT}})
    for item in ({}, {"a": None}, {"a": "a"}, {"a": "a", "evidence": {"a": "words"}}, {"evidence": None}):
        assert not schema_errors({"items": [item]}, compiled.schema), item
    assert schema_errors({"items": [{"b": "a"}]}, compiled.schema)
    assert schema_errors({"items": [{"a": []}]}, compiled.schema)


LINES = fields(
    party=fields(name=TEXT),
    lines={"type": "array", "items": fields(sku=TEXT, parts={"anyOf": [{"type": "array", "items": fields(no=TEXT)}]})},
)


@pytest.mark.parametrize(
    ("schema", "key", "said"),
    [
        (PARTY, "buyer", r"'buyer' is no field of the schema \(party, signed\)"),
        (LINES, "lines.no", r"'no' is no field of lines \(sku, parts\)"),
        (LINES, "party.name.first", r"'first' is no field of party.name \(it has none\)"),
    ],
)
def test_a_key_that_is_no_field_is_refused(schema, key, said):
    with pytest.raises(JobError, match=rf"extract\.key: {said}"):
        settings(schema, cardinality="many", key=[key])


def test_a_key_may_be_a_path_into_nested_lists():
    key = ["party.name", "lines.sku", "lines[].parts[].no"]
    assert settings(LINES, cardinality="many", key=key).keys == {
        (): (("party", "name"),),
        ("lines",): (("sku",),),
        ("lines", "parts"): (("no",),),
    }


def test_a_schema_file_that_is_no_json_names_the_file(tmp_path):
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(JobError, match=r"s\.json: extract\.schema: not JSON"):
        settings(str(tmp_path / "s.json"))


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ({"text": "Acme", "items": [{"party": "Acme", "evidence": {"party": "acme"}}]}, "does not stand in the text"),
        ({"text": "Acme", "items": [{"party": "Acme"}]}, "evidence/party: missing"),
        ({"text": "Acme", "items": [{"party": 1, "evidence": {"party": "Acme"}}]}, "/items/0/party"),
        ({"text": "Acme", "items": [{"signed": "May", "evidence": {"signed": "May"}}]}, "/items/0/signed"),
        ({"text": "Acme"}, "expected an object"),
        (["Acme"], "expected an object"),
        (None, "expected an object"),
    ],
)
def test_an_example_that_proves_nothing_is_refused_by_line(tmp_path, example, said):
    good = {"text": "Acme", "items": [{"party": "Acme", "evidence": {"party": "Acme"}}]}
    path = tmp_path / "examples.jsonl"
    path.write_text(json.dumps(good) + "\n\n" + json.dumps(example) + "\n")
    with pytest.raises(JobError, match=r"examples\.jsonl:3") as refused:
        settings(examples=str(path))
    assert said in refused.value.message
    path.write_text(json.dumps(good) + "\n")
    assert settings(examples=str(path)).examples[0][0] == "Acme"
