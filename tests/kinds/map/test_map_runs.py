"""Whole runs of a prompt over documents and rows: over HTTP against the simulator, judged by what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.config import load_job
from docreduce.engine.forecast import estimate_job
from docreduce.engine.run import RunOptions, exit_code, run_job
from docreduce.simulator import Ask, Server
from runs import serving, table, write_job

ROWS = ["no light in the hall", "a bill came twice", "", "the lift is stuck", "light again", "who is there?"]
LABELS = ["fault", "bill", "other"]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def job_file(folder: Path, server: Server | None, **tables: Any) -> Path:
    """A job over the rows, by default with the prompt alone."""
    pl.DataFrame({"body": ROWS, "n": range(len(ROWS))}).write_parquet(folder / "in.parquet")
    model: dict[str, Any] = {"provider": "offline"}
    if server is not None:
        model = {"provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 100_000}
        tables["pricing"] = {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0}
    settings = {
        "input": {"paths": [str(folder / "in.parquet")], "text_column": "body"},
        "model": model,
        "map": {"prompt": "Which department should answer?"},
        "output": {"path": str(folder / "out")},
    }
    whole = {name: {**settings.get(name, {}), **tables.get(name, {})} for name in {**settings, **tables}}
    return write_job(folder, "answers", "map", whole)


def run(path: Path, **options: Any) -> dict[str, Any]:
    return run_job(load_job(path), RunOptions(**options))


def label_of(text: str) -> str:
    return "bill" if "bill" in text else "fault" if "light" in text or "lift" in text else "other"


def labelled(ask: Ask) -> str:
    """The label of a text, or of every packed row."""
    parts = ask.text.split("=== row ")[1:]
    if not parts:
        return json.dumps({"items": [{"label": label_of(ask.text)}]})
    rows = [{"row": n, "items": [{"label": label_of(part)}]} for n, part in enumerate(parts, 1)]
    return json.dumps({"rows": rows})


def test_without_a_model_nothing_is_read_and_the_exit_code_is_2(tmp_path: Path) -> None:
    job = job_file(tmp_path, None)
    (tmp_path / "in.parquet").write_bytes(b"no Parquet at all")
    for command in ("run", "estimate"):
        told = CliRunner().invoke(main, [command, str(job), "--json"])
        assert told.exit_code == 2
        error = json.loads(told.stdout)["error"]
        assert "needs a model" in error["message"]
        assert "docreduce simulate" in error["hint"]
    assert not (tmp_path / "out").exists()


def test_every_row_has_its_answer_its_kept_columns_and_its_cost(tmp_path: Path) -> None:
    with serving(lambda ask: ask.text.upper(), tokenizer="bytes") as server:
        manifest = run(job_file(tmp_path, server))
        assert server.stats()["billed_calls"] == 5
    found = table(manifest, "records")
    assert found.columns == ["document_id", "uri", "item", "answer", "status", "error", "cost_usd", "n"]
    assert found["answer"].to_list() == [text.upper() or None for text in ROWS]
    assert found["status"].to_list() == ["ok", "ok", "skipped", "ok", "ok", "ok"]
    assert float(found["cost_usd"].sum()) == pytest.approx(manifest["cost"]["charged_usd"], abs=1e-12)
    assert exit_code(manifest) == 0


@pytest.mark.parametrize("rows", [1, 3])
def test_labels_are_a_dictionary_column_and_packed_rows_cost_fewer_calls(tmp_path: Path, rows: int) -> None:
    with serving(labelled, tokenizer="bytes") as server:
        path = job_file(tmp_path, server, map={"labels": LABELS, "rows_per_request": rows})
        estimate = estimate_job(load_job(path))
        manifest = run(path)
        sent = server.stats()["billed_calls"]
        again = run(path)
        assert server.stats()["billed_calls"] == sent == (2 if rows == 3 else 5)
    assert estimate["calls"]["expected"] == estimate["calls"]["low"] == sent
    found = table(manifest, "records")
    assert found["label"].dtype == pl.Categorical
    assert found["label"].cast(pl.String).to_list() == [label_of(text) if text else None for text in ROWS]
    assert table(again, "records")["label"].cast(pl.String).to_list() == found["label"].cast(pl.String).to_list()
    assert (again["counts"]["reused_calls"], again["cost"]["charged_usd"]) == (sent, 0)
    if rows == 3:
        outputs = table(manifest, "chunks")["output"].to_list()
        assert json.loads(outputs[0]) == {"items": [{"label": "fault"}]}


def test_a_typed_answer_that_stays_wrong_is_a_failed_row_and_costs_nobody_elses_result(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"floor": {"type": "integer", "minimum": 0}}, "required": ["floor"]}
    (tmp_path / "floor.json").write_text(json.dumps(schema), encoding="utf-8")

    def answer(ask: Ask) -> str:
        return '{"items":[{"floor":%s}]}' % ('"ground"' if "bill" in ask.text else 3)

    with serving(answer, tokenizer="bytes") as server:
        manifest = run(job_file(tmp_path, server, map={"schema": "floor.json", "max_repairs": 1}))
        assert server.stats()["billed_calls"] == 6
    found = table(manifest, "records")
    assert found["floor"].to_list() == [3, None, None, 3, 3, 3]
    assert found["status"].to_list()[1] == "failed"
    assert "/items/0/floor" in found["error"][1]
    assert exit_code(manifest) == 1


def test_an_answer_that_breaks_off_stands_and_its_row_is_partial(tmp_path: Path) -> None:
    with serving(lambda ask: "word " * 500, tokenizer="o200k_base") as server:
        path = job_file(tmp_path, server, model={"max_output_tokens": 50})
        manifest = run(path)
    found = table(manifest, "records")
    assert found["status"].to_list() == ["partial", "partial", "skipped", *["partial"] * 3]
    assert all(answer.startswith("word word") for answer in found["answer"].drop_nulls())
    assert manifest["counts"]["errors"]["cut"] == 5
    assert exit_code(manifest) == 1


def test_a_long_document_is_answered_chunk_by_chunk(tmp_path: Path) -> None:
    text = "\n\n".join(f"Letter {n}: the lift of house {n} is stuck." for n in range(60))
    (tmp_path / "letters.txt").write_text(text, encoding="utf-8")
    with serving(lambda ask: ask.text.split(":")[0].strip(), tokenizer="bytes") as server:
        inputs = {"paths": [str(tmp_path / "letters.txt")], "text_column": "body"}
        manifest = run(job_file(tmp_path, server, input=inputs, chunking={"max_tokens": 200}))
    chunks = table(manifest, "chunks")
    assert chunks.height > 3
    (answer,) = table(manifest, "records")["answer"]
    assert answer.split("\n\n") == chunks["output"].to_list()
    assert answer.startswith("Letter 0\n\nLetter ")


def test_the_simulators_own_answers_rehearse_every_form(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"floor": {"type": "integer", "minimum": 2}}, "required": ["floor"]}
    (tmp_path / "floor.json").write_text(json.dumps(schema), encoding="utf-8")
    forms: list[dict[str, Any]] = [{}, {"labels": LABELS}, {"schema": "floor.json"}]
    for form in [{**each, "rows_per_request": rows} for each in forms for rows in (1, 3)]:
        with serving(tokenizer="bytes") as server:
            manifest = run(job_file(tmp_path, server, map=form), fresh=True)
            assert server.stats()["billed_calls"] == (2 if form["rows_per_request"] == 3 else 5), form
        assert (manifest["counts"]["ok"], manifest["counts"]["skipped"]) == (5, 1), form
