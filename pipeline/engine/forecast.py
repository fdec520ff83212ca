"""What a job will send and cost, by driving the very generators that a run drives, with predicted answers.

low to high is where the cost is expected. The ceiling is what no run passes in which nothing has to be asked twice:
every token at the bound that reservations take, every answer as long as it may be, every merge as wide, every answer
that can break off broken off.

A run adds up the same expectation of the requests it really yields, as it yields them."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, compress, islice
from operator import itemgetter
from typing import Any, TypeAlias, get_args

from docreduce.config import Job
from docreduce.desk import Ledger, known
from docreduce.engine.counting import counted_session
from docreduce.engine.groups import group_of, light, with_column
from docreduce.engine.intake import Read, Reads
from docreduce.engine.opening import inputs_of
from docreduce.engine.scenario import NAMES, Name, Scenario
from docreduce.engine.session import Session, open_session, units
from docreduce.models.meter import kind_of
from docreduce.readers import Unread, slices
from docreduce.settings import ProviderName
from docreduce.values import Completion, Document, Outcome, Request, Result, Steps
from docreduce.values.errors import DocumentError, JobError
from docreduce.values.money import usd

__all__ = ["Estimator", "Forecast", "compared", "estimate_job"]

DEAREST = 20
"""Documents that are named."""
REMEMBERED = 100_000
"""Requests among which equal ones are found, which are paid once."""

Answered: TypeAlias = Sequence[Sequence[Outcome | None]]
"""A unit's first steps as the ledger answers them, up to the first with an answer missing (None)."""


