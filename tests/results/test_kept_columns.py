"""Kept columns: Arrow types come back as they were, over nights and in every library that reads Parquet."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from docreduce.readers import Unread, read
from docreduce.results import DatasetWriter, DocumentRow
from docreduce.results.table import Table
from docreduce.settings import InputSettings
from docreduce.values import Document, Result
from docreduce.values.columns import Kept, pinned_for, schema_from_json, schema_to_json, type_of
from pyarrow.dataset import dataset

NOON = dt.datetime(2024, 1, 2, 12, 0, 5)
TYPES: list[tuple[pa.DataType, Any]] = [
    (pa.null(), None),
    (pa.bool_(), True),
    (pa.int8(), -(2**7)),
    (pa.int16(), -(2**15)),
    (pa.int32(), -(2**31)),
    (pa.int64(), -(2**63)),
    (pa.uint8(), 2**8 - 1),
    (pa.uint16(), 2**16 - 1),
    (pa.uint32(), 2**32 - 1),
    (pa.uint64(), 2**64 - 1),
    (pa.float16(), 1.5),
    (pa.float32(), 0.25),
    (pa.float64(), 1e300),
    (pa.string(), "ü"),
    (pa.large_string(), "ü"),
    (pa.string_view(), "ü"),
    (pa.binary(), b"\xff"),
    (pa.large_binary(), b"\xff"),
    (pa.binary(4), b"abcd"),
    (pa.date32(), NOON.date()),
    (pa.time32("ms"), NOON.time()),
    (pa.time64("us"), NOON.time()),
    (pa.timestamp("ms"), NOON),
    (pa.timestamp("us"), NOON),
    (pa.timestamp("us", "UTC"), NOON.replace(tzinfo=dt.UTC)),
    (pa.timestamp("ms", "Europe/Berlin"), NOON.replace(tzinfo=dt.UTC)),
    (pa.duration("s"), dt.timedelta(days=1)),
    (pa.duration("us"), dt.timedelta(days=1)),
    (pa.decimal32(7, 2), Decimal("1.25")),
    (pa.decimal64(12, 3), Decimal("1.250")),
    (pa.decimal128(10, 2), Decimal("1.25")),
    (pa.decimal256(50, 5), Decimal("1.25000")),
    (pa.list_(pa.int32()), [1, None]),
    (pa.large_list(pa.decimal128(10, 2)), [Decimal("1.25")]),
    (pa.list_(pa.int32(), 2), [1, 2]),
    (pa.struct([("a", pa.int32()), ("b", pa.string())]), {"a": 1, "b": "x"}),
    (pa.map_(pa.string(), pa.int32()), [("a", 1)]),
    (pa.dictionary(pa.int8(), pa.string()), "x"),
    (pa.dictionary(pa.int32(), pa.string()), "x"),
]
assert len(TYPES) == 39


def kept(*columns: tuple[str, pa.Array[Any]]) -> Iterator[Kept]:
    batch = pa.record_batch([array for _, array in columns], [name for name, _ in columns])
    return (Kept(batch, row) for row in range(batch.num_rows))


def written(
    folder: Path, documents: Iterable[Document | Unread], run_id: str = "r", pinned: pa.Schema | None = None
) -> Path:
    with DatasetWriter(folder, "job", run_id, pinned=pinned) as writer:
        for each in documents:
            failed = isinstance(each, Unread)
            result = Result(status="failed", error=each.error.message) if failed else Result(status="ok")
            writer.write(
                DocumentRow(document_id=each.id, uri=each.uri, row=each.row, columns=each.columns, result=result)
            )
        writer.commit({"status": "complete"})
    return folder / "job" / run_id / "documents.parquet"


def rows_of(path: Path, pinned: pa.Schema | None = None, **settings: Any) -> list[Document | Unread]:
    return list(read(str(path), InputSettings(paths=[str(path)], text_column="body", **settings), pinned=pinned))


@pytest.mark.parametrize("source", ["t.parquet", "t.arrow"])
def test_all_types_come_back_as_they_were(tmp_path: Path, source: str) -> None:
    columns = {f"c{at}": pa.array([value, None, value], kind) for at, (kind, value) in enumerate(TYPES)}
    table = pa.table({"body": ["a", "b", "c"], **columns})
    if source == "t.parquet":
        pq.write_table(table, tmp_path / source, store_schema=True)
    else:
        with pa.ipc.new_file(tmp_path / source, table.schema) as out:
            out.write_table(table)
    back = pq.read_table(written(tmp_path, rows_of(tmp_path / source)))
    same = {str(kind): back.schema.field(f"c{at}").type == kind for at, (kind, _) in enumerate(TYPES)}
    assert [kind for kind, kept_it in same.items() if not kept_it] == []
    for at, (kind, value) in enumerate(TYPES):
        assert back[f"c{at}"].to_pylist() == [value, None, value], kind


def test_a_type_that_parquet_lacks_becomes_text_and_a_run_end_its_values(tmp_path: Path) -> None:
    month = pa.array([pa.MonthDayNano([1, 2, 3])])
    runs = pa.RunEndEncodedArray.from_arrays([1], ["x"])
    table = Table(tmp_path / "t.parquet", pa.schema([("id", pa.string())]))
    for row in kept(("month", month), ("runs", runs)):
        table.append(("1",), row)
    table.close()
    back = pq.read_table(tmp_path / "t.parquet")
    assert (back.schema.field("month").type, back.schema.field("runs").type) == (pa.string(), pa.string())
    assert back["runs"].to_pylist() == ["x"]


def test_a_schema_goes_to_json_and_back_unchanged() -> None:
    schema = pa.schema([pa.field(f"c{at}", kind, metadata={"k": "v"}) for at, (kind, _) in enumerate(TYPES)])
    back = schema_from_json(schema_to_json(schema))
    assert back.equals(schema, check_metadata=True)
    with pytest.raises(ValueError, match="no schema"):
        schema_from_json("{}")


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("decimal(10,2)", pa.decimal128(10, 2)),
        ("decimal(50, 5)", pa.decimal256(50, 5)),
        ("date", pa.date32()),
        ("integer", pa.int64()),
        ("int16", pa.int16()),
        ("timestamp[us, tz=Europe/Berlin]", pa.timestamp("us", "Europe/Berlin")),
        ("text", pa.string()),
    ],
)
def test_types_are_named_in_words(word: str, kind: pa.DataType) -> None:
    assert type_of(word) == kind
    with pytest.raises(ValueError, match="no type 'money'"):
        type_of("money")


def test_a_job_keeps_of_earlier_columns_what_it_names_in_the_types_it_states() -> None:
    earlier = pa.schema([("a", pa.string()), ("b", pa.int8()), ("c", pa.date32())])
    assert pinned_for(earlier, None, {}) == earlier
    stated = pa.schema([("a", pa.decimal128(10, 2)), ("c", pa.date32())])
    assert pinned_for(earlier, ["a", "c", "new"], {"a": "decimal(10,2)"}) == stated


def test_ten_nights_have_one_type_and_are_scanned_as_one(tmp_path: Path) -> None:
    """Each night's values alone would suggest another type: all null, wider decimals, whole numbers, none at all."""
    amounts = ["1.20", "12345678.90", "", "3", "0.05", "-7.00", "99", "", "1.1", "2"]
    pinned = None
    files = []
    for night, amount in enumerate(amounts):
        source = tmp_path / "night.csv"
        note = ",note" if night != 4 else ""
        source.write_text(f"body,amount,day{note}\nx,{amount},2024-01-0{night % 9 + 1}{',n' if note else ''}\n")
        settings = {"types": {"amount": "decimal(10,2)", "day": "date"}}
        with DatasetWriter(tmp_path / "out", "job", f"n{night}", pinned=pinned) as writer:
            for each in rows_of(source, pinned, **settings):
                writer.write(
                    DocumentRow(document_id=each.id, uri=each.uri, columns=each.columns, result=Result(status="ok"))
                )
            pinned = schema_from_json(schema_to_json(writer.kept_columns))
            writer.commit({"status": "complete"})
        files.append(tmp_path / "out" / "job" / f"n{night}" / "documents.parquet")
    assert {str(pq.read_schema(file)) for file in files} == {str(pq.read_schema(files[0]))}
    assert pq.read_schema(files[2]).field("amount").type == pa.decimal128(10, 2)
    assert pl.scan_parquet(files).select(pl.col("amount").sum()).collect().item() == Decimal("12345778.25")
    whole = dataset([str(file) for file in files]).to_table()
    assert (whole.num_rows, whole["note"].null_count) == (10, 1)
    assert whole.group_by("status").aggregate([("amount", "sum")])["amount_sum"].to_pylist() == [Decimal("12345778.25")]
    duckdb = pytest.importorskip("duckdb")
    query = f"select sum(amount), min(day), count(note) from read_parquet({[str(file) for file in files]})"
    assert duckdb.sql(query).fetchall() == [(Decimal("12345778.25"), dt.date(2024, 1, 1), 9)]


