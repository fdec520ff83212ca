"""Estimate, cap and bill over seeded simulated jobs: `tests/benchmarks/money.py [--short | --jobs N | --all]`.

Each job draws its texts (English, German, Chinese, a manual with code, tables of figures), sizes, kind, pricing mode,
length of answers, the model's tokens for one of ours (0.9 to 1.6), concurrency and faults. It is estimated cold, run,
estimated again as if nothing were answered, and run again so, twice: two runs of the same noisy service differ, and by
no less can an estimate be off. Every fifth job is run once more under a cap, killed in
between with SIGKILL, and gone on with. The simulator, a process of its own, keeps the true books. Prints a table;
exit code 1 if a must is missed.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gzip
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
from docreduce.config import load_job
from docreduce.engine.forecast import estimate_job
from docreduce.engine.run import RunOptions, run_job
from places import DATA

LONG = DATA / "long"
BOOKS = {"English": "en_moby_dick", "German": "de_bgb", "Chinese": "zh_sanguoyanyi", "code": "en_postgresql15_manual"}
PRICES: dict[str, dict[str, Any]] = {
    "per_token": {"mode": "per_token", "input_usd_per_million": 0.07, "output_usd_per_million": 0.28},
    "per_call": {"mode": "per_call", "usd_per_call": 0.175},
    "flat": {"mode": "flat", "usd_per_million": 0.175},
}
FAULTS = {
    "500": 0.01, "502": 0.01, "reset": 0.005, "empty": 0.004, "cut": 0.004, "invalid_json": 0.004, "filter": 0.002,
    "no_usage": 0.003, "truncated": 0.003, "reset_billed": 0.003,
}  # fmt: skip
FIELDS = {"type": "object", "properties": {name: {"type": "string"} for name in ("person", "place", "date")}}


class Simulator:
    """The service in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url

    def post(self, path: str, body: Any = None) -> None:
        data = json.dumps(body or {}).encode()
        urllib.request.urlopen(urllib.request.Request(self.url + path, data, method="POST")).close()

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "/stats") as response:
            return json.load(response)


