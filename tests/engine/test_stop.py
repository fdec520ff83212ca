"""Signals: nothing new is sent, everything paid is kept, and a second one is heard at once."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checking import check

pytestmark = pytest.mark.long


def test_a_signal_awaits_the_calls_in_flight_and_the_same_command_goes_on(lab: Any) -> None:
    import faults

    check(faults.stopped(lab, signal.SIGTERM, 0.1))


def test_a_second_signal_stops_at_once(lab: Any) -> None:
    import faults

    found = faults.stopped(lab, signal.SIGINT, 0.1, twice=True)
    check(found)
    assert found.unknown == 4  # the calls in flight


def test_a_signal_that_comes_twice_at_once_is_one(lab: Any) -> None:
    import faults

    check(faults.stopped(lab, signal.SIGTERM, 0.1, doubled=True))


def test_a_signal_at_the_start_is_130_without_a_traceback(lab: Any) -> None:
    import faults

    check(faults.stopped_early(lab, signal.SIGINT, seed=1))


def test_a_stop_does_not_read_a_huge_input_to_its_end(lab: Any) -> None:
    import faults

    check(faults.stopped_in_a_huge_input(lab, 100_000))


def test_a_run_under_nohup_outlives_its_terminal(lab: Any) -> None:
    import faults

    check(faults.hung_up(lab, nohup=True))


def test_every_file_is_a_row_though_the_stop_left_no_time_to_read_them(lab: Any) -> None:
    import faults

    check(faults.stopped_among_many_files(lab, 6_000))


def test_a_reader_of_the_output_that_goes_away_changes_no_run_and_no_exit_code(lab: Any) -> None:
    import faults

    check(faults.reader_gone(lab, full=False))


def test_what_stdout_cannot_hold_is_an_error_of_the_machine() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    with full.open("w") as stdout:
        command = [sys.executable, "-m", "docreduce.cli", "schema"]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.splitlines()[0] == "docreduce: stdout: No space left on device"
    assert "Make room on the disk" in done.stderr


def test_a_command_without_a_stdout_works() -> None:
    command = f"{shlex.quote(sys.executable)} -m docreduce.cli models >&-"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
