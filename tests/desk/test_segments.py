"""A ledger's segments: what they hold, who may write them, and what a lost disk costs."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from docreduce.desk.ledger import Booked, Kept, Ledger, Reserved, copying, lease
from docreduce.desk.ledger.segments import Segment, chain_of, restore
from docreduce.values import Attempt, Usage
from docreduce.values.errors import MachineError

USAGE = Usage(input_tokens=7, output_tokens=3)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "COPY_S", 0.05)
    monkeypatch.setattr(copying, "LATE_S", 0.5)
    monkeypatch.setattr(lease, "LEASE_S", 0.4)
    monkeypatch.setattr(lease, "_LOOK_S", 0.02)


def reserve(ledger: Ledger, key: str, run_id: str = "r") -> Reserved:
    ledger.next_id += 1
    return Reserved(
        id=ledger.next_id, run_id=run_id, document_id="d", key=key, stage="map", chunk=0, attempt=1, started_at=1.0,
        endpoint="e", model="m", bound_pusd=50,
    )  # fmt: skip


def booked(reserved: Reserved) -> Booked:
    attempt = Attempt(
        key=reserved.key, stage="map", chunk=0, attempt=1, started_at=1.0, latency_s=0.5, outcome="ok",
        billing="charged", cost_pusd=20, model="m", endpoint="e", usage=USAGE,
    )  # fmt: skip
    kept = Kept(
        endpoint="e", setting="s", key=reserved.key, model="m", text=f"é {reserved.key}", finish_reason="stop",
        usage=USAGE, cost_pusd=20,
    )  # fmt: skip
    return Booked(reserved=reserved, attempt=attempt, kept=kept)


def answer(ledger: Ledger, *keys: str, run_id: str = "r") -> None:
    reserved = [reserve(ledger, key, run_id) for key in keys]
    ledger.commit(reserved, [])
    ledger.commit([], [booked(each) for each in reserved])


def texts(ledger: Ledger, *keys: str) -> dict[str, str]:
    return {key: getattr(found, "text", "") for key, found in ledger.answers("e", "s", keys).items()}


def crash(ledger: Ledger) -> None:
    """End it as a kill does: nothing more is copied, nothing released."""
    assert ledger._copying is not None
    ledger._copying._lease = SimpleNamespace(release=lambda: None)  # type: ignore[assignment]
    ledger._copying._copy = lambda: None  # type: ignore[method-assign]
    ledger.close()


def test_a_ledger_begins_elsewhere_with_all_that_was_copied(tmp_path: Path) -> None:
    segments = tmp_path / "out" / "segments"
    with Ledger.open(tmp_path / "a" / "ledger.sqlite", segments) as first:
        first.begin_run("r", "job", "sha", 1.0)
        for number in range(30):
            answer(first, f"k{number}")
            first._copying.flush()  # type: ignore[union-attr]
        chain = chain_of(segments)
        assert len(chain) < 15  # joined
        assert [each.first for each in chain] == [0, *(each.last + 1 for each in chain[:-1])]
        assert {each.path.stat().st_mode & 0o777 for each in chain} == {0o600}
    shutil.rmtree(tmp_path / "a")
    keys = [f"k{number}" for number in range(30)]
    with Ledger.open(tmp_path / "b" / "ledger.sqlite", segments) as second:
        assert texts(second, *keys) == {key: f"é {key}" for key in keys}
        assert second.carried("job").charged_pusd == 600
        assert len(second.notes) == 1, "nothing is missing"
        assert "begun from the segments" in second.notes[0]
        assert "with 30 attempts; what was booked" in second.notes[0]


def test_a_lost_disk_costs_what_was_not_copied_and_books_what_was_in_flight_unknown(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    first = Ledger.open(tmp_path / "a" / "ledger.sqlite", segments)
    first.begin_run("r", "job", "sha", 1.0)
    answer(first, "copied")
    first.commit([reserve(first, "in flight")], [])
    first._copying.flush()  # type: ignore[union-attr]
    first._copying._copy = lambda: None  # type: ignore[union-attr, method-assign]
    answer(first, "late")
    crash(first)
    shutil.rmtree(tmp_path / "a")
    with Ledger.open(tmp_path / "b" / "ledger.sqlite", segments) as second:
        assert set(texts(second, "copied", "in flight", "late")) == {"copied"}
        assert second.recovered == [50]
        assert second.carried("job").unknown_pusd == 50


def test_a_disk_that_comes_back_adds_what_it_alone_knows(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    first = Ledger.open(tmp_path / "a" / "ledger.sqlite", segments)
    first.begin_run("r", "job", "sha", 1.0)
    first._copying.flush()  # type: ignore[union-attr]
    first._copying._copy = lambda: None  # type: ignore[union-attr, method-assign]
    answer(first, "late")
    crash(first)
    with Ledger.open(tmp_path / "b" / "ledger.sqlite", segments) as second:
        second.begin_run("other", "job", "sha", 2.0)
        answer(second, "new", run_id="other")
    with Ledger.open(tmp_path / "a" / "ledger.sqlite", segments) as third:
        assert set(texts(third, "late", "new")) == {"late", "new"}
        assert third.carried("job").charged_pusd == 40


def test_a_writer_that_wakes_up_is_refused_at_its_next_segment(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    first = Ledger.open(tmp_path / "a" / "ledger.sqlite", segments)
    copying_, first_copy = first._copying, first._copying._copy  # type: ignore[union-attr]
    assert copying_ is not None
    copying_._copy = lambda: None  # type: ignore[method-assign]  # it sleeps
    time.sleep(0.2)
    with Ledger.open(tmp_path / "b" / "ledger.sqlite", segments) as second:
        copying_._copy = first_copy  # type: ignore[method-assign]
        with pytest.raises(MachineError, match="another run has taken over") as refused:
            copying_.flush()
        assert refused.value.kind == "locked"
        with pytest.raises(MachineError, match="another run has taken over"):
            answer(first, "k")
        answer(second, "k")
    with pytest.raises(MachineError):
        first.close()


def test_a_holder_that_is_at_work_is_not_taken_over(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    with Ledger.open(tmp_path / "a" / "ledger.sqlite", segments) as first:
        with pytest.raises(MachineError, match="another run is at work") as refused:
            Ledger.open(tmp_path / "b" / "ledger.sqlite", segments)
        assert refused.value.kind == "locked"
        answer(first, "k")


def test_a_damaged_segment_says_so_and_the_others_are_read(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    with Ledger.open(tmp_path / "a" / "ledger.sqlite", segments) as first:
        for key in ("one", "two", "three"):
            answer(first, key)
            first._copying.flush()  # type: ignore[union-attr]
    damaged = chain_of(segments)[2].path
    damaged.write_bytes(damaged.read_bytes()[:-20])
    shutil.rmtree(tmp_path / "a")
    with Ledger.open(tmp_path / "b" / "ledger.sqlite", segments) as second:
        assert {"one", "three"} <= set(texts(second, "one", "two", "three"))
        assert any(damaged.name in note for note in second.notes)


def copied(ledger: Ledger, *keys: str) -> None:
    for each in keys:
        answer(ledger, each)
        ledger._copying.flush()  # type: ignore[union-attr]


def test_segments_that_are_missing_are_said(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    with Ledger.open(tmp_path / "a" / "ledger.sqlite", segments) as first:
        copied(first, "one", "two", "three", "four")
    for each in chain_of(segments)[2:4]:
        each.path.unlink()
    connection, faults = restore(chain_of(segments))
    with closing(connection):
        assert connection.execute("SELECT key FROM answer ORDER BY key").fetchall() == [("four",), ("one",)]
    assert faults == ["segments 2 to 3 of epoch 1 are missing"]


def test_a_chain_without_its_first_segment_is_none(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    with Ledger.open(tmp_path / "a" / "ledger.sqlite", segments) as first:
        copied(first, "one")
    (segments / "notes.txt").touch()
    assert len(chain_of(segments)) >= 2
    chain_of(segments)[0].path.unlink()
    assert chain_of(segments) == []
    assert chain_of(tmp_path / "nowhere") == []


def test_what_a_joined_segment_holds_is_read_once(tmp_path: Path) -> None:
    for first, last in ((0, 0), (1, 8), (1, 1), (5, 8), (8, 9), (10, 10)):
        Segment.named(tmp_path, 3, first, last).path.touch()
    Segment.named(tmp_path, 4, 1, 1).path.touch()
    Segment.named(tmp_path, 2, 0, 0).path.touch()
    assert [(each.epoch, each.first, each.last) for each in chain_of(tmp_path)] == [
        (3, 0, 0),
        (3, 1, 8),
        (3, 8, 9),
        (3, 10, 10),
    ]


def test_answers_that_led_to_a_failure_are_marked_in_what_is_copied(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    with Ledger.open(tmp_path / "a" / "ledger.sqlite", segments) as first:
        first.begin_run("r", "job", "sha", 1.0)
        copied(first, "good", "rejected", "failed")
        first.commit([], [], ["rejected"])
        first.end_run("r", "complete", 2.0, ["failed"])
    with closing(restore(chain_of(segments))[0]) as connection:
        marks = dict(connection.execute("SELECT key, rejected FROM answer"))
        assert marks == {"good": 0, "rejected": 1, "failed": 2}
        assert connection.execute("SELECT status FROM run").fetchall() == [("complete",)]


def test_bytes_that_are_no_text_any_more_are_copied_as_they_are(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    with Ledger.open(tmp_path / "a" / "ledger.sqlite", segments) as first:
        answer(first, "sound", "damaged")
    with closing(sqlite3.connect(tmp_path / "a" / "ledger.sqlite")) as plain, plain:
        plain.execute("UPDATE answer SET text = x'ff00fe' WHERE key = 'damaged'")
    with Ledger.open(tmp_path / "a" / "ledger.sqlite", tmp_path / "anew") as again:
        assert set(texts(again, "sound", "damaged")) == {"sound"}
    with closing(restore(chain_of(tmp_path / "anew"))[0]) as connection:
        kept = dict(connection.execute("SELECT key, text FROM answer"))
    assert kept == {"sound": "é sound".encode(), "damaged": b"\xff\x00\xfe"}


def test_segments_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    place = Segment.named(tmp_path, 1, 0, 0).path
    place.write_bytes(gzip.compress(b'{"version": 99}\n'))
    with pytest.raises(MachineError, match="written by a newer docreduce"):
        restore(chain_of(tmp_path))


def test_what_is_no_table_of_a_ledger_is_refused_and_said(tmp_path: Path) -> None:
    lines = [b'{"version": 4}', b'{"table": "sqlite_schema", "columns": "name", "rows": [["x"]]}']
    Segment.named(tmp_path, 1, 0, 0).path.write_bytes(gzip.compress(b"\n".join(lines)))
    connection, faults = restore(chain_of(tmp_path))
    connection.close()
    assert len(faults) == 1
    assert "no table of a ledger: sqlite_schema" in faults[0]


def test_whoever_ends_in_order_lets_the_next_one_in_at_once(tmp_path: Path) -> None:
    segments = tmp_path / "segments"
    with Ledger.open(tmp_path / "a" / "ledger.sqlite", segments):
        (held,) = segments.glob("lease-*")
        assert b'"released":false' in held.read_bytes()
    assert b'"released":true' in held.read_bytes()
