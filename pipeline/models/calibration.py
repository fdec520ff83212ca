"""What real answers teach, by model and kind of text: its tokens for one of ours, the length of its answers, how often
they are cut, invalid or paid for twice.

A sample is kept for every charged attempt. Estimates are posterior means (normal prior, normal data: Gelman et al.,
"Bayesian Data Analysis", 2.5): a handful of answers outweighs a vague prior, one alone does not. Means and not medians,
because what is wanted are sums; outliers go first."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple, cast
from zlib import crc32

from docreduce.models.catalogue import Ratio, TextKind
from docreduce.models.routes import Route
from docreduce.values import Attempt, Cause, Request

__all__ = ["Answers", "Calibration", "Sample", "learn", "sample", "text_kind"]

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


_DIGITS = re.compile(r"\d+")
_SYMBOLS = re.compile(r"[{}\[\]<>=;_\\|#@/*+&^~$`]+")


def text_kind(text: str) -> str:
    """What tokenizers see in `text`, from its first, middle and last words: they differ on these kinds.

    "code", "digits", "latin0" to "latin2" by the share of letters that are not ASCII (English, German, Vietnamese),
    else the script by its Unicode name: "devanagari", "cjk"."""
    middle = len(text) // 2
    part = text if len(text) <= 300 else text[:100] + text[middle - 50 : middle + 50] + text[-100:]
    visible = max(1, len(part) - part.count(" "))
    other = [] if part.isascii() else [c for c in part if c > "\x7f" and c.isalpha()]
    scripts = Counter(unicodedata.name(c, "?").split()[0].lower() for c in other if c > "\u024f")
    scripts.pop("latin", None)  # Vietnamese letters with two marks stand far above
    if sum(scripts.values()) > 0.3 * visible:
        return scripts.most_common(1)[0][0]
    if len(_DIGITS.sub("", part)) < len(part) - 0.25 * visible:
        return "digits"
    if len(_SYMBOLS.sub("", part)) < len(part) - 0.08 * visible:
        return "code"
    return "latin0" if len(other) <= 0.01 * visible else "latin1" if len(other) <= 0.1 * visible else "latin2"


def prior_kind(kind: str) -> TextKind:
    """Which of the catalogue's four kinds of text a prior for `kind` stands under."""
    if kind in {"code", "digits"}:
        return cast(TextKind, kind)
    return "prose" if kind.startswith("latin") else "nonlatin"


@dataclass(frozen=True, slots=True)
class Sample:
    """What a call really took: our count of its input beside the service's, and the tokens of its output.

    `text_kind` says three things: the kind of text, what was asked for, and what was wrong with the answer."""

    endpoint: str
    model: str
    text_kind: str
    stage: str
    counted_tokens: int
    input_tokens: int
    output_tokens: int


def sample(request: Request, attempt: Attempt, route: Route, *, cut: bool) -> Sample | None:
    """What `attempt` on `route` teaches; None where nobody counted it."""
    usage, wrong = attempt.usage, "-"
    if attempt.outcome == Cause.CONTEXT_OVERFLOW:
        wrong = "overflow"
    elif usage is None or attempt.billing != "charged" or not request.tokens:
        return None
    elif attempt.outcome != "ok":
        wrong = "again"
    elif cut:
        wrong = "cut"
    return Sample(
        endpoint=route.endpoint,
        model=route.model,
        text_kind=f"{text_kind(request.messages[-1].content)} {_asked(request)} {wrong}",
        stage=request.stage,
        counted_tokens=request.tokens,
        input_tokens=usage.input_tokens if usage else 0,
        output_tokens=usage.output_tokens if usage else 0,
    )


def _asked(request: Request) -> str:
    """A word for what the length of the answer depends on: the schema, or the words asked for."""
    if request.schema is not None:
        return f"s{crc32(request.schema.encode('utf-8', 'replace')):08x}"
    return f"w{request.max_words or 0}"


