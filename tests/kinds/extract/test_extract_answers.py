"""What counts as an answer, what is mended, and what is never invented."""

from __future__ import annotations

import json

import pytest
from docreduce.kinds.extract.answers import InvalidAnswerError, items_of, rows_of
from driving_extract import settings
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = settings(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "day": {"type": "string", "format": "date"},
            "at": {"type": "string", "format": "date-time"},
            "n": {"type": "integer"},
            "x": {"type": "number"},
            "code": {"type": "string", "pattern": "^(a+)+$"},
            "deep": {},
        },
    }
).schema
ONE = [{"name": "Acme"}]


@pytest.mark.parametrize(
    "text",
    [
        '{"items":[{"name":"Acme"}]}',
        '\ufeff{"items":[{"name":"Acme"}]}',
        '```json\n{"items":[{"name":"Acme"}]}\n```',
        '```\n{"items":[{"name":"Acme",}],}\n```\nThat is all.',
        'Here is the [requested] object: {"items":[{"name":"Acme"}]} I hope it helps.',
        '<think>{"items": maybe}</think>{"items":[{"name":"Acme"}]}',
        "{'items': [{'name': 'Acme'}]}",
        '{"items":[{"name":"Acme"}]',
        '{"items":[{"name":"Acme"}',
        '[{"name":"Acme"}]',
        '{"name":"Acme"}',
        '{"name":"extract","arguments":{"items":[{"name":"Acme"}]}}',
    ],
)
def test_what_is_one_answer_is_read(text):
    assert items_of(text, SCHEMA) == ONE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("I cannot do that.", "no JSON"),
        ('{"items":[{"name":"Ac', "not one whole"),
        ('{"items":[{"name":"Acme"},{"name":"Be', "not one whole"),
        ('{"items":[{"name":"Acme"},', "not one whole"),
        ('{"items":[{"name": }]}', "not JSON"),
        ('{"items":[]} {"items":[{"name":"Acme"}]}', "more than one"),
        ('{"items":[{"name":"Acme","name":"Beta"}]}', "twice"),
        ('{"items":[{"name":7}]}', "/items/0/name"),
        ('{"items":[{"nom":"Acme"}]}', "/items/0"),
        ('{"items":{"name":"Acme"}}', "/items"),
        ('{"items":[{"day":"2024-02-30"}]}', "/items/0/day"),
        ('{"items":[{"day":"July 1"}]}', "/items/0/day"),
        ('{"items":[{"day":"0000-01-01"}]}', "/items/0/day"),
        ('{"items":[{"at":"2024-01-01T25:00:00Z"}]}', "/items/0/at"),
        ('{"items":[{"n":9223372036854775808}]}', "64-bit"),
        ('{"items":[{"n":' + "9" * 6000 + "}]}", "64-bit"),
        ('{"items":[{"x":1e999}]}', "64-bit"),
        ('{"items":[{"x":NaN}]}', "64-bit"),
        ('{"items":[{"name":"\\ud800"}]}', "surrogate"),
        ('{"items":[{"deep":' + "[" * 100_000 + "]" * 100_000 + "}]}", "nested more than"),
        ('{"items":[{"deep":' + "[" * 5_000 + "]" * 5_000 + "}]}", "nested more than"),
        ('{"items":[{"deep":' + "[" * 198 + "]" * 198 + "}]}", "nested more than"),
        ('{"' * 200_000, "not one whole"),
    ],
)
def test_what_is_no_answer_says_where_and_why(text, said):
    with pytest.raises(InvalidAnswerError, match=said):
        items_of(text, SCHEMA)


def test_a_real_date_and_time_are_valid():
    answer = {"items": [{"day": "2024-02-29", "at": "2024-02-29T23:59:59.5+02:00", "n": 2**63 - 1, "x": 1.5}]}
    assert items_of(json.dumps(answer), SCHEMA) == answer["items"]


def test_a_pathological_pattern_takes_no_time_to_speak_of():
    with pytest.raises(InvalidAnswerError, match="/items/0/code"):
        items_of(json.dumps({"items": [{"code": "a" * 100_000 + "!"}]}), SCHEMA)


@given(st.text(alphabet='{}[]",:\\ \nitemsnameé1', max_size=60) | st.text(max_size=60))
def test_any_words_are_items_or_an_error_that_says_why(text):
    try:
        items = items_of(text, SCHEMA)
    except InvalidAnswerError:
        return
    assert all(isinstance(item, dict) for item in items)


@given(st.integers(0, 120), st.sampled_from(["", "```", "}", '"']))
def test_a_broken_off_answer_never_becomes_other_values(length, tail):
    items = [{"name": "Acme", "n": 7}, {"name": "Beta, Inc.", "day": "2024-01-31"}, {"name": 'a "b" c'}]
    text = json.dumps({"items": items})[:length] + tail
    try:
        read = items_of(text, SCHEMA)
    except InvalidAnswerError:
        return
    assert all(value in [item.get(field) for item in items] for got in read for field, value in got.items())


def test_rows_are_taken_apart_by_number_and_doubtful_ones_are_missing():
    answer = {
        "rows": [
            {"row": 2, "items": [{"name": "b"}]},
            {"row": 1, "items": [{"name": "a"}]},
            {"row": 3, "items": [{"name": 3}]},
            {"row": 4, "items": []},
            {"row": 4, "items": [{"name": "d"}]},
            {"row": True, "items": []},
            {"row": 9, "items": []},
        ]
    }
    assert rows_of(json.dumps(answer), range(1, 6), SCHEMA) == {1: [{"name": "a"}], 2: [{"name": "b"}]}
    with pytest.raises(InvalidAnswerError, match="rows"):
        rows_of('{"items":[]}', range(1, 3), SCHEMA)
