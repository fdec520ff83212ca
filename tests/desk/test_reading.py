"""What a ledger says to those who only look, and what can go from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from docreduce.desk import Ledger, LedgerFault, ledger_faults, ledgers_of, paid, run_books
from docreduce.desk.ledger import Booked
from docreduce.desk.ledger.file import marker
from docreduce.values.errors import MachineError
from ledgers import ENDPOINT, SETTING, attempt, booked, kept, key, pay, reserve

DAY_S = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with Ledger.open(path) as opened:
        opened.begin_run("r1", "job", "sha", 10.0)
        yield opened


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as plain, plain:
        plain.execute(statement)


def faults(path: Path) -> list[LedgerFault]:
    return list(ledger_faults(path))


def texts(ledger: Ledger, *words: str) -> set[str]:
    return set(ledger.answers(ENDPOINT, SETTING, [key(each) for each in words]))


def book(ledger: Ledger, words: str, document: str = "doc", **changes: object) -> None:
    """A call of a document, answered."""
    row = replace(reserve(ledger, words, commit=False), document_id=document)
    ledger.commit([row], [])
    ledger.commit([], [Booked(reserved=row, attempt=attempt(words, **changes), kept=kept(words))])


# --- the bill -----------------------------------------------------------------------------------------------------


def test_the_bill_is_by_run_document_stage_model_endpoint_and_day(ledger: Ledger, path: Path) -> None:
    book(ledger, "a", started_at=0.5 * DAY_S)
    book(ledger, "b", started_at=0.9 * DAY_S, cost_pusd=7)
    book(ledger, "c", started_at=1.1 * DAY_S, billing="unknown", cost_pusd=11)
    book(ledger, "d", "other", started_at=1.1 * DAY_S, batch="b-1", service_tier=None)
    told = sorted(
        (each.document_id, each.day, each.attempts, each.charged_pusd, each.unknown_pusd, each.batch, each.service_tier)
        for each in paid(path)
    )
    assert told == [
        ("doc", "1970-01-01", 2, 12, 0, False, "flex"),
        ("doc", "1970-01-02", 1, 0, 11, False, "flex"),
        ("other", "1970-01-02", 1, 5, 0, True, ""),
    ]
    assert {(each.run_id, each.job, each.stage, each.model, each.endpoint) for each in paid(path)} == {
        ("r1", "job", "map", "m", ENDPOINT)
    }
    assert sum(each.attempts for each in paid(path, DAY_S)) == 2
    assert paid(path, 1.1 * DAY_S + 1) == []


def test_runs_come_in_the_order_they_began_with_what_each_cost(ledger: Ledger, path: Path) -> None:
    pay(ledger, "a")
    ledger.end_run("r1", "complete", 20.0)
    ledger.begin_run("r0", "another", "sha", 30.0)
    assert [
        (each.run_id, each.job, each.status, each.started_at, each.finished_at, each.attempts, each.charged_pusd)
        for each in run_books(path)
    ] == [("r1", "job", "complete", 10.0, 20.0, 1, 5), ("r0", "another", "running", 30.0, None, 0, 0)]


def test_what_is_no_ledger_of_this_version_has_no_bill(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    change(other, "CREATE TABLE theirs (a)")
    with pytest.raises(MachineError, match="no ledger of this version"):
        paid(other)


def test_ledgers_of_shards_are_found_and_those_set_aside_are_not(tmp_path: Path) -> None:
    for name in ("ledger.sqlite", "shards/1-of-2/ledger.sqlite", "ledger.aside-1.sqlite", "other.sqlite"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "shards" / "2-of-2" / "ledger.segments").mkdir(parents=True)
    assert [str(each.relative_to(tmp_path)) for each in ledgers_of(tmp_path)] == [
        "ledger.sqlite",
        "shards/1-of-2/ledger.sqlite",
        "shards/2-of-2/ledger.segments",
    ]


# --- what is wrong ------------------------------------------------------------------------------------------------


def test_of_a_sound_ledger_there_is_nothing_to_say(ledger: Ledger, path: Path) -> None:
    pay(ledger, "a")
    assert faults(path) == []


@pytest.mark.parametrize(
    ("statement", "wrong", "message"),
    [
        ("UPDATE answer SET text = x'00'", True, "2 answers are not what was written"),
        ("UPDATE answer SET text = 'words, no bytes'", True, "2 answers are not what was written"),
        ("UPDATE answer SET endpoint = ''", False, "2 answers are from before endpoints were recorded"),
        ("UPDATE attempt SET cost_pusd = -1", True, "2 attempts have a negative cost"),
        ("PRAGMA user_version = 3", False, "a ledger of version 3, not 4"),
        ("PRAGMA user_version = 5", True, "a ledger of version 5, not 4"),
        ("PRAGMA application_id = 7", True, "not a ledger of ours"),
    ],
)
def test_each_thing_that_is_not_as_it_was_written_is_said(
    path: Path, statement: str, wrong: bool, message: str
) -> None:
    with Ledger.open(path) as ledger:
        pay(ledger, "a")
        pay(ledger, "b")
    change(path, statement)
    (fault,) = faults(path)
    assert fault.wrong == wrong
    assert fault.message.startswith(message)


def test_a_cost_of_nothing_is_no_fault(path: Path) -> None:
    with Ledger.open(path) as ledger:
        book(ledger, "free", cost_pusd=0)
    assert faults(path) == []


def test_what_is_reserved_is_said_with_its_bound(ledger: Ledger, path: Path) -> None:
    reserve(ledger, "a", bound=2_000_000)
    reserve(ledger, "b", bound=1_000_000)
    (fault,) = faults(path)
    assert (fault.wrong, fault.message) == (
        False,
        "2 calls are reserved, up to $0.000003: a run is at work, or died",
    )


def test_marks_files_set_aside_and_empty_files_are_said(path: Path) -> None:
    path.touch()
    marker(path).touch()
    path.with_name("ledger.aside-1.sqlite").touch()
    assert [(each.wrong, each.message) for each in faults(path)] == [
        (True, "marked as corrupt by a run"),
        (False, "ledger.aside-1.sqlite was set aside as broken"),
        (False, "the ledger is empty"),
    ]


def test_pages_that_sqlite_finds_broken_are_said(path: Path) -> None:
    with Ledger.open(path) as ledger:
        for number in range(200):
            pay(ledger, number)
    raw = bytearray(path.read_bytes())
    raw[5 * 4096 : 6 * 4096] = bytes(4096)
    path.write_bytes(raw)
    found = faults(path)
    assert found
    assert all(each.wrong and each.message.startswith("SQLite: ") for each in found)


# --- what can go --------------------------------------------------------------------------------------------------


def test_what_neither_a_kept_run_nor_a_late_attempt_refers_to_is_forgotten(ledger: Ledger, path: Path) -> None:
    for words, at in (("old", 1.0), ("kept", 1.0), ("late", 50.0), ("just", 40.0)):
        book(ledger, words, started_at=at)
    keep = [(key("kept"), ENDPOINT), (key("kept"), ENDPOINT), (key("old"), "https://elsewhere.example")]
    with Ledger.view(path) as view:
        assert view.forget(keep, 40.0) == 1
    assert texts(ledger, "old", "kept", "late", "just") == {key(each) for each in ("old", "kept", "late", "just")}
    assert ledger.forget(keep, 40.0) == 1
    assert texts(ledger, "old", "kept", "late", "just") == {key(each) for each in ("kept", "late", "just")}
    assert ledger.forget(keep, 40.0) == 0
    ledger.compact()
    assert len(booked(path)) == 4, "attempts are the bill"


def test_a_document_is_purged_but_for_its_money(ledger: Ledger, path: Path) -> None:
    book(ledger, "mine", error="said mine", request_id="r-1")
    book(ledger, "also mine")
    book(ledger, "theirs", "another")
    book(ledger, "shared", "another")
    with Ledger.view(path) as view:
        assert view.purge("doc", [key("shared")]) == (3, 2)
    assert len(texts(ledger, "mine", "also mine", "shared", "theirs")) == 4
    assert ledger.purge("doc", [key("shared")]) == (3, 2)
    assert texts(ledger, "mine", "also mine", "shared", "theirs") == {key("theirs")}
    rows = booked(path)
    assert [(row["document_id"], row["cost_pusd"]) for row in rows] == [
        ("", 5),
        ("", 5),
        ("another", 5),
        ("another", 5),
    ]
    assert {row["key"] for row in rows[:2]} == {""}
    assert {(row["error"], row["request_id"]) for row in rows[:2]} == {(None, None)}
    assert rows[2]["key"] == key("theirs")
    ledger.compact()
    ledger.close()
    assert b"said mine" not in path.read_bytes()


def test_the_bill_begins_with_the_first_attempt_of_all(path: Path) -> None:
    with Ledger.open(path) as ledger:
        book(ledger, "a", started_at=0.5)
        assert [each.attempts for each in paid(path)] == [1]
