"""A whole run, from files to committed Parquet, with the embedded provider and with the simulator."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from docreduce.config import load_job
from docreduce.engine.forecast import estimate_job
from docreduce.engine.run import RunOptions, exit_code, run_job
from docreduce.values.errors import JobError
from runs import table, write_job

PARAGRAPH = (
    "The bridge over the Sauer was closed on 3 May 2021 because of cracks in its northern bearing. "
    "Engineers found that the cracks had grown by four millimetres since the last inspection. "
    "The repair cost 1.4 million euros and took eleven weeks. "
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    documents = tmp_path / "in"
    documents.mkdir()
    (documents / "a.txt").write_text("\n\n".join(PARAGRAPH for _ in range(30)), encoding="utf-8")
    (documents / "b.md").write_text(f"# One\n\n{PARAGRAPH}\n\n# Two\n\n{PARAGRAPH * 2}\n", encoding="utf-8")
    (documents / "c.html").write_text(f"<h1>Bridge</h1><p>{PARAGRAPH}</p>", encoding="utf-8")
    (documents / "d.txt.gz").write_bytes(gzip.compress((PARAGRAPH * 3).encode()))
    (documents / "e.csv").write_text(f'id,body\n1,"{PARAGRAPH}"\n2,\n3,"{PARAGRAPH * 2}"\n', encoding="utf-8")
    return tmp_path


def job_file(folder: Path, **tables: Any) -> Path:
    """A job over the folder's documents; keyword arguments are tables of the job file, in JSON's values."""
    settings = {
        "input": {"paths": [str(folder / "in")], "text_column": "body", "id_column": "id"},
        "summarize": {"max_words": 40},
        "chunking": {"max_tokens": 200},
        "output": {"path": str(folder / "out")},
        **tables,
    }
    return write_job(folder, "night", "summarize", settings)


def run(folder: Path, options: RunOptions | None = None, **tables: Any) -> dict[str, Any]:
    return run_job(load_job(job_file(folder, **tables)), options or RunOptions())


def test_every_input_is_a_row_in_the_inputs_order_with_its_summary(folder: Path) -> None:
    manifest = run(folder)
    documents = table(manifest, "documents")
    names = [Path(uri).name for uri in documents["uri"]]
    assert names == ["a.txt", "b.md", "c.html", "d.txt.gz", "e.csv#0", "e.csv#1", "e.csv#2"]
    assert documents["status"].to_list() == ["ok"] * 5 + ["skipped", "ok"]
    assert documents["document_id"].to_list()[4:] == ["1", "2", "3"]
    assert all(documents.filter(pl.col("status") == "ok")["summary"].str.len_chars() > 20)
    assert exit_code(manifest) == 0


def test_chunks_cover_each_document_and_calls_add_up(folder: Path) -> None:
    manifest = run(folder)
    documents, chunks, calls = (table(manifest, name) for name in ("documents", "chunks", "calls"))
    text = (folder / "in" / "a.txt").read_text(encoding="utf-8")
    first = chunks.filter(pl.col("document_id") == documents["document_id"][0]).sort("char_start")
    assert "".join(text[a:b] for a, b in first.select("char_start", "char_end").iter_rows()) == text
    assert first["tokens"].max() <= 200
    assert calls["cost_usd"].sum() == 0
    paid = calls.filter(pl.col("billing") == "charged")
    assert paid["input_tokens"].sum() == manifest["usage"]["input_tokens"] == documents["input_tokens"].sum()
    assert len(paid) == manifest["counts"]["attempts"]
    assert len(calls) - len(paid) == manifest["counts"]["reused_calls"]


def test_the_same_command_again_makes_no_call_and_gives_equal_results(folder: Path) -> None:
    first = run(folder)
    second = run(folder)
    assert second["counts"]["calls"] == 0
    assert second["counts"]["reused_calls"] == first["counts"]["calls"] + first["counts"]["reused_calls"]
    for name in ("documents", "chunks"):
        same = ["document_id", "summary"] if name == "documents" else table(first, name).columns
        assert table(first, name).select(same).equals(table(second, name).select(same))


def test_a_changed_document_pays_for_its_changed_chunks_only(folder: Path) -> None:
    first = run(folder)
    path = folder / "in" / "a.txt"
    path.write_text(path.read_text(encoding="utf-8") + "\n\nA last word was added in June.", encoding="utf-8")
    second = run(folder)
    mapped = table(second, "calls").filter(pl.col("stage") == "map", pl.col("billing") != "reused")
    assert len(mapped) <= 2
    assert second["counts"]["calls"] < first["counts"]["calls"]


def test_the_estimate_says_what_the_run_then_does(folder: Path) -> None:
    job = load_job(job_file(folder))
    estimate = estimate_job(job)
    manifest = run_job(job, RunOptions())
    assert estimate["documents"] == manifest["counts"]["documents"]
    assert estimate["chunks"] == manifest["counts"]["chunks"]
    assert estimate["calls"]["expected"] == manifest["counts"]["calls"]
    assert estimate_job(job)["calls"]["expected"] == 0
    assert estimate["reused_calls"] == manifest["counts"]["reused_calls"]
    assert estimate_job(job)["reused_calls"] == manifest["counts"]["calls"] + manifest["counts"]["reused_calls"]


def test_a_bad_document_is_a_failed_row_and_costs_nobody_elses_result(folder: Path) -> None:
    (folder / "in" / "bad.txt").write_bytes(bytes(range(256)) * 50)
    (folder / "in" / "empty.md").write_bytes(b"")
    manifest = run(folder)
    documents = table(manifest, "documents")
    failed = documents.filter(pl.col("status") == "failed")
    assert [Path(uri).name for uri in failed["uri"]] == ["bad.txt", "empty.md"]
    assert failed["error_kind"].to_list() == ["not_text", "empty"]
    assert all(failed["error"].str.len_chars() > 5)
    assert documents.filter(pl.col("status") == "ok").height == 6
    assert exit_code(manifest) == 1


def test_a_missing_path_is_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(JobError, match="nowhere"):
        run(folder, input={"paths": [str(folder / "nowhere.txt")]})
    assert not (folder / "out").exists()


def test_limit_takes_the_first_documents(folder: Path) -> None:
    assert run(folder, RunOptions(limit=2))["counts"]["documents"] == 2


def test_equal_documents_are_two_rows_and_one_payment(folder: Path) -> None:
    (folder / "in" / "a2.txt").write_bytes((folder / "in" / "a.txt").read_bytes())
    manifest = run(folder)
    documents = table(manifest, "documents")
    assert documents["document_id"].n_unique() == len(documents)
    twins = documents.filter(pl.col("uri").str.contains(r"a2?\.txt"))
    assert twins["summary"].n_unique() == 1
    assert manifest["counts"]["reused_calls"] > 0


def test_the_manifest_names_every_file_with_its_rows_and_hash(folder: Path) -> None:
    manifest = run(folder)
    written = json.loads((Path(manifest["run_dir"]) / "run.json").read_text())
    assert {file["path"]: file["rows"] for file in written["files"]}["documents.parquet"] == 7
    assert all(len(file["sha256"]) == 64 for file in written["files"])
    latest = Path(manifest["run_dir"]).parent / "latest"
    assert (latest / "run.json").exists()
    assert written["model"]["extractive"] is True
