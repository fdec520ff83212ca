"""Whether an output folder is as it was written: ledgers, runs, hashes, rows, sums. Looks, and repairs nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from docreduce.desk import RunBook, ledger_faults, ledgers_of, run_books
from docreduce.report.folder import pusd_of, read_manifest, table
from docreduce.values.errors import DocreduceError, JobError
from docreduce.values.money import usd

__all__ = ["Finding", "check"]

BESIDE = frozenset({"run.json", "report.html", "reading"})
"""What lies in a run's folder and is no file of its manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that was found at `place`. `wrong`: not as it was written; else only to be known."""

    wrong: bool
    place: str
    message: str
    remedy: str = ""


def check(output: Path) -> dict[str, Any]:
    """What is wrong in an output folder (`wrong` counts it), and what else there is to know. Raises JobError for a
    folder that holds neither ledger nor run."""
    ledgers, runs = ledgers_of(output), _runs(output)
    if not ledgers and not runs:
        raise JobError(f"{output}: no ledger and no run", hint="Name the folder that [output] path names.")
    found: list[Finding] = []
    books: dict[str, RunBook] = {}
    for path in ledgers:
        faults = list(ledger_faults(path))
        found += [Finding(place=str(path), **asdict(fault)) for fault in faults]
        try:
            books |= {book.run_id: book for book in run_books(path)}
        except DocreduceError as error:
            if not faults:
                found.append(Finding(wrong=True, place=str(path), message=error.message, remedy=error.hint))
    for run_dir in runs:
        found += _run_findings(run_dir, books.get(run_dir.name), ledgers=bool(ledgers))
    found += _leftovers(output, books, runs)
    return {
        "output": str(output),
        "ledgers": len(ledgers),
        "runs": len(runs),
        "wrong": sum(each.wrong for each in found),
        "findings": [asdict(each) for each in sorted(found, key=lambda each: not each.wrong)],
    }


def _runs(output: Path) -> list[Path]:
    """Folders of runs, also of those whose manifest is gone; of shards too."""
    folders = {path.parent for name in ("run.json", "documents.parquet") for path in output.rglob(name)}
    return sorted(
        folder
        for folder in folders
        if not any(part.startswith(".") or part == "latest" for part in folder.relative_to(output).parts)
    )


def _run_findings(run_dir: Path, book: RunBook | None, *, ledgers: bool) -> Iterator[Finding]:
    try:
        manifest = read_manifest(run_dir)
        files: list[Mapping[str, Any]] = list(manifest["files"])
        counts, cost = manifest["counts"], manifest["cost"]
    except (JobError, KeyError, TypeError) as error:
        yield Finding(wrong=True, place=str(run_dir / "run.json"), message=f"no manifest that can be read: {error}")
        return
    sound = True
    for listed in files:
        for message in _file_faults(run_dir / str(listed["path"]), listed):
            sound = False
            yield Finding(wrong=True, place=str(run_dir / str(listed["path"])), message=message, remedy=_RESTORE)
    names = {str(listed["path"]) for listed in files} | BESIDE
    for path in sorted(run_dir.iterdir()):
        if path.name not in names:
            yield Finding(wrong=False, place=str(path), message="no file of this run")
    if not sound:
        return
    for message in _sum_faults(run_dir, counts, cost, book, purged=bool(manifest.get("purged"))):
        yield Finding(wrong=True, place=str(run_dir), message=message)
    if book is None and ledgers and counts["attempts"]:
        yield Finding(wrong=False, place=str(run_dir), message="no ledger knows this run (set aside, or removed)")


_RESTORE = "Restore it from a copy, or run the job again: answers in the ledger cost nothing."


