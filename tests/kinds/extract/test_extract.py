"""The extraction generator, driven by hand-made outcomes."""

from __future__ import annotations

import itertools
import json

import pytest
from docreduce.values import Cause, Mark
from driving_extract import document, drive, plan, raw, refuse, say, settings

ACME = {"party": "Acme", "evidence": {"party": "Acme"}}


def records(result):
    """The records without their numbers, which count from 0."""
    assert [row["item"] for row in result.tables["records"]] == list(range(len(result.tables["records"])))
    return [{name: value for name, value in row.items() if name != "item"} for row in result.tables["records"]]


def span(row):
    return row["char_start"], row["char_end"]


def one(text, answer, *, plan_=None, marks=(), **more):
    (result,), asked = drive([document(text, marks=marks)], plan_ or plan(), settings(**more), answer)
    return result, asked


def test_a_value_comes_back_with_its_span_and_page():
    marks = (Mark("page", 0, "1"), Mark("page", 10, "2"))
    result, asked = one("Page one.\nSigned by Acme.", say(ACME), marks=marks)
    assert result.status == "ok"
    assert records(result) == [{"party": "Acme", "signed": None}]
    (evidence,) = result.tables["evidence"]
    assert (evidence["field"], span(evidence), evidence["alignment"], evidence["page"]) == (
        "party",
        (20, 24),
        "exact",
        2,
    )
    assert json.loads(evidence["value"]) == "Acme"
    assert len(asked) == 1


def test_the_text_stands_alone_and_last_and_the_prefix_is_the_same_for_every_chunk():
    text = "\n\n".join(f"Paragraph {n} names nobody at all." for n in range(200))
    result, asked = one(text, say(), plan_=plan(max_chunk_tokens=300))
    assert len(asked) > 3
    assert "".join(request.messages[-1].content for request in asked) == text
    assert {request.messages[:-1] for request in asked} == {asked[0].messages[:-1]}
    assert [request.chunk for request in asked] == [chunk.chunk.index for chunk in result.chunks]
    assert records(result) == [{"party": None, "signed": None}]


def test_the_schema_is_a_part_of_the_request_and_stands_in_no_message():
    _, (request,) = one("Acme", say())
    assert json.loads(request.schema)["properties"]["items"]["items"]["properties"]["party"]
    assert not any(request.schema in message.content for message in request.messages)


def test_our_own_count_of_a_request_covers_all_it_holds():
    p = plan()
    _, (request,) = one("Acme signs.", say(), plan_=p)
    counted = sum(p.tokenizer.count(message.content) for message in request.messages)
    assert request.tokens >= counted + p.tokenizer.count(request.schema)


def test_who_answered_stands_with_the_chunk():
    result, _ = one("Acme", say(ACME))
    assert [(chunk.model, chunk.endpoint) for chunk in result.chunks] == [("m", "https://test")]


def test_an_invalid_answer_is_asked_again_with_the_failing_path_and_the_answer_named():
    bad = {"party": "Acme", "signed": "2024-02-30"}
    result, asked = one("Acme", [say(bad), say(ACME)])
    assert result.status == "ok"
    first, second = asked
    assert (first.stage, second.stage) == ("map", "repair")
    told = second.messages[-3].content
    assert "/items/0/signed" in told
    assert "2024-02-30" in told
    assert second.messages[-1].content == "Acme"
    assert second.messages[: len(first.messages) - 1] == first.messages[:-1]
    assert not result.rejected


def test_what_stays_invalid_fails_its_chunk_and_names_its_answers():
    result, asked = one("Acme", raw("nothing of the sort"), max_repairs=2)
    assert len(asked) == 3
    assert (result.status, result.error_kind) == ("failed", "invalid_output")
    assert set(result.rejected) == {request.key for request in asked}
    assert len({request.key for request in asked[:2]}) == 2


def test_the_other_chunks_of_a_document_with_an_invalid_one_are_kept():
    text = "Acme stands here. " * 30 + "\n\n" + "Beta stands there. " * 30
    bad = raw("no")
    result, _ = one(text, [say(ACME), bad, bad], plan_=plan(max_chunk_tokens=140), max_repairs=1)
    assert (result.status, result.error_kind) == ("partial", "invalid_output")
    assert records(result)[0]["party"] == "Acme"
    assert [chunk.status for chunk in result.chunks] == ["ok", "failed"]


@pytest.mark.parametrize("too_long", [say(ACME, finish="length"), refuse(Cause.CONTEXT_OVERFLOW)])
def test_what_is_too_long_is_asked_in_halves_and_never_taken_for_whole(too_long):
    text = "Acme stands here. " * 40
    result, asked = one(text, [too_long, say(ACME), say()])
    assert result.status == "ok"
    assert asked[1].messages[-1].content + asked[2].messages[-1].content == text
    assert [chunk.chunk.span.end for chunk in result.chunks][-1] == len(text)
    assert len({chunk.chunk.index for chunk in result.chunks}) == 2


def test_a_cut_answer_to_a_single_letter_fails_and_ends():
    result, asked = one("x", say(finish="length"))
    assert (result.status, result.error_kind, len(asked)) == ("failed", "cut", 1)
    result, asked = one("word " * 3000, say(finish="length"))
    assert result.error_kind == "cut"
    assert len(asked) <= 7


def test_a_stopped_run_leaves_the_document_skipped_with_one_null_record():
    result, _ = one("Acme", refuse(Cause.BUDGET))
    assert (result.status, result.error_kind) == ("skipped", "budget")
    assert records(result) == [{"party": None, "signed": None}]
    assert not result.rejected


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_an_empty_text_is_skipped_without_a_request(text):
    result, asked = one(text, say())
    assert (result.status, result.error_kind, asked) == ("skipped", "empty", [])
    assert records(result) == [{"party": None, "signed": None}]
    result, _ = one(text, say(), cardinality="many")
    assert records(result) == []


