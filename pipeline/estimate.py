"""What a job will send and cost, by driving the very generators that a run drives, with predicted answers.

low to high is where the cost is expected. The ceiling is what no run passes in which nothing has to be asked twice:
every token at the ratio that reservations take, every answer as long as it may be, every merge as wide.

A run makes the same estimate of each unit of documents when the first of its calls is not answered by the ledger, so
that estimate and actual speak of the same documents without a second reading. It is cheap: chunks are cut once for both
(`kinds.chunks.cut`), one drive prices the first step for all scenarios, and a unit is driven again for a scenario only
where answers lead to further steps: merges, splits, repairs."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TypeAlias, get_args

from pipeline.budget import usd
from pipeline.calibration import text_kind
from pipeline.config import Job
from pipeline.dispatch import Forms
from pipeline.errors import DocumentError, JobError
from pipeline.kinds.plan import FRAME_TOKENS
from pipeline.ledger import Ledger
from pipeline.pricing import Ratio, TextKind, bound, cost
from pipeline.prompts.extract import empty_answer
from pipeline.readers import Unread, discover, read
from pipeline.session import Session, open_session
from pipeline.types import Completion, Document, Outcome, ProviderName, Request, Result, Usage

__all__ = ["SCENARIOS", "Answered", "Estimator", "Scenario", "Tally", "compared", "estimate_job"]

Scenario: TypeAlias = Literal["low", "expected", "high", "ceiling"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
Answered: TypeAlias = Sequence[Sequence[Outcome | None]]
"""A unit's first steps as the ledger answers them, up to the first with an answer missing (None)."""

FIRST_TOKEN_S: Mapping[Scenario, float] = {"low": 0.5, "expected": 1.0, "high": 2.0, "ceiling": 2.0}
TOKENS_PER_S: Mapping[Scenario, float] = {"low": 100, "expected": 50, "high": 20, "ceiling": 20}
"""Of a call's latency where none was seen."""
LEARNED: Mapping[Scenario, float] = {"low": 0.8, "expected": 1.0, "high": 1.5, "ceiling": 2.0}
"""Times the mean latency of the job's last calls."""
UNKNOWN_CONCURRENCY = 16
DEAREST = 20
"""Documents that are named."""
REMEMBERED = 100_000
"""Requests among which equal ones are found, which are paid once."""


@dataclass(slots=True)
class Tally:
    """What one scenario comes to. `variance`: of its cost, as single calls differ from what is expected of them all.

    `cut`, `invalid`: running sums of the shares of calls that go wrong so; one does at each whole number."""

    calls: int = 0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cost_pusd: float = 0.0
    variance: float = 0.0
    cut: float = 0.5
    invalid: float = 0.5


@dataclass(slots=True)
class _Drive:
    """One way through a unit's generator."""

    steps: int = 0
    first: Sequence[tuple[Request, TextKind]] = ()  # of the first step not all answered, those that are to be paid
    results: Sequence[Result] = ()


