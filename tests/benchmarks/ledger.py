"""What a booked call costs, beside the bare SQLite that it cannot beat; and how fast answers are read again.

    python tests/benchmarks/ledger.py [--calls 20000] [--in-flight 256] [--answer-bytes 4000] [--folder DIR]

A call is two durable waits (reserve, settle) and three rows (reservation, settlement, answer). The floor writes the
same rows from one thread with nobody waiting, `in flight` calls a commit, with the same settings.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from docreduce.desk.ledger import Ledger, Stored
from docreduce.desk.ledger.file import MIGRATIONS
from docreduce.values import Attempt, Message, Request, Usage

USAGE = Usage(input_tokens=8000, output_tokens=900)
ROWS_A_CALL = 3


def ask(number: int) -> Request:
    message = Message("user", f"text {number}")
    return Request(provider="p", model="m", messages=(message,), max_output_tokens=9, temperature=0.0, top_p=1.0)


def settled(key: str) -> Attempt:
    return Attempt(
        key=key,
        stage="map",
        chunk=0,
        attempt=1,
        started_at=1e9,
        latency_s=1.0,
        outcome="ok",
        billing="charged",
        cost_pusd=1,
        usage=USAGE,
    )


async def book(ledger: Ledger, requests: list[tuple[Request, str]], answer: str, in_flight: int) -> None:
    waiting = iter(requests)

    async def work() -> None:
        for request, key in waiting:
            attempt_id = await ledger.reserve("run", "document", request, 1, 100, 1e9, key=key)
            stored = Stored(key=key, text=answer, finish_reason="stop", usage=USAGE, cost_pusd=1)
            await ledger.settle(attempt_id, settled(key), stored)

    await asyncio.gather(*(work() for _ in range(in_flight)))


def floor(path: Path, keys: list[str], answer: str, in_flight: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.executescript(";".join(MIGRATIONS))
    text = answer.encode()
    tail = (200, None, None, None, 8000, 900, 0, 0)
    empty = (None,) * 8
    attempt = f"INSERT OR REPLACE INTO attempt VALUES ({','.join('?' * 20)})"
    stored = f"INSERT OR REPLACE INTO answer VALUES ({','.join('?' * 12)})"
    for start in range(0, len(keys), in_flight):
        group = list(enumerate(keys[start : start + in_flight], start=start))
        begun = [(i, "run", "document", k, "map", 0, 1, 1e9, 0.0, "stopped", "reserved", 100, *empty) for i, k in group]
        ended = [(i, "run", "document", k, "map", 0, 1, 1e9, 1.0, "ok", "charged", 1, *tail) for i, k in group]
        answers = [(k, "stop", 1, None, 0, "", 8000, 900, 0, 0, text, 0) for _, k in group]
        connection.execute("BEGIN")
        connection.executemany(attempt, begun)
        connection.execute("COMMIT")
        connection.execute("BEGIN")
        connection.executemany(attempt, ended)
        connection.executemany(stored, answers)
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
    requests = [(request := ask(number), request.key) for number in range(options.calls)]
    keys = [key for _, key in requests]
    rows = options.calls * ROWS_A_CALL
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        show("bare SQLite", rows, timed(lambda: floor(Path(folder) / "floor.sqlite", keys, answer, options.in_flight)))
        with Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
            show("ledger", rows, timed(lambda: asyncio.run(book(ledger, requests, answer, options.in_flight))))
            print(f"               {ledger.writer.rows:,} rows in {ledger.writer.commits:,} commits")
        with Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
            for name, order in (("in order", keys), ("shuffled", random.sample(keys, len(keys)))):
                wall, _ = timed(
                    lambda order=order: [ledger.stored(order[i : i + 500]) for i in range(0, len(order), 500)]
                )
                print(f"read again     {len(keys) / wall:9,.0f} answers/s  ({name}, 500 at a time)")
            wall, _ = timed(lambda: [ledger.stored([key]) for key in keys])
            print(f"read again     {len(keys) / wall:9,.0f} answers/s  (one at a time)")
            if len(ledger.stored(keys)) != len(keys):
                sys.exit("an answer is missing")


if __name__ == "__main__":
    main()
