"""`[reduce]`: one more result over all documents or for each value of a kept column, paid once and booked as any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from docreduce.config import load_job
from docreduce.engine.forecast import estimate_job
from docreduce.engine.run import RunOptions, exit_code, run_job
from docreduce.engine.shards import sharded
from docreduce.report.bill import bill
from docreduce.report.check import check
from docreduce.values.errors import JobError
from runs import serving, table, write_job

SENTENCE = "The bridge number {} over the Sauer was closed on 3 May 2021 because of cracks in its bearing. "
WHOLE = RunOptions()
TABLE = ["id,author,text", *(f'd{n},{"anna" if n % 3 else "bert"},"{SENTENCE.format(n) * 3}"' for n in range(9))]
Play = Callable[..., dict[str, Any]]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three documents as files."""
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / "in" / f"{n}.txt").write_text(SENTENCE.format(n) * 4, encoding="utf-8")
    return tmp_path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Nine rows of two authors, of whom bert comes first."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv").write_text("\n".join(TABLE), encoding="utf-8")
    return tmp_path


def job_of(folder: Path, kind: str = "summarize", **tables: Any) -> Any:
    settings: dict[str, Any] = {
        "input": {"paths": [str(folder / "in")], "text_column": "text", "id_column": "id"},
        "output": {"path": str(folder / "out")},
        "reduce": {"by": "all"},
        **({"summarize": {"max_words": 30}} if kind == "summarize" else {}),
        **tables,
    }
    return load_job(write_job(folder, "night", kind, {name: keys for name, keys in settings.items() if keys}))


def run(folder: Path, options: RunOptions = WHOLE, **tables: Any) -> dict[str, Any]:
    """A run with the embedded answers, of which nothing is wrong."""
    manifest = run_job(job_of(folder, **tables), options)
    assert check(folder / "out")["findings"] == []
    return manifest


