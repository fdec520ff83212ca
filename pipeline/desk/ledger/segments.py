"""Segments: a copy of a ledger elsewhere, in closed files, for when its disk is lost.

Theory. A ledger lies on a local disk, since SQLite's locks and logs want one. Its segments lie where others see them,
and say all that it says: a *chain* of files, each complete when it has its name, none ever changed. The first is a copy
of the whole ledger; each further one has what the turns since the last one booked, in their order, and the small tables
whole (runs, reservations, batches, pins). A chain bears the epoch of the lease it is written under (`lease`); only the
newest chain that has its first file counts. So a late file of an earlier epoch is in no chain that counts, and what can
be read is always one writer's work.

A file is lines of JSON, gzipped: `{"table", "columns", "rows"}`, or `whole` for a table that is replaced. Files joined
byte by byte are a file again (gzip, RFC 1952, 2.2), so every EIGHT of a size are joined: their number grows with the
logarithm of a run's length. Its name says which it holds: `EPOCH-FIRST-LAST.segment`."""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import orjson
from docreduce.desk.ledger.file import MIGRATIONS, migrate
from docreduce.storage import fsync_folder, machine_errors
from docreduce.values.errors import MachineError

__all__ = [
    "MARKS",
    "Lines",
    "Segment",
    "base_lines",
    "chain_of",
    "join",
    "restore",
    "rows_line",
    "small_lines",
    "write_segment",
]

EIGHT = 8
MARKS = "marks"
"""No table: which answers led to a failure (`answer.rejected`), as (value, key)."""
LARGE = ("attempt", "answer", "sample")
SMALL = ("run", "reservation", "pin", "batch", "batch_ticket")
_ROWS = 1_000
"""Rows in a line: some megabytes at most, where answers are long."""
_NAME = re.compile(r"(\d{8})-(\d{8})-(\d{8})\.segment")

