"""The generator of a summary, driven by hand: what it asks, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import driving
import pytest
from docreduce.kinds.kind import Plan
from docreduce.kinds.summarize import KIND
from docreduce.kinds.summarize.settings import SummarizeSettings
from docreduce.text.tokens import tokenizer
from docreduce.values import Cause, Failure, Outcome, Request, Result
from docreduce.values.errors import JobError
from driving import document, raw

PARAGRAPH = "The harbour was closed for nine days in May. Nobody had expected the ice to come back so late. "
TEXT = "\n\n".join(f"{n}. {PARAGRAPH * 3}" for n in range(40))


def plan(**changes: Any) -> Plan:
    return driving.plan(**{"input_tokens": 4000, "max_output_tokens": 700, "max_chunk_tokens": 400, **changes})


def drive(
    text: str, answer: Callable[[Request], str | Outcome], settings: SummarizeSettings | None = None, **changes: Any
) -> tuple[Result, list[Request]]:
    def outcome(request: Request) -> Outcome:
        got = answer(request)
        return raw(got)(request) if isinstance(got, str) else got

    work = KIND.prepare(settings or SummarizeSettings(), plan(**changes))
    (result,), asked = driving.drive(work, [document(text)], outcome)
    return result, asked


def cut(request: Request) -> Outcome:
    return raw("It began well. Then it broke", "length")(request)


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
    _, asked = drive(TEXT, lambda _: "word " * 90, input_tokens=900, max_output_tokens=100)
    count = tokenizer().count
    for request in asked:
        assert sum(count(message.content) for message in request.messages) <= request.tokens <= 900
    assert max(1 for request in asked if request.stage == "reduce")


def test_a_tree_of_long_answers_has_several_levels_and_ends() -> None:
    result, asked = drive(TEXT, lambda _: "word " * 95, max_chunk_tokens=100, max_output_tokens=100)
    reduces = [request for request in asked if request.stage == "reduce"]
    assert len(reduces) > 10
    assert result.status == "ok"


def test_a_cut_answer_is_asked_for_once_in_half_the_words() -> None:
    def answer(request: Request) -> str | Outcome:
        return cut(request) if request.chunk == 1 and request.max_words == 300 else f"in {request.max_words} words"

    result, asked = drive(TEXT, answer)
    assert (result.status, result.error_kind) == ("ok", "shortened")
    assert result.counts["shortened_summaries"] == 1
    first, again = (request for request in asked if request.chunk == 1)
    assert (first.max_words, again.max_words) == (300, 150)
    assert first.messages[-1] == again.messages[-1]
    assert "at most 150 words" in again.messages[0].content
    assert result.chunks[1].output == "in 150 words"


def test_an_answer_that_is_cut_twice_stands_with_its_whole_sentences_and_the_document_is_partial() -> None:
    result, asked = drive(PARAGRAPH, cut)
    assert (result.status, result.error_kind) == ("partial", "cut")
    assert result.summary == "It began well."
    assert [chunk.status for chunk in result.chunks] == ["partial"]
    assert len(asked) == 2


def test_a_cut_answer_without_a_whole_sentence_stands_as_it_is_and_says_so() -> None:
    result, _ = drive(PARAGRAPH, raw("no sentence ends in this", "length"))
    assert (result.status, result.error_kind, result.summary) == ("partial", "cut", "no sentence ends in this")


def test_no_document_costs_more_than_twice_its_chunks_and_merges_however_many_answers_are_cut() -> None:
    for strategy in ("tree", "refine"):
        result, asked = drive(TEXT, cut, SummarizeSettings(strategy=strategy))
        merges = sum(request.stage == "reduce" and request.chunk is None for request in asked)
        assert len(asked) <= 2 * len(result.chunks) + merges
        assert (result.status, result.error_kind) == ("partial", "cut")


def test_what_is_asked_for_surely_fits_the_answer_and_the_user_is_told() -> None:
    work = KIND.prepare(SummarizeSettings(max_words=300), plan(max_output_tokens=220))
    (note,) = work.notes
    assert "99 words are asked for" in note
    assert KIND.prepare(SummarizeSettings(max_words=99), plan(max_output_tokens=220)).notes == []


def test_a_context_overflow_is_split_until_it_fits() -> None:
    def answer(request: Request) -> str | Outcome:
        if request.stage == "map" and len(request.messages[-1].content) > 700:
            return failure(request, Cause.CONTEXT_OVERFLOW)
        return "fine"

    result, _ = drive(TEXT, answer)
    assert result.status == "ok"
    assert all(len(chunk.chunk.span) <= 700 for chunk in result.chunks)


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
            return failure(request, Cause.SERVER_ERROR if chunk == 1 else Cause.CONTEXT_OVERFLOW)
        return f"s{chunk}"

    result, _ = drive(TEXT, answer, SummarizeSettings(strategy="refine"))
    assert result.status == "partial"
    indexes = [chunk.chunk.index for chunk in result.chunks]
    assert len(set(indexes)) == len(indexes)


def test_refine_never_sends_two_turns_of_one_speaker_in_a_row() -> None:
    _, asked = drive(TEXT, lambda request: f"up to {request.chunk}", SummarizeSettings(strategy="refine"))
    assert len(asked) > 2
    for request in asked:
        roles = [message.role for message in request.messages]
        assert roles[0] == "system"
        assert roles[1:] == ["user", "assistant"] * (len(roles) // 2 - 1) + ["user"]


def test_the_embedded_refine_keeps_what_stood_before() -> None:
    text = "\n\n".join(
        f"The harbour of {name} was closed for nine days in May, and the council of {name} paid for all of it. " * 2
        for name in ("Kiel", "Emden", "Husum", "Rostock", "Wismar", "Lubeck")
    )
    work = KIND.prepare(SummarizeSettings(strategy="refine", max_words=200), plan(max_chunk_tokens=60))
    assert work.offline is not None
    offline = work.offline
    (result,), asked = driving.drive(work, [document(text)], lambda request: raw(offline(request))(request))
    assert len(asked) > 3
    assert result.status == "ok"
    assert "Kiel" in str(result.summary), "the first chunk is forgotten"
    assert "Lubeck" in str(result.summary)


def test_instructions_that_leave_no_room_are_a_job_error() -> None:
    with pytest.raises(JobError, match="the instructions take"):
        drive(TEXT, lambda _: "x", SummarizeSettings(instructions="word " * 5000))


def test_the_same_document_asks_the_same_requests() -> None:
    _, first = drive(TEXT, lambda request: f"{request.chunk}")
    _, second = drive(TEXT, lambda request: f"{request.chunk}")
    assert [request.key for request in first] == [request.key for request in second]
