"""A run's folder: tables written aside, then visible all at once with their manifest."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from docreduce.results.schema import Settle, text_of
from docreduce.results.table import Table
from docreduce.storage import commit_folder, fsync_folder, machine_errors
from docreduce.values.unicode import well_formed

__all__ = ["Dataset", "write_csv"]

_UNSAFE = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection")."""


class Dataset:
    """OUTPUT/<job name>/<run id>/, hidden until `commit`. A context manager: without a commit it leaves nothing.

    `schemas` of the tables by name, `kept`: carried columns with the types they had in earlier runs, `csv`: the tables
    that are also written so. Every method raises MachineError where the disk refuses."""

    def __init__(
        self,
        output: Path,
        job_name: str,
        run_id: str,
        schemas: Mapping[str, pa.Schema],
        kept: Mapping[str, pa.Schema | None],
        csv: Collection[str] = (),
    ) -> None:
        self.final = output / job_name / run_id
        self._staging = self.final.with_name(f".{run_id}.partial")
        self._csv = csv
        with machine_errors(self.final):
            self.final.parent.mkdir(parents=True, exist_ok=True)
            fsync_folder(output)
            for leftover in self.final.parent.glob(".*.partial"):  # of runs that died; the ledger's lock is ours
                _remove(leftover)
            self._staging.mkdir(mode=0o700)  # what documents say is for their owner alone
        self.tables = {
            name: Table(self._staging / f"{name}.parquet", schema, kept.get(name)) for name, schema in schemas.items()
        }

    def commit(
        self,
        manifest: Mapping[str, Any],
        *,
        promote: bool = True,
        settle: Mapping[str, Settle] = MappingProxyType({}),
    ) -> Path:
        """Make the run visible, with `manifest` and its `files` as run.json; the run's folder. `columns_as_text` in it
        names kept columns that came in types which only text holds together.

        `latest` moves to it with `promote`. `settle`: what is filled in first, by table."""
        with machine_errors(self.final):
            for table in self.tables.values():
                table.close()
            for name, change in settle.items():
                self.tables[name].settle(change)
            files = [_file(table.path, table.rows) for table in self.tables.values()]
            tables = [table for name, table in self.tables.items() if name in self._csv]
            files += [_file(write_csv(table.path), table.rows) for table in tables]
            as_text = self.tables["documents"].as_text
            whole = {**manifest, **({"columns_as_text": as_text} if as_text else {}), "files": files}
            text = orjson.dumps(well_formed(whole), option=orjson.OPT_INDENT_2)
            (self._staging / "run.json").write_bytes(text)
            commit_folder(self._staging, self.final)
            if promote:
                _point(self.final.with_name("latest"), self.final.name)
        return self.final

    @property
    def blocked(self) -> str | None:
        """Why `latest` could not move to the run, whatever became of it; None where it can."""
        latest = self.final.with_name("latest")
        there = latest.is_dir() and not latest.is_symlink()
        return f"{latest} is a folder of somebody's own: move it away" if there else None

    def discard(self) -> None:
        """Leave nothing of what is not committed."""
        for table in self.tables.values():
            table.abandon()
        with machine_errors(self.final):
            _remove(self._staging)

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _file(path: Path, rows: int) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": path.name, "rows": rows, "bytes": path.stat().st_size, "sha256": digest}


def write_csv(table: Path) -> Path:
    """The same table as CSV (RFC 4180, UTF-8) beside it, safe to open in a spreadsheet."""
    path = table.with_suffix(".csv")
    with pq.ParquetFile(table) as source, path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow([_cell(name) for name in source.schema_arrow.names])
        for batch in source.iter_batches(batch_size=1000):
            out.writerows([_cell(value) for value in row.values()] for row in batch.to_pylist())
    return path


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_UNSAFE) else value
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else text_of(value)


def _point(latest: Path, name: str) -> None:
    """Let `latest` name the run, in one step: a link, or a text file where links cannot be."""
    beside = latest.with_name(".latest.partial")
    _remove(beside)
    try:
        beside.symlink_to(name, target_is_directory=True)
    except (OSError, NotImplementedError):
        beside.write_text(f"{name}\n", encoding="utf-8")
    beside.replace(latest)
    fsync_folder(latest.parent)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
