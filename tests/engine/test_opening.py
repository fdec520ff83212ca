"""What a run is opened with: where its ledger lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from docreduce.cli import main
from runs import serving, write_job


def _job(folder: Path, url: str, ledger: object) -> Path:
    (folder / "in").mkdir(exist_ok=True)
    for name in ("a", "b"):
        (folder / "in" / f"{name}.txt").write_text(f"The harbour of {name} was closed in May.", encoding="utf-8")
    tables: dict[str, Any] = {
        "input": {"paths": [str(folder / "in")]},
        "model": {"provider": "openai", "name": "m", "base_url": f"{url}/v1", "context_window": 100_000},
        "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0},
        "output": {"path": str(folder / "out"), **({} if ledger is None else {"ledger": str(ledger)})},
    }
    return write_job(folder, "placed", "summarize", tables)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def _command(*args: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in args])


def test_a_ledger_lies_where_the_job_says_and_every_command_finds_it_by_the_output(tmp_path: Path) -> None:
    place = tmp_path / "disk" / "paid.sqlite"
    with serving(lambda _: "short.", tokenizer="bytes") as server:
        job = _job(tmp_path, server.url, place)
        assert _command("run", job, "--json").exit_code == 0
        assert {each.name for each in place.parent.iterdir()} >= {"paid.sqlite"}
        assert sorted(each.name for each in (tmp_path / "out").glob("ledger*")) == ["ledger.sqlite"]
        estimate = json.loads(_command("estimate", job, "--json").stdout)
        assert (estimate["reused_calls"], estimate["cost_usd"]["expected"]) == (2, 0)
        bill = json.loads(_command("bill", tmp_path / "out", "--json").stdout)
        assert float(bill["total"]["charged_usd"]) > 0
        assert _command("check", tmp_path / "out").exit_code == 0
        assert _command("prune", tmp_path / "out", "--keep", "30d").exit_code == 0
        assert _command("run", job, "--json", "--fresh", "--limit", "1").exit_code == 0
        assert _command("run", _job(tmp_path, server.url, None), "--json").exit_code == 0
        assert server.stats()["billed_calls"] == 3


def test_a_ledger_that_is_there_is_not_left_behind(tmp_path: Path) -> None:
    with serving(lambda _: "short.", tokenizer="bytes") as server:
        assert _command("run", _job(tmp_path, server.url, None), "--json").exit_code == 0
        elsewhere = _command("run", _job(tmp_path, server.url, tmp_path / "paid.sqlite"), "--json")
        assert (elsewhere.exit_code, "is the ledger until now" in elsewhere.output) == (2, True)
        assert server.stats()["billed_calls"] == 2
        (tmp_path / "out" / "ledger.sqlite").rename(tmp_path / "paid.sqlite")
        moved = _command("run", _job(tmp_path, server.url, tmp_path / "paid.sqlite"), "--json")
        assert (moved.exit_code, server.stats()["billed_calls"]) == (0, 2)


def test_no_ledger_lies_at_an_address(tmp_path: Path) -> None:
    refused = _command("run", _job(tmp_path, "http://127.0.0.1:9", "s3://bucket/paid.sqlite"))
    assert (refused.exit_code, "local disk" in refused.output) == (2, True)
