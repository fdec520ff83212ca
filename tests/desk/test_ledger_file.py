"""The ledger's file: who may write it, its versions, and what a full disk or a broken file leaves."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import textwrap
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import docreduce.desk.ledger.file as ledger_file
import pytest
from docreduce.desk import Carried, Ledger
from docreduce.desk.ledger import Booked
from docreduce.desk.ledger import book as book_module
from docreduce.models.calibration import Sample
from docreduce.values.errors import MachineError
from ledgers import ENDPOINT, SETTING, attempt, book, booked, completion, kept, key, pay, reserve
from limited import files_end_at
from places import ROOT

FIRST_VERSION = """
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
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "ledger.sqlite"


def answers(ledger: Ledger, keys: list[str], **changes: Any) -> dict[str, Any]:
    return ledger.answers(ENDPOINT, SETTING, keys, **changes)


def child(path: Path, script: str) -> subprocess.Popen[str]:
    code = script.format(support=str(ROOT / "tests" / "support"), link=str(ROOT / ".link"))
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)


# --- who may write ------------------------------------------------------------------------------------------------


def test_a_second_run_on_the_same_folder_is_refused_until_the_first_ends(path: Path) -> None:
    with Ledger.open(path), pytest.raises(MachineError, match="another run") as refused:
        Ledger.open(path)
    assert refused.value.kind == "locked"
    Ledger.open(path).close()


def test_a_second_process_is_refused_and_told_who_holds_it(path: Path) -> None:
    code = """
        import sys
        sys.path.insert(0, {link!r})
        from pathlib import Path
        from docreduce.values.errors import MachineError
        from docreduce.desk import Ledger
        try:
            Ledger.open(Path(sys.argv[1]))
        except MachineError as error:
            print(error.kind, error.message)
        """
    with Ledger.open(path) as ledger:
        pay(ledger, 1)
        with child(path, textwrap.dedent(code)) as process:
            said = process.communicate()[0]
        assert said.startswith("locked")
        assert f"process {os.getpid()}" in said
        assert answers(ledger, [pay(ledger, 2)])


def test_a_reader_of_ours_that_lives_on_does_not_hold_the_lock(path: Path) -> None:
    with Ledger.open(path):
        reader = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with reader:
        Ledger.open(path).close()
        assert reader.poll() is None
        reader.communicate(b"\n")


@pytest.mark.parametrize("how", ["removed", "replaced by another run", "replaced by a copy", "folder moved away"])
def test_a_run_whose_file_is_taken_from_it_writes_nothing_more(path: Path, how: str) -> None:
    ledger = Ledger.open(path)
    pay(ledger, 1)
    other: Ledger | None = None
    if how == "folder moved away":
        path.parent.rename(path.parent.with_name("moved"))
    else:
        content = path.read_bytes()
        for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            name.unlink()
        if how == "replaced by another run":
            other = Ledger.open(path)
            pay(other, 9)
        elif how == "replaced by a copy":
            path.write_bytes(content)
    with pytest.raises(MachineError, match="another run has taken") as refused:
        pay(ledger, 2)
    assert refused.value.kind == "locked"
    ledger.close()
    if other is not None:
        pay(other, 10)
        assert set(answers(other, [key(n) for n in (1, 2, 9, 10)])) == {key(9), key(10)}
        other.close()


def test_a_view_reads_beside_a_run_and_writes_nothing(path: Path) -> None:
    with Ledger.open(path) as ledger, Ledger.view(path) as view:
        pay(ledger, 1)
        assert answers(view, [key(1)]) == {key(1): completion(1)}
        assert ledger.pinned("budget", 8000) == 8000
        assert view.pinned("budget", 1) == 8000
        assert view.pinned("other", 1) == 1
        assert view.notes == []
        with pytest.raises(MachineError, match="reading only"):
            pay(view, 2)