@pytest.fixture
def paid(rows: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """The same over the rows by author, at a simulator that takes money."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with serving(output_words=20, tokenizer="bytes", latency_s=0.0) as server:
        priced: dict[str, Any] = {
            "model": {"provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 9000},
            "pricing": {"input_usd_per_million": 100.0, "output_usd_per_million": 100.0},
            "reduce": {"by": "author"},
        }
        yield lambda options=WHOLE, **tables: run(rows, options, **{**priced, **tables})


def groups(manifest: dict[str, Any]) -> list[tuple[Any, ...]]:
    return table(manifest, "groups").select("group", "documents", pl.col("status").cast(pl.String)).rows()


def test_one_summary_of_all_documents_and_the_tree_it_was_made_in(files: Path) -> None:
    manifest = run(files)
    assert groups(manifest) == [("all", 3, "ok")]
    (row,) = table(manifest, "groups").to_dicts()
    assert len(row["summary"]) > 20
    tree = table(manifest, "summaries").filter(pl.col("document_id") == "group:all")
    assert tree["text"].to_list()[-1] == row["summary"]
    assert tree["children"].to_list()[-1] == [0, 1, 2]
    assert manifest["groups"] == {
        "by": "all", "groups": 1, "ok": 1, "partial": 0, "failed": 0, "skipped": 0, "errors": {}
    }  # fmt: skip
    assert manifest["counts"]["documents"] == len(table(manifest, "documents")) == 3
    assert exit_code(manifest) == 0


def test_a_group_for_each_value_of_a_column_and_again_for_nothing(paid: Play) -> None:
    first = paid()
    assert groups(first) == [("bert", 3, "ok"), ("anna", 6, "ok")]
    calls = table(first, "calls").filter(pl.col("document_id").str.starts_with("group:"))
    assert calls["document_id"].to_list() == ["group:bert", "group:anna"]
    assert float(calls["cost_usd"].sum()) > 0
    assert table(first, "groups")["cost_usd"].sum() == calls["cost_usd"].sum()
    whole = float(table(first, "calls")["cost_usd"].sum())
    assert first["cost"]["charged_usd"] == pytest.approx(whole)
    found = bill(Path(first["run_dir"]).parents[1], by="document")["groups"]
    billed = {each["document"]: each["charged_usd"] for each in found}
    assert sum(billed.values()) == pytest.approx(whole)
    assert billed["group:bert"] > 0
    second = paid()
    assert (second["counts"]["calls"], second["cost"]["charged_usd"]) == (0, 0)
    assert second["changes"]["same"] == 9
    same = ["group", "documents", "summary"]
    assert table(second, "groups").select(same).equals(table(first, "groups").select(same))


def test_what_the_estimate_counts_is_what_the_run_calls(rows: Path) -> None:
    job = job_of(rows, reduce={"by": "author"})
    before = estimate_job(job)
    manifest = run_job(job, WHOLE)
    assert before["calls"]["expected"] == manifest["counts"]["calls"] == 11
    after = estimate_job(job)
    assert (after["calls"]["expected"], after["reused_calls"]) == (0, 11)


def test_a_member_that_failed_makes_its_group_partial_and_an_empty_one_does_not(files: Path) -> None:
    (files / "in" / "blank.txt").write_text(" \n", encoding="utf-8")
    assert groups(run(files)) == [("all", 3, "ok")]
    (files / "in" / "bad.txt").write_bytes(bytes(range(256)) * 50)
    manifest = run(files)
    assert groups(manifest) == [("all", 4, "partial")]
    assert table(manifest, "groups")["error"].to_list() == ["1 of its 4 documents have no summary"]
    assert exit_code(manifest) == 1


def test_a_cap_that_stops_before_the_groups_leaves_rows_and_the_next_run_pays_for_them_alone(paid: Play) -> None:
    paid(reduce=None)
    stopped = paid(budget={"max_cost_usd": 0.000001})
    assert stopped["status"] == "budget"
    assert stopped["counts"]["ok"] == 9
    assert groups(stopped) == [("bert", 3, "skipped"), ("anna", 6, "skipped")]
    assert table(stopped, "groups")["summary"].to_list() == [None, None]
    assert exit_code(stopped) == 3
    on = paid()
    assert on["counts"]["calls"] == 2
    assert groups(on) == [("bert", 3, "ok"), ("anna", 6, "ok")]


def test_a_group_waits_for_the_documents_that_a_cap_left_out(paid: Play) -> None:
    stopped = paid(budget={"max_cost_usd": 0.000001})
    assert stopped["counts"]["skipped"] == 9
    assert groups(stopped) == [("bert", 3, "skipped"), ("anna", 6, "skipped")]
    assert all("not all of its documents are done" in why for why in table(stopped, "groups")["error"])


def test_a_group_waits_for_the_batches_of_its_documents(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    with serving(batch_s=86_400.0, latency_s=0.0, output_words=20) as server:
        model = {"provider": "openai", "name": "m", "base_url": server.url, "context_window": 8000, "mode": "batch"}
        prices = {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0, "batch_discount": 0.5}
        job = job_of(files, model=model, pricing=prices)
        first = run_job(job, WHOLE)
        assert (exit_code(first), first["groups"]["errors"]) == (6, {"waiting": 1})
        server.simulated.settings = replace(server.simulated.settings, batch_s=0.0)
        second = run_job(job, WHOLE)
    assert (second["status"], groups(second)) == ("complete", [("all", 3, "ok")])
    assert check(files / "out")["wrong"] == 0


def test_an_interrupt_among_the_documents_leaves_the_groups_as_rows(rows: Path) -> None:
    manifest = run(rows, RunOptions(deadline_s=0.0), reduce={"by": "author"})
    assert manifest["status"] == "deadline"
    assert {status for _, _, status in groups(manifest)} == {"skipped"}


def test_a_document_that_is_called_like_a_group_keeps_its_name(rows: Path) -> None:
    (rows / "in" / "t.csv").write_text("\n".join([*TABLE, f'group:all,carl,"{SENTENCE}"']), encoding="utf-8")
    manifest = run(rows)
    assert table(manifest, "groups")["document_id"].to_list() == ["group:all~2"]
    assert "group:all" in table(manifest, "documents")["document_id"].to_list()


def test_a_run_without_groups_after_one_with_them_knows_what_is_the_same(rows: Path) -> None:
    run(rows)
    manifest = run(rows, reduce=None)
    assert manifest["changes"]["same"] == 9
    assert "groups" not in manifest
    assert not (Path(manifest["run_dir"]) / "groups.parquet").exists()


def test_a_sample_makes_no_groups(rows: Path) -> None:
    assert "groups" not in run_job(job_of(rows), RunOptions(sample=2))


@pytest.mark.parametrize(
    ("kind", "tables", "says"),
    [
        ("map", {"map": {"prompt": "Which?", "labels": ["a", "b"]}}, "makes no result of many documents"),
        ("summarize", {"reduce": {"by": "nobody"}}, "'nobody' is no kept column of"),
        ("summarize", {"reduce": {"by": "text"}}, "'text' is no kept column"),
        ("summarize", {"reduce": {"over": "all"}}, "reduce.over: unknown key"),
    ],
)
def test_what_cannot_be_grouped_is_refused_before_anything_is_sent(
    rows: Path, kind: str, tables: dict[str, Any], says: str
) -> None:
    model = {"provider": "openai", "name": "m", "base_url": "http://127.0.0.1:9/v1", "context_window": 9000}
    pricing = {"input_usd_per_million": 100.0, "output_usd_per_million": 100.0}
    settings = {"model": model, "pricing": pricing, **tables}
    with pytest.raises(JobError, match=says):
        run_job(job_of(rows, kind, **settings), WHOLE)
    with pytest.raises(JobError, match=says):
        estimate_job(job_of(rows, kind, **settings))


def test_files_have_no_columns_and_a_shard_no_whole_group(files: Path) -> None:
    paths = {"paths": [str(files / "in")]}
    with pytest.raises(JobError, match=r"without input\.text_column there are none"):
        run_job(job_of(files, input=paths, reduce={"by": "author"}), WHOLE)
    with pytest.raises(JobError, match="a shard has a part of the documents only"):
        sharded(job_of(files, input=paths), 1, 2)
