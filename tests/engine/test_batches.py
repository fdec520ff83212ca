"""Whole runs by the simulator's batch services: nothing lost, nothing sent twice, billed at half the price."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from docreduce.config import load_job
from docreduce.desk import Ledger
from docreduce.engine.batching import cancel_batches
from docreduce.engine.run import RunOptions, exit_code, run_job
from docreduce.simulator import Server
from runs import serving, table, write_job

SERVICES = ("openai", "anthropic")
PRICES = {"input_usd_per_million": 0.07, "output_usd_per_million": 0.28, "batch_discount": 0.5}
DAY_S = 86_400.0
SENTENCE = "The bridge number {n} was closed on 3 May 2021 because of cracks in its northern bearing. "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(6):
        text = "\n\n".join(SENTENCE.format(n=100 * number + part) * 4 for part in range(5))
        (tmp_path / "in" / f"{number}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def job(folder: Path, server: Server, service: str, out: str = "out", **model: Any) -> Path:
    asked = {
        "provider": service,
        "name": "some-model",
        "base_url": server.url,
        "max_output_tokens": 200,
        "context_window": 8000,
    }
    settings = {
        "input": {"paths": [str(folder / "in")]},
        "model": {**asked, "mode": "batch", **model},
        "pricing": PRICES,
        "chunking": {"max_tokens": 150},
        "summarize": {"max_words": 40},
        "output": {"path": str(folder / out)},
    }
    return write_job(folder, "night", "summarize", settings)


def run(path: Path, **options: Any) -> dict[str, Any]:
    return run_job(load_job(path), RunOptions(**options))


def the_day_passes(server: Server) -> None:
    server.simulated.settings = replace(server.simulated.settings, batch_s=0.0)


def books(folder: Path, out: str = "out") -> dict[str, int]:
    """Pico-dollars by billing, over all runs of an output folder."""
    with closing(sqlite3.connect(folder / out / "ledger.sqlite")) as ledger:
        return dict(ledger.execute("SELECT billing, sum(cost_pusd) FROM attempt GROUP BY billing"))


def left(folder: Path) -> int:
    """Tickets that are still reserved."""
    with closing(sqlite3.connect(folder / "out" / "ledger.sqlite")) as ledger:
        return int(ledger.execute("SELECT count(*) FROM reservation").fetchone()[0])


def summaries(manifest: dict[str, Any]) -> pl.DataFrame:
    return table(manifest, "documents").select("document_id", "status", "summary")


@pytest.mark.long
@pytest.mark.parametrize("service", SERVICES)
def test_a_run_that_waits_gives_the_live_runs_tables_at_the_batch_price(folder: Path, service: str) -> None:
    with serving(answer="extractive", output_words=30, batch_s=0.2) as server:
        live = run(job(folder, server, service, out="live", mode="live"))
        before = server.stats()["cost_pusd"]
        batched = run(job(folder, server, service), wait=True)
        stats = server.stats()
    assert batched["status"] == "complete"
    assert summaries(batched).equals(summaries(live))
    assert books(folder) == {"charged": stats["cost_pusd"] - before}
    assert stats["batches"] >= 1
    assert stats["batch_input_tokens"] > 0
    calls = table(batched, "calls").filter(pl.col("billing") == "charged")
    assert set(calls.filter(pl.col("stage") == "map")["batch"].is_not_null()) == {True}
    assert set(calls.filter(pl.col("stage") != "map")["batch"].is_null()) <= {True}


@pytest.mark.parametrize("service", SERVICES)
def test_a_run_that_does_not_wait_ends_waiting_and_a_later_one_takes_up_what_is_out(folder: Path, service: str) -> None:
    with serving(answer="extractive", output_words=30, batch_s=DAY_S) as server:
        path = job(folder, server, service)
        first = run(path)
        assert first["status"] == "waiting"
        assert exit_code(first) == 6
        assert "out in provider batches" in first["halted"]["message"]
        assert set(table(first, "documents")["status"]) == {"skipped"}
        assert left(folder) > 0
        again = run(path)
        assert again["status"] == "waiting"
        the_day_passes(server)
        last = run(path, wait=True)
        stats = server.stats()
    assert last["status"] == "complete"
    assert set(table(last, "documents")["status"]) == {"ok"}
    assert stats["batches"] == 1
    assert stats["repeated_ok"] == 0
    assert books(folder)["charged"] == stats["cost_pusd"]
    assert left(folder) == 0


@pytest.mark.long
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("fault", "lines"), [("expired", 0.0), ("failed", 0.0), ("unseen", 0.0), ("refused", 0.0), ("lost", 0.0), ("", 0.3)]
)
def test_what_a_batch_leaves_undone_is_asked_again_and_what_it_did_is_kept_and_booked(
    folder: Path, service: str, fault: str, lines: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docreduce.engine.batched.SETTLED_S", 0.2)
    faults = {fault: 0.5} if fault else {}
    with serving(
        answer="extractive", output_words=30, batch_s=0.1, seed=3, batch_faults=faults, faults={"500": lines}
    ) as server:
        done = run(job(folder, server, service), wait=True)
        stats = server.stats()
    assert done["status"] == "complete"
    assert set(table(done, "documents")["status"]) == {"ok"}
    assert stats["repeated_ok"] == 0
    assert server.simulated.batches.repeated_ids == 0
    assert books(folder)["charged"] == stats["cost_pusd"]
    assert left(folder) == 0


def test_answers_for_a_document_that_is_gone_are_booked_all_the_same(folder: Path) -> None:
    with serving(answer="extractive", output_words=30, batch_s=DAY_S) as server:
        path = job(folder, server, "openai")
        run(path)
        (folder / "in" / "3.txt").unlink()
        the_day_passes(server)
        last = run(path, wait=True)
        stats = server.stats()
    assert last["status"] == "complete"
    assert books(folder)["charged"] == stats["cost_pusd"]
    assert left(folder) == 0


def test_the_cap_counts_what_is_out_at_the_batch_price(folder: Path) -> None:
    with serving(answer="extractive", output_words=30, batch_s=DAY_S) as server:
        path = job(folder, server, "openai")
        out = run(path)
        capped = load_job(path, [("budget.max_cost_usd", 1e-9), ("model.mode", "live")])
        held = run_job(capped, RunOptions())
        stats = server.stats()
    assert out["status"] == "waiting"
    assert held["counts"]["attempts"] == 0
    assert stats["billed_calls"] == 0


@pytest.mark.long
@pytest.mark.parametrize("service", SERVICES)
def test_a_cancelled_batch_is_asked_again_by_the_next_run_and_what_was_done_is_kept(folder: Path, service: str) -> None:
    with serving(answer="extractive", output_words=30, batch_s=DAY_S) as server:
        path = job(folder, server, service)
        run(path)
        with Ledger.open(folder / "out" / "ledger.sqlite") as ledger:
            assert len(asyncio.run(cancel_batches(ledger))) == 1
        the_day_passes(server)
        last = run(path, wait=True)
        stats = server.stats()
    assert last["status"] == "complete"
    assert stats["batches"] == 2
    assert stats["repeated_ok"] == 0
    assert books(folder)["charged"] == stats["cost_pusd"]
