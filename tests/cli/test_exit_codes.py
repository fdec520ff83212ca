"""Every exit code of the contract, from the command as its users start it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result
from docreduce.cli import main
from docreduce.results.beside import FORMATS
from places import ROOT
from runs import serving, write_job

BROKEN = b"%PDF-1.7 and nothing more"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def job_file(folder: Path, url: str | None = None, **tables: Any) -> Path:
    if not (folder / "in").exists():
        (folder / "in").mkdir()
        for name in ("a", "b"):
            (folder / "in" / f"{name}.txt").write_text(f"The harbour of {name} was closed in May.", encoding="utf-8")
    model: dict[str, Any] = {"provider": "offline"}
    if url is not None:
        model = {"provider": "openai", "name": "m", "base_url": f"{url}/v1", "context_window": 100_000}
        tables["pricing"] = {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0}
    settings = {"input": {"paths": [str(folder / "in")]}, "model": model, "output": {"path": str(folder / "out")}}
    whole = {name: {**settings.get(name, {}), **tables.get(name, {})} for name in {**settings, **tables}}
    return write_job(folder, "coded", "summarize", whole)


def run(*args: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, args), "--json"])


def counts(result: Result) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(result.stdout)["counts"]
    return told


def test_0_where_every_document_is_ok(tmp_path: Path) -> None:
    assert run(job_file(tmp_path)).exit_code == 0


def test_1_where_some_failed_and_7_where_none_is_ok(tmp_path: Path) -> None:
    job = job_file(tmp_path)
    (tmp_path / "in" / "c.pdf").write_bytes(BROKEN)
    some = run(job)
    assert (some.exit_code, counts(some)["ok"], counts(some)["failed"]) == (1, 2, 1)
    none = run(job, "--input", tmp_path / "in" / "c.pdf")
    assert (none.exit_code, counts(none)["failed"]) == (7, 1)


@pytest.mark.parametrize("args", [["none.toml"], [], ["none.toml", "--limit", "0"], ["none.toml", "--nonsense"]])
def test_2_where_the_command_or_the_job_file_is_wrong(args: list[str]) -> None:
    assert CliRunner().invoke(main, ["run", *args]).exit_code == 2


def test_3_where_the_cap_was_reached_and_a_later_run_goes_on(tmp_path: Path) -> None:
    with serving(lambda _: "short.", tokenizer="bytes") as server:
        job = job_file(tmp_path, server.url)
        capped = run(job, "--max-cost", 0.000001)
        assert (capped.exit_code, counts(capped)["skipped"], server.stats()["billed_calls"]) == (3, 2, 0)
        assert run(job).exit_code == 0


def test_4_where_the_service_refuses_the_key_and_nothing_is_lost(tmp_path: Path) -> None:
    with serving(keys=["another"], tokenizer="bytes") as server:
        refused = run(job_file(tmp_path, server.url))
    assert (refused.exit_code, counts(refused)["skipped"]) == (4, 2)


def test_5_where_this_machine_cannot_write_and_nothing_half_written_is_visible(tmp_path: Path) -> None:
    job = job_file(tmp_path)
    (tmp_path / "file").write_text("no folder")
    failed = run(job, "--output", tmp_path / "file" / "out")
    assert failed.exit_code == 5
    assert json.loads(failed.stdout)["error"]["kind"] == "machine"


def test_5_where_a_format_beside_parquet_cannot_be_written_and_the_run_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(table: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", str(table.with_suffix(".jsonl")))

    job = job_file(tmp_path, output={"also": ["csv", "jsonl"]})
    monkeypatch.setattr("docreduce.results.dataset.FORMATS", {**FORMATS, "jsonl": full})
    failed = run(job)
    manifest = json.loads(failed.stdout)
    assert (failed.exit_code, manifest["status"], manifest["counts"]["ok"]) == (5, "complete", 2)
    assert [lost["format"] for lost in manifest["dropped"]] == ["jsonl"]
    assert pl.read_csv(tmp_path / "out" / "coded" / "latest" / "documents.csv").height == 2
    told = CliRunner().invoke(main, ["run", str(job)])
    assert (told.exit_code, "no jsonl was written, the Parquet stands" in told.stderr) == (5, True)


@pytest.mark.long
def test_130_where_it_was_interrupted_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with serving(lambda _: "short.", latency_s=60, latency_sigma=0, tokenizer="bytes") as slow:
        job = job_file(tmp_path, slow.url, limits={"grace_s": 0.2})
        words = [sys.executable, "-m", "docreduce.cli", "run", str(job), "--json"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while not slow.stats()["in_flight"]:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["status"] == "interrupted"


FAULTY = """
from docreduce.kinds.kind import Work
from docreduce.settings import Table
from docreduce.values import Message, Request, Result


