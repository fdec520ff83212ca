"""Places inside a record, as evidence names them and as a model may."""

from __future__ import annotations

import pytest
from docreduce.kinds.extract.coercion import coerce_item
from docreduce.kinds.extract.paths import Path, parse_path, quotes_of, shown
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.integers(0, 10**6), max_size=5))
def test_every_path_comes_back_from_its_name(steps: list[str | int]) -> None:
    assert parse_path(shown(tuple(steps))) == tuple(steps)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("parts[0].amount", ("parts", 0, "amount")),
        ("parts.0.amount", ("parts", 0, "amount")),
        ("/parts/0/amount", ("parts", 0, "amount")),
        ("$.parts[0].amount", ("parts", 0, "amount")),
        ("by_year.2024", ("by_year", "2024")),
        ("by_year[2024]", ("by_year", "2024")),
        ("net/gross", ("net/gross",)),
        ('["net/gross"]', ("net/gross",)),
    ],
)
def test_a_quote_is_for_the_value_that_its_key_names(key: str, path: Path) -> None:
    item = {"parts": [{"amount": 5}], "by_year": {"2024": 7}, "net/gross": "net", "evidence": {key: "its words"}}
    assert quotes_of(item) == [(path, "its words")]


def test_parts_are_coerced_wherever_a_schema_states_their_type() -> None:
    schema = {
        "type": "object",
        "patternProperties": {"^x": {"type": "integer"}, r"^\p{Lu}": {"type": "boolean"}, "^(y": {"type": "null"}},
        "additionalProperties": {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "number"}},
    }
    value, changed = coerce_item({"x": "5", "Ü": "true", "a.b": ["1", "2.5", "7"]}, schema)
    assert value == {"x": 5, "Ü": True, "a.b": ["1", 2.5, 7]}
    assert changed == {
        "x": "from '5'",
        "Ü": "from 'true'",
        '["a.b"][1]': "from '2.5'",
        '["a.b"][2]': "from '7'",
    }
