"""A document as it came out of a run, and the words its values rest on; its text is read again from where it came."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docreduce.report.folder import OURS, answered, place, plain_id, read_manifest, source_of, table
from docreduce.report.tree import sentences, tree
from docreduce.results.schema import DOCUMENTS, text_of
from docreduce.values.errors import DocreduceError, JobError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["index", "reading"]

_ACCEPTING = ("grounding", "accepted")
_NAMED = ("document_id", "uri", "row", "status", "error_kind", "error", "summary")
FIELDS = 40
"""Of a record, in which an index looks for values."""
INDEXED = 1000
"""Documents in an index, at most: a page that a browser opens at once."""


def index(run_dir: Path, limit: int = INDEXED) -> dict[str, Any]:
    """The first documents of a run, each with its summary or its first values (`gist`); `total` counts all. `groups`
    are those of [reduce], as many at most."""
    import polars as pl

    manifest, documents = read_manifest(run_dir), _documents(run_dir)
    # Of columns that were kept, Python and polars cannot hold all that Arrow can.
    rows = documents.select(*_NAMED, "media_type").head(limit).collect().to_dicts()
    records, gists = table(run_dir, "records"), {}
    if records is not None:
        fields = _fields(run_dir, records, manifest)
        firsts = records.filter(pl.col("document_id").is_in([row["document_id"] for row in rows]))
        chosen = firsts.unique("document_id", keep="first").select("document_id", *fields[:FIELDS])
        for record in chosen.collect().to_dicts():
            gists[record["document_id"]] = _gist(record, fields[:FIELDS])
    return {
        "run_id": manifest["run_id"],
        "job": manifest["job"],
        "documents": [
            {**row, "document": place(row), "gist": row["summary"] or gists.get(row["document_id"]) or row["error"]}
            for row in rows
        ],
        "total": documents.select(pl.len()).collect().item(),
        "groups": groups(run_dir, limit),
    }


def groups(run_dir: Path, limit: int) -> list[dict[str, Any]]:
    """The groups of a run's [reduce], `limit` of them at most: `group` (its name), `documents`, and as `gist` its
    summary or its values."""

    found = table(run_dir, "groups")
    if found is None:
        return []
    fields = _group_fields(found.collect_schema().names())
    rows = found.with_columns(_words("status")).head(limit).collect().to_dicts()
    return [{**row, "gist": row.get("summary") or _gist(row, fields) or row["error"]} for row in rows]


def reading(run_dir: Path, name: str) -> dict[str, Any]:
    """A document, or a group of [reduce]: its row, its text (`source`), its chunks, and its items' values with their
    evidence.

    `name` is its id, or its place, or a part of its place that only it has. Raises JobError otherwise."""
    import polars as pl

    manifest = read_manifest(run_dir)
    document = _find(run_dir, name)
    own = pl.col("document_id") == document["document_id"]
    is_group = document["documents"] is not None
    source = {"text": None, "fault": None} if is_group else _source(document, manifest.get("input") or {})
    chunks, evidence = (table(run_dir, each) for each in ("chunks", "evidence"))
    wanted = ["chunk", "char_start", "char_end", "page_start", "heading", "status", "error", "output"]
    cut = [] if chunks is None else chunks.filter(own).select(wanted).collect().to_dicts()
    return {
        "run_id": manifest["run_id"],
        "job": manifest["job"],
        "document": document,
        "source": source,
        "chunks": cut,
        "items": _of_group(run_dir, own)
        if is_group
        else _items(run_dir, own, [] if evidence is None else evidence.filter(own).collect().to_dicts()),
        "sentences": sentences(run_dir, own, source["text"], cut),
        "tree": tree(run_dir, own, cut),
    }


def _gist(record: Mapping[str, Any], fields: Sequence[str]) -> str:
    """The first values that there are."""
    found = [name for name in fields if record[name] not in (None, [])]
    return "; ".join(f"{name}: {text_of(record[name])}" for name in found[:4])


def _words(*names: str) -> pl.Expr:
    """Dictionary columns as text."""
    import polars as pl

    return pl.col(*names).cast(pl.String)


def _documents(run_dir: Path) -> pl.LazyFrame:

    documents = table(run_dir, "documents")
    if documents is None:
        raise JobError(f"{run_dir}: documents.parquet is not there", hint="`docreduce check` says what else is wrong.")
    kept = [each for each in documents.collect_schema().names() if each not in DOCUMENTS.names]
    return documents.select(*_NAMED, "media_type", *kept).with_columns(_words("status", "error_kind"))


def _find(run_dir: Path, name: str) -> dict[str, Any]:
    import polars as pl

    documents = _documents(run_dir).select(*_NAMED, "media_type").with_columns(documents=pl.lit(None, pl.Int64))
    made = table(run_dir, "groups")
    if made is not None:
        rows = made.with_columns(_words("status")).select(
            pl.selectors.by_name(*_NAMED, "group", "documents", require_all=False)
        )
        documents = pl.concat([documents, rows], how="diagonal_relaxed")
    numbered = pl.when(pl.col("row").is_null() | pl.col("uri").str.contains("#", literal=True)).then(pl.col("uri"))
    spot = numbered.otherwise(pl.format("{}#{}", pl.col("uri"), pl.col("row").fill_null(0)))
    for which in (pl.col("document_id") == name, spot == name, spot.str.contains(name, literal=True)):
        found = documents.filter(which).head(11).collect().to_dicts()
        if len(found) == 1:
            row = found[0]
            return {**row, "document": place(row) if row["documents"] is None else f"group {row.get('group')}"}
        if found:
            names = ", ".join(f"{row['document_id']} ({place(row)})" for row in found[:10])
            raise JobError(f"{name}: more than one document: {names}", hint="Name one by its id.")
    raise JobError(f"{name}: no document of this run", hint=f"`docreduce show {run_dir}` lists them.")


def _source(document: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Its text, read once more, if it still is what was worked on; else None, and why (`fault`)."""
    from docreduce.readers import read
    from docreduce.settings import InputSettings
    from docreduce.storage import is_address
    from docreduce.values import Document

    row, uri = document["row"], document["uri"]
    file = re.sub(rf"#{row}$", "", uri) if row is not None else uri
    path = source_of(file)
    if not is_address(path) and not Path(path).is_file():
        return {"text": None, "fault": f"the source is not there any more (looked for {Path(path).absolute()})"}
    found = None
    try:
        settings = InputSettings.model_validate({**stated, "paths": [path]})
        for each in read(path, settings, only=file):
            if (each.uri, each.row) == (uri, row):
                found = each
                if each.id in (document["document_id"], plain_id(document["document_id"])):
                    break  # of files in a file, two may have one name
    except (DocreduceError, ValueError) as error:
        return {"text": None, "fault": f"the source cannot be read again: {error}"}
    if not isinstance(found, Document):
        return {"text": None, "fault": None if document["status"] == "failed" else "the source cannot be read any more"}
    if found.id not in (document["document_id"], plain_id(document["document_id"])):
        return {"text": None, "fault": "the source, or how it is read, has changed since this run"}
    return {"text": found.text, "fault": None}


