"""What people read on a terminal: a run's end, an estimate, the runs of a folder, the catalogue, a chunk plan."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from docreduce.models.catalogue import catalogue
from docreduce.results import RunInfo
from docreduce.settings import InputSettings, ModelSettings
from docreduce.values import Document
from docreduce.values.errors import DocumentError, JobError
from docreduce.values.money import money, pusd
from docreduce.values.unicode import printable
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = [
    "chunk_plan",
    "model_rows",
    "print_chunks",
    "print_estimate",
    "print_models",
    "print_run",
    "print_runs",
    "read_manifest",
]


def plain(text: object) -> Text:
    """Text from a document or a service, safe to show."""
    return Text(printable(text))


def dollars(amount: float) -> str:
    return money(pusd(amount))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name.strip(">"), justify="right" if name.startswith(">") else "left")
    return table


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """The manifest of a committed run. Raises JobError where there is none."""
    try:
        manifest: dict[str, Any] = orjson.loads((run_dir / "run.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise JobError(f"{run_dir}: no run: {error}", hint="`docreduce runs OUTPUT_DIR` lists them.") from error
    return manifest


def print_run(manifest: Mapping[str, Any], console: Console) -> None:
    """A run's end: what became of the documents, what it took and cost, where the results are."""
    counts, usage, cost = manifest["counts"], manifest["usage"], manifest["cost"]
    statuses = ", ".join(f"{counts[name]:,} {name}" for name in ("ok", "partial", "failed", "skipped") if counts[name])
    console.print(f"{manifest['job']}: {manifest['status']}, {counts['documents']:,} documents ({statuses or 'none'})")
    if manifest.get("halted"):
        console.print(Text("stopped: ").append_text(plain(manifest["halted"]["message"])))
        if manifest["halted"].get("unread"):
            console.print("not all of the input was read: each file left out is a row, and so is the rest of a table")
    if manifest.get("left_out"):
        console.print(f"left out: {_left_out(manifest['left_out'])}")
    for kind, number in counts["errors"].items():
        console.print(f"  {number:,} × {kind}")
    console.print(
        f"{counts['chunks']:,} chunks, {counts['calls']:,} calls"
        + (f" ({counts['failed_attempts']:,} failed attempts)" if counts["failed_attempts"] else "")
        + (f", {counts['reused_calls']:,} answers reused" if counts["reused_calls"] else "")
    )
    console.print(f"{usage['input_tokens']:,} tokens in, {usage['output_tokens']:,} out")
    paid = f"{dollars(cost['charged_usd'])} charged"
    if cost["unknown_usd"]:
        paid += f", up to {dollars(cost['unknown_usd'])} more unknown (calls whose billing nobody told)"
    if cost["cap_usd"] is not None:
        paid += f", cap {dollars(cost['cap_usd'])}"
    console.print(paid)
    if manifest.get("estimate") and (apart := manifest["difference"]["cost_usd"]) is not None:
        expected, low, high = (manifest["estimate"]["cost_usd"][name] for name in ("expected", "low", "high"))
        range_ = f"{dollars(low)} to {dollars(high)}"
        console.print(f"estimated {dollars(expected)} ({range_}): the actual cost is {apart:+.1%} of that")
    if counts["evidence_not_found"]:
        console.print(
            f"{counts['evidence_not_found']:,} values whose words were not found in the text (alignment none)"
        )
    if manifest["model"]["extractive"]:
        console.print("extractive: sentences and values taken from the texts by the embedded provider, no model asked")


def _left_out(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in counts.items())


def print_estimate(estimate: Mapping[str, Any], console: Console) -> None:
    """Documents, chunks, and low, expected, high and ceiling of calls, tokens, money and time."""
    table = _table(
        f"{estimate['documents']:,} documents, {estimate['chunks']:,} chunks",
        "",
        ">low",
        ">expected",
        ">high",
        ">ceiling",
    )
    for name, key in (("calls", "calls"), ("tokens in", "input_tokens"), ("tokens out", "output_tokens")):
        table.add_row(name, *(f"{number:,}" for number in estimate[key].values()))
    table.add_row("cost", *(dollars(amount) for amount in estimate["cost_usd"].values()))
    table.add_row("duration", *(f"{seconds:,.0f} s" for seconds in estimate["duration_s"].values()))
    console.print(table)
    basis = estimate["basis"]
    seen = f" from {basis['answers_seen']:,} answers" if basis["answers_seen"] else ""
    console.print(f"tokenizer: {basis['tokenizer']}; length of answers: {basis['output']}{seen}")
    console.print(f"price: {estimate['pricing']['source']}, {estimate['pricing']['mode']}")
    if estimate["reused_calls"]:
        console.print(f"{estimate['reused_calls']:,} calls are answered already and cost nothing")
    if estimate.get("left_out"):
        console.print(f"left out: {_left_out(estimate['left_out'])}")
    if estimate["unreadable"]:
        console.print(f"{estimate['unreadable']:,} documents cannot be read; the run will say why")
    if rows := estimate.get("by_document"):
        dearest = _table("\nthe dearest documents", ">cost", ">calls", ">chunks", "document")
        for row in rows:
            dearest.add_row(dollars(row["cost_usd"]), f"{row['calls']:,}", f"{row['chunks']:,}", plain(_name(row)))
        console.print(dearest)
    if others := estimate.get("compare"):
        models = _table("\nother models", "model", ">calls", ">low", ">expected", ">high", ">ceiling", "")
        for name, other in others.items():
            if "error" in other:
                models.add_row(plain(name), *("–",) * 5, plain(other["error"].splitlines()[0]))
            else:
                costs = (dollars(amount) for amount in other["cost_usd"].values())
                models.add_row(plain(name), f"{other['calls']['expected']:,}", *costs, other["basis"]["tokenizer"])
        console.print(models)


