"""A job made ready: model, tokenizer, prices and the room of a request, settled before anything is read or sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from pipeline.config import Job
from pipeline.dataset import arrow_fields
from pipeline.errors import JobError
from pipeline.kinds.plan import ModelPlan, StructuredOutput
from pipeline.pricing import ModelInfo, Pricing, Ratio, model_info, pricing_for, window_for
from pipeline.tokens import tokenizer
from pipeline.types import Document, Request, Steps

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Session", "open_session"]

Kind: TypeAlias = Callable[[Sequence[Document]], Steps]

BOUND_RATIO = 2.0
"""Model tokens per token of ours that no text passes where the tokenizer is not the model's: the worst measured is
about 1.6 (digit-heavy text, ERNIE 4.5), and a reservation must hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a run and an estimate share.

    `steps` makes the generator of one unit of documents; `units` groups documents into units, in order."""

    job: Job
    info: ModelInfo
    pricing: Pricing
    plan: ModelPlan
    steps: Kind
    units: Callable[[Iterable[Document]], Iterator[tuple[Document, ...]]]
    fields: Sequence[pa.Field[Any]] | None = None  # Arrow types of the records; None: there are none

    def ratio(self, request: Request) -> Ratio:
        """Model tokens per token of our count for `request`; `high` is what no call passes."""
        prior = self.info.ratio_prior["prose"]
        if prior.low == prior.high == 1.0:
            return prior
        return Ratio(prior.low, prior.expected, max(BOUND_RATIO, prior.high))


def open_session(job: Job, pinned: Callable[[str, int], int] = lambda _name, value: value) -> Session:
    """The job's session. `pinned(name, value)` keeps a number the same over all runs on one ledger.

    Raises JobError for whatever of the model, its window, its price or the schema cannot be worked with."""
    extra = Path(job.model.catalogue) if job.model.catalogue else None
    info = model_info(job.model.provider, job.model.name, extra, base_url=job.model.base_url)
    pricing = pricing_for(job, info)
    plan = _plan(job, info, pinned)
    if job.kind == "extract":
        from pipeline.kinds.extraction import compile_extraction
        from pipeline.kinds.rows import extract, units

        if job.extract is None:
            raise JobError("extract: missing")
        extraction = compile_extraction(job.extract)
        return Session(
            job=job,
            info=info,
            pricing=pricing,
            plan=plan,
            steps=lambda documents: extract(documents, plan, extraction),
            units=lambda documents: units(documents, plan, extraction),
            fields=arrow_fields(orjson.loads(extraction.item_schema)),
        )
    from pipeline.kinds.summarize import summarize

    return Session(
        job=job,
        info=info,
        pricing=pricing,
        plan=plan,
        steps=lambda documents: summarize(documents, plan, job.summarize),
        units=lambda documents: ((document,) for document in documents),
    )


def _plan(job: Job, info: ModelInfo, pinned: Callable[[str, int], int]) -> ModelPlan:
    window = window_for(job, info)
    most = min(job.model.max_output_tokens, info.max_output_tokens or job.model.max_output_tokens)
    if most >= window:
        raise JobError(
            f"model.max_output_tokens: {most} tokens of answer leave nothing of a window of {window}",
            hint="Lower model.max_output_tokens.",
        )
    # Chunks must be cut the same in every run, or their answers would be paid again: what the calibration
    # learns later changes new plans only.
    fits = int((window - most) / info.ratio_prior["prose"].high)
    room = pinned(f"input_tokens/{info.provider}/{info.id}/{window}/{most}", fits)
    return ModelPlan(
        provider=job.model.provider,
        model="extractive-1" if job.model.provider == "offline" else job.model.name,
        tokenizer=tokenizer(job.chunking.tokenizer or info.tokenizer, job.chunking.engine),
        input_tokens=room,
        max_output_tokens=most,
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
