"""The ledger as a state machine, with crashes; and any job file at all.

Fuzzed elsewhere: chunker and tokenizer (test_chunking, test_tokens), merge (merge/), limiter and budget (test_limits,
test_pricing), provider answers (providers/test_wire), readers (readers/), extraction answers (kinds/)."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from docreduce.config import Job, load_job
from docreduce.desk.ledger import Ledger, Stored
from docreduce.values import Attempt, Billing, Message, Request, Usage
from docreduce.values.errors import JobError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

USAGE = Usage(input_tokens=7, output_tokens=3)


def request(number: int) -> Request:
    message = Message("user", f"question {number}")
    return Request(provider="p", model="m", messages=(message,), max_output_tokens=9, temperature=0.0, top_p=1.0)


class LedgerMachine(RuleBasedStateMachine):
    """Reservations, settlements and runs against a model in plain dictionaries. A crash is a copy of the files as they
    lie on the disk, opened anew: what a killed process leaves."""

    reserved = Bundle("reserved")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.generation = 0
        self.ledger = Ledger.open(self.folder / "0" / "ledger.sqlite")
        self.answers: dict[str, str] = {}
        self.billed: dict[int, tuple[str, Billing, int]] = {}  # attempt: job, billing, money; since a complete run
        self.open: dict[int, tuple[str, int, Request]] = {}  # attempt: job, bound, request
        self.running: str | None = None
        self.runs = 0
        self.job = ""

    @initialize(job=st.sampled_from("ab"))
    def first_run(self, job: str) -> None:
        self.begin(job)

    @rule(job=st.sampled_from("ab"))
    def begin(self, job: str) -> None:
        if self.running is None:
            self.runs += 1
            self.running, self.job = f"run {self.runs}", job
            self.ledger.begin_run(self.running, job, "0" * 64, float(self.runs))

    @rule(status=st.sampled_from(["complete", "budget", "interrupted"]))
    def end(self, status: str) -> None:
        if self.running is None or self.open:
            return
        self.ledger.end_run(self.running, status, 1.0)
        self.running = None
        if status == "complete":
            self.billed = {number: kept for number, kept in self.billed.items() if kept[0] != self.job}

    @rule(target=reserved, number=st.integers(0, 5), bound=st.integers(1, 10**15))
    def reserve(self, number: int, bound: int) -> Any:
        if self.running is None:
            return multiple()
        asked = request(number)
        attempt = asyncio.run(self.ledger.reserve(self.running, "d", asked, 1, bound, 1.0))
        assert attempt not in self.billed
        assert attempt not in self.open
        self.open[attempt] = self.job, bound, asked
        return attempt

    @rule(attempt=reserved, billing=st.sampled_from(["charged", "free", "unknown"]), text=st.text(max_size=5), share=st.floats(0, 1))  # noqa: E501  # fmt: skip
    def settle(self, attempt: int, billing: Billing, text: str, share: float) -> None:
        if attempt not in self.open:  # settled, or lost in a crash
            return
        job, bound, asked = self.open.pop(attempt)
        cost = {"charged": int(bound * share), "free": 0, "unknown": bound}[billing]
        booked = Attempt(
            key=asked.key, stage="map", chunk=None, attempt=1, started_at=1.0, latency_s=0.1,
            outcome="ok" if billing == "charged" else "timeout", billing=billing, cost_pusd=cost, usage=USAGE,
        )  # fmt: skip
        answer = None
        if billing == "charged":
            answer = Stored(key=asked.key, text=text, finish_reason="stop", usage=USAGE, cost_pusd=cost)
            self.answers[asked.key] = text
        asyncio.run(self.ledger.settle(attempt, booked, answer))
        self.billed[attempt] = job, billing, cost

    @rule()
    def crash(self) -> None:
        old, dead = self.folder / str(self.generation), self.ledger
        self.generation += 1
        shutil.copytree(old, self.folder / str(self.generation))
        self.ledger = Ledger.open(self.folder / str(self.generation) / "ledger.sqlite")
        assert sorted(self.ledger.recovered) == sorted(bound for _, bound, _ in self.open.values())
        self.billed |= {number: (job, "unknown", bound) for number, (job, bound, _) in self.open.items()}
        self.open.clear()
        self.running = None
        dead.close()

    @rule()
    def reopen(self) -> None:
        if not self.open:
            self.ledger.close()
            self.ledger = Ledger.open(self.folder / str(self.generation) / "ledger.sqlite")
            assert not self.ledger.recovered
            self.running = None

    @invariant()
    def every_answer_is_kept_and_every_coin_is_counted(self) -> None:
        stored = self.ledger.stored([request(number).key for number in range(6)])
        assert {key: kept.text for key, kept in stored.items()} == self.answers
        for job in "ab":
            carried = self.ledger.carried(job)
            kept = [(billing, cost) for owner, billing, cost in self.billed.values() if owner == job]
            in_flight = sum(bound for owner, bound, _ in self.open.values() if owner == job)
            assert carried.charged_pusd == sum(cost for billing, cost in kept if billing == "charged")
            assert carried.unknown_pusd == sum(cost for billing, cost in kept if billing == "unknown") + in_flight

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6  # noqa: E501
)  # fmt: skip
TABLES = sorted(Job.model_fields)
KEYS = sorted({key for field in Job.model_fields.values() for key in getattr(field.annotation, "model_fields", {})})
NAMES = st.sampled_from([*TABLES, *KEYS]) | st.text(max_size=10)


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
