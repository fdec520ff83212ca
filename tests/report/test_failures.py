"""What failed and what changed, in words: `failures`, `diff`, and the end of a run."""

from __future__ import annotations

import io
import json
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.report.failures import by_reason, diff, failures
from docreduce.report.remedies import remedy
from docreduce.report.sentences import against_estimate, reasons, verdict
from docreduce.report.tables import print_diff
from docreduce.values import Cause
from places import ROOT
from reports import Runs
from rich.console import Console


def invoke(*args: object) -> str:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_document_that_is_not_ok_is_named_with_reason_and_remedy(made: Runs) -> None:
    found = failures(made.first)
    documents = pl.read_parquet(made.first / "documents.parquet")
    bad = documents.filter(pl.col("status").cast(pl.String) != "ok")
    assert found["total"] == bad.height == len(found["failures"]) > 1
    assert {row["document_id"] for row in found["failures"]} == set(bad["document_id"])
    assert all(row["error"] and row["remedy"] for row in found["failures"])
    assert [row["status"] for row in found["failures"]] == sorted(row["status"] for row in found["failures"])
    assert sum(kind["documents"] for kind in found["kinds"]) == found["total"]
    shown = invoke("failures", made.first)
    assert "nothing.txt" in shown
    assert "--retry-failed" in shown  # the filter's refusal is remembered
    assert "1 more" in invoke("failures", made.first, "--limit", found["total"] - 1)


def test_every_cause_has_a_remedy_of_its_own() -> None:
    words = {cause: remedy(cause.value) for cause in Cause}
    assert all(words.values())
    assert [cause for cause in Cause if words[cause] == remedy("a kind of tomorrow")] == []
    files = "crashed empty encrypted malformed_row no_column no_reader no_text not_text doubtful_encoding old_format "
    files += "thin_text too_large truncated_input unfit_value unreadable"
    assert [kind for kind in files.split() if remedy(kind) == remedy("a kind of tomorrow")] == []


def test_a_reason_is_told_once_whatever_the_status(made: Runs) -> None:
    kinds = [
        {"status": "failed", "error_kind": "cut", "documents": 1_200, "remedy": "Raise it."},
        {"status": "partial", "error_kind": "cut", "documents": 3, "remedy": "Raise it."},
        {"status": "skipped", "error_kind": None, "documents": 1, "remedy": "Again."},
    ]
    told = [(each["numbers"], each["reason"], each["remedy"]) for each in by_reason(kinds)]
    assert told == [("1,200 failed and 3 partial", "cut", "Raise it."), ("1 skipped", "no reason given", "Again.")]
    assert invoke("report", made.first).count("--retry-failed` asks again") == 1


def test_a_diff_names_a_document_once_with_all_that_changed_in_it() -> None:
    changes = [
        {"document": "a.txt", "what": "status", "before": "ok", "after": "failed"},
        {"document": "a.txt", "what": "error_kind", "before": None, "after": "cut"},
        {"document": "b.txt", "what": "summary", "before": "long " * 20, "after": "short"},
    ]
    found = {"before": "1", "after": "2", "same_job": True, "documents": [2, 2], "charged_usd": [0.0, 0.0]}
    console = Console(file=io.StringIO(), width=80)
    print_diff({**found, "new": [], "gone": [], "changed": [], "changes": changes}, console)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines[2:6] == ["a.txt", "  status: ok → failed", "  error kind: – → cut", "b.txt"]
    assert lines[6:8] == [
        "  summary",
        "    before long long long long long long long long long long long long long long",
    ]


def test_a_diff_tells_new_changed_and_same_documents(made: Runs) -> None:
    found = diff(made.first, made.second)
    assert [name.rsplit("/", 1)[1] for name in found["new"]] == ["new.txt"]
    assert [name.rsplit("/", 1)[1] for name in found["changed"]] == ["hosting.txt"]
    assert found["gone"] == []
    back = diff(made.second, made.first)
    assert [name.rsplit("/", 1)[1] for name in back["gone"]] == ["new.txt"]
    assert "new.txt" in invoke("diff", made.first, made.second)
    assert "nothing changed" in invoke("diff", made.first, made.first)


