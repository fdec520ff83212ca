"""A long static prefix is paid once; what is sent once is not kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from docreduce.config import load_job
from docreduce.engine.run import RunOptions, run_job
from runs import serving, write_job

INPUT, OUTPUT = 0.07, 0.28
PRICES = {
    "input_usd_per_million": INPUT,
    "output_usd_per_million": OUTPUT,
    "cached_input_usd_per_million": INPUT / 10,
    "cache_write_5m_usd_per_million": INPUT * 1.25,
}
CHUNKS = 40


def run(folder: Path, service: str, prefix_words: int, **simulated: Any) -> tuple[dict[str, Any], int]:
    """What the service says it billed, and what the ledger holds, for documents of 1,500 tokens each."""
    (folder / "in").mkdir()
    for number in range(CHUNKS):
        words = " ".join(f"bridge{number}x{at}" for at in range(300))
        (folder / "in" / f"{number}.txt").write_text(words, encoding="utf-8")
    with serving(answer="extractive", output_words=5, prompt_cache=True, **simulated) as server:
        model = {"provider": service, "name": "some-model", "base_url": server.url, "max_output_tokens": 100}
        settings = {
            "input": {"paths": [str(folder / "in")]},
            "model": {**model, "context_window": 16000, "system": "Mind the house style. " * (prefix_words // 4)},
            "pricing": PRICES,
            "summarize": {"max_words": 20},
            "output": {"path": str(folder / "out")},
        }
        manifest = run_job(load_job(write_job(folder, "cached", "summarize", settings)), RunOptions())
        stats = server.stats()
    assert manifest["status"] == "complete"
    with closing(sqlite3.connect(folder / "out" / "ledger.sqlite")) as ledger:
        billings = dict(ledger.execute("SELECT billing, sum(cost_pusd) FROM attempt GROUP BY billing"))
    assert set(billings) == {"charged"}
    return stats, billings["charged"]


@pytest.mark.long
@pytest.mark.parametrize("service", ["openai", "anthropic"])
def test_a_long_prefix_is_written_once_and_read_by_all_others(tmp_path: Path, service: str) -> None:
    stats, charged = run(tmp_path, service, 2000, latency_s=0.02)
    assert stats["cost_pusd"] == charged
    written = stats["cache_write_tokens"]
    assert written > 1024
    assert stats["cached_input_tokens"] == written * (CHUNKS - 1)


@pytest.mark.parametrize("service", ["openai", "anthropic"])
def test_where_the_prefix_is_short_nothing_is_written(tmp_path: Path, service: str) -> None:
    stats, charged = run(tmp_path, service, 40)
    assert stats["cost_pusd"] == charged
    assert stats["cache_write_tokens"] == stats["cached_input_tokens"] == 0
