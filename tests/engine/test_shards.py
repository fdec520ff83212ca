"""Shards of a job: what they share out, what they read, and the one dataset that is made of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.config import load_job, parse_job
from docreduce.desk import Ledger
from docreduce.desk.ledger.copying import LATE_S
from docreduce.engine.merging import merge_shards
from docreduce.engine.run import RunOptions, run_job
from docreduce.engine.shards import ledger_on, parse_shard, segments_of, shard_folder, sharded, share_of
from docreduce.readers import Share, read, shares, slices
from docreduce.report.bill import bill
from docreduce.report.check import check
from docreduce.report.prune import purge
from docreduce.settings import InputSettings
from docreduce.values.errors import JobError
from docreduce.values.money import pusd
from runs import serving, write_job

WORDS = (
    "The harbour was dredged in March. Mud of forty years lay on its floor. Ships of nine metres can enter now, and "
    "the pilots ask for new lights. The council paid 2.5 million euros for it. "
)
TIMES = ("started_at", "latency_s", "request_id")
BORNE = ("attempts", "input_tokens", "output_tokens", "cost_usd", "unknown_cost_usd", "reused_cost_usd")
"""A text that two documents share is asked once in a run, for the first of them: once in each shard, then."""
SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "number"}, "month": {"type": "string"}, "stars": {"type": "integer"}},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of many kinds: equal ones, empty and broken ones, tables of several blocks whose columns differ."""
    monkeypatch.setattr(shares, "DIVIDED_BYTES", 2**14)
    inside = tmp_path / "in"
    (inside / "deep").mkdir(parents=True)
    for number in range(23):
        place = inside / ("deep" if number % 3 else "") / f"{number:02}.txt"
        place.write_text(WORDS * (1 + number % 4) + str(number // 2), encoding="utf-8")  # every two are equal
    (inside / "empty.md").write_bytes(b"")
    (inside / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    rows = [f'{number},"{WORDS[: 20 + number % 60]}",{number % 5}' for number in range(3_300)]
    rows[1_700] = rows[5]
    rows[2_500] = '2500,"no third cell"'
    (inside / "mail.csv").write_text("id,body,stars\n" + "\n".join(rows) + "\n", encoding="utf-8")
    lines = [json.dumps({"body": f"{WORDS[:40]} {n % 900}", "n": n if n < 1_500 else n / 2}) for n in range(2_600)]
    lines[40] = "{no json"
    (inside / "notes.jsonl").write_text("\n".join(lines), encoding="utf-8")
    more = pa.table(
        {
            "body": [f"{WORDS[:50]} {n}" for n in range(900)],
            "kind": pa.array([("a", "b", None)[n % 3] for n in range(900)]).dictionary_encode(),
            "stars": [n % 7 for n in range(900)],
        }
    )
    pq.write_table(more, inside / "orders.parquet", row_group_size=130)
    return tmp_path


def job_file(folder: Path, **tables: Any) -> Path:
    settings = {
        "input": {"paths": [str(folder / "in")], "text_column": "body"},
        "summarize": {"max_words": 30},
        "chunking": {"max_tokens": 60},
        "output": {"path": str(folder / "out"), "csv": True},
        **tables,
    }
    return write_job(folder, "harbour", "extract" if "extract" in tables else "summarize", settings)


def run_shards(path: Path, of: int, numbers: Any = None) -> None:
    for number in numbers or range(1, of + 1):
        job, shard = sharded(load_job(path), number, of)
        run_job(job, RunOptions(shard=shard))


def rows(run_dir: Path, name: str) -> pa.Table:
    found = pq.read_table(run_dir / f"{name}.parquet")
    unlike = TIMES if name == "calls" else BORNE
    return found.drop_columns([column for column in unlike if column in found.column_names])


@pytest.mark.parametrize("whole", [1, 7, 1000, 5_000_000_000_001])
@pytest.mark.parametrize("of", [1, 3, 7, 64])
def test_shares_sum_to_the_whole_and_differ_by_one_at_most(whole: int, of: int) -> None:
    found = [share_of(whole, number, of) for number in range(1, of + 1)]
    assert sum(found) == whole
    assert max(found) - min(found) <= 1


def test_a_shard_has_its_share_of_every_limit_and_of_the_cap_to_the_pico_dollar() -> None:
    limits = {"requests_per_minute": 1000, "tokens_per_minute": 100_003, "concurrency": 10}
    job = parse_job(
        {
            "name": "j",
            "kind": "summarize",
            "input": {"paths": ["x"]},
            "limits": limits,
            "model": {"fallback": [{"name": "other", "limits": {"concurrency": 8}}]},
            "budget": {"max_cost_usd": 12_345.1},
        }
    )
    every = [sharded(job, number, 7) for number in range(1, 8)]
    for name, whole in limits.items():
        assert sum(getattr(each.limits, name) for each, _ in every) == whole
    assert sum(each.model.fallback[0].limits.concurrency or 0 for each, _ in every) == 8
    assert sum(shard.cap_pusd or 0 for _, shard in every) == pusd(12_345.1)
    # Where three run side by side, any three keep the limits; the cap is spent once.
    three = [sharded(job, number, 7, 3) for number in range(1, 8)]
    for name, whole in limits.items():
        assert sum(sorted(getattr(each.limits, name) for each, _ in three)[-3:]) <= whole
        assert min(getattr(each.limits, name) for each, _ in three) == whole // 3
    assert sum(shard.cap_pusd or 0 for _, shard in three) == pusd(12_345.1)
    with pytest.raises(JobError, match="concurrency: 8 cannot be divided among 12") as refused:
        sharded(job, 1, 12)
    assert "--at-once 8" in refused.value.hint


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/", "-1/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(JobError, match="expected I/N"):
        parse_shard(text)


@pytest.mark.parametrize("of", [2, 3, 8])
def test_every_document_is_in_exactly_one_share_and_in_its_order(folder: Path, of: int) -> None:
    settings = InputSettings(paths=["-"], text_column="body")
    sources = sorted(str(path) for path in (folder / "in").rglob("*.*"))

    def found(share: Share | None) -> list[tuple[str, str, str]]:
        return [
            (each.uri, each.id, getattr(each, "text", ""))
            for part in slices(sources, settings, share)
            for each in read(part.source, settings, blocks=part.blocks)
        ]

    whole = found(None)
    parts = [found(Share(number, of)) for number in range(1, of + 1)]
    assert sorted(each for part in parts for each in part) == sorted(whole)
    place = {each[0]: at for at, each in enumerate(whole)}
    for part in parts:
        assert [place[each[0]] for each in part] == sorted(place[each[0]] for each in part)


@pytest.mark.parametrize("content", [b"other,columns\n" + b"a,b\n" * 9000, b"{\n" * 9000])
def test_a_table_that_cannot_be_read_is_a_row_in_one_share(folder: Path, content: bytes) -> None:
    path = folder / ("in/x.csv" if content[:1] == b"o" else "in/x.jsonl")
    path.write_bytes(content)
    settings = InputSettings(paths=["-"], text_column="body")
    whole = [each.id for each in read(str(path), settings)]
    parts = [slices([str(path)], settings, Share(number, 3)) for number in (1, 2, 3)]
    assert whole
    assert sorted(whole) == sorted(
        each.id for part in parts for one in part for each in read(one.source, settings, blocks=one.blocks)
    )


def test_columns_of_one_row_keep_their_order_whichever_shard_met_one_of_them_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # shards are by address: by these names in every run
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("body,id,stars\nThe ferry left.,7,2\n", encoding="utf-8")
    for number in range(12):
        (tmp_path / "in" / f"b{number}.csv").write_text("body,stars\nNobody was hurt.,3\n", encoding="utf-8")
    tables = {"input": {"paths": ["in"], "text_column": "body"}, "chunking": {"max_tokens": 60}}
    whole = run_job(load_job(job_file(tmp_path, **tables, output={"path": "whole"})))
    run_shards(job_file(tmp_path, **tables, output={"path": "out"}), 5)
    merged = merge_shards(tmp_path / "out")
    assert merged.run_dir is not None
    assert rows(merged.run_dir, "documents").column_names == rows(Path(whole["run_dir"]), "documents").column_names


@pytest.mark.long
@pytest.mark.parametrize(("of", "kind"), [(2, "summarize"), (5, "summarize"), (3, "extract")])
def test_the_merged_shards_are_the_rows_of_an_unsharded_run(folder: Path, of: int, kind: str) -> None:
    tables: dict[str, Any] = {}
    if kind == "extract":
        (folder / "schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
        tables = {"extract": {"schema": "schema.json"}}
    whole = run_job(load_job(job_file(folder, output={"path": str(folder / "whole"), "csv": True}, **tables)))
    path = job_file(folder, **tables)
    run_shards(path, of)
    merged = merge_shards(folder / "out")
    assert merged.whole
    assert merged.run_dir == folder / "out" / "harbour" / (folder / "out/harbour/latest").resolve().name
    own = ("records", "evidence") if kind == "extract" else ()
    for name in ("documents", "chunks", *own):
        expected, found = rows(Path(whole["run_dir"]), name), rows(merged.run_dir, name)
        assert found.column_names == expected.column_names
        assert found.schema.types == expected.schema.types
        for column in expected.column_names:
            assert found[column].to_pylist() == expected[column].to_pylist(), (name, column)
    assert set(rows(merged.run_dir, "calls")["call_key"].to_pylist()) == set(
        rows(Path(whole["run_dir"]), "calls")["call_key"].to_pylist()
    )
    files = [
        [(file["path"], file["rows"]) for file in manifest["files"] if file["path"] != "calls.parquet"]
        for manifest in (merged.manifest, whole)
    ]
    assert files[0] == files[1]
    assert len(files[0]) >= 3
    counted = ("documents", "ok", "partial", "failed", "skipped", "errors", "chunks", "evidence_not_found")
    assert [merged.manifest["counts"][name] for name in counted] == [whole["counts"][name] for name in counted]
    assert merged.manifest["status"] == whole["status"] == "complete"
    assert merged.manifest["limits"] == whole["limits"]


@pytest.mark.long
def test_calls_and_their_bearers_are_those_of_an_unsharded_run_where_no_text_is_shared(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(40):
        words = " ".join(f"Sentence {number}-{at} says that ship {at * number} left the harbour." for at in range(30))
        (tmp_path / "in" / f"{number}.txt").write_text(words, encoding="utf-8")
    whole = run_job(load_job(job_file(tmp_path, output={"path": str(tmp_path / "whole")})))
    run_shards(job_file(tmp_path), 3)
    merged = merge_shards(tmp_path / "out")
    assert merged.run_dir is not None
    borne = [
        sorted(zip(each["document_id"].to_pylist(), each["call_key"].to_pylist(), strict=True))
        for each in (rows(Path(whole["run_dir"]), "calls"), rows(merged.run_dir, "calls"))
    ]
    assert borne[0] == borne[1]
    assert merged.manifest["counts"] == whole["counts"]
    assert merged.manifest["usage"] == whole["usage"]


@pytest.mark.long
def test_merging_twice_gives_the_run_that_is_there(folder: Path) -> None:
    run_shards(job_file(folder), 3)
    first, second = merge_shards(folder / "out"), merge_shards(folder / "out", "harbour")
    assert (first.already, second.already) == (False, True)
    assert first.run_dir == second.run_dir
    assert len([path for path in (folder / "out/harbour").glob("*/run.json") if not path.parent.is_symlink()]) == 1
    # A shard that was run again makes another run, which names the new one.
    run_shards(job_file(folder), 3, [2])
    third = merge_shards(folder / "out")
    assert third.run_dir != first.run_dir
    ids = [rows(Path(str(each.run_dir)), "documents")["document_id"].to_pylist() for each in (first, third)]
    assert ids[0] == ids[1]


@pytest.mark.long
def test_nothing_is_merged_where_a_shard_is_missing_or_incomplete(folder: Path) -> None:
    path = job_file(folder)
    run_shards(path, 4, [1, 4])
    job, shard = sharded(load_job(path), 2, 4)
    run_job(job, RunOptions(shard=shard, limit=3))
    merged = merge_shards(folder / "out")
    assert merged.run_dir is None
    assert list(merged.missing) == [3]
    assert dict(merged.incomplete) == {2: "it was run with --limit"}
    assert not (folder / "out" / "harbour").exists()
    partly = merge_shards(folder / "out", partial=True)
    assert partly.run_dir is not None
    assert partly.manifest["status"] != "complete"
    assert not partly.whole
    done = [Path(sharded(load_job(path), number, 4)[0].output.path) for number in (1, 2, 4)]
    tables = [table for each in done for table in each.glob("harbour/2*/documents.parquet")]  # no `latest` of a limited
    expected = sum(pl.read_parquet(table).height for table in tables)
    assert rows(partly.run_dir, "documents").num_rows == expected


@pytest.mark.long
def test_a_shard_of_another_job_is_incomplete(folder: Path) -> None:
    run_shards(job_file(folder), 3, [1, 3])
    run_shards(job_file(folder, summarize={"max_words": 10}), 3, [2])
    assert "other settings" in merge_shards(folder / "out").incomplete[2]


@pytest.mark.long
def test_the_command_runs_shards_and_merges_them(folder: Path) -> None:
    path, out = str(job_file(folder)), str(folder / "out")
    command = CliRunner().invoke
    first = command(main, ["run", path, "--shard", "1/2", "--quiet"])
    asked = command(main, ["merge", out])
    assert asked.exit_code == 1
    assert "missing: 1 of 2 shards: 2" in asked.stderr
    second = command(main, ["run", path, "--shard", "2/2", "--quiet"])
    assert {first.exit_code, second.exit_code} in ({1}, {0, 1})  # some documents are broken; where, the path decides
    told = command(main, ["merge", out, "harbour", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["counts"]["documents"] == json.loads(told.stdout)["files"][0]["rows"] == 6825
    assert command(main, ["run", path, "--shard", "3/2"]).exit_code == 2
    assert command(main, ["merge", str(folder / "in")]).exit_code == 2


def test_money_and_attempts_of_shards_sum_exactly(folder: Path) -> None:
    with serving(requests_per_minute=60_000, latency_s=0.001) as server:
        model = {"provider": "openai", "name": "m", "base_url": server.url, "context_window": 8000}
        tables = {
            "model": model,
            "pricing": {"input_usd_per_million": 0.07, "output_usd_per_million": 0.28},
            "budget": {"max_cost_usd": 3.0},
            "input": {"paths": [str(folder / "in" / "deep")]},
        }
        path = job_file(folder, **tables)
        run_shards(path, 3)
    merged = merge_shards(folder / "out")
    calls = pl.read_parquet(merged.run_dir / "calls.parquet")  # type: ignore[operator]
    each = [pl.read_parquet(folder / f"out/shards/{n}-of-3/harbour/latest/calls.parquet") for n in (1, 2, 3)]
    assert calls["cost_usd"].sum() == sum(one["cost_usd"].sum() for one in each) > 0
    assert merged.manifest["cost"]["charged_usd"] == float(calls["cost_usd"].sum())
    assert merged.manifest["cost"]["cap_usd"] == 3.0
    first = calls.filter((pl.col("billing") == "charged") & (pl.col("attempt") == 1))
    assert merged.manifest["counts"]["calls"] == first.height


SLOTS, LATENCY_S = 10, 0.1


@pytest.mark.long
def test_a_lost_disk_costs_no_row_and_what_was_not_copied_is_paid_twice_at_most(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = [json.dumps({"id": str(number), "body": f"Row {number}."}) for number in range(2_000)]
    (tmp_path / "in" / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with serving(latency_s=LATENCY_S, concurrency=SLOTS) as server:
        settings = {
            "input": {"paths": [str(tmp_path / "in")], "text_column": "body", "id_column": "id"},
            "map": {"prompt": "Say it again."},
            "model": {"provider": "openai", "name": "m", "base_url": server.url, "context_window": 8000},
            "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 3.0},
            "limits": {"concurrency": SLOTS},
            "output": {"path": str(tmp_path / "out")},
        }
        job = write_job(tmp_path, "rows", "map", settings)
        command = [sys.executable, "-m", "docreduce", "run", str(job), "--shard", "1/1", "--quiet", "--scratch"]
        accepted = lambda: json.loads(urllib.request.urlopen(f"{server.url}/stats").read())["accepted"]  # noqa: E731
        with subprocess.Popen([*command, str(tmp_path / "a")]) as first:
            while accepted() < 1_200:
                time.sleep(0.02)
            first.kill()
        shutil.rmtree(tmp_path / "a")
        assert bill(tmp_path / "out")["total"]["charged_pusd"] > 0  # read without the disk
        began = time.monotonic()
        subprocess.run([*command, str(tmp_path / "b")], check=True)
        print("second start, s:", time.monotonic() - began, "paid twice:", accepted() - 2_000)
        twice = accepted() - 2_000
    manifest = merge_shards(tmp_path / "out").manifest
    assert manifest["counts"]["ok"] == 2_000
    assert 0 <= twice <= SLOTS + LATE_S * SLOTS / LATENCY_S
    assert not check(tmp_path / "out")["wrong"]


def test_what_is_pruned_of_a_shard_is_gone_from_its_segments_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / "in" / f"{number}.txt").write_text(f"{WORDS} {number}", encoding="utf-8")
    whole = load_job(job_file(tmp_path))
    place = ledger_on(str(tmp_path / "scratch"), whole, 1, 1)
    job, shard = sharded(whole, 1, 1)
    run_job(job, RunOptions(shard=shard, ledger=place))
    segments = segments_of(shard_folder(tmp_path / "out", 1, 1))

    def answers() -> int:
        with Ledger.view(segments) as ledger:
            return int(ledger._read("SELECT count(*) FROM answer")[0][0])

    before = answers()
    document = merge_shards(tmp_path / "out").run_dir
    assert document is not None
    purged = purge(tmp_path / "out", rows(document, "documents")["document_id"][0].as_py(), dry_run=False)
    assert 0 < purged["answers"] == before - answers()
    run_job(job, RunOptions(shard=shard, ledger=place))  # the old disk does not bring it back but by asking again
    assert not check(tmp_path / "out")["wrong"]


def test_a_shard_keeps_its_ledger_where_it_has_it(tmp_path: Path) -> None:
    whole = load_job(job_file(tmp_path))
    folder = shard_folder(tmp_path / "out", 1, 2)
    segments_of(folder).mkdir(parents=True)
    with pytest.raises(JobError, match="kept on a scratch disk"):
        ledger_on(None, whole, 1, 2)
    with pytest.raises(JobError, match="lies in the output"):
        ledger_on(str(tmp_path / "out" / "scratch"), whole, 1, 2)
    (folder / "ledger.sqlite").touch()
    with pytest.raises(JobError, match="its ledger lies in the output"):
        ledger_on(str(tmp_path / "scratch"), whole, 1, 2)
