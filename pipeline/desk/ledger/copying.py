"""Keeps a ledger's segments: begins from them where its own disk does not have what they say, and writes them.

A thread of its own writes a segment every COPY_S and renews the lease with it. A turn does not wait for it, unless it
is behind: no turn is booked more than LATE_S after the last segment that was written, or the last look that found
nothing to write. So what a lost disk costs is bounded: what was answered within LATE_S (COPY_S, where the output keeps
up), and what was in flight. A run whose lease another has taken is refused there too."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from docreduce.desk.ledger.file import APPLICATION_ID, connect, explain, migrate
from docreduce.desk.ledger.lease import COPY_S, LEASE_S, Lease
from docreduce.desk.ledger.rows import ANSWER, ATTEMPT, SAMPLE, Value
from docreduce.desk.ledger.segments import (
    MARKS,
    Lines,
    Segment,
    base_lines,
    chain_of,
    join,
    restore,
    rows_line,
    small_lines,
    write_segment,
)
from docreduce.storage import machine_errors
from docreduce.values import Cause
from docreduce.values.errors import MachineError

__all__ = ["PIN", "Begun", "Copying", "begin"]

LATE_S = 3 * COPY_S
assert COPY_S < LATE_S < LEASE_S  # nobody books by a lease that another may have taken meanwhile
PIN = "segments"
"""Under which name a ledger keeps the chain that it is the origin of."""
_COLUMNS = {"attempt": ATTEMPT, "answer": ANSWER, "sample": SAMPLE, MARKS: "rejected, key"}
_IN_FLIGHT = f"""INSERT INTO attempt (run_id, document_id, key, stage, chunk, attempt, started_at, latency_s, outcome,
        billing, cost_pusd, model, endpoint, error)
    SELECT run_id, document_id, key, stage, chunk, attempt, started_at, 0.0, '{Cause.STOPPED}', 'unknown',
        bound_pusd, model, endpoint, 'the process ended before the answer was stored'
    FROM local.reservation own WHERE id NOT IN (SELECT ticket FROM local.batch_ticket)
        AND NOT EXISTS (SELECT 1 FROM attempt a WHERE {{known}})
        AND NOT EXISTS (SELECT 1 FROM reservation a WHERE {{known}})"""  # noqa: S608 - our own words
_Rows = Sequence[Sequence[Value]]


@dataclass(frozen=True, slots=True)
class Begun:
    """A lease on segments, and what is to be told of how the ledger began. `folder`: where they lie."""

    folder: Path
    lease: Lease
    notes: list[str] = field(default_factory=list)


def begin(path: Path, folder: Path) -> Begun:
    """Take the lease on the segments in `folder` for the ledger at `path`, whose lock the caller holds. Where they were
    written by another ledger since, or this disk has none, the one at `path` becomes what they say, and keeps what it
    alone knows. Blocks up to LEASE_S. Raises MachineError."""
    begun = Begun(folder, Lease.take(folder, path))
    chain = chain_of(folder)
    if not chain:
        return begun
    try:
        with closing(connect(path)) as local:
            ours = local.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
            if ours:
                migrate(local)
                kept = local.execute("SELECT value FROM pin WHERE name = ?", (PIN,)).fetchone()
                if kept is not None and int(kept[0]) == chain[0].epoch:
                    return begun
            restored, faults = restore(chain)
            with closing(restored):
                added = _add_what_only_it_knows(restored, path) if ours else 0
                attempts = restored.execute("SELECT count(*) FROM attempt").fetchone()[0]
                restored.backup(local)
        path.with_suffix(".sending").unlink(missing_ok=True)  # of another ledger's calls
    except sqlite3.Error as error:
        raise explain(error, path) from error
    told = f"{path.name}: begun from the segments in {folder}, with {attempts:,} attempts"
    more = f"; {added:,} of them only this disk had" if added else ""
    lost = "what was booked on another disk after the last of them is not known here"
    begun.notes.extend([f"{told}{more}; {lost}", *faults])
    return begun


def _add_what_only_it_knows(restored: sqlite3.Connection, path: Path) -> int:
    """Attempts that were never copied, and their answers: they were paid for. Ids are given anew."""
    restored.execute("ATTACH ? AS local", (f"{path.absolute().as_uri()}?mode=ro",))
    columns, known = ATTEMPT.removeprefix("id, "), "a.id = own.id AND a.run_id = own.run_id"
    beyond = f"FROM local.attempt own WHERE NOT EXISTS (SELECT 1 FROM attempt a WHERE {known})"  # noqa: S608
    restored.execute("BEGIN")
    runs = "job_name, job_sha256, started_at, finished_at, status, first_attempt"
    restored.execute(f"INSERT OR IGNORE INTO run (run_id, {runs}) SELECT run_id, {runs} FROM local.run")  # noqa: S608
    restored.execute(
        f"INSERT OR IGNORE INTO answer ({ANSWER}) SELECT {ANSWER} FROM local.answer WHERE key IN (SELECT key {beyond})"  # noqa: S608
    )
    added = restored.execute(f"INSERT INTO attempt ({columns}) SELECT {columns} {beyond}").rowcount
    added += restored.execute(_IN_FLIGHT.format(known=known)).rowcount
    restored.execute("COMMIT")
    restored.execute("DETACH local")
    return added


class Copying:
    """Writes the segments of the ledger at `path`, beginning with a copy of all of it: it is there when this returns.

    Threads add in turn. Raises MachineError."""

    def __init__(self, begun: Begun, path: Path) -> None:
        self._folder, self._lease = begun.folder, begun.lease
        self._path = path
        self._rows: list[tuple[str, _Rows]] = []
        self._written: list[Segment] = []
        self._next = 0
        self._small: list[bytes] = []
        self._state = threading.Condition()
        self._fault: MachineError | None = None
        self._closing = False
        self._asked = False  # somebody waits for a segment
        with machine_errors(path):
            self._reader = connect(path, read_only=True)
        try:
            self._begin()
        except BaseException:
            self._reader.close()
            raise
        self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="segments", daemon=True)
        self._thread.start()

    def add(self, **booked: _Rows) -> None:
        """These rows were booked, by table."""
        with self._state:
            self._rows += [(table, rows) for table, rows in booked.items() if rows]

    def check(self) -> None:
        """Wait where the segments are behind. Raises MachineError: kind "locked" where another has the lease."""
        with self._state:
            self._state.wait_for(lambda: self._fault or time.monotonic() - self._looked_at < LATE_S)
            if self._fault:
                raise self._fault

    def flush(self) -> None:
        """Wait until all that is booked is in a segment. Raises MachineError."""
        with self._state:
            since = time.monotonic()
            self._asked = True
            self._state.notify_all()
            self._state.wait_for(lambda: self._fault or self._looked_at > since)
            if self._fault:
                raise self._fault

    def close(self) -> None:
        """Write what is left and release the lease. Raises MachineError."""
        with self._state:
            self._closing = True
            self._state.notify_all()
        self._thread.join()
        self._reader.close()
        if self._fault:
            raise self._fault
        self._lease.release()

    # --- in the thread ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        fault: MachineError | None = MachineError(f"{self._folder}: nothing is copied there any more")
        try:
            while not self._turn():
                pass
            fault = None
        except MachineError as error:
            fault = error
        except sqlite3.Error as error:
            fault = explain(error, self._path)
        finally:  # whatever it was: nobody is to wait for this thread
            with self._state:
                self._fault = fault
                self._state.notify_all()

    def _turn(self) -> bool:
        """Copy once, when it is time; whether it was the last time."""
        with self._state:
            self._state.wait_for(lambda: self._closing or self._asked, timeout=COPY_S)
            last, self._asked = self._closing, False
        began = time.monotonic()
        self._copy()
        with self._state:
            self._looked_at = began
            self._state.notify_all()
        return last

    def _copy(self) -> None:
        """A segment of what was booked since the last one."""
        self._lease.renew()
        # First what is reserved, then what was booked: what is booked in between is in both, and never in none.
        small = list(small_lines(self._reader))
        with self._state:
            rows, self._rows = self._rows, []
        if not rows and small == self._small:
            return
        self._small = small
        large = (rows_line(table, _COLUMNS[table], each) for table, each in rows)
        self._write([*large, *small])
        self._lease.check()  # what was written after another began is in no chain that counts

    def _begin(self) -> None:
        self._small = list(small_lines(self._reader))
        self._write(self._renewing(base_lines(self._reader)))
        self._written.clear()  # the first is never joined: it may be large
        self._lease.check()
        self._lease.forget_older()
        with machine_errors(self._folder):
            for path in self._folder.glob("*-*-*.*"):
                if path.suffix in (".segment", ".partial") and path.name < f"{self._lease.epoch:08}":
                    path.unlink(missing_ok=True)

    def _renewing(self, lines: Lines) -> Iterator[bytes]:
        at = time.monotonic()
        for line in lines:
            if time.monotonic() - at > COPY_S:
                at = time.monotonic()
                self._lease.renew()
            yield line

    def _write(self, lines: Lines) -> None:
        segment = Segment.named(self._folder, self._lease.epoch, self._next, self._next)
        write_segment(segment, lines)
        self._next += 1
        self._written = join(self._folder, [*self._written, segment])
