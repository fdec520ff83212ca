"""What one scenario of a forecast expects of calls: their answers, their tokens and money, and which go wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

from docreduce.engine.session import Session
from docreduce.models.catalogue import Ratio
from docreduce.models.meter import kind_of
from docreduce.models.prices import Pricing, bound, cost
from docreduce.values import FRAME_TOKENS, Completion, Request, Usage

__all__ = ["NAMES", "Name", "Scenario"]

Name: TypeAlias = Literal["low", "expected", "high", "ceiling"]
NAMES: tuple[Name, ...] = get_args(Name)

FIRST_TOKEN_S = Ratio(0.5, 1.0, 2.0)
TOKENS_PER_S = Ratio(100, 50, 20)
"""Of a call's latency where none was seen."""
LEARNED: Mapping[Name, float] = {"low": 0.8, "expected": 1.0, "high": 1.5, "ceiling": 2.0}
"""Times the mean latency of the job's last calls."""
UNKNOWN_CONCURRENCY = 16


@dataclass(slots=True)
class _Guess:
    """A call: its tokens, the model's for one of ours, and the shares of such calls that go wrong."""

    input_tokens: float
    output_tokens: float
    ratio: float
    cut: float = 0.0
    invalid: float = 0.0
    again: float = 0.0
    sd: float = 0.0


