"""What real answers teach, by model and kind of text: its tokens for one of ours, the length of its answers, how much
of them is thought, how much of the input comes from a cache, how often they are cut, invalid or paid for twice.

A sample is kept for every charged attempt. Estimates are posterior means (normal prior, normal data: Gelman et al.,
"Bayesian Data Analysis", 2.5): a handful of answers outweighs a vague prior, one alone does not. Means and not medians,
because what is wanted are sums; outliers go first."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from statistics import fmean, median
from typing import TypeAlias
from zlib import crc32

from docreduce.models.catalogue import Ratio, TextKind
from docreduce.models.routes import Route
from docreduce.models.text_kinds import prior_kind, text_kind
from docreduce.values import Attempt, Cause, Request, Usage

__all__ = ["Answers", "Calibration", "Sample", "Top", "counted_sample", "learn", "sample"]

TOKENS_PER_WORD = Ratio(1.2, 1.4, 2.2)
"""Tokens of ours in an answer per word asked for: English is at about 1.3 (o200k_base), German at 1.9."""
FILL = Ratio(0.25, 0.75, 1.1)
"""How much of the words asked for a model writes, before any answer was seen."""
OTHER_LENGTH = Ratio(0.5, 1.0, 1.7)
"""Times the tokens a word that answers of other lengths took."""
EXTRACTION = Ratio(4, 150, 800)
"""Tokens of an extraction's answer for one text before any was seen: from no item to several with their evidence."""
CUT, INVALID, AGAIN = 0.01, 0.02, 0.01
"""Shares of answers that are cut, invalid, paid for and of no use, before any was seen."""
SHARE_WEIGHT = 5
"""Calls that those prior shares weigh as much as."""
ENOUGH = 20
"""Samples from which on new plans trust what was seen."""


Asked: TypeAlias = tuple[str, int]
"""What the length of an answer depends on: the schema, or the words asked for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a call really took: our count of its input beside the service's, and the tokens of its output.

    What was asked for is told by `schema_crc` ("" for text) and `max_words` (0: none was stated); `fault` is what was
    wrong with the answer: "" nothing, "cut", "again" (paid for and of no use), "overflow" (refused as too long);
    "counted": there was none, the service only counted."""

    endpoint: str
    model: str
    text_kind: str
    stage: str
    schema_crc: str
    max_words: int
    fault: str
    counted_tokens: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def asked(self) -> Asked:
        """What the length of the answer depends on."""
        return self.schema_crc, self.max_words


def sample(request: Request, attempt: Attempt, route: Route, *, cut: bool) -> Sample | None:
    """What `attempt` on `route` teaches; None where nobody counted it."""
    usage, fault = attempt.usage, ""
    if attempt.outcome == Cause.CONTEXT_OVERFLOW:
        fault = "overflow"
    elif usage is None or attempt.billing != "charged" or not request.tokens:
        return None
    elif attempt.outcome != "ok":
        fault = "again"
    elif cut:
        fault = "cut"
    return _sample(request, route, fault, usage or Usage(input_tokens=0, output_tokens=0))


def counted_sample(request: Request, route: Route, input_tokens: int) -> Sample:
    """What the service's own count of `request` teaches: nothing of its answer."""
    return _sample(request, route, "counted", Usage(input_tokens=input_tokens, output_tokens=0))


def _sample(request: Request, route: Route, fault: str, usage: Usage) -> Sample:
    schema_crc, max_words = _asked(request)
    return Sample(
        endpoint=route.endpoint,
        model=route.model,
        text_kind=text_kind(request.messages[-1].content),
        stage=request.stage,
        schema_crc=schema_crc,
        max_words=max_words,
        fault=fault,
        counted_tokens=request.tokens,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_input_tokens,
        reasoning_tokens=usage.reasoning_tokens,
    )


def _asked(request: Request) -> Asked:
    if request.schema is not None:
        return f"{crc32(request.schema.encode('utf-8', 'replace')):08x}", 0
    return "", request.max_words or 0


@dataclass(frozen=True, slots=True)
class Answers:
    """Tokens of an answer: the mean and its interval; `sd` is that of single answers around it."""

    mean: Ratio
    sd: float = 0.0


