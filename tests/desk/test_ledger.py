"""The ledger: what is durable when, who may write, and what a crash, a full disk or a broken file leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import docreduce.desk.ledger.file as ledger_file
import pytest
from docreduce.desk.ledger import Carried, Ledger, Sample, Stored, book
from docreduce.values import Attempt, Cause, Message, Request, Usage
from docreduce.values.errors import MachineError
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

USAGE = Usage(input_tokens=11, output_tokens=7, cached_input_tokens=3, reasoning_tokens=2)


def ask(words: object) -> Request:
    message = Message("user", str(words))
    return Request(
        provider="p", model="m", messages=(message,), max_output_tokens=9, temperature=0.0, top_p=1.0, chunk=4
    )


def answered(key: str, *, cost_pusd: int = 5, billing: Any = "charged") -> Attempt:
    return Attempt(
        key=key,
        stage="map",
        chunk=4,
        attempt=1,
        started_at=1.5,
        latency_s=0.25,
        outcome="ok",
        billing=billing,
        cost_pusd=cost_pusd,
        usage=USAGE,
        http_status=200,
        finish_reason="stop",
        request_id="r-1",
    )


def stored(key: str, text: str = "an answer", **more: Any) -> Stored:
    return Stored(key=key, text=text, finish_reason="stop", usage=USAGE, cost_pusd=5, **more)


async def pay(ledger: Ledger, words: object, *, run_id: str = "r1", text: str = "an answer", cost_pusd: int = 5) -> str:
    request = ask(words)
    attempt_id = await ledger.reserve(run_id, "doc", request, 1, 100, 1.5)
    await ledger.settle(attempt_id, answered(request.key, cost_pusd=cost_pusd), stored(request.key, text))
    return request.key


def booked(path: Path, run_id: str = "r1") -> list[dict[str, Any]]:
    """The settled attempts of a run as they stand in the file, in the order they were begun."""
    plain = sqlite3.connect(path)
    plain.row_factory = sqlite3.Row
    rows = plain.execute("SELECT * FROM attempt WHERE run_id = ? AND billing != 'reserved' ORDER BY id", (run_id,))
    found = [dict(row) for row in rows]
    plain.close()
    return found


def run(steps: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(steps)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "ledger.sqlite"


def test_an_answer_comes_back_as_it_was_stored_also_with_lone_surrogates(path: Path) -> None:
    text = "ä 漢 🙂 \ud800 \0 end"
    with Ledger.open(path) as ledger:
        key = run(pay(ledger, 1, text=text))
        assert ledger.stored([key, "0" * 64]) == {key: stored(key, text)}
    with Ledger.open(path) as ledger:
        assert ledger.stored([key]) == {key: stored(key, text)}
        assert ledger.notes == []
        assert ledger.recovered == []


def test_attempts_of_a_run_come_back_as_they_were_settled(path: Path) -> None:
    async def steps(ledger: Ledger) -> None:
        await pay(ledger, 1)
        second = await ledger.reserve("r1", "doc\ud800", ask(2), 2, 100, 1.5)
        await ledger.reserve("r1", "doc", ask(3), 1, 100, 1.5)  # still in flight
        refused = Attempt(
            key=ask(2).key, stage="map", chunk=None, attempt=2, started_at=2.5, latency_s=1.0,
            outcome=Cause.TIMEOUT, billing="unknown", cost_pusd=100, error="no answer \ud800",
        )  # fmt: skip
        await ledger.settle(second, refused)

    with Ledger.open(path) as ledger:
        run(steps(ledger))
        first, second = booked(path)
        written = asdict(answered(ask(1).key))
        assert first == {"id": 1, "run_id": "r1", "document_id": "doc"} | written.pop("usage") | written
        assert (second["document_id"], second["outcome"], second["input_tokens"]) == ("doc\ufffd", "timeout", None)
        assert (second["cost_pusd"], second["error"]) == (100, "no answer \ufffd")


def test_what_is_remembered_or_rejected_is_asked_again_only_with_retry_failed(path: Path) -> None:
    async def steps(ledger: Ledger) -> tuple[str, str, str]:
        good, bad = await pay(ledger, 1), await pay(ledger, 2)
        attempt_id = await ledger.reserve("r1", "doc", ask(3), 1, 100, 1.0)
        long = stored(ask(3).key, "", cause=Cause.CONTEXT_OVERFLOW, message="too long")
        await ledger.settle(attempt_id, answered(ask(3).key, billing="free", cost_pusd=0), long)
        await ledger.reject([bad])
        return good, bad, long.key

    with Ledger.open(path) as ledger:
        good, bad, long = run(steps(ledger))
        everything = ledger.stored([good, bad, long])
        assert everything[bad].rejected
        assert everything[long].cause is Cause.CONTEXT_OVERFLOW
        assert set(ledger.stored([good, bad, long], retry_failed=True)) == {good}
        run(pay(ledger, 2, text="better"))
        assert ledger.stored([bad], retry_failed=True)[bad].text == "better"


def test_many_keys_are_looked_up_at_once(path: Path) -> None:
    with Ledger.open(path) as ledger:

        async def steps() -> list[str]:
            return await asyncio.gather(*(pay(ledger, number) for number in range(1200)))

        keys = run(steps())
        assert list(ledger.stored([*keys, "f" * 64])) != []
        assert set(ledger.stored([*keys, "f" * 64])) == set(keys)


def test_waiting_writes_share_a_commit(path: Path) -> None:
    with Ledger.open(path) as ledger:

        async def steps() -> None:
            await asyncio.gather(*(pay(ledger, number) for number in range(500)))

        run(steps())
        assert ledger.writer.rows == 1500  # a reservation, its settlement, its answer
        assert ledger.writer.commits <= 250  # of 1,000 writes; how many exactly depends on the machine


# --- money ------------------------------------------------------------------------------------------------------


def test_a_job_carries_what_its_runs_spent_since_the_last_complete_one(path: Path) -> None:
    with Ledger.open(path) as ledger:
        for number, (job, status) in enumerate(
            [("a", "complete"), ("a", "budget"), ("b", "budget"), ("a", "interrupted")]
        ):
            ledger.begin_run(f"r{number}", job, "sha", float(number))
            run(pay(ledger, number, run_id=f"r{number}", cost_pusd=10**number))
            ledger.end_run(f"r{number}", status, number + 0.5)
        ledger.begin_run("r4", "a", "sha", 4.0)
        run(ledger.reserve("r4", "doc", ask("in flight"), 1, 70, 4.0))
        assert ledger.carried("a") == Carried(charged_pusd=1010, unknown_pusd=70)
        assert ledger.carried("b") == Carried(charged_pusd=100, unknown_pusd=0)
        assert ledger.carried("never run") == Carried(charged_pusd=0, unknown_pusd=0)
        ledger.end_run("r4", "complete", 5.0)
        assert ledger.carried("a") == Carried(charged_pusd=0, unknown_pusd=0)


def test_a_reservation_given_up_while_it_is_written_costs_nothing(path: Path) -> None:
    async def steps(ledger: Ledger) -> None:
        task = asyncio.ensure_future(ledger.reserve("r1", "doc", ask(1), 1, 100, 1.0))
        await asyncio.sleep(0)  # it is queued now
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Ledger.open(path) as ledger:
        run(steps(ledger))
    with Ledger.open(path) as ledger:
        assert ledger.recovered == []
        assert [(row["billing"], row["cost_pusd"]) for row in booked(path)] == [("free", 0)]


def test_settling_what_is_not_reserved_is_an_error(path: Path) -> None:
    with Ledger.open(path) as ledger, pytest.raises(KeyError):
        run(ledger.settle(1, answered("k")))


# --- crashes ----------------------------------------------------------------------------------------------------

CHILD = """
import asyncio, os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_ledger import Ledger, answered, ask, stored

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

