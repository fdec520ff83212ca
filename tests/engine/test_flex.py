"""The flex tier: half the price, refusals of capacity free, as standard when patience ends."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from docreduce.config import load_job
from docreduce.engine.run import RunOptions, run_job
from docreduce.values.errors import JobError
from runs import serving, table, write_job

PRICES = {"input_usd_per_million": 0.07, "output_usd_per_million": 0.28, "flex_discount": 0.5}


def job(folder: Path, url: str, provider: str = "openai", **model: Any) -> Path:
    (folder / "in").mkdir(exist_ok=True)
    for number in range(12):
        words = f"The bridge number {number} was closed on 3 May 2021 because of its cracks. " * 8
        (folder / "in" / f"{number}.txt").write_text(words, encoding="utf-8")
    asked = {"provider": provider, "name": "some-model", "base_url": url, "max_output_tokens": 100}
    settings = {
        "input": {"paths": [str(folder / "in")]},
        "model": {**asked, "context_window": 8000, "service_tier": "flex", **model},
        "pricing": PRICES,
        "summarize": {"max_words": 20},
        "output": {"path": str(folder / "out")},
    }
    return write_job(folder, "flexible", "summarize", settings)


def charged(folder: Path) -> dict[str, int]:
    with closing(sqlite3.connect(folder / "out" / "ledger.sqlite")) as ledger:
        return dict(ledger.execute("SELECT billing, sum(cost_pusd) FROM attempt GROUP BY billing"))


@pytest.mark.long
def test_answers_are_billed_at_the_tier_that_served_them_and_refusals_of_capacity_are_free(tmp_path: Path) -> None:
    with serving(answer="extractive", output_words=10, flex_refused=0.3, seed=5) as server:
        manifest = run_job(load_job(job(tmp_path, server.url)), RunOptions())
        stats = server.stats()
    calls = table(manifest, "calls")
    assert manifest["status"] == "complete"
    assert stats["rejected"]["resource_unavailable"] > 0
    assert set(calls.filter(calls["billing"] == "charged")["service_tier"]) == {"flex"}
    assert charged(tmp_path) == {"charged": stats["cost_pusd"], "free": 0}
    assert stats["flex_input_tokens"] == stats["input_tokens"]


@pytest.mark.long
def test_where_there_is_no_capacity_calls_go_as_standard_after_the_patience_that_was_asked_for(tmp_path: Path) -> None:
    with serving(answer="extractive", output_words=10, flex_refused=1.0) as server:
        manifest = run_job(load_job(job(tmp_path, server.url, flex_patience_s=0.2)), RunOptions())
        stats = server.stats()
    assert manifest["status"] == "complete"
    assert any("asked as standard" in note for note in manifest["notes"])
    assert stats["flex_input_tokens"] == 0 < stats["input_tokens"]
    assert charged(tmp_path)["charged"] == stats["cost_pusd"]


def test_a_service_without_tiers_says_so_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="anthropic has no tier 'flex'"):
        run_job(load_job(job(tmp_path, "http://127.0.0.1:9", provider="anthropic")), RunOptions())
