"""What failed in a run, and what to do about it; what changed between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docreduce.report.folder import OURS, answered, place, pusd_of, read_manifest, table
from docreduce.report.remedies import remedy
from docreduce.values.money import usd

if TYPE_CHECKING:
    import polars as pl

__all__ = ["by_reason", "diff", "failures"]

_COLUMNS = ["document_id", "uri", "row", "status", "error_kind", "error"]
_ORDER = ["failed", "partial", "skipped"]


def failures(run_dir: Path, limit: int | None = None) -> dict[str, Any]:
    """The documents of a run that are not ok, the failed ones first, `limit` of them at most; `kinds` counts all."""
    import polars as pl

    manifest, documents = read_manifest(run_dir), table(run_dir, "documents")
    if documents is None:
        return {"run_id": manifest["run_id"], "failures": [], "total": 0, "kinds": []}
    words = documents.select(*_COLUMNS).with_columns(pl.col("status", "error_kind").cast(pl.String))
    bad = words.filter(pl.col("status") != "ok")
    ranked = bad.with_columns(pl.col("status").replace_strict(_ORDER, range(3), default=3).alias("rank"))
    counted = (
        bad.group_by("status", "error_kind").len("documents").sort("documents", "error_kind", descending=[True, False])
    )
    first = ranked.sort("rank", maintain_order=True).drop("rank")
    rows = (first if limit is None else first.head(limit)).collect().to_dicts()
    kinds = counted.collect().to_dicts()
    return {
        "run_id": manifest["run_id"],
        "failures": [{**row, "document": place(row), "remedy": remedy(row["error_kind"])} for row in rows],
        "total": sum(kind["documents"] for kind in kinds),
        "kinds": [{**kind, "remedy": remedy(kind["error_kind"])} for kind in kinds],
    }


def by_reason(kinds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`kinds` of `failures` for people, whatever the status: each `reason` with how many are what (`numbers`), the
    first `status`, and the `remedy`."""
    found: dict[str | None, list[Mapping[str, Any]]] = {}
    for kind in kinds:
        found.setdefault(kind["error_kind"], []).append(kind)
    return [
        {
            "reason": (reason or "no reason given").replace("_", " "),
            "numbers": " and ".join(f"{each['documents']:,} {each['status']}" for each in alike),
            "status": alike[0]["status"],
            "remedy": alike[0]["remedy"],
        }
        for reason, alike in found.items()
    ]


def diff(before: Path, after: Path) -> dict[str, Any]:
    """What changed from one run to another: documents that came, went or got another content, a status, a summary or a
    field that is another, and what it cost. A document is the same where its id is; where only its place is, it is
    `changed`."""
    manifests = [read_manifest(before), read_manifest(after)]
    old, new = (_documents(run_dir) for run_dir in (before, after))
    both = old.join(new, on="document_id", suffix="_after")
    gone = old.join(new, on="document_id", how="anti")
    came = new.join(old, on="document_id", how="anti")
    edited = came.join(gone, on=["uri", "row"], suffix="_before", nulls_equal=True)
    came, gone = (each.join(edited, on=["uri", "row"], how="anti", nulls_equal=True) for each in (came, gone))
    changes = _changes(both, ["status", "error_kind", "summary"], ["document_id", "uri", "row"])
    records, records_after = (_records(run_dir) for run_dir in (before, after))
    if records is not None and records_after is not None:
        changes += _record_changes(records, records_after)
    return {
        "before": manifests[0]["run_id"],
        "after": manifests[1]["run_id"],
        "same_job": manifests[0]["job_sha256"] == manifests[1]["job_sha256"],
        "documents": [old.height, new.height],
        "status": [manifest["status"] for manifest in manifests],
        "charged_usd": [float(usd(sum(map(pusd_of, each["cost_usd"])))) for each in (old, new)],
        "new": [place(row) for row in came.to_dicts()],
        "gone": [place(row) for row in gone.to_dicts()],
        "changed": [place(row) for row in edited.to_dicts()],
        "changes": [{**change, "document": place(change)} for change in changes],
    }


def _documents(run_dir: Path) -> pl.DataFrame:
    import polars as pl

    documents = table(run_dir, "documents")
    if documents is None:
        return pl.DataFrame(schema=dict.fromkeys([*_COLUMNS, "summary", "cost_usd"], pl.String))
    wanted = documents.select(*_COLUMNS, "summary", "cost_usd")
    return wanted.with_columns(pl.col("status", "error_kind").cast(pl.String)).collect()


def _records(run_dir: Path) -> pl.DataFrame | None:
    """What was answered. What was carried from the input is no answer, and may be more than polars can hold."""
    records, documents = table(run_dir, "records"), table(run_dir, "documents")
    if records is None or documents is None:
        return None
    return records.select("document_id", "uri", "item", *answered(records, documents)).collect()


def _record_changes(old: pl.DataFrame, new: pl.DataFrame) -> list[dict[str, Any]]:
    import polars as pl

    fields = [name for name in old.columns if name in new.columns and name not in OURS]
    # As text: a type may be another after the schema changed, and lists have no order to compare by.
    old, new = (
        each.select("document_id", "uri", "item", *(_text(each, name) for name in fields)) for each in (old, new)
    )
    both = old.join(new, on=["document_id", "item"], suffix="_after", nulls_equal=True)
    changes = _changes(both.with_columns(pl.lit(None).alias("row")), fields, ["document_id", "uri", "row", "item"])
    for one, other, words in ((old, new, "an item that is gone"), (new, old, "a new item")):
        only = one.join(other, on=["document_id", "item"], how="anti", nulls_equal=True)
        known = only.join(other.select("document_id").unique(), on="document_id", how="semi")
        changes += [
            {"document_id": row["document_id"], "uri": row["uri"], "row": None, "item": row["item"], "what": words}
            for row in known.to_dicts()
        ]
    return changes


def _text(frame: pl.DataFrame, name: str) -> pl.Series:
    import polars as pl

    column = frame[name]
    if column.dtype in (pl.Struct, pl.List, pl.Binary) or column.dtype.is_nested():
        return pl.Series(name, [None if value is None else str(value) for value in column.to_list()], pl.String)
    return column.cast(pl.String)


def _changes(both: pl.DataFrame, columns: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
    """A change for each of `columns` whose value is another in the column `…_after` beside it."""
    import polars as pl

    if not columns:
        return []
    apart = [~pl.col(name).eq_missing(pl.col(f"{name}_after")) for name in columns]
    rows = both.filter(reduce(lambda one, other: one | other, apart)).to_dicts()
    return [
        {**{key: row[key] for key in names}, "what": name, "before": row[name], "after": row[f"{name}_after"]}
        for row in rows
        for name in columns
        if row[name] != row[f"{name}_after"]
    ]