def _name(row: Mapping[str, Any]) -> str:
    return str(row["uri"]) if row["row"] is None else f"{row['uri']}#{row['row']}"


def print_runs(listed: Mapping[str, Sequence[RunInfo]], console: Console) -> None:
    """A line a run of `listed["runs"]`, in the order given."""
    table = _table("", "run", "job", "started", "status", ">documents", ">cost")
    for run in listed["runs"]:
        documents = f"{run.counts.get('documents', 0):,}"
        table.add_row(run.run_id, run.job, run.started_at[:19], run.status, documents, dollars(run.charged_usd))
    console.print(table)


def model_rows(*, live: bool, provider: str, base_url: str | None, extra: Path | None) -> list[dict[str, Any]]:
    """The catalogue's models, or with `live` the ids the provider lists itself with what the catalogue knows of them.

    Raises JobError for an unknown provider, RefusedError where the provider does not answer."""
    known = {name: info for name, info in catalogue(extra).items() if info.provider == provider}
    names: Iterable[str] = known
    if live:
        from docreduce.engine.session import listed_models
        from pydantic import ValidationError

        try:
            settings = ModelSettings.model_validate({"provider": provider, "base_url": base_url})
        except ValidationError as error:
            raise JobError(f"--provider {provider}: not a provider") from error
        names = asyncio.run(listed_models(settings))
    stated = ("maker", "context_window", "safe_window", "max_output_tokens", "tokenizer")
    rows: list[dict[str, Any]] = []
    for name in names:
        info = known.get(name)
        prices = [price.as_dict() for price in (info.pricing, *info.other_pricing) if price] if info else []
        row = {"id": name, **{key: getattr(info, key, None) for key in stated}}
        rows.append({**row, "prices": prices, "notes": info.notes if info else ""})
    return rows


def print_models(listed: Mapping[str, Sequence[Mapping[str, Any]]], console: Console) -> None:
    """A line a model of `listed["models"]`; – where nobody states it."""
    table = _table("", "id", "maker", ">window", ">safe", ">output", ">$/M in", ">$/M out", "notes")
    for row in listed["models"]:
        price: Mapping[str, float] = next((price for price in row["prices"] if price["mode"] == "per_token"), {})
        numbers = [row[key] for key in ("context_window", "safe_window", "max_output_tokens")]
        table.add_row(
            plain(row["id"]),
            row["maker"] or "–",
            *(f"{number:,}" if number else "–" for number in numbers),
            *(f"{price[key]:g}" if price else "–" for key in ("input_usd_per_million", "output_usd_per_million")),
            row["notes"],
        )
    console.print(table)


def chunk_plan(
    file: Path, *, max_tokens: int, overlap_tokens: int, tokenizer: str, engine: str, text_column: str | None
) -> dict[str, Any]:
    """The chunks of a file's first document. Raises JobError, DocumentError."""
    from docreduce.readers import discover, read
    from docreduce.text.chunking import chunk
    from docreduce.text.tokens import tokenizer as open_tokenizer

    settings = InputSettings(paths=[str(file)], text_column=text_column)
    (source, *_) = discover(settings).sources
    document = next(islice(read(source, settings), 1))
    if not isinstance(document, Document):
        raise document.error
    counter = open_tokenizer(tokenizer, engine)
    started = time.perf_counter()
    chunks = chunk(document.text, counter, max_tokens, overlap_tokens=overlap_tokens, marks=document.marks)
    if not chunks:
        raise DocumentError(f"{file}: there is no text in it", kind="empty")
    return {
        "uri": document.uri,
        "media_type": document.media_type,
        "chars": len(document.text),
        "tokenizer": counter.name,
        "engine": counter.engine,
        "seconds": round(time.perf_counter() - started, 3),
        "chunks": [
            {
                "chunk": each.index,
                "char_start": each.span.start,
                "char_end": each.span.end,
                "tokens": each.tokens,
                "page_start": each.page_start,
                "page_end": each.page_end,
                "heading": each.heading,
            }
            for each in chunks
        ],
    }


def print_chunks(plan: Mapping[str, Any], console: Console) -> None:
    """A line a chunk."""
    table = _table("", ">chunk", ">start", ">end", ">tokens", ">pages", "heading")
    for row in plan["chunks"]:
        pages = f"{row['page_start']}–{row['page_end']}" if row["page_start"] else ""
        table.add_row(
            str(row["chunk"]),
            f"{row['char_start']:,}",
            f"{row['char_end']:,}",
            f"{row['tokens']:,}",
            pages,
            plain(row["heading"] or ""),
        )
    console.print(table)
    total = sum(row["tokens"] for row in plan["chunks"])
    console.print(
        f"{len(plan['chunks']):,} chunks, {total:,} tokens, {plan['chars']:,} characters, {plan['tokenizer']}"
    )
