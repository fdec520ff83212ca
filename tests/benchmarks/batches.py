"""kill -9 in runs by batch services, also between a submission and its id: what is lost, sent twice, billed wrongly.

    PYTHONPATH=tests/benchmarks:tests/support python tests/benchmarks/batches.py [SEEDS] [FIRST]

Each case runs one job at a simulator that shows a fault, kills it at a seeded place or moment, twice, and lets it end.
Prints one line a case that is wrong and the sums."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
from runs import serving, write_job

SERVICES = ("openai", "anthropic")
FAULTS: tuple[dict[str, Any], ...] = (
    {},
    {"batch_faults": {"expired": 0.4}},
    {"batch_faults": {"failed": 0.4}},
    {"batch_faults": {"unseen": 0.5}},
    {"batch_faults": {"lost": 0.3}},
    {"batch_faults": {"refused": 0.4}},
    {"faults": {"500": 0.2}},
)
POINTS = ("begin<", "begin>", "submit>", "sent>", "look>", "results>", "never_sent>")
CHILD = """
import os, signal, sys
import docreduce.engine.batched as batched
import docreduce.desk.ledger.batches as ledger
import docreduce.providers.batches as wire
batched.SETTLED_S = 0.5
batched.POLL_S = (0.05, 0.2)
point, number = sys.argv[1][:-1], int(sys.argv[2])
before = sys.argv[1].endswith("<")
left = [number]
def die():
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
def sync(whole):
    def called(*given, **named):
        if before: die()
        found = whole(*given, **named)
        if not before: die()
        return found
    return called
def awaited(whole):
    async def called(*given, **named):
        try:
            return await whole(*given, **named)
        finally:
            die()
    return called
for owner in (ledger.Batches, wire.OpenAIBatches, wire.AnthropicBatches):
    whole = getattr(owner, point, None)
    if whole is not None:
        setattr(owner, point, sync(whole) if owner is ledger.Batches else awaited(whole))
sys.argv = ["docreduce", *sys.argv[3:]]
from docreduce.cli import main
main()
"""


def case(folder: Path, service: str, fault: dict[str, Any], seed: int, wanted: list[Any]) -> list[str]:
    """What is wrong after a run that was killed twice, nothing where all is right."""
    draw = random.Random(seed)
    wrong: list[str] = []
    with serving(answer="extractive", output_words=25, batch_s=0.3, seed=seed, **fault) as server:
        path = job(folder, server.url, service)
        for _ in range(2):
            point = draw.choice((*POINTS, "time"))
            launch(path, folder, draw, point)
        for _ in range(4):
            code = launch(path, folder, draw, "")
            if code == 0:
                break
        time.sleep(0.4)
        stats = server.stats()
        server.simulated.batches.advance(1e9)
        repeated = server.simulated.batches.repeated_ids
    paid = books(folder)
    if code != 0:
        wrong.append(f"ended with {code}")
    else:
        found = rows(folder)
        wrong += [] if found == wanted else ["tables differ from the live run's"]
    if paid.get("charged", 0) != stats["cost_pusd"] and not paid.get("unknown"):
        wrong.append(f"booked {paid}, billed {stats['cost_pusd']}")
    if paid.get("unknown"):
        wrong.append(f"unknown {paid['unknown']}")
    if stats["repeated_ok"] or repeated:
        wrong.append(f"{stats['repeated_ok']} answered twice, {repeated} ids twice")
    return wrong


def job(folder: Path, url: str, service: str, mode: str = "batch", out: str = "out") -> Path:
    asked = {"provider": service, "name": "some-model", "base_url": url, "max_output_tokens": 200}
    settings = {
        "input": {"paths": [str(folder / "in")]},
        "model": {**asked, "context_window": 8000, "mode": mode},
        "pricing": {"input_usd_per_million": 0.07, "output_usd_per_million": 0.28, "batch_discount": 0.5},
        "chunking": {"max_tokens": 150},
        "summarize": {"max_words": 40},
        "budget": {"max_cost_usd": 0.05},
        "output": {"path": str(folder / out)},
    }
    return write_job(folder, "night", "summarize", settings)


def launch(path: Path, folder: Path, draw: random.Random, point: str) -> int:
    """The exit code of a run that is killed at `point`, "time": at any moment; "" lets it end."""
    at = str(draw.choice((1, 1, 1, 2, 3))) if point not in ("", "time") else "999999"
    command = [sys.executable, "-c", CHILD, point if len(point) > 4 else "begin>", at, "run", str(path), "--quiet"]
    if not point or draw.random() < 0.6:
        command.append("--wait")
    with (folder / "log").open("ab") as log, subprocess.Popen(command, stdout=log, stderr=log) as child:
        if point == "time":
            time.sleep(draw.uniform(0.5, 3.0))
            child.kill()
        try:
            return child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            return -99


def books(folder: Path) -> dict[str, int]:
    with closing(sqlite3.connect(folder / "out" / "ledger.sqlite")) as ledger:
        return dict(ledger.execute("SELECT billing, sum(cost_pusd) FROM attempt GROUP BY billing"))


def rows(folder: Path, out: str = "out") -> list[Any]:
    latest = folder / out / "night" / "latest" / "documents.parquet"
    return pl.read_parquet(latest).select("document_id", "status", "summary").rows()


def main() -> None:
    seeds, first = (int(word) for word in [*sys.argv[1:3], *("4", "0")[len(sys.argv) - 1 :]])
    sums = {"cases": 0, "wrong": 0}
    for seed in range(first, first + seeds):
        for service in SERVICES:
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                (folder / "in").mkdir()
                for number in range(4):
                    words = f"The bridge number {number} was closed on {number + 1} May 2021 because of its cracks. "
                    text = "\n\n".join(f"Part {part}. {words * 6}" for part in range(3))
                    (folder / "in" / f"{number}.txt").write_text(text, encoding="utf-8")
                with serving(answer="extractive", output_words=25) as server:
                    code = launch(job(folder, server.url, service, "live", "live"), folder, random.Random(0), "")
                    assert code == 0, (folder / "log").read_text()
                fault = FAULTS[seed % len(FAULTS)]
                wrong = case(folder, service, fault, seed, rows(folder, "live"))
                sums["cases"] += 1
                sums["wrong"] += bool(wrong)
                if wrong:
                    print(service, seed, json.dumps(fault), "; ".join(wrong), flush=True)
                    if os.environ.get("SHOW_LOG"):  # what the children said
                        print((folder / "log").read_text()[-3000:])
        print(json.dumps(sums), flush=True)


if __name__ == "__main__":
    main()