@dataclass(frozen=True, slots=True)
class Top:
    """The most tokens that a request came to for one of ours, and our counts of the smallest and largest request of
    which that is known."""

    ratio: float
    least: int
    most: int

    @classmethod
    def of(cls, ours: int, theirs: int) -> Top:
        """What one request shows."""
        return cls(theirs / ours, ours, ours)

    def with_(self, other: Top | None) -> Top:
        """What both show."""
        if other is None:
            return self
        return Top(max(self.ratio, other.ratio), min(self.least, other.least), max(self.most, other.most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What is expected of a model. `seen`: answers it rests on.

    `fit_ratio`: model tokens per token of ours that hardly any request passes, for the room of new plans; `fit_tokens`:
    our count of the smallest request that was refused as too long. `tops`: the most any request came to, by kind
    of text. `again`: attempts a call that were charged and brought nothing, and `again_output` their tokens; `cached`:
    the share of input tokens that came from the service's cache, none until it was seen."""

    ratios: Mapping[str, Ratio]
    seen: int
    fit_ratio: float | None
    fit_tokens: int | None
    tops: Mapping[str, Top]
    again: Ratio
    again_output: float
    cached: Ratio
    _outputs: Mapping[tuple[str, Asked], tuple[float, float, float]]  # mean, variance, number
    _said: Mapping[tuple[str, Asked], float]  # the share of an answer's tokens that is no thought
    _words: Words | None
    _cut: Mapping[Asked, Ratio]
    _invalid: Mapping[Asked, Ratio]
    _prior: Mapping[TextKind, Ratio]

    def ratio(self, kind: str) -> Ratio:
        """The model's tokens for one of ours in texts of that kind."""
        return self.ratios.get(kind) or self._prior[prior_kind(kind)]

    def output(self, request: Request, ratio: Ratio, limit: int) -> Answers:
        """Tokens of the answer to `request`, never above `limit`. `ratio`: the model's tokens for one of ours."""
        seen = self._outputs.get((request.stage, _asked(request)))
        prior = _prior(request, ratio, self._words)
        learned = _normal(*seen, prior, own_sd=0.3, floor=0.02) if seen else Answers(prior)
        most = float(limit)
        mean = learned.mean
        return Answers(Ratio(min(mean.low, most), min(mean.expected, most), min(mean.high, most)), learned.sd)

    def said(self, request: Request) -> float:
        """The share of an answer's tokens that is its text: the rest is thought, paid for and never seen again."""
        return self._said.get((request.stage, _asked(request)), self._said.get(("", ("", 0)), 1.0))

    def knows(self, request: Request) -> bool:
        """Whether answers to such a request were seen."""
        return (request.stage, _asked(request)) in self._outputs

    def cut(self, request: Request) -> Ratio:
        """The share of such answers that break off."""
        return self._cut.get(_asked(request)) or _share(0, 0, CUT)

    def often_cut(self, share: float) -> bool:
        """Whether of anything that was asked for more than `share` of the answers certainly broke off."""
        return any(cut.low > share for cut in self._cut.values())

    def invalid(self, request: Request) -> Ratio:
        """The share of such answers that have to be repaired: none of a summary's."""
        if request.schema is None:
            return Ratio(0, 0, 0)
        return self._invalid.get(_asked(request)) or _share(0, 0, INVALID)


def learn(samples: Iterable[Sample], prior: Mapping[TextKind, Ratio]) -> Calibration:
    """The calibration of a model from its samples and the catalogue's prior."""
    told = list(samples)
    counted = [each for each in told if each.input_tokens > 0 < each.counted_tokens]
    whole: dict[tuple[str, Asked], list[Sample]] = defaultdict(list)
    for each in told:
        if not each.fault:
            whole[each.stage, each.asked].append(each)
    faults = Counter((each.asked, each.fault) for each in told)
    stages = Counter((each.asked, each.stage) for each in told if not each.fault)
    every = {each.asked for each in told}
    answered = {asked: faults[asked, ""] + faults[asked, "cut"] for asked in every}
    large = _usual([each.input_tokens / each.counted_tokens for each in counted if each.counted_tokens >= 200])
    again = [each.output_tokens for each in told if each.fault == "again"]
    kinds = {each.text_kind for each in counted}
    of_kind = {kind: [each for each in counted if each.text_kind == kind] for kind in kinds}
    return Calibration(
        ratios={kind: _ratio(of_kind[kind], prior[prior_kind(kind)]) for kind in kinds},
        seen=sum(each.fault != "counted" for each in counted),
        fit_ratio=1.05 * max(large) if len(large) >= ENOUGH else None,
        fit_tokens=min((each.counted_tokens for each in told if each.fault == "overflow"), default=None),
        tops={
            kind: reduce(Top.with_, (Top.of(each.counted_tokens, each.input_tokens) for each in seen))
            for kind, seen in of_kind.items()
        },
        again=_share(len(again), sum(answered.values()), AGAIN),
        again_output=_mean(again),
        cached=_cached(counted),
        _outputs={which: _moments([each.output_tokens for each in seen]) for which, seen in whole.items()},
        _said={which: _text_share(seen) for which, seen in {**whole, ("", ("", 0)): told}.items()},
        _words=_words(whole),
        _cut={asked: _share(faults[asked, "cut"], answered[asked], CUT) for asked in every},
        # A repair may be invalid too: each asks for one more.
        _invalid={
            asked: _share(repairs := stages[asked, "repair"], stages[asked, "map"] + repairs, INVALID)
            for asked in every
        },
        _prior=prior,
    )


def _cached(seen: Sequence[Sample]) -> Ratio:
    """The share of input tokens from the cache: that of all, and from none to as much as it may be by chance."""
    tokens = sum(each.input_tokens for each in seen)
    share = min(1.0, sum(each.cached_tokens for each in seen) / tokens) if tokens else 0.0
    reach = 2 * math.sqrt(share * (1 - share) / len(seen)) if seen else 0.0
    return Ratio(max(0.0, share - reach), share, min(1.0, share + reach))


def _text_share(seen: Sequence[Sample]) -> float:
    made = sum(each.output_tokens for each in seen)
    return 1 - min(1.0, sum(each.reasoning_tokens for each in seen) / made) if made else 1.0


@dataclass(frozen=True, slots=True)
class Words:
    """How long answers are for the words asked for: `tokens` at `words`, in proportion to a power of them. A model that
    keeps to what is asked has the power 1, one that ignores it 0."""

    tokens: float
    words: float
    power: float

    def expected(self, max_words: int) -> float:
        """Tokens of an answer to be of `max_words`."""
        return self.tokens * math.pow(max_words / self.words, self.power)


def _words(whole: Mapping[tuple[str, Asked], Sequence[Sample]]) -> Words | None:
    """A line through the logarithms of lengths and words asked for; the power 1 where one length only was asked for."""
    pairs = [
        (math.log(max_words), math.log(each.output_tokens))
        for (_, (_, max_words)), seen in whole.items()
        for each in seen
        if max_words and each.output_tokens
    ]
    if not pairs:
        return None
    x, y = fmean(x for x, _ in pairs), fmean(y for _, y in pairs)
    spread = sum((each - x) ** 2 for each, _ in pairs)
    power = 1.0
    if spread > 1e-9:
        power = min(1.0, max(0.0, sum((one - x) * (other - y) for one, other in pairs) / spread))
    tokens = fmean(math.exp(other - power * (one - x)) for one, other in pairs)
    return Words(tokens, math.exp(x), power)


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return fmean(values) if values else 0.0


def _ratio(seen: Sequence[Sample], prior: Ratio) -> Ratio:
    """Sums over sums, so that a long text weighs as much as it costs."""
    if not seen:
        return prior
    usual = set(_usual([each.input_tokens / each.counted_tokens for each in seen]))
    kept = [each for each in seen if each.input_tokens / each.counted_tokens in usual]
    ours = sum(each.counted_tokens for each in kept)
    mean = sum(each.input_tokens for each in kept) / ours
    squares = sum(each.counted_tokens * (each.input_tokens / each.counted_tokens - mean) ** 2 for each in kept) / ours
    # As many samples of equal size as would vary as much: Kish's effective sample size.
    number = ours**2 / sum(each.counted_tokens**2 for each in kept)
    return _normal(mean, squares, number, prior, own_sd=0.04, floor=0.01).mean


def _usual(ratios: Sequence[float]) -> list[float]:
    """Without those that are twice or half the median: a service that miscounts teaches nothing."""
    middle = median(ratios) if ratios else 0.0
    return [ratio for ratio in ratios if middle / 2 <= ratio <= middle * 2]


def _moments(values: Sequence[int]) -> tuple[float, float, float]:
    mean = fmean(values)
    return mean, fmean((value - mean) ** 2 for value in values), len(values)


def _normal(mean: float, squares: float, number: float, prior: Ratio, *, own_sd: float, floor: float) -> Answers:
    """The posterior of a mean; two samples' worth of `own_sd` (relative) keep a few equal ones from looking certain."""
    variance = (squares * number + 2 * (own_sd * mean) ** 2) / (number + 2)
    vague = max((prior.high - prior.low) / 4, 0.1 * prior.expected) ** 2
    of_mean = variance / max(number, 1e-9)
    spread = vague * of_mean / (vague + of_mean)
    expected = (mean * vague + prior.expected * of_mean) / (vague + of_mean)
    reach = 2 * math.sqrt(spread + (floor * expected) ** 2)
    return Answers(Ratio(max(0.0, expected - reach), expected, expected + reach), math.sqrt(variance))


def _prior(request: Request, ratio: Ratio, words: Words | None) -> Ratio:
    if request.schema is not None or not request.max_words:
        return EXTRACTION * len(request.serves)
    if words is not None:  # other lengths were asked for: they tell more of this one than a guess
        return OTHER_LENGTH * words.expected(request.max_words)
    return TOKENS_PER_WORD * FILL * ratio * request.max_words


def _share(found: int, calls: int, prior: float) -> Ratio:
    if not calls:
        return Ratio(0.0, prior, 4 * prior)
    weight = calls + SHARE_WEIGHT
    share = (found + prior * SHARE_WEIGHT) / weight
    reach = 2 * math.sqrt(share / weight)
    return Ratio(max(0.0, share - reach), share, share + reach)