async def worker(ledger, numbers):
    for number in numbers:
        request = ask(number)
        attempt_id = await ledger.reserve("r1", "doc", request, 1, 100, 1.0)
        say("reserved", request.key)
        await asyncio.sleep(0.0005)
        await ledger.settle(attempt_id, answered(request.key), stored(request.key))
        say("settled", request.key)

async def main():
    numbers = iter(range(100_000))
    with Ledger.open(Path(sys.argv[1])) as ledger:
        ledger.begin_run("r1", "job", "sha", 1.0)
        await asyncio.gather(*(worker(ledger, numbers) for _ in range(16)))

asyncio.run(main())
"""


def child(path: Path, script: str) -> subprocess.Popen[str]:
    code = script.format(tests=str(Path(__file__).parent))
    return subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("lines", [1, 16, 17, 150, 401, 1000])
def test_a_process_killed_at_any_moment_leaves_what_it_was_told_is_durable(path: Path, lines: int) -> None:
    told: dict[str, set[str]] = {"reserved": set(), "settled": set()}
    with child(path, CHILD) as process:
        assert process.stdout
        for number, line in enumerate(process.stdout, start=1):
            word, key = line.split()
            told[word].add(key)
            if number == lines:
                process.send_signal(signal.SIGKILL)  # what it still said before it died is read too
    in_flight = told["reserved"] - told["settled"]
    with Ledger.open(path) as ledger:
        unknown = {row["key"] for row in booked(path) if row["billing"] == "unknown"}
        charged = {row["key"] for row in booked(path) if row["billing"] == "charged"}
        assert told["settled"] <= charged == set(ledger.stored(sorted(charged)))
        assert in_flight <= unknown | charged
        assert len(unknown) <= 16  # never more than were in flight
        assert unknown.isdisjoint(charged)
        assert ledger.recovered == [100] * len(unknown)
        assert ledger.carried("job") == Carried(charged_pusd=5 * len(charged), unknown_pusd=100 * len(unknown))
    with Ledger.open(path) as ledger:
        assert ledger.recovered == []
        assert ledger.carried("job").unknown_pusd == 100 * len(unknown)


# --- who may write ------------------------------------------------------------------------------------------------


def test_a_second_run_on_the_same_folder_is_refused_until_the_first_ends(path: Path) -> None:
    with Ledger.open(path), pytest.raises(MachineError, match="another run") as refused:
        Ledger.open(path)
    assert refused.value.kind == "locked"
    Ledger.open(path).close()


def test_a_second_process_is_refused_and_told_who_holds_it(path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from docreduce.values.errors import MachineError
        from docreduce.desk.ledger import Ledger
        try:
            Ledger.open(Path(sys.argv[1]))
        except MachineError as error:
            print(error.kind, error.message)
        """
    with Ledger.open(path) as ledger:
        run(pay(ledger, 1))
        with child(path, textwrap.dedent(code)) as process:
            said = process.communicate()[0]
        assert said.startswith("locked")
        assert f"process {os.getpid()}" in said
        assert ledger.stored([run(pay(ledger, 2))])