@dataclass(slots=True)
class _Alike:
    """Requests that are expected to take alike: one of them, how many there are, their tokens."""

    request: Request
    number: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Forecast:
    """Four scenarios of one job, and what they come to. `seen_s`: mean latency of the job's calls, None where there
    were none."""

    session: Session
    seen_s: float | None = None
    scenarios: dict[Name, Scenario] = field(init=False)
    _alike: dict[tuple[object, ...], _Alike] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scenarios = {name: Scenario(name, self.session) for name in NAMES}

    def expect(self, requests: Sequence[Request]) -> None:
        """Add requests that are about to be paid: those that differ in size by less than twice are one kind."""
        for request in requests:
            size = request.tokens.bit_length()
            key = kind_of(request), request.stage, request.schema, request.max_words, len(request.serves), size
            alike = self._alike.get(key)
            if alike is None:
                alike = self._alike[key] = _Alike(request)
            alike.number += 1
            alike.tokens += request.tokens

    def _settle(self) -> None:
        """Let the scenarios pay for what was added."""
        for alike in self._alike.values():
            mean = replace(alike.request, tokens=round(alike.tokens / alike.number))
            for scenario in self.scenarios.values():
                scenario.expect(mean, alike.number)
        self._alike.clear()

    def as_dict(self) -> dict[str, Any]:
        """Calls, tokens, cost and duration in the contract's JSON."""
        self._settle()
        session, seen = self.session, self.session.calibration.seen
        tokenizer = "exact" if session.exact else "learned" if seen else "prior"
        return {
            "calls": self._rising(lambda scenario: scenario.calls),
            "input_tokens": self._rising(lambda scenario: math.ceil(scenario.input_tokens)),
            "output_tokens": self._rising(lambda scenario: math.ceil(scenario.output_tokens)),
            "cost_usd": self._rising(lambda scenario: float(usd(self._cost_pusd(scenario)))),
            "duration_s": self._rising(lambda scenario: round(scenario.duration_s(self.seen_s), 1)),
            "counted_requests": session.counted,
            "smallest_cap_usd": self.smallest_cap_usd(),
            "pricing": session.routes[0].pricing.as_dict(),
            "other_prices": [
                {"pricing": pricing.as_dict(), "cost_usd": float(usd(math.ceil(amount)))}
                for pricing, amount in zip(
                    session.infos[0].other_pricing, self.scenarios["expected"].others_pusd, strict=False
                )
            ],
            "basis": {
                "tokenizer": tokenizer,
                "output": "learned" if seen else "prior",
                "answers_seen": seen,
            },
        }

    def smallest_cap_usd(self) -> float:
        """A cap under which the job very probably completes, in whole cents past one dollar and four digits below.

        The last call is sent if what is charged and the call's own bound are within it; while others are out it waits
        for them. So that is what all calls come to at the most that is expected, and the bound of the dearest."""
        calls = self._cost_pusd(self.scenarios["high"])
        whole = calls + max(scenario.dearest_pusd for scenario in self.scenarios.values()) if calls else 0
        step = 10**10 if whole > 10**12 else max(1, 10 ** (len(str(whole)) - 4))
        return float(usd(-(-whole // step) * step))

    def _rising(self, value: Callable[[Scenario], float]) -> dict[str, float]:
        """The four in order: where much goes wrong, a ceiling of calls that do not would be below what is expected."""
        values = accumulate(map(value, self.scenarios.values()), max)
        return dict(zip(self.scenarios, values, strict=True))

    def _cost_pusd(self, scenario: Scenario) -> int:
        """Two standard deviations of the calls' own scatter beyond low and high: it matters where calls are few."""
        scatter = {"low": -2, "high": 2}.get(scenario.name, 0) * math.sqrt(self.scenarios["expected"].variance)
        return max(0, math.ceil(scenario.cost_pusd + scatter))


@dataclass(slots=True)
class _Drive:
    """One way through a unit's generator."""

    steps: int = 0
    first: Sequence[Request] = ()  # of the first step not all answered, those that are to be paid
    results: Sequence[Result] = ()


@dataclass(slots=True)
class Estimator:
    """Adds up documents one unit at a time, as nobody has asked for them yet."""

    session: Session
    seen_s: float | None = None
    documents: int = 0
    unreadable: int = 0
    empty: int = 0
    chunks: int = 0
    reused: int = 0
    forecast: Forecast = field(init=False)
    _asked: dict[int, None] = field(default_factory=dict)
    _groups: dict[str, dict[Name, list[Result]]] = field(default_factory=dict)  # what is expected of their documents

    def __post_init__(self) -> None:
        self.forecast = Forecast(self.session, self.seen_s)

    def add(self, documents: Sequence[Document], answered: Answered, keys: Sequence[str]) -> None:
        """Count a unit of which the ledger answers `answered`; `keys` are those of its last step there.

        A document that cannot be cut counts as unreadable."""
        scenarios = self.forecast.scenarios
        again = [self._asked_before(key) for key in keys]
        work, reduce = self.session.work, self.session.job.reduce
        try:
            drive = self._drive(work.steps(documents), answered, again, scenarios["expected"])
        except DocumentError:
            self.unreadable += len(documents)
            return
        further = drive.steps > max(1, len(answered))
        results = dict.fromkeys(scenarios, drive.results)
        for name, scenario in scenarios.items():
            if name != "expected" and (reduce or further or not scenario.pay_all(drive.first)):
                results[name] = self._drive(work.steps(documents), answered, again, scenario).results
        for at, document in enumerate(documents if reduce else ()):
            assert reduce is not None
            group = self._groups.setdefault(group_of(reduce.by, document.columns), {name: [] for name in results})
            for name, found in results.items():
                group[name].append(light(found[at]))
        self.documents += len(drive.results)
        self.chunks += sum(len(result.chunks) for result in drive.results)
        self.reused += sum(isinstance(outcome, Completion) for step in answered for outcome in step) + sum(again)

    def add_groups(self, answers: Callable[[Steps], tuple[Answered, Sequence[str]]]) -> None:
        """Count the groups of the documents so far, each of the summaries that its scenario expects of them. `answers`:
        what the ledger answers, which it can where it answers for all of a group's documents."""
        reduce = self.session.work.reduce
        if reduce is None:
            return
        for name, results in self._groups.items():
            there = results["expected"]
            known = all(each == there for each in results.values())
            answered, keys = answers(reduce(name, there)) if known else ((), ())
            again = [self._asked_before(key) for key in keys]
            for which, scenario in self.forecast.scenarios.items():
                self._drive(reduce(name, results[which]), answered, again, scenario)
            self.reused += sum(isinstance(outcome, Completion) for step in answered for outcome in step) + sum(again)

    def readable(self, reads: Iterable[Read]) -> Iterator[Document]:
        """The documents there is work on; the others are counted."""
        for place, found in enumerate(reads):
            if isinstance(found, Unread):
                self.unreadable += 1
            elif not found.text.strip():
                self.empty += 1
            else:
                yield replace(found, place=place, digest=found.id)

    def _asked_before(self, key: str) -> bool:
        short = int(key[:15], 16)
        before = short in self._asked
        self._asked[short] = None
        if len(self._asked) > REMEMBERED:
            del self._asked[next(iter(self._asked))]
        return before

    @staticmethod
    def _drive(steps: Steps, answered: Answered, again: Sequence[bool], scenario: Scenario) -> _Drive:
        """Take a unit's steps to its results. `again`: requests of the last answered step that were asked before."""
        drive = _Drive()
        free = bool(again) and all(asked or told for asked, told in zip(again, answered[-1], strict=True))
        try:
            requests = next(steps)
            while True:
                outcomes = answered[drive.steps] if drive.steps < len(answered) else [None] * len(requests)
                drive.steps += 1
                at_first = drive.steps == max(1, len(answered))
                equal = again if again and at_first else [free] * len(requests)
                paid = [told is None and not asked for told, asked in zip(outcomes, equal, strict=True)]
                if at_first:
                    drive.first = list(compress(requests, paid))
                each = zip(outcomes, requests, paid, strict=True)
                requests = steps.send([told or scenario.predict(asked, paid=pays) for told, asked, pays in each])
        except StopIteration as stop:
            drive.results = stop.value
        return drive

    def as_dict(self) -> dict[str, Any]:
        """The contract's JSON of an estimate."""
        return {
            "documents": self.documents + self.unreadable + self.empty,
            "unreadable": self.unreadable,
            "empty": self.empty,
            "chunks": self.chunks,
            "reused_calls": self.reused,
            **self.forecast.as_dict(),
            "notes": list(self.session.work.notes),
        }


# --- a job -------------------------------------------------------------------------------------------------------


def estimate_job(
    job: Job,
    *,
    limit: int | None = None,
    fresh: bool = False,
    compare: Sequence[str] = (),
    by_document: bool = False,
    exact: bool = False,
) -> dict[str, Any]:
    """The estimate of `job` as the contract's JSON; sends nothing, writes nothing.

    `exact`: first the service counts some of the requests itself, which costs nothing, where it has a way to.

    `fresh`: as if nothing were answered. `compare`: other models, as NAME or PROVIDER/NAME, under "compare": the same
    documents with their own windows, tokenizers and prices, or why not. `by_document`: the dearest documents too.
    Documents that cannot be read are counted in `unreadable`. Raises JobError as the run does."""
    discovered = inputs_of(job, *job.output.places)
    with Ledger.view(job.output.ledger_path) as ledger:
        session = open_session(job, ledger)
        if exact:
            session = counted_session(session, ledger, Reads(slices(discovered.sources, job.input, None), job.input))
        estimator = Estimator(session, ledger.latency_s(job.sha256))
        others: dict[str, Estimator | JobError] = {}
        for name in compare:
            try:
                others[name] = Estimator(open_session(_other(job, name), ledger))
            except JobError as error:
                others[name] = error
        estimators = [estimator, *(other for other in others.values() if isinstance(other, Estimator))]
        files = Reads(slices(discovered.sources, job.input, None), job.input)
        reads = iter(files)
        with closing(reads):
            readable = estimator.readable(with_column(islice(reads, limit), job.reduce))
            batches = iter(lambda: list(islice(readable, 64)), []) if others else [readable]
            dearest = heapq.nlargest(
                DEAREST, _add(estimators, ledger, batches, fresh=fresh), key=itemgetter("cost_usd")
            )
        for each in estimators:
            each.add_groups(partial(_answers, each.session, ledger, fresh=fresh))
    stated = estimator.as_dict()
    stated["left_out"] = dict(sorted((Counter(discovered.left_out) + files.skipped).items()))
    if by_document:
        stated["by_document"] = dearest
    if compare:
        stated["compare"] = {
            name: {"error": each.message} if isinstance(each, JobError) else each.as_dict()
            for name, each in others.items()
        }
    return stated


def _add(
    estimators: Sequence[Estimator], ledger: Ledger, batches: Iterable[Iterable[Document]], *, fresh: bool
) -> Iterator[dict[str, Any]]:
    """Add the documents to all estimators; a row a document of what the first one expects of it."""
    first, expected = estimators[0], estimators[0].forecast.scenarios["expected"]
    for batch in batches:
        for each in estimators:
            for unit in units(batch, each.session.plan, each.session.work.pack):
                cost_pusd, calls, chunks = expected.cost_pusd, expected.calls, first.chunks
                each.add(unit, *_answers(each.session, ledger, each.session.work.steps(unit), fresh=fresh))
                for document in unit if each is first else ():  # one, or short rows of one chunk each
                    yield {
                        "document_id": document.id,
                        "uri": document.uri,
                        "row": document.row,
                        "chunks": (first.chunks - chunks) // len(unit),
                        "calls": expected.calls - calls,
                        "cost_usd": float(usd(round(expected.cost_pusd - cost_pusd))) / len(unit),
                    }


def _other(job: Job, name: str) -> Job:
    """The job with another model: what it says of its own model's window and price does not hold for that."""
    provider, slash, rest = name.partition("/")
    if not slash or provider not in get_args(ProviderName):
        provider, rest = job.model.provider, name
    changes: dict[str, Any] = {"provider": provider, "name": rest, "context_window": None, "fallback": []}
    if provider != job.model.provider:
        changes["base_url"] = None
    return job.model_copy(update={"model": job.model.model_copy(update=changes), "pricing": None})


def _answers(
    session: Session, ledger: Ledger, steps: Steps, *, fresh: bool
) -> tuple[list[list[Outcome | None]], list[str]]:
    """What the ledger answers of a unit, and the keys of its first step with an answer missing."""
    answered: list[list[Outcome | None]] = []
    try:
        requests = next(steps)
        while True:
            asks = {request.key: request for request in requests}
            kept = {} if fresh else known(ledger, session.routes, asks, retry=session.job.output.retry)
            keys = [request.key for request in requests]
            step = [kept.get(key) for key in keys]
            answered.append(step)
            there = [outcome for outcome in step if outcome is not None]
            if len(there) < len(step):
                return answered, keys
            requests = steps.send(there)
    except (StopIteration, DocumentError):
        return answered, []


def compared(estimate: Mapping[str, Any], actual: Mapping[str, float]) -> dict[str, float | None]:
    """What `actual` is above (positive) or below what was expected, as a share of that; None where that is nothing."""
    pairs = {name: (float(estimate[name]["expected"]), value) for name, value in actual.items() if name in estimate}
    return {name: round(value / expected - 1, 6) if expected else None for name, (expected, value) in pairs.items()}
