"""What people read on a terminal: a run's end, an estimate, the runs of a folder, the catalogue, a chunk plan."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from docreduce.models.catalogue import catalogue
from docreduce.report.remedies import remedy
from docreduce.report.sentences import accepted, against_estimate, held_back, reasons, since_last, sufficient_cap
from docreduce.settings import InputSettings, ModelSettings
from docreduce.values import Document
from docreduce.values.errors import DocumentError, JobError
from docreduce.values.money import money, pusd
from docreduce.values.unicode import printable
from rich.console import Console
from rich.padding import Padding
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
]


FIRST = 5
"""Documents that failed, as the end of a run names them: what one sees without scrolling."""


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


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _statuses(counts: Mapping[str, Any]) -> str:
    found = [f"{counts[name]:,} {name}" for name in ("ok", "partial", "failed", "skipped") if counts[name]]
    return ", ".join(found) or "none"


def _print_input(manifest: Mapping[str, Any], console: Console) -> None:
    if since := since_last(manifest):
        console.print(f"since the last complete run: {since}")
    if groups := manifest.get("groups"):
        told = Text(f"{_count(groups['groups'], 'group')} by ").append_text(plain(groups["by"]))
        console.print(told.append(f" ({_statuses(groups)})"))


def print_run(manifest: Mapping[str, Any], console: Console) -> None:
    """A run's end: what became of the documents, what failed and what to do, what it took and cost."""
    counts, usage = manifest["counts"], manifest["usage"]
    console.print(
        f"{manifest['job']}: {manifest['status']}, {_count(counts['documents'], 'document')} ({_statuses(counts)})"
    )
    _print_input(manifest, console)
    if manifest.get("halted"):
        console.print(Text("stopped: ").append_text(plain(manifest["halted"]["message"])))
        if manifest["halted"].get("unread"):
            console.print("not all of the input was read: each file left out is a row, and so is the rest of a table")
    if manifest.get("left_out"):
        console.print(f"left out: {_left_out(manifest['left_out'])}")
    _print_failures(manifest, console)
    console.print(
        f"{_count(counts['chunks'], 'chunk')}, {_count(counts['calls'], 'call')}"
        + (f" ({_count(counts['failed_attempts'], 'failed attempt')})" if counts["failed_attempts"] else "")
        + (f", {_count(counts['reused_calls'], 'answer')} reused" if counts["reused_calls"] else "")
    )
    console.print(f"{usage['input_tokens']:,} tokens in, {usage['output_tokens']:,} out")
    _print_cost(manifest, console)
    _print_records(manifest, console)
    if held := held_back(manifest):
        console.print(f"held back by: {held}")
    if manifest.get("not_promoted"):
        console.print(Text("`latest` is not moved: ").append_text(plain(manifest["not_promoted"])))
    for lost in manifest.get("dropped", ()):
        console.print(Text(f"no {lost['format']} was written, the Parquet stands: ").append_text(plain(lost["error"])))
    if manifest["model"]["extractive"]:
        console.print("extractive: sentences and values taken from the texts by the embedded provider, no model asked")
    for note in manifest.get("notes", ()):
        console.print(Text("note: ").append_text(plain(note)))
    if manifest.get("report"):
        console.print(plain(f"report: {manifest['report']}"))


def _print_records(manifest: Mapping[str, Any], console: Console) -> None:
    if lost := manifest["counts"]["evidence_not_found"]:
        console.print(f"{lost:,} values whose words were not found in the text (alignment none)")
    if accepting := manifest.get("quality", {}).get("accept"):
        console.print(accepted(accepting))


def _print_cost(manifest: Mapping[str, Any], console: Console) -> None:
    """What was paid, how that stands to the estimate, and what could make it so."""
    cost = manifest["cost"]
    paid = f"{dollars(cost['charged_usd'])} charged"
    if cost["unknown_usd"]:
        paid += f", up to {dollars(cost['unknown_usd'])} more unknown (calls whose billing nobody told)"
    if cost["cap_usd"] is not None:
        paid += f", cap {dollars(cost['cap_usd'])}"
    console.print(paid)
    if apart := against_estimate(manifest):
        console.print(f"the cost is {apart}")
        for reason in reasons(manifest):
            console.print(Padding(Text(reason), (0, 0, 0, 2), expand=False))