def test_a_reader_of_ours_that_lives_on_does_not_hold_the_lock(path: Path) -> None:
    with Ledger.open(path):
        reader = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with reader:
        Ledger.open(path).close()
        assert reader.poll() is None
        reader.communicate(b"\n")


def test_a_view_reads_beside_a_run_and_writes_nothing(path: Path) -> None:
    with Ledger.open(path) as ledger, Ledger.view(path) as view:
        key = run(pay(ledger, 1))
        assert view.stored([key])[key].text == "an answer"
        assert ledger.pinned("budget", 8000) == 8000
        assert view.pinned("budget", 1) == 8000
        assert view.pinned("other", 1) == 1
        with pytest.raises(MachineError, match="reading only"):
            run(pay(view, 2))


def test_a_view_of_no_ledger_is_empty_and_makes_none(path: Path) -> None:
    with Ledger.view(path) as view:
        assert view.stored(["k"]) == {}
        assert view.samples("m") == []
    assert not path.exists()


def test_a_view_of_a_broken_file_says_so_and_leaves_it(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"my notes\n" * 100)
    with Ledger.view(path) as view:
        assert view.stored(["k"]) == {}
        assert "taken for empty" in view.notes[0]
    assert path.read_bytes() == b"my notes\n" * 100


def test_a_closed_ledger_refuses_instead_of_waiting_for_ever(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.close()
    with pytest.raises(MachineError, match="closed"):
        run(pay(ledger, 1))


# --- broken files -------------------------------------------------------------------------------------------------


def beside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("ledger.aside-*.sqlite"))


def test_a_file_that_is_no_ledger_is_kept_aside_unchanged(path: Path) -> None:
    path.parent.mkdir()
    for number, content in enumerate([b"my notes\n" * 1000, b"SQLite format 3\0 but no more"], start=1):
        path.write_bytes(content)
        with Ledger.open(path) as ledger:
            assert run(pay(ledger, 1))
            assert "kept as" in ledger.notes[0]
        assert len(beside(path)) == number
        assert beside(path)[-1].read_bytes() == content


def test_a_database_of_another_program_is_kept_aside(path: Path) -> None:
    path.parent.mkdir()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE theirs (a)")
    foreign.execute("INSERT INTO theirs VALUES (42)")
    foreign.commit()
    foreign.close()
    with Ledger.open(path) as ledger:
        assert "not a ledger" in ledger.notes[0]
    kept = sqlite3.connect(beside(path)[0])
    assert kept.execute("SELECT a FROM theirs").fetchall() == [(42,)]
    kept.close()


