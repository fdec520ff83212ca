"""What a run's report says: aggregates over its tables, computed by polars without reading them whole.

However many calls there were, what comes back is small: sums, quantiles, at most 60 points a chart, and of documents
the dearest, the slowest and the failed hundred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docreduce.report.failures import failures
from docreduce.report.folder import place, table
from docreduce.report.reading import groups
from docreduce.report.sentences import against_estimate, held_back, reasons, since_last, verdict
from docreduce.report.terminal import dollars
from docreduce.values.errors import JobError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["facts"]

HUNDRED = 100
POINTS = 40
"""Points of a curve over time, at most: beyond, single requests look like changes of pace."""
BARS = 9
"""Bars of a histogram, at most: as many as have room for their names."""
FEW = 5
"""Fewer than these are no distribution."""
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


def facts(run_dir: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """All that the report's template names. Raises JobError where a table that belongs to every run is missing."""
    documents, calls = table(run_dir, "documents"), table(run_dir, "calls")
    if documents is None or calls is None:
        raise JobError(f"{run_dir}: documents.parquet or calls.parquet is missing", hint="`docreduce check` says more.")
    made = calls.filter(_word("billing") != "reused")
    answered = made.filter(_word("outcome") == "ok")
    stages = _stages(calls)
    tokens = documents.select("input_tokens", "output_tokens", "source_tokens").sum().collect().to_dicts()[0]
    return {
        "manifest": manifest,
        "verdict": verdict(manifest),
        "against_estimate": against_estimate(manifest),
        "reasons": list(reasons(manifest)),
        "money": _money(documents),
        "tokens": tokens,
        "stages": stages,
        "models": _models(calls),
        "latencies": _latencies(answered),
        "causes": _causes(made),
        "failures": failures(run_dir, HUNDRED),
        "groups": groups(run_dir, HUNDRED),
        "quality": manifest.get("quality"),
        "dearest": _first(documents, "cost_usd"),
        "slowest": _slowest(documents, made),
        "pace": _pace(made, manifest),
        "held_back": held_back(manifest),
        "since_last": since_last(manifest),
        "charts": _charts(made, answered, documents, stages, manifest),
    }


def _word(name: str) -> pl.Expr:
    import polars as pl

    return pl.col(name).cast(pl.String)


def _dollars(name: str = "cost_usd") -> pl.Expr:
    import polars as pl

    return pl.col(name).cast(pl.Float64)


def _money(documents: pl.LazyFrame) -> dict[str, Any]:
    """Dollars a document: of those that cost something."""
    import polars as pl

    paid = documents.filter(pl.col("cost_usd") > 0).select(
        pl.len().alias("documents"),
        _dollars().mean().alias("mean"),
        _dollars().median().alias("median"),
        _dollars().max().alias("dearest"),
    )
    return paid.collect().to_dicts()[0]


def _stages(calls: pl.LazyFrame) -> list[dict[str, Any]]:
    import polars as pl

    billing = _word("billing")
    sums = [
        (billing != "reused").sum().alias("attempts"),
        (billing == "reused").sum().alias("reused"),
        pl.col("input_tokens", "output_tokens", "cached_input_tokens").filter(billing == "charged").sum(),
        _dollars().filter(billing == "charged").sum().alias("charged"),
        _dollars().filter(billing == "unknown").sum().alias("unknown"),
    ]
    return (
        calls.group_by(_word("stage")).agg(sums).sort("charged", "stage", descending=[True, False]).collect().to_dicts()
    )


def _models(calls: pl.LazyFrame) -> list[dict[str, Any]]:
    import polars as pl

    billed = calls.filter(_word("billing") != "reused")
    sums = [pl.len().alias("attempts"), _dollars().filter(_word("billing") == "charged").sum().alias("charged")]
    return (
        billed.group_by(_word("model"), _word("endpoint"))
        .agg(sums)
        .sort("attempts", descending=True)
        .collect()
        .to_dicts()
    )


def _latencies(answered: pl.LazyFrame) -> list[dict[str, Any]]:
    import polars as pl

    marks = {"median": 0.5, "p90": 0.9, "p99": 0.99}
    latency = pl.col("latency_s")
    quantiles = [latency.quantile(share).alias(name) for name, share in marks.items()]
    grouped = answered.group_by(_word("stage")).agg(
        pl.len().alias("answers"), *quantiles, latency.max().alias("slowest")
    )
    return grouped.sort("answers", descending=True).collect().to_dicts()


def _causes(made: pl.LazyFrame) -> list[dict[str, Any]]:
    """Failed attempts by cause, with the commonest words of each."""
    import polars as pl

    failed = made.filter(_word("outcome") != "ok").group_by(_word("outcome"), pl.col("http_status"))
    sums = [
        pl.len().alias("attempts"),
        _dollars().filter(_word("billing") == "unknown").sum().alias("unknown"),
        pl.col("latency_s").sum().alias("seconds"),
        pl.col("error").mode().first().alias("example"),
    ]
    return failed.agg(sums).sort("attempts", descending=True).head(HUNDRED).collect().to_dicts()


def _first(documents: pl.LazyFrame, column: str) -> list[dict[str, Any]]:
    import polars as pl

    wanted = ["uri", "row", "calls", "attempts", "input_tokens", "output_tokens"]
    top = documents.filter(pl.col(column) > 0).top_k(HUNDRED, by=column).sort(column, descending=True)
    return [
        {**row, "document": place(row)} for row in top.select(*wanted, _dollars().alias("cost")).collect().to_dicts()
    ]