def test_a_view_of_no_ledger_is_empty_and_makes_none(path: Path) -> None:
    with Ledger.view(path) as view:
        assert answers(view, ["k"]) == {}
        assert view.samples(ENDPOINT, "m") == []
        assert view.carried("job") == Carried(charged_pusd=0, unknown_pusd=0)
        assert view.notes == []
    assert not path.exists()
    path.parent.mkdir()
    path.touch()
    with Ledger.view(path) as view:
        assert view.notes == []


def test_a_view_of_a_broken_file_says_so_and_leaves_it(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"my notes\n" * 100)
    with Ledger.view(path) as view:
        assert answers(view, ["k"]) == {}
        assert "taken for empty" in view.notes[0]
    assert path.read_bytes() == b"my notes\n" * 100


def test_a_closed_ledger_refuses_instead_of_waiting_for_ever(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.close()
    with pytest.raises(MachineError, match="closed"):
        pay(ledger, 1)
    with pytest.raises(MachineError, match="closed"):
        answers(ledger, [key(1)])


# --- broken files -------------------------------------------------------------------------------------------------


def beside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("ledger.aside-*.sqlite"))


def test_a_file_that_is_no_ledger_is_kept_aside_unchanged(path: Path) -> None:
    path.parent.mkdir()
    for number, content in enumerate([b"my notes\n" * 1000, b"SQLite format 3\0 but no more"], start=1):
        path.write_bytes(content)
        with Ledger.open(path) as ledger:
            assert pay(ledger, 1)
            assert "kept as" in ledger.notes[0]
        assert len(beside(path)) == number
        assert beside(path)[-1].read_bytes() == content