@dataclass(slots=True)
class Estimator:
    """Adds up documents one unit at a time. `seen_s`: mean latency of the job's calls, None where there were none."""

    session: Session
    seen_s: float | None = None
    documents: int = 0
    unreadable: int = 0
    empty: int = 0
    chunks: int = 0
    reused: int = 0
    tallies: dict[Scenario, Tally] = field(default_factory=lambda: {scenario: Tally() for scenario in SCENARIOS})
    forms: Forms = field(default_factory=Forms)
    _asked: dict[int, None] = field(default_factory=dict)
    _rates: dict[tuple[object, ...], tuple[float, ...]] = field(default_factory=dict)
    _counting: Lock = field(default_factory=Lock)

    def add(self, documents: Sequence[Document], answered: Answered = (), keys: Sequence[str] = ()) -> None:
        """Count a unit of which the ledger answers `answered`; `keys` are those of its last step there.

        A document that cannot be cut counts as unreadable."""
        again = [self._asked_before(key) for key in keys]
        try:
            drive = self._drive(documents, answered, again, "expected")
        except DocumentError:
            self.unreadable += len(documents)
            return
        for scenario in ("low", "high", "ceiling"):
            tally = self.tallies[scenario]
            guesses = [self._guess(request, kind, scenario) for request, kind in drive.first]
            cut = tally.cut + sum(guess.cut for guess in guesses)
            invalid = tally.invalid + sum(guess.invalid for guess in guesses)
            if drive.steps > max(1, len(answered)) or cut >= 1 or invalid >= 1:
                self._drive(documents, answered, again, scenario)
                continue
            tally.cut, tally.invalid = cut, invalid
            for guess in guesses:
                self._pay(guess, scenario)
        self._look_at_borders(drive.first)
        self.add_answered(drive.results, answered, equal=sum(again))

    def add_answered(self, results: Sequence[Result], answered: Answered, equal: int = 0) -> None:
        """Count a unit's documents and the calls that need not be paid: answered, or `equal` to others. Any thread."""
        with self._counting:
            self.documents += len(results)
            self.chunks += sum(len(result.chunks) for result in results)
            self.reused += sum(isinstance(outcome, Completion) for step in answered for outcome in step) + equal

    def readable(self, reads: Iterable[Document | Unread]) -> Iterator[Document]:
        """The documents there is work on; the others are counted."""
        for found in reads:
            if isinstance(found, Unread):
                self.unreadable += 1
            elif not found.text.strip():
                self.empty += 1
            else:
                yield found

    def _asked_before(self, key: str) -> bool:
        short = int(key[:15], 16)
        known = short in self._asked
        self._asked[short] = None
        if len(self._asked) > REMEMBERED:
            del self._asked[next(iter(self._asked))]
        return known

    def _drive(
        self, documents: Sequence[Document], answered: Answered, again: Sequence[bool], scenario: Scenario
    ) -> _Drive:
        """Take the unit to its results. `again`: requests of the last answered step that were asked before."""
        drive = _Drive()
        steps = self.session.steps(documents)
        free = bool(again) and all(
            told or known is not None for told, known in zip(again, answered[-1] if answered else again, strict=True)
        )
        requests = next(steps, None)
        while requests is not None:
            known = answered[drive.steps] if drive.steps < len(answered) else [None] * len(requests)
            drive.steps += 1
            at_first = drive.steps == max(1, len(answered))
            open_ = [n for n, outcome in enumerate(known) if outcome is None]
            kinds = {n: text_kind(requests[n].messages[-1].content) for n in open_}
            paid = [n for n in open_ if not free and not (at_first and again and again[n])]
            if at_first:
                drive.first = [(requests[n], kinds[n]) for n in paid]
            outcomes = list(known)
            for n in open_:
                outcomes[n] = self._predict(requests[n], kinds[n], scenario, paid=n in paid)
            try:
                requests = steps.send([outcome for outcome in outcomes if outcome is not None])
            except StopIteration as stop:
                drive.results = stop.value
                break
        return drive

    def _predict(self, request: Request, kind: TextKind, scenario: Scenario, *, paid: bool) -> Outcome:
        guess = self._guess(request, kind, scenario)
        tally = self.tallies[scenario]
        broken = valid = False
        if paid:
            tally.cut, broken = _next(tally.cut, guess.cut)
            tally.invalid, valid = _next(tally.invalid, guess.invalid)
            if broken:
                guess.output_tokens = request.max_output_tokens
            self._pay(guess, scenario)
        usage = Usage(input_tokens=round(guess.input_tokens), output_tokens=round(guess.output_tokens))
        if request.schema is not None:
            text = "" if valid else empty_answer(request)
        else:
            text = _WORD * min(round(guess.output_tokens / guess.ratio), request.max_output_tokens)
        return Completion(key="", text=text, finish_reason="length" if broken else "stop", usage=usage)

    def _guess(self, request: Request, kind: TextKind, scenario: Scenario) -> _Guess:
        size = request.max_words, request.max_output_tokens, len(request.documents)
        which = (scenario, kind, request.stage, request.schema, size)
        rates = self._rates.get(which)
        if rates is None:
            rates = self._rates[which] = _rates(self.session, request, kind, scenario)
        ours = request.input_tokens
        if scenario == "low" and not self.session.calibration.seen:  # a service's own frame may be no tokens at all
            ours = max(1, ours - FRAME_TOKENS * (len(request.messages) + 2))
        return _Guess(ours * rates[0], *rates[1:])

    def _pay(self, guess: _Guess, scenario: Scenario) -> None:
        tally, price = self.tallies[scenario], self.session.pricing
        again, again_output = guess.again, self.session.calibration.again_output or guess.output_tokens
        given, made = guess.input_tokens, guess.output_tokens
        price_of = bound if scenario == "ceiling" else lambda p, i, o: cost(p, Usage(input_tokens=i, output_tokens=o))
        call = price_of(price, math.ceil(given), math.ceil(made))
        tally.calls += 1
        tally.input_tokens += given * (1 + again)
        tally.output_tokens += made + again * again_output
        tally.cost_pusd += call + again * price_of(price, math.ceil(given), math.ceil(again_output))
        tally.variance += (price.output_pusd * guess.sd) ** 2 + (again + guess.cut + guess.invalid) * float(call) ** 2

    def _look_at_borders(self, first: Sequence[tuple[Request, TextKind]]) -> None:
        """Second looks at the borders of an extraction's chunks: what they find there, nobody can predict.

        As many as were seen; in the ceiling one a border, as long as the longest chunk could have been."""
        if len(first) < 2 or first[0][0].schema is None or len(first[0][0].documents) > 1:
            return
        calibration = self.session.calibration
        longest, kind = max(first, key=lambda pair: pair[0].input_tokens)
        borders = len(first) - 1
        for scenario in SCENARIOS:
            guess = self._guess(longest, kind, scenario)
            ours, made = calibration.resolve_size
            if scenario == "ceiling":
                looks, given, made = float(borders), 2 * guess.input_tokens, guess.output_tokens
            else:
                looks = _at(calibration.resolve, scenario) * len(first)
                given = ours * guess.input_tokens / longest.input_tokens
            tally = self.tallies[scenario]
            tally.calls += round(looks)
            tally.input_tokens += looks * given
            tally.output_tokens += looks * made
            tally.cost_pusd += looks * bound(self.session.pricing, math.ceil(given), math.ceil(made))

    # --- told -------------------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """The contract's JSON of an estimate."""
        session, seen = self.session, self.session.calibration.seen
        tokenizer = "exact" if session.exact else "learned" if seen else "prior"
        return {
            "documents": self.documents + self.unreadable + self.empty,
            "unreadable": self.unreadable,
            "empty": self.empty,
            "chunks": self.chunks,
            "calls": self._scenarios(lambda scenario: self.tallies[scenario].calls),
            "reused_calls": self.reused,
            "input_tokens": self._scenarios(lambda scenario: math.ceil(self.tallies[scenario].input_tokens)),
            "output_tokens": self._scenarios(lambda scenario: math.ceil(self.tallies[scenario].output_tokens)),
            "cost_usd": self._scenarios(lambda scenario: float(usd(self._cost_pusd(scenario)))),
            "duration_s": self._scenarios(lambda scenario: round(self._duration_s(scenario), 1)),
            "pricing": asdict(session.pricing),
            "basis": {"tokenizer": tokenizer, "output": "learned" if seen else "prior", "answers_seen": seen},
        }

    def _scenarios(self, value: Callable[[Scenario], float]) -> dict[str, float]:
        """The four in order: where much goes wrong, a ceiling of calls that do not would be below what is expected."""
        rising: float = 0
        return {scenario: (rising := max(rising, value(scenario))) for scenario in SCENARIOS}

    def _cost_pusd(self, scenario: Scenario) -> int:
        """Two standard deviations of the calls' own scatter beyond low and high: it matters where calls are few."""
        scatter = {"low": -2, "high": 2}.get(scenario, 0) * math.sqrt(self.tallies["expected"].variance)
        return max(0, math.ceil(self.tallies[scenario].cost_pusd + scatter))

    def _duration_s(self, scenario: Scenario) -> float:
        """The slowest of the three gates, at the latency seen or a usual one."""
        tally, limits = self.tallies[scenario], self.session.job.limits
        slots = limits.concurrency or self.session.info.concurrency or UNKNOWN_CONCURRENCY
        usual_s = tally.calls * FIRST_TOKEN_S[scenario] + tally.output_tokens / TOKENS_PER_S[scenario]
        work_s = usual_s if self.seen_s is None else tally.calls * self.seen_s * LEARNED[scenario]
        gates = [work_s / max(1, min(slots, tally.calls))]
        if limits.requests_per_minute:
            gates.append(tally.calls * 60 / limits.requests_per_minute)
        if limits.tokens_per_minute:
            gates.append((tally.input_tokens + tally.output_tokens) * 60 / limits.tokens_per_minute)
        return max(gates)


