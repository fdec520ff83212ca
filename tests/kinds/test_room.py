"""No request of any kind is larger than the room there is, whatever the documents, the chunks and the answers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from docreduce.config import parse_job
from docreduce.engine.session import units
from docreduce.kinds.kind import Plan, Work
from docreduce.kinds.registry import kind_named
from docreduce.values import Cause, Completion, Failure, Outcome, Request, Result
from driving import document, drive, plan, raw, rows
from hypothesis import given, settings
from hypothesis import strategies as st

LABELS = ["light", "dark"]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "tree": ("summarize", {"max_words": 30}),
    "refine": ("summarize", {"strategy": "refine", "max_words": 30}),
    "extract": ("extract", {"schema": SCHEMA, "rows_per_request": 4}),
    "map": ("map", {"prompt": "What is it?", "rows_per_request": 4}),
    "labels": ("map", {"prompt": "What is it?", "labels": LABELS, "rows_per_request": 4}),
}
WORDS = st.sampled_from(["harbour ", "Hafenbehörde ", "港务局", "👩‍👩‍👧 ", "\n\n", "# Title\n", ". ", "0815 "])
TEXTS = st.lists(WORDS, min_size=1, max_size=200).map("".join).filter(str.strip)


def made(way: str, plan_: Plan) -> Work:
    kind, table = WAYS[way]
    job = parse_job({"name": "n", "kind": kind, "input": {"paths": ["x"]}, kind: table})
    return kind_named(kind).prepare(job.settings, plan_)


def held(plan_: Plan, request: Request) -> int:
    """Tokens of all messages and the schema, without frames."""
    told = plan_.tokenizer.count(request.schema) if request.schema else 0
    return told + sum(plan_.tokenizer.count(message.content) for message in request.messages)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_request_is_larger_than_its_room_or_than_it_says(way: str, data: st.DataObject) -> None:
    texts = data.draw(st.lists(TEXTS, min_size=1, max_size=5))
    output = data.draw(st.integers(20, 200))
    plan_ = plan(
        input_tokens=data.draw(st.integers(700, 1_500)),
        max_output_tokens=output,
        max_chunk_tokens=data.draw(st.none() | st.integers(8, 300)),
        overlap_tokens=data.draw(st.none() | st.integers(0, 50)),
    )
    work = made(way, plan_)
    longer = data.draw(st.integers(0, 3))  # a model may write more of our tokens than of its own, and than was asked

    def answer(request: Request) -> Outcome:
        cut = data.draw(st.sampled_from([False, False, False, True]))
        words = data.draw(WORDS) * (output * longer + 1)
        valid = work.predict(request, output) if request.schema and data.draw(st.booleans()) else words
        return raw(valid, "length" if cut else "stop")(request)

    for unit in units([*rows(*texts), document("".join(texts))], plan_, work.pack):
        results, asked = drive(work, unit, answer)
        assert len(results) == len(unit)
        for request in asked:
            assert held(plan_, request) <= request.tokens <= plan_.input_tokens
            assert [m.role for m in request.messages[1:]] == ["user", "assistant"] * (
                len(request.messages) // 2 - 1
            ) + ["user"]


@pytest.mark.parametrize("way", WAYS)
def test_the_same_documents_ask_the_same_requests(way: str) -> None:
    plan_ = plan(input_tokens=900, max_output_tokens=100, max_chunk_tokens=60, overlap_tokens=None)
    documents = rows(*("".join(f"Harbour {at} of {n} is closed. " for at in range(n)) for n in (1, 2, 3, 40)))

    def keys() -> list[str]:
        work = made(way, plan_)
        return [
            request.key
            for unit in units(documents, plan_, work.pack)
            for request in drive(work, unit, lambda each: raw(work.predict(each, 80))(each))[1]
        ]

    assert len(keys()) > 4
    assert keys() == keys()


@pytest.mark.parametrize("way", WAYS)
def test_a_chunk_of_which_a_service_read_a_part_is_partial_and_says_so(way: str) -> None:
    plan_ = plan(input_tokens=900, max_output_tokens=100, max_chunk_tokens=60)
    work = made(way, plan_)
    text = "".join(f"Harbour {at} is closed. " for at in range(40))
    said = "truncated_input: the service read a part of what it was sent"

    def answer(short: set[int | None], fails: int | None = None) -> Result:
        def outcome(request: Request) -> Outcome:
            if request.chunk is not None and request.chunk == fails:
                return Failure(key=request.key, cause=Cause.SERVER_ERROR, message="told so")
            whole = raw(work.predict(request, 80))(request)
            assert isinstance(whole, Completion)
            return replace(whole, truncated=request.chunk in short)

        return drive(work, [document(text)], outcome)[0][0]

    chunks = answer({0}).chunks
    assert [(each.status, each.error) for each in chunks] == [("partial", said)] + [("ok", None)] * (len(chunks) - 1)
    every = {each.chunk.index for each in chunks}
    assert {each.status for each in answer(every).chunks} == {"partial"}
    if len(chunks) > 1:  # what the others say is kept where one fails
        assert answer(every, fails=1).status == "partial"


def test_the_ways_are_all_kinds_of_the_house() -> None:
    from docreduce.kinds.registry import kind_names

    assert {kind for kind, _ in WAYS.values()} == set(kind_names()), json.dumps(kind_names())
