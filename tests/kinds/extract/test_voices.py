"""A vote of several models over lists: what is one element for all of them, and what most of them do not have."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest
from docreduce.kinds.extract.answers import read_items
from docreduce.kinds.extract.merge import Merged, merge
from docreduce.kinds.extract.placing import place
from docreduce.values import Span
from driving_extract import settings

ROW = {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "integer"}, "unit": {}}}
ORDER = {"type": "object", "properties": {"number": {"type": "string"}, "rows": {"type": "array", "items": ROW}}}
TEXT = "Order 7: bolt 3 box, nut 4 box, washer 5 bag, screw 6 bag."
BOLT, NUT = {"name": "bolt", "n": 3, "unit": "box"}, {"name": "nut", "n": 4, "unit": "box"}
WASHER, SCREW = {"name": "washer", "n": 5, "unit": "bag"}, {"name": "screw", "n": 6, "unit": "bag"}


def voted(*answers: Any, schema: Any = ORDER, text: str = TEXT, **more: Any) -> Merged:
    """One answer (a list of items) of each voice to the whole text, merged."""
    asked = settings(schema, **more)
    found = []
    for at, items in enumerate(answers):
        read = read_items(json.dumps({"items": items}), asked.schema)
        found += place(read, text, chunk=at, span=Span(0, len(text)), voice=f"model {at}")
    return merge(found, asked)


def rows(*answers: Any, **more: Any) -> list[Any]:
    """The rows of the merged order, without fields that are empty."""
    (record,) = voted(*([{"rows": each}] for each in answers), **more).records
    return [{name: value for name, value in row.items() if value is not None} for row in record["rows"] or ()]


def test_a_row_that_one_voice_misread_is_one_row_and_the_majority_stands():
    misread = {**NUT, "n": 40}
    for answers in permutations([[BOLT, NUT, WASHER], [BOLT, misread, WASHER], [BOLT, NUT, WASHER]]):
        assert rows(*answers) == [BOLT, NUT, WASHER]


def test_two_voices_that_differ_in_a_field_have_one_row_in_conflict():
    merged = voted([{"rows": [BOLT, NUT]}], [{"rows": [BOLT, {**NUT, "n": 40}]}])
    assert [row["n"] for row in merged.records[0]["rows"]] == [3, 4]
    told = {(row["value"], row["chosen"], row["conflict"]) for row in merged.evidence if row["field"] == "rows[1].n"}
    assert told == {("4", True, True), ("40", False, True)}


def test_a_row_that_one_voice_left_out_moves_no_other():
    assert rows([BOLT, NUT, WASHER, SCREW], [NUT, WASHER, SCREW]) == [BOLT, NUT, WASHER, SCREW]
    assert rows([NUT, WASHER, SCREW], [BOLT, NUT, WASHER, SCREW]) == [BOLT, NUT, WASHER, SCREW]
    assert rows([BOLT, NUT, SCREW], [BOLT, NUT, WASHER, SCREW]) == [BOLT, NUT, WASHER, SCREW]


def test_rows_in_another_order_are_the_same_rows():
    assert rows([BOLT, NUT, WASHER], [WASHER, BOLT, NUT]) == [BOLT, NUT, WASHER]


def test_equal_rows_of_one_voice_stay_as_many():
    assert rows([BOLT, BOLT, NUT], [BOLT, BOLT, NUT]) == [BOLT, BOLT, NUT]
    assert rows([BOLT, NUT], [BOLT, BOLT, NUT]) == [BOLT, BOLT, NUT]


def test_rows_that_share_a_unit_only_are_two():
    assert rows([BOLT], [NUT]) == [BOLT, NUT]
    assert rows([WASHER], [SCREW, WASHER], text="A text of none of them.") == [SCREW, WASHER]


def test_rows_stand_in_the_order_of_the_document():
    assert rows([SCREW, BOLT], [WASHER, NUT]) == [BOLT, NUT, WASHER, SCREW]


def test_a_row_that_most_voices_do_not_have_and_whose_words_stand_nowhere_is_no_finding():
    ghost = {"name": "rivet", "n": 9, "unit": "box"}
    merged = voted([{"rows": [BOLT, ghost]}], [{"rows": [BOLT]}], [{"rows": [BOLT]}])
    assert [row["name"] for row in merged.records[0]["rows"]] == ["bolt"]
    losers = [row for row in merged.evidence if not row["chosen"]]
    assert {row["value"] for row in losers} == {'"rivet"', "9", '"box"'}
    assert all(row["reason"] == "vote: 2 of 3 have none, and its words stand nowhere" for row in losers)


def test_what_one_of_three_found_in_the_text_stays():
    seen = {**WASHER}
    with_words = {"rows": [BOLT, seen], "evidence": {"rows[1].name": "washer 5 bag"}}
    merged = voted([with_words], [{"rows": [BOLT]}], [{"rows": [BOLT]}])
    assert [row["name"] for row in merged.records[0]["rows"]] == ["bolt", "washer"]


def test_one_of_two_is_no_minority():
    assert voted([{"number": "7"}], [{"rows": [BOLT]}]).records[0]["number"] == "7"


def test_a_field_that_most_voices_leave_empty_and_that_stands_nowhere_is_no_finding():
    merged = voted([{"number": "8", "rows": [BOLT]}], [{"rows": [BOLT]}], [{"rows": [BOLT]}])
    assert merged.records[0]["number"] is None
    quoted = {"number": "7", "rows": [BOLT], "evidence": {"number": "Order 7"}}
    assert voted([quoted], [{"rows": [BOLT]}], [{"rows": [BOLT]}]).records[0]["number"] == "7"


def test_a_voice_that_found_no_list_has_no_say_about_its_rows():
    assert rows([BOLT], [NUT], []) == [BOLT, NUT]


def test_the_spelling_that_most_have_stands():
    answers = [[{"number": "No 7"}], [{"number": "no. 7"}], [{"number": "no. 7"}]]
    assert voted(*answers).records[0]["number"] == "no. 7"


def test_a_key_makes_rows_one_whatever_else_they_say_and_keeps_others_apart():
    more = {"key": ["rows[].name"]}
    assert rows([BOLT, NUT], [{"name": "nut", "n": 9, "unit": "bag"}, BOLT], **more)[1]["name"] == "nut"
    near = {**BOLT, "name": "bolts"}
    assert [row["name"] for row in rows([BOLT], [near], **more)] == ["bolt", "bolts"]


def test_items_of_many_are_laid_side_by_side_too():
    answers = [[BOLT, NUT, WASHER], [BOLT, {**NUT, "n": 40}, WASHER], [NUT, WASHER]]
    merged = voted(*answers, schema=ROW, cardinality="many")
    assert [record["name"] for record in merged.records] == ["bolt", "nut", "washer"]
    assert merged.records[1]["n"] == 4


def test_words_in_different_places_are_different_rows():
    text = "Monday: bolt 3. Tuesday: bolt 3."
    monday = {"rows": [{"name": "bolt", "n": 3}], "evidence": {"rows[0].name": "Monday: bolt"}}
    tuesday = {"rows": [{"name": "bolt", "n": 3}], "evidence": {"rows[0].name": "Tuesday: bolt"}}
    merged = voted([monday], [tuesday], text=text)
    assert len(merged.records[0]["rows"]) == 2


@pytest.mark.parametrize("voices", [2, 3, 5])
def test_long_lists_of_voices_that_each_drop_and_misread_come_back_whole(voices):
    """Each voice drops every 11th row and misreads another 11th, not the same: none is lost, none doubled."""
    every = [{"name": f"part {n}", "n": n % 13, "unit": "box" if n % 2 else "bag"} for n in range(300)]
    answers = []
    for voice in range(voices):
        answer = []
        for n, row in enumerate(every):
            if n % 11 == 2 * voice:
                continue
            answer.append({**row, "n": 99} if n % 11 == 2 * voice + 1 else row)
        answers.append(answer)
    united = rows(*answers)
    assert sorted(row["name"] for row in united) == sorted(row["name"] for row in every)
    if voices > 2:
        assert not any(row["n"] == 99 for row in united)