@dataclass(slots=True)
class _Guess:
    """A call in a scenario: its tokens, the model's for one of ours, and the shares of such calls that go wrong."""

    input_tokens: float
    output_tokens: float
    ratio: float
    cut: float
    invalid: float
    again: float
    sd: float


def _rates(session: Session, request: Request, kind: TextKind, scenario: Scenario) -> tuple[float, ...]:
    """Model tokens for one of ours, and what follows `input_tokens` in a guess."""
    if scenario == "ceiling":
        return session.bound_ratio(kind), request.max_output_tokens, 1.0, 0.0, 0.0, 0.0, 0.0
    calibration, likely = session.calibration, session.calibration.ratios[kind]
    answers = calibration.output(request, likely)
    shares = calibration.cut(request), calibration.invalid(request), calibration.again
    wrong = (0.0 if session.offline else _at(share, scenario) for share in shares)
    factor = _at(likely, scenario)
    return factor, _at(answers.mean, scenario), factor, *wrong, answers.sd


def _at(values: Ratio, scenario: Scenario) -> float:
    return {"low": values.low, "expected": values.expected}.get(scenario, values.high)


def _next(total: float, share: float) -> tuple[float, bool]:
    return (total + share - 1, True) if total + share >= 1 else (total + share, False)


_WORD = " word"
"""A token of tiktoken's encodings, however often it stands there."""


