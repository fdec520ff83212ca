"""The ledger's file under two connections: whoever owns it writes, one transaction after another; anybody reads."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from docreduce.desk.ledger.file import explain, is_corrupt, marker
from docreduce.desk.ledger.rows import Value
from docreduce.values.errors import MachineError

__all__ = ["Store"]


class Store:
    """The file at `path`. Without a writer it is for reading only."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._reader = connection
        self._writer: sqlite3.Connection | None = None
        self._held: IO[bytes] | None = None  # the lock
        self._token = ""
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def _writing(self) -> Any:
        """A transaction of the owner. A broken file is marked, so that the next run begins with its salvage."""
        if self._writer is None:
            raise MachineError(f"{self.path}: opened for reading only")
        with self._lock:
            yield from self._transaction(self._writer)

    def _transaction(self, writer: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        try:
            writer.execute("BEGIN IMMEDIATE")
            if writer.execute("SELECT token FROM owner").fetchone() != (self._token,) or self._replaced():
                raise MachineError(f"{self.path}: another run has taken the ledger", kind="locked")
            yield writer
            writer.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):  # the failure itself is told
                writer.rollback()
            if is_corrupt(error) if isinstance(error, sqlite3.Error) else False:
                with contextlib.suppress(OSError):
                    marker(self.path).touch()
            if isinstance(error, sqlite3.Error | ValueError | OverflowError | MemoryError):
                raise explain(error, self.path) from error
            raise

    def _replaced(self) -> bool:
        """Whether what lies at the path is not the file we write any more."""
        if self._held is None:
            return False
        try:
            there = os.stat(self.path)  # noqa: PTH116
        except OSError:
            return True
        return not os.path.samestat(there, os.fstat(self._held.fileno()))

    def _read(self, query: str, values: Sequence[Value] = ()) -> list[Any]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            if is_corrupt(error) and self._writer:
                with contextlib.suppress(OSError):
                    marker(self.path).touch()
            raise explain(error, self.path) from error
