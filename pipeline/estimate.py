"""What a job will send and cost, by driving the very generators that a run drives, with predicted answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pipeline.config import Job
from pipeline.ledger import Ledger, Stored
from pipeline.pricing import bound, cost, usd
from pipeline.readers import Unread, discover, read
from pipeline.session import Session, open_session
from pipeline.types import Cause, Completion, Document, Failure, Outcome, Request, Usage

__all__ = ["SCENARIOS", "Estimator", "Scenario", "Tally", "estimate_job"]

Scenario: TypeAlias = Literal["low", "expected", "high", "ceiling"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)

TOKENS_PER_WORD = {"low": 1.2, "expected": 1.4, "high": 2.2}
"""Tokens of an answer per word asked for: English is at about 1.3 (o200k_base), German at 1.9, Chinese above."""
FILL = {"low": 0.3, "expected": 0.75, "high": 1.0}
"""How much of the words asked for a model writes, before any answer was seen."""
EXTRACTION = {"low": 20, "expected": 200, "high": 800}
"""Tokens of an extraction's answer before any was seen."""
FIRST_TOKEN_S = 1.0
TOKENS_PER_S = 50.0
UNKNOWN_CONCURRENCY = 16


@dataclass(slots=True)
class Tally:
    """What one scenario comes to. Calls answered from the ledger are in `reused` alone."""

    calls: int = 0
    reused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_pusd: int = 0


@dataclass(slots=True)
class Estimator:
    """Adds up documents one unit at a time; `stored(keys)` tells what the ledger already answers."""

    session: Session
    stored: Callable[[Sequence[str]], Mapping[str, Stored]]
    documents: int = 0
    unreadable: int = 0
    empty: int = 0
    chunks: int = 0
    tallies: dict[Scenario, Tally] = field(default_factory=lambda: {scenario: Tally() for scenario in SCENARIOS})
    _asked: set[tuple[Scenario, str]] = field(default_factory=set)  # equal requests are paid once
    _refused: dict[tuple[str | None, str | None], Outcome] = field(default_factory=dict)  # forms a run will not ask

    def add(self, documents: tuple[Document, ...]) -> None:
        """Drive this unit's generator once a scenario. Raises DocumentError as the kind does."""
        self.documents += len(documents)
        for scenario in SCENARIOS:
            steps = self.session.steps(documents)
            tally = self.tallies[scenario]
            requests = next(steps, None)
            while requests is not None:
                outcomes = self._predict(requests, scenario, tally)
                try:
                    requests = steps.send(outcomes)
                except StopIteration as stop:
                    if scenario == "expected":
                        self.chunks += sum(len(result.chunks) for result in stop.value)
                    break

    def readable(self, reads: Iterable[Document | Unread]) -> Iterator[Document]:
        """The documents there is work on; the others are counted."""
        for found in reads:
            if isinstance(found, Unread):
                self.unreadable += 1
            elif not found.text.strip():
                self.empty += 1
            else:
                yield found

    def _predict(self, requests: list[Request], scenario: Scenario, tally: Tally) -> list[Outcome]:
        keys = [request.key for request in requests]
        known = self.stored(keys)
        outcomes: list[Outcome] = []
        for key, request in zip(keys, requests, strict=True):
            form = request.structured_output, request.schema
            if key in known:
                outcomes.append(_outcome(known[key]))
                tally.reused += known[key].cause is None
                if known[key].cause is Cause.UNSUPPORTED:
                    self._refused[form] = outcomes[-1]
                continue
            if form in self._refused:
                outcomes.append(self._refused[form])
                continue
            usage = self._usage(request, scenario)
            if (scenario, key) in self._asked:
                tally.reused += 1
            else:
                self._asked.add((scenario, key))
                self._pay(usage, scenario, tally)
            text = _predicted_text(key, usage.output_tokens)
            outcomes.append(Completion(key=key, text=text, finish_reason="stop", usage=usage))
        return outcomes

    def _pay(self, usage: Usage, scenario: Scenario, tally: Tally) -> None:
        tally.calls += 1
        tally.input_tokens += usage.input_tokens
        tally.output_tokens += usage.output_tokens
        price = self.session.pricing
        worst = scenario == "ceiling"
        tally.cost_pusd += bound(price, usage.input_tokens, usage.output_tokens) if worst else cost(price, usage)

    def _usage(self, request: Request, scenario: Scenario) -> Usage:
        ratio = self.session.ratio(request)
        factor = {"low": ratio.low, "expected": ratio.expected, "high": ratio.high, "ceiling": ratio.high}[scenario]
        return Usage(input_tokens=round(request.input_tokens * factor), output_tokens=_output(request, scenario))

    def as_dict(self) -> dict[str, Any]:
        """The contract's JSON of an estimate."""
        tallies = self.tallies
        return {
            "documents": self.documents + self.unreadable + self.empty,
            "unreadable": self.unreadable,
            "empty": self.empty,
            "chunks": self.chunks,
            "calls": {scenario: tally.calls for scenario, tally in tallies.items()},
            "reused_calls": tallies["expected"].reused,
            "input_tokens": {scenario: tally.input_tokens for scenario, tally in tallies.items()},
            "output_tokens": {scenario: tally.output_tokens for scenario, tally in tallies.items()},
            "cost_usd": {scenario: float(usd(tally.cost_pusd)) for scenario, tally in tallies.items()},
            "duration_s": {scenario: round(self._duration_s(tally), 1) for scenario, tally in tallies.items()},
        }

    def _duration_s(self, tally: Tally) -> float:
        """The slowest of the three gates, at a usual latency where none was seen."""
        limits = self.session.job.limits
        slots = limits.concurrency or self.session.info.concurrency or UNKNOWN_CONCURRENCY
        gates = [(tally.calls * FIRST_TOKEN_S + tally.output_tokens / TOKENS_PER_S) / slots]
        if limits.requests_per_minute:
            gates.append(tally.calls * 60 / limits.requests_per_minute)
        if limits.tokens_per_minute:
            gates.append((tally.input_tokens + tally.output_tokens) * 60 / limits.tokens_per_minute)
        return max(gates)


