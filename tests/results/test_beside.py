"""The tables in other formats beside Parquet: every value of every type, whatever is installed."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from docreduce.results.beside import write_csv, write_jsonl

COLUMNS = {
    "moment": pa.array([1_500_000_000_123_456_789, None], pa.timestamp("ns", "Europe/Berlin")),
    "clock": pa.array([86_399_999_999_999, None], pa.time64("ns")),
    "late": pa.array([2**62, None], pa.timestamp("us")),
    "large": pa.array([2**64 - 1, None], pa.uint64()),
    "sum": pa.array([Decimal("1" * 60), None], pa.decimal256(70, 0)),
    "pairs": pa.array([[(1, b"x")], None], pa.map_(pa.int64(), pa.binary())),
    "whole": pa.array([{"a": float("nan"), "at": 1}, None], pa.struct({"a": pa.float64(), "at": pa.timestamp("ns")})),
}


def test_what_python_cannot_hold_is_text_and_no_digit_is_lost(tmp_path: Path) -> None:
    table = tmp_path / "documents.parquet"
    pq.write_table(pa.table(COLUMNS), table)
    first, second = (orjson.loads(line) for line in write_jsonl(table).read_bytes().splitlines())
    assert first["moment"] == "2017-07-14 04:40:00.123456789+0200"
    assert first["clock"] == "23:59:59.999999999"
    assert str(2**62) in first["late"]
    assert (first["large"], first["pairs"]) == (2**64 - 1, [[1, "b'x'"]])
    assert first["whole"] == {"a": None, "at": "1970-01-01 00:00:00.000000001"}
    assert b'"sum":' + b"1" * 60 in table.with_suffix(".jsonl").read_bytes()
    assert second == dict.fromkeys(COLUMNS)
    head, one, two = csv.reader(write_csv(table).read_text(encoding="utf-8").splitlines())
    assert head == list(COLUMNS)
    assert one[:2] == [first["moment"], first["clock"]]
    assert two == [""] * len(COLUMNS)
