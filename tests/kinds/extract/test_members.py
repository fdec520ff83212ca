"""Values of an enumeration in another spelling: the one they can be meant as, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from docreduce.kinds.extract.coercion import coerce_item
from driving_extract import document, drive, plan, say, settings


@pytest.mark.parametrize(
    ("schema", "said", "meant"),
    [
        ({"enum": ["red", "blue"]}, "Red", "red"),
        ({"type": "string", "enum": ["IN FORCE", "ended"]}, " in force ", "IN FORCE"),
        ({"enum": ["STRASSE"]}, "Straße", "STRASSE"),
        ({"const": "payment"}, "Payment", "payment"),
        ({"enum": [1, 2]}, "1", 1),
        ({"enum": [True, "other"]}, "True", True),
        ({"anyOf": [{"enum": ["red", None]}, {"type": "null"}]}, "RED", "red"),
        ({"enum": ["A", "a"]}, "a", "a"),
        ({"enum": ["May", "MAY"]}, "may", "may"),  # it could be either
        ({"enum": ["red"]}, "reddish", "reddish"),
        ({"enum": ["red", None]}, "null", "null"),
        ({"type": "string"}, "Red", "Red"),
    ],
)
def test_a_value_is_the_one_member_that_it_spells(schema: dict[str, Any], said: str, meant: Any) -> None:
    value, changed = coerce_item({"x": said}, {"properties": {"x": schema}})
    assert (value["x"], type(value["x"])) == (meant, type(meant))
    assert changed == ({} if said == meant else {"x": f"from {said!r}"})


def test_the_record_has_the_schemas_word_and_the_evidence_says_what_it_was_made_of() -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue", None]}, "level": {"enum": [1, 2]}}}
    text = "The colour was Red, of level 1."
    (result,), asked = drive(
        [document(text)], plan(), settings(schema, cardinality="one"), say({"colour": "Red", "level": "1"})
    )
    assert (result.status, len(asked)) == ("ok", 1)
    (record,) = result.tables["records"]
    assert record["colour"] == "red"
    assert str(record["level"]) == "1"
    coerced = {row["field"]: row["coerced"] for row in result.tables["evidence"]}
    assert coerced == {"colour": "from 'Red'", "level": "from '1'"}
