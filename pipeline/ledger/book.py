"""The ledger: reserved before a call, settled with its answer after, keyed by the request's hash.

A row `reserved` that an ended process left behind may or may not have been charged: the next opening books it
unknown, at its bound.
"""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

from pipeline.errors import MachineError
from pipeline.ledger.file import MIGRATIONS, Lock, explain, open_file, view_file
from pipeline.ledger.writer import GroupWriter, Row, Value
from pipeline.storage import machine_errors
from pipeline.types import Attempt, Cause, FinishReason, Request, Stage, Usage

__all__ = ["Booking", "Carried", "Ledger", "Sample", "Stored"]

SLICE = 500
"""Keys in one query; SQLite allows 32,766 values."""
SAMPLES = 2000
"""The newest calibration samples that are kept, for each model."""

_BOOKED = (
    "id, run_id, document_id, key, stage, chunk, attempt, started_at, latency_s, outcome, billing, cost_pusd, "
    "input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, http_status, finish_reason, request_id, error"
)
_ANSWER = (
    "key, text, finish_reason, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost_pusd, "
    "cause, message, rejected, crc"
)
_SAMPLE = "sample (model, text_kind, stage, ours, theirs, output)"
_RECOVER = """UPDATE attempt SET billing = 'unknown', cost_pusd = bound_pusd, outcome = 'stopped',
    error = 'the process ended before the answer was stored' WHERE billing = 'reserved'"""
_PRUNE = """DELETE FROM sample WHERE id IN (SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY model ORDER BY id DESC) AS age FROM sample) WHERE age > ?)"""
_CARRIED = """SELECT coalesce(sum(cost_pusd) FILTER (WHERE billing = 'charged'), 0),
    coalesce(sum(cost_pusd) FILTER (WHERE billing = 'unknown'), 0)
    + coalesce(sum(bound_pusd) FILTER (WHERE billing = 'reserved'), 0)
    FROM attempt WHERE run_id IN (SELECT run_id FROM run WHERE job_name = ?1 AND number > (
        SELECT coalesce(max(number), 0) FROM run WHERE job_name = ?1 AND status = 'complete'))"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An answer, or a failure that would come again (`cause`, `message`). `cost_pusd` is what it once cost."""

    key: str
    text: str
    finish_reason: FinishReason
    usage: Usage
    cost_pusd: int
    cause: Cause | None = None
    message: str = ""
    rejected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """An attempt with where it belongs."""

    attempt_id: int
    run_id: str
    document_id: str
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Pico-dollars that earlier runs of a job spent and may have spent."""

    charged_pusd: int
    unknown_pusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a call really took: our count of its input beside the provider's, and the tokens of its output.

    `text_kind` is a short word for the text, such as latin, cjk, code or digits."""

    model: str
    text_kind: str
    stage: Stage
    counted_tokens: int
    input_tokens: int
    output_tokens: int


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
        self._reserved: dict[int, tuple[str, str, int]] = {}  # id: run, document, bound
        self._next_id = int(self._read("SELECT coalesce(max(id), 0) FROM attempt")[0][0]) + 1

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """The ledger at `path`, made, migrated or begun anew as needed, and ours alone until it is closed.

        Raises MachineError: kind "locked" if another run holds it, else for what the disk or SQLite says."""
        with machine_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(path.with_suffix(".lock"))
        try:
            connection, notes = open_file(path)
            try:
                recovered = _recover(connection)
                reader = view_file(path)
                assert reader is not None
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            lock.release()
            raise explain(error, path) from error
        except BaseException:
            lock.release()
            raise
        ledger = cls(reader, path, GroupWriter(connection, path), lock)
        ledger.notes, ledger.recovered = notes, recovered
        return ledger

    @classmethod
    def view(cls, path: Path) -> Ledger:
        """The ledger at `path` for reading only, also while a run writes it; empty where there is none of this version.

        Raises MachineError if it cannot be read."""
        connection = view_file(path)
        if connection is None:
            connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            connection.executescript(";".join(MIGRATIONS))
        return cls(connection, path, None, None)

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
            query = f"SELECT {_ANSWER} FROM answer WHERE key IN ({','.join('?' * len(part))})"  # noqa: S608 - marks only
            if retry_failed:
                query += " AND cause IS NULL AND NOT rejected"
            for row in self._read(query, part):
                if zlib.crc32(row[1]) == row[-1]:  # a rotten answer is asked again
                    found[row[0]] = _stored(row)
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
        self._reserved[attempt_id] = (run_id, document_id, bound_pusd)
        booked = Attempt(
            key=key or request.key,
            stage=request.stage,
            chunk=request.chunk,
            attempt=attempt,
            started_at=started_at,
            latency_s=0.0,
            outcome="reserved",
            billing="free",
            cost_pusd=0,
        )
        try:
            await self._write.write(self._attempt_row(attempt_id, booked, billing="reserved"))
        except asyncio.CancelledError:  # it was never sent
            self._write.post(self._attempt_row(attempt_id, booked, billing="free"))
            del self._reserved[attempt_id]
            raise
        return attempt_id

    async def settle(
        self, attempt_id: int, attempt: Attempt, answer: Stored | None = None, sample: Sample | None = None
    ) -> None:
        """Book what became of a reserved attempt, with its answer and its sample, in one transaction.

        Raises KeyError if it is not reserved."""
        rows = [self._attempt_row(attempt_id, attempt, billing=attempt.billing)]
        if answer:
            rows.append(("answer", _answer_row(answer)))
        if sample:
            rows.append((_SAMPLE, astuple(sample)))
        del self._reserved[attempt_id]
        await self._write.write(*rows)

    async def reject(self, keys: Sequence[str]) -> None:
        """Mark answers that led to a failure, for `stored(retry_failed=True)`."""
        if keys:
            update = "UPDATE answer SET rejected = 1 WHERE key = ?"
            await self._write.write(statements=[(update, (key,)) for key in keys])

    def attempts(self, run_id: str) -> list[Booking]:
        """The settled attempts of a run, in the order they were begun."""
        query = f"SELECT {_BOOKED} FROM attempt WHERE run_id = ? AND billing != 'reserved' ORDER BY id"  # noqa: S608
        return [_booking(row) for row in self._read(query, (run_id,))]

    # --- runs -------------------------------------------------------------------------------------------------

    def begin_run(self, run_id: str, job_name: str, job_sha256: str, started_at: float) -> None:
        """Book that a run began (seconds since the epoch). Blocks until durable."""
        insert = "INSERT INTO run (run_id, job_name, job_sha256, started_at, status) VALUES (?, ?, ?, ?, 'running')"
        self._write.write_now(statements=[(insert, (run_id, job_name, job_sha256, started_at))])

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
        await self._write.write((_SAMPLE, (model, text_kind, stage, counted_tokens, input_tokens, output_tokens)))

    def samples(self, model: str) -> list[Sample]:
        """The newest 2,000 samples of a model, newest first."""
        query = """SELECT model, text_kind, stage, ours, theirs, output FROM sample
            WHERE model = ? ORDER BY id DESC LIMIT ?"""
        return [
            Sample(model=m, text_kind=k, stage=s, counted_tokens=ours, input_tokens=theirs, output_tokens=output)
            for m, k, s, ours, theirs, output in self._read(query, (model, SAMPLES))
        ]

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

    def _attempt_row(self, attempt_id: int, attempt: Attempt, *, billing: str) -> Row:
        run_id, document_id, bound_pusd = self._reserved[attempt_id]
        usage = attempt.usage
        tokens = _tokens(usage) if usage else (None, None, None, None)
        return "attempt", (
            attempt_id,
            run_id,
            _utf8(document_id),
            bound_pusd,
            attempt.key,
            attempt.stage,
            attempt.chunk,
            attempt.attempt,
            attempt.started_at,
            attempt.latency_s,
            attempt.outcome,
            billing,
            attempt.cost_pusd,
            *tokens,
            attempt.http_status,
            attempt.finish_reason,
            _utf8(attempt.request_id),
            _utf8(attempt.error),
        )


