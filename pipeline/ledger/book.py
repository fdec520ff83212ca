"""The ledger: reserved before a call, settled with its answer after, keyed by the request's hash.

A row `reserved` that an ended process left behind may or may not have been charged: the next opening books it
unknown, at its bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.errors import MachineError
from pipeline.ledger.file import MIGRATIONS, Lock, connect, explain, open_file, view_file
from pipeline.ledger.rows import (
    BOOKED,
    STORED,
    Booking,
    Carried,
    Reservation,
    Sample,
    Stored,
    answer_row,
    attempt_row,
    booking,
    sample_row,
    stored,
)
from pipeline.ledger.writer import GroupWriter, Value
from pipeline.storage import machine_errors
from pipeline.types import Attempt, Cause, Request, Stage

__all__ = ["Ledger"]

SLICE = 500
"""Keys in one query; SQLite allows 32,766 values."""
SAMPLES = 2000
"""The newest calibration samples that are kept, for each model."""

_RECOVER = """UPDATE attempt SET billing = 'unknown', cost_pusd = bound_pusd, outcome = 'stopped',
    error = 'the process ended before the answer was stored'
    WHERE billing = 'reserved' AND id >= coalesce((SELECT value FROM pin WHERE name = '.recovered'), 0)"""
_RECOVERED = "INSERT OR REPLACE INTO pin SELECT '.recovered', coalesce(max(id), 0) + 1 FROM attempt"
"""Below this id nothing is reserved any more, so that opening does not look through every attempt there ever was."""
_PRUNE = """DELETE FROM sample WHERE id IN (SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY model ORDER BY id DESC) AS age FROM sample) WHERE age > ?)"""
_CARRIED = """SELECT coalesce(sum(cost_pusd) FILTER (WHERE billing = 'charged'), 0),
    coalesce(sum(cost_pusd) FILTER (WHERE billing = 'unknown'), 0)
    + coalesce(sum(bound_pusd) FILTER (WHERE billing = 'reserved'), 0)
    FROM attempt JOIN run USING (run_id) WHERE job_name = ?1
    AND number > (SELECT coalesce(max(number), 0) FROM run WHERE job_name = ?1 AND status = 'complete')
    AND id >= (SELECT min(first_attempt) FROM run WHERE job_name = ?1
        AND number > (SELECT coalesce(max(number), 0) FROM run WHERE job_name = ?1 AND status = 'complete'))"""
"""One run writes at a time and ids ascend, so `first_attempt` bounds what has to be looked through; an index over
all attempts would cost every settlement."""


class Ledger:
    """One output folder's ledger. `notes`: what had to be done to open it, for people. `recovered`: attempts of
    ended processes that were booked unknown just now. `commits` and `rows` count what was written.

    A context manager. Writing methods raise MachineError when the disk fails, and so does every one after."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, writer: GroupWriter | None, lock: Lock | None
    ) -> None:
        self.path = path
        self.notes: list[str] = []
        self.recovered: list[Booking] = []
        self._reader = connection
        self._writer = writer
        self._lock = lock
        self._reserved: dict[int, Reservation] = {}  # by attempt id
        self._next_id = int(self._read("SELECT coalesce(max(id), 0) FROM attempt")[0][0]) + 1

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """The ledger at `path`, made, migrated or begun anew as needed, and ours alone until it is closed.

        Raises MachineError: kind "locked" if another run holds it, else for what the disk or SQLite says."""
        with machine_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as failed:
            lock = Lock(path.with_suffix(".lock"))
            failed.callback(lock.release)
            connection, notes = open_file(path)
            failed.callback(connection.close)
            try:
                recovered = _recover(connection)
                reader = connect(path, read_only=True)
            except sqlite3.Error as error:
                raise explain(error, path) from error
            failed.callback(reader.close)
            ledger = cls(reader, path, GroupWriter(connection, path), lock)
            failed.pop_all()
        ledger.notes, ledger.recovered = notes, recovered
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
            if self._lock:
                self._lock.release()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def commits(self) -> int:
        """Commits since it was opened."""
        return self._write.commits

    @property
    def rows(self) -> int:
        """Rows those commits held."""
        return self._write.rows

    # --- calls and answers ------------------------------------------------------------------------------------

    def stored(self, keys: Sequence[str], *, retry_failed: bool = False) -> dict[str, Stored]:
        """What is known of `keys`. `retry_failed` leaves out rejected answers and remembered failures."""
        found: dict[str, Stored] = {}
        for start in range(0, len(keys), SLICE):
            part = keys[start : start + SLICE]
            query = f"SELECT {STORED} FROM answer WHERE key IN ({','.join('?' * len(part))})"  # noqa: S608 - marks only
            if retry_failed:
                query += " AND cause IS NULL AND NOT rejected"
            for row in self._read(query, part):
                answer = stored(row)
                if answer:  # a rotten one is asked again
                    found[answer.key] = answer
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
        place = self._reserved[attempt_id] = Reservation(attempt_id, run_id, document_id, bound_pusd)
        booked = Attempt(
            key=key or request.key, stage=request.stage, chunk=request.chunk, attempt=attempt, started_at=started_at,
            latency_s=0.0, outcome=Cause.STOPPED, billing="free", cost_pusd=0,
        )  # fmt: skip
        try:
            await self._write.write(attempt_row(place, booked, reserved=True))
        except asyncio.CancelledError:  # it was never sent
            self._write.post(attempt_row(place, booked))
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
        await self._write.write(*rows)

    async def reject(self, keys: Sequence[str]) -> None:
        """Mark answers that led to a failure, for `stored(retry_failed=True)`."""
        if keys:
            update = "UPDATE answer SET rejected = 1 WHERE key = ?"
            await self._write.write(statements=[(update, (key,)) for key in keys])

    def attempts(self, run_id: str) -> list[Booking]:
        """The settled attempts of a run, in the order they were begun."""
        query = f"""SELECT {BOOKED} FROM attempt WHERE run_id = ?1 AND billing != 'reserved'
            AND id >= (SELECT coalesce(max(first_attempt), 0) FROM run WHERE run_id = ?1) ORDER BY id"""  # noqa: S608
        return [booking(row) for row in self._read(query, (run_id,))]

    # --- runs -------------------------------------------------------------------------------------------------

    def begin_run(self, run_id: str, job_name: str, job_sha256: str, started_at: float) -> None:
        """Book that a run began (seconds since the epoch). Blocks until durable."""
        insert = """INSERT INTO run (run_id, job_name, job_sha256, started_at, status, first_attempt)
            VALUES (?, ?, ?, ?, 'running', ?)"""
        self._write.write_now(statements=[(insert, (run_id, job_name, job_sha256, started_at, self._next_id))])

    def end_run(self, run_id: str, status: str, finished_at: float) -> None:
        """Book how a run ended: complete, budget, refused, interrupted. Blocks until durable."""
        update = "UPDATE run SET status = ?, finished_at = ? WHERE run_id = ?"
        self._write.write_now(statements=[(update, (status, finished_at, run_id))])

    def carried(self, job_name: str) -> Carried:
        """What the runs of this job spent since its last complete one. Calls still reserved count as unknown."""
        charged, unknown = self._read(_CARRIED, (job_name,))[0]
        return Carried(charged_pusd=charged, unknown_pusd=unknown)

    # --- what is learned --------------------------------------------------------------------------------------

    async def observe(
        self, model: str, text_kind: str, stage: Stage, counted_tokens: int, input_tokens: int, output_tokens: int
    ) -> None:
        """Keep a calibration sample; `settle` takes one along without a write of its own."""
        sample = Sample(
            model=model, text_kind=text_kind, stage=stage,
            counted_tokens=counted_tokens, input_tokens=input_tokens, output_tokens=output_tokens,
        )  # fmt: skip
        await self._write.write(sample_row(sample))

    def samples(self, model: str) -> list[Sample]:
        """The newest 2,000 samples of a model, newest first."""
        query = """SELECT model, text_kind, stage, ours, theirs, output FROM sample
            WHERE model = ? ORDER BY id DESC LIMIT ?"""
        return [
            Sample(model=m, text_kind=k, stage=s, counted_tokens=ours, input_tokens=theirs, output_tokens=output)
            for m, k, s, ours, theirs, output in self._read(query, (model, SAMPLES))
        ]

    def latency_s(self, job_sha256: str) -> float | None:
        """Mean latency of the newest 500 answered calls of runs of this very job; None where there were none."""
        query = """SELECT avg(latency_s) FROM (SELECT latency_s FROM attempt JOIN run USING (run_id)
            WHERE job_sha256 = ? AND outcome = 'ok' ORDER BY id DESC LIMIT 500)"""
        found = self._read(query, (job_sha256,))[0][0]
        return None if found is None else float(found)

    def pinned(self, name: str, default: int) -> int:
        """The integer once kept under `name`; `default` is kept there if none was. Blocks until durable.

        A ledger opened by `view` keeps nothing."""
        query = "SELECT value FROM pin WHERE name = ?"
        rows = self._read(query, (name,))
        if not rows and self._writer:
            self._writer.write_now(statements=[("INSERT OR IGNORE INTO pin VALUES (?, ?)", (name, default))])
            rows = self._read(query, (name,))
        return int(rows[0][0]) if rows else default

    # --- inside -----------------------------------------------------------------------------------------------

    @property
    def _write(self) -> GroupWriter:
        if self._writer is None:
            raise MachineError(f"{self.path}: opened for reading only")
        return self._writer

    def _read(self, query: str, values: Sequence[Value] = ()) -> list[Any]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise explain(error, self.path) from error


def _recover(connection: sqlite3.Connection) -> list[Booking]:
    """Book what ended processes left reserved as unknown, and bound the samples. Returns those attempts."""
    connection.execute("BEGIN IMMEDIATE")
    recovered = [booking(row) for row in connection.execute(f"{_RECOVER} RETURNING {BOOKED}")]
    connection.execute("UPDATE run SET status = 'died' WHERE status = 'running'")
    connection.execute(_RECOVERED)
    connection.execute(_PRUNE, (SAMPLES,))
    connection.execute("COMMIT")
    return sorted(recovered, key=lambda found: found.attempt_id)
