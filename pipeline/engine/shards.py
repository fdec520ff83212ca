"""A shard: an ordinary run of a share of a job's input, with its share of the limits and the cap.

Theory. Nothing inside a run knows of shards. `sharded` turns a job into that of one shard: its output (and so its
ledger) lies under OUTPUT/shards/I-of-N/, its limits and cap are its share. The run reads a share of the input
(`readers.shares`), says in its manifest which, and records where its documents come from (`Origins`), so that a merge
can put them where an unsharded run has them.

Shares are static, and never sum to more than the whole: requests and tokens a minute, slots and the cap by whole units
and pico-dollars. Of limits each of N shards has its N-th, or, where at most K of them run side by side, its K-th; the
cap is spent once and for all, so it is always divided by N."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from docreduce.config import Job
from docreduce.desk import SEGMENTS
from docreduce.readers import Share, Slice, UniqueIds, Unread
from docreduce.settings import DELTA, LimitSettings
from docreduce.storage import is_address, machine_errors
from docreduce.values import Document
from docreduce.values.errors import JobError
from docreduce.values.money import pusd, usd

__all__ = [
    "FOLDER", "Origins", "Shard", "check_shared", "ledger_on", "parse_shard", "segments_of", "shard_folder",
    "sharded", "share_of",
]  # fmt: skip

FOLDER = "shards"
"""Under the job's output, where its shards lie."""
LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrency")
_COLUMNS: list[pa.Field[Any]] = [
    pa.field("source", pa.binary()),  # its address as UTF-8: a name may hold anything
    pa.field("row", pa.int64()),  # the first of those that follow each other; null: a file is one document
    pa.field("documents", pa.int64()),
    pa.field("renamed", pa.list_(pa.struct([pa.field("at", pa.int64()), pa.field("id", pa.string())]))),
    pa.field("columns", pa.list_(pa.string())),  # kept ones that came here first
]
ORIGIN = pa.schema(_COLUMNS)
GROUP = 10_000
"""Origins in a row group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The shard `number` (from 1) `of` so many, at most `at_once` of them side by side. `whole_sha256`: of the job that
    it is a part of, with its limits, cap and output; `cap_pusd`: what this shard may cost."""

    number: int
    of: int
    at_once: int
    whole_sha256: str
    whole_limits: LimitSettings
    whole_output: str
    whole_cap_usd: float | None
    cap_pusd: int | None = None

    @property
    def share(self) -> Share:
        """Of the input."""
        return Share(self.number, self.of)

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        cap = None if self.cap_pusd is None else str(usd(self.cap_pusd))
        return {
            "number": self.number,
            "of": self.of,
            "at_once": self.at_once,
            "job_sha256": self.whole_sha256,
            "cap_usd": cap,
            "whole_limits": self.whole_limits.model_dump(),
            "whole_cap_usd": self.whole_cap_usd,
        }


def parse_shard(text: str) -> tuple[int, int]:
    """`I/N` as (I, N). Raises JobError."""
    first, slash, second = text.partition("/")
    if slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second):
        return int(first), int(second)
    raise JobError(f"--shard {text}: expected I/N with I from 1 to N", hint="Of four shards the first is --shard 1/4.")


def shard_folder(output: Path, number: int, of: int) -> Path:
    """Where a shard's runs and its ledger lie."""
    return output / FOLDER / f"{number}-of-{of}"


def segments_of(folder: Path) -> Path:
    """Where a shard's ledger is copied to, of the shard whose folder this is."""
    return folder / SEGMENTS


def ledger_on(scratch: str | None, whole: Job, number: int, of: int) -> Path | None:
    """Where a shard's ledger lies on this machine's disk; None: in the output. Raises JobError where the shard has its
    ledger otherwise than so until now: it would be paid for again."""
    output = whole.output.folder
    folder = shard_folder(output, number, of)
    if scratch is None:
        if segments_of(folder).is_dir():
            hint = "Name a folder on this machine's disk: --scratch DIR"
            raise JobError(f"{folder}: its ledger was kept on a scratch disk, and copied there in segments", hint=hint)
        return None
    if (folder / "ledger.sqlite").exists():
        raise JobError(f"{folder}: its ledger lies in the output", hint="Leave out --scratch for this job.")
    if Path(scratch).resolve().is_relative_to(output.resolve()):
        raise JobError(f"--scratch {scratch}: lies in the output", hint="Name a folder on this machine's own disk.")
    name = hashlib.sha256(os.fsencode(output.absolute())).hexdigest()[:16]
    return Path(scratch) / name / f"{number}-of-{of}" / "ledger.sqlite"