# --- a job -------------------------------------------------------------------------------------------------------


def estimate_job(
    job: Job, *, limit: int | None = None, fresh: bool = False, compare: Sequence[str] = (), by_document: bool = False
) -> dict[str, Any]:
    """The estimate of `job` as the contract's JSON; sends nothing, writes nothing.

    `fresh`: as if nothing were answered. `compare`: other models, as NAME or PROVIDER/NAME, under "compare": the same
    documents with their own windows, tokenizers and prices, or why not. `by_document`: the dearest documents too.
    Documents that cannot be read are counted in `unreadable`. Raises JobError as the run does."""
    discovered = discover(job.input)
    with Ledger.view(Path(job.output.path) / "ledger.sqlite") as ledger:
        estimator = Estimator(open_session(job, ledger), ledger.latency_s(job.sha256))
        others: dict[str, Estimator | JobError] = {}
        for name in compare:
            try:
                others[name] = Estimator(open_session(_other(job, name), ledger))
            except JobError as error:
                others[name] = error
        estimators = [estimator, *(other for other in others.values() if isinstance(other, Estimator))]
        reads = (document for source in discovered.sources for document in read(source, job.input))
        with closing(reads):
            readable = estimator.readable(islice(reads, limit))
            batches = iter(lambda: list(islice(readable, 64)), []) if others else [readable]
            dearest = heapq.nlargest(
                DEAREST, _add(estimators, ledger, batches, fresh=fresh), key=itemgetter("cost_usd")
            )
    told = estimator.as_dict()
    if by_document:
        told["by_document"] = dearest
    if compare:
        told["compare"] = {
            name: {"error": each.message} if isinstance(each, JobError) else each.as_dict()
            for name, each in others.items()
        }
    return told


def _add(
    estimators: Sequence[Estimator], ledger: Ledger, batches: Iterable[Iterable[Document]], *, fresh: bool
) -> Iterator[dict[str, Any]]:
    """Add the documents to all estimators; a row a document of what the first one expects of it."""
    first, expected = estimators[0], estimators[0].tallies["expected"]
    for batch in batches:
        for each in estimators:
            for unit in each.session.units(batch):
                cost_pusd, calls, chunks = expected.cost_pusd, expected.calls, first.chunks
                each.add(unit, *_answers(each, ledger, unit, fresh=fresh))
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
    changes = {"provider": provider, "name": rest, "context_window": None}
    if provider != job.model.provider:
        changes["base_url"] = None
    return job.model_copy(update={"model": job.model.model_copy(update=changes), "pricing": None})


def _answers(
    estimator: Estimator, ledger: Ledger, unit: Sequence[Document], *, fresh: bool
) -> tuple[list[list[Outcome | None]], list[str]]:
    """What the ledger answers of a unit, and the keys of its first step with an answer missing."""
    steps = estimator.session.steps(unit)
    answered: list[list[Outcome | None]] = []
    try:
        requests = next(steps)
        while True:
            keys = [request.key for request in requests]
            kept = {} if fresh else ledger.stored(keys)
            found = estimator.forms.reuse(kept, zip(keys, requests, strict=True))
            step = [found[key].outcome if key in found else None for key in keys]
            answered.append(step)
            known = [outcome for outcome in step if outcome is not None]
            if len(known) < len(step):
                return answered, keys
            requests = steps.send(known)
    except (StopIteration, DocumentError):
        return answered, []


def compared(estimate: Mapping[str, Any], actual: Mapping[str, float]) -> dict[str, float | None]:
    """What `actual` is above (positive) or below what was expected, as a share of that; None where that is nothing."""
    pairs = {name: (float(estimate[name]["expected"]), value) for name, value in actual.items() if name in estimate}
    return {name: round(value / expected - 1, 6) if expected else None for name, (expected, value) in pairs.items()}
