"""A night nobody watches: what the command says, to whom, and how it is steered while it runs."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checking import check
from docreduce.config import load_job
from docreduce.engine.run import RunOptions, run_job
from docreduce.simulator import Ask
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from runs import serving, write_job

LIMITS = {"requests_per_minute": 60, "grace_s": 2.0}


def metrics(path: Path) -> dict[str, float]:
    """The numbers in the file, by name and labels but the job's."""
    found = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        for sample in family.samples:
            labels = [value for name, value in sorted(sample.labels.items()) if name not in ("job", "run_id")]
            found[" ".join([sample.name, *labels])] = sample.value
    return found


def until(holds: Callable[[], Any], what: str) -> None:
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within a minute: {what}")


@pytest.mark.long
def test_limits_and_cap_are_changed_while_the_command_runs_and_what_is_wrong_changes_nothing(lab: Any) -> None:
    lab.configure("summarize", latency_s=0.01)
    case = lab.case("summarize", limits=LIMITS)
    numbers = case.job.with_name("metrics.prom")
    process = case.command(extra=["--metrics", str(numbers)])
    until(lambda: lab.service.ask("/stats")["requests"], "the first call")
    control = case.output / "night" / "control.toml"

    def tell(text: str, reply: str) -> None:
        control.write_text(text, encoding="utf-8")
        process.send_signal(signal.SIGUSR1)
        until(lambda: reply in case.text(), reply)

    tell("pause = true", "paused with requests_per_minute = 60")
    asked = lab.service.ask("/stats")["requests"]
    tell("pause = 1", "nothing is changed")
    tell("[limits]\nrequests_per_minutes = 5", "requests_per_minutes")
    time.sleep(2.5)
    assert lab.service.ask("/stats")["requests"] <= asked + 1, "one may have been on its way"
    tell("[limits]\nrequests_per_minute = 60000\n[budget]\nmax_cost_usd = 1.5", "max_cost_usd = 1.5")
    case.codes.append(process.wait(120))
    manifest = json.loads((case.runs()[-1] / "run.json").read_bytes())
    assert manifest["bounded_by"]["pause"] >= 2
    final = metrics(numbers)
    assert final["docreduce_documents_total ok"] == manifest["counts"]["ok"]
    assert final["docreduce_cap_usd"] == 1.5
    assert final["docreduce_cost_usd_total charged"] == pytest.approx(manifest["cost"]["charged_usd"])
    import faults

    check(faults.judge(case, lab.service.stats(), None, documents=faults.DOCUMENTS, exact=True))


@pytest.mark.long
def test_quiet_says_nothing_where_all_is_well_and_what_is_wrong_where_it_is_not(lab: Any) -> None:
    lab.configure("summarize")
    case = lab.case("summarize")
    assert case.command(extra=["--quiet"]).wait(120) == 0
    assert case.text() == ""
    lab.configure("summarize", keys=["another"])
    assert case.command(extra=["--quiet", "--fresh"]).wait(120) == 4
    assert "Invalid API key" in case.text()
    assert "`latest` is not moved" in case.text()


@pytest.mark.long
def test_the_log_is_json_lines_alone_from_the_first_to_the_last(lab: Any) -> None:
    lab.configure("summarize", keys=["another"])
    case = lab.case("summarize")
    code = case.command(extra=["--log-json", "--json"], stdout=-3).wait(120)
    lines = [json.loads(line) for line in case.text().splitlines()]
    assert (code, lines[-1]["event"], lines[-1]["exit_code"]) == (4, "end", 4)
    assert {line["status"] for line in lines if line["event"] == "document"} == {"skipped"}
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line["time"]) and line["level"] for line in lines)
    wrong = lab.case("summarize", output={"promote": "okay > 1"})
    assert wrong.command(extra=["--log-json"]).wait(120) == 2
    (line,) = wrong.text().splitlines()
    assert "okay is none of ok, partial, failed, skipped" in json.loads(line)["message"]


@pytest.mark.parametrize(
    ("retry", "asks"), [("transient", True), ("all", True), ("never", False)]
)  # fmt: skip
def test_an_answer_that_led_to_a_failure_is_asked_again_by_the_next_run_as_the_job_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry: str, asks: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    (tmp_path / "a.txt").write_text("The bridge was closed on 3 May 1903.", encoding="utf-8")
    sound: list[bool] = []

    def answers(ask: Ask) -> str:
        return json.dumps({"items": [{"year": 1903, "evidence": {"year": "1903"}}]}) if sound else "no JSON at all"

    (tmp_path / "s.json").write_text('{"type": "object", "properties": {"year": {"type": "integer"}}}')
    with serving(answers) as server:
        tables: dict[str, Any] = {
            "input": {"paths": [str(tmp_path / "a.txt")]},
            "model": {"provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 20_000,
                      "structured_output": "prompt"},
            "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0},
            "extract": {"schema": "s.json", "cardinality": "one"},
            "output": {"path": str(tmp_path / "out"), "retry": retry},
        }  # fmt: skip
        job = load_job(write_job(tmp_path, "night", "extract", tables))
        first = run_job(job)
        assert first["counts"]["failed"] == 1
        sound.append(True)
        second = run_job(job)
        assert bool(second["counts"]["calls"]) == asks
        assert second["counts"]["ok"] == int(asks)
        if not asks:
            assert any("not asked again" in note for note in second["notes"])
            assert run_job(job, RunOptions(retry_failed=True))["counts"]["ok"] == 1


@pytest.mark.parametrize("fault", ["500", "reset_billed", "content_type"])
@pytest.mark.parametrize(("retry", "asks"), [("transient", True), ("all", True), ("never", False)])
def test_what_failed_in_passing_is_asked_again_by_the_next_run_unless_the_job_says_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry: str, asks: bool, fault: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    (tmp_path / "in").mkdir()
    for number in range(8):
        (tmp_path / "in" / f"{number}.txt").write_text(f"Bridge {number} was closed on 3 May 1903.", encoding="utf-8")
    with serving(fault_at={4: fault}) as server:
        tables: dict[str, Any] = {
            "input": {"paths": [str(tmp_path / "in")]},
            "model": {"provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 20_000},
            "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0},
            "limits": {"max_attempts": 1, "concurrency": 1},
            "output": {"path": str(tmp_path / "out"), "retry": retry},
        }
        job = load_job(write_job(tmp_path, "night", "summarize", tables))
        assert run_job(job)["counts"]["failed"] == 1
        second = run_job(job)
        assert second["counts"]["calls"] == second["counts"]["ok"] - 7 == int(asks)
        if not asks:
            assert any("not asked again" in note for note in second["notes"])
            assert run_job(job, RunOptions(retry_failed=True))["counts"]["ok"] == 8