def check_shared(job: Job) -> None:
    """Raises JobError for an output that shards cannot share."""
    if is_address(job.output.path):
        raise JobError("output.path: shards are merged in a folder, not at an address", hint="Name a shared folder.")
    if job.output.ledger is not None:
        hint = "Leave it out; --scratch DIR keeps ledgers on the disks of the machines."
        raise JobError("output.ledger: each shard has a ledger of its own", hint=hint)
    if job.output.deltas:
        said = f"output.also: {DELTA}{job.output.deltas[0]}: no shard writes Delta tables"
        raise JobError(said, hint="Leave it out; write the merged run.")


def sharded(job: Job, number: int, of: int, at_once: int | None = None) -> tuple[Job, Shard]:
    """The job of one shard of `job`, and the shard. Raises JobError for a limit that is too small to be divided,
    and for groups, of which no shard has all documents."""
    if job.reduce is not None:
        hint = "Leave [reduce] out, or run the job as a whole."
        raise JobError("reduce: a shard has a part of the documents only, and no group is whole in it", hint=hint)
    check_shared(job)
    at_once = min(at_once or of, of)
    cap = job.budget.max_cost_usd
    cap_pusd = None if cap is None else share_of(pusd(cap), number, of)
    shard = Shard(
        number=number,
        of=of,
        at_once=at_once,
        whole_sha256=job.sha256,
        whole_limits=job.limits,
        whole_output=job.output.path,
        whole_cap_usd=cap,
        cap_pusd=cap_pusd,
    )
    fallback = [each.model_copy(update={"limits": _limits(each.limits, shard)}) for each in job.model.fallback]
    output = str(shard_folder(job.output.folder, number, of))
    changed: dict[str, Any] = {
        "limits": _limits(job.limits, shard),
        "model": job.model.model_copy(update={"fallback": fallback}),
        "output": job.output.model_copy(update={"path": output}),
    }
    if cap_pusd is not None:
        changed["budget"] = job.budget.model_copy(update={"max_cost_usd": float(usd(cap_pusd))})
    return job.model_copy(update=changed), shard


def share_of(whole: int, number: int, of: int) -> int:
    """The share `number` (from 1) of `of`, which together are `whole`."""
    return whole * number // of - whole * (number - 1) // of


def _limits(limits: LimitSettings, shard: Shard) -> LimitSettings:
    shares = {}
    for name in LIMITS:
        whole = getattr(limits, name)
        if whole is None:
            continue
        # Whichever K of more shards run side by side, theirs must not sum to more: each has the smallest share.
        exact = shard.at_once == shard.of
        share = share_of(whole, shard.number, shard.of) if exact else whole // shard.at_once
        if share < 1:
            raise JobError(
                f"limits.{name}: {whole} cannot be divided among {shard.at_once} shards",
                hint=f"Let at most {whole} of them run side by side, and say so: --at-once {whole}",
            )
        shares[name] = share
    return limits.model_copy(update=shares)


class Origins:
    """Records where a shard's documents come from, in their order, those that follow each other in the input as one:
    the ids that equal ones had before they got their counters, and the kept columns in the order they came.

    A context manager; the file is whole when it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with machine_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(path, ORIGIN, compression="zstd")
        self._unique = UniqueIds()
        self._columns: set[str] = set()
        self._batch: Any = None
        self._rows: list[dict[str, Any]] = []
        self._next: tuple[str, int | None] | None = None  # what would follow the last one

    def __call__(self, part: Slice, found: Document | Unread) -> None:
        """Record the next document."""
        if self._next is None or found.row is None or (part.source, found.row) != self._next:
            if len(self._rows) >= GROUP:
                self._flush()
            source = part.source.encode("utf-8", "surrogatepass")
            self._rows.append({"source": source, "row": found.row, "documents": 0, "renamed": [], "columns": []})
        origin = self._rows[-1]
        if self._unique(found.id) != found.id:
            origin["renamed"].append({"at": origin["documents"], "id": found.id})
        origin["documents"] += 1
        batch = getattr(found.columns, "batch", None)
        if batch is None or batch is not self._batch:
            self._batch = batch
            for name in found.columns:
                if name not in self._columns:
                    self._columns.add(name)
                    origin["columns"].append(name)
        self._next = None if found.row is None else (part.source, found.row + 1)

    def close(self) -> None:
        """Write what is left."""
        with machine_errors(self.path):
            if self._rows:
                self._flush()
            self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=ORIGIN))
        self._rows, self._next = [], None

    def __enter__(self) -> Origins:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
