"""What counts as an answer, what is mended, and what is never invented."""

from __future__ import annotations

import json

import pytest
from docreduce.kinds.extract.answers import InvalidAnswerError, read_items, read_rows
from docreduce.kinds.extract.placing import place
from docreduce.values import Span
from driving_extract import settings
from hypothesis import given
from hypothesis import strategies as st

ASKED = settings(
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
    },
    cardinality="many",
)
ONE = [{"name": "Acme"}]


def items_of(text, asked=ASKED):
    return [item.values for item in read_items(text, asked.schema)]


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
        '{"tool":"extract","arguments":{"items":[{"name":"Acme"}]}}',
        '{"items":{"name":"Acme"}}',
        '{"response":{"data":[{"name":"Acme"}]}}',
        '{"items":[{"name":"Acme"},{"name":null},{"name":" ","deep":[null,{"a":""}]}]}',
    ],
)
def test_what_is_one_answer_is_read(text):
    assert items_of(text) == ONE


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
        items_of(text)


def test_a_real_date_and_time_are_valid():
    answer = {"items": [{"day": "2024-02-29", "at": "2024-02-29T23:59:59.5+02:00", "n": 2**63 - 1, "x": 1.5}]}
    assert items_of(json.dumps(answer)) == answer["items"]


@pytest.mark.parametrize(
    ("field", "given", "read", "said"),
    [
        ("at", "2021-05-03T14:30", "2021-05-03T14:30:00", "local"),
        ("at", "2021-05-03 14:30:15", "2021-05-03T14:30:15", "from"),
        ("at", "2021-05-03T14:30:15", "2021-05-03T14:30:15", "local"),
        ("at", "2021-05-03T14:30+0200", "2021-05-03T14:30:00+02:00", "from"),
        ("at", "2021-05-03", "2021-05-03T00:00:00", "from"),
        ("day", "2021-05-03T00:00:00Z", "2021-05-03", "from"),
        ("day", "", None, None),
        ("code", " ", None, None),
        ("x", "", None, None),
        ("x", "1,250.50", 1250.5, "from"),
        ("x", "1.250,50", 1250.5, "from"),
        ("x", "1'250'000", 1_250_000, "from"),
        ("x", "1 250 000,5", 1_250_000.5, "from"),
        ("x", "12,34,567.5", 1_234_567.5, "from"),
        ("x", "$1,250", 1250, "from"),
        ("x", "(500)", -500, "from"),
        ("x", "−3,5 %", -3.5, "from"),
        ("x", "€-7", -7, "from"),
        ("x", "٢٫٥", 2.5, "from"),
        ("n", "2,000.00", 2000, "from"),
        ("n", 3.0, 3, None),
    ],
)
def test_what_stands_in_another_spelling_is_coerced_and_said(field, given, read, said):
    (item, *_) = read_items(json.dumps({"items": [{"name": "a", field: given}]}), ASKED.schema)
    assert item.values.get(field) == read
    assert type(item.values.get(field)) is type(read)
    assert (said is None and not item.coerced) or said in item.coerced[field]


@pytest.mark.parametrize("given", ["5 kg", "about 5", "1,25,0", "1.2.3", "5-7", "five", "12:30", "1,250.5.5"])
def test_what_is_more_than_a_number_or_could_be_two_is_refused(given):
    with pytest.raises(InvalidAnswerError, match="/items/0/x"):
        items_of(json.dumps({"items": [{"x": given}]}))


ORDER = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "price": {"type": "number"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"name": {}, "price": {}}}},
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "number"}}},
    },
}


@pytest.mark.parametrize(
    "order",
    [
        {"name": "Order 9", "price": 30.0, "items": [{"name": "bolt", "price": 10.0}, {"name": "nut", "price": 20.0}]},
        {"name": "Run 5", "parameters": {"name": "lr", "value": 0.1}},
        {"name": "Run 5", "items": [{"name": "bolt"}], "parameters": {"name": "lr", "value": 0.1}},
    ],
)
@pytest.mark.parametrize(
    "frame", ["{}", '{{"items":[{}]}}', "[{}]", '{{"arguments":{{"items":[{}]}}}}', '{{"data":{}}}']
)
def test_a_field_that_is_called_like_a_frame_is_a_field(order, frame):
    assert items_of(frame.format(json.dumps(order)), settings(ORDER)) == [order]