def _file_faults(path: Path, listed: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a file against its line in the manifest."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        yield f"cannot be read: {error.strerror}"
        return
    if size != listed["bytes"]:
        yield f"{size:,} bytes, and {listed['bytes']:,} were written"
    elif digest != listed["sha256"]:
        yield "its content is not what was written (SHA-256)"
    elif path.suffix == ".parquet":
        import polars as pl

        try:
            rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
        except (pl.exceptions.PolarsError, OSError) as error:
            yield f"no Parquet that can be read: {error}"
            return
        if rows != listed["rows"]:
            yield f"{rows:,} rows, and the manifest says {listed['rows']:,}"


def _sum_faults(
    run_dir: Path, counts: Mapping[str, Any], cost: Mapping[str, Any], book: RunBook | None, *, purged: bool
) -> Iterator[str]:
    """Where the sums of a run disagree: its calls, its documents, its manifest, the ledger."""
    import polars as pl

    documents, calls, groups = (table(run_dir, name) for name in ("documents", "calls", "groups"))
    if documents is None or calls is None:
        yield "documents.parquet and calls.parquet belong to every run"
        return
    billed = {
        row["billing"]: row
        for row in calls.group_by(pl.col("billing").cast(pl.String))
        .agg(pl.col("cost_usd").sum(), pl.len())
        .collect()
        .to_dicts()
    }
    for billing, column in (("charged", "cost_usd"), ("unknown", "unknown_cost_usd")):
        sums = {"calls.parquet": pusd_of(billed.get(billing, {}).get("cost_usd"))}
        if not purged:
            sums["documents.parquet"] = pusd_of(documents.select(pl.col(column).sum()).collect().item())
        if not purged and groups is not None:  # their calls are no document's
            theirs = calls.filter(pl.col("billing").cast(pl.String) == billing)
            theirs = theirs.join(groups.select("document_id"), on="document_id", how="semi")
            borne = pusd_of(theirs.select(pl.col("cost_usd").sum()).collect().item())
            sums["documents.parquet"] += borne
            stands = pusd_of(groups.select(pl.col("cost_usd").sum()).collect().item())
            if billing == "charged" and stands != borne:
                yield f"charged: groups.parquet says {usd(stands):f} USD, its calls {usd(borne):f}"
        if book is not None:
            sums["the ledger"] = book.charged_pusd if billing == "charged" else book.unknown_pusd
        stated = cost[f"{billing}_usd"]
        if len(set(sums.values())) > 1 or float(usd(sums["calls.parquet"])) != stated:
            told = ", ".join(f"{name} {usd(amount):f}" for name, amount in sums.items())
            yield f"{billing}: run.json says {stated!r} USD, {told}"
    attempts = sum(row["len"] for billing, row in billed.items() if billing != "reused")
    known = {counts["attempts"], attempts, *([book.attempts] if book else [])}
    if len(known) > 1:
        yield f"attempts: run.json says {counts['attempts']:,}, calls.parquet {attempts:,}" + (
            f", the ledger {book.attempts:,}" if book else ""
        )
    rows = documents.select(pl.len()).collect().item()
    if rows != counts["documents"] and not purged:
        yield f"documents: run.json says {counts['documents']:,}, documents.parquet has {rows:,}"


def _leftovers(output: Path, books: Mapping[str, RunBook], runs: Sequence[Path]) -> Iterator[Finding]:
    for partial in sorted(output.rglob(".*.partial")):
        if partial.is_file():
            message = "a file that a failing disk left half written, beside what is whole"
            yield Finding(wrong=False, place=str(partial), message=message, remedy="It can be removed.")
            continue
        run_id = partial.name[1 : -len(".partial")]
        at_work = run_id in books and books[run_id].status == "running"
        message = "a run that is at work, or died" if at_work else "the half-written folder of a run that died"
        yield Finding(wrong=not at_work, place=str(partial), message=message, remedy="The job's next run removes it.")
    for latest in sorted({run_dir.parent / "latest" for run_dir in runs}):
        if latest.is_symlink() and not (latest / "run.json").is_file():
            yield Finding(
                wrong=True, place=str(latest), message="leads to no run", remedy="The job's next run mends it."
            )
    committed = {run_dir.name for run_dir in runs}
    for book in books.values():
        if book.run_id not in committed and book.status not in ("running", "sample", "failed"):
            message = f"run {book.run_id} ({book.status}) has no results here; ${usd(book.charged_pusd):f} was charged"
            yield Finding(wrong=False, place=book.job, message=message)
