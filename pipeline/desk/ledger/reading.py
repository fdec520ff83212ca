"""What a ledger says to those who only look: the bill, what is wrong with the file, and what can go from it.

The views are read without the lock, also while a run writes; `forget` and `purge` want the ledger opened as a run
opens it."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from docreduce.desk.ledger.file import APPLICATION_ID, MIGRATIONS, connect, explain, marker, view_file
from docreduce.desk.ledger.segments import chain_of, restore
from docreduce.values.errors import MachineError

__all__ = [
    "SEGMENTS", "LedgerFault", "Paid", "RunBook", "forget", "ledger_faults", "ledgers_of", "paid", "purge", "run_books",
]  # fmt: skip

SEGMENTS = "ledger.segments"
"""The folder of a ledger's segments, beside the runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paid:
    """What attempts of one run, document, stage, model, endpoint and day (UTC) cost, in pico-dollars."""

    run_id: str
    job: str
    document_id: str
    stage: str
    model: str
    endpoint: str
    day: str
    service_tier: str
    batch: bool
    attempts: int
    charged_pusd: int
    unknown_pusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBook:
    """How the ledger knows a run. Times are seconds since the epoch; `status` is "running" until it is marked."""

    run_id: str
    job: str
    status: str
    started_at: float
    finished_at: float | None
    attempts: int
    charged_pusd: int
    unknown_pusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFault:
    """Something about a ledger. `wrong`: not as it was written; else only to be known."""

    wrong: bool
    message: str
    remedy: str = ""


_PAID = """SELECT run_id, coalesce(job_name, ''), document_id, stage, model, endpoint,
        strftime('%Y-%m-%d', attempt.started_at, 'unixepoch'), coalesce(service_tier, ''), batch IS NOT NULL, count(*),
        coalesce(sum(cost_pusd) FILTER (WHERE billing = 'charged'), 0),
        coalesce(sum(cost_pusd) FILTER (WHERE billing = 'unknown'), 0)
    FROM attempt LEFT JOIN run USING (run_id) WHERE attempt.started_at >= ? GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"""
_RUNS = """SELECT run.run_id, job_name, status, run.started_at, finished_at, count(attempt.id),
        coalesce(sum(cost_pusd) FILTER (WHERE billing = 'charged'), 0),
        coalesce(sum(cost_pusd) FILTER (WHERE billing = 'unknown'), 0)
    FROM run LEFT JOIN attempt ON attempt.run_id = run.run_id GROUP BY run.number ORDER BY run.number"""


def ledgers_of(output: Path) -> list[Path]:
    """The ledgers of an output folder, those of shards too: files, and folders of segments; none that was set aside."""
    found = (path for path in output.rglob("ledger*.sqlite") if path.is_file())
    copied = (path for path in output.glob(f"shards/*-of-*/{SEGMENTS}") if path.is_dir())
    return sorted([*(path for path in found if ".aside-" not in path.name), *copied])


def paid(path: Path, since_s: float = 0.0) -> list[Paid]:
    """What was paid from `since_s` (seconds since the epoch) on. Raises MachineError if it cannot be read."""
    with _viewed(path) as connection:
        rows = connection.execute(_PAID, (since_s,)).fetchall()
    names = Paid.__slots__
    return [Paid(**{**dict(zip(names, row, strict=True)), "batch": bool(row[8])}) for row in rows]


def run_books(path: Path) -> list[RunBook]:
    """The runs that the ledger knows, in the order they began. Raises MachineError if it cannot be read."""
    with _viewed(path) as connection:
        rows = connection.execute(_RUNS).fetchall()
    return [RunBook(**dict(zip(RunBook.__slots__, row, strict=True))) for row in rows]


