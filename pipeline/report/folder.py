"""A run's folder, read: its manifest and its tables as lazy polars frames."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from docreduce.results.schema import DOCUMENTS
from docreduce.storage import is_address
from docreduce.values.errors import JobError
from docreduce.values.money import PICO

if TYPE_CHECKING:
    import polars as pl

__all__ = ["OURS", "answered", "place", "plain_id", "pusd_of", "read_manifest", "run_folder", "source_of", "table"]

OURS = frozenset({"document_id", "uri", "item", "status", "error", "cost_usd"})
"""Columns of every records table."""


def run_folder(path: Path) -> Path:
    """The folder of a run: `path`, or where it leads: `latest` is a link, or a file that names its neighbour."""
    if path.is_file() and path.name == "latest":  # where links cannot be
        return path.with_name(path.read_text(encoding="utf-8").strip())
    return path.resolve() if path.is_symlink() else path


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """The manifest of a committed run. Raises JobError where there is none."""
    try:
        manifest: dict[str, Any] = orjson.loads((run_dir / "run.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise JobError(f"{run_dir}: no run: {error}", hint="`docreduce runs OUTPUT_DIR` lists them.") from error
    return manifest


def table(run_dir: Path, name: str) -> pl.LazyFrame | None:
    """A table of the run; None where its kind has none of that name. Read as it is asked for, never whole."""
    import polars as pl

    path = run_dir / f"{name}.parquet"
    return pl.scan_parquet(path, glob=False) if path.is_file() else None


def answered(records: pl.LazyFrame, documents: pl.LazyFrame) -> list[str]:
    """The columns of the records that were answered: neither ours nor carried from the input."""
    carried = set(documents.collect_schema().names()) - set(DOCUMENTS.names)
    return [name for name in records.collect_schema().names() if name not in OURS | carried]


def place(row: Mapping[str, Any]) -> str:
    """A document as people name it: its file, and the row in it."""
    uri, number = row["uri"], row.get("row")
    return str(uri) if number is None or f"#{number}" in str(uri) else f"{uri}#{number}"


def source_of(uri: str) -> str:
    """The file, or the object at an address, that a document is in: itself, or what stands before a `!/`."""
    parts = uri.split("!/")
    if is_address(uri):
        return parts[0]
    wholes = ("!/".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((each for each in wholes if Path(each).is_file()), parts[0])


def plain_id(document_id: str) -> str:
    """The id of what a document holds, without what parts it from equal ones in a run."""
    return re.sub(r"(~\d+)+$", "", document_id)


def pusd_of(amount: Decimal | None) -> int:
    """Whole pico-dollars of a money column's value."""
    return int((amount or Decimal(0)) * PICO)
