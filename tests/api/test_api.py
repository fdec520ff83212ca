"""docreduce from Python: jobs as files and dicts, frames of every make, notebooks, interrupts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import docreduce
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from docreduce.simulator import Ask
from docreduce.values.errors import JobError, MachineError
from places import ROOT
from pydantic import BaseModel
from runs import serving

TEXTS = ["The harbour is closed. Ice came late.", "", "No light in the hall.", None, "A bill was paid twice."]


def reports(folder: Path) -> dict[str, Any]:
    return {
        "name": "reports",
        "kind": "summarize",
        "input": {"paths": [str(ROOT / "data" / "reports")]},
        "output": {"path": str(folder / "out")},
    }


def service(server: Any, folder: Path, **more: Any) -> dict[str, Any]:
    """Job keys for a service and an output folder."""
    return {
        "provider": "openai", "model": "m", "base_url": f"{server.url}/v1", "context_window": 100_000,
        "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0}, "output": folder / "out", **more,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


# --- the package --------------------------------------------------------------------------------------------------


def test_the_public_names_are_these() -> None:
    assert docreduce.__all__ == ["Estimate", "Run", "__version__", "estimate", "extract", "map", "run", "summarize"]
    assert all(getattr(docreduce, name) for name in docreduce.__all__)
    with pytest.raises(AttributeError, match="no attribute 'sumarize'"):
        docreduce.sumarize  # noqa: B018


def test_importing_docreduce_loads_no_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import docreduce; dir(docreduce);"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['docreduce']"


# --- jobs ---------------------------------------------------------------------------------------------------------


def test_a_run_gives_its_tables_as_frames(tmp_path: Path) -> None:
    run = docreduce.run(reports(tmp_path))
    assert run.status == "complete"
    assert run.dir == Path(run.manifest["run_dir"])
    assert run.documents.height == 3
    assert run.documents["summary"].null_count() == 0
    assert run.failures.height == 0
    assert run.cost["attempts"].sum() == run.manifest["counts"]["calls"]
    assert run.table("chunks").height == run.manifest["counts"]["chunks"]
    with pytest.raises(LookupError, match="calls, chunks, documents"):
        run.records  # noqa: B018
    assert "3 documents (3 ok)" in repr(run)
    assert "3 documents (3 ok)" in run._repr_html_()
    assert "all 3 documents are ok" in (run.dir / "report.html").read_text(encoding="utf-8")


def test_a_run_without_a_report_has_none_and_a_disk_that_refuses_it_costs_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = docreduce.run(reports(tmp_path), report=False)
    assert not (none.dir / "report.html").exists()

    def refuse(*_: object) -> None:
        raise MachineError("report.html: No space left on device")

    monkeypatch.setattr("docreduce.report.html.write_html", refuse)
    with pytest.warns(UserWarning, match="could not be written: report.html: No space left"):
        run = docreduce.run(reports(tmp_path), fresh=True)
    assert run.documents.height == 3


def test_decimals_that_polars_cannot_hold_come_as_text(tmp_path: Path) -> None:
    amounts = [Decimal("1" * 50 + ".25"), None, Decimal("-0.50")]
    columns = {
        "text": ["The ferry left at nine.", "The bridge fell.", ""],
        "amount": pa.array(amounts, pa.decimal256(60, 2)),
        "parts": pa.array([[Decimal("7" * 45)], [], None], pa.list_(pa.decimal256(50, 0))),
        "count": [1, 2, 3],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    given = {"paths": [str(tmp_path / "t.parquet")], "text_column": "text"}
    run = docreduce.run({"name": "wide", "kind": "summarize", "input": given}, output=tmp_path / "out")
    assert run.documents["amount"].to_list() == ["1" * 50 + ".25", None, "-0.50"]
    assert run.documents["parts"].to_list()[1:] == ["[]", None]
    assert "7" * 45 in run.documents["parts"][0]
    assert run.documents["count"].to_list() == [1, 2, 3]
    assert run.documents["cost_usd"].to_list() == [Decimal(0)] * 3
    assert run.failures["error"].to_list() == ["there is no text in it"]
    assert "What is not ok" in run._repr_html_()


def test_a_job_file_runs_with_keys_as_keywords_and_resumes(tmp_path: Path) -> None:
    job = ROOT / "jobs" / "summarize.toml"
    data = str(ROOT / "data" / "reports")
    first = docreduce.run(job, output=tmp_path / "out", input=Path(data), max_words=40, limit=2)
    again = docreduce.run(str(job), output=str(tmp_path / "out"), paths=[data], summarize={"max_words": 40})
    assert (first.documents.height, again.documents.height) == (2, 3)
    assert again.manifest["counts"]["reused_calls"] == first.manifest["counts"]["calls"]


def test_an_estimate_says_what_a_run_would_send_and_writes_nothing(tmp_path: Path) -> None:
    estimate = docreduce.estimate(reports(tmp_path), max_tokens=300)
    assert not (tmp_path / "out").exists()
    run = docreduce.run(reports(tmp_path), max_tokens=300)
    assert (estimate.documents, estimate.chunks) == (3, run.manifest["counts"]["chunks"])
    assert set(estimate.cost_usd) == {"low", "expected", "high", "ceiling"}
    assert "3 documents" in repr(estimate)
    assert "<td>" in estimate._repr_html_()


def test_a_keyword_that_is_no_key_is_refused_with_the_one_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="max_wrods: no key of a job") as caught:
        docreduce.run(reports(tmp_path), max_wrods=3)
    assert caught.value.hint == "Did you mean 'max_words'?"
    with pytest.raises(JobError, match=r"summarize\.max_words"):
        docreduce.estimate(reports(tmp_path), max_words="many")
    assert not (tmp_path / "out").exists()


def test_a_run_inside_a_running_loop_and_in_any_thread(tmp_path: Path) -> None:
    async def notebook() -> docreduce.Run:
        return docreduce.run(reports(tmp_path))

    assert asyncio.run(notebook()).status == "complete"
    held: list[docreduce.Run] = []
    thread = threading.Thread(target=lambda: held.append(docreduce.run(reports(tmp_path))))
    thread.start()
    thread.join()
    assert held[0].manifest["counts"]["reused_calls"] > 0


@pytest.mark.long
def test_an_interrupt_ends_a_run_in_order_and_is_raised(tmp_path: Path) -> None:
    code = f"""