@contextlib.contextmanager
def simulator() -> Iterator[Simulator]:
    with subprocess.Popen([sys.executable, "-m", "docreduce.simulator"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Simulator(process, process.stdout.readline().strip())
        finally:
            process.terminate()


def texts(name: str, draw: random.Random, count: int) -> list[str]:
    """Stretches of a book, of lognormal length; tables of figures are made."""
    sizes = [round(min(60_000, 1_500 + 2_000 * 2.718 ** draw.gauss(0, 1.1))) for _ in range(count)]
    if name == "figures":
        return ["\n".join(f"{draw.random():.4f} {draw.randrange(10**6)}" for _ in range(size // 14)) for size in sizes]
    book = gzip.decompress((LONG / f"{BOOKS[name]}.txt.gz").read_bytes()).decode()
    starts = [draw.randrange(len(book) // 20, len(book) - 61_000) for _ in sizes]
    if name == "Chinese":  # the simulator answers with the source's own words: between two spaces, here a clause
        book, sizes = re.sub(r"([，。：；])", r"\1\n", book), [size // 3 for size in sizes]
    return [book[start : start + size] for start, size in zip(starts, sizes, strict=True)]


@dataclass
class Drawn:
    """A job: its file, what the simulator is told, and words for the table."""

    path: Path
    config: dict[str, Any]
    mode: str
    faults: bool
    what: str
    out: Path


def draw_job(number: int, folder: Path, url: str) -> Drawn:
    draw = random.Random(number)
    names = [draw.choice([*BOOKS, "figures"])]
    if names[0] not in ("Chinese", "figures") and draw.random() < 0.4:
        names.append(draw.choice(["English", "German", "code"]))
    documents = folder / "in"
    documents.mkdir(parents=True)
    count = draw.choice([8, 16, 32, 64])
    rows = draw.random() < 0.15
    written = [text for name in names for text in texts(name, draw, -(-count // len(names)))]
    if rows:
        frame = pl.DataFrame({"body": [re.sub(r"\s+", " ", text)[:300] for text in written] * 3})
        frame.with_columns(body=pl.col("body") + pl.int_range(pl.len()).cast(str)).write_csv(documents / "rows.csv")
    else:
        for n, text in enumerate(written):
            (documents / f"{n:03}.txt").write_text(text, encoding="utf-8")
    extract = rows or draw.random() < 0.25
    chunk_tokens = draw.choice([300, 600, 1500])
    words = 30 if chunk_tokens == 300 else draw.choice([30, 60, 120])
    mode = ("per_token", "per_call", "flat")[number % 3]
    tables: dict[str, Any] = {
        "input": {"paths": [str(documents)], **({"text_column": "body"} if rows else {})},
        "model": {"provider": "modelslab", "base_url": f"{url}/api/v7/llm", "max_output_tokens": 400},
        "pricing": PRICES[mode],
        "limits": {"concurrency": draw.choice([1, 4, 16, 64]), "timeout_s": 20.0},
        "chunking": {"max_tokens": chunk_tokens},
        "output": {"path": str(folder / "out")},
    }
    if extract:
        schema = folder / "schema.json"
        schema.write_text(json.dumps(FIELDS))
        tables["extract"] = {"schema": str(schema), **({"rows_per_request": 5} if rows else {})}
    else:
        tables["summarize"] = {"max_words": words}
    lines = [f'name = "money-{number}"', f'kind = "{"extract" if extract else "summarize"}"']
    for table, keys in tables.items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path = folder / "job.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    faulty = draw.random() < 2 / 3
    length = words * draw.uniform(0.4, 1.0) / {"Chinese": 5, "figures": 3}.get(names[0], 1)
    config = {
        "seed": number,
        "ratio": round(draw.uniform(0.9, 1.6), 3),
        "frame_tokens": draw.choice([3, 10, 20]),
        "latency_s": 0.002,
        "output_words": max(1, round(length)),
        "output_sigma": draw.choice([0.0, 0.2, 0.4]),
        "answer": "extractive" if extract else "echo",
        "cached_share": draw.choice([0.0, 0.0, 0.3]),
        "retry_after_s": 0.05,
        "faults": FAULTS if faulty else {},
    }
    what = f"{'rows' if rows else 'extract' if extract else 'summarize'} {'+'.join(names)} {mode}"
    return Drawn(path, config, mode, faulty, what, folder / "out")


@dataclass
class Outcome:
    """What one job showed. Differences are shares of what was expected."""

    what: str = ""
    calls: int = 0
    seconds: float = 0.0
    inside: dict[str, bool] = field(default_factory=dict)
    input_off: float = 0.0
    total_off: float = 0.0
    floor: float = 0.0  # what two runs differ by
    apart: float = 0.0  # the run's own forecast from the estimate before it
    width: float = 1.0  # high over low of the cold estimate
    ceiling: bool | None = None  # kept; None where something was asked twice
    cap: bool | None = None
    bill: bool = True
    notes: list[str] = field(default_factory=list)


def bill_agrees(manifest: dict[str, Any], stats: dict[str, Any], mode: str) -> list[str]:
    """What of a run's books disagrees: with the service's count, and among run.json and the tables."""
    usage, cost, counts = manifest["usage"], manifest["cost"], manifest["counts"]
    calls, documents = (
        pl.read_parquet(Path(manifest["run_dir"]) / f"{name}.parquet") for name in ("calls", "documents")
    )
    charged = calls.filter(pl.col("billing") == "charged")
    wrong = []
    for name in ("input_tokens", "output_tokens"):
        told = stats[name] - stats[f"unseen_{name}"]
        seen = (usage[name], charged[name].sum(), documents[name].sum(), told)
        if len(set(seen)) > 1:
            wrong.append(f"{name} {seen}")
    told = stats["billed_calls"] - stats["unseen_calls"]
    if (len(charged), counts["attempts"] - counts["failed_attempts"] >= 0) != (told, True):
        wrong.append(f"charged calls {len(charged)}, billed {told}")
    made = {
        "per_token": usage["input_tokens"] * 70_000 + usage["output_tokens"] * 280_000,
        "flat": (usage["input_tokens"] + usage["output_tokens"]) * 175_000,
        "per_call": told * 175_000_000_000,
    }[mode]
    sums = [round(frame["cost_usd"].sum() * 10**12) for frame in (charged, documents)]
    if {*sums, round(cost["charged_usd"] * 10**12)} != {made}:
        wrong.append(f"cost {made} {sums} {cost['charged_usd']}")
    unknown = [calls.filter(pl.col("billing") == "unknown")["cost_usd"].sum(), documents["unknown_cost_usd"].sum()]
    if len({round((value or 0) * 10**12) for value in (*unknown, cost["unknown_usd"])}) > 1:
        wrong.append(f"unknown {unknown} {cost['unknown_usd']}")
    return wrong


def asked_twice(manifest: dict[str, Any]) -> bool:
    calls = pl.read_parquet(Path(manifest["run_dir"]) / "calls.parquet")
    again = (pl.col("outcome") != "ok") | (pl.col("finish_reason") == "length") | (pl.col("stage") == "repair")
    return calls.filter(again.fill_null(value=False)).height > 0


def play(number: int, service: Simulator, folder: Path) -> Outcome:
    drawn = draw_job(number, folder, service.url)
    job = load_job(drawn.path)
    seen = Outcome()
    service.post("/config", drawn.config)
    cold = estimate_job(job)
    seen.width = cold["cost_usd"]["high"] / max(1e-12, cold["cost_usd"]["low"])
    first = run_job(job)
    seen.what = f"{drawn.what}, faults {drawn.faults}"
    seen.calls = first["counts"]["calls"]
    seen.notes += bill_agrees(first, service.stats(), drawn.mode)
    for name, value in (
        ("cost", first["cost"]["charged_usd"]),
        *((name, first["usage"][name]) for name in ("input_tokens", "output_tokens")),
    ):
        range_ = cold["cost_usd" if name == "cost" else name]
        seen.inside[name] = range_["low"] <= value <= range_["high"]
    if not asked_twice(first):
        names = ("calls", "input_tokens", "output_tokens")
        actual = {name: first["actual"][name] for name in names} | {"cost_usd": first["cost"]["charged_usd"]}
        seen.ceiling = all(value <= cold[name]["ceiling"] for name, value in actual.items())
    for name in ("calls", "cost_usd", "input_tokens"):
        # The run adds up what is expected of the requests it really makes: merges of the answers that really came.
        apart = abs(first["estimate"][name]["expected"] / max(1e-12, cold[name]["expected"]) - 1)
        seen.apart = max(seen.apart, apart)
    learned = estimate_job(job, fresh=True)
    service.post("/stats/reset")
    service.post("/config", {**drawn.config, "seed": number + 10**6})
    second = run_job(job, RunOptions(fresh=True))
    seen.notes += bill_agrees(second, service.stats(), drawn.mode)
    service.post("/config", {**drawn.config, "seed": number + 2 * 10**6})
    third = run_job(job, RunOptions(fresh=True))
    seen.floor = third["cost"]["charged_usd"] / second["cost"]["charged_usd"] - 1
    seen.input_off = second["usage"]["input_tokens"] / learned["input_tokens"]["expected"] - 1
    seen.total_off = second["cost"]["charged_usd"] / learned["cost_usd"]["expected"] - 1
    high, low = learned["cost_usd"]["high"], learned["cost_usd"]["low"]
    seen.inside["cost, learned"] = low <= second["cost"]["charged_usd"] <= high
    seen.bill = not seen.notes
    if number % 5 == 0:
        seen.cap = cap_holds(drawn, service, first, seen.notes)
    return seen


def cap_holds(drawn: Drawn, service: Simulator, first: dict[str, Any], notes: list[str]) -> bool:
    """Run under a cap of 60% of what it costs, kill it, go on: neither books nor truth may pass the cap."""
    cap = 0.6 * first["cost"]["charged_usd"]
    out = drawn.out.with_name("capped")
    service.post("/config", {**drawn.config, "latency_s": 0.02})
    command = [
        *(sys.executable, "-m", "docreduce.cli", "run", str(drawn.path)),
        *("--output", str(out), "--max-cost", f"{cap:.12f}", "--quiet"),
    ]
    kill_after = max(1, first["counts"]["calls"] // 5)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and service.stats()["billed_calls"] < kill_after:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    codes = [subprocess.run(command, capture_output=True, check=False).returncode for _ in range(2)]
    with contextlib.closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        booked = dict(ledger.execute("SELECT billing, sum(cost_pusd) FROM attempt GROUP BY billing").fetchall())
    stats = service.stats()
    true = {
        "per_token": stats["input_tokens"] * 70_000 + stats["output_tokens"] * 280_000,
        "flat": (stats["input_tokens"] + stats["output_tokens"]) * 175_000,
        "per_call": stats["billed_calls"] * 175_000_000_000,
    }[drawn.mode]
    ours = booked.get("charged", 0) + booked.get("unknown", 0)
    if not true <= ours <= cap * 10**12 + 1:
        notes.append(f"cap {cap * 10**12:.0f}: booked {booked}, truly {true}")
        return False
    if not set(codes) <= {0, 1, 3}:
        notes.append(f"exit codes {codes}")
        return False
    return True


def _begin() -> None:
    """Each worker has a simulator of its own, until it ends."""
    serving = simulator()
    globals()["_service"] = serving.__enter__()
    atexit.register(serving.__exit__, None, None, None)


def _play(number: int) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        seen = play(number, globals()["_service"], Path(folder))
        seen.seconds = time.monotonic() - started
        return seen


def share(values: list[bool]) -> str:
    return f"{sum(values)} of {len(values)} ({sum(values) / max(1, len(values)):.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--short", action="store_true", help="6 jobs, for every change")
    parser.add_argument("--all", action="store_true", help="200 jobs")
    parser.add_argument("--seed", type=int, default=0, help="the first job's")
    parser.add_argument("--workers", type=int, default=2, help="jobs at a time")
    parser.add_argument("--verbose", action="store_true", help="a line a job")
    options = parser.parse_args()
    os.environ["MODELSLAB_API_KEY"] = "sk-simulated-0001"
    outcomes: list[Outcome] = []
    numbers = range(options.seed, options.seed + (200 if options.all else 6 if options.short else options.jobs))
    with ProcessPoolExecutor(options.workers, get_context("spawn"), _begin) as pool:
        for number, seen in zip(numbers, pool.map(_play, numbers), strict=True):
            outcomes.append(seen)
            if options.verbose or seen.notes:
                off = f"input {seen.input_off:+.2%} total {seen.total_off:+.2%}"
                outside = [name for name, inside in seen.inside.items() if not inside]
                print(
                    f"job {number}: {seen.seconds:.0f} s, {seen.calls} calls, {off}, outside {outside} {seen.what}",
                    *seen.notes,
                    sep="\n  ",
                    flush=True,
                )
    report(outcomes)


def report(outcomes: list[Outcome]) -> None:
    def at(values: list[float], part: float) -> float:
        return sorted(values)[min(len(values) - 1, int(part * len(values)))]

    inputs, totals = ([abs(getattr(each, name)) for each in outcomes] for name in ("input_off", "total_off"))
    floors, widths = [abs(each.floor) for each in outcomes], [each.width for each in outcomes]
    ceilings = [each.ceiling for each in outcomes if each.ceiling is not None]
    caps = [each.cap for each in outcomes if each.cap is not None]
    inside = {name: [each.inside[name] for each in outcomes] for name in outcomes[0].inside}
    bills = [each.bill for each in outcomes]
    rows = [
        ("jobs, calls of the first runs", f"{len(outcomes)}, {sum(each.calls for each in outcomes):,}", "", True),
        *(
            (f"actual {name} inside low to high", share(kept), ">= 90%", sum(kept) >= 0.9 * len(kept))
            for name, kept in inside.items()
        ),
        ("cold high over low: median", f"{median(widths):.2f}", "<= 4", median(widths) <= 4),
        ("cold high over low: 90th percentile", f"{at(widths, 0.9):.2f}", "", True),
        ("input after one run, off: median", f"{median(inputs):.2%}", "<= 1%", median(inputs) <= 0.01),
        ("input after one run, off: 95th percentile", f"{at(inputs, 0.95):.2%}", "", True),
        ("total after one run, off: median", f"{median(totals):.2%}", "<= 5%", median(totals) <= 0.05),
        (
            "total after one run, off: 90th percentile",
            f"{at(totals, 0.9):.2%}",
            "<= 1.2 ×",
            at(totals, 0.9) <= 1.2 * at(floors, 0.9),
        ),
        ("the run's own forecast, from the estimate: median", f"{median(e.apart for e in outcomes):.2%}", "", True),
        ("two equal runs differ by: 90th percentile", f"{at(floors, 0.9):.2%}", "", True),
        ("ceiling kept where nothing was asked twice", share(ceilings), "all", all(ceilings)),
        ("cap kept, killed in between", share(caps), "all", all(caps)),
        ("bill equals the service's count", share(bills), "all", all(bills)),
    ]
    for name, value, must, kept in rows:
        print(f"{name:45} {value:>18}  {must:7} {'' if kept else 'MISSED'}")
    sys.exit(0 if all(kept for *_, kept in rows) else 1)


if __name__ == "__main__":
    main()