def test_of_a_corrupt_ledger_what_can_be_read_is_carried_over(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.begin_run("r1", "job", "sha", 1.0)

        async def steps() -> list[str]:
            return await asyncio.gather(*(pay(ledger, number, text=f"{number} " * 500) for number in range(300)))

        keys = run(steps())
    pages = bytearray(path.read_bytes())
    middle = len(pages) // 2 // 4096 * 4096
    pages[middle : middle + 3 * 4096] = os.urandom(3 * 4096)
    path.write_bytes(pages)
    with Ledger.open(path) as ledger:
        assert "corrupt" in ledger.notes[0]
        assert "kept as" in ledger.notes[0]
        saved = ledger.stored(keys)
        assert {keys[0], keys[-1]} <= set(saved)  # from both ends
        assert 150 < len(saved) < 300
        assert all(saved[key].text == f"{number} " * 500 for number, key in enumerate(keys) if key in saved)
        assert ledger.carried("job").charged_pusd == 5 * len(booked(path))
    assert beside(path)[0].read_bytes() == bytes(pages)


def test_of_a_ledger_with_a_broken_index_nothing_is_lost(path: Path) -> None:
    with Ledger.open(path) as ledger:

        async def steps() -> list[str]:
            return await asyncio.gather(*(pay(ledger, number) for number in range(300)))

        keys = run(steps())
    with contextlib.closing(sqlite3.connect(path)) as found:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_answer_1'"
        page = found.execute(query).fetchone()[0]
    spoilt = bytearray(path.read_bytes())
    spoilt[(page - 1) * 4096 + 8 : page * 4096] = os.urandom(4096 - 8)
    path.write_bytes(spoilt)
    with Ledger.open(path) as ledger:
        assert "corrupt" in ledger.notes[0]
        assert set(ledger.stored(keys)) == set(keys)


def test_an_answer_with_a_flipped_bit_is_asked_again(path: Path) -> None:
    with Ledger.open(path) as ledger:
        key = run(pay(ledger, 1, text="seventy"))
    path.write_bytes(path.read_bytes().replace(b"seventy", b"sevenxy"))
    with Ledger.open(path) as ledger:
        assert ledger.stored([key]) == {}


def test_an_older_ledger_is_migrated_with_all_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(path) as ledger:
        key = run(pay(ledger, 1))
    tables = ("run", "attempt", "answer", "sample")
    added = (f"ALTER TABLE {table} ADD COLUMN note TEXT NOT NULL DEFAULT 'new'" for table in tables)
    steps = (*ledger_file.MIGRATIONS, ";".join(added))
    monkeypatch.setattr(ledger_file, "MIGRATIONS", steps)
    monkeypatch.setattr(book, "MIGRATIONS", steps)
    with Ledger.open(path) as ledger:
        ledger.begin_run("r2", "job", "sha", 1.0)
        attempt_id = run(ledger.reserve("r2", "doc", ask(3), 1, 100, 1.0))
        run(ledger.settle(attempt_id, answered("k"), stored("k"), Sample("m", "latin", "map", 1, 2, 3)))
        assert set(ledger.stored([key, run(pay(ledger, 2))])) == {key, ask(2).key}
        assert ledger.notes == []
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT note FROM run").fetchall() == [("new",)]
    plain.close()


def test_a_newer_ledger_is_left_alone(path: Path) -> None:
    Ledger.open(path).close()
    with sqlite3.connect(path) as plain:
        plain.execute("PRAGMA user_version = 99")
    plain.close()
    before = path.read_bytes()
    with pytest.raises(MachineError, match="newer"):
        Ledger.open(path)
    assert path.read_bytes() == before
    assert beside(path) == []


# --- a disk that fails --------------------------------------------------------------------------------------------


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_when_the_disk_is_full_every_write_fails_and_what_was_durable_stays(path: Path) -> None:
    ledger = Ledger.open(path)
    key = run(pay(ledger, "before"))
    attempt_id = run(ledger.reserve("r1", "doc", ask("in flight"), 1, 100, 1.0))
    with files_end_at(200_000):
        with pytest.raises(MachineError):
            run(ledger.settle(attempt_id, answered("k"), stored("k", "x" * 10**6)))
        with pytest.raises(MachineError):
            run(pay(ledger, "after"))
        with pytest.raises(MachineError):
            ledger.end_run("r1", "complete", 2.0)
    with pytest.raises(MachineError):  # also when there is room again: half a ledger would lie
        run(pay(ledger, "later"))
    with pytest.raises(MachineError):
        ledger.close()
    with Ledger.open(path) as ledger:
        assert set(ledger.stored([key, "k"])) == {key}
        assert ledger.recovered == [100]
        assert [row["key"] for row in booked(path) if row["billing"] == "unknown"] == [ask("in flight").key]


def test_a_place_that_cannot_be_written_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError):
        Ledger.open(tmp_path / "file" / "ledger.sqlite")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(MachineError):
        Ledger.open(tmp_path / "folder.sqlite")