Rows: TypeAlias = Sequence[Sequence[Any]]
Lines: TypeAlias = Iterable[bytes]


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A file of the chain `epoch` that holds the segments `first` to `last`."""

    epoch: int
    first: int
    last: int
    path: Path = field(compare=False)

    @classmethod
    def named(cls, folder: Path, epoch: int, first: int, last: int) -> Segment:
        """Where it lies in `folder`."""
        return cls(epoch, first, last, folder / f"{epoch:08}-{first:08}-{last:08}.segment")


def chain_of(folder: Path) -> list[Segment]:
    """The files of the newest chain that has its first one, in order, none that a joined one holds; [] for none."""
    found: dict[int, list[Segment]] = {}
    with machine_errors(folder):
        for path in folder.iterdir() if folder.is_dir() else ():
            if match := _NAME.fullmatch(path.name):
                epoch, first, last = (int(each) for each in match.groups())
                segment = Segment(epoch, first, last, path)
                found.setdefault(segment.epoch, []).append(segment)
    for _, each in sorted(found.items(), reverse=True):
        ordered = sorted(each, key=lambda segment: (segment.first, -segment.last))
        if ordered[0].first == 0:
            chain = [ordered[0]]
            chain += [segment for at, segment in enumerate(ordered[1:]) if not _held(segment, ordered[: at + 1])]
            return chain
    return []


def _held(segment: Segment, before: Sequence[Segment]) -> bool:
    return any(each.first <= segment.first and segment.last <= each.last for each in before)


# --- writing ------------------------------------------------------------------------------------------------------


def rows_line(table: str, columns: str, rows: Rows, *, whole: bool = False) -> bytes:
    """Rows of a table; bytes are UTF-8 nearly always, and are written as text that says so."""
    said = {"table": table, "columns": columns, "rows": rows, **({"whole": True} if whole else {})}
    return orjson.dumps(said, default=_stated) + b"\n"


def _stated(value: object) -> object:
    if not isinstance(value, bytes):
        raise TypeError
    try:
        return {"utf8": value.decode()}
    except UnicodeDecodeError:  # damaged: it stays what it is, and its checksum tells
        return {"hex": value.hex()}


def small_lines(connection: sqlite3.Connection) -> Iterator[bytes]:
    """The small tables as they are now, whole."""
    for table in SMALL:
        yield rows_line(table, *_table(connection, table), whole=True)


def base_lines(connection: sqlite3.Connection) -> Iterator[bytes]:
    """All that the ledger says."""
    for table in LARGE:
        names = _columns(connection, table)
        cursor = connection.execute(f"SELECT {names} FROM {table} ORDER BY rowid")  # noqa: S608 - our own names
        while rows := cursor.fetchmany(_ROWS):
            yield rows_line(table, names, rows)
    yield from small_lines(connection)


def _table(connection: sqlite3.Connection, table: str) -> tuple[str, list[Any]]:
    names = _columns(connection, table)
    return names, connection.execute(f"SELECT {names} FROM {table} ORDER BY rowid").fetchall()  # noqa: S608


def _columns(connection: sqlite3.Connection, table: str) -> str:
    return ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))


def write_segment(segment: Segment, lines: Lines) -> None:
    """Write a file whole, durable, and only then under its name. Raises MachineError."""
    partial = segment.path.with_suffix(".partial")
    with machine_errors(segment.path):
        with partial.open("wb") as file:
            partial.chmod(0o600)
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0, filename="") as packed:
                packed.write(orjson.dumps({"version": len(MIGRATIONS)}) + b"\n")
                for line in lines:
                    packed.write(line)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(segment.path)
        fsync_folder(segment.path.parent)


def join(folder: Path, written: list[Segment]) -> list[Segment]:
    """`written` (the files of a chain after its first, in order) with the last EIGHT of a size joined, and so on."""
    while len(last := written[-EIGHT:]) == EIGHT and len({each.last - each.first for each in last}) == 1:
        whole = Segment.named(folder, last[0].epoch, last[0].first, last[-1].last)
        partial = whole.path.with_suffix(".partial")
        with machine_errors(whole.path):
            with partial.open("wb") as file:
                partial.chmod(0o600)
                for each in last:
                    file.write(each.path.read_bytes())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(whole.path)
            fsync_folder(folder)
            for each in last:
                each.path.unlink(missing_ok=True)
        written = [*written[:-EIGHT], whole]
    return written


# --- reading ------------------------------------------------------------------------------------------------------


def restore(chain: Sequence[Segment], *, answers: bool = True) -> tuple[sqlite3.Connection, list[str]]:
    """A ledger of this version in a temporary file of its own, with all that can be read of `chain`, without the
    `answers` if not asked for; and what is wrong with its files.

    Raises MachineError for segments of a newer version."""
    faults: list[str] = []
    connection = sqlite3.connect("file:", uri=True, isolation_level=None, check_same_thread=False)
    made = False
    after = 0
    for segment in chain:
        if segment.first != after:
            faults.append(f"segments {after} to {segment.first - 1} of epoch {segment.epoch} are missing")
        after = segment.last + 1
        connection.execute("BEGIN")
        try:
            for line in _lines(segment.path):
                if "version" in line:
                    if not made:
                        connection.execute("COMMIT")
                        migrate(connection, _known(segment.path, int(line["version"])))
                        connection.execute("BEGIN")
                        made = True
                elif answers or line["table"] not in ("answer", "sample", MARKS):
                    _apply(connection, line)
        except (OSError, EOFError, ValueError, zlib.error, KeyError, TypeError, sqlite3.Error) as error:
            faults.append(f"{segment.path.name}: cannot be read to its end: {error}")
        connection.execute("COMMIT")
    migrate(connection)
    # What was booked while a segment was being written is in it twice: as reserved, too.
    connection.execute("DELETE FROM reservation WHERE id IN (SELECT id FROM attempt)")
    return connection, faults


def _known(path: Path, version: int) -> int:
    if version > len(MIGRATIONS):
        raise MachineError(f"{path}: written by a newer docreduce (version {version})", hint="Update docreduce.")
    return version


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with closing(gzip.open(path)) as file:
        for line in file:
            yield orjson.loads(line)


def _apply(connection: sqlite3.Connection, line: dict[str, Any]) -> None:
    table, columns = str(line["table"]), str(line["columns"])
    rows = [[_value(each) for each in row] for row in line["rows"]]
    if table == MARKS:
        connection.executemany("UPDATE answer SET rejected = ? WHERE key = ?", rows)
        return
    if table not in LARGE + SMALL or not re.fullmatch(r"[a-z0-9_, ]+", columns):
        raise ValueError(f"no table of a ledger: {table}")
    if line.get("whole"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - one of ours
    marks = ", ".join("?" * (columns.count(",") + 1))
    connection.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return value["utf8"].encode() if "utf8" in value else bytes.fromhex(value["hex"])
    return value
