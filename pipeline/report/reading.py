"""A document as it came out of a run, and the words its values rest on; its text is read again from where it came."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docreduce.report.folder import place, read_manifest, table
from docreduce.results.schema import DOCUMENTS, text_of
from docreduce.values.errors import DocreduceError, JobError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["index", "reading"]

_OURS = frozenset({"document_id", "uri", "item", "status", "error", "cost_usd"})
_ACCEPTING = frozenset({"grounding", "accepted"})
_NAMED = ("document_id", "uri", "row", "status", "error_kind", "error", "summary")
INDEXED = 1000
"""Documents in an index, at most: a page that a browser opens at once."""


def index(run_dir: Path, limit: int = INDEXED) -> dict[str, Any]:
    """The first documents of a run, each with its summary or its first values (`gist`); `total` counts all."""
    import polars as pl

    manifest, documents = read_manifest(run_dir), _documents(run_dir)
    rows = documents.head(limit).collect().to_dicts()
    records, gists = table(run_dir, "records"), {}
    if records is not None:
        fields = _fields(records, documents, manifest)
        firsts = records.filter(pl.col("document_id").is_in([row["document_id"] for row in rows]))
        for record in firsts.unique("document_id", keep="first").collect().to_dicts():
            values = (f"{name}: {text_of(record[name])}" for name in fields[:4] if record[name] is not None)
            gists[record["document_id"]] = "; ".join(values)
    return {
        "run_id": manifest["run_id"],
        "job": manifest["job"],
        "documents": [
            {**row, "document": place(row), "gist": row["summary"] or gists.get(row["document_id"]) or row["error"]}
            for row in rows
        ],
        "total": documents.select(pl.len()).collect().item(),
    }


def reading(run_dir: Path, name: str) -> dict[str, Any]:
    """A document: its row, its text (`source`), its chunks, and its items' values with their evidence.

    `name` is its id, or its place, or a part of its place that only it has. Raises JobError otherwise."""
    import polars as pl

    manifest = read_manifest(run_dir)
    document = _find(run_dir, name)
    own = pl.col("document_id") == document["document_id"]
    chunks, evidence, support = (table(run_dir, each) for each in ("chunks", "evidence", "support"))
    wanted = ["chunk", "char_start", "char_end", "page_start", "heading", "status", "error", "output"]
    return {
        "run_id": manifest["run_id"],
        "job": manifest["job"],
        "document": document,
        "source": _source(document, manifest.get("input") or {}),
        "chunks": [] if chunks is None else chunks.filter(own).select(wanted).collect().to_dicts(),
        "items": _items(run_dir, own, [] if evidence is None else evidence.filter(own).collect().to_dicts()),
        "sentences": [] if support is None else _sentences(support.filter(own).collect().to_dicts()),
    }


def _documents(run_dir: Path) -> pl.LazyFrame:
    import polars as pl

    documents = table(run_dir, "documents")
    if documents is None:
        raise JobError(f"{run_dir}: documents.parquet is not there", hint="`docreduce check` says what else is wrong.")
    kept = [each for each in documents.collect_schema().names() if each not in DOCUMENTS.names]
    return documents.select(*_NAMED, "media_type", *kept).with_columns(pl.col("status", "error_kind").cast(pl.String))


def _find(run_dir: Path, name: str) -> dict[str, Any]:
    import polars as pl

    documents = _documents(run_dir).select(*_NAMED)
    numbered = pl.when(pl.col("row").is_null() | pl.col("uri").str.contains("#", literal=True)).then(pl.col("uri"))
    spot = numbered.otherwise(pl.format("{}#{}", pl.col("uri"), pl.col("row").fill_null(0)))
    for which in (pl.col("document_id") == name, spot == name, spot.str.contains(name, literal=True)):
        found = documents.filter(which).head(11).collect().to_dicts()
        if len(found) == 1:
            return {**found[0], "document": place(found[0])}
        if found:
            names = ", ".join(f"{row['document_id']} ({place(row)})" for row in found[:10])
            raise JobError(f"{name}: more than one document: {names}", hint="Name one by its id.")
    raise JobError(f"{name}: no document of this run", hint=f"`docreduce show {run_dir}` lists them.")


def _source(document: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Its text, read once more, if it still is what was worked on; else None, and why (`fault`)."""
    from docreduce.readers import read
    from docreduce.settings import InputSettings
    from docreduce.values import Document

    row = document["row"]
    path = re.sub(rf"#{row}$", "", document["uri"]) if row is not None else document["uri"]
    if not Path(path).is_file():
        return {"text": None, "fault": f"the source is not there any more (looked for {Path(path).absolute()})"}
    try:
        settings = InputSettings.model_validate({**stated, "paths": [path]})
        found = next(islice(read(path, settings), row or 0, None), None)
    except (DocreduceError, ValueError) as error:
        return {"text": None, "fault": f"the source cannot be read again: {error}"}
    if not isinstance(found, Document):
        return {"text": None, "fault": None if document["status"] == "failed" else "the source cannot be read any more"}
    if found.id != re.sub(r"(~\d+)+$", "", document["document_id"]) and found.id != document["document_id"]:
        return {"text": None, "fault": "the source, or how it is read, has changed since this run"}
    return {"text": found.text, "fault": None}


