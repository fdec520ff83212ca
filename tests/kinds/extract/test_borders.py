"""Elements at the borders of chunks: halves, equal rows, and words that stand in many places."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from docreduce.kinds.extract.answers import read_items
from docreduce.kinds.extract.merge import merge
from docreduce.kinds.extract.placing import place
from docreduce.values import Span
from driving_extract import settings

TEXT, INTEGER = {"type": "string"}, {"type": "integer"}


def fields(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def rows_of(schema: Any, text: str, chunks: Sequence[tuple[int, int]], answers: Sequence[Any]) -> list[Any]:
    """The merged list `rows` of what each chunk (start, end) of `text` was answered, empty fields left out."""
    asked = settings(fields(rows={"type": "array", "items": schema}))
    found = []
    for at, ((start, end), answer) in enumerate(zip(chunks, answers, strict=True)):
        read = read_items(json.dumps({"items": [answer]}), asked.schema)
        found += place(read, text, chunk=at, span=Span(start, end))
    (record,) = merge(found, asked).records
    return [{name: value for name, value in row.items() if value is not None} for row in record["rows"]]


ITEM = fields(title=TEXT, decision=TEXT, votes=INTEGER)


def test_halves_are_joined_where_every_answer_holds_two_of_them():
    """Each chunk has the end of one item and the beginning of the next: neighbours that share no field."""
    text = "." * 400
    chunks = [(at, at + 100) for at in range(0, 400, 100)]
    whole = {"title": "Lift", "decision": "adopted", "votes": 9}
    answers = [
        {"rows": [whole, {"title": "Roof"}]},
        {"rows": [{"decision": "rejected", "votes": 7}, {"title": "Heating"}]},
        {"rows": [{"decision": "adopted", "votes": 8}, {"title": "Garden"}]},
        {"rows": [{"decision": "postponed", "votes": 6}]},
    ]
    rows = rows_of(ITEM, text, chunks, answers)
    assert [(row["title"], row["votes"]) for row in rows] == [("Lift", 9), ("Roof", 7), ("Heating", 8), ("Garden", 6)]


def test_elements_of_two_kinds_are_no_halves():
    """Nobody saw an element with the fields of both."""
    either = fields(phone=TEXT, name=TEXT, plate=TEXT, colour=TEXT)
    person, car = {"name": "Ida", "phone": "12"}, {"plate": "X 1", "colour": "red"}
    other_person, other_car = {"name": "Per", "phone": "13"}, {"plate": "Y 2", "colour": "blue"}
    answers = [{"rows": [person, car]}, {"rows": [other_person, other_car]}]
    assert rows_of(either, "." * 200, [(0, 100), (100, 200)], answers) == [person, car, other_person, other_car]


TAKING = fields(shop=TEXT, sum=INTEGER)


def test_equal_rows_at_a_border_stay_two_in_a_list_that_has_equal_rows():
    nord = {"shop": "Nord", "sum": 20}
    answers = [{"rows": [nord, nord, {"shop": "Mitte", "sum": 5}, nord]}, {"rows": [nord, {"shop": "Mitte", "sum": 5}]}]
    assert len(rows_of(TAKING, "." * 200, [(0, 100), (100, 200)], answers)) == 6


def test_what_every_chunk_names_is_one_in_a_list_without_equal_rows():
    acme = {"shop": "Acme", "sum": 20}
    answers = [{"rows": [acme]}, {"rows": [acme, {"shop": "Beta", "sum": 5}]}]
    assert len(rows_of(TAKING, "." * 200, [(0, 100), (100, 200)], answers)) == 2