def ledger_faults(path: Path) -> Iterator[LedgerFault]:
    """All that is to be said about the ledger at `path`: its file, page by page, and its answers, one by one."""
    if path.is_dir():
        yield from _segment_faults(path)
        return
    if marker(path).exists():
        yield LedgerFault(wrong=True, message="marked as corrupt by a run", remedy=_SALVAGE)
    for aside in sorted(path.parent.glob(f"{path.stem}.aside-*{path.suffix}")):
        message = f"{aside.name} was set aside as broken"
        yield LedgerFault(
            wrong=False, message=message, remedy="What could be read of it was taken over; keep or remove."
        )
    if path.stat().st_size == 0:
        yield LedgerFault(wrong=False, message="the ledger is empty")
        return
    try:
        with contextlib.closing(connect(path, read_only=True)) as connection:
            owner, version = (
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
            if (owner, version) != (APPLICATION_ID, len(MIGRATIONS)):
                known = f"a ledger of version {version}, not {len(MIGRATIONS)}"
                older = owner == APPLICATION_ID and version < len(MIGRATIONS)
                message = known if owner == APPLICATION_ID else "not a ledger of ours"
                yield LedgerFault(
                    wrong=not older, message=message, remedy="The next run brings it up to date." if older else ""
                )
                return
            for (line,) in connection.execute("PRAGMA integrity_check(20)"):
                if line != "ok":
                    yield LedgerFault(wrong=True, message=f"SQLite: {line}", remedy=_SALVAGE)
            yield from _answer_faults(connection)
    except sqlite3.DatabaseError as error:
        yield LedgerFault(wrong=True, message=f"SQLite: {error}", remedy=_SALVAGE)


def _segment_faults(folder: Path) -> Iterator[LedgerFault]:
    connection, faults = restore(chain_of(folder))
    with contextlib.closing(connection):
        for message in faults:
            remedy = "The shard's next run on the disk that has its ledger writes them anew."
            yield LedgerFault(wrong=True, message=message, remedy=remedy)
        yield from _answer_faults(connection)


_SALVAGE = "The next run keeps the file aside and begins a new one with all that can be read of it."


def _answer_faults(connection: sqlite3.Connection) -> Iterator[LedgerFault]:
    damaged = 0
    for text, crc in connection.execute("SELECT text, crc FROM answer"):
        damaged += not isinstance(text, bytes) or zlib.crc32(text) != crc
    if damaged:
        remedy = "They answer for nobody: the next run asks and pays for them again."
        yield LedgerFault(wrong=True, message=f"{damaged:,} answers are not what was written", remedy=remedy)
    old = connection.execute("SELECT count(*) FROM answer WHERE endpoint = ''").fetchone()[0]
    if old:
        message = f"{old:,} answers are from before endpoints were recorded: they answer for nobody"
        yield LedgerFault(wrong=False, message=message, remedy="`docreduce prune` removes them.")
    left, bound = connection.execute("SELECT count(*), coalesce(sum(bound_pusd), 0) FROM reservation").fetchone()
    if left:
        message = f"{left:,} calls are reserved, up to ${bound / 1e12:.6f}: a run is at work, or died"
        yield LedgerFault(wrong=False, message=message, remedy="The next run books them.")
    odd = connection.execute("SELECT count(*) FROM attempt WHERE cost_pusd < 0").fetchone()[0]
    if odd:
        yield LedgerFault(wrong=True, message=f"{odd:,} attempts have a negative cost")


def forget(connection: sqlite3.Connection, kept: Iterable[tuple[str, str]], since_s: float, *, dry_run: bool) -> int:
    """Remove the answers that nothing refers to; how many. `kept`: (call key, endpoint) of the calls of kept runs; what
    attempts since `since_s` are about stays too, whatever became of their run."""
    connection.execute("CREATE TEMP TABLE kept (key TEXT, endpoint TEXT, PRIMARY KEY (key, endpoint)) WITHOUT ROWID")
    try:
        connection.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?)", kept)
        connection.execute(
            "INSERT OR IGNORE INTO kept SELECT key, endpoint FROM attempt WHERE started_at >= ?", (since_s,)
        )
        unused = "FROM answer WHERE (key, endpoint) NOT IN (SELECT key, endpoint FROM kept)"
        number = int(connection.execute(f"SELECT count(*) {unused}").fetchone()[0])
        if number and not dry_run:
            connection.execute(f"DELETE {unused}")
    finally:
        connection.execute("DROP TABLE kept")
    return number


def purge(writer: sqlite3.Connection, document_id: str, keys: Sequence[str], *, dry_run: bool) -> tuple[int, int]:
    """Remove the answers under `keys` and under those of the document's own attempts, and what its attempts say but
    their money: (answers, attempts)."""
    own = [key for (key,) in writer.execute("SELECT key FROM attempt WHERE document_id = ?", (document_id,))]
    listed = orjson.dumps(sorted({*own, *keys})).decode()
    where = "FROM answer WHERE key IN (SELECT value FROM json_each(?))"
    answers = int(writer.execute(f"SELECT count(*) {where}", (listed,)).fetchone()[0])
    if not dry_run:
        writer.execute(f"DELETE {where}", (listed,))
        blank = "UPDATE attempt SET document_id = '', key = '', error = NULL, request_id = NULL WHERE document_id = ?"
        writer.execute(blank, (document_id,))
    return answers, len(own)


@contextlib.contextmanager
def _viewed(path: Path) -> Iterator[Any]:
    connection = restore(chain_of(path), answers=False)[0] if path.is_dir() else view_file(path)
    if connection is None:
        raise MachineError(f"{path}: no ledger of this version", hint="`docreduce check` says what it is.")
    with contextlib.closing(connection):
        try:
            yield connection
        except sqlite3.Error as error:
            raise explain(error, path) from error
