"""The generator of a summary, driven by hand: what it asks, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from docreduce.config import SummarizeSettings
from docreduce.kinds.plan import ModelPlan
from docreduce.kinds.summarize.steps import summarize
from docreduce.text.tokens import tokenizer
from docreduce.values import Cause, Completion, Document, Failure, Outcome, Request, Result, Usage
from docreduce.values.errors import JobError

PARAGRAPH = "The harbour was closed for nine days in May. Nobody had expected the ice to come back so late. "
TEXT = "\n\n".join(f"{n}. {PARAGRAPH * 3}" for n in range(40))


def plan(**changes: Any) -> ModelPlan:
    settings: dict[str, Any] = {
        "provider": "openai",
        "model": "m",
        "tokenizer": tokenizer(),
        "input_tokens": 4000,
        "max_output_tokens": 100,
        "temperature": 0.0,
        "top_p": 1.0,
        "max_chunk_tokens": 400,
    }
    return ModelPlan(**{**settings, **changes})


def drive(
    text: str, answer: Callable[[Request], str | Outcome], settings: SummarizeSettings | None = None, **changes: Any
) -> tuple[Result, list[Request]]:
    document = Document(id="d", uri="d.txt", text=text, media_type="text/plain")
    steps = summarize([document], plan(**changes), settings or SummarizeSettings())
    asked: list[Request] = []
    requests = next(steps)
    while True:
        asked += requests
        outcomes: list[Outcome] = []
        for request in requests:
            got = answer(request)
            usage = Usage(input_tokens=1, output_tokens=1)
            if isinstance(got, str):
                got = Completion(key=request.key, text=got, finish_reason="stop", usage=usage)
            outcomes.append(got)
        try:
            requests = steps.send(outcomes)
        except StopIteration as stop:
            (result,) = stop.value
            return result, asked


def cut(request: Request) -> Completion:
    return Completion(
        key=request.key, text="half a", finish_reason="length", usage=Usage(input_tokens=1, output_tokens=1)
    )


def failure(request: Request, cause: Cause = Cause.SERVER_ERROR) -> Failure:
    return Failure(key=request.key, cause=cause, message="told so")


def test_a_text_that_fits_is_one_call_and_its_answer_is_the_summary() -> None:
    result, asked = drive(PARAGRAPH, lambda _: "short")
    assert result.summary == "short"
    assert result.status == "ok"
    assert [request.stage for request in asked] == ["map"]
    assert asked[0].messages[-1].content == PARAGRAPH


def test_every_chunk_is_asked_verbatim_and_the_answers_are_merged_in_a_tree() -> None:
    result, asked = drive(TEXT, lambda request: f"{request.stage} {request.chunk}")
    mapped = [request for request in asked if request.stage == "map"]
    assert "".join(request.messages[-1].content for request in mapped) == TEXT
    assert [request.chunk for request in mapped] == list(range(len(mapped)))
    assert result.summary == "reduce None"
    assert [chunk.output for chunk in result.chunks] == [f"map {n}" for n in range(len(mapped))]


def test_no_request_holds_more_tokens_than_it_says_or_than_there_is_room_for() -> None:
    _, asked = drive(TEXT, lambda _: "word " * 90, input_tokens=900)
    count = tokenizer().count
    for request in asked:
        assert sum(count(message.content) for message in request.messages) <= request.input_tokens <= 900
    assert max(1 for request in asked if request.stage == "reduce")


def test_a_tree_of_long_answers_has_several_levels_and_ends() -> None:
    result, asked = drive(TEXT, lambda _: "word " * 95, max_chunk_tokens=100)
    reduces = [request for request in asked if request.stage == "reduce"]
    assert len(reduces) > 10
    assert result.status == "ok"


def test_a_cut_answer_splits_its_chunk_and_is_never_passed_off_as_whole() -> None:
    first: list[str] = []

    def answer(request: Request) -> str | Outcome:
        if request.stage == "map" and request.chunk == 1 and not first:
            first.append(request.messages[-1].content)
            return cut(request)
        return "fine"

    result, _asked = drive(TEXT, answer)
    assert result.status == "ok"
    assert all(chunk.output == "fine" for chunk in result.chunks)
    spans = [(chunk.chunk.span.start, chunk.chunk.span.end) for chunk in result.chunks]
    assert "".join(TEXT[a:b] for a, b in spans) == TEXT
    indexes = [chunk.chunk.index for chunk in result.chunks]
    assert 1 not in indexes
    assert len(set(indexes)) == len(indexes)


def test_a_context_overflow_is_split_until_it_fits() -> None:
    def answer(request: Request) -> str | Outcome:
        if request.stage == "map" and len(request.messages[-1].content) > 700:
            return failure(request, Cause.CONTEXT_OVERFLOW)
        return "fine"

    result, _ = drive(TEXT, answer)
    assert result.status == "ok"
    assert all(len(chunk.chunk.span) <= 700 for chunk in result.chunks)


def test_an_answer_that_is_always_cut_fails_its_chunks_after_a_bounded_number_of_calls() -> None:
    result, asked = drive("word " * 50, cut)
    assert result.status == "failed"
    assert result.error_kind == "cut"
    assert len(asked) < 130


def test_a_failed_chunk_makes_the_document_partial_and_its_reason_is_told() -> None:
    result, _ = drive(TEXT, lambda request: failure(request) if request.chunk == 0 else "fine")
    assert result.status == "partial"
    assert result.error_kind == "server_error"
    assert result.summary == "fine"
    assert result.chunks[0].status == "failed"
    assert result.rejected


def test_a_document_whose_run_ended_is_skipped_and_not_failed() -> None:
    result, _ = drive(TEXT, lambda request: failure(request, Cause.BUDGET) if request.chunk == 2 else "fine")
    assert result.status == "skipped"
    assert result.error_kind == "budget"
    assert result.summary is None
    assert not result.rejected


def test_a_merge_that_is_cut_is_asked_for_fewer_words() -> None:
    def answer(request: Request) -> str | Outcome:
        if request.stage == "reduce" and request.max_words == 300:
            return cut(request)
        return f"in {request.max_words} words"

    result, _ = drive(TEXT, answer)
    assert result.status == "ok"
    assert result.summary == "in 150 words"


def test_a_merge_that_fails_leaves_the_unmerged_parts_and_says_so() -> None:
    result, _ = drive(TEXT, lambda request: failure(request) if request.stage == "reduce" else f"part {request.chunk}.")
    assert result.status == "partial"
    assert result.summary is not None
    assert result.summary.startswith("part 0.\n\npart 1.")
    assert result.error == "reduce: told so"


def test_refine_carries_one_summary_through_the_chunks() -> None:
    settings = SummarizeSettings(strategy="refine")
    result, asked = drive(TEXT, lambda request: f"up to {request.chunk}", settings)
    assert [request.chunk for request in asked] == list(range(len(asked)))
    assert asked[1].messages[1].content == "up to 0"
    assert result.summary == f"up to {len(asked) - 1}"
    assert "".join(request.messages[-1].content for request in asked) == TEXT


def test_refine_goes_on_past_a_failed_chunk_and_a_split_one() -> None:
    seen: set[int] = set()

    def answer(request: Request) -> str | Outcome:
        chunk = request.chunk if request.chunk is not None else -1
        if chunk in (1, 2) and chunk not in seen:
            seen.add(chunk)
            return failure(request) if chunk == 1 else cut(request)
        return f"s{chunk}"

    result, _ = drive(TEXT, answer, SummarizeSettings(strategy="refine"))
    assert result.status == "partial"
    indexes = [chunk.chunk.index for chunk in result.chunks]
    assert len(set(indexes)) == len(indexes)


def test_instructions_that_leave_no_room_are_a_job_error() -> None:
    with pytest.raises(JobError, match="the instructions take"):
        drive(TEXT, lambda _: "x", SummarizeSettings(instructions="word " * 5000))


def test_the_same_document_asks_the_same_requests() -> None:
    _, first = drive(TEXT, lambda request: f"{request.chunk}")
    _, second = drive(TEXT, lambda request: f"{request.chunk}")
    assert [request.key for request in first] == [request.key for request in second]