def estimate_job(job: Job, *, limit: int | None = None) -> dict[str, Any]:
    """The estimate of `job` as the contract's JSON; sends nothing, writes nothing.

    Documents that cannot be read are counted in `unreadable`. Raises JobError as the run does."""
    discovered = discover(job.input)
    with Ledger.view(Path(job.output.path) / "ledger.sqlite") as ledger:
        session = open_session(job, ledger.pinned)
        estimator = Estimator(session=session, stored=ledger.stored)
        reads = (document for source in discovered.sources for document in read(source, job.input))
        with closing(reads):
            for units in session.units(estimator.readable(islice(reads, limit))):
                estimator.add(units)
    return {**estimator.as_dict(), "pricing": asdict(session.pricing), "basis": _basis(session)}


def _basis(session: Session) -> dict[str, Any]:
    exact = session.info.ratio_prior["prose"].low == session.info.ratio_prior["prose"].high
    return {"tokenizer": "exact" if exact else "prior", "output": "prior", "answers_seen": 0}


def _output(request: Request, scenario: Scenario) -> int:
    if scenario == "ceiling":
        return request.max_output_tokens
    if request.max_words is None:
        return min(EXTRACTION[scenario], request.max_output_tokens)
    return min(round(request.max_words * TOKENS_PER_WORD[scenario] * FILL[scenario]), request.max_output_tokens)


_WORDS = " time year people way day man thing woman life child world school state family student group".split()
"""A token each in tiktoken's encodings, with the space before it."""


def _predicted_text(key: str, tokens: int) -> str:
    """A text of `tokens` tokens that differs for different requests, as answers do."""
    different = "".join(f" {_WORDS[int(digit, 16)]}" for digit in key[: min(tokens, 16)])
    return different + " word" * (tokens - 16)


def _outcome(stored: Stored) -> Outcome:
    if stored.cause is not None:
        return Failure(key=stored.key, cause=stored.cause, message=stored.message)
    return Completion(
        key=stored.key, text=stored.text, finish_reason=stored.finish_reason, usage=stored.usage, reused=True
    )
