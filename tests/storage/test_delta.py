"""Delta tables beside the Parquet: what `latest` names, a version a run."""

from __future__ import annotations

import datetime
import decimal
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from docreduce.cli import main
from docreduce.storage import write_delta
from runs import write_job
from serving import moto

deltalake = pytest.importorskip("deltalake", reason="deltalake is not installed")
pytestmark = pytest.mark.server

ROWS = {
    "id": pa.array(["a", "b"]),
    "text": pa.array(["The ferry left at nine.", "Nobody was hurt."]),
    "count": pa.array([2**63, None], pa.uint64()),
    "small": pa.array([200, None], pa.uint8()),
    "at": pa.array([datetime.time(9, 30), None], pa.time32("s")),
    "took": pa.array([datetime.timedelta(seconds=90), None], pa.duration("s")),
    "sum": pa.array([decimal.Decimal(2**190), None], pa.decimal256(60, 2)),
    "net/gross": pa.array([1.5, 2.5]),
}


def _job(folder: Path, rows: dict[str, Any], *also: str) -> Path:
    (folder / "in").mkdir(exist_ok=True)
    pq.write_table(pa.table(rows), folder / "in" / "rows.parquet")
    tables: dict[str, Any] = {
        "input": {"paths": [str(folder / "in")], "text_column": "text", "id_column": "id"},
        "model": {"provider": "offline"},
        "output": {"path": str(folder / "out"), "also": list(also)},
    }
    return write_job(folder, "ferries", "summarize", tables)


def _run(job: Path, *args: str) -> Result:
    return CliRunner().invoke(main, ["run", str(job), "--json", *args])


def _held(place: str | Path, **options: Any) -> Any:
    return pl.from_arrow(deltalake.DeltaTable(str(place), **options).to_pyarrow_table()).sort("document_id")


@pytest.mark.long
def test_a_table_holds_the_rows_of_the_run_that_latest_names_and_earlier_ones_under_versions(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    job = _job(tmp_path, {name: column for name, column in ROWS.items() if name != "sum"}, f"delta://{lake}")
    first = _run(job)
    assert first.exit_code == 0, first.output
    held = _held(lake / "ferries" / "documents")
    documents = pl.read_parquet(tmp_path / "out" / "ferries" / "latest" / "documents.parquet").sort("document_id")
    assert held.columns == documents.columns
    assert held["summary"].to_list() == documents["summary"].to_list()
    assert held["at"].to_list() == ["09:30:00", None]
    assert (held["count"].to_list(), held["small"].to_list()) == ([2**63, None], [200, None])
    assert held["net/gross"].to_list() == [1.5, 2.5]
    limited = _run(job, "--limit", "1")  # `latest` stays, and so does the table
    assert limited.exit_code == 0
    assert _held(lake / "ferries" / "documents").height == 2
    pq.write_table(pa.table({"id": ["c"], "text": ["The crew slept."], "new": [1]}), tmp_path / "in" / "rows.parquet")
    assert _run(job, "--fresh").exit_code == 0
    held = _held(lake / "ferries" / "documents")
    assert (held["document_id"].to_list(), held["new"].to_list()) == (["c"], [1])
    assert _held(lake / "ferries" / "documents", version=0).height == 2


def test_a_run_is_written_once_and_none_over_a_newer_one(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    job = _job(tmp_path, {"id": ["a"], "text": ["The ferry left."]}, f"delta://{lake}")
    old, new = (Path(json.loads(_run(job).stdout)["run_dir"]) for _ in range(2))
    before = deltalake.DeltaTable(str(lake / "ferries" / "documents")).version()
    for each in (new, old, new):
        write_delta(each, ["documents"], str(lake))
    assert deltalake.DeltaTable(str(lake / "ferries" / "documents")).version() == before


def test_numbers_past_the_types_of_delta_are_text(tmp_path: Path) -> None:
    job = _job(tmp_path, ROWS, f"delta://{tmp_path / 'lake'}")
    ran = _run(job)
    assert ran.exit_code == 0, ran.output
    held = _held(tmp_path / "lake" / "ferries" / "documents")
    assert held["sum"].to_list() == [f"{2**190}.00", None]


def test_tables_that_cannot_be_written_are_dropped_and_the_parquet_stands(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file")
    ran = _run(_job(tmp_path, ROWS, f"delta://{tmp_path / 'lake'}"))
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["status"]) == (5, "complete")
    assert [lost["format"] for lost in told["dropped"]] == [f"delta://{tmp_path / 'lake'}"]
    assert pq.read_metadata(tmp_path / "out" / "ferries" / "latest" / "documents.parquet").num_rows == 2


def test_a_table_that_is_broken_is_said_without_the_extra_for_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    log = tmp_path / "lake" / "ferries" / "documents" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("{no json")
    ran = _run(_job(tmp_path, ROWS, f"delta://{tmp_path / 'lake'}"))
    assert (ran.exit_code, len(json.loads(ran.stdout)["dropped"])) == (5, 1)


def test_the_tables_are_no_input(tmp_path: Path) -> None:
    job = _job(tmp_path, {"id": ["a"], "text": ["The ferry left."]}, f"delta://{tmp_path / 'in' / 'lake'}")
    for _ in range(2):
        told = json.loads(_run(job).stdout)
        assert told["counts"]["documents"] == 1
    assert told["left_out"] == {"output folder": 1}


def test_shards_write_none(tmp_path: Path) -> None:
    ran = _run(_job(tmp_path, ROWS, f"delta://{tmp_path / 'lake'}"), "--shard", "1/2")
    assert (ran.exit_code, "no shard writes Delta tables" in ran.output) == (2, True)


@pytest.mark.long
def test_a_store_holds_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with moto() as server:
        for name, value in {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        bucket = urllib.request.Request(f"{server.url}/lake", b"", {"Content-Type": "text/plain"}, method="PUT")
        with urllib.request.urlopen(bucket, timeout=30) as made:
            assert made.status == 200
        job = _job(tmp_path, ROWS, "delta://s3://lake/nightly")
        assert _run(job).exit_code == 0
        options = {"AWS_ALLOW_HTTP": "true"}
        assert _held("s3://lake/nightly/ferries/documents", storage_options=options).height == 2