def _recover(connection: sqlite3.Connection) -> list[Booking]:
    """Book what ended processes left reserved as unknown, and bound the samples. Returns those attempts."""
    connection.execute("BEGIN IMMEDIATE")
    recovered = [_booking(row) for row in connection.execute(f"{_RECOVER} RETURNING {_BOOKED}")]
    connection.execute("UPDATE run SET status = 'died' WHERE status = 'running'")
    connection.execute(_PRUNE, (SAMPLES,))
    connection.execute("COMMIT")
    return sorted(recovered, key=lambda booking: booking.attempt_id)


def _utf8(text: str | None) -> str | None:
    """SQLite's TEXT is UTF-8: a lone surrogate becomes a question mark."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


def _tokens(usage: Usage) -> tuple[int, int, int, int]:
    return usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.reasoning_tokens


def _usage(row: Sequence[int]) -> Usage:
    return Usage(input_tokens=row[0], output_tokens=row[1], cached_input_tokens=row[2], reasoning_tokens=row[3])


def _answer_row(answer: Stored) -> tuple[Value, ...]:
    text = answer.text.encode("utf-8", "surrogatepass")
    return (
        answer.key,
        text,
        zlib.crc32(text),
        answer.finish_reason,
        *_tokens(answer.usage),
        answer.cost_pusd,
        answer.cause,
        _utf8(answer.message),
        answer.rejected,
    )


def _stored(row: Sequence[Any]) -> Stored:
    return Stored(
        key=row[0],
        text=row[1].decode("utf-8", "surrogatepass"),
        finish_reason=cast(FinishReason, row[2]),
        usage=_usage(row[3:7]),
        cost_pusd=row[7],
        cause=Cause(row[8]) if row[8] else None,
        message=row[9],
        rejected=bool(row[10]),
    )


def _booking(row: Sequence[Any]) -> Booking:
    attempt = Attempt(
        key=row[3],
        stage=row[4],
        chunk=row[5],
        attempt=row[6],
        started_at=row[7],
        latency_s=row[8],
        outcome=row[9],
        billing=cast(Literal["charged", "free", "unknown"], row[10]),
        cost_pusd=row[11],
        usage=_usage(row[12:16]) if row[12] is not None else None,
        http_status=row[16],
        finish_reason=row[17],
        request_id=row[18],
        error=row[19],
    )
    return Booking(attempt_id=row[0], run_id=row[1], document_id=row[2], attempt=attempt)
