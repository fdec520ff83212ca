"""What can still be read of a broken ledger: it was paid for."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from docreduce.desk.ledger.file import APPLICATION_ID, connect, is_of_the_disk, read_through

__all__ = ["salvage"]

TABLES = ("run", "reservation", "attempt", "answer", "sample", "pin", "batch", "batch_ticket")


def salvage(aside: Path, connection: sqlite3.Connection) -> int:
    """Copy the rows of a broken ledger into a new one, from both ends of every table; how many there were.

    No index is used. An answer with a flipped bit is caught by its checksum when it is asked for. Raises MachineError
    or sqlite3.Error where the disk fails, and has copied nothing then."""
    read_through(aside)
    saved = 0
    with contextlib.closing(connect(aside, read_only=True)) as old:
        if next(_readable(old, "PRAGMA application_id"), (0,))[0] != APPLICATION_ID:
            return 0
        connection.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            there = {row[1] for row in _readable(old, f"PRAGMA table_info({table})")}  # an older version has fewer
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] in there]
            if not names:
                continue
            columns, marks = ", ".join(map(str, names)), ", ".join("?" * len(names))
            for direction in ("ASC", "DESC"):
                query = f"SELECT {columns} FROM {table} NOT INDEXED ORDER BY rowid {direction}"  # noqa: S608 - our names
                for row in _readable(old, query):
                    insert = f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - our names
                    saved += connection.execute(insert, row).rowcount
        connection.execute("COMMIT")
    return saved


def _readable(connection: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...]]:
    """Rows up to the first page that cannot be made sense of."""
    try:
        yield from connection.execute(query)
    except sqlite3.DatabaseError as error:
        if is_of_the_disk(error):
            raise
