"""The generator of a prompt over documents and rows, driven by hand: what it asks, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from docreduce.engine.session import units
from docreduce.kinds.extract.answers import schema_errors
from docreduce.kinds.extract.prompts import unpack
from docreduce.kinds.kind import Work
from docreduce.kinds.map import KIND
from docreduce.kinds.map.predicted import instance
from docreduce.kinds.map.settings import MapSettings
from docreduce.values import Cause, Request, Result
from docreduce.values.errors import JobError
from driving import Answer, document, drive, plan, raw, refuse, rows
from pydantic import ValidationError

LABELS = ["bill", "fault", "other"]
TYPED = {
    "type": "object",
    "properties": {"topic": {"type": "string"}, "urgent": {"type": "boolean"}},
    "required": ["topic", "urgent"],
}


def work(plan_: Any = None, **more: Any) -> Work:
    return KIND.prepare(MapSettings(**{"prompt": "Say what it is about.", **more}), plan_ or plan())


def record(result: Result) -> dict[str, Any]:
    (row,) = result.tables["records"]
    assert row["item"] == 0
    return {name: value for name, value in row.items() if name != "item"}


def item(**values: Any) -> Answer:
    return raw(json.dumps({"items": [values]}))


def packed(make: Callable[[str], dict[str, Any]], *without: int) -> Answer:
    """Answers every row of a packed request but those `without`, and a text alone as its kind wants it."""

    def answer(request: Request) -> Any:
        text = request.messages[-1].content
        if request.schema is None:
            return raw(make(text)["answer"])(request)
        if "rows" not in json.loads(request.schema)["properties"]:
            return item(**make(text))(request)
        found = [{"row": row, "items": [make(body)]} for row, body in unpack(text) if row not in without]
        return raw(json.dumps({"rows": found}))(request)

    return answer


# --- one document -------------------------------------------------------------------------------------------------


def test_a_prompt_over_a_text_gives_its_answer() -> None:
    (result,), (request,) = drive(work(), [document("The harbour is closed.")], raw("A harbour."))
    assert (result.status, record(result)) == ("ok", {"answer": "A harbour."})
    assert request.schema is None
    assert request.messages[-1].content == "The harbour is closed."
    assert "Say what it is about." in request.messages[0].content
    assert [(c.status, c.output, c.model) for c in result.chunks] == [("ok", "A harbour.", "m")]


def test_a_label_is_one_of_the_closed_set() -> None:
    (result,), (request,) = drive(work(labels=LABELS), [document("No light.")], item(label="fault"))
    assert (result.status, record(result)) == ("ok", {"label": "fault"})
    assert json.dumps(LABELS, separators=(",", ":")) in request.messages[0].content


@pytest.mark.parametrize("said", ["fault", " fault\n", '"fault"', "`fault`", "fault."])
def test_a_label_that_stands_alone_is_taken_for_the_answer(said: str) -> None:
    (result,), asked = drive(work(labels=LABELS), [document("No light.")], raw(said))
    assert (record(result), len(asked)) == ({"label": "fault"}, 1)


@pytest.mark.parametrize("said", ["breakdown", '{"items":[{"label":"breakdown"}]}', "fault or bill", '{"items":[]}'])
def test_what_is_no_label_is_asked_again_with_what_was_wrong_and_never_ok(said: str) -> None:
    (result,), (first, second) = drive(work(labels=LABELS), [document("No light.")], [raw(said), item(label="fault")])
    assert (result.status, record(result)) == ("ok", {"label": "fault"})
    assert (first.stage, second.stage) == ("map", "repair")
    assert "was not valid" in second.messages[1].content
    assert said in second.messages[1].content
    assert [message.role for message in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[-1] == first.messages[-1]
    (result,), asked = drive(work(labels=LABELS, max_repairs=2), [document("No light.")], raw(said))
    assert (result.status, result.error_kind, result.tables["records"]) == ("failed", "invalid_output", [])
    assert set(result.rejected) == {request.key for request in asked}
    assert len(set(result.rejected)) == 3


def test_typed_answers_have_the_schemas_types() -> None:
    made = work(schema=TYPED)
    (result,), (request,) = drive(made, [document("No light!")], item(topic="light", urgent=True))
    assert record(result) == {"topic": "light", "urgent": True}
    assert json.loads(str(request.schema))["properties"]["items"]["items"]["required"] == ["topic", "urgent"]
    columns = made.tables["records"].columns
    assert {field.name: str(field.type) for field in columns} == {"item": "int64", "topic": "string", "urgent": "bool"}


def test_a_schema_with_an_id_and_a_dialect_is_worked_with() -> None:
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/ticket", **TYPED}
    (result,), _ = drive(work(schema=named), [document("No light!")], item(topic="light", urgent=True))
    assert result.status == "ok"


# --- long documents -----------------------------------------------------------------------------------------------

LONG = "\n\n".join(f"Section {n} speaks of the harbour and of nothing else at all." for n in range(60))


def test_answers_to_chunks_are_joined_in_the_order_of_the_text() -> None:
    made = work(plan(max_chunk_tokens=200))
    (result,), asked = drive(made, [document(LONG)], lambda request: raw(f"part {request.chunk}")(request))
    assert len(asked) > 3
    assert "".join(request.messages[-1].content for request in asked) == LONG
    assert record(result) == {"answer": "\n\n".join(f"part {n}" for n in range(len(asked)))}


def test_of_labels_the_majority_of_the_chunks_decides_and_the_first_where_they_are_equal() -> None:
    made = work(plan(max_chunk_tokens=200), labels=LABELS)

    def by_chunk(*labels: str) -> Answer:
        return lambda request: item(label=labels[int(request.chunk or 0) % len(labels)])(request)

    assert record(drive(made, [document(LONG)], by_chunk("bill", "fault", "fault"))[0][0]) == {"label": "fault"}
    half = LONG[: len(LONG) // 3]
    two = work(plan(max_chunk_tokens=plan().tokenizer.count(half) * 2 // 3), labels=LABELS)
    (result,), asked = drive(two, [document(half)], by_chunk("other", "bill"))
    assert (len(asked), record(result)) == (2, {"label": "other"})


def test_a_chunk_without_an_answer_makes_the_document_partial_and_the_others_count() -> None:
    made = work(plan(max_chunk_tokens=200), labels=LABELS)

    def answer(request: Request) -> Any:
        return (refuse(Cause.SERVER_ERROR) if request.chunk == 0 else item(label="bill"))(request)

    (result,), _ = drive(made, [document(LONG)], answer)
    assert (result.status, result.error_kind, record(result)) == ("partial", "server_error", {"label": "bill"})


def test_an_answer_that_breaks_off_stands_with_the_words_that_are_there_and_says_so() -> None:
    (result,), asked = drive(work(), [document("The harbour.")], raw("A harbour is a pla", "length"))
    assert (result.status, result.error_kind) == ("partial", "cut")
    assert "raise model.max_output_tokens" in str(result.error)
    assert record(result) == {"answer": "A harbour is a pla"}
    assert [chunk.status for chunk in result.chunks] == ["partial"]
    assert len(asked) == 1
    assert result.rejected == [asked[0].key]


def test_a_typed_answer_that_is_cut_is_asked_in_halves_and_fails_in_bounds() -> None:
    (result,), asked = drive(work(schema=TYPED), [document(LONG)], raw('{"items":[{"topic":"li', "length"))
    assert (result.status, result.error_kind) == ("failed", "cut")
    assert len(asked) == 7


def test_a_stopped_run_leaves_the_document_skipped_without_an_answer() -> None:
    (result,), _ = drive(work(), [document("x")], refuse(Cause.BUDGET))
    assert (result.status, result.tables["records"]) == ("skipped", [])


# --- rows that share a request ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({}, lambda text: {"answer": text.upper()}),
        ({"labels": LABELS}, lambda text: {"label": LABELS[len(text) % 3]}),
        ({"schema": TYPED}, lambda text: {"topic": text, "urgent": len(text) > 3}),
    ],
    ids=["text", "labels", "schema"],
)
def test_packed_rows_come_back_in_order_each_with_its_own_output(
    settings: dict[str, Any], make: Callable[[str], dict[str, Any]]
) -> None:
    texts = ["no light", "a bill", "hm", "old"]
    made = work(rows_per_request=4, **settings)
    assert [len(unit) for unit in units(rows(*texts), plan(), made.pack)] == [4]
    results, asked = drive(made, rows(*texts), packed(make))
    assert [record(result) for result in results] == [make(text) for text in texts]
    assert [request.serves for request in asked] == [(0, 1, 2, 3)]
    outputs = [result.chunks[0].output for result in results]
    if settings:
        assert [json.loads(str(output)) for output in outputs] == [{"items": [make(text)]} for text in texts]
    else:
        assert outputs == [text.upper() for text in texts]


@pytest.mark.parametrize("settings", [{}, {"labels": LABELS}])
def test_a_missing_row_is_asked_alone(settings: dict[str, Any]) -> None:
    made = work(rows_per_request=3, **settings)
    answer = packed(lambda text: {"label": "bill"} if settings else {"answer": text * 2}, 2)
    results, asked = drive(made, rows("a", "b", "c"), answer)
    assert [result.status for result in results] == ["ok"] * 3
    assert [(request.serves, request.stage) for request in asked] == [((0, 1, 2), "map"), ((1,), "repair")]


def test_packed_rows_whose_answer_is_cut_are_asked_in_halves() -> None:
    answers = [raw("{", "length"), *[packed(lambda text: {"answer": text})] * 2]
    results, asked = drive(work(rows_per_request=4), rows("a", "b", "c", "d"), answers)
    assert [record(result)["answer"] for result in results] == ["a", "b", "c", "d"]
    assert [request.serves for request in asked] == [(0, 1, 2, 3), (0, 1), (2, 3)]


def test_a_failed_request_fails_all_its_rows() -> None:
    results, _ = drive(work(rows_per_request=2), rows("a", "b"), refuse(Cause.TIMEOUT))
    assert [(result.status, result.error_kind) for result in results] == [("failed", "timeout")] * 2


def test_auto_packs_labels_by_the_answers_room_and_two_texts() -> None:
    def limit(output: int, **more: Any) -> int:
        pack = work(plan(max_output_tokens=output), rows_per_request="auto", **more).pack
        return pack.max_rows if pack else 1

    assert limit(50, labels=LABELS) == 1
    assert 1 < limit(500, labels=LABELS) < limit(4_000, labels=LABELS) == 10
    assert limit(4_000) == 2


# --- what is refused, what is predicted ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"labels": LABELS, "schema": TYPED}, "labels or schema, not both"),
        ({"labels": ["a", "a"]}, "the same label stands twice"),
        ({"labels": ["a"]}, "labels"),
        ({"prompt": ""}, "prompt"),
    ],
)
def test_a_table_that_means_nothing_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MapSettings(**{"prompt": "p", **more})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"schema": {"type": "string"}}, "map.schema: expected the schema of an object"),
        ({"schema": {"type": "object", "properties": {"a": {"type": "text"}}}}, "map.schema: no JSON Schema"),
        ({"schema": "nowhere.json"}, "nowhere.json: map.schema: not JSON"),
        ({"prompt": "word " * 200_000}, "the instructions take"),
    ],
)
def test_a_schema_or_prompt_that_cannot_be_worked_with_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(JobError, match=said):
        work(**more)


def test_a_prompt_that_leaves_room_for_one_text_needs_none_for_rows_that_are_not_packed() -> None:
    alone = work(plan(input_tokens=260, max_output_tokens=100), prompt="word " * 60)
    (result,), _ = drive(alone, [document("A harbour.")], raw("fine"))
    assert result.status == "ok"


PREDICTED = {
    "null where it may be": ({"type": ["string", "null"]}, None),
    "a date": ({"type": "string", "format": "date"}, "2000-01-01"),
    "long enough": ({"type": "string", "minLength": 3}, "xxx"),
    "named": ({"enum": ["a", "b"]}, "a"),
    "const": ({"const": 3}, 3),
    "at least": ({"type": "integer", "minimum": 5}, 5),
    "above": ({"type": "integer", "exclusiveMinimum": 5}, 6),
    "below zero": ({"type": "number", "maximum": -1}, -1),
    "between": ({"type": "integer", "minimum": 1, "multipleOf": 5}, 5),
    "a list": ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
    "one of": ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0),
    "inner": ({"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}, {"a": "x"}),
    "all of": ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, 3),
}


@pytest.mark.parametrize(("schema", "value"), PREDICTED.values(), ids=PREDICTED)
def test_the_predicted_value_is_valid_and_small(schema: dict[str, Any], value: Any) -> None:
    assert instance(schema) == value
    assert schema_errors(value, json.dumps(schema)) == []


@pytest.mark.parametrize("settings", [{}, {"labels": LABELS}, {"schema": TYPED}], ids=["text", "labels", "schema"])
def test_what_an_estimate_predicts_is_a_valid_answer_of_every_request(settings: dict[str, Any]) -> None:
    made = work(rows_per_request=3, **settings)
    for documents in ([document(LONG)], rows("a", "b", "c")):
        results, asked = drive(made, documents, lambda request: raw(made.predict(request, 60))(request))
        assert {result.status for result in results} == {"ok"}
        assert len(asked) == 1
    assert made.offline is None


def test_a_schema_that_no_answer_can_be_predicted_for_is_said() -> None:
    pattern = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^A-\\d{5}$"}}, "required": ["a"]}
    (note,) = work(schema=pattern).notes
    assert "cannot be predicted" in note
