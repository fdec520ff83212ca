"""What services say about money that cannot be: the cap holds or the run halts in its own words, and sums stay sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from desks import BOUND, COST, PRICE, USAGE, answer, desk, line, play, request
from docreduce.config import load_job
from docreduce.desk import Carried, Ledger
from docreduce.engine.run import RunOptions, run_job
from docreduce.models.prices import cost
from docreduce.values import Usage
from runs import serving, write_job

WHOLE = RunOptions()


@pytest.mark.parametrize(
    ("usage", "halts"),
    [
        (Usage(input_tokens=0, output_tokens=0), False),
        (Usage(input_tokens=0, output_tokens=5), False),
        (Usage(input_tokens=10**15, output_tokens=5), True),
        (Usage(input_tokens=10, output_tokens=10**15), True),
        (Usage(input_tokens=2**63, output_tokens=2**63), True),
        (Usage(input_tokens=100 * 10, output_tokens=100 * 5), True),
        (USAGE, False),
    ],
)
def test_usage_that_cannot_be_is_booked_at_its_bound_and_too_much_halts_a_run_with_a_cap(
    tmp_path: Path, usage: Usage, halts: bool
) -> None:
    cap = 100 * BOUND
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.begin_run("run", "job", "0", 0.0)
        decides = desk(ledger, line(concurrency=1), cap=cap)
        played = play(decides, [request(n) for n in range(20)], lambda ticket, now: answer(usage=usage))
        carried = ledger.carried("job")
    assert (decides.halted is not None) == halts
    stated = cost(PRICE, usage) or 0
    assert decides.budget.charged + decides.budget.unknown <= max(cap, stated + 2 * BOUND)
    assert (carried.charged_pusd, carried.unknown_pusd) == (decides.budget.charged, decides.budget.unknown)
    assert len(played.outcomes) == 20
    if halts:
        assert len(played.sent) <= 3, "calls that were reserved already, and none after them"
        assert decides.halted is not None
        assert any(word in decides.halted.message for word in ("billed", "too much to be true"))
    else:
        booked = (20 * COST, 0) if usage == USAGE else (0, 20 * BOUND)  # none for something: unknown, and a cap bites
        assert (decides.budget.charged, decides.budget.unknown) == booked


def test_a_sum_of_what_nobody_can_believe_does_not_overflow_and_the_ledger_opens_again(tmp_path: Path) -> None:
    mad = Usage(input_tokens=10**15, output_tokens=10**15)
    for night in range(1, 4):
        with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
            ledger.begin_run(f"r{night}", "job", "0", 0.0)
            decides = desk(ledger)
            decides.run_id = f"r{night}"
            play(decides, [request(f"{night} {n}") for n in range(30)], lambda ticket, now: answer(usage=mad))
            ledger.end_run(f"r{night}", "interrupted", 1.0)
            assert ledger.carried("job") == Carried(charged_pusd=0, unknown_pusd=night * 30 * BOUND)


@pytest.fixture
def priced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A job over four documents at a simulator: called with tables, it is run."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    (tmp_path / "in").mkdir()
    for number in range(4):
        words = f"The harbour {number} was closed in May. " * 40
        (tmp_path / "in" / f"{number}.txt").write_text(words, encoding="utf-8")
    with serving(output_words=20, tokenizer="bytes") as server:

        def run(options: RunOptions = WHOLE, **tables: Any) -> dict[str, Any]:
            settings: dict[str, Any] = {
                "input": {"paths": [str(tmp_path / "in")]},
                "model": {"provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 9000},
                "pricing": {"input_usd_per_million": 100.0, "output_usd_per_million": 100.0},
                "output": {"path": str(tmp_path / "out")},
                **tables,
            }
            return run_job(load_job(write_job(tmp_path, "night", "summarize", settings)), options)

        yield run


@pytest.mark.long
def test_limited_runs_do_not_renew_a_cap(priced: Any) -> None:
    first = priced(RunOptions(limit=1))["cost"]["charged_usd"]
    assert first > 0
    cap = {"budget": {"max_cost_usd": 2.5 * first}}
    manifests = [priced(RunOptions(limit=1, fresh=True), **cap) for _ in range(5)]
    spent = first + sum(each["cost"]["charged_usd"] for each in manifests)
    assert spent <= 2.5 * first
    assert manifests[-1]["status"] == "budget"
    assert manifests[-1]["cost"]["carried_usd"] > 0


@pytest.mark.long
def test_a_run_that_died_between_its_commit_and_its_mark_carries_nothing_into_the_next(
    priced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = Ledger.end_run
    monkeypatch.setattr(Ledger, "end_run", lambda *_: None)  # as a process that is killed in between leaves it
    first = priced()
    monkeypatch.setattr(Ledger, "end_run", marks)
    assert first["status"] == "complete"
    second = priced(RunOptions(fresh=True), budget={"max_cost_usd": 1.2 * first["cost"]["charged_usd"]})
    assert second["cost"]["carried_usd"] == 0


def test_a_folder_called_latest_fails_no_committed_run_and_is_told(priced: Any, tmp_path: Path) -> None:
    (tmp_path / "out" / "night" / "latest").mkdir(parents=True)
    manifest = priced()
    assert manifest["status"] == "complete"
    assert manifest["promoted"] is False
    assert "is a folder" in manifest["not_promoted"]
    assert priced()["cost"]["carried_usd"] == 0


def test_latest_moves_as_the_job_says(priced: Any, tmp_path: Path) -> None:
    latest = tmp_path / "out" / "night" / "latest"
    assert priced(RunOptions(limit=1))["not_promoted"] == "a run of the first documents only is never `latest`"
    assert not latest.exists()
    good = priced()
    assert latest.resolve().name == good["run_id"]
    (tmp_path / "in" / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    bad = priced(output={"path": str(tmp_path / "out"), "promote": "ok >= 0.99"})
    assert 'output.promote = "ok >= 0.99" does not hold: 4 ok, 1 failed' in bad["not_promoted"]
    assert latest.resolve().name == good["run_id"]
    fair = priced(output={"path": str(tmp_path / "out"), "promote": "ok >= 0.8"})
    assert latest.resolve().name == fair["run_id"]
