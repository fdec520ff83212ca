"""The bill: every group of every kind sums to what the ledger holds, to the pico-dollar."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
from contextlib import closing

import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.report.bill import BY, NO_RESULT, By, bill, bill_csv
from docreduce.values.errors import JobError
from reports import Runs


def booked(runs: Runs) -> tuple[int, int]:
    """What the ledger's own rows add up to: charged and unknown, in pico-dollars."""
    query = "SELECT sum(cost_pusd) FROM attempt WHERE billing = ?"
    with closing(sqlite3.connect(runs.output / "ledger.sqlite")) as plain:
        charged, unknown = (plain.execute(query, (word,)).fetchone()[0] for word in ("charged", "unknown"))
    return int(charged), int(unknown)


@pytest.mark.parametrize("by", BY)
def test_groups_sum_to_the_ledger_to_the_pico_dollar(made: Runs, by: By) -> None:
    found = bill(made.output, by=by)
    charged, unknown = booked(made)
    assert charged > 0
    assert unknown > 0
    assert sum(group["charged_pusd"] for group in found["groups"]) == charged == found["total"]["charged_pusd"]
    assert sum(group["unknown_pusd"] for group in found["groups"]) == unknown == found["total"]["unknown_pusd"]
    assert found["total"]["charged_usd"] == charged / 1e12


def test_runs_cost_what_their_manifests_say(made: Runs) -> None:
    groups = {group["run"]: group for group in bill(made.output, by="run")["groups"]}
    for run in (made.first, made.second):
        cost = json.loads((run / "run.json").read_bytes())["cost"]
        assert groups[run.name]["charged_usd"] == cost["charged_usd"]
        assert groups[run.name]["unknown_usd"] == cost["unknown_usd"]


def test_what_reuse_and_caches_saved_is_what_the_calls_say(made: Runs) -> None:
    saved = bill(made.output)["total"]["saved_usd"]
    calls = pl.concat([pl.read_parquet(run / "calls.parquet") for run in (made.first, made.second)])
    reused = float(calls["reused_cost_usd"].sum())
    cached = calls.filter(pl.col("billing").cast(pl.String) == "charged")["cached_input_tokens"].sum()
    assert saved["reuse"] == pytest.approx(reused)
    assert reused > 0
    assert saved["cache"] == pytest.approx(cached * (0.07 - 0.007) / 1e6, abs=1e-11)
    assert saved["batch"] == saved["flex"] == 0


def test_a_run_whose_results_are_gone_stays_on_the_bill(runs: Runs) -> None:
    charged, _ = booked(runs)
    shutil.rmtree(runs.first)
    groups = {group["document"]: group for group in bill(runs.output, by="document")["groups"]}
    assert sum(group["charged_pusd"] for group in groups.values()) == charged
    assert groups[NO_RESULT]["charged_pusd"] > 0


def test_ledgers_of_shards_are_one_bill(runs: Runs) -> None:
    whole = bill(runs.output)["total"]["charged_pusd"]
    shard = runs.output / "shard-2"
    shard.mkdir()
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        if (runs.output / name).exists():
            shutil.copy(runs.output / name, shard / name)
    with closing(sqlite3.connect(shard / "ledger.sqlite")) as plain, plain:
        plain.execute("UPDATE attempt SET run_id = 's2-' || run_id")
        plain.execute("UPDATE run SET run_id = 's2-' || run_id")
    assert bill(runs.output)["total"]["charged_pusd"] == 2 * whole


def test_since_counts_from_that_day_on(made: Runs) -> None:
    day = json.loads((made.first / "run.json").read_bytes())["started_at"][:10]
    assert bill(made.output, since=day)["total"]["charged_pusd"] == booked(made)[0]
    assert bill(made.output, since="2999-01-01")["total"]["charged_pusd"] == 0
    with pytest.raises(JobError, match="expected a date"):
        bill(made.output, since="yesterday")


def test_csv_holds_the_exact_dollars_and_no_formula(made: Runs) -> None:
    found = bill(made.output, by="document")
    found["groups"][0]["document"] = "=cmd()"
    rows = list(csv.DictReader(io.StringIO(bill_csv(found))))
    assert rows[0]["document"] == "'=cmd()"
    exact = [f"{group['charged_pusd'] / 1e12:.12f}" for group in found["groups"]]
    assert [row["charged_usd"] for row in rows] == exact


def test_the_command_prints_groups_and_total(made: Runs) -> None:
    shown = CliRunner().invoke(main, ["bill", str(made.output), "--by", "stage"])
    assert shown.exit_code == 0, shown.output
    assert "map" in shown.stdout
    assert "total" in shown.stdout
    nothing = CliRunner().invoke(main, ["bill", str(made.inputs)])
    assert nothing.exit_code == 2
    assert "no ledger and no run" in nothing.stderr
