"""The results: their columns and types, what a reader sees and when, and that the money adds up."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from docreduce.kinds.extract.schema import self_contained
from docreduce.results import DatasetWriter, DocumentRow, arrow_fields, coerce, list_runs
from docreduce.results.beside import FORMATS
from docreduce.results.schema import EVIDENCE, ITEM, TableSpec
from docreduce.results.table import Table
from docreduce.values import Attempt, Chunk, ChunkResult, Result, Span, Usage
from docreduce.values.errors import MachineError
from hypothesis import given, settings
from hypothesis import strategies as st
from limited import files_end_at

CONTRACT = {
    "documents": """document_id uri row status error_kind error media_type chars source_tokens chunks calls attempts
        input_tokens output_tokens cost_usd unknown_cost_usd summary""",
    "chunks": """document_id chunk char_start char_end page_start page_end heading tokens status error output
        model endpoint""",
    "evidence": """document_id item field value quote char_start char_end page alignment chunk support conflict""",
    "calls": """call_key document_id stage chunk attempt started_at latency_s http_status outcome finish_reason
        input_tokens output_tokens cached_input_tokens cache_write_tokens reasoning_tokens model endpoint service_tier
        batch billing cost_usd request_id error""",
    "records": "document_id item party signed_on status error cost_usd",
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"party": {"type": "string"}, "signed_on": {"type": "string", "format": "date"}},
}
SHOWN = {"item": 0, "field": "party", "value": '"A"', "quote": "A", "char_start": 0, "char_end": 1, "page": None,
         "alignment": "exact", "chunk": 0, "support": 1, "conflict": False}  # fmt: skip
COMPLETE = {"status": "complete", "started_at": "2026-01-02T03:04:05.000006Z"}


def call(key: str = "k", *, cost_pusd: int = 0, billing: Any = "charged", attempt: int = 1) -> Attempt:
    usage = Usage(input_tokens=100, output_tokens=10, cached_input_tokens=5)
    return Attempt(
        key=key,
        stage="map",
        chunk=0,
        attempt=attempt,
        started_at=1_767_323_045.000006,
        latency_s=0.5,
        outcome="ok",
        billing=billing,
        cost_pusd=cost_pusd,
        usage=usage,
        model="m",
        endpoint="https://service/v1",
    )


def tables(schema: Mapping[str, Any], *, always: bool = True) -> dict[str, TableSpec]:
    """The tables of an extraction with that schema of an item."""
    records = TableSpec.of(ITEM, arrow_fields(schema), kept=True, outcome=True, always=always)
    return {"records": records, "evidence": TableSpec(columns=EVIDENCE)}


def done(name: str = "d", columns: Mapping[str, Any] | None = None, **more: Any) -> DocumentRow:
    """`records` and `evidence`: rows of those tables."""
    attempts = more.pop("attempts", ())
    own = {table: more.pop(table) for table in ("records", "evidence") if table in more}
    if "records" in own:
        own["records"] = [{"item": at, **record} for at, record in enumerate(own["records"])]
    result = Result(**{"status": "ok", "tables": own, **more})
    return DocumentRow(document_id=name, uri=f"{name}.txt", result=result, attempts=attempts, columns=columns or {})


def written(output: Path, rows: Iterable[DocumentRow], run_id: str = "r1", **more: Any) -> Path:
    with DatasetWriter(output, "job", run_id, **more) as writer:
        for row in rows:
            writer.write(row)
        return writer.commit(COMPLETE)


def table(run: Path, name: str) -> pa.Table:
    return pq.read_table(run / f"{name}.parquet")


# --- what stands where --------------------------------------------------------------------------------------------


def test_every_table_has_the_columns_of_the_contract_also_without_a_row(tmp_path: Path) -> None:
    some = done(
        chunks=[ChunkResult(chunk=Chunk(index=0, span=Span(0, 9), tokens=3), status="ok")],
        records=[{"party": "A", "signed_on": "2020-02-29"}],
        evidence=[SHOWN],
        attempts=[call()],
    )
    empty = written(tmp_path, [], "r0", tables=tables(SCHEMA))
    full = written(tmp_path, [some], "r1", tables=tables(SCHEMA))
    for name, columns in CONTRACT.items():
        schema = table(full, name).schema
        assert set(columns.split()) <= set(schema.names)
        assert table(empty, name).schema == schema
        assert table(empty, name).num_rows == 0
        assert pl.read_parquet(full / f"{name}.parquet").height == 1


def test_a_summary_has_no_records(tmp_path: Path) -> None:
    run = written(tmp_path, [done()])
    assert {path.name for path in run.iterdir()} == {
        "documents.parquet", "chunks.parquet", "calls.parquet", "run.json",
    }  # fmt: skip


def test_a_document_is_written_with_its_chunks_calls_and_evidence_in_order(tmp_path: Path) -> None:
    chunk = Chunk(index=0, span=Span(3, 8), tokens=2, heading="Intro", page_start=1, page_end=2)
    shown = {**SHOWN, "char_start": None, "char_end": None, "alignment": "none", "support": 2, "conflict": True}
    answered = ChunkResult(chunk=chunk, status="failed", error="cut", model="m", endpoint="https://service/v1")
    rows = [
        done(
            name,
            chunks=[answered],
            evidence=[shown],
            attempts=[call(name)],
        )
        for name in "abc"
    ]
    run = written(tmp_path, rows, tables=tables(SCHEMA))
    for name in ("documents", "chunks", "calls", "records", "evidence"):
        assert table(run, name)["document_id"].to_pylist() == ["a", "b", "c"]
    assert table(run, "chunks").to_pylist()[0] == {
        "document_id": "a", "chunk": 0, "char_start": 3, "char_end": 8, "page_start": 1, "page_end": 2,
        "heading": "Intro", "tokens": 2, "status": "failed", "error": "cut", "output": None,
        "model": "m", "endpoint": "https://service/v1",
    }  # fmt: skip
    first = table(run, "evidence").to_pylist()[0]
    assert (first["char_start"], first["alignment"], first["support"], first["conflict"]) == (None, "none", 2, True)
    assert table(run, "calls").to_pylist()[0]["endpoint"] == "https://service/v1"
    assert table(run, "calls")["started_at"].to_pylist()[0] == datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_an_unreadable_document_is_a_row_that_says_so(tmp_path: Path) -> None:
    run = written(tmp_path, [done("x", status="failed", error_kind="encrypted", error="needs a password")])
    row = table(run, "documents").to_pylist()[0]
    assert (row["status"], row["error_kind"], row["error"]) == ("failed", "encrypted", "needs a password")
    assert (row["chars"], row["chunks"], row["calls"], row["cost_usd"]) == (None, 0, 0, Decimal(0))


# --- money --------------------------------------------------------------------------------------------------------


def test_what_was_paid_what_may_have_been_and_what_was_reused_stand_apart(tmp_path: Path) -> None:
    attempts = [
        call("a", cost_pusd=70_001),
        call("b", cost_pusd=500, billing="unknown"),
        call("b", cost_pusd=2, attempt=2),
        call("c", cost_pusd=9, billing="reused", attempt=0),
        call("d", billing="free"),
    ]
    run = written(tmp_path, [done(attempts=attempts)])
    row = table(run, "documents").to_pylist()[0]
    assert row["cost_usd"] == Decimal("0.000000070003")
    assert row["unknown_cost_usd"] == Decimal("0.000000000500")
    assert row["reused_cost_usd"] == Decimal("0.000000000009")
    assert (row["calls"], row["attempts"], row["input_tokens"]) == (4, 4, 200)
    calls = table(run, "calls").to_pylist()
    assert sum(each["cost_usd"] for each in calls if each["billing"] == "charged") == row["cost_usd"]
    assert [each["cost_usd"] for each in calls if each["billing"] == "reused"] == [Decimal(0)]


def test_a_cost_is_split_over_the_records_of_a_document_without_loss(tmp_path: Path) -> None:
    many = done(records=[{"party": name} for name in "abc"], attempts=[call(cost_pusd=1000)])
    run = written(tmp_path, [many, done("none")], tables=tables(SCHEMA, always=False))
    records = table(run, "records").to_pylist()
    assert [record["item"] for record in records] == [0, 1, 2]
    assert [record["cost_usd"] * 10**12 for record in records] == [334, 333, 333]


def test_with_cardinality_one_every_document_has_one_record(tmp_path: Path) -> None:
    failed = done("bad", status="failed", error="no answer", attempts=[call(cost_pusd=7)])
    run = written(tmp_path, [done("good", records=[{"party": "A"}]), failed], tables=tables(SCHEMA))
    good, bad = table(run, "records").to_pylist()
    assert (good["party"], good["status"]) == ("A", "ok")
    assert (bad["party"], bad["status"], bad["error"]) == (None, "failed", "no answer")
    assert bad["cost_usd"] == Decimal("0.000000000007")


def test_a_cost_is_split_over_any_number_of_records_to_the_pico_dollar(tmp_path: Path) -> None:
    counts = [1, 2, 3, 7, 16]
    paid = [[call(str(n), cost_pusd=1_000_003 + n), call(f"{n}+", cost_pusd=n)] for n in counts]
    rows = [
        done(str(n), records=[{"party": str(at)} for at in range(n)], attempts=attempts)
        for n, attempts in zip(counts, paid, strict=True)
    ]
    run = written(tmp_path, rows, tables=tables(SCHEMA, always=False))
    for name in ("documents", "records", "calls"):
        assert sum(table(run, name)["cost_usd"].to_pylist()) * 10**12 == 5 * 1_000_003 + 2 * sum(counts)


# --- a kind's own tables ------------------------------------------------------------------------------------------


def test_a_table_has_what_its_spec_says_and_nothing_more(tmp_path: Path) -> None:
    own = {
        "bare": TableSpec(columns=pa.schema([("n", pa.int64())])),
        "kept": TableSpec(columns=pa.schema([("n", pa.int64())]), kept=True),
        "told": TableSpec(columns=pa.schema([("n", pa.int64())]), outcome=True),
        "always": TableSpec(columns=pa.schema([("n", pa.int64())]), always=True),
    }
    rows = [
        done("a", {"k": "x"}, tables={name: [{"n": 1}, {"n": 2}] for name in own}),
        done("b", {"k": "y"}, status="failed", error="none"),
    ]
    run = written(tmp_path, rows, tables=own)
    head = ["document_id", "uri", "n"]
    assert {name: table(run, name).column_names for name in own} == {
        "bare": head, "kept": [*head, "k"], "told": [*head, "status", "error", "cost_usd"], "always": head,
    }  # fmt: skip
    assert {name: table(run, name)["n"].to_pylist() for name in own} == {
        "bare": [1, 2], "kept": [1, 2], "told": [1, 2], "always": [1, None],
    }  # fmt: skip


# --- kept columns -------------------------------------------------------------------------------------------------


def test_kept_columns_keep_their_types(tmp_path: Path) -> None:
    columns = {"n": 3, "x": 1.5, "on": date(2020, 1, 2), "flag": True, "tags": ["a"], "price": Decimal("1.20")}
    run = written(tmp_path, [done(columns=columns), done(columns={})], tables=tables(SCHEMA))
    for name in ("documents", "records"):
        first, second = table(run, name).select(list(columns)).to_pylist()
        assert first == columns
        assert set(second.values()) == {None}


def test_a_kept_column_named_like_ours_is_prefixed(tmp_path: Path) -> None:
    run = written(tmp_path, [done(columns={"status": "theirs", "input_status": 1, "summary": None})])
    row = table(run, "documents").to_pylist()[0]
    assert (row["status"], row["input_status"], row["input_input_status"]) == ("ok", "theirs", 1)


@pytest.mark.parametrize(
    ("early", "late", "kind", "first", "last"),
    [
        (1, 2.5, pa.float64(), 1.0, 2.5),
        (None, 7, pa.int64(), None, 7),
        (12, "n/a", pa.string(), "12", "n/a"),
        (True, 3, pa.string(), "true", "3"),
        (2**60 + 1, 0.5, pa.string(), "1152921504606846977", "0.5"),
        (0.5, 2**60 + 1, pa.string(), "0.5", "1152921504606846977"),
        (date(2020, 1, 2), datetime(2021, 1, 1, 5), pa.string(), "2020-01-02", "2021-01-01 05:00:00"),
        (date(2000, 1, 1), -719_163, pa.string(), "2000-01-01", "-719163"),
        (Decimal("1.25"), Decimal("10.5"), pa.decimal128(4, 2), Decimal("1.25"), Decimal("10.50")),
        (2**70, 1, pa.decimal128(38, 0), Decimal(2**70), Decimal(1)),
        ({"a": 1}, "x", pa.string(), '{"a": 1}', "x"),
        (["a"], [1], pa.string(), '["a"]', "[1]"),
    ],
)
def test_a_column_widens_when_a_later_row_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: Any, late: Any, kind: pa.DataType, first: Any, last: Any
) -> None:
    monkeypatch.setattr("docreduce.results.table.GROUP_ROWS", 10)
    rows = [done(str(number), {"c": early if number < 35 else late, "same": number}) for number in range(70)]
    documents = table(written(tmp_path, rows), "documents")
    assert documents.schema.field("c").type == kind
    assert documents["c"].to_pylist() == [first] * 35 + [last] * 35
    assert documents["same"].to_pylist() == list(range(70))
    assert documents["document_id"].to_pylist() == [str(number) for number in range(70)]


def test_columns_that_only_later_inputs_have_are_null_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("docreduce.results.table.GROUP_ROWS", 2)
    rows = [done(columns={"a": 1}), done(columns={"a": 2}), done(columns={"b": "x"}), done(columns={"b": "y"})]
    run = written(tmp_path, rows)
    assert table(run, "documents").select(["a", "b"]).to_pylist() == [
        {"a": 1, "b": None}, {"a": 2, "b": None}, {"a": None, "b": "x"}, {"a": None, "b": "y"},
    ]  # fmt: skip
    assert not list(run.glob("*.old"))


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.dates(), st.datetimes(),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip


def test_what_is_settled_at_the_end_stands_in_every_row_group_with_the_same_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docreduce.results.table.GROUP_ROWS", 3)
    schema = pa.schema([("word", pa.dictionary(pa.int32(), pa.string())), ("good", pa.bool_())])
    before, after = Table(tmp_path / "before.parquet", schema), Table(tmp_path / "after.parquet", schema)
    for made in (before, after):
        for number in range(10):  # the words grow from group to group
            made.append((f"w{number}", None), {"kept": number})
        made.close()
    after.settle(lambda rows: rows.set_column(1, schema.field("good"), pa.array([True] * len(rows))))
    old, new = pq.ParquetFile(before.path), pq.ParquetFile(after.path)
    assert new.schema_arrow == old.schema_arrow
    assert new.num_row_groups == old.num_row_groups > 1
    assert new.read().to_pylist() == [{**row, "good": True} for row in old.read().to_pylist()]
    assert new.read().group_by("word").aggregate([("kept", "sum")]).num_rows == 10
    assert sorted(each.name for each in tmp_path.iterdir()) == ["after.parquet", "before.parquet"]


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.dictionaries(st.text(max_size=3), values, max_size=3), max_size=12))
def test_no_mix_of_kept_values_stops_a_run(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("docreduce.results.table.GROUP_ROWS", 3)
        run = written(
            tmp_path_factory.mktemp("run"), [done(str(n), columns) for n, columns in enumerate(rows)], also=["csv"]
        )
    documents = table(run, "documents")
    assert documents.num_rows == len(rows)
    for position in range(documents.num_columns):
        assert len(documents.column(position).to_pylist()) == len(rows)


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    bad = done("d\ud800", {"c\ud800": "\udfff", "deep": [{"a": "\ud800"}]}, summary="x\ud800y", error="\ud800")
    row = table(written(tmp_path, [bad]), "documents").to_pylist()[0]
    assert (row["document_id"], row["summary"], row["c\ufffd"]) == ("d\ufffd", "x\ufffdy", "\ufffd")
    assert row["deep"] == [{"a": "\ufffd"}]


# --- records typed by the schema ----------------------------------------------------------------------------------


def test_a_json_schema_gives_arrow_types() -> None:
    properties = {
        "text": {"type": "string"},
        "whole": {"type": "integer"},
        "real": {"type": ["number", "null"]},
        "flag": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "day": {"type": "string", "format": "date"},
        "moment": {"type": ["string", "null"], "format": "date-time"},
        "choice": {"enum": ["a", "b", None]},
        "one": {"const": 3},
        "mixed": {"type": ["string", "integer"]},
        "any": {},
        "yes": True,
        "list": {"type": "array", "items": {"type": "string", "format": "date"}},
        "loose": {"type": "array"},
        "address": {"$ref": "#/$defs/address"},
        "named": {"$ref": "#/$defs/address", "minProperties": 1},
        "whole_or_real": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        "all": {"allOf": [{"type": "integer"}, {"minimum": 3}]},
    }
    definitions = {
        "address": {"type": "object", "properties": {"street": {"type": "string"}, "no": {"type": "integer"}}},
    }
    fields = arrow_fields(self_contained({"type": "object", "properties": properties, "$defs": definitions}))
    assert {field.name: str(field.type) for field in fields} == {
        "text": "string", "whole": "int64", "real": "double", "flag": "bool", "day": "date32[day]",
        "moment": "timestamp[us, tz=UTC]", "choice": "dictionary<values=string, indices=int32, ordered=0>",
        "one": "int64", "mixed": "string", "any": "string", "yes": "string", "list": "list<element: date32[day]>",
        "loose": "string", "address": "struct<street: string, no: int64>",
        "named": "struct<street: string, no: int64>", "whole_or_real": "double", "all": "int64",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "value", "kept"),
    [
        ({"type": "string", "format": "date"}, "2020-02-29", date(2020, 2, 29)),
        ({"type": "string", "format": "date"}, "2021-02-29", None),
        ({"type": "string", "format": "date-time"}, "2020-01-01T01:00:00+01:00", datetime(2020, 1, 1, tzinfo=UTC)),
        ({"type": "string", "format": "date-time"}, "2020-01-01T00:00:00", datetime(2020, 1, 1, tzinfo=UTC)),
        ({"type": "integer"}, 3.0, 3),
        ({"type": "integer"}, 2**63, None),
        ({"type": "integer"}, True, None),
        ({"type": "number"}, 10**400, None),
        ({"type": "number"}, "3", None),
        ({"type": "array", "items": {"type": "integer"}}, [1, "x"], [1, None]),
        ({"type": "array"}, [1, {"a": "ä"}], '[1, {"a": "ä"}]'),
        ({"enum": ["a", "b"]}, "b", "b"),
        ({"type": "object", "properties": {"d": {"type": "string", "format": "date"}}}, {"d": "2020-01-01", "z": 1},
         {"d": date(2020, 1, 1)}),
    ],
)  # fmt: skip
def test_values_are_written_in_their_type(tmp_path: Path, schema: Any, value: Any, kept: Any) -> None:
    whole = {"type": "object", "properties": {"f": schema}}
    assert coerce(value, arrow_fields(whole)[0].type) == kept
    run = written(tmp_path, [done(records=[{"f": value}]), done(records=[{}])], tables=tables(whole))
    assert table(run, "records")["f"].to_pylist() == [kept, None]


def test_a_schema_field_named_like_one_of_ours_is_prefixed(tmp_path: Path) -> None:
    names = ["status", "item", "field_status"]
    own = tables({"properties": {name: {"type": "string"} for name in names}})
    row = {name: name.upper() for name in names}
    run = written(tmp_path, [done(columns={"party": 1}, tables={"records": [row]})], tables=own)
    row = table(run, "records").to_pylist()[0]
    assert (row["status"], row["field_item"]) == ("ok", "ITEM")
    assert (row["field_field_status"], row["field_status"]) == ("STATUS", "FIELD_STATUS")


# --- CSV ----------------------------------------------------------------------------------------------------------


def test_csv_cells_are_safe_to_open_and_come_back_whole(tmp_path: Path) -> None:
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", 'a "quoted", line\r\nbreak', "plain", "漢"]
    rows = [
        done(str(n), {"=evil": text, "n": -5, "when": datetime(2020, 1, 1)}, summary=text)
        for n, text in enumerate(evil)
    ]
    run = written(tmp_path, rows, also=["csv"])
    with (run / "documents.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert [cell["summary"] for cell in cells] == [f"'{text}" for text in evil[:6]] + evil[6:]
    assert cells[0]["'=evil"] == "'=1+1"
    assert (cells[0]["n"], cells[0]["when"], cells[0]["cost_usd"]) == ("-5", "2020-01-01T00:00:00", "0.000000000000")
    assert b"\r\n" in (run / "documents.csv").read_bytes()
    assert not (run / "records.csv").exists()


# --- JSON Lines ---------------------------------------------------------------------------------------------------


def test_json_lines_hold_what_the_parquet_holds(tmp_path: Path) -> None:
    columns = {
        "=n": Decimal("12345678901234567890.10"),
        "when": datetime(2020, 1, 1, tzinfo=UTC),
        "deep": [{"a": None}],
    }
    run = written(tmp_path, [done("a", columns, summary="x\r\n=1\u2028"), done("b", columns)], also=["jsonl"])
    lines = (run / "documents.jsonl").read_bytes().splitlines()
    first = json.loads(lines[0], parse_float=Decimal)
    assert (len(lines), first["=n"], first["deep"]) == (2, Decimal("12345678901234567890.10"), [{"a": None}])
    assert (first["summary"], first["cost_usd"]) == ("x\r\n=1\u2028", Decimal(0))
    assert datetime.fromisoformat(first["when"]) == columns["when"]
    assert list(first) == table(run, "documents").schema.names
    assert not (run / "documents.csv").exists()


def test_a_format_that_cannot_be_written_is_dropped_and_the_parquet_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = FORMATS["csv"]

    def full(table: Path) -> Path:
        if table.stem == "documents":
            return whole(table)
        table.with_suffix(".csv").write_text("half a li")
        raise OSError(errno.ENOSPC, "No space left on device", str(table.with_suffix(".csv")))

    monkeypatch.setattr("docreduce.results.dataset.FORMATS", {**FORMATS, "csv": full})
    run = written(tmp_path, [done("a")], tables=tables(SCHEMA), also=["csv", "jsonl"])
    manifest = json.loads((run / "run.json").read_text())
    (lost,) = manifest["dropped"]
    assert (lost["format"], "No space left" in lost["error"]) == ("csv", True)
    assert {file["path"] for file in manifest["files"]} | {"run.json"} == {path.name for path in run.iterdir()}
    assert not list(run.glob("*.csv"))
    assert table(run, "documents").num_rows == len((run / "documents.jsonl").read_bytes().splitlines()) == 1


# --- what a reader sees -------------------------------------------------------------------------------------------


def test_a_run_is_visible_only_when_it_is_whole(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, "job", "r1") as writer:
        writer.write(done())
        assert list_runs(tmp_path) == []
        assert [path for path in (tmp_path / "job").iterdir() if not path.name.startswith(".")] == []
        run = writer.commit(COMPLETE)
    assert [path.name for path in sorted((tmp_path / "job").iterdir())] == ["latest", "r1"]
    assert run == tmp_path / "job" / "r1"
    assert (tmp_path / "job" / "latest" / "run.json").samefile(run / "run.json")


def test_the_manifest_names_every_file_with_its_rows_and_hash(tmp_path: Path) -> None:
    run = written(tmp_path, [done("a"), done("b")], tables=tables(SCHEMA), also=["csv"])
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["status"] == "complete"
    files = {file["path"]: file for file in manifest["files"]}
    assert set(files) | {"run.json"} == {path.name for path in run.iterdir()}
    for name, file in files.items():
        content = (run / name).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (files["documents.parquet"]["rows"], files["records.csv"]["rows"], files["chunks.parquet"]["rows"]) == (
        2,
        2,
        0,
    )


def test_a_manifest_with_a_file_name_that_is_no_unicode_is_written(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, "job", "r1") as writer:
        run = writer.commit({"status": "complete", "job": {"paths": [os.fsdecode(b"\xff.txt")]}})
    assert json.loads((run / "run.json").read_text())["job"] == {"paths": ["\ufffd.txt"]}


def test_latest_names_the_newest_promoted_run_and_none_before_there_is_one(tmp_path: Path) -> None:
    def commit(run_id: str, status: str) -> str:
        with DatasetWriter(tmp_path, "job", run_id) as writer:
            writer.commit({"status": status}, promote=status == "complete")
        return (tmp_path / "job" / "latest").resolve().name

    assert commit("r1", "budget") == "latest"  # that does not exist
    assert commit("r2", "complete") == "r2"
    assert commit("r3", "interrupted") == "r2"
    assert commit("r4", "complete") == "r4"


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> Iterator[DocumentRow]:
        yield done()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        written(tmp_path, fail())
    assert list((tmp_path / "job").iterdir()) == []


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.long
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path, rows: int) -> None:
    code = f"""
        import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_results import DatasetWriter, done
        import docreduce.results.table as table
        table.GROUP_ROWS = 16
        writer = DatasetWriter(Path({str(tmp_path)!r}), "job", "dead")
        for number in range({rows}): writer.write(done(str(number)))
        os.kill(os.getpid(), {signal.SIGKILL:d})
        """
    script = "\n".join(map(str.strip, code.splitlines()))
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "job").iterdir()] == [".dead.partial"]
    assert list_runs(tmp_path) == []
    written(tmp_path, [done()], "alive")
    assert [path.name for path in sorted((tmp_path / "job").iterdir())] == ["alive", "latest"]


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    rows = [done(str(number), {"c": number}, attempts=[call(cost_pusd=number)]) for number in range(100)]
    one, two = written(tmp_path, rows, "r1"), written(tmp_path, rows, "r2")
    for name in ("documents", "chunks", "calls"):
        assert (one / f"{name}.parquet").read_bytes() == (two / f"{name}.parquet").read_bytes()


# --- size and failures --------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_hundred_thousand_documents_stream_in_bounded_row_groups(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, "job", "r1") as writer:
        for number in range(100_000):
            writer.write(done(str(number), summary="s"))
        before = pa.total_allocated_bytes()
        assert before < 20_000_000
        run = writer.commit(COMPLETE)
    with pq.ParquetFile(run / "documents.parquet") as file:
        assert file.metadata.num_rows == 100_000
        assert max(file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)) == 5000


def test_long_texts_make_shorter_row_groups(tmp_path: Path) -> None:
    run = written(tmp_path, [done(str(number), summary="x" * 2**21) for number in range(20)])
    with pq.ParquetFile(run / "documents.parquet") as file:
        assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [8, 8, 4]


def test_a_full_disk_is_a_machine_error_and_leaves_nothing(tmp_path: Path) -> None:
    noise = [os.urandom(50_000).hex() for _ in range(400)]
    with files_end_at(100_000), pytest.raises(MachineError):
        written(tmp_path, [done(str(number), summary=text) for number, text in enumerate(noise)])
    assert list((tmp_path / "job").iterdir()) == []


def test_a_run_folder_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    run = written(tmp_path, [done("first")])
    with pytest.raises(MachineError):
        written(tmp_path, [done("second")])
    assert table(run, "documents")["document_id"].to_pylist() == ["first"]


# --- runs ---------------------------------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_and_damaged_ones_too(tmp_path: Path) -> None:
    for run_id, day in [("r1", "02"), ("r2", "01")]:
        with DatasetWriter(tmp_path, "job", run_id) as writer:
            cost = {"charged_usd": 1.5, "unknown_usd": 0.25}
            started = f"2026-01-{day}T00:00:00Z"
            writer.commit({"status": "complete", "started_at": started, "counts": {"documents": 3}, "cost": cost})
    (tmp_path / "job" / "r2" / "run.json").write_text("[1, 2")
    first, second = list_runs(tmp_path)
    assert (first.run_id, first.job, first.charged_usd, first.unknown_usd) == ("r1", "job", 1.5, 0.25)
    assert first.counts == {"documents": 3}
    assert (second.run_id, second.status) == ("r2", "damaged")
    assert list_runs(tmp_path / "nowhere") == []
