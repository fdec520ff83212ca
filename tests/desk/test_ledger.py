"""The ledger: what is durable when, what it answers, and what a crash leaves."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from docreduce.desk import Carried, Ledger
from docreduce.desk.ledger import Booked, Reserved
from docreduce.desk.ledger import book as book_module
from docreduce.desk.ledger import lease as lease_module
from docreduce.desk.ledger import segments as segments_module
from docreduce.desk.ledger.lease import Lease
from docreduce.desk.ledger.segments import Segment, join, write_segment
from docreduce.desk.ledger.sending import SLOTS, Sending
from docreduce.models.calibration import Sample
from docreduce.values import Cause, Completion, Failure
from docreduce.values.errors import MachineError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ledgers import ENDPOINT, SETTING, attempt, book, booked, completion, kept, key, pay, reserve
from places import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "ledger.sqlite"


def answers(ledger: Ledger, keys: list[str], **changes: Any) -> dict[str, Any]:
    return ledger.answers(ENDPOINT, SETTING, keys, **changes)


# --- answers ------------------------------------------------------------------------------------------------------


def test_an_answer_comes_back_as_it_was_stored(path: Path) -> None:
    text = "ä 漢 🙂 \0 end"
    with Ledger.open(path) as ledger:
        pay(ledger, 1, text=text)
        assert answers(ledger, [key(1), "0" * 64]) == {key(1): completion(1, text)}
    with Ledger.open(path) as ledger:
        assert answers(ledger, [key(1)]) == {key(1): completion(1, text)}
        assert (ledger.notes, ledger.recovered) == ([], [])


@pytest.mark.parametrize("where", [("https://b.example/v1", SETTING), (ENDPOINT, '["m",11,{}]')])
def test_an_answer_is_known_at_its_endpoint_and_setting_alone(path: Path, where: tuple[str, str]) -> None:
    with Ledger.open(path) as ledger:
        pay(ledger, 1)
        assert ledger.answers(*where, [key(1)]) == {}
        reserved = reserve(ledger, 1)
        other = kept(1, "another", endpoint=where[0], setting=where[1])
        ledger.commit([], [Booked(reserved=reserved, attempt=attempt(1), kept=other)])
        assert ledger.answers(*where, [key(1)])[key(1)].text == "another"  # type: ignore[union-attr]
        assert answers(ledger, [key(1)]) == {key(1): completion(1)}


def test_attempts_of_a_run_come_back_as_they_were_booked(path: Path) -> None:
    with Ledger.open(path) as ledger:
        pay(ledger, 1)
        second = reserve(ledger, 2)
        reserve(ledger, 3)  # still in flight
        refused = attempt(
            2, outcome=Cause.TIMEOUT, billing="unknown", cost_pusd=100, usage=None, http_status=None, error="no answer"
        )
        ledger.commit([], [Booked(reserved=second, attempt=refused)])
        first, second_row = booked(path)
    written = asdict(attempt(1))
    usage = written.pop("usage")
    assert first == {"id": 1, "run_id": "r1", "document_id": "doc"} | usage | written
    assert (second_row["outcome"], second_row["input_tokens"], second_row["cost_pusd"]) == ("timeout", None, 100)
    assert second_row["error"] == "no answer"


def test_what_is_remembered_or_rejected_is_asked_again_only_with_retry_failed(path: Path) -> None:
    with Ledger.open(path) as ledger:
        good, bad = book(ledger, [1, 2])
        long = kept(3, "", cause=Cause.CONTEXT_OVERFLOW, message="too long")
        free = attempt(3, billing="free", cost_pusd=0)
        ledger.commit([], [Booked(reserved=reserve(ledger, 3), attempt=free, kept=long)], [bad])
        known = answers(ledger, [good, bad, long.key])
        assert known[bad] == completion(2)
        assert known[long.key] == Failure(key=long.key, cause=Cause.CONTEXT_OVERFLOW, message="too long")
        assert set(answers(ledger, [good, bad, long.key], retry="all")) == {good}
        pay(ledger, 2, text="better")
        assert answers(ledger, [bad], retry="all")[bad].text == "better"


def test_many_keys_are_looked_up_at_once(path: Path) -> None:
    with Ledger.open(path) as ledger:
        keys = book(ledger, range(1200))
        assert set(answers(ledger, [*keys, "f" * 64])) == set(keys)


def test_a_reservation_that_was_never_sent_leaves_nothing(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.begin_run("r1", "job", "sha", 1.0)
        ledger.commit([], [Booked(reserved=reserve(ledger, 1), attempt=None)])
    with Ledger.open(path) as ledger:
        assert ledger.recovered == []
        assert ledger.carried("job") == Carried(charged_pusd=0, unknown_pusd=0)
    assert booked(path) == []


def test_a_commit_is_whole_or_not_at_all(path: Path) -> None:
    with Ledger.open(path) as ledger:
        first = reserve(ledger, 1)
        with pytest.raises(MachineError):
            ledger.commit([replace(first)], [Booked(reserved=first, attempt=attempt(1, cost_pusd=2**64), kept=kept(1))])
        assert answers(ledger, [key(1)]) == {}
        ledger.commit([], [Booked(reserved=first, attempt=attempt(1), kept=kept(1))])
        assert answers(ledger, [key(1)]) == {key(1): completion(1)}


def test_one_thread_reads_while_another_writes(path: Path) -> None:
    with Ledger.open(path) as ledger:
        writing = threading.Thread(target=lambda: [pay(ledger, number) for number in range(100)])
        writing.start()
        seen: list[int] = []
        while writing.is_alive():
            found = answers(ledger, [key(number) for number in range(100)])
            assert all(each == completion(int(name.split()[-1])) for name, each in found.items())
            seen.append(len(found))
        writing.join()
        assert seen == sorted(seen)
        assert len(answers(ledger, [key(number) for number in range(100)])) == 100


# --- money --------------------------------------------------------------------------------------------------------


def test_a_job_carries_what_its_runs_spent_since_the_last_complete_one(path: Path) -> None:
    runs = [("a", "complete"), ("a", "budget"), ("b", "budget"), ("a", "interrupted")]
    with Ledger.open(path) as ledger:
        for number, (job, status) in enumerate(runs):
            ledger.begin_run(f"r{number}", job, "sha", float(number))
            pay(ledger, number, run_id=f"r{number}", cost_pusd=10**number)
            ledger.end_run(f"r{number}", status, number + 0.5)
        ledger.begin_run("r4", "a", "sha", 4.0)
        in_flight = reserve(ledger, "in flight", run_id="r4", bound=70)
        lost = attempt("in flight", outcome="timeout", billing="unknown", cost_pusd=70, usage=None)
        ledger.commit([], [Booked(reserved=in_flight, attempt=lost)])
        assert ledger.carried("a") == Carried(charged_pusd=1010, unknown_pusd=70)
        assert ledger.carried("b") == Carried(charged_pusd=100, unknown_pusd=0)
        assert ledger.carried("never run") == Carried(charged_pusd=0, unknown_pusd=0)
        ledger.end_run("r4", "complete", 5.0)
        assert ledger.carried("a") == Carried(charged_pusd=0, unknown_pusd=0)


def test_a_run_whose_process_ended_is_named_until_it_is_marked(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.begin_run("r1", "job", "sha", 1.0)
        assert ledger.unmarked("job") == []
    with Ledger.open(path) as ledger:
        assert ledger.unmarked("job") == ["r1"]
        assert ledger.unmarked("other") == []
        ledger.end_run("r1", "complete", 2.0)
        assert ledger.unmarked("job") == []


def test_the_latency_of_a_job_is_the_mean_of_its_answered_calls(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.begin_run("r1", "job", "sha", 1.0)
        assert ledger.latency_s("sha") is None
        for seconds, outcome in ((1.0, "ok"), (3.0, "ok"), (60.0, "timeout")):
            ledger.commit([], [Booked(reserved=reserve(ledger, seconds), attempt=attempt(
                seconds, latency_s=seconds, outcome=outcome))])  # fmt: skip
        assert ledger.latency_s("sha") == 2.0
        assert ledger.latency_s("other") is None


# --- crashes ------------------------------------------------------------------------------------------------------


def left(path: Path, sent: list[object], unsent: list[object], *, power: bool = False) -> list[Reserved]:
    """A ledger whose process died with these calls reserved. `power`: and the machine went down with it."""
    folder = path.parent
    with Ledger.open(path) as ledger:
        ledger.begin_run("r1", "job", "sha", 1.0)
        rows = [reserve(ledger, words) for words in (*sent, *unsent)]
        for row in rows[: len(sent)]:
            ledger.sending(row.id)
    if power:
        marks = folder / "ledger.sending"
        marks.write_bytes(b"another boot" + marks.read_bytes()[12:])
    return rows


def test_after_a_kill_what_was_sent_is_unknown_at_its_bound_and_what_was_not_is_free(path: Path) -> None:
    left(path, ["a", "b"], ["c", "d", "e"])
    with Ledger.open(path) as ledger:
        assert ledger.recovered == [100, 100]
        assert ledger.carried("job") == Carried(charged_pusd=0, unknown_pusd=200)
        rows = booked(path)
        assert [(row["key"], row["billing"], row["outcome"]) for row in rows] == [
            (key("a"), "unknown", "stopped"), (key("b"), "unknown", "stopped")
        ]  # fmt: skip
        assert {(row["endpoint"], row["model"]) for row in rows} == {(ENDPOINT, "m")}
        assert ledger.next_id > max(row["id"] for row in rows)
    with Ledger.open(path) as ledger:
        assert ledger.recovered == []


def test_after_a_power_loss_all_that_was_reserved_is_unknown(path: Path) -> None:
    left(path, ["a"], ["b", "c"], power=True)
    with Ledger.open(path) as ledger:
        assert ledger.recovered == [100] * 3


@pytest.mark.parametrize("marks", [None, b"", b"short"])
def test_without_a_word_on_what_was_sent_all_is_unknown(path: Path, marks: bytes | None) -> None:
    left(path, ["a"], ["b"])
    file = path.with_suffix(".sending")
    file.unlink() if marks is None else file.write_bytes(marks)
    with Ledger.open(path) as ledger:
        assert ledger.recovered == [100] * 2


CHILD = """
import os, sys
sys.path[:0] = [{support!r}, {link!r}]
from pathlib import Path
from docreduce.desk import Ledger
from docreduce.desk.ledger import Booked
from ledgers import attempt, kept, reserve

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