# --- what is learned ----------------------------------------------------------------------------------------------


def test_samples_ride_along_and_the_newest_two_thousand_are_kept(path: Path) -> None:
    async def steps(ledger: Ledger) -> None:
        async def learn(*sample: Any) -> None:
            attempt_id = await ledger.reserve("r1", "doc", ask(1), 1, 100, 1.0)
            await ledger.settle(attempt_id, answered("k"), stored("k"), Sample(*sample))

        await learn("m", "cjk", "map", 1, 2, 3)
        await asyncio.gather(*(learn("m", "latin", "map", 100, 112 + number, 40) for number in range(2100)))
        await learn("other", "latin", "reduce", 1, 2, 3)

    with Ledger.open(path) as ledger:
        run(steps(ledger))
        assert [sample.text_kind for sample in ledger.samples("other")] == ["latin"]
    with Ledger.open(path) as ledger:
        samples = ledger.samples("m")
        assert len(samples) == 2000
        assert (samples[0].input_tokens, samples[-1].input_tokens) == (112 + 2099, 112 + 100)
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT count(*) FROM sample WHERE model = 'm'").fetchone() == (2000,)
    plain.close()


def test_a_pinned_number_stays_what_it_first_was(path: Path) -> None:
    with Ledger.open(path) as ledger:
        assert ledger.pinned("chunk", 8000) == 8000
    with Ledger.open(path) as ledger:
        assert ledger.pinned("chunk", 9000) == 8000


class LedgerAgainstModel(RuleBasedStateMachine):
    """Any order of reserving, settling, rejecting and reopening agrees with dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.ledger = Ledger.open(self.path)
        self.ledger.begin_run("r1", "job", "sha", 0.0)
        self.open: dict[int, tuple[str, int]] = {}
        self.answers: dict[str, tuple[str, bool]] = {}
        self.charged = self.unknown = 0

    @rule(words=st.integers(0, 5), bound=st.integers(1, 10**15))
    def reserve(self, words: int, bound: int) -> None:
        request = ask(words)
        attempt_id = run(self.ledger.reserve("r1", "doc", request, 1, bound, 1.0))
        assert attempt_id not in self.open
        self.open[attempt_id] = (request.key, bound)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), text=st.text(max_size=5), billing=st.sampled_from(["charged", "free", "unknown"]))
    def settle(self, data: st.DataObject, text: str, billing: str) -> None:
        attempt_id = data.draw(st.sampled_from(sorted(self.open)))
        key, bound = self.open.pop(attempt_id)
        cost = data.draw(st.integers(0, bound)) if billing == "charged" else bound if billing == "unknown" else 0
        answer = stored(key, text) if billing == "charged" else None
        run(self.ledger.settle(attempt_id, answered(key, cost_pusd=cost, billing=billing), answer))
        self.charged += cost if billing == "charged" else 0
        self.unknown += cost if billing == "unknown" else 0
        if answer:
            self.answers[key] = (text, False)

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.answers)))
        run(self.ledger.reject([key]))
        self.answers[key] = (self.answers[key][0], True)

    @rule()
    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(self.path)
        assert self.ledger.recovered == [bound for _, (_, bound) in sorted(self.open.items())]
        self.unknown += sum(bound for _, bound in self.open.values())
        self.open.clear()

    @invariant()
    def agrees(self) -> None:
        reserved = sum(bound for _, bound in self.open.values())
        assert self.ledger.carried("job") == Carried(charged_pusd=self.charged, unknown_pusd=self.unknown + reserved)
        keys = [ask(words).key for words in range(6)]
        found = self.ledger.stored(keys)
        assert {key: (answer.text, answer.rejected) for key, answer in found.items()} == self.answers
        fresh = {key for key, (_, rejected) in self.answers.items() if not rejected}
        assert set(self.ledger.stored(keys, retry_failed=True)) == fresh

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()


TestLedgerAgainstModel = LedgerAgainstModel.TestCase
TestLedgerAgainstModel.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