def test_a_diff_tells_which_field_is_another(runs: Runs) -> None:
    path = runs.second / "records.parquet"
    records = pl.read_parquet(path)
    name = str(records.filter(pl.col("uri").str.contains("distribution"))["document_id"].item())
    here = pl.col("document_id") == name
    records.with_columns(
        pl.when(here).then(pl.lit("Mars")).otherwise(pl.col("governing_law")).alias("governing_law")
    ).write_parquet(path)
    changes = [each for each in diff(runs.first, runs.second)["changes"] if each["document_id"] == name]
    assert [(each["what"], each["after"]) for each in changes] == [("governing_law", "Mars")]
    assert changes[0]["before"] == records.filter(here)["governing_law"].item()


def manifest(expected: float, actual: float, **counts: int) -> dict[str, Any]:
    apart = actual / (expected or 1) - 1
    estimate = {"cost_usd": {"low": expected / 2, "expected": expected, "high": expected * 2, "ceiling": expected * 3}}
    none = dict.fromkeys(("documents", "ok", "partial", "failed", "skipped", "failed_attempts", "reused_calls"), 0)
    return {
        "status": "complete",
        "counts": none | counts,
        "estimate": estimate | {"basis": {"answers_seen": 0}},
        "actual": {"cost_usd": actual},
        "difference": {"cost_usd": apart if expected else None, "output_tokens": apart},
        "usage": {"input_tokens": 100, "cached_input_tokens": 0, "reasoning_tokens": 7},
        "cost": {"unknown_usd": 0.0},
    }


@pytest.mark.parametrize(
    ("expected", "actual", "words"),
    [
        (0.047, 0.0397, "16 % less than the $0.0470 estimated, within"),
        (0.047, 0.258, "5.5 times the $0.0470 estimated, above its range"),
        (0.047, 0.06, "28 % more than the $0.0470 estimated, within"),
        (0.047, 0.01, "79 % less than the $0.0470 estimated, below its range"),
        (0.047, 0.047, "as estimated ($0.0470)"),
    ],
)
def test_a_cost_stands_to_its_estimate_in_words(expected: float, actual: float, words: str) -> None:
    assert str(against_estimate(manifest(expected, actual))).startswith(words)


def test_a_cost_far_from_its_estimate_is_given_reasons_and_a_near_one_none() -> None:
    far = list(reasons(manifest(0.047, 0.258, failed_attempts=3)))
    assert far[0] == "answers were longer than expected (449 %)"
    assert "7 tokens of the answers were reasoning" in far
    assert "3 attempts failed, and some of them were charged" in far
    assert list(reasons(manifest(0.047, 0.05, failed_attempts=3))) == []
    assert against_estimate(manifest(0.0, 0.0)) is None
    assert against_estimate({**manifest(0.047, 0.0), "status": "refused"}) is None
    stopped = {**manifest(0.047, 0.01), "status": "budget"}
    assert list(reasons(stopped)) == ["the run was stopped before its end"]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"documents": 3, "ok": 3}, "Complete: all 3 documents are ok."),
        ({"documents": 1, "ok": 1}, "Complete: the document is ok."),
        ({"documents": 9, "ok": 7, "failed": 2}, "Complete: 7 of 9 documents ok, 2 failed."),
        ({"documents": 0}, "Complete: 0 of 0 documents ok."),
    ],
)
def test_the_verdict_is_one_sentence(counts: dict[str, int], words: str) -> None:
    assert verdict(manifest(1, 1, **counts)) == words


def test_the_end_of_a_run_names_file_reason_and_remedy_and_its_notes(made: Runs, tmp_path: Any) -> None:
    (tmp_path / "in").mkdir()
    for number in range(7):
        (tmp_path / "in" / f"{number}.txt").write_text("")
    job = [ROOT / "jobs" / "summarize.toml", "--input", tmp_path / "in", "--output", tmp_path / "out"]
    result = CliRunner().invoke(main, ["run", *map(str, job)])
    assert result.exit_code == 7
    assert "0.txt: the file is empty" in result.stderr
    assert remedy("empty") in result.stderr
    assert "2 more: docreduce failures" in result.stderr
    shown = json.loads((made.first / "run.json").read_bytes())["notes"]
    printed = invoke("report", made.second)
    assert "% of that" not in printed
    assert all(note.split("\n")[0] in invoke("report", made.first) for note in shown)
