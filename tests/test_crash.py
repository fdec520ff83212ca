"""kill -9 anywhere in a whole run; the counts of hundreds of points stand in tests/benchmarks/faults.py."""

from __future__ import annotations

from typing import Any

import pytest


def check(found: Any) -> None:
    assert not found.bad, found.notes


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


def test_a_run_killed_as_its_answers_arrive_books_them_unknown(lab: Any) -> None:
    import rig

    lab.baseline("extract")
    lab.configure("extract")
    case = lab.case("extract")
    point = "providers.http:HttpProvider.send>"
    assert case.run(rig.Child(point=point, at=9)) == -9
    assert not case.runs()
    assert case.run() == 0
    paid = rig.books(case.output)
    assert 1 <= paid["unknown"]["calls"] <= 8
    assert paid["charged"]["calls"] + paid["unknown"]["calls"] >= lab.service.stats()["billed_calls"]
    assert "in flight when an earlier run died" in case.text()


def test_a_disk_that_is_full_ends_the_run_with_5_and_more_space_makes_it_whole(lab: Any) -> None:
    import faults

    found = faults.full_disk(lab, "summarize", 120)
    if not found.cases:
        pytest.skip("mounting a small disk is not permitted here")
    check(found)


def test_what_a_refusal_left_undone_is_done_once_it_is_mended(lab: Any) -> None:
    import faults

    check(faults.refused(lab, fault_at={9: "redirect"}))


def test_two_runs_at_once_part_with_a_clear_word(lab: Any) -> None:
    import faults

    check(faults.two_at_once(lab))


def test_more_calls_than_files_may_be_open_are_made_in_turn(lab: Any) -> None:
    import faults

    check(faults.few_files(lab, 100, 200))