def _slowest(documents: pl.LazyFrame, made: pl.LazyFrame) -> list[dict[str, Any]]:
    """Documents by the time from their first call to the end of their last."""
    import polars as pl

    end = pl.col("started_at") + pl.duration(microseconds=(pl.col("latency_s") * 1e6).cast(pl.Int64))
    span = made.group_by("document_id").agg(
        ((end.max() - pl.col("started_at").min()).dt.total_microseconds() / 1e6).alias("seconds"),
        pl.len().alias("attempts"),
        (_word("outcome") != "ok").sum().alias("failed"),
    )
    named = documents.select("document_id", "uri", "row").join(span.top_k(HUNDRED, by="seconds"), on="document_id")
    return [{**row, "document": place(row)} for row in named.sort("seconds", descending=True).collect().to_dicts()]


def _pace(made: pl.LazyFrame, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a minute took against what the job allows: the mean over the run, the fullest minute, the limit."""
    import polars as pl

    started, finished = (datetime.fromisoformat(manifest[name]) for name in ("started_at", "finished_at"))
    minutes = max((finished - started).total_seconds() / 60, 1 / 60)
    tokens = (pl.col("input_tokens").fill_null(0) + pl.col("output_tokens").fill_null(0)).sum().alias("tokens")
    by_minute = (
        made.sort("started_at")
        .group_by_dynamic("started_at", every="1m", start_by="datapoint")
        .agg(pl.len().alias("requests"), tokens)
    )
    top = by_minute.select(pl.col("requests", "tokens").max().name.suffix("_top"), pl.col("requests", "tokens").sum())
    row = top.collect().to_dicts()[0]
    limits = manifest["limits"]
    return [
        {
            "what": name,
            "mean": (row[name] or 0) / minutes,
            "fullest": row[f"{name}_top"] if minutes >= 2 else None,  # a run of less has no fullest minute
            "limit": limits.get(f"{name}_per_minute"),
        }
        for name in ("requests", "tokens")
    ]


def _charts(
    made: pl.LazyFrame,
    answered: pl.LazyFrame,
    documents: pl.LazyFrame,
    stages: Sequence[Mapping[str, Any]],
    manifest: Mapping[str, Any],
) -> list[dict[str, Any]]:
    from docreduce.report.charts import bars, columns, line

    charts: list[dict[str, Any]] = []
    curve, unit = _over_time(made, manifest)
    if len(curve) > 1:
        limit = manifest["limits"].get("requests_per_minute")
        label = f"Requests a minute over the run, at most {max(value for _, value in curve):,.0f}"
        title = "Requests a minute" + ("" if limit is None else f" (limit {limit:,})")
        drawn = line(curve, x=f"{unit} since the start", y="requests a minute", label=label, limit=limit)
        charts.append({"title": title, "svg": drawn})
    shares = [(f"{row['stage']} {dollars(row['charged'])}", row["charged"]) for row in stages if row["charged"]]
    if len(shares) > 1:
        label = f"What stages cost: {', '.join(name for name, _ in shares)}"
        charts.append({"title": "What stages cost", "svg": bars(shares, x="dollars", label=label)})
    for frame, column, title, x, y in (
        (answered, "latency_s", "How long answers took", "seconds, up to", "answers"),
        (documents.filter(_dollars() > 0), "cost_usd", "What documents cost", "cents, up to", "documents"),
    ):
        counts = _histogram(frame, column, scale=100 if column == "cost_usd" else 1)
        if sum(count for _, count in counts) >= FEW:
            name, number = max(counts, key=itemgetter(1))
            label = f"{title}: most, {number:,.0f}, up to {name}"
            charts.append({"title": title, "svg": columns(counts, x=x, y=y, label=label)})
    return charts


def _over_time(made: pl.LazyFrame, manifest: Mapping[str, Any]) -> tuple[list[tuple[float, float]], str]:
    """(time, requests a minute) by steps that make at most POINTS of them; and the unit of time."""
    import polars as pl

    started, finished = (datetime.fromisoformat(manifest[name]) for name in ("started_at", "finished_at"))
    span = max((finished - started).total_seconds(), 1.0)
    step = next((each for each in STEPS_S if span / each <= POINTS), STEPS_S[-1])
    scale, unit = (1, "seconds") if span < 180 else (60, "minutes") if span < 10_800 else (3600, "hours")
    since = (pl.col("started_at") - started).dt.total_microseconds() / 1e6
    bins = made.select((since // step).cast(pl.Int64).alias("bin")).group_by("bin").len().collect()
    counted = {int(number): count for number, count in bins.iter_rows() if number is not None}
    last = max(counted, default=0)
    # The last step is not whole: what it had would look like a fall.
    curve = [((at + 0.5) * step / scale, counted.get(at, 0) * 60 / step) for at in range(max(last, 1))]
    return curve, unit


def _histogram(frame: pl.LazyFrame, column: str, scale: int) -> list[tuple[str, float]]:
    """(upper end, count): steps of equal ratio, the finest of 5, 3, 2 or 1 to a decade that make few enough bars; what
    lies below the last of them is counted with the first."""
    import polars as pl

    log = (pl.col(column).cast(pl.Float64) * scale).clip(lower_bound=1e-12).log10()
    for per_decade in (5, 3, 2, 1):
        step = (log * per_decade - 1e-9).ceil().cast(pl.Int64)
        steps = dict(frame.select(step.alias("step")).drop_nulls().group_by("step").len().collect().iter_rows())
        if not steps or max(steps) - min(steps) < BARS:
            break
    if not steps:
        return []
    top = max(steps)
    low = max(min(steps), top - BARS + 1)
    counts = {at: steps.get(at, 0) for at in range(low, top + 1)}
    counts[low] += sum(count for at, count in steps.items() if at < low)
    return [(f"{float(f'{10 ** (at / per_decade):.2g}'):.10g}", float(count)) for at, count in counts.items()]
