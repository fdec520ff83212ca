"""The ledger's file: its lock, its tables, its versions, and what to do with a file that is broken or not ours."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sqlite3
import tempfile
from pathlib import Path
from typing import IO

from docreduce.storage import fsync_folder, machine_errors
from docreduce.values.errors import MachineError

__all__ = [
    "connect", "explain", "hold", "is_corrupt", "is_of_the_disk", "keep_aside", "marker", "migrate", "read_through",
    "salvaged", "view_file",
]  # fmt: skip

APPLICATION_ID = 0x646F6372  # "docr": SQLite's own place for a file's owner
MIGRATIONS = (
    """
    CREATE TABLE run (
        number INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, job_name TEXT NOT NULL, job_sha256 TEXT NOT NULL,
        started_at REAL NOT NULL, finished_at REAL, status TEXT NOT NULL, first_attempt INTEGER NOT NULL);
    CREATE INDEX run_job ON run (job_name);
    CREATE TABLE attempt (
        id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, document_id TEXT NOT NULL, key TEXT NOT NULL,
        stage TEXT NOT NULL, chunk INTEGER, attempt INTEGER NOT NULL, started_at REAL NOT NULL,
        latency_s REAL NOT NULL, outcome TEXT NOT NULL, billing TEXT NOT NULL, cost_pusd INTEGER NOT NULL,
        http_status INTEGER, finish_reason TEXT, request_id TEXT, error TEXT,
        input_tokens INTEGER, output_tokens INTEGER, cached_input_tokens INTEGER, reasoning_tokens INTEGER);
    CREATE TABLE answer (
        key TEXT NOT NULL UNIQUE, finish_reason TEXT NOT NULL, cost_pusd INTEGER NOT NULL, cause TEXT,
        rejected INTEGER NOT NULL, message TEXT NOT NULL, input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL, cached_input_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL,
        text BLOB NOT NULL, crc INTEGER NOT NULL);
    CREATE TABLE sample (
        id INTEGER PRIMARY KEY, model TEXT NOT NULL, text_kind TEXT NOT NULL, stage TEXT NOT NULL,
        counted_tokens INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL);
    CREATE INDEX sample_model ON sample (model, id);
    CREATE TABLE pin (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
    """,
    # Endpoints are recorded, and an answer is known by endpoint, setting and request. What is from before has none and
    # answers for nobody. A reservation is a row of its own until it is booked.
    """
    CREATE TABLE reservation (
        id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, document_id TEXT NOT NULL, key TEXT NOT NULL,
        stage TEXT NOT NULL, chunk INTEGER, attempt INTEGER NOT NULL, started_at REAL NOT NULL,
        endpoint TEXT NOT NULL, model TEXT NOT NULL, bound_pusd INTEGER NOT NULL);
    INSERT INTO reservation SELECT id, run_id, document_id, key, stage, chunk, attempt, started_at, '', '', cost_pusd
        FROM attempt WHERE billing = 'reserved';
    DELETE FROM attempt WHERE billing = 'reserved';
    ALTER TABLE attempt ADD COLUMN model TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempt ADD COLUMN endpoint TEXT NOT NULL DEFAULT '';
    ALTER TABLE attempt ADD COLUMN service_tier TEXT;
    ALTER TABLE attempt ADD COLUMN batch TEXT;
    ALTER TABLE attempt ADD COLUMN cache_write_tokens INTEGER;
    ALTER TABLE attempt ADD COLUMN cache_write_1h_tokens INTEGER;
    ALTER TABLE answer RENAME TO old_answer;
    CREATE TABLE answer (
        endpoint TEXT NOT NULL, setting TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL,
        finish_reason TEXT NOT NULL, cost_pusd INTEGER NOT NULL, cause TEXT, rejected INTEGER NOT NULL DEFAULT 0,
        message TEXT NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        cached_input_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
        cache_write_1h_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, text BLOB NOT NULL,
        crc INTEGER NOT NULL, UNIQUE (key, endpoint, setting));
    INSERT INTO answer SELECT '', '', key, '', finish_reason, cost_pusd, cause, rejected, message, input_tokens,
        output_tokens, cached_input_tokens, 0, 0, reasoning_tokens, text, crc FROM old_answer;
    DROP TABLE old_answer;
    DROP TABLE sample;
    CREATE TABLE sample (
        id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, model TEXT NOT NULL, text_kind TEXT NOT NULL,
        stage TEXT NOT NULL, counted_tokens INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL);
    CREATE INDEX sample_model ON sample (endpoint, model, id);
    CREATE TABLE owner (token TEXT NOT NULL, pid INTEGER NOT NULL);
    """,
    # Provider batches. A ticket stands in `batch_ticket` from before it is sent until its answer is booked.
    """
    CREATE TABLE batch (
        token TEXT PRIMARY KEY, endpoint TEXT NOT NULL, model TEXT NOT NULL, setting TEXT NOT NULL,
        asked TEXT NOT NULL, service_id TEXT, state TEXT NOT NULL, submitted_at REAL NOT NULL, calls INTEGER NOT NULL);
    CREATE TABLE batch_ticket (
        ticket INTEGER PRIMARY KEY, token TEXT NOT NULL, tokens INTEGER NOT NULL, bytes INTEGER NOT NULL);
    """,
    # A sample says in columns what it packed into words, and what of its tokens was cached and thought.
    """
    DROP INDEX sample_model;
    ALTER TABLE sample RENAME TO old_sample;
    CREATE TABLE sample (
        id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, model TEXT NOT NULL, text_kind TEXT NOT NULL,
        stage TEXT NOT NULL, schema_crc TEXT NOT NULL, max_words INTEGER NOT NULL, fault TEXT NOT NULL,
        counted_tokens INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL);
    CREATE INDEX sample_model ON sample (endpoint, model, id);
    INSERT INTO sample SELECT id, endpoint, model, kind, stage,
        CASE WHEN rest LIKE 's%' THEN substr(rest, 2, instr(rest, ' ') - 2) ELSE '' END,
        CASE WHEN rest LIKE 'w%' THEN CAST(substr(rest, 2) AS INTEGER) ELSE 0 END,
        replace(substr(rest, instr(rest, ' ') + 1), '-', ''), counted_tokens, input_tokens, output_tokens, 0, 0
        FROM (SELECT *, substr(text_kind, 1, instr(text_kind, ' ') - 1) AS kind,
            substr(text_kind, instr(text_kind, ' ') + 1) AS rest FROM old_sample WHERE text_kind LIKE '% % %');
    DROP TABLE old_sample;
    """,
)
"""Script n brings a file of version n to n + 1; the first makes an empty file a ledger."""

CHECK_BYTES = 2**28
"""Up to this size a file is checked when it is opened, pages and indexes (about 1 s); beyond, only its frame."""

_DISK = "The disk fails: copy the output folder to a sound one, and run the same command there."
_HINTS = {
    # What else fails on a disk is not known to be its end: the command's own words are said then.
    sqlite3.SQLITE_IOERR_READ: _DISK,
    sqlite3.SQLITE_FULL: "Free some space and run the same command again.",
    sqlite3.SQLITE_READONLY: "Check who owns the output folder and its permissions.",
    sqlite3.SQLITE_CANTOPEN: "Check who owns the output folder and its permissions.",
    sqlite3.SQLITE_CORRUPT: "Run the same command again: the file is checked, and kept aside for a new one.",
    sqlite3.SQLITE_BUSY: "Another program holds the ledger open for writing: close it.",
}
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def explain(error: Exception, path: Path) -> MachineError:
    """The MachineError for what SQLite said about the ledger at `path`."""
    if path.is_dir():
        return MachineError(f"{path}: is a folder, not a file", hint="Move it away and run the same command again.")
    if _code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):  # SQLite keeps the reason to itself
        try:
            with machine_errors(path), tempfile.TemporaryFile(dir=path.parent) as probe:
                probe.write(bytes(2**12))
        except MachineError as said:
            return MachineError(f"{path}: {error}: {said.message.rpartition(': ')[2]}", hint=said.hint)
    return MachineError(f"{path}: {error}", hint=_HINTS.get(_whole_code(error), _HINTS.get(_code(error), "")))


def hold(path: Path) -> IO[bytes]:
    """Make the ledger ours until the file that comes back is closed, or its process ends, however it dies.

    The lock is on the database itself: whoever removes it takes the ledger away, not the lock alone. Raises
    MachineError, kind "locked" if another run has it, of this process or another."""
    with machine_errors(path), contextlib.ExitStack() as failed:
        held = failed.enter_context(path.open("a+b"))
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MachineError(
                f"{path.parent}: another run is at work in this output folder (process {_owner(path)})",
                hint="Wait for it to end, or give this run another output.path.",
                kind="locked",
            ) from error
        path.chmod(0o600)
        failed.pop_all()
    return held


def _owner(path: Path) -> str:
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(path, read_only=True)) as connection:
        return str(connection.execute("SELECT pid FROM owner").fetchone()[0])
    return "unknown"


def _whole_code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0))


def _code(error: Exception) -> int:
    return _whole_code(error) & 0xFF


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit, which waits 10 s for a writer of another program. Raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
    return sqlite3.connect(
        uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False, cached_statements=512
    )


def is_corrupt(error: Exception) -> bool:
    """Whether SQLite says that the file is broken."""
    return _code(error) in _BROKEN


def is_of_the_disk(error: Exception) -> bool:
    """Whether SQLite could not read or write, whatever is in the file."""
    return _code(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN)


def marker(path: Path) -> Path:
    """The file that says the ledger at `path` was found broken: the next run begins with its salvage."""
    return path.with_suffix(".corrupt")


def keep_aside(path: Path) -> tuple[Path, str] | None:
    """Rename a broken or foreign file at `path`, never delete it: where it is now, and what is wrong with it. It is
    marked until `salvaged`: whoever opens the ledger after a death in between has the same answer again.

    Raises MachineError for a ledger of a newer version or a disk that fails, sqlite3.Error for what SQLite says."""
    name, fault = _marked(path)
    if not name:
        fault = _fault(path) or fault
        if not fault:
            return None
        read_through(path)
        name = _free_name(path)
        with machine_errors(path), marker(path).open("w", encoding="utf-8") as file:
            marker(path).chmod(0o600)
            file.write(f"{name}\n{fault}")
            file.flush()
            os.fsync(file.fileno())
    aside = path.with_name(name)
    with machine_errors(path):
        if not aside.exists():
            for log in ("-wal", "-shm", ""):  # they belong to it by name, and to no other file
                with contextlib.suppress(FileNotFoundError):
                    path.with_name(path.name + log).rename(aside.with_name(aside.name + log))
        fsync_folder(path.parent)
    return aside, fault


def salvaged(path: Path) -> None:
    """What could be read of the broken ledger is in the new one, durably. Raises MachineError."""
    with machine_errors(path):
        marker(path).unlink(missing_ok=True)
        fsync_folder(path.parent)


def read_through(path: Path) -> None:
    """Raises MachineError where the disk does not give the file back: then nobody can say what is wrong with it."""
    try:
        with machine_errors(path), path.open("rb") as file:
            while file.read(2**20):
                pass
    except MachineError as error:
        raise MachineError(error.message, hint=error.hint or _DISK) from error


def _marked(path: Path) -> tuple[str, str]:
    """Under which name a broken file is being set aside, "" for none; and what is wrong with it, "" for nothing."""
    with machine_errors(path):
        try:
            name, _, fault = marker(path).read_text(encoding="utf-8").partition("\n")
        except FileNotFoundError:
            return "", ""
    # It may be half written.
    whole = re.fullmatch(rf"{re.escape(path.stem)}\.aside-\d+{re.escape(path.suffix)}", name)
    return name if whole else "", fault or "found corrupt by an earlier run"


def _free_name(path: Path) -> str:
    number = 1
    while path.with_name(name := f"{path.stem}.aside-{number}{path.suffix}").exists():
        number += 1
    return name


def migrate(connection: sqlite3.Connection, to: int | None = None) -> None:
    """Bring the file to this version (or `to`), each step in a transaction of its own, and set how it is written."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # 16 MB: each check-pointing costs two more fsyncs
    for version in range(_version(connection), len(MIGRATIONS) if to is None else to):
        script = f"BEGIN IMMEDIATE; {MIGRATIONS[version]}; PRAGMA user_version = {version + 1};"
        connection.executescript(f"{script} PRAGMA application_id = {APPLICATION_ID}; COMMIT;")


def view_file(path: Path) -> sqlite3.Connection | None:
    """A connection that only reads, or None if there is no ledger of this version at `path`."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    with contextlib.ExitStack() as unused:
        try:
            connection = connect(path, read_only=True)
            unused.callback(connection.close)
            if _pragma(connection, "application_id") == APPLICATION_ID and _version(connection) == len(MIGRATIONS):
                unused.pop_all()
                return connection
        except sqlite3.DatabaseError as error:
            if _code(error) not in _BROKEN:
                raise explain(error, path) from error
    return None


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _version(connection: sqlite3.Connection) -> int:
    return _pragma(connection, "user_version")


def _fault(path: Path) -> str | None:
    """What is wrong with the file at `path`, in words; None if it is a ledger, empty or not there."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        with contextlib.closing(connect(path)) as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if _pragma(connection, "application_id") != APPLICATION_ID:
                return "not a ledger" if tables else None
            if _version(connection) > len(MIGRATIONS):
                raise MachineError(
                    f"{path}: written by a newer docreduce (version {_version(connection)} of the file)",
                    hint="Update docreduce, or give this run another output.path.",
                )
            if path.stat().st_size <= CHECK_BYTES:
                found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
                return None if found == "ok" else f"corrupt ({found.splitlines()[-1]})"
    except sqlite3.DatabaseError as error:
        if _code(error) not in _BROKEN:
            raise
        return f"corrupt or not a ledger ({error})"
    return None
