"""A job made ready: model, tokenizer, prices and the room of a request, settled before anything is read or sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
from docreduce.config import Job
from docreduce.desk.ledger import Ledger
from docreduce.kinds.plan import ModelPlan, StructuredOutput
from docreduce.models.calibration import Calibration, learn, text_kind
from docreduce.models.pricing import ModelInfo, Pricing, Ratio, TextKind, model_info, pricing_for, window_for
from docreduce.results import arrow_fields
from docreduce.text.tokens import tokenizer
from docreduce.values import Document, Request, Steps
from docreduce.values.errors import JobError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Session", "open_session"]

Kind: TypeAlias = Callable[[Sequence[Document]], Steps]

BOUND_RATIO: Mapping[TextKind, float] = {"prose": 2.0, "code": 2.0, "digits": 3.0, "nonlatin": 3.0}
"""Model tokens per token of ours that no text passes where the tokenizer is not the model's: a reservation must hold.
The worst measured is about 1.6 (digit-heavy text, ERNIE 4.5). o200k_base joins up to three digits that others take one
by one, and knows scripts that small vocabularies write in bytes. What is learned may raise a bound, never lower it."""
EXACT_BOUND_RATIO = 1.25
"""The same where the tokenizer is the model's: what a service adds of its own around messages and tools."""
CUT_OFTEN = 0.05
"""With more than this share of an extraction's answers cut, new plans take chunks of half the size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a run and an estimate share.

    `steps` makes the generator of one unit of documents; `units` groups documents into units, in order."""

    job: Job
    info: ModelInfo
    pricing: Pricing
    plan: ModelPlan
    calibration: Calibration
    steps: Kind
    units: Callable[[Iterable[Document]], Iterator[tuple[Document, ...]]]
    fields: Sequence[pa.Field[Any]] | None = None  # Arrow types of the records; None: there are none

    def ratio(self, request: Request) -> Ratio:
        """Model tokens per token of our count for `request`; `high` is what no call passes."""
        kind = text_kind(request.messages[-1].content)
        learned = self.calibration.ratios[kind]
        return Ratio(learned.low, learned.expected, self.bound_ratio(kind))

    def bound_ratio(self, kind: TextKind) -> float:
        """Model tokens per token of our count that no request with such a text passes."""
        prior = self.info.ratio_prior[kind].high
        if self.offline:
            return prior
        bound = EXACT_BOUND_RATIO if self.exact else max(BOUND_RATIO[kind], prior)
        return max(bound, 1.25 * self.calibration.top_ratio)

    def answer_tokens(self, request: Request) -> int:
        """Tokens to set aside of the account's rate for the answer: its limit, until such answers were seen."""
        if not self.calibration.knows(request):
            return request.max_output_tokens
        return math.ceil(self.calibration.output(request, self.ratio(request)).mean.high)

    @property
    def offline(self) -> bool:
        """Whether the embedded provider answers: exactly counted, never cut or invalid."""
        return self.plan.provider == "offline"

    @property
    def exact(self) -> bool:
        """Whether the tokenizer is the model's own."""
        prior = self.info.ratio_prior["prose"]
        return prior.low == prior.high == 1.0


def open_session(job: Job, ledger: Ledger | None = None) -> Session:
    """The job's session. `ledger` brings what earlier answers taught, and keeps the plan the same over its runs.

    Raises JobError for whatever of the model, its window, its price or the schema cannot be worked with."""
    extra = Path(job.model.catalogue) if job.model.catalogue else None
    info = model_info(job.model.provider, job.model.name, extra, base_url=job.model.base_url)
    pricing = pricing_for(job, info)
    model = _model(job)
    calibration = learn(ledger.samples(f"{job.model.provider}/{model}") if ledger else (), info.ratio_prior)
    plan = _plan(job, info, model, _input_tokens(job, info, calibration, ledger))
    from docreduce.kinds.summarize.steps import summarize

    session = Session(
        job=job,
        info=info,
        pricing=pricing,
        plan=plan,
        calibration=calibration,
        steps=lambda documents: summarize(documents, plan, job.summarize),
        units=lambda documents: ((document,) for document in documents),
    )
    if job.extract is None or job.kind != "extract":
        return session
    from docreduce.kinds.extract.rows import extract, units
    from docreduce.kinds.extract.schema import compile_extraction

    extraction = compile_extraction(job.extract)
    return replace(
        session,
        steps=lambda documents: extract(documents, plan, extraction),
        units=lambda documents: units(documents, plan, extraction),
        fields=arrow_fields(orjson.loads(extraction.item_schema)),
    )


def _model(job: Job) -> str:
    return "extractive-1" if job.model.provider == "offline" else job.model.name


def _answer_limit(job: Job, info: ModelInfo) -> int:
    return min(job.model.max_output_tokens, info.max_output_tokens or job.model.max_output_tokens)


def _input_tokens(job: Job, info: ModelInfo, calibration: Calibration, ledger: Ledger | None) -> int:
    """The room of a request in our tokens.

    Chunks must be cut the same in every run of a job, or their answers would be paid again: it is kept with the first
    one, and what is learned later changes new plans only."""
    window, most = window_for(job, info), _answer_limit(job, info)
    if most >= window:
        raise JobError(
            f"model.max_output_tokens: {most} tokens of answer leave nothing of a window of {window}",
            hint="Lower model.max_output_tokens.",
        )
    room = int((window - most) / (calibration.fit_ratio or info.ratio_prior["prose"].high))
    if calibration.fit_tokens:
        room = min(room, calibration.fit_tokens * 9 // 10)
    if job.kind == "extract" and calibration.often_cut(CUT_OFTEN):
        room //= 2
    name = f"input_tokens/{job.name}/{info.provider}/{info.id}/{window}/{most}"
    return ledger.pinned(name, room) if ledger else room


def _plan(job: Job, info: ModelInfo, model: str, room: int) -> ModelPlan:
    return ModelPlan(
        provider=job.model.provider,
        model=model,
        tokenizer=tokenizer(job.chunking.tokenizer or info.tokenizer, job.chunking.engine),
        input_tokens=room,
        max_output_tokens=_answer_limit(job, info),
        temperature=job.model.temperature,
        top_p=job.model.top_p,
        system=job.model.system,
        max_chunk_tokens=job.chunking.max_tokens,
        overlap_tokens=job.chunking.overlap_tokens,
        structured_output=_structured_output(job, info),
    )


def _structured_output(job: Job, info: ModelInfo) -> tuple[StructuredOutput, ...]:
    """The forms of structured output to try, the best first."""
    wanted = job.model.structured_output
    if wanted != "auto":
        return (wanted,)
    able = info.capabilities
    known: list[tuple[StructuredOutput, bool | None]] = [
        ("tools", able.tools),
        ("json_schema", able.json_schema),
        ("json_object", able.json_object),
    ]
    # The two dialects' own services nearly all take a forced tool; where nobody says, it is worth one refusal.
    assumed = job.model.provider in ("openai", "anthropic")
    return (*(form for form, has in known if has or (has is None and assumed and form == "tools")), "prompt")
