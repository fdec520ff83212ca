"""What was paid, by job, model, day, stage, document or endpoint, from the ledgers of an output folder.

The ledgers say what was charged and what may have been, whole pico-dollars that are added and never rounded; the
results of the runs say what reuse, caches, batches and cheaper tiers saved, and how packed calls are shared among
documents. What a ledger holds and no result names (a run that died) stands under a name of its own: groups always sum
to the ledgers' total."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from docreduce.desk import Paid, ledgers_of, paid
from docreduce.report.folder import place, pusd_of, read_manifest, table
from docreduce.values.errors import JobError
from docreduce.values.money import usd

__all__ = ["BY", "bill", "bill_csv"]

By: TypeAlias = Literal["job", "model", "day", "stage", "document", "endpoint", "run"]
BY: tuple[By, ...] = ("job", "model", "day", "stage", "document", "endpoint", "run")
NO_RESULT = "(in no result)"
"""Documents of a run that died, and of one whose results are gone."""


@dataclass(slots=True)
class Group:
    """Pico-dollars of a group. `saved` by what."""

    attempts: int = 0
    charged_pusd: int = 0
    unknown_pusd: int = 0
    saved: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("reuse", "cache", "batch", "flex"), 0))

    def add(self, attempts: int, charged_pusd: int, unknown_pusd: int) -> None:
        self.attempts += attempts
        self.charged_pusd += charged_pusd
        self.unknown_pusd += unknown_pusd

    def as_dict(self) -> dict[str, Any]:
        """For JSON: dollars, and the exact pico-dollars beside."""
        return {
            "attempts": self.attempts,
            "charged_usd": float(usd(self.charged_pusd)),
            "unknown_usd": float(usd(self.unknown_pusd)),
            "charged_pusd": self.charged_pusd,
            "unknown_pusd": self.unknown_pusd,
            "saved_usd": {name: float(usd(amount)) for name, amount in self.saved.items()},
        }


def bill(output: Path, *, by: By = "job", since: str | None = None) -> dict[str, Any]:
    """The bill of an output folder, the dearest group first. `since`: a date (UTC). Raises JobError for a date that is
    none and a folder without ledger and runs, MachineError for a ledger that cannot be read."""
    since_s = _seconds(since)
    ledgers = ledgers_of(output)
    folders = {each.parent.name: each.parent for each in _manifests(output)}
    if not ledgers and not folders:
        raise JobError(f"{output}: no ledger and no run", hint="Name the folder that [output] path names.")
    by_run: dict[str, list[Paid]] = defaultdict(list)
    for row in (row for path in ledgers for row in paid(path, since_s)):
        by_run[row.run_id].append(row)
    groups: dict[str, Group] = defaultdict(Group)
    for run_id, rows in by_run.items():
        folder = folders.get(run_id)
        if by == "document":
            _add_documents(groups, rows, folder, whole=since is None)
            continue
        for row in rows:
            name = row.run_id if by == "run" else str(getattr(row, by))
            groups[name or "(not recorded)"].add(row.attempts, row.charged_pusd, row.unknown_pusd)
    for folder in folders.values():
        for name, what, amount in _saved(folder, by, since_s):
            groups[name].saved[what] += amount
    total = _total(groups.values())
    dearest = sorted(groups.items(), key=lambda item: (-item[1].charged_pusd - item[1].unknown_pusd, item[0]))
    if by == "day":
        dearest.sort()
    return {
        "by": by,
        "since": since,
        "ledgers": [str(path) for path in ledgers],
        "groups": [{by: name, **group.as_dict()} for name, group in dearest],
        "total": total.as_dict(),
    }


def _total(groups: Iterable[Group]) -> Group:
    total = Group()
    for group in groups:
        total.add(group.attempts, group.charged_pusd, group.unknown_pusd)
        for name, amount in group.saved.items():
            total.saved[name] += amount
    return total


def bill_csv(found: Mapping[str, Any]) -> str:
    """The bill as CSV (RFC 4180), the exact dollars."""
    import csv
    import io

    out = io.StringIO()
    saved = list(found["total"]["saved_usd"])
    writer = csv.writer(out)
    writer.writerow(
        [found["by"], "attempts", "charged_usd", "unknown_usd", *(f"saved_by_{name}_usd" for name in saved)]
    )
    for group in found["groups"]:
        # A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection").
        name = (
            f"'{group[found['by']]}"
            if group[found["by"]].startswith(("=", "+", "-", "@", "\t"))
            else group[found["by"]]
        )
        money = [f"{usd(group[key]):f}" for key in ("charged_pusd", "unknown_pusd")]
        writer.writerow([name, group["attempts"], *money, *(f"{group['saved_usd'][key]:.12f}" for key in saved)])
    return out.getvalue()


def _manifests(output: Path) -> Iterator[Path]:
    """The run.json files of committed runs, those of shards too."""
    for found in sorted(output.rglob("run.json")):
        if not any(part.startswith(".") or part == "latest" for part in found.relative_to(output).parts):
            yield found


def _seconds(since: str | None) -> float:
    if since is None:
        return 0.0
    try:
        moment = datetime.fromisoformat(since)
    except ValueError as error:
        raise JobError(f"--since {since}: expected a date such as 2026-01-31") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _add_documents(groups: dict[str, Group], rows: Iterable[Paid], folder: Path | None, *, whole: bool) -> None:
    """A run's money by document, as its results share it; a part of a run by the document that bears the call."""
    rows = list(rows)
    documents = None if folder is None else table(folder, "documents")
    made = _groups(folder)
    for row in rows:
        if row.document_id in made:
            groups[row.document_id].add(row.attempts, row.charged_pusd, row.unknown_pusd)
    rows = [row for row in rows if row.document_id not in made]
    rest = Group()
    for row in rows:
        rest.add(row.attempts, row.charged_pusd, row.unknown_pusd)
    if documents is None or not whole:
        names = {} if documents is None else _names(documents)
        for row in rows:
            name = names.get(row.document_id, NO_RESULT)
            groups[name].add(row.attempts, row.charged_pusd, row.unknown_pusd)
        return
    wanted = ["document_id", "uri", "row", "attempts", "cost_usd", "unknown_cost_usd"]
    for document in documents.select(wanted).collect().iter_rows(named=True):
        shared = document["attempts"], pusd_of(document["cost_usd"]), pusd_of(document["unknown_cost_usd"])
        groups[place(document)].add(*shared)
        rest.add(0, -shared[1], -shared[2])
    if rest.charged_pusd or rest.unknown_pusd:
        groups[NO_RESULT].add(0, rest.charged_pusd, rest.unknown_pusd)


