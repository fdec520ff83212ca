"""A ledger's segments: what they hold, who may write them, and what a lost disk costs."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from docreduce.desk.ledger import Booked, Kept, Ledger, Reserved, copying, lease
from docreduce.desk.ledger.segments import chain_of
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
        assert len(chain_of(segments)) < 15  # joined
    shutil.rmtree(tmp_path / "a")
    keys = [f"k{number}" for number in range(30)]
    with Ledger.open(tmp_path / "b" / "ledger.sqlite", segments) as second:
        assert texts(second, *keys) == {key: f"é {key}" for key in keys}
        assert second.carried("job").charged_pusd == 600
        assert "begun from the segments" in second.notes[0]


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