class Settings(Table):
    divisor: int = 0


class Faulty:
    name = "faulty"
    settings = Settings

    def prepare(self, settings, plan):
        def steps(documents):
            text = documents[0].text
            yield [Request(messages=(Message("user", text),), tokens=100)]
            if "last" in text:
                1 // settings.divisor
            return [Result(status="ok", summary="done")]

        return Work(steps=steps, predict=lambda request, tokens: "", offline=lambda request: "answer")


KIND = Faulty()
"""


@pytest.mark.long
def test_70_where_docreduce_is_at_fault_with_the_trace_in_a_log_and_what_is_done_kept(tmp_path: Path) -> None:
    site = tmp_path / "site"
    facts = site / "docreduce_faulty-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "docreduce_faulty.py").write_text(FAULTY, encoding="utf-8")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: docreduce-faulty\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[docreduce.kinds]\nfaulty = docreduce_faulty:KIND\n")
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    pl.DataFrame({"body": [f"row {n}" for n in range(20)] + ["the last"]}).write_parquet(tmp_path / "in.parquet")
    inputs = {"paths": [str(tmp_path / "in.parquet")], "text_column": "body"}
    job = write_job(tmp_path, "faulty", "faulty", {"input": inputs, "output": {"path": str(tmp_path / "out")}})

    def command(*more: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "docreduce.cli", "run", str(job), "--json", *more]
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(
            words, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=120
        )

    failed = command()
    assert failed.returncode == 70
    error = json.loads(failed.stdout)["error"]
    assert error["kind"] == "fault"
    (log,) = (tmp_path / "out").glob("fault-*.log")
    assert str(log) in error["hint"]
    assert "ZeroDivisionError" in log.read_text(encoding="utf-8")
    assert log.stat().st_mode & 0o077 == 0
    assert not list((tmp_path / "out" / "faulty").glob("*/run.json")), "half a run is visible"
    cured = command("--set", "faulty.divisor=1")
    assert cured.returncode == 0, cured.stderr
    assert json.loads(cured.stdout)["counts"]["reused_calls"] == 21


SIGNALLED = """
import os, runpy, signal, sys

_, at, number, module, *sys.argv[1:] = sys.argv

class Import:
    def find_spec(self, name, *_):
        if name == at:
            os.kill(os.getpid(), int(number))

sys.meta_path.insert(0, Import())
runpy.run_module(module, run_name="__main__")
"""
"""A command to which a signal comes as it imports something."""


def signalled(at: str, number: signal.Signals, *arguments: str, module: str = "docreduce") -> Any:
    command = [sys.executable, "-c", SIGNALLED, at, str(int(number)), module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("module", ["docreduce", "docreduce.cli"])
def test_a_word_to_read_the_limits_anew_that_comes_while_the_command_loads_kills_nothing(module: str) -> None:
    done = signalled("click", signal.SIGUSR1, "--version", module=module)
    assert (done.returncode, done.stdout[:10]) == (0, "docreduce,"), done.stderr


@pytest.mark.long
def test_a_signal_that_comes_as_a_finished_run_is_told_of_is_130_and_the_run_stands(tmp_path: Path) -> None:
    path = job_file(tmp_path)
    done = signalled("docreduce.report.html", signal.SIGTERM, "run", str(path))
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    (run,) = (tmp_path / "out").glob("*/2*/run.json")
    assert json.loads(run.read_text())["status"] == "complete"