def test_a_database_of_another_program_is_kept_aside(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as foreign:
        foreign.executescript("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (42)")
    with Ledger.open(path) as ledger:
        assert "not a ledger" in ledger.notes[0]
        assert "a new one begun with 0 rows read from it" in ledger.notes[0]
    with closing(sqlite3.connect(beside(path)[0])) as plain:
        assert plain.execute("SELECT a FROM theirs").fetchall() == [(42,)]


def test_of_a_corrupt_ledger_what_can_be_read_is_carried_over(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.begin_run("r1", "job", "sha", 1.0)
        keys = book(ledger, range(300), text="word " * 500)
    pages = bytearray(path.read_bytes())
    middle = len(pages) // 2 // 4096 * 4096
    pages[middle : middle + 3 * 4096] = os.urandom(3 * 4096)
    path.write_bytes(pages)
    with Ledger.open(path) as ledger:
        assert "corrupt" in ledger.notes[0]
        assert "kept as" in ledger.notes[0]
        saved = answers(ledger, keys)
        assert {keys[0], keys[-1]} <= set(saved)  # from both ends
        assert 150 < len(saved) < 300
        assert {each.text for each in saved.values()} == {"word " * 500}
        assert ledger.carried("job").charged_pusd == 5 * len(booked(path))
    assert beside(path)[0].read_bytes() == bytes(pages)


def test_of_a_ledger_with_a_broken_index_nothing_is_lost(path: Path) -> None:
    with Ledger.open(path) as ledger:
        keys = book(ledger, range(300))
    spoil(path, "sqlite_autoindex_answer_1")
    with Ledger.open(path) as ledger:
        assert "corrupt" in ledger.notes[0]
        assert set(answers(ledger, keys)) == set(keys)


def spoil(path: Path, name: str) -> None:
    """Overwrite the root page of a table or an index."""
    with closing(sqlite3.connect(path)) as found:
        page = found.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]
    spoilt = bytearray(path.read_bytes())
    spoilt[(page - 1) * 4096 + 8 : page * 4096] = os.urandom(4096 - 8)
    path.write_bytes(spoilt)


def test_a_ledger_found_broken_while_it_is_used_is_salvaged_by_the_next_run(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a size, a file is not checked through when it is opened."""
    with Ledger.open(path) as ledger:
        keys = book(ledger, range(300))
    spoil(path, "sqlite_autoindex_answer_1")
    monkeypatch.setattr(ledger_file, "CHECK_BYTES", 0)
    with Ledger.open(path) as ledger:
        assert ledger.notes == []
        with pytest.raises(MachineError) as broken:
            answers(ledger, keys)
        assert "Run the same command again" in broken.value.hint
    with Ledger.open(path) as ledger:
        assert "found corrupt by an earlier run" in ledger.notes[0]
        assert set(answers(ledger, keys)) == set(keys)
    with Ledger.open(path) as ledger:
        assert ledger.notes == []


def test_an_answer_with_a_flipped_bit_is_asked_again_and_counted(path: Path) -> None:
    with Ledger.open(path) as ledger:
        pay(ledger, 1, text="seventy")
        pay(ledger, 2)
    path.write_bytes(path.read_bytes().replace(b"seventy", b"sevenxy"))
    with Ledger.open(path) as ledger:
        assert set(answers(ledger, [key(1), key(2)])) == {key(2)}
        assert ledger.rotten == {key(1)}


# --- versions -----------------------------------------------------------------------------------------------------


def first_version(path: Path) -> None:
    """A ledger of version 1: two answers, one of them rejected, a remembered failure, a call in flight, a pin."""
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as old:
        old.executescript(
            FIRST_VERSION + f"PRAGMA application_id = {ledger_file.APPLICATION_ID}; PRAGMA user_version = 1"
        )
        old.execute("INSERT INTO run VALUES (1, 'r1', 'job', 'sha', 1.0, 2.0, 'budget', 1)")
        rows = [(1, "charged", 5), (2, "charged", 6), (3, "free", 0), (4, "reserved", 70)]
        for number, billing, cost_pusd in rows:
            old.execute(
                "INSERT INTO attempt (id, run_id, document_id, key, stage, attempt, started_at, latency_s, outcome,"
                " billing, cost_pusd) VALUES (?, 'r1', 'doc', ?, 'map', 1, 1.0, 0.5, 'ok', ?, ?)",
                (number, key(number), billing, cost_pusd),
            )
        for number, cause, rejected in ((1, None, 0), (2, None, 1), (3, "context_overflow", 0)):
            text = f"answer {number}".encode()
            old.execute(
                "INSERT INTO answer VALUES (?, 'stop', 5, ?, ?, '', 11, 7, 3, 2, ?, ?)",
                (key(number), cause, rejected, text, zlib.crc32(text)),
            )
        old.execute("INSERT INTO sample VALUES (1, 'm', 'prose w100 -', 'map', 1, 2, 3)")
        old.execute("INSERT INTO pin VALUES ('input_tokens', 8000)")
        old.commit()


def test_samples_of_the_second_version_say_in_columns_what_they_said_in_words(path: Path) -> None:
    path.parent.mkdir(parents=True)
    rows = [
        ("latin0 w100 -", ("latin0", "", 100, "")),
        ("cjk s00c0ffee cut", ("cjk", "00c0ffee", 0, "cut")),
        ("digits w0 overflow", ("digits", "", 0, "overflow")),
        ("from before", None),
    ]
    with closing(sqlite3.connect(path)) as old:
        for script in ledger_file.MIGRATIONS[:2]:
            old.executescript(script)
        old.executescript(f"PRAGMA application_id = {ledger_file.APPLICATION_ID}; PRAGMA user_version = 2")
        for words, _ in rows:
            insert = (
                "INSERT INTO sample (endpoint, model, text_kind, stage, counted_tokens, input_tokens, output_tokens)"
            )
            old.execute(f"{insert} VALUES ('e', 'm', ?, 'map', 1, 2, 3)", (words,))
        old.commit()
    expected = [Sample("e", "m", told[0], "map", *told[1:], 1, 2, 3) for _, told in reversed(rows) if told]
    with Ledger.open(path) as ledger:
        assert ledger.samples("e", "m") == expected


def test_a_ledger_of_the_first_version_keeps_its_money_and_answers_for_nobody(path: Path) -> None:
    first_version(path)
    with Ledger.open(path) as ledger:
        assert ledger.notes == []
        assert ledger.recovered == [70]
        assert ledger.carried("job") == Carried(charged_pusd=11, unknown_pusd=70)
        keys = [key(number) for number in range(1, 5)]
        assert answers(ledger, keys) == {}
        assert set(ledger.answers("", "", keys)) == {key(1), key(2), key(3)}
        assert ledger.samples("", "m") == []
        assert ledger.pinned("input_tokens", 1) == 8000
        assert ledger.next_id == 5
        pay(ledger, 1)
        assert answers(ledger, keys) == {key(1): completion(1)}
    with Ledger.open(path) as ledger:
        assert ledger.recovered == []
        assert answers(ledger, [key(1)]) == {key(1): completion(1)}


def test_a_broken_ledger_of_the_first_version_is_salvaged_with_its_money(path: Path) -> None:
    first_version(path)
    ledger_file.marker(path).touch()
    with Ledger.open(path) as ledger:
        assert "kept as" in ledger.notes[0]
        assert ledger.carried("job") == Carried(charged_pusd=11, unknown_pusd=70)
        assert answers(ledger, [key(1)]) == {}


def test_an_older_ledger_is_migrated_with_all_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path) as ledger:
        pay(ledger, 1)
    tables = ("run", "attempt", "answer", "sample")
    added = (f"ALTER TABLE {table} ADD COLUMN note TEXT NOT NULL DEFAULT 'new'" for table in tables)
    steps = (*ledger_file.MIGRATIONS, ";".join(added))
    monkeypatch.setattr(ledger_file, "MIGRATIONS", steps)
    monkeypatch.setattr(book_module, "MIGRATIONS", steps)
    with Ledger.open(path) as ledger:
        ledger.begin_run("r2", "job", "sha", 1.0)
        taught = Sample(ENDPOINT, "m", "latin", "map", "", 0, "", 1, 2, 3)
        ledger.commit([], [Booked(reserved=reserve(ledger, 3), attempt=attempt(3), kept=kept(3), sample=taught)])
        assert set(answers(ledger, [key(1), key(3)])) == {key(1), key(3)}
        assert ledger.notes == []
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("SELECT note FROM run").fetchall() == [("new",)]


def test_a_newer_ledger_is_left_alone(path: Path) -> None:
    Ledger.open(path).close()
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(MachineError, match="newer"):
        Ledger.open(path)
    assert path.read_bytes() == before
    assert beside(path) == []


# --- a disk that fails --------------------------------------------------------------------------------------------


def test_when_the_disk_is_full_a_write_fails_whole_and_what_was_durable_stays(path: Path) -> None:
    ledger = Ledger.open(path)
    pay(ledger, "before")
    in_flight = reserve(ledger, "in flight")
    ledger.sending(in_flight.id)
    done = Booked(reserved=in_flight, attempt=attempt("in flight"), kept=kept("in flight", "x" * 10**6))
    with files_end_at(200_000), pytest.raises(MachineError):
        ledger.commit([], [done])
    with contextlib.suppress(MachineError):
        ledger.close()
    with Ledger.open(path) as ledger:
        assert set(answers(ledger, [key("before"), key("in flight")])) == {key("before")}
        assert ledger.recovered == [100]
        assert [row["key"] for row in booked(path) if row["billing"] == "unknown"] == [key("in flight")]


def test_a_place_that_cannot_be_written_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError):
        Ledger.open(tmp_path / "file" / "ledger.sqlite")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(MachineError):
        Ledger.open(tmp_path / "folder.sqlite")


def test_where_sqlite_keeps_the_reason_to_itself_the_disk_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "ledger.sqlite"
    with pytest.raises(sqlite3.OperationalError) as told:
        ledger_file.connect(path)
    assert "unable to open" in ledger_file.explain(told.value, path).message
    assert "No such file or directory" in ledger_file.explain(told.value, path).message


def test_what_lies_beside_a_ledger_that_is_a_link_lies_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "disk").mkdir()
    link = tmp_path / "out" / "ledger.sqlite"
    link.symlink_to(tmp_path / "disk" / "other.sqlite")
    with Ledger.open(link) as ledger:
        pay(ledger, 1)
        ledger.note("who", "me")
        assert (ledger.noted("who"), ledger.noted("whom")) == ("me", None)
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {"other.sqlite", "other.sending"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ledger.sqlite"]
