"""What a booked call costs, beside the bare SQLite that it cannot beat; and how fast answers are read again.

    python tests/benchmarks/ledger.py [--calls 20000] [--in-flight 256] [--answer-bytes 4000] [--folder DIR]

A call is two durable waits (reserve, settle) and three rows (reservation, settlement, answer). The floor writes the
same rows from one thread with nobody waiting, `in flight` calls a commit, with the same settings.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from docreduce.desk.ledger import Booked, Kept, Ledger, Reserved
from docreduce.values import Attempt, Usage

USAGE = Usage(input_tokens=8000, output_tokens=900)
ROWS_A_CALL = 3


def reserved(number: int, key: str) -> Reserved:
    return Reserved(
        id=number, run_id="run", document_id="document", key=key, stage="map", chunk=0, attempt=1, started_at=1e9,
        endpoint="e", model="m", bound_pusd=100,
    )  # fmt: skip


def booked(begun: Reserved, answer: str) -> Booked:
    attempt = Attempt(
        key=begun.key, stage="map", chunk=0, attempt=1, started_at=1e9, latency_s=1.0, outcome="ok", billing="charged",
        cost_pusd=1, usage=USAGE, model="m", endpoint="e",
    )  # fmt: skip
    kept = Kept(
        endpoint="e", setting="s", key=begun.key, model="m", text=answer, finish_reason="stop", usage=USAGE, cost_pusd=1
    )
    return Booked(reserved=begun, attempt=attempt, kept=kept)


def book(ledger: Ledger, keys: list[str], answer: str, in_flight: int) -> int:
    """Turns as a desk makes them: what came is booked with what is to be sent next. How many there were."""
    turns, flying = 0, []
    for start in range(0, len(keys) + in_flight, in_flight):
        group = [reserved(at, key) for at, key in enumerate(keys[start : start + in_flight], start=start + 1)]
        ledger.commit(group, [booked(each, answer) for each in flying])
        turns, flying = turns + 1, group
    return turns


def floor(path: Path, keys: list[str], answer: str, in_flight: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.executescript(
        "CREATE TABLE attempt (id INTEGER PRIMARY KEY, a, b, c, d, e); CREATE TABLE answer (key UNIQUE, a, b, text)"
    )
    text = answer.encode()
    for start in range(0, len(keys), in_flight):
        group = list(enumerate(keys[start : start + in_flight], start=start))
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?)", [(i, k, "run", 1e9, "", 100) for i, k in group]
        )
        connection.execute("COMMIT")
        connection.execute("BEGIN")
        connection.executemany("UPDATE attempt SET d = 'charged' WHERE id = ?", [(i,) for i, _ in group])
        connection.executemany("INSERT INTO answer VALUES (?, ?, ?, ?)", [(k, "stop", 1, text) for _, k in group])
        connection.execute("COMMIT")
    connection.close()


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def show(name: str, rows: int, taken: tuple[float, float]) -> None:
    wall, cpu = (1e3 * seconds / rows for seconds in taken)
    print(f"{name:14} {1e3 / wall:9,.0f} rows/s  {wall:.4f} ms a row  {cpu:.4f} ms CPU a row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--answer-bytes", type=int, default=4000)
    parser.add_argument("--folder", type=Path, help="where to write; default a temporary folder")
    options = parser.parse_args()
    answer = "x" * options.answer_bytes
    keys = [hashlib.sha256(f"text {number}".encode()).hexdigest() for number in range(options.calls)]
    rows = options.calls * ROWS_A_CALL
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        show("bare SQLite", rows, timed(lambda: floor(Path(folder) / "floor.sqlite", keys, answer, options.in_flight)))
        with Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
            show("ledger", rows, timed(lambda: book(ledger, keys, answer, options.in_flight)))
        with Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
            for name, order in (("in order", keys), ("shuffled", random.sample(keys, len(keys)))):
                wall, _ = timed(
                    lambda order=order: [
                        ledger.answers("e", "s", order[i : i + 500]) for i in range(0, len(order), 500)
                    ]
                )
                print(f"read again     {len(keys) / wall:9,.0f} answers/s  ({name}, 500 at a time)")
            wall, _ = timed(lambda: [ledger.answers("e", "s", [key]) for key in keys])
            print(f"read again     {len(keys) / wall:9,.0f} answers/s  (one at a time)")
            if len(ledger.answers("e", "s", keys)) != len(keys):
                sys.exit("an answer is missing")


if __name__ == "__main__":
    main()
