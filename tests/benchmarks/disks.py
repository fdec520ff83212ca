"""A disk that fails at the n-th change of a small run, for every n, as SQLite tests itself: rows of the fault matrix.

    python tests/benchmarks/faults.py --only "the disk" [--all | --every]

The calls are those that SQLite, Arrow and Python make of libc (`failing.c`): of a write that fails half is written. The
run under the fault ends with 5 and its reason, or is whole all the same; the same command then ends the work: nothing
that was stored is gone, nothing is paid twice but what was in flight, `docreduce check` finds nothing, and the results
are those of an undisturbed run.
"""

from __future__ import annotations

import contextlib
import errno
import re
import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rig import Broken, Case, Child, Findings, contents, failing_library, judge, watched, write_inputs

if TYPE_CHECKING:
    from faults import Lab

DOCUMENTS = 4
IN_FLIGHT = 10
"""Eight slots, and two calls whose slots were freed by answers on their way to the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How a disk fails: with what, once or for ever, at which paths; `said`: what the run's last words hold. `reads`:
    where a later run looks into the ledger of an earlier one."""

    error: int
    always: bool
    only: str = ""
    said: str = ""
    reads: bool = False


FAULTS = {
    "once, broken": Fault(error=errno.EIO, always=False),
    "for ever, broken": Fault(error=errno.EIO, always=True),
    "once, full": Fault(error=errno.ENOSPC, always=False),
    "for ever, full": Fault(error=errno.ENOSPC, always=True, said="space|full"),
    "the ledger for ever, full": Fault(error=errno.ENOSPC, always=True, only="ledger", said="space|full"),
    "the ledger's log, once": Fault(error=errno.EIO, always=False, only="-wal"),
    "the ledger read, once": Fault(
        error=errno.EIO, always=False, only="ledger", reads=True, said="I/O|Input/output|malformed"
    ),
    "the ledger read, for ever": Fault(
        error=errno.EIO, always=True, only="ledger", reads=True, said="I/O|Input/output|malformed"
    ),
}
"""By name: the ways in which a disk is made to fail."""


def failing(lab: Lab, name: str, stride: int = 1, first: int = 0, *, alike: bool = False) -> Findings:
    """Every `stride`-th change fails, one a case. Of writes to one file of results in a row only the first
    and the last, unless `alike`."""
    if failing_library() is None:
        return Findings(notes=["skipped: no C compiler"])
    inputs = lab.folder / "small"
    if not inputs.exists():
        write_inputs(inputs, files=1, rows=DOCUMENTS - 1)
    changes, results = _undisturbed(lab, inputs, FAULTS[name])
    numbers = [at + 1 for at in range(len(changes)) if alike or _stands_out(changes, at)]
    found = Findings()
    ends: Counter[str] = Counter()
    for number in numbers[first::stride]:
        one, end = _case(lab, inputs, FAULTS[name], number, results)
        found.add(one)
        ends[end] += 1
    told = ", ".join(f"{end} × {times}" for end, times in sorted(ends.items()))
    found.notes.append(f"{name}: {len(changes)} changes in a run; {told}")
    return found


def _stands_out(changes: list[str], at: int) -> bool:
    return "/ledger." in changes[at] or not changes[at - 1] == changes[at] == changes[(at + 1) % len(changes)]


def _undisturbed(lab: Lab, inputs: Path, fault: Fault) -> tuple[list[str], dict[str, Any]]:
    """The changes that count in a run without a fault, and its results."""
    lab.configure("summarize")
    case = _begun(lab, inputs, fault)
    broken = _broken(case, fault, 0)
    if case.run(Child(broken=broken)):
        raise RuntimeError(case.text())
    return _changes(broken), contents(case.runs()[-1])


def _begun(lab: Lab, inputs: Path, fault: Fault) -> Case:
    """A case, with a complete run where the fault is in reading what it left."""
    case = lab.case("summarize", inputs)
    if fault.reads:
        case.run()
        case.forget()
    return case


def _broken(case: Case, fault: Fault, number: int) -> Broken:
    count = str(case.job.with_name("changes"))
    return Broken(
        folder=str(case.output),
        at=number,
        count=count,
        error=fault.error,
        always=fault.always,
        only=fault.only,
        reads=fault.reads,
    )


def _changes(broken: Broken) -> list[str]:
    return Path(broken.count).read_text(encoding="utf-8").splitlines()


def _case(lab: Lab, inputs: Path, fault: Fault, number: int, results: dict[str, Any]) -> tuple[Findings, str]:
    lab.configure("summarize")
    case = _begun(lab, inputs, fault)
    broken = _broken(case, fault, number)
    with watched(case) as half:
        code = case.run(Child(broken=broken))
        said = case.text()
        stored = _stored(case.output)
        case.run()
    changes = _changes(broken)
    failed = re.sub(r"/\.?\d{8}T\w+-\w+", "/RUN", changes[number - 1]) if number <= len(changes) else "none"
    found = judge(case, lab.service.stats(), results, documents=DOCUMENTS, exact=False, half=half)
    wrong = [] if code in (0, 5) else [f"exit {code}"]
    if code == 5 and not re.search(fault.said, said):
        wrong.append("the cause is not said")
    if lost := stored - _stored(case.output):
        wrong.append(f"{len(lost)} answers that were stored are gone")
    if found.unknown > IN_FLIGHT:
        wrong.append(f"{found.unknown} unknown calls")
    checked, told = case.check()
    if checked:
        wrong.append(f"check ends with {checked}: {told}")
    found.unfinished += len(wrong)
    found.notes += [f"{case.job.parent.name}, change {number} ({failed}): {each}" for each in wrong]
    if found.bad:
        found.notes.append(f"change {number} ({failed}), exits {case.codes}: {case.text().strip()[-900:]}")
    return found, f"{failed.split()[0]}: exit {code}"


def _stored(output: Path) -> set[tuple[Any, ...]]:
    """The calls that the ledger has as paid, with whether their answer is there."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(output / "ledger.sqlite")) as ledger:
        return set(
            ledger.execute(
                "SELECT a.key, a.run_id, a.cost_pusd, n.text FROM attempt a JOIN answer n USING (key)"
                " WHERE a.billing = 'charged'"
            )
        )
    return set()
