"""The desk as a state machine, with crashes; and any job file at all.

Fuzzed elsewhere: chunker and tokenizer (text/), merge (kinds/), ledger, limiter and budget (desk/), provider answers
(providers/), readers (readers/)."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from desks import BOUND, answer, desk, line, rejection, request, route
from docreduce.config import Job, load_job
from docreduce.desk import Ask, Carried, Desk, Ledger, Ticket
from docreduce.values import Cause, Completion, Decision, Reply, Usage
from docreduce.values.errors import JobError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

CAP = 12 * BOUND
REPLIES = st.sampled_from(
    ["answer", "answer", "answer", "no usage", "dear", "time-out", "broken", "busy", "filter", "too long", "empty"]
)


def reply_of(word: str, tokens: int) -> Reply:
    """What the service says, for an answer of `tokens`."""
    usage = Usage(input_tokens=20, output_tokens=tokens)
    return {
        "answer": answer(usage=usage),
        "no usage": answer(usage=None),
        "dear": answer(usage=Usage(input_tokens=20, output_tokens=120)),
        "time-out": rejection(Cause.TIMEOUT, billing="unknown"),
        "broken": rejection(Cause.SERVER_ERROR),
        "busy": rejection(Cause.RATE_LIMITED, http_status=429, retry_after_s=1.0),
        "filter": rejection(Cause.CONTENT_FILTER, Decision.FAIL, billing="charged", usage=usage),
        "too long": rejection(Cause.CONTEXT_OVERFLOW, Decision.SPLIT),
        "empty": rejection(Cause.EMPTY, billing="charged", usage=usage),
    }[word]


def bill_of(word: str, tokens: int) -> int:
    """What the service charges for it, whether it says so or not."""
    billed = {"answer", "filter", "empty", "no usage", "time-out"}
    return 20 * 10 + (120 if word == "dear" else tokens) * 100 if word in billed | {"dear"} else 0


class DeskMachine(RuleBasedStateMachine):
    """Asks, sends, replies, turns and crashes in any order. A crash is a copy of the files as they lie on the disk,
    opened anew: what a killed process leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.generation = 0
        self.now = 0.0
        self.truth = 0  # what the service has charged
        self.over_billed = False
        self.paid: Counter[str] = Counter()  # answers that the service charged, by request
        self.lost: Counter[str] = Counter()  # calls that were in flight at a crash, by request
        self.known: dict[str, str] = {}
        self.ledger = Ledger.open(self.folder / "0" / "ledger.sqlite")
        self.begin()

    def begin(self) -> None:
        """A run, from the start of its process."""
        self.ledger.begin_run(f"run {self.generation}", "job", "0", self.now)
        self.desk: Desk = desk(self.ledger, line(route("a"), now=self.now), line(route("b"), now=self.now), cap=CAP)
        self.desk.run_id = f"run {self.generation}"
        before = self.ledger.carried("job")
        self.desk.budget.carry(before.charged_pusd, before.unknown_pusd)
        self.waiting: list[tuple[float, Ask]] = []
        self.asked: set[str] = set()
        self.flying: dict[int, Ticket] = {}
        self.replies: list[tuple[Ticket, Reply, float]] = []

    @rule(number=st.integers(0, 12))
    def ask(self, number: int) -> None:
        asked = request(number, tokens=20)
        if asked.key not in self.asked and not self.desk.known({asked.key: asked}):
            self.asked.add(asked.key)
            self.waiting.append((0.0, Ask(asked.key, asked, "doc")))

    @rule(most=st.integers(1, 8))
    def turn(self, most: int) -> None:
        due = [each for each in self.waiting if each[0] <= self.now or self.desk.halted][:most]
        for each in due:
            self.waiting.remove(each)
        replies, self.replies = self.replies, []
        turn = self.desk.turn(replies, [ask for _, ask in due], self.now)
        self.waiting += [(0.0, ask) for ask in turn.waiting]
        for settled in turn.settled:
            if settled.outcome is None:
                self.waiting.append((settled.not_before, settled.ask))
                continue
            self.asked.remove(settled.ask.key)
            if isinstance(settled.outcome, Completion):
                self.known[settled.ask.key] = settled.outcome.text

    @rule()
    def send(self) -> None:
        while isinstance(ticket := self.desk.take(self.now), Ticket):
            self.flying[ticket.id] = ticket

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), word=REPLIES, tokens=st.integers(1, 50))
    def arrive(self, data: st.DataObject, word: str, tokens: int) -> None:
        ticket = self.flying.pop(data.draw(st.sampled_from(sorted(self.flying))))
        self.now += 0.01
        reply = reply_of(word, tokens)
        self.over_billed = self.over_billed or word == "dear"
        self.truth += bill_of(word, tokens)
        self.paid[ticket.key] += word in {"answer", "dear", "no usage"}
        self.desk.arrived(ticket, reply, self.now)
        self.replies.append((ticket, reply, 0.01))

    @rule(seconds=st.sampled_from([0.1, 2.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Of what is in flight the service charges any part, and nobody hears of it."""
        for ticket in self.flying.values():
            if data.draw(st.booleans()):
                self.truth += ticket.bound_pusd
                self.paid[ticket.key] += 1
        gone = [*self.flying.values(), *(ticket for ticket, _, _ in self.replies)]
        self.lost.update(ticket.key for ticket in gone)
        old, dead = self.folder / str(self.generation), self.ledger
        self.generation += 1
        shutil.copytree(old, self.folder / str(self.generation))
        self.ledger = Ledger.open(self.folder / str(self.generation) / "ledger.sqlite")
        dead.close()
        assert sorted(self.ledger.recovered) == sorted(ticket.bound_pusd for ticket in gone)
        self.begin()

    @invariant()
    def the_cap_holds(self) -> None:
        budget = self.desk.budget
        assert budget.charged + budget.unknown + budget.reserved <= CAP or self.over_billed
        ready = [ticket for each in self.desk.lines for ticket in each.ready]
        out = [*ready, *self.flying.values(), *(ticket for ticket, _, _ in self.replies)]
        assert budget.reserved == sum(ticket.bound_pusd for ticket in out)

    @invariant()
    def every_coin_is_counted(self) -> None:
        budget = self.desk.budget
        booked = Carried(charged_pusd=budget.charged, unknown_pusd=budget.unknown)
        assert self.ledger.carried("job") == booked
        assert self.truth <= budget.charged + budget.unknown + budget.reserved or self.over_billed

    @invariant()
    def no_paid_answer_is_lost_and_at_most_what_was_in_flight_is_paid_twice(self) -> None:
        kept = self.desk.known({request(n).key: request(n) for n in range(13)})
        assert {key: each.text for key, each in kept.items() if isinstance(each, Completion)} == self.known
        for key, times in self.paid.items():
            assert times <= 1 + self.lost[key]

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Whatever was asked is waiting, reserved, in flight or to be booked."""
        ready = {ticket.key for each in self.desk.lines for ticket in each.ready}
        out = {*(ticket.key for ticket in self.flying.values()), *(ticket.key for ticket, _, _ in self.replies)}
        assert {ask.key for _, ask in self.waiting} | ready | out == self.asked

    def teardown(self) -> None:
        """All that is in flight is answered, and then everything has an outcome."""
        for _ in range(2_000):
            if not self.asked:
                break
            self.send()
            for ticket in list(self.flying.values()):
                del self.flying[ticket.id]
                self.desk.arrived(ticket, reply := answer(), self.now)
                self.replies.append((ticket, reply, 0.0))
            self.turn(most=8)
            self.now += 1.0
        assert not self.asked
        assert self.desk.budget.reserved == 0
        self.ledger.close()
        shutil.rmtree(self.folder)


TestDesk = DeskMachine.TestCase
TestDesk.pytestmark = pytest.mark.long
TestDesk.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_a_desk_that_crashes_now_and_then_loses_nothing_in_a_few_short_lives() -> None:
    run_state_machine_as_test(
        DeskMachine, settings=settings(max_examples=3, stateful_step_count=12, deadline=None, derandomize=True)
    )


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6  # noqa: E501
)  # fmt: skip
TABLES = sorted(Job.model_fields)
KEYS = sorted({key for field in Job.model_fields.values() for key in getattr(field.annotation, "model_fields", {})})
NAMES = st.sampled_from([*TABLES, *KEYS]) | st.text(max_size=10)


@pytest.mark.long
@given(
    pairs=st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3).map(".".join), VALUES), max_size=8),
    valid=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_any_settings_are_a_job_or_an_error_that_names_the_file(pairs: list[tuple[str, Any]], valid: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.toml"
        path.write_text('name = "a"\nkind = "summarize"\n[input]\npaths = ["x"]\n' if valid else "", encoding="utf-8")
        try:
            job = load_job(path, pairs)
        except JobError as error:
            assert "job.toml" in error.message or "--set" in error.message  # noqa: PT017
        else:
            assert len(job.sha256) == 64


@given(raw=st.binary(max_size=60) | st.text(alphabet='[]="\n.#abc1{},_ ', max_size=60).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_a_job_file_or_an_error_that_names_it(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.toml"
        path.write_bytes(raw)
        try:
            load_job(path)
        except JobError as error:
            assert "job.toml" in error.message  # noqa: PT017
