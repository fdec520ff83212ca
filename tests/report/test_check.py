"""`check` finds what was done to an output folder, and nothing where nothing was done."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.report.check import check
from docreduce.report.html import write_html, write_reading
from reports import Runs


def sql(runs: Runs, statement: str) -> None:
    with closing(sqlite3.connect(runs.output / "ledger.sqlite")) as plain, plain:
        plain.execute(statement)


def flip(path: Path) -> None:
    """One bit of another value, the size the same."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def restate(runs: Runs, change: Callable[[dict], object]) -> None:
    manifest = json.loads((runs.first / "run.json").read_bytes())
    change(manifest)
    (runs.first / "run.json").write_text(json.dumps(manifest))


def rewrite_rows(runs: Runs) -> None:
    """Fewer rows than were written, with a manifest that knows the new size and hash."""
    import hashlib

    path = runs.first / "chunks.parquet"
    pl.read_parquet(path).head(1).write_parquet(path)
    line = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    restate(runs, lambda m: next(f for f in m["files"] if f["path"] == path.name).update(line))


def mislead(latest: Path) -> None:
    latest.unlink()
    latest.symlink_to("nowhere")


CHEAPER = "UPDATE attempt SET cost_pusd = cost_pusd - 1 WHERE billing = 'charged'"
HARM: dict[str, tuple[Callable[[Runs], object], str]] = {
    "a flipped bit": (lambda r: flip(r.first / "calls.parquet"), "SHA-256"),
    "a file cut short": (lambda r: (r.first / "chunks.parquet").write_bytes(b"PAR1"), "bytes"),
    "a file removed": (lambda r: (r.first / "evidence.parquet").unlink(), "cannot be read"),
    "rows gone": (rewrite_rows, "rows, and the manifest says"),
    "no manifest": (lambda r: (r.first / "run.json").unlink(), "no manifest"),
    "half a manifest": (lambda r: (r.first / "run.json").write_text('{"run_id": '), "no manifest"),
    "another cost": (lambda r: restate(r, lambda m: m["cost"].update(charged_usd=0.5)), "charged: run.json says 0.5"),
    "another unknown": (lambda r: restate(r, lambda m: m["cost"].update(unknown_usd=0.0)), "unknown: run.json"),
    "other attempts": (lambda r: restate(r, lambda m: m["counts"].update(attempts=1)), "attempts: run.json says 1"),
    "other documents": (lambda r: restate(r, lambda m: m["counts"].update(documents=9)), "documents: run.json says 9"),
    "a cheaper ledger": (lambda r: sql(r, CHEAPER), "the ledger"),
    "a negative cost": (lambda r: sql(r, "UPDATE attempt SET cost_pusd = -5 WHERE id = 1"), "negative"),
    "an answer changed": (lambda r: sql(r, "UPDATE answer SET text = CAST('x' AS BLOB)"), "not what was written"),
    "a foreign ledger": (lambda r: sql(r, "PRAGMA application_id = 7"), "not a ledger of ours"),
    "a marked ledger": (lambda r: (r.output / "ledger.corrupt").touch(), "marked as corrupt"),
    "half a folder": (lambda r: (r.first.parent / ".old-run.partial").mkdir(), "half-written"),
    "latest to nowhere": (lambda r: mislead(r.first.parent / "latest"), "leads to no run"),
}  # fmt: skip
KNOWN: dict[str, tuple[Callable[[Runs], object], str]] = {
    "old answers": (lambda r: sql(r, "UPDATE answer SET endpoint = '' WHERE rowid = 1"), "before endpoints"),
    "a run removed": (lambda r: shutil.rmtree(r.first), "has no results here"),
    "half a page": (lambda r: (r.first / ".report.html.partial").touch(), "left half written"),
    "a file added": (lambda r: (r.first / "mine.txt").touch(), "no file of this run"),
    "a ledger removed": (lambda r: [path.unlink() for path in r.output.glob("ledger*")], ""),
}


def test_a_folder_that_nobody_touched_is_right_also_with_its_pages(runs: Runs) -> None:
    write_html(runs.first)
    write_reading(runs.first, None)
    found = check(runs.output)
    assert found["findings"] == []
    assert (found["ledgers"], found["runs"], found["wrong"]) == (1, 2, 0)


@pytest.mark.parametrize("name", HARM)
def test_harm_is_found_and_nothing_is_repaired(runs: Runs, name: str) -> None:
    harm, words = HARM[name]
    harm(runs)
    before = sorted((path, path.stat().st_size) for path in runs.output.rglob("*.parquet"))
    result = CliRunner().invoke(main, ["check", str(runs.output), "--json"])
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert any(words in each["message"] for each in found["findings"] if each["wrong"]), found
    assert sorted((path, path.stat().st_size) for path in runs.output.rglob("*.parquet")) == before
    assert "WRONG" in CliRunner().invoke(main, ["check", str(runs.output)]).stdout


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_only_to_be_known_is_said_and_is_not_wrong(runs: Runs, name: str) -> None:
    change, words = KNOWN[name]
    change(runs)
    result = CliRunner().invoke(main, ["check", str(runs.output), "--json"])
    assert result.exit_code == 0, result.stdout
    assert words in result.stdout
