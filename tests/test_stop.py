"""Signals: nothing new is sent, everything paid is kept, and a second one is heard at once."""

from __future__ import annotations

import signal
from typing import Any

from test_crash import check


def test_a_signal_awaits_the_calls_in_flight_and_the_same_command_goes_on(lab: Any) -> None:
    import faults

    check(faults.stopped(lab, signal.SIGTERM, 0.1))


def test_a_second_signal_stops_at_once(lab: Any) -> None:
    import faults

    found = faults.stopped(lab, signal.SIGINT, 0.1, twice=True)
    check(found)
    assert found.unknown == 4  # the calls in flight


def test_a_signal_at_the_start_is_130_without_a_traceback(lab: Any) -> None:
    import faults

    check(faults.stopped_early(lab, signal.SIGINT, seed=1))


def test_a_stop_does_not_read_a_huge_input_to_its_end(lab: Any) -> None:
    import faults

    check(faults.stopped_in_a_huge_input(lab, 100_000))


def test_a_run_under_nohup_outlives_its_terminal(lab: Any) -> None:
    import faults

    check(faults.hung_up(lab, nohup=True))
