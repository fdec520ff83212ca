"""The ledger: reserved before a call, settled with its answer after, keyed by the request's hash.

A row `reserved` that an ended process left behind may or may not have been charged: the next opening books it
unknown, at its bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import orjson
from docreduce.desk.ledger.file import MIGRATIONS, connect, explain, keep_aside, lock, migrate, view_file
from docreduce.desk.ledger.rows import (
    SAMPLE,
    STORED,
    Carried,
    Place,
    Sample,
    Stored,
    answer_row,
    attempt_row,
    sample_row,
    stored,
)
from docreduce.desk.ledger.salvage import salvage
from docreduce.desk.ledger.writer import GroupWriter, Value
from docreduce.storage import fsync_folder, machine_errors
from docreduce.values import Attempt, Cause, Request
from docreduce.values.errors import MachineError
from docreduce.values.unicode import well_formed

__all__ = ["Ledger"]

SAMPLES = 2000
"""The newest calibration samples that are kept, for each model."""

_RECOVER = """UPDATE attempt SET billing = 'unknown', outcome = 'stopped',
    error = 'the process ended before the answer was stored'
    WHERE billing = 'reserved' AND id >= coalesce((SELECT first_attempt FROM run ORDER BY number DESC LIMIT 1), 0)
    RETURNING cost_pusd"""
"""What is older than the newest run was looked through when that one opened the ledger."""
_PRUNE = f"""DELETE FROM sample WHERE id IN (SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY model ORDER BY id DESC) AS age FROM sample) WHERE age > {SAMPLES})"""  # noqa: S608
_CARRIED = """WITH open AS (SELECT run_id, first_attempt FROM run WHERE job_name = ?
        AND number > (SELECT coalesce(max(number), 0) FROM run WHERE job_name = ? AND status = 'complete'))
    SELECT coalesce(sum(cost_pusd) FILTER (WHERE billing = 'charged'), 0),
        coalesce(sum(cost_pusd) FILTER (WHERE billing IN ('unknown', 'reserved')), 0)
    FROM attempt WHERE id >= (SELECT min(first_attempt) FROM open) AND run_id IN (SELECT run_id FROM open)"""
"""One run writes at a time and ids ascend, so `first_attempt` bounds what has to be looked through; an index over
all attempts would cost every settlement."""


class Ledger:
    """One output folder's ledger. `notes`: what had to be done to open it, for people. `recovered`: the bounds
    (pico-dollars) of calls that an ended process left in flight; they were booked unknown just now. `rotten`: keys
    whose answer is not what was written; they are asked again.

    A context manager. Writing methods raise MachineError when the disk fails, and so does every one after."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, writer: GroupWriter | None, held: IO[str] | None
    ) -> None:
        self.path = path
        self.notes: list[str] = []
        self.recovered: list[int] = []
        self.rotten: set[str] = set()
        self._reader = connection
        self._writer = writer
        self._held = held  # the lock
        self._reserved: dict[int, Place] = {}  # by attempt id
        self._next_id = int(self._read("SELECT coalesce(max(id), 0) FROM attempt")[0][0]) + 1

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """The ledger at `path`, made, migrated or begun anew as needed, and ours alone until it is closed.

        Raises MachineError: kind "locked" if another run holds it, else for what the disk or SQLite says."""
        with machine_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as failed:
            held = failed.enter_context(lock(path.with_suffix(".lock")))
            try:
                broken = keep_aside(path)
                connection = connect(path)
                failed.callback(connection.close)
                migrate(connection)
                saved = salvage(broken[0], connection) if broken else 0
                fsync_folder(path.parent)
                recovered = _recover(connection)
                reader = connect(path, read_only=True)
            except sqlite3.Error as error:
                raise explain(error, path) from error
            failed.callback(reader.close)
            ledger = cls(reader, path, GroupWriter(connection, path), held)
            failed.pop_all()
        ledger.recovered = recovered
        if broken:
            kept = f"{path.name}: {broken[1]}; kept as {broken[0].name}, a new one begun with {saved} rows read from it"
            ledger.notes.append(f"{kept}: answers beyond these are asked and paid for again")
        return ledger

    @classmethod
    def view(cls, path: Path) -> Ledger:
        """The ledger at `path` for reading only, also while a run writes it; empty where there is none of this version.

        Raises MachineError if it cannot be read."""
        found = view_file(path)
        connection = found or sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if found is None:
            connection.executescript(";".join(MIGRATIONS))
        ledger = cls(connection, path, None, None)
        if found is None and path.exists():
            ledger.notes.append(f"{path.name}: not a ledger of this version; taken for empty")
        return ledger

    def close(self) -> None:
        """Write what is queued, close the file and let the next run in. Raises MachineError if a write failed."""
        self._reader.close()
        try:
            if self._writer:
                self._writer.close()
        finally:
            if self._held:
                self._held.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- calls and answers ------------------------------------------------------------------------------------

    def stored(self, keys: Sequence[str], *, retry_failed: bool = False) -> dict[str, Stored]:
        """What is known of `keys`. `retry_failed` leaves out rejected answers and remembered failures."""
        found: dict[str, Stored] = {}
        query = f"SELECT {STORED} FROM answer WHERE key IN (SELECT value FROM json_each(?))"  # noqa: S608
        if retry_failed:
            query += " AND cause IS NULL AND NOT rejected"
        for row in self._read(query, (orjson.dumps(keys).decode(),)):
            answer = stored(row)
            if answer:
                found[answer.key] = answer
            else:
                self.rotten.add(row[0])
        return found

    async def reserve(
        self,
        run_id: str,
        document_id: str,
        request: Request,
        attempt: int,
        bound_pusd: int,
        started_at: float,
        *,
        key: str | None = None,
    ) -> int:
        """Book that `request` is about to be sent and costs at most `bound_pusd`; its attempt id, when durable.

        `key`: the request's, where the caller has it already. Cancelled, the reservation is undone."""
        attempt_id, self._next_id = self._next_id, self._next_id + 1
        place = self._reserved[attempt_id] = (attempt_id, run_id, well_formed(document_id))
        booked = Attempt(
            key=key or request.key, stage=request.stage, chunk=request.chunk, attempt=attempt, started_at=started_at,
            latency_s=0.0, outcome=Cause.STOPPED, billing="unknown", cost_pusd=bound_pusd,
        )  # fmt: skip
        try:
            await self.writer.write(attempt_row(place, booked, reserved=True))
        except asyncio.CancelledError:  # it was never sent
            self.writer.post(attempt_row(place, replace(booked, billing="free", cost_pusd=0)))
            del self._reserved[attempt_id]
            raise
        return attempt_id

    async def settle(
        self, attempt_id: int, attempt: Attempt, answer: Stored | None = None, sample: Sample | None = None
    ) -> None:
        """Book what became of a reserved attempt, with its answer and its sample, in one transaction.

        Raises KeyError if it is not reserved."""
        rows = [attempt_row(self._reserved.pop(attempt_id), attempt)]
        if answer:
            rows.append(answer_row(answer))
        if sample:
            rows.append(sample_row(sample))
        await self.writer.write(*rows)

    async def reject(self, keys: Sequence[str]) -> None:
        """Mark answers that led to a failure, for `stored(retry_failed=True)`."""
        if keys:
            update = "UPDATE answer SET rejected = 1 WHERE key = ?"
            await self.writer.write(*((update, (key,)) for key in keys))

    # --- runs -------------------------------------------------------------------------------------------------

    def begin_run(self, run_id: str, job_name: str, job_sha256: str, started_at: float) -> None:
        """Book that a run began (seconds since the epoch). Blocks until durable."""
        place = "run (run_id, job_name, job_sha256, started_at, status, first_attempt)"
        self.writer.write_now((place, (run_id, job_name, job_sha256, started_at, "running", self._next_id)))

    def end_run(self, run_id: str, status: str, finished_at: float) -> None:
        """Book how a run ended: complete, budget, refused, interrupted. Blocks until durable."""
        update = "UPDATE run SET status = ?, finished_at = ? WHERE run_id = ?"
        self.writer.write_now((update, (status, finished_at, run_id)))

    def carried(self, job_name: str) -> Carried:
        """What the runs of this job spent since its last complete one. Calls still reserved count as unknown."""
        charged, unknown = self._read(_CARRIED, (job_name, job_name))[0]
        return Carried(charged_pusd=charged, unknown_pusd=unknown)

    # --- what is learned --------------------------------------------------------------------------------------

    def samples(self, model: str) -> list[Sample]:
        """The newest 2,000 samples of a model, newest first."""
        query = f"SELECT {SAMPLE} FROM sample WHERE model = ? ORDER BY id DESC LIMIT {SAMPLES}"  # noqa: S608
        return [Sample(*row) for row in self._read(query, (model,))]

    def latency_s(self, job_sha256: str) -> float | None:
        """Mean latency of the newest 500 answered calls of runs of this very job; None where there were none."""
        query = """SELECT avg(latency_s) FROM (SELECT latency_s FROM attempt JOIN run USING (run_id)
            WHERE job_sha256 = ? AND outcome = 'ok' ORDER BY id DESC LIMIT 500)"""
        found = self._read(query, (job_sha256,))[0][0]
        return None if found is None else float(found)

    def pinned(self, name: str, default: int) -> int:
        """The integer once kept under `name`; `default` is kept there if none was. Blocks until durable.

        A ledger opened by `view` keeps nothing."""
        rows = self._read("SELECT value FROM pin WHERE name = ?", (name,))
        if rows:
            return int(rows[0][0])
        if self._writer:
            self._writer.write_now(("pin", (name, default)))
        return default

    # --- inside -----------------------------------------------------------------------------------------------

    @property
    def writer(self) -> GroupWriter:
        """What writes it. Raises MachineError if it was opened by `view`."""
        if self._writer is None:
            raise MachineError(f"{self.path}: opened for reading only")
        return self._writer

    def _read(self, query: str, values: Sequence[Value] = ()) -> list[Any]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise explain(error, self.path) from error


def _recover(connection: sqlite3.Connection) -> list[int]:
    """Book what an ended process left reserved as unknown, and bound the samples. Returns what each can have cost."""
    connection.execute("BEGIN IMMEDIATE")
    bounds = [int(cost_pusd) for (cost_pusd,) in connection.execute(_RECOVER)]
    connection.execute("UPDATE run SET status = 'died' WHERE status = 'running'")
    connection.execute(_PRUNE)
    connection.execute("COMMIT")
    return bounds
