"""The estimate beside real runs against the simulator: its interval, its ceiling, the cap, and bills that add up."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.config import load_job
from docreduce.engine.forecast import estimate_job
from docreduce.engine.run import RunOptions, exit_code, run_job
from docreduce.simulator import Server
from docreduce.values.money import money, pusd
from runs import serving, table, write_job

simulated = partial(serving, output_words=25, output_sigma=0.2)
SENTENCES = [
    f"On day {n} of the works the engineers measured {n * 37 % 91} millimetres at pier {n % 7}. " for n in range(900)
]
FIELDS = {"type": "object", "properties": {"person": {"type": "string"}, "day": {"type": "string"}}}
MODES: dict[str, dict[str, Any]] = {
    "per_token": {"mode": "per_token", "input_usd_per_million": 0.07, "output_usd_per_million": 0.28},
    "per_call": {"mode": "per_call", "usd_per_call": 0.175},
    "flat": {"mode": "flat", "usd_per_million": 0.175},
}


def job_file(folder: Path, server: Server, mode: str = "per_token", **tables: Any) -> Path:
    """A summary job over eight texts, unless `tables` say otherwise."""
    documents = folder / "in"
    if not documents.exists():
        documents.mkdir()
        for n in range(8):
            (documents / f"{n}.txt").write_text("".join(SENTENCES[n * 100 : n * 100 + 12 * (n + 1)]))
    kind = "extract" if "extract" in tables else "summarize"
    settings: dict[str, Any] = {
        "input": {"paths": [str(documents)]},
        "model": {"provider": "modelslab", "base_url": f"{server.url}/api/v7/llm", "max_output_tokens": 200},
        "pricing": MODES[mode],
        "limits": {"concurrency": 8},
        "chunking": {"max_tokens": 400},
        "output": {"path": str(folder / "out")},
        **({"summarize": {"max_words": 40}} if kind == "summarize" else {}),
        **tables,
    }
    return write_job(folder, "night", kind, settings)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSLAB_API_KEY", "sk-simulated-0001")


def run(path: Path, **options: Any) -> dict[str, Any]:
    return run_job(load_job(path), RunOptions(**options))


def pico(amount: Any) -> int:
    return round((amount or 0) * 10**12)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ratio", [0.9, 1.6])
def test_cold_the_run_lies_between_low_and_high_and_under_the_ceiling(tmp_path: Path, mode: str, ratio: float) -> None:
    with simulated(ratio=ratio) as server:
        path = job_file(tmp_path, server, mode)
        estimate = estimate_job(load_job(path))
        manifest = run(path)
    actual = manifest["actual"]
    assert estimate["basis"] == {"tokenizer": "prior", "output": "prior", "answers_seen": 0}
    for name in ("calls", "input_tokens", "output_tokens", "cost_usd"):
        told = estimate[name]
        assert told["low"] <= actual[name] <= told["high"] <= told["ceiling"] or name == "calls", (name, told, actual)
        assert actual[name] <= told["ceiling"]
    # The run adds up what was expected of the requests that it really made.
    expected = manifest["estimate"]["cost_usd"]["expected"]
    assert manifest["estimate"]["calls"]["expected"] == actual["calls"]
    assert expected == pytest.approx(estimate["cost_usd"]["expected"], rel=0.05)
    assert manifest["difference"]["cost_usd"] == pytest.approx(actual["cost_usd"] / expected - 1, abs=1e-5)


def test_after_one_run_the_next_is_known(tmp_path: Path) -> None:
    with simulated(ratio=1.43) as server:
        path = job_file(tmp_path, server)
        cold = estimate_job(load_job(path))
        run(path)
        learned = estimate_job(load_job(path), fresh=True)
        manifest = run(path, fresh=True)
    assert learned["basis"]["tokenizer"] == learned["basis"]["output"] == "learned"
    assert learned["basis"]["answers_seen"] == manifest["counts"]["calls"]
    assert manifest["usage"]["input_tokens"] == pytest.approx(learned["input_tokens"]["expected"], rel=0.02)
    assert manifest["cost"]["charged_usd"] == pytest.approx(learned["cost_usd"]["expected"], rel=0.05)

    def width(estimate: dict[str, Any]) -> float:
        return estimate["cost_usd"]["high"] - estimate["cost_usd"]["low"]

    assert width(learned) < width(cold) / 3


def test_a_sample_pays_for_its_documents_narrows_the_rest_and_shows_no_results(tmp_path: Path) -> None:
    with simulated() as server:
        path = job_file(tmp_path, server)
        cold = estimate_job(load_job(path))
        result = CliRunner().invoke(main, ["estimate", str(path), "--sample", "3", "--json"])
        assert result.exit_code == 0, result.output
        sampled = json.loads(result.stdout)
        paid = server.stats()["billed_calls"]
        assert 0 < paid == sampled["basis"]["answers_seen"] < cold["calls"]["expected"]
        assert sampled["reused_calls"] == paid
        assert not list((tmp_path / "out").rglob("*.parquet"))
        manifest = run(path)
        assert manifest["counts"]["reused_calls"] == paid
        assert server.stats()["billed_calls"] == cold["calls"]["expected"]
    assert sampled["cost_usd"]["low"] <= manifest["cost"]["charged_usd"] <= sampled["cost_usd"]["high"]
    # What the sample cost counts against the cap of the run it was made for.
    assert manifest["cost"]["carried_usd"] > 0


def test_the_dearest_documents_and_other_models_are_told(tmp_path: Path) -> None:
    with simulated() as server:
        path = job_file(tmp_path, server)
    models = ["openai/gpt-4o-mini", "meta-llama-llama-3.3-70b-instruct", "meta-llama-Meta-Llama-3-70B-Instruct-Turbo"]
    options = [word for model in models for word in ("--compare", model)]
    result = CliRunner().invoke(main, ["estimate", str(path), "--json", "--by", "document", *options])
    estimate = json.loads(result.stdout)
    costs = [row["cost_usd"] for row in estimate["by_document"]]
    assert costs == sorted(costs, reverse=True)
    assert sum(costs) == pytest.approx(estimate["cost_usd"]["expected"], rel=1e-6)
    assert Path(estimate["by_document"][0]["uri"]).name == "7.txt"
    other = estimate["compare"]["openai/gpt-4o-mini"]
    assert other["pricing"]["source"].startswith("genai-prices")
    assert (other["documents"], other["basis"]["tokenizer"]) == (8, "exact")
    assert other["cost_usd"]["expected"] > estimate["cost_usd"]["expected"]
    assert "no price" in estimate["compare"]["meta-llama-llama-3.3-70b-instruct"]["error"]
    told = CliRunner().invoke(main, ["estimate", str(path), "--by", "document", *options])
    assert "dearest" in told.output
    assert "gpt-4o-mini" in told.output


def bill(manifest: dict[str, Any], server: Server) -> None:
    """run.json, the tables, the ledger's price and the service's count say the same."""
    stats, usage = server.stats(), manifest["usage"]
    calls, documents = table(manifest, "calls"), table(manifest, "documents")
    charged, unknown = (calls.filter(pl.col("billing") == word) for word in ("charged", "unknown"))
    for name in ("input_tokens", "output_tokens"):
        told = stats[name] - stats[f"unseen_{name}"]
        assert usage[name] == charged[name].sum() == documents[name].sum() == told
    money = manifest["cost"]
    assert pico(money["charged_usd"]) == pico(charged["cost_usd"].sum()) == pico(documents["cost_usd"].sum())
    assert pico(money["unknown_usd"]) == pico(unknown["cost_usd"].sum()) == pico(documents["unknown_cost_usd"].sum())
    made = usage["input_tokens"] * 70_000 + usage["output_tokens"] * 280_000
    assert pico(money["charged_usd"]) == made


@pytest.mark.long
def test_the_bill_adds_up_under_faults(tmp_path: Path) -> None:
    faults = {"500": 0.05, "empty": 0.1, "cut": 0.05, "no_usage": 0.1, "truncated": 0.05, "filter": 0.05}
    with simulated(faults=faults, cached_share=0.3, reasoning_share=0.2) as server:
        manifest = run(job_file(tmp_path, server))
        bill(manifest, server)
    assert manifest["cost"]["unknown_usd"] > 0
    assert manifest["counts"]["failed_attempts"] > 0


def test_rows_that_share_a_request_share_its_cost_to_the_last_token(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("body\n" + "\n".join(f'"{n} {SENTENCES[n].strip()}"' for n in range(23)))
    (tmp_path / "schema.json").write_text(json.dumps(FIELDS))
    with simulated(answer="extractive") as server:
        path = job_file(
            tmp_path, server, input={"paths": [str(rows)], "text_column": "body"},
            extract={"schema": str(tmp_path / "schema.json"), "rows_per_request": 7},
        )  # fmt: skip
        estimate = estimate_job(load_job(path))
        manifest = run(path)
        bill(manifest, server)
    assert estimate["calls"]["expected"] == manifest["counts"]["calls"] == 4
    documents, records = table(manifest, "documents"), table(manifest, "records")
    assert documents["cost_usd"].min() > 0
    assert pico(records["cost_usd"].sum()) == pico(manifest["cost"]["charged_usd"])
    assert len(table(manifest, "calls")) == 4
    assert documents["calls"].to_list() == [1] * 23


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_what_the_cap_does_not_allow_is_skipped_and_more_money_goes_on(tmp_path: Path, mode: str) -> None:
    with simulated(faults={"no_usage": 0.1, "500": 0.1}) as server:
        whole = run(job_file(tmp_path, server, mode))["cost"]["charged_usd"]
        capped = tmp_path / "capped"
        spent = []
        for share in (0.5, 0.8, 20):
            path = job_file(
                tmp_path, server, mode, output={"path": str(capped)}, budget={"max_cost_usd": whole * share}
            )
            manifest = run(path)
            with closing(sqlite3.connect(capped / "ledger.sqlite")) as ledger:
                (booked,) = ledger.execute("SELECT sum(cost_pusd) FROM attempt WHERE billing != 'free'").fetchone()
            assert booked <= whole * share * 10**12
            spent.append((booked, exit_code(manifest), manifest["counts"]["skipped"]))
        assert [code for _, code, _ in spent] == [3, 3, 0]
        assert spent[0][2] > 0 == spent[2][2]
        assert [booked for booked, *_ in spent] == sorted(booked for booked, *_ in spent)


def test_the_ceiling_as_a_cap_stops_no_run_without_retries(tmp_path: Path) -> None:
    with simulated(ratio=1.6) as server:
        ceiling = estimate_job(load_job(job_file(tmp_path, server)))["cost_usd"]["ceiling"]
        assert run(job_file(tmp_path, server, budget={"max_cost_usd": ceiling}))["status"] == "complete"


def test_broken_and_invalid_answers_are_in_the_next_estimate(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(FIELDS))
    with simulated(answer="extractive", faults={"invalid_json": 0.3, "empty": 0.1}) as server:
        path = job_file(
            tmp_path, server, extract={"schema": str(tmp_path / "schema.json")}, chunking={"max_tokens": 100}
        )
        first = run(path)
        learned = estimate_job(load_job(path), fresh=True)
    repairs = table(first, "calls").filter(pl.col("stage") == "repair").height
    assert repairs > 5
    assert learned["calls"]["expected"] == pytest.approx(first["counts"]["calls"], rel=0.1)
    assert learned["input_tokens"]["expected"] == pytest.approx(first["usage"]["input_tokens"], rel=0.1)


@pytest.mark.long
@pytest.mark.parametrize("sigma", [0.0, 0.4])
def test_the_smallest_cap_completes_and_half_of_the_cost_does_not(tmp_path: Path, sigma: float) -> None:
    with serving(output_words=25, output_sigma=sigma) as server:
        path = job_file(tmp_path, server)
        run(path)  # so that the estimate is a narrow one
        estimate = estimate_job(load_job(path), fresh=True)
        cap = estimate["smallest_cap_usd"]
        assert estimate["cost_usd"]["expected"] < cap < 1.6 * estimate["cost_usd"]["expected"]
        for share, status in ((1.0, "complete"), (0.4, "budget")):
            capped = job_file(
                tmp_path, server, budget={"max_cost_usd": share * cap}, output={"path": f"{tmp_path}/{share}"}
            )
            manifest = run(capped)
            assert manifest["status"] == status
            assert manifest["cost"]["charged_usd"] <= share * cap


def test_cached_input_is_learned_and_its_price_expected(tmp_path: Path) -> None:
    pricing = {**MODES["per_token"], "cached_input_usd_per_million": 0.007}
    with simulated(cached_share=0.6) as server:
        path = job_file(tmp_path, server, pricing=pricing)
        run(path)
        learned = estimate_job(load_job(path), fresh=True)
        manifest = run(path, fresh=True)
    usage = manifest["usage"]
    assert usage["cached_input_tokens"] > 0
    uncached = (usage["input_tokens"] * 0.07 + usage["output_tokens"] * 0.28) / 10**6
    assert manifest["cost"]["charged_usd"] == pytest.approx(learned["cost_usd"]["expected"], rel=0.08)
    assert learned["cost_usd"]["high"] < uncached


def test_a_job_whose_answers_break_off_stops_and_says_what_to_change(tmp_path: Path) -> None:
    with serving(output_words=400, output_sigma=0.0) as server:
        path = job_file(tmp_path, server, chunking={"max_tokens": 60})
        manifest = run(path)
        assert server.stats()["billed_calls"] < 40
    assert manifest["status"] == "refused"
    assert manifest["halted"]["kind"] == "cut"
    assert (
        "20 of the first 20 answers broke off at 200 tokens: raise model.max_output_tokens"
        in manifest["halted"]["message"]
    )
    assert exit_code(manifest) == 4


def test_the_service_counts_where_it_can_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-simulated-0001")
    model: dict[str, Any] = {"provider": "anthropic", "name": "m", "context_window": 20_000, "max_output_tokens": 200}
    with simulated(ratio=1.43) as server:
        path = job_file(tmp_path, server, model={**model, "base_url": server.url})
        cold = estimate_job(load_job(path))
        result = CliRunner().invoke(main, ["estimate", str(path), "--exact", "--json"])
        assert result.exit_code == 0, result.output
        exact = json.loads(result.stdout)
        assert server.stats()["billed_calls"] == 0
        manifest = run(path)
    assert (cold["counted_requests"], exact["basis"]["answers_seen"]) == (0, 0)
    assert exact["counted_requests"] >= 8

    def off(estimate: dict[str, Any]) -> float:
        return abs(manifest["usage"]["input_tokens"] / estimate["input_tokens"]["expected"] - 1)

    assert off(exact) < 0.05 < off(cold)
    with simulated() as server:  # a service of the form that has no such way
        model |= {"provider": "openai", "base_url": f"{server.url}/v1"}
        path = job_file(tmp_path, server, model=model, output={"path": str(tmp_path / "other")})
        refused = CliRunner().invoke(main, ["estimate", str(path), "--exact", "--json"])
    assert refused.exit_code == 2
    assert "--sample N" in json.loads(refused.stdout)["error"]["hint"]


def test_the_note_is_a_page_that_says_what_the_estimate_says(tmp_path: Path) -> None:
    with simulated() as server:
        path, note = job_file(tmp_path, server), tmp_path / "note.md"
        result = CliRunner().invoke(main, ["estimate", str(path), "--note", str(note), "--json"])
    assert result.exit_code == 0, result.output
    estimate, page = json.loads(result.stdout), note.read_text()
    assert page.startswith("# night: what it will cost\n")
    assert f"{estimate['documents']} documents, {estimate['chunks']} chunks" in page
    for amount in (estimate["cost_usd"]["expected"], estimate["cost_usd"]["high"], estimate["smallest_cap_usd"]):
        assert money(pusd(amount)) in page
    assert "What could make it dearer" in page
    assert len(page.splitlines()) < 60


def test_the_other_prices_of_the_service_are_told_with_what_the_job_would_cost(tmp_path: Path) -> None:
    with simulated() as server:
        path = job_file(tmp_path, server, model={"provider": "modelslab", "base_url": f"{server.url}/api/v7/llm"})
    job = load_job(path).model_copy(update={"pricing": None})
    estimate = estimate_job(job)
    others = estimate["other_prices"]
    assert others
    assert all(other["cost_usd"] > 0 and other["pricing"] != estimate["pricing"] for other in others)