def test_an_empty_string_is_no_value():
    result, _ = one("Acme", say({"party": "", "evidence": {"party": ""}}))
    assert records(result) == [{"party": None, "signed": None}]
    assert not result.tables["evidence"]


def test_a_value_whose_words_are_nowhere_is_kept_and_marked():
    result, _ = one("Acme signs.", say({"party": "Gamma", "evidence": {"party": "Gamma Holdings of Ruritania"}}))
    assert records(result)[0]["party"] == "Gamma"
    (evidence,) = result.tables["evidence"]
    assert (evidence["alignment"], span(evidence)) == ("none", (None, None))
    assert result.counts == {"evidence_not_found": 1}


def test_a_value_without_words_is_found_only_where_it_stands_once_and_marked_as_ours():
    result, _ = one("Acme signs.", say({"party": "Acme"}))
    assert [(e["alignment"], span(e)) for e in result.tables["evidence"]] == [("fuzzy", (0, 4))]
    result, _ = one("Acme signs for Acme.", say({"party": "Acme"}))
    assert [(e["alignment"], span(e)) for e in result.tables["evidence"]] == [("none", (None, None))]


def test_repeated_mentions_resolve_in_order():
    text = "Paid $5 to Ann. Paid $5 to Bob."
    schema = {"type": "object", "properties": {"amount": {"type": "string"}, "to": {"type": "string"}}}
    paid = [{"amount": "$5", "to": to, "evidence": {"amount": "Paid $5", "to": to}} for to in ("Ann", "Bob")]
    result, _ = one(text, say(*paid), schema=schema, cardinality="many")
    assert [span(e) for e in result.tables["evidence"] if e["field"] == "amount"] == [(0, 7), (16, 23)]
    assert [record["to"] for record in records(result)] == ["Ann", "Bob"]


def test_several_quotes_for_a_list_are_found_one_by_one():
    schema = {"type": "object", "properties": {"parties": {"type": "array", "items": {"type": "string"}}}}
    found = {"parties": ["Acme", "Beta"], "evidence": {"parties": ["Acme", "Beta"]}}
    result, _ = one("Acme and Beta.", say(found), schema=schema)
    assert [span(e) for e in result.tables["evidence"]] == [(0, 4), (9, 13)]


@pytest.mark.parametrize("cardinality", ["one", "many"])
def test_a_clause_at_a_chunk_border_is_whole_in_one_of_two_that_overlap(cardinality):
    clause = "This agreement is governed by the laws of Nevada. It is also subject to those of Utah."
    text = "Filler stands here. " * 30 + clause + " Filler stands there." * 30
    schema = {"type": "object", "properties": {"clause": {"type": "string"}}}
    start = text.index(clause)

    def answer(request):
        body = request.messages[-1].content
        return say(*([{"clause": clause, "evidence": {"clause": clause}}] if clause in body else []))(request)

    for size in range(100, 200, 7):
        p = plan(max_chunk_tokens=size, overlap_tokens=None)
        result, asked = one(text, answer, plan_=p, schema=schema, cardinality=cardinality, conflict="longest")
        assert [record["clause"] for record in records(result)] == [clause], size
        assert {span(e) for e in result.tables["evidence"]} == {(start, start + len(clause))}
        bodies = [request.messages[-1].content for request in asked]
        assert sum(map(len, bodies)) > len(text), "nothing overlaps"


def test_chunks_overlap_by_a_quarter_unless_the_job_says_otherwise():
    text = "Acme signs for itself here. " * 400
    for wanted, least, most in ((None, 1, 100), (0, 0, 0), (30, 1, 30)):
        p = plan(max_chunk_tokens=400, overlap_tokens=wanted)
        result, _ = one(text, say(), plan_=p)
        spans = [each.chunk.span for each in result.chunks]
        shared = [p.tokenizer.count(text[b.start : a.end]) for a, b in itertools.pairwise(spans)]
        assert least <= min(shared), wanted
        assert max(shared) <= most, wanted


def test_items_of_the_overlap_of_two_chunks_come_once():
    text = "".join(f"Acme {n} signs for itself here. " for n in range(40))
    p = plan(max_chunk_tokens=80, overlap_tokens=None)

    def answer(request):
        found = [f"Acme {n}" for n in range(40) if f"Acme {n} signs for itself here." in request.messages[-1].content]
        return say(*({"party": name, "evidence": {"party": name}} for name in found))(request)

    result, asked = one(text, answer, plan_=p, cardinality="many")
    assert len(asked) > 3
    assert [record["party"] for record in records(result)] == [f"Acme {n}" for n in range(40)]


def test_offsets_hold_in_chinese_emoji_and_combining_characters():
    text = "👩‍👩‍👧 协议：甲方为北京某某有限公司。" * 40 + "Cafe\u0301 Noir signs. 结束"
    items = [
        {"party": "Café Noir", "evidence": {"party": "Café Noir"}},
        {"party": "甲方", "evidence": {"party": "甲方"}},
        {"party": "family", "evidence": {"party": "👩‍👩‍👧"}},
    ]
    result, _ = one(text, say(*items), cardinality="many")
    found = {json.loads(e["value"]): (text[slice(*span(e))], e["alignment"]) for e in result.tables["evidence"]}
    assert found == {
        "Café Noir": ("Cafe\u0301 Noir", "normalized"),
        "甲方": ("甲方", "exact"),
        "family": ("👩‍👩‍👧", "exact"),
    }
