"""Shards on a real Ray, started on this machine: one dataset, one account, and a worker that is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from places import ROOT
from runs import serving, write_job

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
]

ROWS, FILES = 100, 24
PER_MINUTE = 6_000
END_S = 240


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for file in range(FILES):
        lines = [json.dumps({"id": f"{file}-{row}", "body": f"Row {row} of file {file}."}) for row in range(ROWS)]
        (tmp_path / "in" / f"{file:02}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def start(folder: Path, url: str, cap: float = 50.0) -> subprocess.Popen[str]:
    job = write_job(
        folder,
        "rows",
        "map",
        {
            "input": {"paths": ["in"], "text_column": "body", "id_column": "id"},
            "map": {"prompt": "Say it again."},
            "model": {"provider": "openai", "name": "m", "base_url": url, "context_window": 8000},
            "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 3.0},
            "limits": {"requests_per_minute": PER_MINUTE, "concurrency": 60},
            "budget": {"max_cost_usd": cap},
            "output": {"path": "out"},
        },
    )
    command = [sys.executable, "-m", "docreduce.cli", "run", str(job), "--executor", "ray", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH") or str(ROOT)}
    environment["PYTHONPATH"] = os.path.abspath(environment["PYTHONPATH"])  # noqa: PTH100 - workers start elsewhere
    return subprocess.Popen(
        [*command, "--shards", "6", "--workers", "3"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/stats") as answer:
        return dict(json.loads(answer.read()))


def worker_of(folder: Path) -> int | None:
    """A process that runs a shard of the job in `folder`."""
    for place in Path("/proc").iterdir():
        if place.name.isdecimal():
            try:
                title, there = (place / "cmdline").read_bytes(), (place / "cwd").readlink()
            except OSError:  # it has just ended, or is another's
                continue
            if b"Worker.run" in title and there == folder:
                return int(place.name)
    return None


def documents(manifest: dict[str, Any], folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / manifest["run_dir"] / "documents.parquet")


def test_shards_on_ray_are_one_dataset_and_keep_the_account_s_limits(folder: Path) -> None:
    with serving(requests_per_minute=PER_MINUTE, latency_s=0.05, concurrency=60) as server:
        out, err = start(folder, server.url).communicate(timeout=END_S)
        service = stats(server.url)
    manifest = json.loads(out)
    assert manifest["missing"] == []
    assert manifest["incomplete"] == {}
    found = documents(manifest, folder)
    assert found["document_id"].to_list() == [f"{file}-{row}" for file in range(FILES) for row in range(ROWS)]
    assert set(found["status"]) == {"ok"}
    assert service["refused"] == 0
    assert service["accepted"] == FILES * ROWS
    assert service["max_in_flight"] <= 60
    assert manifest["counts"]["calls"] == FILES * ROWS
    assert "shards 6/6" in err


def test_a_killed_worker_s_shard_starts_again_and_pays_twice_for_what_was_in_flight_alone(folder: Path) -> None:
    with serving(requests_per_minute=PER_MINUTE, latency_s=0.3, concurrency=60) as server:
        with start(folder, server.url) as process:
            end = time.monotonic() + END_S
            while time.monotonic() < end and stats(server.url)["accepted"] < 400:
                time.sleep(0.1)
            victim = worker_of(folder)
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            out, err = process.communicate(timeout=END_S)
        service = stats(server.url)
    manifest = json.loads(out)
    assert "its worker died" in err
    assert manifest["missing"] == []
    found = documents(manifest, folder)
    assert found["document_id"].n_unique() == FILES * ROWS
    assert set(found["status"]) == {"ok"}
    assert service["refused"] == 0
    # Sent twice: what the worker had in flight, which no process has more of than slots and unbooked answers.
    assert FILES * ROWS <= service["accepted"] <= FILES * ROWS + 80


def test_the_cap_holds_over_all_shards_and_the_same_command_goes_on(folder: Path) -> None:
    with serving(requests_per_minute=PER_MINUTE, latency_s=0.05) as server:
        first = start(folder, server.url, cap=0.06)
        out, _ = first.communicate(timeout=END_S)
        spent = stats(server.url)["input_tokens"] + 3 * stats(server.url)["output_tokens"]
        assert first.returncode == 3, out
        assert json.loads(out)["run_dir"] is None
        assert 0.03e6 < spent <= 0.06e6
        second = start(folder, server.url)
        out, _ = second.communicate(timeout=END_S)
        service = stats(server.url)
    assert second.returncode == 0
    assert set(documents(json.loads(out), folder)["status"]) == {"ok"}
    assert service["accepted"] == FILES * ROWS