@dataclass(slots=True)
class Scenario:
    """Adds up what the calls come to. `variance`: of the cost, as single calls differ from what is expected of all.

    `cut`, `invalid`: running sums of the shares of calls that go wrong so; one does at each whole number."""

    name: Name
    session: Session
    calls: int = 0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    cost_pusd: float = 0.0
    variance: float = 0.0
    cut: float = 0.5
    invalid: float = 0.5
    others_pusd: list[float] = field(default_factory=list)  # the same by the service's other prices
    dearest_pusd: int = 0  # what is set aside for the dearest single call
    _rates: dict[tuple[object, ...], _Guess] = field(default_factory=dict)  # of a request of one token

    def predict(self, request: Request, *, paid: bool) -> Completion:
        """The answer to a request. Unless it is `paid`, it costs nothing and is never cut or invalid.

        In the ceiling every answer that can be asked for again breaks off, as often as its kind goes on asking."""
        guess = self._guess(request)
        limit = self.session.routes[0].max_output_tokens
        broken = invalid = False
        if paid:
            self.cut, broken = _next(self.cut, guess.cut)
            self.invalid, invalid = _next(self.invalid, guess.invalid)
            if broken:
                guess.output_tokens = limit
            self._pay(guess)
            self._bound(request)
        said = self.session.calibration.said(request)  # thought is paid for, and the next step never reads it
        usage = Usage(input_tokens=round(guess.input_tokens), output_tokens=round(guess.output_tokens))
        text = (
            ""
            if invalid
            else self.session.work.predict(request, min(round(said * guess.output_tokens / guess.ratio), limit))
        )
        return Completion(key="", text=text, finish_reason="length" if broken else "stop", usage=usage)

    def pay_all(self, requests: Sequence[Request]) -> bool:
        """Pay for calls of which none goes wrong; False, and nothing is paid, if one does."""
        guesses = [self._guess(request) for request in requests]
        cut = self.cut + sum(guess.cut for guess in guesses)
        invalid = self.invalid + sum(guess.invalid for guess in guesses)
        if cut >= 1 or invalid >= 1:
            return False
        self.cut, self.invalid = cut, invalid
        for guess, request in zip(guesses, requests, strict=True):
            self._pay(guess)
            self._bound(request)
        return True

    def expect(self, request: Request, number: int) -> None:
        """Pay for so many calls like `request`, whatever becomes of them."""
        self._pay(self._guess(request), number)
        self._bound(request)

    def duration_s(self, seen_s: float | None) -> float:
        """The slowest of the three gates, at the mean latency `seen_s` or a usual one."""
        limits = self.session.job.limits
        slots = limits.concurrency or self.session.infos[0].concurrency or UNKNOWN_CONCURRENCY
        usual_s = self.calls * self._of(FIRST_TOKEN_S) + self.output_tokens / self._of(TOKENS_PER_S)
        work_s = usual_s if seen_s is None else self.calls * seen_s * LEARNED[self.name]
        gates = [work_s / max(1, min(slots, self.calls))]
        if limits.requests_per_minute:
            gates.append(self.calls * 60 / limits.requests_per_minute)
        if limits.tokens_per_minute:
            gates.append((self.input_tokens + self.output_tokens) * 60 / limits.tokens_per_minute)
        return max(gates)

    def _guess(self, request: Request) -> _Guess:
        kind = kind_of(request)
        which = (kind, request.stage, request.schema, request.max_words, len(request.serves))
        rates = self._rates.get(which)
        if rates is None:
            rates = self._rates[which] = self._one_token(request, kind)
        ours: float = request.tokens
        if self.name == "low" and not self.session.calibration.seen:  # a service's own frame may be no tokens at all
            ours = max(1, ours - FRAME_TOKENS * (len(request.messages) + 2))
        taken = ours * rates.input_tokens
        if self.name == "ceiling":
            taken = self.session.meters[0].input_bound(request, kind)
        return replace(rates, input_tokens=taken)

    def _one_token(self, request: Request, kind: str) -> _Guess:
        """What is expected of such a request, were it one token of ours."""
        session, calibration, limit = self.session, self.session.calibration, self.session.routes[0].max_output_tokens
        if self.name == "ceiling":
            return _Guess(1.0, limit, ratio=1.0, cut=0.0 if session.offline or request.stage == "repair" else 1.0)
        ratio, answers = (
            self._of(calibration.ratio(kind)),
            calibration.output(request, calibration.ratio(kind), limit),
        )
        guess = _Guess(ratio, self._of(answers.mean), ratio, sd=answers.sd)
        if not session.offline:
            guess.cut = self._of(calibration.cut(request))
            guess.invalid = self._of(calibration.invalid(request))
            guess.again = self._of(calibration.again)
        return guess

    def _bound(self, request: Request) -> None:
        self.dearest_pusd = max(self.dearest_pusd, self.session.meters[0].cost_bound(request, kind_of(request)))

    def _pay(self, guess: _Guess, number: int = 1) -> None:
        again, again_output = guess.again, self.session.calibration.again_output or guess.output_tokens
        call = self._price(guess.input_tokens, guess.output_tokens)
        self.calls += number
        self.input_tokens += number * guess.input_tokens * (1 + again)
        self.output_tokens += number * (guess.output_tokens + again * again_output)
        self.cost_pusd += number * (call + again * self._price(guess.input_tokens, again_output))
        others = self.session.infos[0].other_pricing if self.name == "expected" else ()
        self.others_pusd = self.others_pusd or [0.0] * len(others)
        for at, pricing in enumerate(others):
            single = self._price(guess.input_tokens, guess.output_tokens, pricing)
            wasted = self._price(guess.input_tokens, again_output, pricing)
            self.others_pusd[at] += number * (single + again * wasted)
        scatter = (self.session.routes[0].pricing.output_pusd * guess.sd) ** 2
        self.variance += number * (scatter + (again + guess.cut + guess.invalid) * float(call) ** 2)

    def _price(self, input_tokens: float, output_tokens: float, pricing: Pricing | None = None) -> int:
        given, made = math.ceil(input_tokens), math.ceil(output_tokens)
        pricing = pricing or self.session.routes[0].pricing
        if self.name == "ceiling":
            return bound(pricing, given, made)
        cached = self.session.calibration.cached
        share = {"low": cached.high, "expected": cached.expected}.get(self.name, cached.low)
        usage = Usage(input_tokens=given, output_tokens=made, cached_input_tokens=math.floor(given * share))
        return cost(pricing, usage) or 0

    def _of(self, values: Ratio) -> float:
        return {"low": values.low, "expected": values.expected}.get(self.name, values.high)


def _next(total: float, share: float) -> tuple[float, bool]:
    return (total + share - 1, True) if total + share >= 1 else (total + share, False)
