"""A run's tables: rows from finished documents, written aside, then visible all at once."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from docreduce.results.schema import CALLS, CHUNKS, DOCUMENTS, TableSpec, coerce, text_of
from docreduce.results.table import Table
from docreduce.storage import commit_folder, fsync_folder, machine_errors
from docreduce.values import Attempt, Billing, Result
from docreduce.values.unicode import well_formed

__all__ = ["DatasetWriter", "DocumentRow"]

_UNSAFE = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection")."""
_TOKENS = attrgetter("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRow:
    """A finished document, whatever became of it, without its text. `attempts`: all of its calls, reused answers too;
    a reused one's `cost_pusd` is what it once cost. `shares`: what it bears of them and of others' where calls served
    several documents; such a call stands once, with the first of them. `columns`: the kept ones."""

    document_id: str
    uri: str
    result: Result
    attempts: Sequence[Attempt] = ()
    shares: Sequence[Attempt] | None = None
    row: int | None = None
    media_type: str | None = None
    chars: int | None = None
    source_tokens: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def borne(self) -> Sequence[Attempt]:
        """The attempts that its tokens and its money are the sums of."""
        return self.attempts if self.shares is None else self.shares

    @property
    def held_chars(self) -> int:
        """Characters, about, that are held until it is written."""
        outputs = sum(len(each.output or "") for each in self.result.chunks)
        kept = sum(len(value) for value in self.columns.values() if isinstance(value, str))
        return len(self.result.summary or "") + outputs + kept


class DatasetWriter:
    """Writes OUTPUT/<job name>/<run id>/, hidden until `commit`. A context manager: without a commit it leaves nothing.

    `tables` are the kind's own, beside documents, chunks and calls; `pinned`: kept columns with the types they had in
    earlier runs. Every method raises MachineError where the disk
    refuses. Not safe for threads. Memory is bounded by the row groups."""

    def __init__(
        self,
        output: Path,
        job_name: str,
        run_id: str,
        *,
        tables: Mapping[str, TableSpec] = MappingProxyType({}),
        csv: bool = False,
        pinned: pa.Schema | None = None,
    ) -> None:
        self.final = output / job_name / run_id
        self._staging = self.final.with_name(f".{run_id}.partial")
        self._specs = tables
        self._csv = csv
        with machine_errors(self.final):
            self.final.parent.mkdir(parents=True, exist_ok=True)
            fsync_folder(output)
            for leftover in self.final.parent.glob(".*.partial"):  # of runs that died; the ledger's lock is ours
                _remove(leftover)
            self._staging.mkdir()
        schemas = {"documents": DOCUMENTS, "chunks": CHUNKS, "calls": CALLS}
        schemas |= {name: spec.schema for name, spec in tables.items()}
        self._carrying = {"documents", *(name for name, spec in tables.items() if spec.kept)}
        self._tables = {
            name: Table(self._staging / f"{name}.parquet", schema, pinned if name in self._carrying else None)
            for name, schema in schemas.items()
        }

    @property
    def kept_columns(self) -> pa.Schema:
        """The kept columns of the documents so far and their types: what the next run should take for `pinned`."""
        return self._tables["documents"].carried

    def write(self, done: DocumentRow) -> None:
        """Add a document's rows to all tables; in the order of the input, that of the files. Writes a row group now and
        then, some 20 ms."""
        rows: dict[str, Iterable[tuple[Any, ...]]]
        rows = {"documents": [_document(done)], "chunks": _chunks(done), "calls": _calls(done)}
        rows |= {name: _own(done, name, spec) for name, spec in self._specs.items()}
        with machine_errors(self.final):
            for name, found in rows.items():
                carried = done.columns if name in self._carrying else {}
                for row in found:
                    self._tables[name].append(row, carried)

    def commit(self, manifest: Mapping[str, Any], *, promote: bool = True) -> Path:
        """Make the run visible, with `manifest` and its `files` as run.json; the run's folder. `columns_as_text` in it
        names kept columns that came in types which only text holds together.

        `latest` moves to it with `promote`, or if there was none."""
        with machine_errors(self.final):
            for table in self._tables.values():
                table.close()
            files = [_file(table.path, table.rows) for table in self._tables.values()]
            if self._csv:
                tables = [table for name, table in self._tables.items() if name in self._carrying]
                files += [_file(_write_csv(table.path), table.rows) for table in tables]
            as_text = self._tables["documents"].as_text
            whole = {**manifest, **({"columns_as_text": as_text} if as_text else {}), "files": files}
            text = orjson.dumps(well_formed(whole), option=orjson.OPT_INDENT_2)
            (self._staging / "run.json").write_bytes(text)
            commit_folder(self._staging, self.final)
            latest = self.final.with_name("latest")
            if promote or not os.path.lexists(latest):
                _point(latest, self.final.name)
        return self.final

    def discard(self) -> None:
        """Leave nothing of what is not committed."""
        for table in self._tables.values():
            table.abandon()
        with machine_errors(self.final):
            _remove(self._staging)

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


def _document(done: DocumentRow) -> tuple[Any, ...]:
    result, attempts = done.result, done.borne
    usages = [attempt.usage for attempt in attempts if attempt.usage and attempt.billing == "charged"]
    return (
        done.document_id,
        done.uri,
        done.row,
        result.status,
        result.error_kind,
        result.error,
        done.media_type,
        done.chars,
        done.source_tokens,
        len(result.chunks),
        len({attempt.key for attempt in attempts}),
        sum(attempt.billing != "reused" for attempt in attempts),
        sum(usage.input_tokens for usage in usages),
        sum(usage.output_tokens for usage in usages),
        _usd(_sum(attempts, "charged")),
        _usd(_sum(attempts, "unknown")),
        _usd(_sum(attempts, "reused")),
        result.summary,
    )


def _chunks(done: DocumentRow) -> Iterator[tuple[Any, ...]]:
    for each in done.result.chunks:
        chunk = each.chunk
        place = (chunk.index, chunk.span.start, chunk.span.end, chunk.page_start, chunk.page_end, chunk.heading)
        yield done.document_id, *place, chunk.tokens, each.status, each.error, each.output, each.model, each.endpoint


def _calls(done: DocumentRow) -> Iterator[tuple[Any, ...]]:
    for call in done.attempts:
        paid, reused = (0, call.cost_pusd) if call.billing == "reused" else (call.cost_pusd, 0)
        tokens = _TOKENS(call.usage) if call.usage else (None,) * 5
        began = round(call.started_at * 1_000_000)
        head = (call.key, done.document_id, call.stage, call.chunk, call.attempt, began, call.latency_s)
        middle = (call.http_status, call.outcome, call.finish_reason, *tokens, call.model, call.endpoint)
        paying = (call.service_tier, call.batch, call.billing, _usd(paid), _usd(reused))
        yield (*head, *middle, *paying, call.request_id, call.error)


def _own(done: DocumentRow, name: str, spec: TableSpec) -> Iterator[tuple[Any, ...]]:
    """A document's rows of a kind's table; its cost is split over them to the pico-dollar, the first bears the rest."""
    rows = done.result.tables.get(name, ())
    if spec.always:
        rows = rows[:1] or [{}]
    share, rest = divmod(_sum(done.borne, "charged"), max(1, len(rows)))
    types = list(zip(spec.names or spec.columns.names, spec.columns.types, strict=True))
    for at, row in enumerate(rows):
        values = [coerce(row.get(column), kind) for column, kind in types]
        outcome: tuple[Any, ...] = ()
        if spec.outcome:
            outcome = (done.result.status, done.result.error, _usd(share + (rest if at == 0 else 0)))
        yield (done.document_id, done.uri, *values, *outcome)


def _sum(attempts: Sequence[Attempt], billing: Billing) -> int:
    return sum(attempt.cost_pusd for attempt in attempts if attempt.billing == billing)


def _usd(pusd: int) -> Decimal:
    return Decimal(pusd).scaleb(-12)


def _file(path: Path, rows: int) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": path.name, "rows": rows, "bytes": path.stat().st_size, "sha256": digest}


def _write_csv(table: Path) -> Path:
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