def _print_failures(manifest: Mapping[str, Any], console: Console) -> None:
    """The first documents that are not ok as file and reason, under what to do about their kind."""
    from docreduce.report.failures import by_reason, failures

    run_dir = manifest.get("run_dir")
    if run_dir is None or not manifest["counts"]["errors"]:
        for kind, number in manifest["counts"]["errors"].items():
            console.print(f"  {number:,} × {kind}: {remedy(kind)}")
        return
    found = failures(Path(run_dir), FIRST)
    for each in by_reason(found["kinds"]):
        told = f"{each['numbers']}, {each['reason']}: {each['remedy']}"
        console.print(Padding(Text(told), (0, 0, 0, 2), expand=False))
    if cap := sufficient_cap(manifest):
        console.print(f"  smallest cap that will very probably do: {cap}")
    said = (manifest.get("halted") or {}).get("message")
    for row in found["failures"]:
        # what stopped the run is said above, once
        told = row["document"] if row["error"] == said else f"{row['document']}: {row['error'] or row['error_kind']}"
        console.print(Padding(plain(told), (0, 0, 0, 4), expand=False))
    if found["total"] > len(found["failures"]):
        more = found["total"] - len(found["failures"])
        console.print(plain(f"    … and {more:,} more: docreduce failures {run_dir}"))


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
    _print_money(estimate, console)
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


def _print_money(estimate: Mapping[str, Any], console: Console) -> None:
    if estimate["counted_requests"]:
        console.print(f"{estimate['counted_requests']:,} requests were counted by the service itself")
    console.print(f"smallest cap that will very probably do: {dollars(estimate['smallest_cap_usd'])}")
    for other in estimate["other_prices"]:
        pricing = other["pricing"]
        console.print(f"by {pricing['source']}, {pricing['mode']}: {dollars(other['cost_usd'])} expected")


def _name(row: Mapping[str, Any]) -> str:
    return str(row["uri"]) if row["row"] is None else f"{row['uri']}#{row['row']}"


def print_runs(listed: Mapping[str, Sequence[Any]], console: Console) -> None:
    """A line a run of `listed["runs"]`, in the order given, and one for each of the "batches" that are out."""
    table = _table("", "run", "job", "started", "status", ">documents", ">cost")
    for run in listed["runs"]:
        documents = f"{run.counts.get('documents', 0):,}"
        table.add_row(run.run_id, run.job, run.started_at[:19], run.status, documents, dollars(run.charged_usd))
    console.print(table)
    for batch in listed.get("batches", ()):
        name = batch.service_id or "not yet confirmed"
        console.print(f"out: batch {name}, {batch.calls:,} calls to {batch.model} at {batch.endpoint}")


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
    path: str, *, max_tokens: int, overlap_tokens: int, tokenizer: str, engine: str, text_column: str | None
) -> dict[str, Any]:
    """The chunks of the first document at `path`, which may be all that `input.paths` may. Raises JobError,
    DocumentError."""
    from docreduce.readers import discover, read
    from docreduce.text.chunking import chunk
    from docreduce.text.tokens import tokenizer as open_tokenizer

    settings = InputSettings(paths=[path], text_column=text_column)
    (source, *_) = discover(settings).sources
    document = next(islice(read(source, settings), 1))
    if not isinstance(document, Document):
        error = document.error
        raise DocumentError(f"{document.uri}: {error.message}", kind=error.kind, hint=error.hint) from error
    counter = open_tokenizer(tokenizer, engine)
    started = time.perf_counter()
    chunks = chunk(document.text, counter, max_tokens, overlap_tokens=overlap_tokens, marks=document.marks)
    if not chunks:
        raise DocumentError(f"{document.uri}: there is no text in it", kind="empty")
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