with Ledger.open(Path(sys.argv[1])) as ledger:
    ledger.begin_run("r1", "job", "sha", 1.0)
    flying = []
    for turn in range(100_000):
        done = [Booked(reserved=row, attempt=attempt(words), kept=kept(words)) for words, row in flying]
        names = [f"{{turn}}-{{n}}" for n in range(16)]
        rows = [reserve(ledger, words, commit=False) for words in names]
        ledger.commit(rows, done)
        for words, row in flying:
            say("booked", words)
        flying = list(zip(names, rows))[:8]
        for words, row in flying:
            ledger.sending(row.id)
            say("sent", words)
        ledger.commit([], [Booked(reserved=row, attempt=None) for row in rows[8:]])
"""


def child(path: Path, script: str) -> subprocess.Popen[str]:
    code = script.format(support=str(ROOT / "tests" / "support"), link=str(ROOT / ".link"))
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)


@pytest.mark.long
@pytest.mark.parametrize("lines", [1, 8, 9, 150, 401, 1000])
def test_a_process_killed_at_any_moment_leaves_what_it_was_told_is_durable(path: Path, lines: int) -> None:
    said: dict[str, set[str]] = {"sent": set(), "booked": set()}
    with child(path, CHILD) as process:
        assert process.stdout
        for number, line in enumerate(process.stdout, start=1):
            word, words = line.split()
            said[word].add(key(words))
            if number == lines:
                process.send_signal(signal.SIGKILL)  # what it still said before it died is read too
    in_flight = said["sent"] - said["booked"]
    with Ledger.open(path) as ledger:
        unknown = {row["key"] for row in booked(path) if row["billing"] == "unknown"}
        charged = {row["key"] for row in booked(path) if row["billing"] == "charged"}
        assert said["booked"] <= charged == set(answers(ledger, sorted(charged)))
        assert in_flight <= unknown | charged
        assert len(unknown) <= 8  # never more than were in flight
        assert unknown.isdisjoint(charged)
        assert ledger.recovered == [100] * len(unknown)
        assert ledger.carried("job") == Carried(charged_pusd=5 * len(charged), unknown_pusd=100 * len(unknown))
    with Ledger.open(path) as ledger:
        assert ledger.recovered == []
        assert ledger.carried("job").unknown_pusd == 100 * len(unknown)


# --- what is learned ----------------------------------------------------------------------------------------------


def test_samples_ride_along_and_the_newest_two_thousand_of_a_model_at_an_endpoint_are_kept(path: Path) -> None:
    def learn(ledger: Ledger, *samples: Sample) -> None:
        rows = [reserve(ledger, 1, commit=False) for _ in samples]
        ledger.commit(rows, [])
        ledger.commit([], [
            Booked(reserved=row, attempt=attempt(1), kept=kept(1), sample=each)
            for row, each in zip(rows, samples, strict=True)
        ])  # fmt: skip

    with Ledger.open(path) as ledger:
        learn(ledger, Sample(ENDPOINT, "m", "cjk", "map", "", 0, "", 1, 2, 3))
        learn(ledger, *(Sample(ENDPOINT, "m", "latin", "map", "", 0, "", 100, 112 + n, 40) for n in range(2100)))
        learn(
            ledger,
            Sample(ENDPOINT, "other", "latin", "reduce", "", 0, "", 1, 2, 3),
            Sample("b", "m", "code", "map", "", 0, "", 1, 2, 3),
        )
        assert [sample.text_kind for sample in ledger.samples(ENDPOINT, "other")] == ["latin"]
        assert [sample.text_kind for sample in ledger.samples("b", "m")] == ["code"]
    with Ledger.open(path) as ledger:
        samples = ledger.samples(ENDPOINT, "m")
        assert len(samples) == 2000
        assert (samples[0].input_tokens, samples[-1].input_tokens) == (112 + 2099, 112 + 100)
    with closing(sqlite3.connect(path)) as plain:
        assert plain.execute("SELECT count(*) FROM sample WHERE model = 'm' AND endpoint != 'b'").fetchone() == (2000,)


def test_a_pinned_number_stays_what_it_first_was(path: Path) -> None:
    with Ledger.open(path) as ledger:
        assert ledger.pinned("chunk", 8000) == 8000
    with Ledger.open(path) as ledger:
        assert ledger.pinned("chunk", 9000) == 8000


def test_what_was_sent_and_booked_is_nothing_to_be_recovered(path: Path) -> None:
    ledger = Ledger.open(path)
    rows = [reserve(ledger, words) for words in ("a", "b", "c")]
    for row in rows:
        ledger.sending(row.id)
    ledger.commit([], [Booked(reserved=rows[0], attempt=attempt("a"), kept=kept("a"))])
    ledger.commit([], [Booked(reserved=rows[1], attempt=None)])
    ledger.close()
    with Ledger.open(path) as again:
        assert again.recovered == [100]
        assert [(row["key"], row["billing"]) for row in booked(path)] == [
            (key("a"), "charged"),
            (key("c"), "unknown"),
        ]
        assert again.next_id == rows[2].id + 1


def test_of_calls_that_were_sent_as_many_are_known_as_can_be_in_flight(tmp_path: Path) -> None:
    place = tmp_path / "ledger.sending"
    first = Sending(place)
    assert not first.before
    for number in range(1, SLOTS + 3):
        first.add(number)
    first.close()
    second = Sending(place)
    assert second.before is not None
    assert second.before - {0} == set(range(3, SLOTS + 3))
    second.close()
    assert Sending(place).before in (set(), {0}), "each process begins anew"


def test_names_are_made_durable_with_what_they_name(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    for module in (book_module, segments_module, lease_module):
        monkeypatch.setattr(module, "fsync_folder", synced.append)
    folder = tmp_path / "segments"
    with Ledger.open(path, folder):
        assert {path.parent, folder} == set(synced)
    synced.clear()
    Lease.take(tmp_path / "lease", path)
    assert synced == [tmp_path / "lease"]
    written = [Segment.named(folder, 9, number, number) for number in range(8)]
    synced.clear()
    for each in written:
        write_segment(each, [])
    assert synced == [folder] * 8
    assert len(join(folder, written)) == 1
    assert synced == [folder] * 9


class LedgerAgainstModel(RuleBasedStateMachine):
    """Any order of reserving, sending, booking, rejecting and reopening agrees with dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.ledger = Ledger.open(self.path)
        self.ledger.begin_run("r1", "job", "sha", 0.0)
        self.open: dict[int, tuple[Reserved, str]] = {}
        self.sent: set[int] = set()
        self.answers: dict[str, tuple[str, bool]] = {}
        self.charged = self.unknown = 0

    @rule(words=st.integers(0, 5), bound=st.integers(1, 10**15))
    def reserve(self, words: int, bound: int) -> None:
        row = reserve(self.ledger, words, bound=bound)
        assert row.id not in self.open
        self.open[row.id] = row, str(words)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        self.ledger.sending(number)
        self.sent.add(number)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), text=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
          billing=st.sampled_from(["charged", "free", "unknown", "unsent"]))  # fmt: skip
    def book(self, data: st.DataObject, text: str, billing: str) -> None:
        row, words = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        if billing == "unsent":
            self.ledger.commit([], [Booked(reserved=row, attempt=None)])
            return
        bound = row.bound_pusd
        cost = data.draw(st.integers(0, bound)) if billing == "charged" else bound if billing == "unknown" else 0
        answer = kept(words, text) if billing == "charged" else None
        done = attempt(words, cost_pusd=cost, billing=billing)
        self.ledger.commit([], [Booked(reserved=row, attempt=done, kept=answer)])
        self.charged += cost if billing == "charged" else 0
        self.unknown += cost if billing == "unknown" else 0
        if answer:
            self.answers[row.key] = (text, False)

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(self.answers)))
        self.ledger.commit([], [], [which])
        self.answers[which] = (self.answers[which][0], True)

    @rule()
    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(self.path)
        lost = [row.bound_pusd for number, (row, _) in sorted(self.open.items()) if number in self.sent]
        assert self.ledger.recovered == lost
        self.unknown += sum(lost)
        self.open.clear()
        self.sent.clear()  # an id of which nothing remains may be given again

    @invariant()
    def agrees(self) -> None:
        assert self.ledger.carried("job") == Carried(charged_pusd=self.charged, unknown_pusd=self.unknown)
        keys = [key(words) for words in range(6)]
        found = answers(self.ledger, keys)
        assert all(isinstance(each, Completion) for each in found.values())
        assert {name: each.text for name, each in found.items()} == {
            name: text for name, (text, _) in self.answers.items()
        }
        fresh = {name for name, (_, rejected) in self.answers.items() if not rejected}
        assert set(answers(self.ledger, keys, retry="all")) == fresh

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()


TestLedgerAgainstModel = LedgerAgainstModel.TestCase
TestLedgerAgainstModel.pytestmark = pytest.mark.long
TestLedgerAgainstModel.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