def test_what_does_not_fit_a_stated_or_pinned_type_is_a_failed_row_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,body,amount\n1,a,1.25\n2,b,1.255\n3,c,much\n4,d,\n5,e, 7 \n")
    found = rows_of(tmp_path / "t.csv", id_column="id", types={"amount": "decimal(10,2)"})
    assert [each.error.message if isinstance(each, Unread) else each.columns["amount"] for each in found] == [
        Decimal("1.25"),
        "its 'amount' is '1.255', which is no decimal128(10, 2)",
        "its 'amount' is 'much', which is no decimal128(10, 2)",
        None,
        Decimal("7.00"),
    ]
    assert [each.id for each in found] == ["1", "2", "3", "4", "5"]
    (tmp_path / "t.jsonl").write_text('{"body": "a", "n": 1}\n{"body": "b", "n": "one"}\n')
    pinned = pa.schema([("n", pa.int64())])
    first, second = rows_of(tmp_path / "t.jsonl", pinned)
    assert (first.columns["n"], second.error.kind, second.error.hint) == (
        1, "unfit_value", "State the column's type in input.types.",
    )  # fmt: skip


@pytest.mark.parametrize("library", ["pyarrow", "polars", "duckdb", "pandas"])
def test_a_file_whose_words_grow_from_group_to_group_is_read_and_grouped_by_all(tmp_path: Path, library: str) -> None:
    count = 20_000
    words = pa.array([f"w{row // 3000}" for row in range(count)])
    batches = [
        pa.record_batch([words.slice(start, 1000).dictionary_encode()], ["kind"]) for start in range(0, count, 1000)
    ]
    table = Table(
        tmp_path / "t.parquet", pa.schema([("id", pa.string()), ("status", pa.dictionary(pa.int32(), pa.string()))])
    )
    for row in range(count):
        table.append((str(row), "ok" if row < 15_000 else "failed"), Kept(batches[row // 1000], row % 1000))
    table.close()
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 4
    for column, expected in (
        ("kind", {f"w{n}": min(3000, count - 3000 * n) for n in range(7)}),
        ("status", {"ok": 15_000, "failed": 5_000}),
    ):
        assert _counts(library, tmp_path / "t.parquet", column) == expected
    assert pq.read_schema(tmp_path / "t.parquet").field("kind").type == pa.dictionary(pa.int32(), pa.string())


def _counts(library: str, path: Path, column: str) -> dict[str, int]:
    if library == "pyarrow":
        found = pq.read_table(path).group_by(column).aggregate([("id", "count")])
        return dict(zip(found[column].to_pylist(), found["id_count"].to_pylist(), strict=True))
    if library == "polars":
        return {str(name): rows for name, rows in pl.read_parquet(path).group_by(column).len().rows()}
    if library == "duckdb":
        duckdb = pytest.importorskip("duckdb")
        return dict(duckdb.sql(f"select {column}, count(*) from read_parquet('{path}') group by 1").fetchall())
    pandas = pytest.importorskip("pandas")
    return {str(name): int(rows) for name, rows in pandas.read_parquet(path)[column].value_counts().items()}


def test_tables_of_different_types_in_one_run_are_one_column_without_loss(tmp_path: Path) -> None:
    sources = [
        pa.array([1, 2**62], pa.int64()),
        pa.array([Decimal("0.50"), None], pa.decimal128(5, 2)),
        pa.array([2**63, 1], pa.uint64()),
    ]
    table = Table(tmp_path / "t.parquet", pa.schema([("id", pa.string())]))
    for number, array in enumerate(sources):
        for row in kept(("n", array), (f"only{number}", pa.array([True, False]))):
            table.append(("x",), row)
        table.append(("none",), {})
    table.close()
    back = pq.read_table(tmp_path / "t.parquet")
    assert [None if value is None else Decimal(value) for value in back["n"].to_pylist()] == [
        1, 2**62, None, Decimal("0.50"), None, None, 2**63, 1, None,
    ]  # fmt: skip
    assert back["only1"].to_pylist() == [None] * 3 + [True, False] + [None] * 4


def test_nested_columns_that_grow_a_field_on_the_way_are_one_column(tmp_path: Path) -> None:
    lines = [f'{{"body": "x", "meta": {{"a": {row}}}}}' for row in range(5000)]
    lines += [f'{{"body": "x", "meta": {{"a": {row}, "b": "late"}}}}' for row in range(5000, 5100)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    back = pq.read_table(written(tmp_path, rows_of(tmp_path / "t.jsonl")))
    assert back.num_rows == 5100
    assert [back["meta"][row].as_py()["a"] for row in (0, 4999, 5099)] == [0, 4999, 5099]
    assert back["meta"][5099].as_py()["b"] == "late"


def test_json_whose_numbers_become_text_or_reals_late_lose_none(tmp_path: Path) -> None:
    values = ["1"] * 6000 + ["0.5"] * 10
    (tmp_path / "t.jsonl").write_text("".join(f'{{"body": "x", "v": {value}}}\n' for value in values))
    back = pq.read_table(written(tmp_path, rows_of(tmp_path / "t.jsonl")))
    assert (back.schema.field("v").type, back["v"][6000].as_py()) == (pa.float64(), 0.5)
    values[3] = "9007199254740993"
    (tmp_path / "t.jsonl").write_text("".join(f'{{"body": "x", "v": {value}}}\n' for value in values))
    back = pq.read_table(written(tmp_path, rows_of(tmp_path / "t.jsonl"), "r2"))
    assert (back.schema.field("v").type, back["v"][3].as_py(), back["v"][6000].as_py()) == (
        pa.string(), "9007199254740993", "0.5",
    )  # fmt: skip


def test_columns_that_only_text_holds_together_are_named_in_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "x", "v": 1, "same": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"body": "y", "v": [true], "same": 2}\n')
    found = [*rows_of(tmp_path / "a.jsonl"), *rows_of(tmp_path / "b.jsonl")]
    file = written(tmp_path, found)
    assert pq.read_table(file)["v"].to_pylist() == ["1", "[true]"]
    manifest = json.loads((file.parent / "run.json").read_text())
    assert manifest["columns_as_text"] == {"v": ["int64", "list<item: bool>"]}
