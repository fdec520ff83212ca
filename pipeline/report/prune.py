"""What can go from an output folder: old runs, answers that nothing refers to any more, one document altogether."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from docreduce.desk import Ledger, ledgers_of
from docreduce.report.folder import read_manifest, run_folder, table
from docreduce.results import RunInfo, list_runs
from docreduce.results.beside import FORMATS
from docreduce.storage import fsync_folder, machine_errors, replacing
from docreduce.values.errors import JobError

__all__ = ["prune", "purge"]


def prune(output: Path, keep_s: float, *, dry_run: bool, now: float | None = None) -> dict[str, Any]:
    """Remove the runs that ended more than `keep_s` seconds ago, but never a job's newest complete one nor the one that
    `latest` names; then the answers that no kept run's calls and no attempt since then refer to. The ledger's attempts
    stay: they are the bill.

    Raises MachineError, kind "locked", while a run is at work."""
    since_s = (time.time() if now is None else now) - keep_s
    runs = list_runs(output)
    old = [run for run in runs if run.path not in _protected(output, runs) and _ended(run) < since_s]
    kept = [run for run in runs if run not in old]
    size = sum(_size(run.path) for run in old)
    answers = 0
    with ExitStack() as locks:
        ledgers = _opened(output, locks, dry_run=dry_run)
        for run in () if dry_run else old:
            _remove(run.path)
        for ledger in ledgers:
            removed = ledger.forget(_references(kept), since_s)
            if removed:
                ledger.compact()
            answers += removed
    return {
        "dry_run": dry_run,
        "runs": [{"job": run.job, "run_id": run.run_id, "finished_at": run.finished_at} for run in old],
        "bytes": size,
        "answers": answers,
        "kept_runs": len(kept),
    }


def purge(output: Path, document_id: str, *, dry_run: bool) -> dict[str, Any]:
    """Remove all that is stored of one document: its rows in every run, the answers of its calls and of calls that it
    shared, what attempts say of it. What was paid stays in the sums, under no name.

    Raises JobError where nothing is stored of it, MachineError, kind "locked", while a run is at work."""
    runs = [run for run in list_runs(output) if run.status != "damaged"]
    keys = sorted({key for run in runs for key in _keys_of(run.path, document_id)})
    answers = attempts = 0
    with ExitStack() as locks:
        ledgers = _opened(output, locks, dry_run=dry_run)
        files = [name for run in runs for name in _without(run.path, document_id, dry_run=dry_run)]
        for ledger in ledgers:
            removed = ledger.purge(document_id, keys)
            answers, attempts = answers + removed[0], attempts + removed[1]
            ledger.compact()
    if not files and not answers and not attempts:
        raise JobError(
            f"{document_id}: nothing is stored of it in {output}", hint="`docreduce show RUN_DIR` lists ids."
        )
    return {"dry_run": dry_run, "document_id": document_id, "files": files, "answers": answers, "attempts": attempts}


def _opened(output: Path, locks: ExitStack, *, dry_run: bool) -> list[Ledger]:
    """The folder's ledgers, ours alone, or for reading only where nothing is to change."""
    return [locks.enter_context(Ledger.view(path) if dry_run else _writable(path)) for path in ledgers_of(output)]


@contextmanager
def _writable(path: Path) -> Iterator[Ledger]:
    """A ledger; one that lies on another disk as its segments say, which are written anew at the end."""
    if path.is_file():
        with Ledger.open(path) as ledger:
            yield ledger
        return
    with TemporaryDirectory() as folder:
        place = Path(folder) / "ledger.sqlite"
        Ledger.open(place, path).close()
        with Ledger.open(place) as ledger:
            yield ledger
        Ledger.open(place, path).close()


def _protected(output: Path, runs: Iterable[RunInfo]) -> set[Path]:
    """The newest complete run of each job, and what `latest` names."""
    newest: dict[str, Path] = {}
    for run in runs:  # the newest first
        if run.status == "complete":
            newest.setdefault(run.job, run.path)
    latest = {run_folder(path) for path in output.glob("*/latest")}
    return {*newest.values(), *(run.path for run in runs if run.path.resolve() in {each.resolve() for each in latest})}


