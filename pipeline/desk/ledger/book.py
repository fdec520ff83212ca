"""The ledger: reserved before a call, booked with its answer after, known by endpoint, setting and request.

A reservation that an ended process left behind may or may not have been charged: the next opening books it unknown at
its bound, or forgets it where it provably was never sent."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from docreduce.desk.ledger.batches import Batches
from docreduce.desk.ledger.copying import PIN, Copying, begin
from docreduce.desk.ledger.file import (
    MIGRATIONS,
    connect,
    explain,
    hold,
    keep_aside,
    migrate,
    salvaged,
    view_file,
)
from docreduce.desk.ledger.reading import forget, purge
from docreduce.desk.ledger.recovery import SAMPLES, recover
from docreduce.desk.ledger.rows import (
    ANSWER,
    ATTEMPT,
    RESERVATION,
    SAMPLE,
    Booked,
    Reserved,
    Value,
    answer_row,
    attempt_row,
    outcome_of,
    sample_row,
)
from docreduce.desk.ledger.salvage import salvage
from docreduce.desk.ledger.segments import chain_of, restore
from docreduce.desk.ledger.sending import Sending
from docreduce.desk.ledger.store import Store
from docreduce.models.calibration import Sample
from docreduce.settings import Retry
from docreduce.storage import fsync_folder, machine_errors
from docreduce.values import Outcome

__all__ = ["Carried", "Ledger"]

BATCH = 50
"""Rows in one INSERT. The interpreter's lock is given up once for each statement and can take 5 ms to come back
while the event loop is busy, so few statements matter more than their length."""

_CARRIED = """WITH open AS (SELECT run_id, first_attempt FROM run WHERE job_name = ?
        AND number > (SELECT coalesce(max(number), 0) FROM run WHERE job_name = ? AND status = 'complete'))
    SELECT coalesce(sum(cost_pusd) FILTER (WHERE billing = 'charged'), 0),
        coalesce(sum(cost_pusd) FILTER (WHERE billing = 'unknown'), 0)
    FROM attempt WHERE id >= (SELECT min(first_attempt) FROM open) AND run_id IN (SELECT run_id FROM open)"""
"""One run writes at a time and ids ascend, so `first_attempt` bounds what has to be looked through; an index over
all attempts would cost every booking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Pico-dollars that earlier runs of a job spent and may have spent."""

    charged_pusd: int
    unknown_pusd: int


class Ledger(Store):
    """One output folder's ledger. `notes`: what had to be done to open it, for people. `recovered`: the bounds
    (pico-dollars) of calls that an ended process left in flight; they were booked unknown just now. `rotten`: keys
    whose answer is not what was written; they are asked again.

    A context manager. Threads write in turn, another may read. Raises MachineError when the disk fails."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__(connection, path)
        self.notes: list[str] = []
        self.recovered: list[int] = []
        self.rotten: set[str] = set()
        self._sending: Sending | None = None
        self._copying: Copying | None = None
        self.batches = Batches(self._copied, self._read)
        newest = (
            "SELECT max(coalesce((SELECT max(id) FROM attempt), 0), coalesce((SELECT max(id) FROM reservation), 0))"
        )
        self.next_id = int(self._read(newest)[0][0]) + 1

    @classmethod
    def open(cls, path: Path, segments: Path | None = None) -> Ledger:
        """The ledger at `path`, made, migrated or begun anew as needed, and ours alone until it is closed. `segments`:
        a folder from which it begins where its own disk was lost, and to which it is copied (`copying`).

        Raises MachineError: kind "locked" if another run holds it, else for what the disk or SQLite says."""
        with machine_errors(path):
            path = path.resolve() if path.is_symlink() else path  # its files beside it lie where it lies
            path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as failed:
            held = failed.enter_context(hold(path))
            try:
                broken = keep_aside(path)
                if broken:  # the lock went with it
                    held.close()
                    held = failed.enter_context(hold(path))
                begun = None if segments is None else begin(path, segments)
                writer = connect(path)
                failed.callback(writer.close)
                migrate(writer)
                saved = salvage(broken[0], writer) if broken else 0
                if broken:
                    salvaged(path)
                fsync_folder(path.parent)
                sending = Sending(path.with_suffix(".sending"))
                failed.callback(sending.close)
                token = secrets.token_hex(8)
                recovered = recover(writer, sending.before, token)
                reader = connect(path, read_only=True)
            except sqlite3.Error as error:
                raise explain(error, path) from error
            failed.callback(reader.close)
            ledger = cls(reader, path)
            ledger._writer, ledger._held, ledger._sending, ledger._token = writer, held, sending, token
            if begun is not None:
                ledger.notes.extend(begun.notes)
                ledger.note(PIN, str(begun.lease.epoch))
                ledger._copying = Copying(begun, path)
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
        found = restore(chain_of(path))[0] if path.is_dir() else view_file(path)
        connection = found or sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if found is None:
            connection.executescript(";".join(MIGRATIONS))
        ledger = cls(connection, path)
        if found is None and path.exists() and path.stat().st_size:
            ledger.notes.append(f"{path.name}: not a ledger of this version; taken for empty")
        return ledger

    def close(self) -> None:
        """Close the file and let the next run in. Raises MachineError where the segments cannot be written."""
        with contextlib.ExitStack() as closing:
            for part in (self._held, self._sending, self._writer, self._reader, self._copying):  # the lock last
                if part:
                    closing.callback(part.close)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- calls and answers ------------------------------------------------------------------------------------

    def answers(
        self, endpoint: str, setting: str, keys: Sequence[str], *, retry: Retry = "never"
    ) -> dict[str, Outcome]:
        """What is known of `keys` there. `retry`: "all" leaves out remembered failures and answers that led to one,
        "transient" only answers that did so in a run that came to its end: an unfinished one goes on where it was."""
        known: dict[str, Outcome] = {}
        query = f"""SELECT {ANSWER} FROM answer
            WHERE key IN (SELECT value FROM json_each(?)) AND endpoint = ? AND setting = ?"""  # noqa: S608 - our names
        if retry != "never":
            query += (
                " AND cause IS NULL AND NOT rejected" if retry == "all" else " AND (cause IS NOT NULL OR rejected < 2)"
            )
        for row in self._read(query, (orjson.dumps(keys).decode(), endpoint, setting)):
            outcome = outcome_of(row)
            if outcome:
                known[outcome.key] = outcome
            else:
                self.rotten.add(row[2])
        return known

    def commit(self, reserved: Sequence[Reserved], booked: Sequence[Booked], rejected: Sequence[str] = ()) -> None:
        """Make durable, in one transaction: what is about to be sent, what became of what was, and which answers led
        to a failure. Blocks until the disk has it. Raises MachineError, also where another run has taken the file."""
        if self._copying:
            self._copying.check()
        with self._writing() as writer:
            sent = [each for each in booked if each.attempt is not None]
            if booked:
                ids = orjson.dumps([each.reserved.id for each in booked]).decode()
                writer.execute("DELETE FROM reservation WHERE id IN (SELECT value FROM json_each(?))", (ids,))
                writer.execute("DELETE FROM batch_ticket WHERE ticket IN (SELECT value FROM json_each(?))", (ids,))
            _insert(writer, f"INSERT INTO reservation ({RESERVATION})", [_reservation(each) for each in reserved])
            rows = [attempt_row(each.reserved, each.attempt) for each in sent if each.attempt]
            _insert(writer, f"INSERT INTO attempt ({ATTEMPT})", rows)
            answers = [answer_row(each.kept) for each in sent if each.kept]
            _insert(writer, f"INSERT OR REPLACE INTO answer ({ANSWER})", answers)
            samples = [sample_row(each.sample) for each in sent if each.sample]
            _insert(writer, f"INSERT INTO sample ({SAMPLE})", samples)
            for key in rejected:
                writer.execute("UPDATE answer SET rejected = 1 WHERE key = ?", (key,))
        if self._copying:
            marks = [(1, key) for key in rejected]
            self._copying.add(attempt=rows, answer=answers, sample=samples, marks=marks)

    def sending(self, attempt_id: int) -> None:
        """Say that a reserved attempt is about to be sent: what is not said so was provably never sent."""
        if self._sending:
            self._sending.add(attempt_id)

    # --- runs -------------------------------------------------------------------------------------------------

    def begin_run(self, run_id: str, job_name: str, job_sha256: str, started_at: float) -> None:
        """Book that a run began (seconds since the epoch). Blocks until durable."""
        columns = "run_id, job_name, job_sha256, started_at, status, first_attempt"
        values = (run_id, job_name, job_sha256, started_at, "running", self.next_id)
        with self._writing() as writer:
            writer.execute(f"INSERT INTO run ({columns}) VALUES (?, ?, ?, ?, ?, ?)", values)  # noqa: S608 - our names

    def end_run(self, run_id: str, status: str, finished_at: float, failed: Sequence[str] = ()) -> None:
        """Book how a run ended: complete, budget, refused, interrupted, … `failed`: answers that led to failures, which
        the next run may ask again. Blocks until durable."""
        update = "UPDATE run SET status = ?, finished_at = ? WHERE run_id = ?"
        with self._writing() as writer:
            writer.execute(update, (status, finished_at, run_id))
            keys = orjson.dumps(list(failed)).decode()
            writer.execute("UPDATE answer SET rejected = 2 WHERE key IN (SELECT value FROM json_each(?))", (keys,))
        if self._copying:
            self._copying.add(marks=[(2, key) for key in failed])

    def unmarked(self, job_name: str) -> list[str]:
        """The ids of this job's runs that may have been committed and were not marked so: their process ended, or the
        disk failed it."""
        query = "SELECT run_id FROM run WHERE job_name = ? AND status IN ('died', 'failed')"
        return [run_id for (run_id,) in self._read(query, (job_name,))]

    def carried(self, job_name: str) -> Carried:
        """What the runs of this job spent since its last complete one."""
        charged, unknown = self._read(_CARRIED, (job_name, job_name))[0]
        return Carried(charged_pusd=charged, unknown_pusd=unknown)

    # --- what is learned --------------------------------------------------------------------------------------

    def samples(self, endpoint: str, model: str) -> list[Sample]:
        """The newest 2,000 samples of a model at an endpoint, newest first."""
        query = f"SELECT {SAMPLE} FROM sample WHERE endpoint = ? AND model = ? ORDER BY id DESC LIMIT {SAMPLES}"  # noqa: S608
        return [Sample(*row) for row in self._read(query, (endpoint, model))]

    def latency_s(self, job_sha256: str) -> float | None:
        """Mean latency of the newest 500 answered calls of runs of this very job; None where there were none."""
        query = """SELECT avg(latency_s) FROM (SELECT latency_s FROM attempt JOIN run USING (run_id)
            WHERE job_sha256 = ? AND outcome = 'ok' ORDER BY id DESC LIMIT 500)"""
        latency = self._read(query, (job_sha256,))[0][0]
        return None if latency is None else float(latency)

    def pinned(self, name: str, default: int) -> int:
        """The integer once kept under `name`; `default` is kept there if none was. Blocks until durable.

        A ledger opened by `view` keeps nothing."""
        rows = self._read("SELECT value FROM pin WHERE name = ?", (name,))
        if rows:
            return int(rows[0][0])
        if self._writer:
            with self._writing() as writer:
                writer.execute("INSERT INTO pin VALUES (?, ?)", (name, default))
        return default

    def noted(self, name: str) -> str | None:
        """The text once kept under `name`; None if none was."""
        rows = self._read("SELECT value FROM pin WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def note(self, name: str, text: str) -> None:
        """Keep `text` under `name`, in place of what was there. Blocks until durable."""
        with self._writing() as writer:
            writer.execute("INSERT OR REPLACE INTO pin VALUES (?, ?)", (name, text))

    # --- what can go ------------------------------------------------------------------------------------------

    def forget(self, kept: Iterable[tuple[str, str]], since_s: float) -> int:
        """Remove the answers that neither `kept` (call key, endpoint) nor an attempt since then refers to; how many.

        A ledger opened by `view` only counts them."""
        if self._writer is None:
            return forget(self._reader, kept, since_s, dry_run=True)
        with self._writing() as writer:
            return forget(writer, kept, since_s, dry_run=False)

    def purge(self, document_id: str, keys: Sequence[str]) -> tuple[int, int]:
        """Remove the answers under `keys` and of the document's calls, and what its attempts say but their money:
        (answers, attempts). A ledger opened by `view` only counts them."""
        if self._writer is None:
            return purge(self._reader, document_id, keys, dry_run=True)
        with self._writing() as writer:
            return purge(writer, document_id, keys, dry_run=False)

    def compact(self) -> None:
        """Give the room of what was removed back to the disk; nothing of it stays in the file. Raises MachineError."""
        if self._writer:
            try:
                self._writer.execute("VACUUM")
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise explain(error, self.path) from error

    # --- inside -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _copied(self) -> Any:
        """A transaction that is in the segments before anything rests on it: a batch holds very many calls."""
        with self._writing() as writer:
            yield writer
        if self._copying:
            self._copying.flush()


def _reservation(each: Reserved) -> tuple[Value, ...]:
    return (
        each.id, each.run_id, each.document_id, each.key, each.stage, each.chunk, each.attempt, each.started_at,
        each.endpoint, each.model, each.bound_pusd,
    )  # fmt: skip


def _insert(writer: sqlite3.Connection, into: str, rows: Sequence[tuple[Value, ...]]) -> None:
    if not rows:
        return
    marks = f"({','.join('?' * len(rows[0]))})"
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        writer.execute(f"{into} VALUES {','.join([marks] * len(batch))}", [value for row in batch for value in row])
