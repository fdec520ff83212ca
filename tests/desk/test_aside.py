"""A broken ledger that is set aside: when a process dies or the disk fails meanwhile, what can be read returns."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from docreduce.desk import Ledger
from docreduce.desk.ledger.file import connect, keep_aside, marker, migrate
from docreduce.desk.ledger.salvage import salvage
from docreduce.values.errors import MachineError
from ledgers import ENDPOINT, SETTING, book, reserve
from limited import files_end_at

WORDS = "word " * 500


@pytest.fixture
def keys() -> list[str]:
    """Filled by `path`."""
    return []


@pytest.fixture
def path(tmp_path: Path, keys: list[str]) -> Path:
    """A ledger whose index is broken: all of its rows can be read."""
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        ledger.begin_run("r1", "job", "sha", 1.0)
        keys += book(ledger, range(300), text=WORDS)
    with closing(sqlite3.connect(path)) as found:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_answer_1'"
        page = found.execute(query).fetchone()[0]
    raw = bytearray(path.read_bytes())
    raw[(page - 1) * 4096 + 8 : page * 4096] = os.urandom(4096 - 8)
    path.write_bytes(raw)
    return path


def comes_back(path: Path, keys: list[str]) -> None:
    """The next run has all that was paid for, says what it did, and the one after it has nothing more to do."""
    with Ledger.open(path) as ledger:
        assert "kept as ledger.aside-1.sqlite" in ledger.notes[0]
        assert set(ledger.answers(ENDPOINT, SETTING, keys)) == set(keys)
        assert ledger.carried("job").charged_pusd == 5 * len(keys)
    assert not marker(path).exists()
    with Ledger.open(path) as ledger:
        assert ledger.notes == []
        assert set(ledger.answers(ENDPOINT, SETTING, keys)) == set(keys)
    assert len(list(path.parent.glob("*.aside-*.sqlite"))) == 1


def test_a_death_after_it_was_renamed_is_made_good(path: Path, keys: list[str]) -> None:
    assert keep_aside(path) is not None
    assert not path.exists()
    assert marker(path).stat().st_mode & 0o777 == 0o600
    comes_back(path, keys)


def test_a_death_before_it_was_renamed_and_one_in_between_are_made_good(path: Path, keys: list[str]) -> None:
    marker(path).write_text("ledger.aside-1.sqlite\ncorrupt")
    log = path.with_name("ledger.sqlite-wal")
    log.touch()
    log.rename(path.with_name("ledger.aside-1.sqlite-wal"))
    comes_back(path, keys)


def test_a_death_while_rows_were_read_from_it_is_made_good(path: Path, keys: list[str]) -> None:
    found = keep_aside(path)
    assert found is not None
    with closing(connect(path)) as begun:
        migrate(begun)
        assert salvage(found[0], begun) > 600
    comes_back(path, keys)


def test_a_write_that_is_refused_for_another_reason_marks_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger.open(path) as ledger:
        with pytest.raises(MachineError):
            reserve(ledger, "a", bound=2**80)
        path.rename(tmp_path / "elsewhere.sqlite")
        with pytest.raises(MachineError, match="another run has taken the ledger"):
            reserve(ledger, "b")
        assert not marker(path).exists()


def test_a_mark_that_is_half_written_is_a_mark(path: Path, keys: list[str]) -> None:
    marker(path).write_text("ledger.aside-1.sq")
    comes_back(path, keys)


def test_a_disk_that_fills_up_while_rows_are_read_from_it_loses_none(path: Path, keys: list[str]) -> None:
    with files_end_at(100_000), pytest.raises(MachineError):
        Ledger.open(path)
    assert marker(path).exists()
    comes_back(path, keys)


def test_rows_that_cannot_be_written_are_no_rows_that_cannot_be_read(path: Path) -> None:
    found = keep_aside(path)
    assert found is not None
    with closing(connect(path)) as begun:
        migrate(begun)
        begun.execute("PRAGMA max_page_count = 40")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            salvage(found[0], begun)
