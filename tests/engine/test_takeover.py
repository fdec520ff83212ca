"""An unchanged night: what stands as it stood is copied from the last complete run, and no table shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from docreduce.config import load_job
from docreduce.engine.run import RunOptions, run_job
from docreduce.simulator import Server
from polars.testing import assert_frame_equal
from runs import serving, table, write_job

SENTENCE = "The bridge number {} over the Sauer was closed on 3 May 2021 because of cracks in its northern bearing. "
PARTY = {"type": "object", "properties": {"place": {"type": "string"}, "cost": {"type": "integer"}}}
KINDS: dict[str, dict[str, Any]] = {
    "summarize": {"summarize": {"max_words": 40}, "chunking": {"max_tokens": 60}},
    "extract": {"extract": {"schema": PARTY, "cardinality": "many", "key": ["place"]}},
    "extract, packed": {"extract": {"schema": PARTY, "rows_per_request": 4}},
    "map, packed": {"map": {"prompt": "Which?", "labels": ["bridge", "road"], "rows_per_request": 5}},
}
Row = tuple[str, str, str]


def rows(number: int = 23) -> list[Row]:
    """Ids, kept column, texts: one is empty, two are equal."""
    texts = [SENTENCE.format(n) * (1 + n % 4) for n in range(number)]
    texts[7], texts[9] = "", texts[8]
    return [(f"d{n}", f"author {n % 3}", text) for n, text in enumerate(texts)]


@pytest.fixture
def service() -> Iterator[Server]:
    with serving(tokenizer="bytes", latency_s=0.0) as server:
        yield server


class Night:
    """A job over a table that changes."""

    def __init__(self, folder: Path, service: Server, kind: str, **tables: Any) -> None:
        self.folder, self.kind = folder, kind.split(",", maxsplit=1)[0]
        self.tables: dict[str, Any] = {
            "input": {"paths": [str(folder / "in.jsonl")], "text_column": "text", "id_column": "id"},
            "model": {"provider": "openai", "name": "m", "base_url": f"{service.url}/v1", "context_window": 8_000},
            "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 3.0},
            "output": {"path": str(folder / "out")},
        } | tables
        for name, keys in KINDS[kind].items():
            found = dict(keys)
            if "schema" in found:
                (folder / "schema.json").write_text(json.dumps(found["schema"]))
                found["schema"] = "schema.json"
            self.tables[name] = found

    def run(self, found: Sequence[Row], **options: Any) -> dict[str, Any]:
        lines = [json.dumps(dict(zip(("id", "author", "text"), row, strict=True))) for row in found]
        (self.folder / "in.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return run_job(load_job(write_job(self.folder, "night", self.kind, self.tables)), RunOptions(**options))

    def forget(self, *runs: dict[str, Any]) -> list[dict[str, Any]]:
        """Let there be no earlier run, but all of its answers; `runs` where they are now."""
        aside = self.folder / "aside"
        (self.folder / "out" / "night").rename(aside)
        return [{**run, "run_dir": str(aside / run["run_id"])} for run in runs]


def assert_equal_tables(one: dict[str, Any], other: dict[str, Any]) -> None:
    """All tables, but for when a call was and what a document is since which run."""
    names = [each["path"].removesuffix(".parquet") for each in one["files"]]
    assert names == [each["path"].removesuffix(".parquet") for each in other["files"]]
    for name in names:
        left, right = (table(run, name).drop("started_at", "change", strict=False) for run in (one, other))
        if name == "calls":
            left, right = (each.sort("document_id", "stage", "chunk", "call_key") for each in (left, right))
        assert_frame_equal(left, right, categorical_as_str=True)
    for part in ("counts", "usage"):
        assert one[part] == other[part]
    assert one["cost"]["reused_usd"] == pytest.approx(other["cost"]["reused_usd"])


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_the_tables_of_an_unchanged_night_are_those_of_a_fresh_run(tmp_path: Path, service: Server, kind: str) -> None:
    night = Night(tmp_path, service, kind)
    first = night.run(rows())
    assert first["counts"]["calls"] > 0
    second = night.run(rows())
    third = night.run(rows())
    second, third = night.forget(second, third)
    fresh = night.run(rows())
    assert second["changes"]["same"] == third["changes"]["same"] == len(rows())
    assert second["changes"]["taken_over"] >= (22 if "packed" not in kind else 10)
    assert fresh["changes"]["taken_over"] == 0
    assert_equal_tables(second, fresh)
    assert_equal_tables(third, fresh)


def test_what_moved_came_changed_or_went_is_said_and_the_rest_is_taken_over(tmp_path: Path, service: Server) -> None:
    night = Night(tmp_path, service, "summarize")
    night.run(rows())
    found = [("new", "a", SENTENCE.format("new")), *rows()]
    del found[4]  # d3
    found[11] = (found[11][0], found[11][1], SENTENCE.format("otherwise"))
    found[15] = (found[15][0], "somebody else", found[15][2])
    second = night.run(found)
    documents = table(second, "documents")
    changes = dict(zip(documents["document_id"], documents["change"].cast(pl.String), strict=True))
    assert {name for name, change in changes.items() if change != "same"} == {"new", found[11][0]}
    assert (changes["new"], changes[found[11][0]]) == ("new", "changed")
    assert second["changes"]["gone"] == {"count": 1, "first": ["d3"]}
    assert second["changes"]["taken_over"] == len(found) - 3
    assert second["counts"]["calls"] == 2
    assert documents["author"].to_list() == [row[1] for row in found]
    assert documents["row"].to_list() == list(range(len(found)))
    [second] = night.forget(second)
    fresh = night.run(found)
    assert_frame_equal(
        *(table(run, "documents").drop("change", "attempts", "input_tokens", "output_tokens", "cost_usd",
                                       "reused_cost_usd") for run in (second, fresh)),
        categorical_as_str=True,
    )  # fmt: skip


def test_one_changed_row_of_a_packed_request_asks_for_its_own_request_only(tmp_path: Path, service: Server) -> None:
    night = Night(tmp_path, service, "map, packed")
    found = [row for row in rows(40) if row[2]]
    night.run(found)
    found[17] = (*found[17][:2], SENTENCE.format("otherwise"))
    second = night.run(found)
    assert second["counts"]["calls"] == 1
    assert second["changes"] | {"since": None} == {
        "since": None, "new": 0, "changed": 1, "same": 38, "taken_over": 34, "gone": {"count": 0, "first": []}
    }  # fmt: skip
    documents, calls = table(second, "documents"), table(second, "calls")
    assert documents["status"].cast(pl.String).to_list() == ["ok"] * 39
    for column in ("cost_usd", "reused_cost_usd"):
        assert documents[column].sum() == calls[column].sum()


@pytest.mark.parametrize("change", [{"summarize": {"max_words": 39}}, {"chunking": {"max_tokens": 50}}])
def test_nothing_is_taken_over_under_other_settings(tmp_path: Path, service: Server, change: dict[str, Any]) -> None:
    night = Night(tmp_path, service, "summarize")
    night.run(rows())
    night.tables |= change
    second = night.run(rows())
    assert (second["changes"]["same"], second["changes"]["taken_over"]) == (23, 0)


def test_a_schema_that_changed_in_its_file_is_another_setting(tmp_path: Path, service: Server) -> None:
    night = Night(tmp_path, service, "extract")
    night.run(rows())
    (tmp_path / "schema.json").write_text(json.dumps({**PARTY, "description": "otherwise"}))
    assert night.run(rows())["changes"]["taken_over"] == 0


@pytest.mark.parametrize("options", [{"fresh": True}, {"sample": 3}])
def test_who_wants_to_ask_anew_is_not_answered_by_an_old_run(
    tmp_path: Path, service: Server, options: dict[str, Any]
) -> None:
    night = Night(tmp_path, service, "summarize")
    night.run(rows())
    assert night.run(rows(), **options)["changes"]["taken_over"] == 0


@pytest.mark.parametrize("harm", ["damaged", "missing", "damaged manifest"])
def test_a_damaged_earlier_run_costs_nothing_but_time(tmp_path: Path, service: Server, harm: str) -> None:
    night = Night(tmp_path, service, "summarize")
    first = night.run(rows())
    place = Path(first["run_dir"])
    if harm == "missing":
        (place / "chunks.parquet").unlink()
    else:
        path = place / ("run.json" if "manifest" in harm else "calls.parquet")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    second = night.run(rows())
    assert (second["changes"]["taken_over"], second["counts"]["calls"]) == (0, 0)
    assert second["counts"]["ok"] == 22


def test_only_a_complete_and_whole_run_is_compared_with(tmp_path: Path, service: Server) -> None:
    night = Night(tmp_path, service, "summarize")
    first = night.run(rows())
    limited = night.run(rows(), limit=5)
    assert limited["changes"] | {"since": None} == {
        "since": None, "new": 0, "changed": 0, "same": 5, "taken_over": 5, "gone": None
    }  # fmt: skip
    assert night.run(rows())["changes"]["since"] == first["run_id"]


def test_a_failed_document_is_tried_again_and_the_others_are_taken_over(tmp_path: Path, service: Server) -> None:
    night = Night(tmp_path, service, "summarize", limits={"max_attempts": 1, "concurrency": 1})
    service.reset(replace(service.settings, faults={"500": 0.3}, seed=3))
    first = night.run(rows())
    service.reset(replace(service.settings, faults={}))
    second = night.run(rows())
    assert 0 < first["counts"]["failed"] + first["counts"]["partial"] < 22
    assert second["changes"]["taken_over"] == first["counts"]["ok"]
    assert second["counts"]["ok"] == 22


def test_rows_whose_id_is_their_content_are_new_or_the_same(tmp_path: Path, service: Server) -> None:
    night = Night(tmp_path, service, "summarize")
    del night.tables["input"]["id_column"]
    night.run(rows())
    found = rows()
    found[3] = (*found[3][:2], SENTENCE.format("otherwise"))
    second = night.run(found)
    assert {name: second["changes"][name] for name in ("new", "changed", "same")} == {
        "new": 1,
        "changed": 0,
        "same": 22,
    }
    assert second["changes"]["gone"]["count"] == 1