def _fields(run_dir: Path, records: pl.LazyFrame, manifest: Mapping[str, Any]) -> list[str]:
    """The columns of the records that were answered."""
    documents = table(run_dir, "documents")
    names = [] if documents is None else answered(records, documents)
    accepting = _ACCEPTING if "accept" in manifest.get("quality", {}) else ()
    return [name for name in names if name not in accepting]


def _items(run_dir: Path, own: pl.Expr, evidence: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    import polars as pl

    records, manifest = table(run_dir, "records"), read_manifest(run_dir)
    if records is None:
        return []
    fields = _fields(run_dir, records, manifest)
    accepting = manifest.get("quality", {}).get("accept")
    shown = pl.selectors.by_name("item", "status", *_ACCEPTING, *fields, require_all=False)
    by_item: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for number, row in enumerate(evidence):
        by_item[row["item"]].append({**row, "value": _unquoted(row["value"]), "number": number})
    return [
        {
            "item": record["item"],
            "status": record["status"],
            "values": _values(record, fields, by_item[record["item"]]),
            **({} if accepting is None else {"acceptance": _acceptance(record, accepting)}),
        }
        for record in records.filter(own).select(shown).collect().to_dicts()
    ]


def _acceptance(record: Mapping[str, Any], accepting: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a record is accepted, and how often one with its grounding is right at least."""
    seen = accepting["groundings"].get(record["grounding"] or "", {})
    return {
        **{name: record[name] for name in _ACCEPTING},
        "at_least": seen.get("at_least"),
        "of": accepting["at_least"],
    }


def _of_group(run_dir: Path, own: pl.Expr) -> list[dict[str, Any]]:
    """What a group has beside a summary, as an item."""
    found = table(run_dir, "groups")
    assert found is not None  # it was found there
    (record,) = found.filter(own).collect().to_dicts()
    fields = _group_fields(record)
    return [{"item": None, "status": record["status"], "values": _values(record, fields, ())}] if fields else []


def _group_fields(columns: Iterable[str]) -> list[str]:
    return [name for name in columns if name not in {*OURS, "group", "documents", "summary"}]


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
