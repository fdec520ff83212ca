"""What extraction loses, what it finds without a model, and what packing rows saves: through the commands, over HTTP.

    python tests/benchmarks/extraction.py gold | rows | peps | fomc [--data DIR] [--short]

gold: the contracts' gold spans, answered by the simulator as a process of its own, come back from the written
Parquet; the embedded provider's own score on the same contracts stands beside. rows: all Debian descriptions in one
run, then a sample of them with 1, 10 and "auto" rows a request on five concurrent requests. peps: the embedded
provider against the PEPs' own header columns. fomc: a long cell, and an empty one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
from places import DATA

COMMAND = Path(sys.executable).with_name("docreduce")
SPAN = {"type": "object", "properties": {"category": {"type": "string"}, "text": {"type": "string"}}}
PACKAGE = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "format": "uri"},
        "rfc": {"type": "string", "pattern": "RFC ?[0-9]{3,4}"},
        "license": {"type": "string", "enum": ["GPL", "LGPL", "BSD", "MIT", "Apache", "Artistic", "public domain"]},
    },
}
STATUSES = ["Accepted", "Active", "Deferred", "Draft", "Final", "Rejected", "Superseded", "Withdrawn"]
PEP = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "author": {"type": "string"},
        "status": {"type": "string", "enum": STATUSES},
        "type": {"type": "string", "enum": ["Standards Track", "Informational", "Process"]},
        "created": {"type": "string", "format": "date"},
        "python_version": {"type": "string", "pattern": r"^\d\.\d+$", "description": "the Python version it is for"},
    },
}
OFFLINE = {"provider": "offline"}
FIRST_TOKEN_S, TOKENS_PER_S = 1.0, 50.0
"""A usual hosted model: what an estimate assumes before any answer was seen."""


@contextmanager
def simulator(**settings: Any) -> Iterator[str]:
    """A simulator's URL while its process lives."""
    options = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    with subprocess.Popen([COMMAND, "simulate", *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def service(url: str, **settings: Any) -> dict[str, Any]:
    """The [model] table for a simulator."""
    return {"provider": "openai", "name": "simulated", "base_url": f"{url}/v1", "context_window": 200_000, **settings}


def run(folder: Path, name: str, paths: Sequence[Path], schema: Any, **tables: dict[str, Any]) -> dict[str, Any]:
    """The manifest of `docreduce run` on a job of these tables, with its `seconds`."""
    extract = {"schema": f"{name}.schema.json", **tables.pop("extract", {})}
    (folder / extract["schema"]).write_text(json.dumps(schema))
    given = {"input": {"paths": [str(path) for path in paths]}, "extract": extract, "output": {"path": str(folder)}}
    if tables["model"] != OFFLINE:
        given["pricing"] = {"input_usd_per_million": 0.07, "output_usd_per_million": 0.28}
    lines = [f'name = "{name}"', 'kind = "extract"']
    for table in {**given, **tables}:
        settings = {**given.get(table, {}), **tables.get(table, {})}
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
    job = folder / f"{name}.toml"
    job.write_text("\n".join(lines), encoding="utf-8")
    began = time.monotonic()
    done = subprocess.run([COMMAND, "run", job, "--json", "--quiet"], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    manifest: dict[str, Any] = json.loads(done.stdout)
    return {**manifest, "seconds": time.monotonic() - began, "exit_code": done.returncode}


def written(manifest: dict[str, Any], table: str) -> pl.DataFrame:
    return pl.read_parquet(Path(manifest["run_dir"]) / f"{table}.parquet")


# --- gold ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spans:
    """Gold spans there are, records written, records that are a gold span at its place."""

    gold: int
    written: int
    right: int


def gold_spans(folder: Path, url: str, contracts: Path, files: Sequence[str], tokens: int, overlap: int) -> Spans:
    """One run over `files` at chunks of `tokens`, and what of the gold stands in its Parquet."""
    manifest = run(
        folder, f"gold-{tokens}-{overlap}", [contracts / "txt" / file for file in files], SPAN,
        model=service(url, max_output_tokens=60_000), extract={"cardinality": "many"},
        chunking={"max_tokens": tokens, "overlap_tokens": overlap},
    )  # fmt: skip
    assert manifest["exit_code"] == 0, manifest
    labels = pl.read_parquet(contracts / "gold_labels.parquet").filter(pl.col("present"), pl.col("file").is_in(files))
    wanted = {(row["file"], row["category"], row["answer_text"]): row for row in labels.iter_rows(named=True)}
    texts = {file: (contracts / "txt" / file).read_bytes().decode() for file in files}
    evidence = written(manifest, "evidence").filter(pl.col("field").cast(str) == "text", pl.col("chosen"))
    records = written(manifest, "records").join(written(manifest, "documents"), on="document_id", suffix="_")
    found = records.join(evidence, on=["document_id", "item"], how="left", suffix="_e").rows(named=True)
    assert len(found) == len(records), "one quote a span"
    right = set()
    for row in found:
        file = Path(row["uri"]).name
        label = wanted.get((file, row["category"], row["text"]))
        if label is None or row["alignment"] != "exact":
            continue
        same = (row["char_start"], row["char_end"]) == (label["char_start"], label["char_end"])
        again = label["n_occurrences"] > 1 and texts[file][row["char_start"] : row["char_end"]] == row["text"]
        if same or again:
            right.add((file, row["category"], row["text"]))
    return Spans(len(wanted), len(records), len(right))


def gold(data: Path, folder: Path, *, short: bool) -> None:
    contracts = data / "contracts"
    files = sorted(path.name for path in (contracts / "txt").iterdir())[: 5 if short else None]
    print("chunk tokens  overlap  gold spans  recall  precision")
    with simulator(answer="gold", gold=contracts / "gold_labels.parquet") as url:
        for tokens in (1_000, 8_000, 100_000):
            for overlap in (0, 200):
                one = gold_spans(folder, url, contracts, files, tokens, overlap)
                recall, precision = one.right / one.gold, one.right / one.written
                print(f"{tokens:12,} {overlap:8} {one.gold:11,} {recall:7.4f} {precision:10.4f}")
    offline_contracts(contracts, folder, files)


def offline_contracts(contracts: Path, folder: Path, files: Sequence[str]) -> None:
    from offline_quality import CONTRACT, score

    paths = [contracts / "txt" / file for file in files]
    manifest = run(
        folder, "offline", paths, CONTRACT, model=OFFLINE, chunking={"max_tokens": 8_000}, extract={"conflict": "first"}
    )
    labels = pl.read_parquet(contracts / "gold_labels.parquet").filter(pl.col("present"))
    records = written(manifest, "records").join(written(manifest, "documents"), on="document_id", suffix="_")
    print("the embedded provider, chunks of 8,000: precision, recall (right / given, right / labelled)")
    for name in CONTRACT["properties"]:
        count: Counter[str] = Counter()
        of_field = labels.filter(pl.col("category").str.to_lowercase().str.replace_all(" ", "_") == name)
        for row in records.iter_rows(named=True):
            value = row[name].isoformat() if isinstance(row[name], date) else row[name]
            score(value, of_field.filter(pl.col("file") == Path(row["uri"]).name), count)
        precision, recall = (count["right"] / max(1, count[of]) for of in ("given", "gold"))
        print(f"  {name:16} {precision:.2f} {recall:.2f}  ({count['right']} / {count['given']}, {count['gold']})")


# --- tables -------------------------------------------------------------------------------------------------------


def rows(data: Path, folder: Path, *, short: bool) -> None:
    source = data / "tables" / "debian_descriptions.csv.gz"
    columns = {"text_column": "description", "id_column": "package"}
    table = pl.read_csv(source)
    if not short:
        manifest = run(folder, "debian", [source], PACKAGE, model=OFFLINE, input=columns)
        records = written(manifest, "records")
        kept = [column for column in table.columns if column not in ("description", "package")]
        assert records["document_id"].to_list() == table["package"].to_list(), "one row out, in order"
        assert _texts(records.select(kept)).equals(_texts(table.select(kept))), "kept columns"
        print(f"{len(records):,} rows in one run offline: {manifest['seconds']:.0f} s, {manifest['counts']}")
    sample, scale = (60, 50.0) if short else (600, 10.0)
    part = folder / "sample.csv"
    table.sample(sample, seed=1).write_csv(part)
    print(f"{sample} rows, five concurrent requests; latency {FIRST_TOKEN_S} s + output at {TOKENS_PER_S} tokens/s, "
          f"run {scale:g} times as fast")  # fmt: skip
    print("rows/request  calls  input tokens  output tokens  seconds (real time)  all 12,000 rows, hours")
    answers = []
    for packed in (1, 10, "auto"):
        extract = {"rows_per_request": packed}
        pilot = run(folder, f"pilot-{packed}", [part], PACKAGE, model=OFFLINE | {"max_output_tokens": 4_000},
                    input=columns, extract=extract)  # fmt: skip
        output = pilot["usage"]["output_tokens"] / pilot["counts"]["calls"]
        latency_s = FIRST_TOKEN_S + output / TOKENS_PER_S
        with simulator(answer="extractive", concurrency=5, latency_s=latency_s / scale, latency_sigma=0.2) as url:
            manifest = run(folder, f"packed-{packed}", [part], PACKAGE, model=service(url, max_output_tokens=4_000),
                           input=columns, extract=extract, limits={"concurrency": 5})  # fmt: skip
            with urllib.request.urlopen(f"{url}/stats") as stats:
                seen = json.load(stats)
        answers.append(written(manifest, "records").drop("cost_usd"))
        usage, seconds = manifest["usage"], (seen["last_response_s"] - seen["first_request_s"]) * scale
        print(f"{packed!s:>12} {manifest['counts']['calls']:6,} {usage['input_tokens']:13,} "
              f"{usage['output_tokens']:14,} {seconds:20,.0f} {seconds / sample * 12_000 / 3600:23.2f}")  # fmt: skip
    print("the records are the same:", all(one.equals(answers[0]) for one in answers))


def _texts(table: pl.DataFrame) -> pl.DataFrame:
    return table.cast(pl.String).fill_null("")


def peps(data: Path, folder: Path, *, short: bool) -> None:
    """The PEPs as their files are, the header before the body; and the body alone, for what it says of itself."""
    given = pl.read_parquet(data / "tables" / "peps.parquet").head(50 if short else 10_000)
    header = {"Title": "title", "Author": "author", "Status": "status", "Type": "type", "Created": "created",
              "Python-Version": "python_version"}  # fmt: skip
    lines = [pl.format(f"{label}: {{}}\n", pl.col(name).fill_null("")) for label, name in header.items()]
    texts = {"with their headers": pl.concat_str([*lines, pl.lit("\n"), "body"]), "bodies alone": pl.col("body")}
    for number, (what, text) in enumerate(texts.items()):
        source = folder / f"{number}.parquet"
        given.select("pep", text=text).write_parquet(source)
        columns = {"text_column": "text", "id_column": "pep"}
        manifest = run(folder, f"peps-{number}", [source], PEP, model=OFFLINE, input=columns)
        found = written(manifest, "records")
        assert found["document_id"].to_list() == given["pep"].cast(str).to_list()
        assert found.schema["created"] == pl.Date
        print(f"{len(given)} PEPs, {what}: precision, recall (right / given, right / labelled), "
              f"{manifest['seconds']:.0f} s")  # fmt: skip
        for name in PEP["properties"]:
            wanted = [_folded(value) for value in given[name]]
            values = [_folded(value) for value in found["field_status" if name == "status" else name]]
            right = sum(a == b for a, b in zip(values, wanted, strict=True) if a)
            said, labelled = sum(map(bool, values)), sum(map(bool, wanted))
            print(
                f"  {name:15} {right / max(1, said):.2f} {right / max(1, labelled):.2f}  ({right} / {said}, {labelled})"
            )


def _folded(value: Any) -> str:
    """A value to compare; the headers' own dates are written 13-Jul-2000."""
    text = " ".join(str("" if value is None else value).split())
    try:
        return datetime.strptime(text, "%d-%b-%Y").date().isoformat()
    except ValueError:
        return text.casefold()


def fomc(data: Path, folder: Path, *, short: bool) -> None:
    schema = {"type": "object", "properties": {"date": {"type": "string", "format": "date"}}}
    manifest = run(folder, "fomc", [data / "tables" / "fomc_communications.csv"], schema, model=OFFLINE,
                   input={"text_column": "Text"}, chunking={"max_tokens": 8_000})  # fmt: skip
    documents, records = written(manifest, "documents"), written(manifest, "records")
    long = documents.sort("chars", descending=True).row(0, named=True)
    print(f"{len(documents)} rows, {len(records)} records; the longest cell: {long['chars']:,} characters, "
          f"{long['chunks']} chunks, {long['status']}")  # fmt: skip
    print(records.filter(pl.col("status").cast(str) != "ok").select("item", "date", "status", "error"))


def main() -> None:
    parts = {part.__name__: part for part in (gold, rows, peps, fomc)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=parts)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--short", action="store_true", help="a few documents instead of all")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        parts[asked.part](asked.data.resolve(), Path(folder), short=asked.short)


if __name__ == "__main__":
    main()
