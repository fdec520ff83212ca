"""Many documents to one summary, and the tree that a summary was made in."""

from __future__ import annotations

from pathlib import Path

import driving
import polars as pl
from docreduce.kinds.summarize import KIND
from docreduce.kinds.summarize.settings import SummarizeSettings
from docreduce.results import DatasetWriter, DocumentRow
from docreduce.values import Cause, Completion, Outcome, Request, Result
from driving import raw, refuse


def done(*summaries: str | None) -> list[Result]:
    return [Result(status="ok" if each else "failed", summary=each) for each in summaries]


def reduced(results: list[Result], answer: driving.Answer, **changes: object) -> tuple[Result, list[Request]]:
    """The group's result, driven as a unit's generator is."""
    plan = driving.plan(**{"input_tokens": 1_000, "max_output_tokens": 100, **changes})
    work = KIND.prepare(SummarizeSettings(max_words=40), plan)
    assert work.reduce is not None
    steps, asked = work.reduce("north", results), []
    outcomes: list[Outcome] | None = None
    while True:
        try:
            requests = next(steps) if outcomes is None else steps.send(outcomes)
        except StopIteration as stop:
            (result,) = stop.value
            return result, asked
        asked += requests
        outcomes = [answer(request) for request in requests]


def test_many_summaries_become_one_in_requests_that_fit() -> None:
    results = done(*(f"Harbour {n} was closed for {n} days. " * 6 for n in range(60)))
    result, asked = reduced(results, lambda request: raw(f"of {len(request.messages[-1].content)}")(request))
    assert result.status == "ok"
    (row,) = result.tables["groups"]
    assert (row["group"], row["documents"], row["summary"]) == ("north", 60, result.summary)
    assert len(asked) > 5
    assert {request.stage for request in asked} == {"reduce"}
    assert all(request.tokens <= 1_000 for request in asked)
    leaves = [node for node in result.tables["summaries"] if not node["level"]]
    assert [node["text"] for node in leaves] == [each.summary for each in results]
    below = [child for node in result.tables["summaries"] for child in node["children"]]
    assert sorted(below) == sorted(node["node"] for node in result.tables["summaries"][:-1])


def test_one_summary_is_its_groups_and_none_is_none() -> None:
    result, asked = reduced(done("All is well."), raw("no"))
    assert (result.status, result.summary, asked) == ("ok", "All is well.", [])
    result, asked = reduced(done(None, None), raw("no"))
    assert (result.status, result.error_kind, asked) == ("skipped", "empty", [])
    assert result.tables["groups"][0]["summary"] is None


def test_a_document_without_a_summary_and_a_merge_that_fails_make_the_group_partial() -> None:
    result, _ = reduced(done("One.", None, "Two."), raw("Both."))
    assert (result.status, result.summary) == ("partial", "Both.")
    assert result.error is not None
    assert "1 of its 3 documents" in result.error
    result, _ = reduced(done("One.", "Two."), refuse(Cause.SERVER_ERROR))
    assert (result.status, result.summary) == ("partial", "One.\n\nTwo.")


def test_the_tables_of_a_summary_are_written_by_their_columns(tmp_path: Path) -> None:
    text = "\n\n".join(f"{n}. The harbour of Kiel was closed for {n} days in May." for n in range(120))
    work = KIND.prepare(SummarizeSettings(max_words=40), driving.plan(max_chunk_tokens=200))

    def answer(request: Request) -> Outcome:
        first = request.messages[-1].content.strip().split("\n")[0]
        outcome = raw(first)(request)
        assert isinstance(outcome, Completion)
        return outcome

    (result,), _ = driving.drive(work, [driving.document(text)], answer)
    with DatasetWriter(tmp_path, "job", "run", tables=work.tables) as writer:
        writer.write(DocumentRow(document_id="d", uri="d.txt", result=result))
        folder = writer.commit({})
    nodes = pl.read_parquet(folder / "summaries.parquet")
    assert nodes.columns == ["document_id", "uri", "level", "node", "children", "text", "tokens"]
    assert nodes.filter(pl.col("level") == 0).height == len(result.chunks)
    assert nodes.sort("node")["text"][-1] == result.summary
    rests = pl.read_parquet(folder / "support.parquet")
    assert set(rests["status"].to_list()) == {"supported"}
    start, end = rests["char_start"][0], rests["char_end"][0]
    assert "harbour of Kiel" in text[start:end]
