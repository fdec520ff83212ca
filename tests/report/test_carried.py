"""Columns that were kept may hold what neither Python nor polars can: every view of a run works all the same."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.report.folder import answered
from runs import write_job

COLUMNS = {
    "id": pa.array(["a", "b"]),
    "text": pa.array(["Name: Ada. The harbour was closed in May.", "Name: Ben. A bridge fell."]),
    "moment": pa.array([1, 1_500_000_000_123_456_789], pa.timestamp("ns")),
    "late": pa.array([2**62, None], pa.timestamp("us")),
    "sum": pa.array([Decimal("1" * 60), None], pa.decimal256(70, 0)),
}


@pytest.mark.parametrize("kind", ["summarize", "extract"])
@pytest.mark.long
def test_every_view_of_a_run_works_whatever_was_kept(tmp_path: Path, kind: str) -> None:
    pq.write_table(pa.table(COLUMNS), tmp_path / "t.parquet")
    (tmp_path / "s.json").write_text(json.dumps({"type": "object", "properties": {"name": {"type": "string"}}}))
    settings = {
        "input": {
            "paths": [str(tmp_path / "t.parquet")],
            "text_column": "text",
            "id_column": "id",
            "keep_columns": ["moment", "late", "sum"],
        },
        "model": {"provider": "offline"},
        "output": {"path": str(tmp_path / "out"), "also": ["csv", "jsonl"]},
        **({"extract": {"schema": str(tmp_path / "s.json"), "cardinality": "one"}} if kind == "extract" else {}),
    }
    job = write_job(tmp_path, "kept", kind, settings)
    latest = str(tmp_path / "out" / "kept" / "latest")
    views = (["show", latest], ["show", latest, "a"], ["show", latest, "--html"], ["show", latest, "--json"])
    for command in (["run", str(job)], *views, ["diff", latest, latest], ["failures", latest], ["check", latest]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, (command, result.output)
    lines = (Path(latest) / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["sum"] for line in lines] == [int("1" * 60), None]


def test_a_field_is_an_answer_though_documents_have_a_column_of_its_name() -> None:
    records = pl.LazyFrame(schema=["document_id", "uri", "item", "summary", "row", "kept", "status"])
    documents = pl.LazyFrame(schema=["document_id", "uri", "row", "summary", "status", "kept"])
    assert answered(records, documents) == ["summary", "row"]
