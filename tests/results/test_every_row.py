"""Every row of the input is a row of the output, in its order, whatever it holds and whatever became of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from docreduce.config import parse_job
from docreduce.engine.run import run_job
from docreduce.simulator import Ask
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import serving, table

SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}, "status": {"type": "string"}}}
TEXTS = st.none() | st.text(max_size=60) | st.just("The harbour of Kiel was closed in May 2021. ")


def job(folder: Path, kind: str, own: dict[str, Any], **tables: Any) -> dict[str, Any]:
    return {
        "name": "rows",
        "kind": kind,
        "input": {"paths": [str(folder / "in.parquet")], "text_column": "body"},
        kind: own,
        "output": {"path": str(folder / "out")},
        **tables,
    }


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=12), rows=st.sampled_from([1, 3]))
@pytest.mark.long
def test_rows_of_any_text_come_back_each_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], rows: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    pl.DataFrame({"body": texts, "n": range(len(texts))}, schema={"body": pl.String, "n": pl.Int64}).write_parquet(
        folder / "in.parquet"
    )
    manifest = run_job(parse_job(job(folder, "extract", {"schema": SCHEMA, "rows_per_request": rows})))
    for name in ("documents", "records"):
        found = table(manifest, name)
        assert found["n"].to_list() == list(range(len(texts)))
        assert set(found["status"].cast(pl.String)) <= {"ok", "skipped"}
    assert "field_status" in table(manifest, "records").columns


def test_rows_that_the_service_refuses_are_rows_too_and_the_money_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    texts = [f"place {n}" for n in range(30)]
    pl.DataFrame({"body": texts, "n": range(30)}).write_parquet(tmp_path / "in.parquet")

    def answer(ask: Ask) -> str:
        number = int(ask.text.split()[-1])
        return "no JSON" if number % 5 == 0 else json.dumps({"items": [{"place": ask.text, "status": "x"}]})

    with serving(answer, tokenizer="bytes") as server:
        model = {"provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 100_000}
        pricing = {"input_usd_per_million": 0.07, "output_usd_per_million": 0.28}
        stated = job(tmp_path, "extract", {"schema": SCHEMA, "max_repairs": 1}, model=model, pricing=pricing)
        manifest = run_job(parse_job(stated))
        billed = server.stats()["cost_pusd"]
    documents, records, calls = (table(manifest, name) for name in ("documents", "records", "calls"))
    assert documents["n"].to_list() == records["n"].to_list() == list(range(30))
    assert [status == "failed" for status in records["status"]] == [n % 5 == 0 for n in range(30)]
    sums = {int(frame["cost_usd"].sum() * 10**12) for frame in (documents, records, calls)}
    assert sums == {billed}
    assert set(calls["model"]) == {"m"}
    assert set(calls["endpoint"].cast(pl.String)) == {f"{server.url}/v1"}
    answered = table(manifest, "chunks").filter(pl.col("status").cast(pl.String) == "ok")
    assert set(answered["endpoint"].cast(pl.String)) == {f"{server.url}/v1"}
    assert set(answered["model"].cast(pl.String)) == {"m"}