def _groups(folder: Path | None) -> set[str]:
    """The ids of a run's groups of [reduce], which are no documents and bear calls of their own."""
    found = None if folder is None else table(folder, "groups")
    return set() if found is None else set(found.select("document_id").collect()["document_id"].to_list())


def _names(documents: Any) -> dict[str, str]:
    frame = documents.select("document_id", "uri", "row").collect()
    return {row["document_id"]: place(row) for row in frame.iter_rows(named=True)}


def _saved(folder: Path, by: By, since_s: float) -> Iterator[tuple[str, str, int]]:
    """(group, by what, pico-dollars) of what a run did not have to pay."""
    import polars as pl

    calls = table(folder, "calls")
    try:
        manifest = read_manifest(folder)
    except JobError:
        return
    if calls is None:
        return
    since = datetime.fromtimestamp(since_s, UTC)
    names = {
        "job": pl.lit(manifest["job"]),
        "run": pl.lit(manifest["run_id"]),
        "day": pl.col("started_at").dt.strftime("%Y-%m-%d"),
        "document": pl.col("document_id"),
    }
    group = names.get(by, pl.col(by if by not in names else "stage")).cast(pl.String)
    pico = pl.col("reused_cost_usd").cast(pl.Float64) * 1e12
    cheaper = _cheaper(manifest, calls.collect_schema().names())
    frame = (
        calls.filter(pl.col("started_at") >= since)
        .group_by(group.alias("group"))
        .agg(pico.round(0).sum().alias("reuse"), *(each.round(0).sum().alias(name) for name, each in cheaper.items()))
    )
    shown = {} if by != "document" else _names(table(folder, "documents"))
    for row in frame.collect().iter_rows(named=True):
        name = row.pop("group") or "(not recorded)"
        for what, amount in row.items():
            if amount:
                yield shown.get(name, name), what, int(amount)


def _cheaper(manifest: Mapping[str, Any], columns: list[str]) -> dict[str, Any]:
    """Expressions, in pico-dollars a call, for what cached input, batches and the flex tier saved against the standard
    price of the first route; calls of others have prices that no manifest holds, and count as nothing saved."""
    import polars as pl

    price = manifest["pricing"]
    if price.get("mode") != "per_token" or "batch" not in columns:
        return {}
    here = (pl.col("billing").cast(pl.String) == "charged") & (
        pl.col("model").cast(pl.String) == manifest["model"]["name"]
    )

    def rate(key: str) -> Any:
        reached = pl.lit(price.get(key) or 0.0)
        for tier in price.get("tiers", ()):
            reached = (
                pl.when(pl.col("input_tokens") > tier["above_input_tokens"])
                .then(tier.get(key) or 0.0)
                .otherwise(reached)
            )
        return reached * 1e6  # pico-dollars a token

    cached, plain, output = (rate(f"{kind}_usd_per_million") for kind in ("cached_input", "input", "output"))
    read = pl.col("cached_input_tokens").fill_null(0)
    standard = (pl.col("input_tokens") - read) * plain + read * cached + pl.col("output_tokens") * output
    less = (standard - pl.col("cost_usd").cast(pl.Float64) * 1e12).clip(lower_bound=0)
    batched, tier = pl.col("batch").is_not_null(), pl.col("service_tier").cast(pl.String).fill_null("")
    zero = pl.lit(0.0)
    return {
        "cache": pl.when(here & ~batched & (tier != "flex")).then(read * (plain - cached)).otherwise(zero),
        "batch": pl.when(here & batched).then(less).otherwise(zero),
        "flex": pl.when(here & ~batched & (tier == "flex")).then(less).otherwise(zero),
    }