def _fields(records: pl.LazyFrame, documents: pl.LazyFrame, manifest: Mapping[str, Any]) -> list[str]:
    """The columns of the records that are neither ours nor carried from the input."""
    carried = set(documents.collect_schema().names()) - set(_NAMED)
    ours = _OURS | _ACCEPTING if "accept" in manifest.get("quality", {}) else _OURS
    return [name for name in records.collect_schema().names() if name not in ours | carried]


def _items(run_dir: Path, own: pl.Expr, evidence: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    records = table(run_dir, "records")
    if records is None:
        return []
    fields = _fields(records, _documents(run_dir), read_manifest(run_dir))
    by_item: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for number, row in enumerate(evidence):
        by_item[row["item"]].append({**row, "value": _unquoted(row["value"]), "number": number})
    return [
        {"item": record["item"], "status": record["status"], "values": _values(record, fields, by_item[record["item"]])}
        for record in records.filter(own).collect().to_dicts()
    ]


def _unquoted(value: str | None) -> str | None:
    """Evidence holds its values as JSON; a string stands for itself."""
    try:
        parsed = json.loads(value) if value else None
    except ValueError:
        return value
    return None if parsed is None else parsed if isinstance(parsed, str) else value


def _values(
    record: Mapping[str, Any], fields: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each field with its value and its evidence, the chosen first; then what evidence there is of its parts."""
    by_path: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: not row["chosen"]):
        by_path[row["field"]].append(row)
    values: list[dict[str, Any]] = []
    for name in fields:
        value = record[name]
        shown = None if value is None else text_of(value)
        values.append(
            {"field": name, "value": shown, "evidence": by_path.pop(name.removeprefix("field_"), by_path.pop(name, []))}
        )
        for path in [each for each in by_path if each.startswith((f"{name}.", f"{name}["))]:
            parts = by_path.pop(path)
            values.append({"field": path, "value": parts[0]["value"], "evidence": parts})
    return values + [{"field": path, "value": None, "evidence": parts} for path, parts in by_path.items()]


def _sentences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A summary's sentences, each with the passages it rests on, as evidence."""
    found: dict[int, dict[str, Any]] = {}
    for number, row in enumerate(rows):
        sentence = found.setdefault(row["sentence"], {"field": row["sentence"], "value": row["text"], "evidence": []})
        sentence["evidence"].append(
            {"number": number, "chosen": True, "value": None, "quote": "", "page": None, "alignment": row["status"]}
            | {key: row[key] for key in ("char_start", "char_end")}
        )
    return list(found.values())