def test_with_cardinality_one_two_items_are_no_answer():
    two = json.dumps({"items": [{"party": "Ida Moss"}, {"party": "Per Holt"}]})
    with pytest.raises(InvalidAnswerError, match="/items"):
        read_items(two, settings().schema)
    packed = json.dumps(
        {"rows": [{"row": 1, "items": [{"party": "a"}, {"party": "b"}]}, {"row": 2, "items": [{"party": "c"}]}]}
    )
    assert list(read_rows(packed, (1, 2), settings().schema)) == [2]


NESTED = {
    "type": "object",
    "required": ["title", "party", "lines"],
    "properties": {
        "title": {"type": "string", "minLength": 3},
        "party": {
            "type": "object",
            "required": ["name", "vat_id"],
            "properties": {"name": {"type": "string"}, "vat_id": {"type": "string", "pattern": "^[A-Z]{2}"}},
        },
        "lines": {
            "type": "array",
            "minItems": 2,
            "uniqueItems": True,
            "items": {
                "type": "object",
                "required": ["sku", "qty"],
                "properties": {"sku": {"type": "string"}, "qty": {"type": "integer"}, "kind": {"enum": ["a", "b"]}},
            },
        },
        "pay": {
            "oneOf": [
                {"type": "object", "required": ["iban"], "properties": {"iban": {"type": "string"}}},
                {"type": "string"},
            ]
        },
    },
}


def test_at_every_depth_of_an_answer_null_and_absent_are_allowed():
    item = {
        "party": {"name": "Acme", "vat_id": None},
        "lines": [{"sku": "A1", "qty": 2, "kind": None}, {"sku": "B2", "qty": None}, {"sku": "A1"}, None],
        "pay": {"iban": None},
    }
    (read,) = items_of(json.dumps({"items": [item]}), settings(NESTED))
    assert read == {
        "party": {"name": "Acme"},
        "lines": [{"sku": "A1", "qty": 2}, {"sku": "B2"}, {"sku": "A1"}],
    }
    with pytest.raises(InvalidAnswerError, match="/items/0/party/vat_id"):
        items_of(json.dumps({"items": [{"party": {"vat_id": "12"}}]}), settings(NESTED))


@pytest.mark.parametrize(
    "evidence",
    [
        {"lines": ["line A1", "line B2"]},
        {"lines[0]": "line A1", "lines[1]": "line B2"},
        {"lines": [{"sku": "line A1"}, {"sku": "line B2"}]},
        {"lines[0].sku": "line A1", "/lines/1/sku": "line B2"},
        {"lines.0.sku": ["line A1"], "lines[1]": {"sku": "line B2"}},
    ],
)
def test_evidence_of_nested_fields_is_taken_in_every_form(evidence):
    answer = {"items": [{"lines": [{"sku": "A1"}, {"sku": "B2"}], "evidence": evidence}]}
    text = "First line A1, then line B2."
    (found,) = place(read_items(json.dumps(answer), settings(NESTED).schema), text, chunk=0, span=Span(0, len(text)))
    first, second = (found.quotes_at(("lines", at, "sku"))[0].span for at in (0, 1))
    assert (text[first.start : first.end], text[second.start : second.end]) == ("line A1", "line B2")


def test_a_pathological_pattern_takes_no_time_to_speak_of():
    with pytest.raises(InvalidAnswerError, match="/items/0/code"):
        items_of(json.dumps({"items": [{"code": "a" * 100_000 + "!"}]}))


@given(st.text(alphabet='{}[]",:\\ \nitemsnameé1', max_size=60) | st.text(max_size=60))
@pytest.mark.long
def test_any_words_are_items_or_an_error_that_says_why(text):
    try:
        items = items_of(text)
    except InvalidAnswerError:
        return
    assert all(isinstance(item, dict) for item in items)


@given(st.integers(0, 120), st.sampled_from(["", "```", "}", '"']))
def test_a_broken_off_answer_never_becomes_other_values(length, tail):
    items = [{"name": "Acme", "n": 7}, {"name": "Beta, Inc.", "day": "2024-01-31"}, {"name": 'a "b" c'}]
    text = json.dumps({"items": items})[:length] + tail
    try:
        read = items_of(text)
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
    assert {
        row: [item.values for item in items]
        for row, items in read_rows(json.dumps(answer), range(1, 6), ASKED.schema).items()
    } == {1: [{"name": "a"}], 2: [{"name": "b"}]}
    with pytest.raises(InvalidAnswerError, match="rows"):
        read_rows('{"items":[]}', range(1, 3), ASKED.schema)