@dataclass(frozen=True, slots=True)
class Answers:
    """Tokens of an answer: the mean and its interval; `sd` is that of single answers around it."""

    mean: Ratio
    sd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What is expected of a model. `seen`: answers it rests on.

    `fit_ratio`: model tokens per token of ours that hardly any request passes, for the room of new plans; `fit_tokens`:
    our count of the smallest request that was refused as too long. `top_ratios`: the most any request came to, by kind
    of text. `again`: attempts a call that were charged and brought nothing, and `again_output` their tokens."""

    ratios: Mapping[str, Ratio]
    seen: int
    fit_ratio: float | None
    fit_tokens: int | None
    top_ratios: Mapping[str, float]
    again: Ratio
    again_output: float
    _outputs: Mapping[tuple[str, str], tuple[float, float, float]]  # mean, variance, number
    _per_word: float | None
    _cut: Mapping[str, Ratio]
    _invalid: Mapping[str, Ratio]
    _prior: Mapping[TextKind, Ratio]

    def ratio(self, kind: str) -> Ratio:
        """The model's tokens for one of ours in texts of that kind."""
        return self.ratios.get(kind) or self._prior[prior_kind(kind)]

    def output(self, request: Request, ratio: Ratio, limit: int) -> Answers:
        """Tokens of the answer to `request`, never above `limit`. `ratio`: the model's tokens for one of ours."""
        seen = self._outputs.get((request.stage, _asked(request)))
        prior = _prior(request, ratio, self._per_word)
        learned = _normal(*seen, prior, own_sd=0.3, floor=0.02) if seen else Answers(prior)
        most = float(limit)
        mean = learned.mean
        return Answers(Ratio(min(mean.low, most), min(mean.expected, most), min(mean.high, most)), learned.sd)

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


class _Told(NamedTuple):
    """A sample with the three words of its `text_kind`."""

    sample: Sample
    kind: str
    asked: str
    wrong: str


def learn(samples: Iterable[Sample], prior: Mapping[TextKind, Ratio]) -> Calibration:
    """The calibration of a model from its samples and the catalogue's prior."""
    told = [_Told(each, *words) for each in samples if len(words := each.text_kind.split(" ")) == 3]
    counted = [each for each in told if each.sample.input_tokens > 0 < each.sample.counted_tokens]
    outputs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for each in told:
        if each.wrong == "-":
            outputs[each.sample.stage, each.asked].append(each.sample.output_tokens)
    wrong = Counter((each.asked, each.wrong) for each in told)
    stages = Counter((each.asked, each.sample.stage) for each in told if each.wrong == "-")
    every = {each.asked for each in told}
    answered = {asked: wrong[asked, "-"] + wrong[asked, "cut"] for asked in every}
    large = _usual([s.input_tokens / s.counted_tokens for s, *_ in counted if s.counted_tokens >= 200])
    again = [each.sample.output_tokens for each in told if each.wrong == "again"]
    kinds = {each.kind for each in counted}
    return Calibration(
        ratios={
            kind: _ratio([each.sample for each in counted if each.kind == kind], prior[prior_kind(kind)])
            for kind in kinds
        },
        seen=len(counted),
        fit_ratio=1.05 * max(large) if len(large) >= ENOUGH else None,
        fit_tokens=min((each.sample.counted_tokens for each in told if each.wrong == "overflow"), default=None),
        top_ratios={
            kind: max(s.input_tokens / s.counted_tokens for s, word, *_ in counted if word == kind) for kind in kinds
        },
        again=_share(len(again), sum(answered.values()), AGAIN),
        again_output=_mean(again),
        _outputs={which: _moments(lengths) for which, lengths in outputs.items()},
        _per_word=_fill(outputs),
        _cut={asked: _share(wrong[asked, "cut"], answered[asked], CUT) for asked in every},
        # A repair may be invalid too: each asks for one more.
        _invalid={
            asked: _share(repairs := stages[asked, "repair"], stages[asked, "map"] + repairs, INVALID)
            for asked in every
        },
        _prior=prior,
    )


def _fill(outputs: Mapping[tuple[str, str], Sequence[int]]) -> float | None:
    """Tokens that were written for a word asked for."""
    fills = [length / int(asked[1:]) for (_, asked), lengths in outputs.items() if asked[0] == "w" and asked != "w0"
             for length in lengths]  # fmt: skip
    return fmean(fills) if fills else None


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


def _prior(request: Request, ratio: Ratio, per_word: float | None) -> Ratio:
    if request.schema is not None or not request.max_words:
        return EXTRACTION * len(request.serves)
    if per_word is not None:  # other lengths were asked for: their fill tells more of this one than a guess
        return OTHER_LENGTH * per_word * request.max_words
    return TOKENS_PER_WORD * FILL * ratio * request.max_words


def _share(found: int, calls: int, prior: float) -> Ratio:
    if not calls:
        return Ratio(0.0, prior, 4 * prior)
    weight = calls + SHARE_WEIGHT
    share = (found + prior * SHARE_WEIGHT) / weight
    reach = 2 * math.sqrt(share / weight)
    return Ratio(max(0.0, share - reach), share, share + reach)
