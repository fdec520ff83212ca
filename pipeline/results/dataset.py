"""A run's folder: tables written aside, then visible all at once with their manifest."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pyarrow as pa
from docreduce.results.beside import FORMATS
from docreduce.results.schema import Settle
from docreduce.results.table import Table
from docreduce.storage import commit_folder, fsync_folder, machine_errors
from docreduce.values.errors import MachineError
from docreduce.values.unicode import well_formed

__all__ = ["Dataset"]


class Dataset:
    """OUTPUT/<job name>/<run id>/, hidden until `commit`. A context manager: without a commit it leaves nothing.

    `schemas` of the tables by name, `kept`: carried columns with the types they had in earlier runs, `beside`: what is
    also written in formats of `beside.FORMATS`, each with the names of its tables. Every method raises MachineError
    where the disk refuses."""

    def __init__(
        self,
        output: Path,
        job_name: str,
        run_id: str,
        schemas: Mapping[str, pa.Schema],
        kept: Mapping[str, pa.Schema | None],
        beside: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        self.final = output / job_name / run_id
        self._staging = self.final.with_name(f".{run_id}.partial")
        self._beside = beside
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
        names kept columns that came in types which only text holds together, `dropped` the formats that could not be
        written.

        `latest` moves to it with `promote`. `settle`: what is filled in first, by table."""
        with machine_errors(self.final):
            for table in self.tables.values():
                table.close()
            for name, change in settle.items():
                self.tables[name].settle(change)
            files = [_file(table.path, table.rows) for table in self.tables.values()]
            dropped = []
            for name, tables in self._beside.items():
                try:
                    files += self._also(name, tables)
                except MachineError as error:  # what was paid for lies in the Parquet, which stands without it
                    dropped.append({"format": name, "error": error.message})
            as_text = self.tables["documents"].as_text
            whole = {**manifest, **({"columns_as_text": as_text} if as_text else {}), "files": files}
            whole |= {"dropped": dropped} if dropped else {}
            text = orjson.dumps(well_formed(whole), option=orjson.OPT_INDENT_2)
            (self._staging / "run.json").write_bytes(text)
            commit_folder(self._staging, self.final)
            if promote:
                _point(self.final.with_name("latest"), self.final.name)
        return self.final

    def _also(self, name: str, tables: Collection[str]) -> list[dict[str, Any]]:
        """Write these tables in another format too; what the manifest says of the files. Raises MachineError, and
        leaves none of them then."""
        chosen = [table for each, table in self.tables.items() if each in tables]
        try:
            files = []
            for table in chosen:
                # the file is said by the place it would have had
                with machine_errors(self.final / table.path.with_suffix(f".{name}").name):
                    files.append(_file(FORMATS[name](table.path), table.rows))
            return files
        except MachineError:
            for table in chosen:
                with contextlib.suppress(OSError):  # the folder's commit says what is wrong with it
                    table.path.with_suffix(f".{name}").unlink(missing_ok=True)
            raise

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
