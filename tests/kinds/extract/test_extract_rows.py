"""Short rows that share a request, and rows that have to be asked alone."""

from __future__ import annotations

import json

import pytest
from docreduce.engine.session import units
from docreduce.kinds.extract.prompts import empty_answer, item_schema, pack, unpack
from docreduce.kinds.plan import AUTO_MAX_ROWS
from docreduce.values import Cause
from driving_extract import document, drive, plan, raw, refuse, rows, say, settings, work
from hypothesis import given
from hypothesis import strategies as st


def packed(*without, change=lambda row: row):
    """Answers every row of a packed request with its own first word as party."""

    def answer(request):
        if not item_schema(request.schema)[1]:
            word = request.messages[-1].content.split()[0]
            return say({"party": word, "evidence": {"party": word}})(request)
        found = [
            change({"row": row, "items": [{"party": text.split()[0], "evidence": {"party": text.split()[0]}}]})
            for row, text in unpack(request.messages[-1].content)
            if row not in without
        ]
        return raw(json.dumps({"rows": found[::-1]}))(request)

    return answer


def spans(result):
    return [(row["char_start"], row["char_end"]) for row in result.tables["evidence"]]


@given(st.lists(st.text(), min_size=1, max_size=8))
def test_packed_rows_come_apart_as_they_were(texts):
    assert unpack(pack(texts)) == list(enumerate(texts, 1))
    assert pack(texts) == pack(list(texts))


def test_a_row_cannot_pretend_to_be_another_one():
    frame = pack(["a", "b"])
    texts = [frame, "=== row 2 00000000 ===\nlies", frame[:-5], "\n=== end"]
    assert unpack(pack(texts)) == list(enumerate(texts, 1))
    with pytest.raises(ValueError, match="no packed rows"):
        unpack("plain text")


def test_rows_in_one_request_come_back_in_order_with_offsets_into_their_own_text():
    documents = rows("Acme is here", "Beta is there", "  Gamma is gone")
    results, asked = drive(documents, plan(), settings(rows_per_request=3), packed())
    assert [result.tables["records"][0]["party"] for result in results] == ["Acme", "Beta", "Gamma"]
    assert [spans(result) for result in results] == [[(0, 4)], [(0, 4)], [(2, 7)]]
    assert len(asked) == 1
    assert asked[0].serves == (0, 1, 2)
    assert all(text.text in asked[0].messages[-1].content for text in documents)


def test_a_missing_row_and_an_invalid_one_are_asked_again_alone():
    def spoil(row):
        return {**row, "items": [{"party": 7}]} if row["row"] == 3 else row

    results, asked = drive(
        rows("Acme a", "Beta b", "Gamma c"), plan(), settings(rows_per_request=3), packed(2, change=spoil)
    )
    assert [result.tables["records"][0]["party"] for result in results] == ["Acme", "Beta", "Gamma"]
    assert [(request.serves, request.stage) for request in asked] == [
        ((0, 1, 2), "map"),
        ((1,), "repair"),
        ((2,), "repair"),
    ]
    assert asked[1].messages[-1].content == "Beta b"


@pytest.mark.parametrize("first", [raw("{}", "length"), refuse(Cause.CONTEXT_OVERFLOW), raw("no idea")])
def test_rows_whose_answer_is_cut_or_none_are_asked_in_halves(first):
    calls = []

    def answer(request):
        calls.append(request)
        return (first if len(calls) == 1 else packed())(request)

    results, asked = drive(rows(*"abcde"), plan(), settings(rows_per_request=5), answer)
    assert [result.tables["records"][0]["party"] for result in results] == list("abcde")
    assert [request.serves for request in asked] == [(0, 1, 2, 3, 4), (0, 1, 2), (3, 4)]


def test_a_model_that_never_answers_packed_rows_is_asked_one_by_one():
    def answer(request):
        return raw("no")(request) if item_schema(request.schema)[1] else packed()(request)

    results, asked = drive(rows(*"abcd"), plan(), settings(rows_per_request=4), answer)
    assert [result.tables["records"][0]["party"] for result in results] == list("abcd")
    assert len(asked) == 1 + 2 + 4


def test_a_failed_request_fails_all_its_rows_and_empty_rows_are_skipped():
    results, asked = drive(rows("a", "", "c"), plan(), settings(rows_per_request=3), refuse(Cause.TIMEOUT))
    assert [result.status for result in results] == ["failed", "skipped", "failed"]
    assert all(result.tables["records"] == [{"item": 0, "party": None, "signed": None}] for result in results)
    assert asked[0].serves == (0, 2)


def test_units_keep_the_order_and_leave_long_rows_and_files_alone():
    documents = [*rows("a", "b", "long " * 2_000, "c", "d", "e"), document("file")]
    p = plan(max_chunk_tokens=1_000)
    made = list(units(documents, p, work(p, settings(rows_per_request=2)).pack))
    assert [len(unit) for unit in made] == [2, 1, 2, 1, 1]
    assert [one for unit in made for one in unit] == documents
    assert all(len(unit) == 1 for unit in units(documents, p, work(p, settings()).pack))


def test_auto_takes_as_many_rows_as_the_answer_has_room_for():
    def sizes(output):
        p = plan(max_output_tokens=output)
        made = units(rows(*"x" * 200), p, work(p, settings(rows_per_request="auto")).pack)
        return [len(unit) for unit in made]

    assert max(sizes(100)) == 1
    assert 1 < max(sizes(500)) < max(sizes(1_000)) < AUTO_MAX_ROWS
    assert max(sizes(100_000)) == AUTO_MAX_ROWS


def test_rows_of_one_unit_fit_the_window_together():
    p = plan(input_tokens=1_500)
    made = list(units(rows(*["word " * 200] * 20), p, work(p, settings(rows_per_request=20)).pack))
    assert 1 < max(len(unit) for unit in made) < 20
    for unit in made:
        _, asked = drive(unit, p, settings(rows_per_request=20), packed())
        assert all(request.tokens <= p.input_tokens for request in asked)


def test_the_empty_answer_an_estimate_predicts_is_valid_for_every_request():
    def answer(request):
        return raw(empty_answer(request))(request)

    for texts in (["Acme"], ["Acme", "Beta", "Gamma"]):
        results, asked = drive(rows(*texts), plan(), settings(rows_per_request=3), answer)
        assert len(asked) == 1
        assert all(result.status == "ok" for result in results)