import sys, docreduce
try:
    docreduce.run({{"name": "n", "kind": "summarize", "input": {{"paths": [{str(ROOT / "data" / "reports")!r}]}},
        "model": {{"provider": "openai", "name": "m", "base_url": sys.argv[1], "context_window": 100000}},
        "pricing": {{"input_usd_per_million": 1.0, "output_usd_per_million": 1.0}}, "limits": {{"grace_s": 0.5}},
        "output": {{"path": {str(tmp_path / "out")!r}}}}})
except KeyboardInterrupt:
    print("interrupted")
"""
    import signal

    with serving(lambda _: "slow", latency_s=30, tokenizer="bytes") as server:
        words = [sys.executable, "-c", code, f"{server.url}/v1"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            while not server.stats()["in_flight"]:
                threading.Event().wait(0.05)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
    assert out.strip() == "interrupted"
    (manifest,) = (tmp_path / "out" / "n").glob("2*/run.json")
    assert '"status": "interrupted"' in manifest.read_text()


# --- frames -------------------------------------------------------------------------------------------------------


def frames(**columns: Any) -> dict[str, Any]:
    plain = pl.DataFrame(columns)
    made = {"eager": plain, "lazy": plain.lazy(), "arrow": plain.to_arrow()}
    try:
        import pandas as pd
    except ImportError:
        return made
    return {**made, "pandas": pd.DataFrame(columns, index=range(10, 10 + plain.height))}


def as_polars(frame: Any) -> pl.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    return pl.from_arrow(frame) if isinstance(frame, pa.Table) else pl.from_pandas(frame)  # type: ignore[return-value]


@pytest.mark.parametrize("make", ["eager", "lazy", "arrow", "pandas"])
def test_a_frame_comes_back_as_it_came_with_a_summary_a_row(tmp_path: Path, make: str) -> None:
    given = frames(n=[5, 4, 3, 2, 1], text=TEXTS)
    if make not in given:
        pytest.skip("pandas is not installed")
    back = docreduce.summarize(given[make], output=tmp_path / "out")
    assert type(back) is type(given[make])
    if make == "pandas":
        assert list(back.index) == [10, 11, 12, 13, 14]
    found = as_polars(back)
    assert found.columns == ["n", "text", "summary", "status", "error", "cost_usd"]
    assert found["n"].to_list() == [5, 4, 3, 2, 1]
    assert found["status"].to_list() == ["ok", "skipped", "ok", "skipped", "ok"]
    assert found["summary"].is_not_null().to_list() == [True, False, True, False, True]
    assert "harbour" in found["summary"][0]
    assert not list((tmp_path / "out").glob(".frame-*")), "the texts were left behind"


def test_what_pandas_calls_missing_is_no_text(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    missing = pd.DataFrame({"text": ["The harbour is closed.", None, float("nan"), pd.NA]}, dtype=object)
    back = docreduce.summarize(missing, output=tmp_path / "out")
    assert back["status"].tolist() == ["ok", "skipped", "skipped", "skipped"]


def test_a_frame_of_no_rows_comes_back_with_its_columns(tmp_path: Path) -> None:
    back = docreduce.summarize(pl.DataFrame({"text": []}, schema={"text": pl.String}), output=tmp_path / "out")
    assert (back.height, back.columns) == (0, ["text", "summary", "status", "error", "cost_usd"])


class Ticket(BaseModel):
    topic: str | None = None
    urgent: bool | None = None


def test_a_pydantic_model_gives_typed_columns(tmp_path: Path) -> None:
    def answer(ask: Ask) -> str:
        topic = "light" if "light" in ask.text else "bill"
        return f'{{"items":[{{"topic":"{topic}","urgent":{str(topic == "light").lower()}}}]}}'

    with serving(answer, tokenizer="bytes") as server:
        given = pl.DataFrame({"body": TEXTS[2:], "status": ["open"] * 3})
        back = docreduce.extract(given, "body", schema=Ticket, **service(server, tmp_path))
        paid = server.stats()["cost_pusd"]
        again = docreduce.extract(given, "body", schema=Ticket, **service(server, tmp_path))
    assert back.columns == ["body", "status", "topic", "urgent", "extract_status", "error", "cost_usd"]
    assert back["topic"].to_list() == ["light", None, "bill"]
    assert back["urgent"].to_list() == [True, None, False]
    assert back["extract_status"].to_list() == ["ok", "skipped", "ok"]
    assert back["cost_usd"].dtype == pl.Decimal(38, 12)
    assert back["cost_usd"].sum() > 0
    assert paid > 0
    assert again["cost_usd"].sum() == Decimal(0), "the same rows are not paid twice"
    assert again["topic"].to_list() == back["topic"].to_list()


def test_cardinality_many_gives_one_list_a_row(tmp_path: Path) -> None:
    def answer(ask: Ask) -> str:
        found = [f'{{"topic":"{word}"}}' for word in ("light", "hall", "bill") if word in ask.text]
        return f'{{"items":[{",".join(found)}]}}'

    with serving(answer, tokenizer="bytes") as server:
        given = pl.DataFrame({"text": ["no light in the hall", "nothing", "", "a bill"]})
        back = docreduce.extract(given, schema=Ticket, cardinality="many", **service(server, tmp_path))
    assert back.columns == ["text", "items", "status", "error", "cost_usd"]
    topics = [None if items is None else [item["topic"] for item in items] for items in back["items"].to_list()]
    assert topics == [["light", "hall"], [], None, ["bill"]]


def test_map_gives_answers_labels_and_fields(tmp_path: Path) -> None:
    given = pl.DataFrame({"text": TEXTS[2:]})
    with serving(lambda ask: ask.text.upper(), tokenizer="bytes") as server:
        back = docreduce.map(given, prompt="Shout it.", **service(server, tmp_path))
    assert back["answer"].to_list() == ["NO LIGHT IN THE HALL.", None, "A BILL WAS PAID TWICE."]

    def label(ask: Ask) -> str:
        return f'{{"items":[{{"label":"{"fault" if "light" in ask.text else "other"}"}}]}}'

    with serving(label, tokenizer="bytes") as server:
        keys = service(server, tmp_path)
        back = docreduce.map(given, prompt="Which is it?", labels=["fault", "other"], **keys)
    assert back["label"].to_list() == ["fault", None, "other"]


def test_what_the_money_did_not_reach_is_skipped_and_says_so(tmp_path: Path) -> None:
    with serving(lambda ask: ask.text, tokenizer="bytes") as server:
        keys = service(server, tmp_path, max_cost_usd=0.000001)
        back = docreduce.map(pl.DataFrame({"text": ["a text"] * 3}), prompt="Say it.", **keys)
        assert server.stats()["billed_calls"] == 0
    assert back["status"].to_list() == ["skipped"] * 3
    assert back["error"].null_count() == 0


@pytest.mark.parametrize(
    ("frame", "column", "said"),
    [
        (pl.DataFrame({"a": ["x"]}), "text", "no column 'text': it has a"),
        (pl.DataFrame({"text": [1]}), "text", "column 'text' holds Int64, not text"),
        ([{"text": "x"}], "text", "builtins.list is no frame"),
    ],
)
def test_what_is_no_text_column_is_refused(tmp_path: Path, frame: Any, column: str, said: str) -> None:
    with pytest.raises(JobError, match=said):
        docreduce.summarize(frame, column, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_prompt_without_a_model_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="kind 'map' needs a model"):
        docreduce.map(pl.DataFrame({"text": ["x"]}), prompt="Say it.", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
