"""One thread that writes, in groups: whatever queued up while the last commit ran goes into the next one.

A commit waits for the disk, a row does not: 100 rows in one commit cost little more than one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pipeline.errors import MachineError
from pipeline.ledger.file import explain

__all__ = ["GroupWriter", "Row", "Value"]

Value: TypeAlias = str | bytes | int | float | None
Row: TypeAlias = tuple[str, tuple[Value, ...]]
"""Where it goes (a table, or a table and its columns) and its values. A row of an equal key is replaced."""
_Waiter: TypeAlias = "asyncio.Future[None] | concurrent.futures.Future[None]"

GROUP = 1000
"""Writes in one commit at most."""
BATCH = 50
"""Rows in one INSERT. The interpreter's lock is given up once for each statement and can take 5 ms to come back
while the event loop is busy, so few statements matter more than their length."""


@dataclass(frozen=True, slots=True)
class _Write:
    rows: Sequence[Row]
    statements: Sequence[Row]
    waiter: _Waiter


class GroupWriter:
    """Owns the writing connection. `commits` and `rows` count what was made durable.

    After a failure everything that waits and everything that comes fails with it: nothing is dropped in silence."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.commits = 0
        self.rows = 0
        self._connection = connection
        self._path = path
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._failure: MachineError | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="ledger", daemon=True)
        self._thread.start()

    async def write(self, *rows: Row, statements: Sequence[Row] = ()) -> None:
        """Insert `rows`, then run `statements` (SQL and its values); durable when it returns. Raises MachineError.

        Cancelled, it is written all the same."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(_Write(rows, statements, waiter))
        await waiter

    def write_now(self, *rows: Row, statements: Sequence[Row] = ()) -> None:
        """The same, blocking. Raises MachineError."""
        waiter: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._put(_Write(rows, statements, waiter))
        waiter.result()

    def post(self, *rows: Row) -> None:
        """Queue `rows` without waiting; `close` raises if they could not be written."""
        self._put(_Write(rows, (), concurrent.futures.Future()))

    def close(self) -> None:
        """Write what is queued and end. Raises the MachineError that ended the writing, if one did."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._connection.close()
        if self._failure:
            raise _again(self._failure)

    def _put(self, write: _Write) -> None:
        if self._closed:  # nobody would ever answer
            raise MachineError(f"{self._path}: the ledger is closed")
        self._queue.put(write)

    def _serve(self) -> None:
        closing = False
        while not closing:
            group: list[_Write] = []
            item = self._queue.get()
            with contextlib.suppress(queue.Empty):
                while item is not None:
                    group.append(item)
                    if len(group) == GROUP:
                        break
                    item = self._queue.get_nowait()
                else:
                    closing = True
            if group:
                self._commit(group)
                _wake(group, self._failure)

    def _commit(self, group: Sequence[_Write]) -> None:
        if self._failure:
            return
        tables: dict[str, list[tuple[Value, ...]]] = {}
        for write in group:
            for table, values in write.rows:
                tables.setdefault(table, []).append(values)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for table, rows in tables.items():
                self._insert(table, rows)
            for write in group:
                for sql, values in write.statements:
                    self._connection.execute(sql, values)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, ValueError, OverflowError, MemoryError) as error:
            self._failure = explain(error, self._path)
            self._failure.__cause__ = error
            with contextlib.suppress(sqlite3.Error):  # the failure itself is told
                self._connection.rollback()
        else:
            self.commits += 1
            self.rows += sum(map(len, tables.values()))

    def _insert(self, table: str, rows: Sequence[tuple[Value, ...]]) -> None:
        marks = f"({','.join('?' * len(rows[0]))})"
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            sql = f"INSERT OR REPLACE INTO {table} VALUES {','.join([marks] * len(batch))}"  # noqa: S608 - our names
            self._connection.execute(sql, [value for row in batch for value in row])


def _wake(group: Sequence[_Write], failure: MachineError | None) -> None:
    """Tell all waiters, with one call to each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[_Waiter]] = {}
    for write in group:
        if isinstance(write.waiter, asyncio.Future):
            loops.setdefault(write.waiter.get_loop(), []).append(write.waiter)
        else:
            _resolve([write.waiter], failure)
    for loop, waiters in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_resolve, waiters, failure)


def _resolve(waiters: Sequence[_Waiter], failure: MachineError | None) -> None:
    for waiter in waiters:
        if waiter.done():  # its caller was cancelled
            continue
        if failure:
            waiter.set_exception(_again(failure))
        else:
            waiter.set_result(None)


def _again(failure: MachineError) -> MachineError:
    """Its own exception for every waiter: a shared one would gather all their tracebacks."""
    copy = MachineError(failure.message, hint=failure.hint, kind=failure.kind)
    copy.__cause__ = failure.__cause__
    return copy
