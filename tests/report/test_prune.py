"""`prune` takes what is old and nothing else; `prune --document` leaves nothing of a document but its money."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.config import load_job
from docreduce.desk import Ledger
from docreduce.engine.run import RunOptions, run_job
from docreduce.report.bill import bill
from docreduce.report.check import check
from docreduce.report.prune import prune, purge
from docreduce.values.errors import JobError, MachineError
from places import ROOT
from reports import Runs
from runs import write_job

FAR = 4_000_000_000.0
"""A time (s since the epoch) when all runs of today are old."""


def answers(output: Path) -> set[str]:
    with closing(sqlite3.connect(output / "ledger.sqlite")) as plain:
        return {key for (key,) in plain.execute("SELECT key FROM answer")}


def stored(output: Path) -> bytes:
    """All bytes of all files, Parquet unpacked."""
    raw = b"".join(path.read_bytes() for path in output.rglob("*") if path.is_file() and not path.is_symlink())
    tables = [pl.read_parquet(path).to_dicts() for path in output.rglob("*.parquet")]
    return raw + repr(tables).encode()


def id_of(run: Path, part: str) -> str:
    documents = pl.read_parquet(run / "documents.parquet")
    return str(documents.filter(pl.col("uri").str.contains(part, literal=True))["document_id"].item())


def test_a_young_run_and_the_newest_complete_one_stay(runs: Runs) -> None:
    assert prune(runs.output, 86_400, dry_run=False)["runs"] == []
    found = prune(runs.output, 0, dry_run=False, now=FAR)
    assert [run["run_id"] for run in found["runs"]] == [runs.first.name]
    assert runs.second.is_dir()
    assert (runs.output / "contracts" / "latest" / "run.json").is_file()
    assert prune(runs.output, 0, dry_run=False, now=FAR)["runs"] == []


def test_answers_that_a_kept_run_used_stay_and_the_others_go(runs: Runs) -> None:
    used = set(pl.read_parquet(runs.second / "calls.parquet")["call_key"])
    before, paid = answers(runs.output), bill(runs.output)["total"]["charged_pusd"]
    found = prune(runs.output, 0, dry_run=False, now=FAR)
    left = answers(runs.output)
    assert left == before & used
    assert found["answers"] == len(before) - len(left) > 0
    assert bill(runs.output)["total"]["charged_pusd"] == paid
    assert check(runs.output)["wrong"] == 0


def test_a_dry_run_says_the_same_and_changes_no_byte(runs: Runs) -> None:
    before = {path: path.read_bytes() for path in runs.output.rglob("*.*") if path.is_file()}
    said = prune(runs.output, 0, dry_run=True, now=FAR)
    after = {path: path.read_bytes() for path in before}
    assert after == before
    done = prune(runs.output, 0, dry_run=False, now=FAR)
    assert {**said, "dry_run": False} == done


def test_answers_of_a_run_that_died_lately_stay(runs: Runs) -> None:
    import shutil

    before = answers(runs.output)
    shutil.rmtree(runs.first)  # as if it had never been committed
    shutil.rmtree(runs.second)
    assert prune(runs.output, 86_400, dry_run=False)["answers"] == 0
    assert answers(runs.output) == before


def test_nothing_is_pruned_while_a_run_is_at_work(runs: Runs) -> None:
    with Ledger.open(runs.output / "ledger.sqlite"), pytest.raises(MachineError, match="at work"):
        prune(runs.output, 0, dry_run=False, now=FAR)
    assert runs.first.is_dir()


def test_purging_a_document_leaves_its_money_and_nothing_else(runs: Runs) -> None:
    CliRunner().invoke(main, ["report", str(runs.second)])
    CliRunner().invoke(main, ["show", str(runs.second), "--html"])
    name = id_of(runs.first, "distribution.txt")
    assert name.encode() in stored(runs.output)
    others = {run: pl.read_parquet(run / "records.parquet").height for run in (runs.first, runs.second)}
    paid = bill(runs.output)["total"]
    said = purge(runs.output, name, dry_run=True)
    found = purge(runs.output, name, dry_run=False)
    assert {**said, "dry_run": False} == found
    assert found["answers"] > 0
    everything = stored(runs.output)
    assert name.encode() not in everything
    assert b"distribution.txt" not in everything
    assert b"Distribution" not in everything
    assert bill(runs.output)["total"]["charged_pusd"] == paid["charged_pusd"]
    assert check(runs.output)["wrong"] == 0, check(runs.output)
    for run, rows in others.items():
        assert pl.read_parquet(run / "records.parquet").height == rows - 1
    with pytest.raises(JobError, match="nothing is stored"):
        purge(runs.output, name, dry_run=False)


def test_purging_a_row_that_shared_a_call_removes_that_calls_answer(tmp_path: Path) -> None:
    tables: dict[str, dict[str, Any]] = {
        "input": {"paths": [str(ROOT / "data" / "tickets.csv")], "text_column": "text", "id_column": "ticket_id"},
        "extract": {"schema": str(ROOT / "jobs" / "ticket.schema.json"), "cardinality": "one", "rows_per_request": 10},
        "output": {"path": str(tmp_path / "out")},
    }
    run_job(load_job(write_job(tmp_path, "rows", "extract", tables)), RunOptions())
    assert answers(tmp_path / "out")
    purge(tmp_path / "out", "T-1046", dry_run=False)
    assert b"T-1046" not in stored(tmp_path / "out")
    assert b"1249.5" not in stored(tmp_path / "out")
    assert check(tmp_path / "out")["wrong"] == 0


def test_the_command_wants_one_of_its_two_ways(runs: Runs) -> None:
    for args in ([], ["--keep", "30d", "--document", "x"], ["--keep", "soon"]):
        result = CliRunner().invoke(main, ["prune", str(runs.output), *args])
        assert result.exit_code == 2, result.output
    said = CliRunner().invoke(main, ["prune", str(runs.output), "--keep", "30d", "--dry-run", "--json"])
    assert json.loads(said.stdout)["kept_runs"] == 2
