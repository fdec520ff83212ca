"""Real runs to look at: contracts at a simulated service that fails now and then, twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from docreduce.config import load_job
from docreduce.engine.run import RunOptions, run_job
from places import ROOT
from reports import HOSTILE, Runs
from runs import serving, write_job


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Never to be changed: `runs` is a copy."""
    folder = tmp_path_factory.mktemp("report")
    inputs, output = folder / "in", folder / "out"
    shutil.copytree(ROOT / "data" / "contracts", inputs)
    (inputs / "hostile.txt").write_text(HOSTILE, encoding="utf-8")
    (inputs / "nothing.txt").touch()
    tables: dict[str, dict[str, Any]] = {
        "input": {"paths": [str(inputs)]},
        "model": {"provider": "openai", "name": "rehearsal", "base_url": "", "context_window": 16_000},
        "pricing": {
            "input_usd_per_million": 0.07,
            "output_usd_per_million": 0.28,
            "cached_input_usd_per_million": 0.007,
        },
        "limits": {"concurrency": 2},
        "chunking": {"max_tokens": 120},
        "extract": {"schema": str(ROOT / "jobs" / "contract.schema.json"), "cardinality": "one"},
        "budget": {"max_cost_usd": 1.0},
        "output": {"path": str(output), "csv": True, "also": ["jsonl"]},
    }
    with serving(answer="extractive", cached_share=0.25, fault_at={2: "500", 4: "filter", 5: "no_usage"}) as service:
        tables["model"]["base_url"] = f"{service.url}/v1"
        job = write_job(folder, "contracts", "extract", tables)
        first = Path(run_job(load_job(job), RunOptions())["run_dir"])
        (inputs / "hosting.txt").write_text("Another hosting agreement, dated May 7, 2019.", encoding="utf-8")
        (inputs / "new.txt").write_text("A lease dated June 1, 2020.", encoding="utf-8")
        second = Path(run_job(load_job(job), RunOptions())["run_dir"])
    return Runs(output, inputs, first, second, job)


@pytest.fixture
def runs(made: Runs, tmp_path: Path) -> Runs:
    """A copy to do harm to."""
    output = tmp_path / "out"
    shutil.copytree(made.output, output, symlinks=True)
    first, second = (output / run.relative_to(made.output) for run in (made.first, made.second))
    return Runs(output, made.inputs, first, second, made.job)
