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
from pathlib import Path
from typing import TypeAlias

from docreduce.desk.ledger.file import explain
from docreduce.values.errors import MachineError

__all__ = ["GroupWriter", "Row", "Value"]

Value: TypeAlias = str | bytes | int | float | None
Row: TypeAlias = tuple[str, tuple[Value, ...]]
"""Where it goes (a table, or a table and its columns; a row of an equal key is replaced), or an UPDATE; its values."""
_Waiter: TypeAlias = "asyncio.Future[None] | concurrent.futures.Future[None]"
_Write: TypeAlias = tuple[Sequence[Row], _Waiter]

GROUP = 1000
"""Writes in one commit at most."""
BATCH = 50
"""Rows in one INSERT. The interpreter's lock is given up once for each statement and can take 5 ms to come back
while the event loop is busy, so few statements matter more than their length."""


class GroupWriter:
    """Owns the writing connection. `commits` and `rows` count what was made durable.

    After a failure everything that waits and everything that comes fails with it: nothing is dropped in silence."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.commits = 0
        self.rows = 0
        self._connection = connection
        self._path = path
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="ledger", daemon=True)
        self._thread.start()

    async def write(self, *rows: Row) -> None:
        """Write `rows` in one transaction; durable when it returns. Raises MachineError.

        Cancelled, they are written all the same."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(rows, waiter)
        await waiter

    def write_now(self, *rows: Row) -> None:
        """The same, blocking. Raises MachineError."""
        self.post(*rows).result()

    def post(self, *rows: Row) -> concurrent.futures.Future[None]:
        """Queue `rows`; `close` raises if they could not be written."""
        waiter: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._put(rows, waiter)
        return waiter

    def close(self) -> None:
        """Write what is queued and end. Raises the MachineError that ended the writing, if one did."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._connection.close()
        if self._failure:
            raise self._told(self._failure)

    def _put(self, rows: Sequence[Row], waiter: _Waiter) -> None:
        if self._closed:  # nobody would ever answer
            raise MachineError(f"{self._path}: the ledger is closed")
        self._queue.put((rows, waiter))

    def _serve(self) -> None:
        closing = False
        while not closing:
            taken = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(taken) < GROUP:
                    taken.append(self._queue.get_nowait())
            closing = taken[-1] is None
            group = [write for write in taken if write]
            if group and not self._failure:
                self._commit([row for rows, _ in group for row in rows])
            self._wake([waiter for _, waiter in group])

    def _commit(self, rows: Sequence[Row]) -> None:
        places: dict[str, list[tuple[Value, ...]]] = {}
        for place, values in rows:
            places.setdefault(place, []).append(values)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for place, table in places.items():
                if place.startswith("UPDATE "):
                    self._connection.executemany(place, table)
                else:
                    self._insert(place, table)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, ValueError, OverflowError, MemoryError) as error:
            self._failure = error
            with contextlib.suppress(sqlite3.Error):  # the failure itself is told
                self._connection.rollback()
        else:
            self.commits += 1
            self.rows += len(rows)

    def _insert(self, place: str, rows: Sequence[tuple[Value, ...]]) -> None:
        marks = f"({','.join('?' * len(rows[0]))})"
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            sql = f"INSERT OR REPLACE INTO {place} VALUES {','.join([marks] * len(batch))}"  # noqa: S608 - our names
            self._connection.execute(sql, [value for row in batch for value in row])

    def _wake(self, waiters: Sequence[_Waiter]) -> None:
        """Tell all waiters, with one call to each event loop."""
        failure = self._failure
        loops: dict[asyncio.AbstractEventLoop | None, list[_Waiter]] = {}
        for waiter in waiters:
            loops.setdefault(waiter.get_loop() if isinstance(waiter, asyncio.Future) else None, []).append(waiter)
        for loop, told in loops.items():
            if loop is None:
                self._resolve(told, failure)
                continue
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(self._resolve, told, failure)

    def _resolve(self, waiters: Sequence[_Waiter], failure: Exception | None) -> None:
        for waiter in waiters:
            if waiter.done():  # its caller was cancelled
                continue
            if failure:
                waiter.set_exception(self._told(failure))
            else:
                waiter.set_result(None)

    def _told(self, failure: Exception) -> MachineError:
        """Its own exception for every waiter: a shared one would gather all their tracebacks."""
        error = explain(failure, self._path)
        error.__cause__ = failure
        return error