def _ended(run: RunInfo) -> float:
    """Seconds since the epoch; a damaged run is as old as its folder."""
    with suppress(ValueError):
        return datetime.fromisoformat(run.finished_at).timestamp()
    return run.path.stat().st_mtime


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _remove(folder: Path) -> None:
    """Out of sight in one step, then gone: a reader never sees half a run."""
    with machine_errors(folder):
        aside = folder.with_name(f".{folder.name}.partial")
        folder.rename(aside)
        fsync_folder(folder.parent)
        shutil.rmtree(aside)


def _references(runs: Iterable[RunInfo]) -> Iterator[tuple[str, str]]:
    """(call key, endpoint) of all calls of these runs."""
    import polars as pl

    for run in runs:
        calls = table(run.path, "calls")
        if calls is not None:
            pairs = calls.select("call_key", pl.col("endpoint").cast(pl.String)).drop_nulls().unique()
            yield from pairs.collect().iter_rows()


def _keys_of(run_dir: Path, document_id: str) -> set[str]:
    """The keys of a document's calls. Where a call served several, the first of them bears it: a document that bears
    fewer than it had shares those of the nearest one before it that bears any."""
    import polars as pl

    documents, calls = table(run_dir, "documents"), table(run_dir, "calls")
    if documents is None or calls is None:
        return set()
    borne: dict[str, set[str]] = defaultdict(set)
    for bearer, key in calls.select("document_id", "call_key").drop_nulls().unique().collect().iter_rows():
        borne[bearer].add(key)
    before: set[str] = set()
    for name, had in documents.select("document_id", pl.col("calls")).collect().iter_rows():
        own = borne.get(name, set())
        if name == document_id:
            return own | before if len(own) < (had or 0) else own
        before = own or before
    return borne.get(document_id, set())  # a group of [reduce], which is no document


def _without(run_dir: Path, document_id: str, *, dry_run: bool) -> list[str]:
    """Rewrite the files of a run without a document, each in one step, and the manifest last; their names."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    manifest = read_manifest(run_dir)
    changed = []
    for listed in manifest["files"]:
        path = run_dir / listed["path"]
        if path.suffix != ".parquet" or not path.is_file():
            continue
        whole = pq.read_table(path)
        same: Any = pc.equal(whole["document_id"], pa.scalar(document_id))
        theirs: Any = pc.fill_null(same, False)
        if not pc.any(theirs).as_py():
            continue
        names = {path.with_suffix(f".{form}").name: write for form, write in FORMATS.items()}
        beside = [each for each in manifest["files"] if each["path"] in names]
        changed += [str(run_dir / each["path"]) for each in (listed, *beside)]
        if dry_run:
            continue
        left = _blanked(whole, theirs) if path.name == "calls.parquet" else whole.filter(pc.invert(theirs))
        _replace(path, left, listed)
        for each in beside:
            _state(names[each["path"]](path), left.num_rows, each)
    if changed and not dry_run:
        (run_dir / "report.html").unlink(missing_ok=True)
        shutil.rmtree(run_dir / "reading", ignore_errors=True)
        manifest["purged"] = manifest.get("purged", 0) + 1
        with replacing(run_dir / "run.json") as new:
            new.write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        fsync_folder(run_dir)
    return changed


def _blanked(calls: Any, theirs: Any) -> Any:
    """The calls as they are, but of `theirs` only what they cost: nothing that says for what."""
    import pyarrow.compute as pc

    for name in ("document_id", "call_key", "error", "request_id"):
        at = calls.schema.get_field_index(name)
        calls = calls.set_column(at, calls.schema.field(at), pc.if_else(theirs, None, calls[name]))
    return calls


def _replace(path: Path, rows: Any, listed: dict[str, Any]) -> None:
    import pyarrow.parquet as pq

    with replacing(path) as beside:
        pq.write_table(rows, beside, compression="zstd")
    _state(path, rows.num_rows, listed)


def _state(path: Path, rows: int, listed: dict[str, Any]) -> None:
    """Bring a file's line of the manifest up to date."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    listed |= {"rows": rows, "bytes": path.stat().st_size, "sha256": digest}
