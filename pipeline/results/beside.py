"""The tables of a run in other formats beside the Parquet, for programs that do not read it. Each is made of the closed
Parquet file, so that it can be made again, or be left out, at any time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pyarrow.parquet as pq
from docreduce.results.schema import text_of
from docreduce.values.columns import values_of

__all__ = ["FORMATS", "write_csv", "write_jsonl"]

_UNSAFE = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection")."""


def write_csv(table: Path) -> Path:
    """The same table as CSV (RFC 4180, UTF-8) beside it, safe to open in a spreadsheet. Raises OSError."""
    path = table.with_suffix(".csv")
    with pq.ParquetFile(table) as source, path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow([_cell(name) for name in source.schema_arrow.names])
        out.writerows(map(_cell, row) for row in _rows(source))
    return path


def write_jsonl(table: Path) -> Path:
    """The same table as JSON Lines (UTF-8) beside it, an object a row: decimals are numbers with all their digits,
    times ISO 8601, and what JSON has no value for (NaN, an infinity) is null. Raises OSError."""
    path = table.with_suffix(".jsonl")
    with pq.ParquetFile(table) as source, path.open("wb") as file:
        names = source.schema_arrow.names
        for row in _rows(source):
            whole = dict(zip(names, row, strict=True))
            file.write(orjson.dumps(whole, default=_value, option=orjson.OPT_APPEND_NEWLINE))
    return path


FORMATS: Mapping[str, Callable[[Path], Path]] = MappingProxyType({"csv": write_csv, "jsonl": write_jsonl})
"""Writers by the name of the format, which is also the suffix of its files."""


def _rows(source: pq.ParquetFile) -> Iterator[tuple[Any, ...]]:
    for batch in source.iter_batches(batch_size=1000):
        yield from zip(*map(values_of, batch.columns), strict=True)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_UNSAFE) else value
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else text_of(value)


def _value(value: object) -> object:
    """What orjson does not know: as JSON where JSON has it, else as CSV says it."""
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(f"{value:f}")  # a float would not hold all digits
    return value.isoformat() if isinstance(value, datetime) else text_of(value)
