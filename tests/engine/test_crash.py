"""kill -9 anywhere in a whole run; the counts of hundreds of points stand in tests/benchmarks/faults.py."""

from __future__ import annotations

from typing import Any

import pytest
from checking import check


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "phase"),
    [
        ("extract", "map and merge"),
        ("summarize", "ledger commit"),
        ("extract", "Parquet writing"),
        ("summarize", "manifest, commit"),
    ],
)
def test_a_run_killed_twice_ends_like_an_undisturbed_one_and_pays_for_calls_in_flight_at_most(
    lab: Any, kind: str, phase: str
) -> None:
    import faults

    found = faults.killed(lab, kind, phase, seed=7)
    check(found)
    assert found.cases >= 1


@pytest.mark.long
def test_a_run_killed_as_its_answers_arrive_books_them_unknown(lab: Any) -> None:
    import rig

    lab.baseline("extract")
    lab.configure("extract")
    case = lab.case("extract")
    point = "engine.carriers:Live.carry>"
    assert case.run(rig.Child(point=point, at=9)) == -9
    assert not case.runs()
    assert case.run() == 0
    paid = rig.books(case.output)
    assert 1 <= paid["unknown"]["calls"] <= 10  # eight slots, and a quarter whose answers were on their way to the disk
    assert paid["charged"]["calls"] + paid["unknown"]["calls"] >= lab.service.stats()["billed_calls"]
    assert "in flight when an earlier run died" in case.text()


@pytest.mark.long
def test_a_disk_that_is_full_ends_the_run_with_5_and_more_space_makes_it_whole(lab: Any) -> None:
    import faults

    found = faults.full_disk(lab, "summarize", 120)
    if not found.cases:
        pytest.skip("mounting a small disk is not permitted here")
    check(found)


@pytest.mark.long
def test_what_a_refusal_left_undone_is_done_once_it_is_mended(lab: Any) -> None:
    import faults

    check(faults.refused(lab, fault_at={9: "redirect"}))


@pytest.mark.long
def test_two_runs_at_once_part_with_a_clear_word(lab: Any) -> None:
    import faults

    check(faults.two_at_once(lab))


@pytest.mark.long
def test_more_calls_than_files_may_be_open_are_made_in_turn(lab: Any) -> None:
    import faults

    check(faults.few_files(lab, 100, 200))


@pytest.mark.long
@pytest.mark.parametrize("pattern", ["^$", "(sqlite|-wal|parquet)$"], ids=["folders", "files"])
def test_an_output_that_turns_read_only_midway_ends_the_run_with_5_and_loses_nothing(lab: Any, pattern: str) -> None:
    import faults

    found = faults.read_only_midway(lab, 0.3, pattern)
    if not found.cases:
        pytest.skip(found.notes[0])
    check(found)


@pytest.mark.long
@pytest.mark.parametrize("how", ["garbage", "folder", "held"])
def test_a_spoilt_lock_file_parts_runs_all_the_same(lab: Any, how: str) -> None:
    import faults

    check(faults.broken_lock(lab, how))


@pytest.mark.long
@pytest.mark.parametrize("how", ["cut", "foreign"])
def test_what_a_broken_ledger_makes_be_paid_twice_is_billed_and_told(lab: Any, how: str) -> None:
    import faults

    found = faults.spoilt_ledger(lab, how, seed=1)
    check(found)
    assert found.twice


@pytest.mark.long
def test_an_answer_damaged_in_a_sound_ledger_is_paid_again_and_told(lab: Any) -> None:
    import contextlib
    import sqlite3

    lab.configure("summarize", latency_s=0.0)
    case = lab.case("summarize")
    assert case.run() == 0
    case.forget()
    with contextlib.closing(sqlite3.connect(case.output / "ledger.sqlite")) as ledger:
        ledger.execute(
            "UPDATE answer SET text = CAST('x' || text AS BLOB) WHERE key IN (SELECT key FROM answer LIMIT 3)"
        )
        ledger.commit()
    assert case.run() == 0
    assert lab.service.stats()["repeated_ok"] == 3
    assert "3 answers in the ledger were damaged; they were asked and paid for again" in case.text()


@pytest.mark.long
def test_a_call_of_sqlite_or_the_file_system_that_fails_loses_nothing_and_pays_nothing_twice(lab: Any) -> None:
    import faults

    check(faults.failing_calls(lab, stride=31, first=7))


@pytest.mark.long
@pytest.mark.parametrize("how", ["once, broken", "the ledger for ever, full", "the ledger read, for ever"])
def test_a_disk_that_fails_at_some_change_ends_the_run_with_5_and_loses_nothing(lab: Any, how: str) -> None:
    import disks
    import rig

    if rig.failing_library() is None:
        pytest.skip("no C compiler")
    check(disks.failing(lab, how, **({"stride": 40, "first": 11} if "read" in how else {"stride": 90, "first": 40})))
