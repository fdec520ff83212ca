"""A job made ready to run, as the run and the estimate both see it: routes, plan, work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from docreduce.config import Job
from docreduce.desk import Ledger
from docreduce.kinds.kind import Pack, Plan, Work
from docreduce.kinds.registry import kind_named
from docreduce.models.calibration import Calibration, Sample, learn
from docreduce.models.catalogue import ModelInfo, catalogue, model_info, window_for
from docreduce.models.meter import Meter
from docreduce.models.prices import Pricing, pricing_for
from docreduce.models.routes import Route, Sampling
from docreduce.providers import asked_tier, enforces_schemas, open_provider
from docreduce.providers import endpoint as endpoint_of
from docreduce.settings import EndpointSettings, LimitSettings, PricingSettings, StructuredOutput
from docreduce.text.tokens import tokenizer
from docreduce.values import Document
from docreduce.values.errors import JobError
from docreduce.values.likeness import did_you_mean

__all__ = ["OFFLINE", "PACK_SPAN", "Session", "listed_models", "open_session", "units"]

OFFLINE = "offline"
"""The endpoint of the embedded answers."""
OFFLINE_MODEL = "extractive-1"
"""Marks every output as sentences and values taken from the text, not written."""
PACK_SPAN = 1_000
"""Rows between the first and the last of a packed request, at most: what is finished meanwhile waits for the first."""
CUT_OFTEN = 0.05
"""With more than this share of structured answers cut, new plans take chunks of half the size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a run and an estimate share. `meters` measure requests for the routes, in their order; the first route is
    the one that is planned for."""

    job: Job
    settings: Sequence[EndpointSettings]  # of the routes
    infos: Sequence[ModelInfo]
    meters: Sequence[Meter]
    plan: Plan
    work: Work
    counted: int = 0
    """Requests that the service counted itself."""

    @property
    def routes(self) -> list[Route]:
        """Who may be asked, in order."""
        return [meter.route for meter in self.meters]

    @property
    def calibration(self) -> Calibration:
        """What the answers of the first route taught."""
        return self.meters[0].calibration

    @property
    def offline(self) -> bool:
        """Whether the embedded answers are asked for: exactly counted, never cut or invalid."""
        return self.routes[0].endpoint == OFFLINE

    @property
    def exact(self) -> bool:
        """Whether the tokenizer is the model's own."""
        return self.meters[0].exact


def open_session(job: Job, ledger: Ledger | None = None, counted: Sequence[Sample] = ()) -> Session:
    """The job's session. `ledger` brings what earlier answers taught, and keeps the plan the same over its runs;
    `counted` are counts of the first route's service.

    Raises JobError for whatever of models, windows, prices or the kind's table cannot be worked with."""
    asked: list[tuple[EndpointSettings, PricingSettings | None, LimitSettings]]
    asked = [(job.model, job.pricing, job.limits)]
    asked += [(each, each.pricing, each.limits) for each in job.model.fallback]
    infos = [_info(settings) for settings, _, _ in asked]
    capped = job.budget.max_cost_usd is not None
    routes = list(_routes(asked, infos, capped=capped))
    meters = [_meter(route, info, ledger, counted) for route, info in zip(routes, infos, strict=True)]
    plan = _plan(job, infos[0], routes, _input_tokens(job, infos[0], meters[0], ledger))
    work = kind_named(job.kind).prepare(job.settings, plan)
    if routes[0].endpoint == OFFLINE and work.offline is None:
        raise JobError(
            f"kind {job.kind!r} needs a model, and model.provider is 'offline'",
            hint="Set model.provider, or start `docreduce simulate` and give its address as model.base_url.",
        )
    _check_reduce(job, work)
    return Session(
        job=job,
        settings=[each[0] for each in asked],
        infos=infos,
        meters=meters,
        plan=plan,
        work=work,
        counted=len(counted),
    )


async def listed_models(settings: EndpointSettings) -> list[str]:
    """The ids of the models that the service offers now, sorted. Raises JobError, RefusedError."""
    if settings.provider == "offline":
        return []
    free = Pricing(mode="per_token", source="listing", lists=())
    route = Route(
        endpoint=endpoint_of(settings),
        dialect=settings.provider,
        model=settings.name,
        window=settings.max_output_tokens + 1,
        max_output_tokens=settings.max_output_tokens,
        pricing=free,
    )
    provider = open_provider(route, settings)
    try:
        return await provider.list_models()
    finally:
        await provider.aclose()


def units(documents: Iterable[Document], plan: Plan, pack: Pack | None) -> Iterator[tuple[Document, ...]]:
    """The documents in their order, consecutive short rows of a table together as `pack` says.

    A row that would have to be cut stands alone, as does every file."""
    unit: list[Document] = []
    held = 0
    for document in documents:
        tokens = None if pack is None else packed_tokens(document, plan, pack)
        full = tokens is None or pack is None or len(unit) == pack.max_rows or held + tokens > pack.room_tokens
        if unit and (full or document.place - unit[0].place >= PACK_SPAN):
            yield tuple(unit)
            unit, held = [], 0
        if tokens is None:
            yield (document,)
        else:
            unit.append(document)
            held += tokens
    if unit:
        yield tuple(unit)


def packed_tokens(document: Document, plan: Plan, pack: Pack) -> int | None:
    """What the row takes of a packed request; None for what cannot share one."""
    if document.row is None or len(document.text) > pack.room_tokens * 16:  # no need to count
        return None
    tokens = plan.tokenizer.count(document.text) + pack.frame_tokens
    return tokens if tokens <= pack.room_tokens else None


def _check_reduce(job: Job, work: Work) -> None:
    """Raises JobError where the kind makes nothing of many documents, or the column is none that is kept."""
    if job.reduce is None:
        return
    if work.reduce is None or work.groups is None:
        hint = "Leave [reduce] out."
        raise JobError(f"reduce: kind {job.kind!r} makes no result of many documents", hint=hint)
    by, kept = job.reduce.by, job.input.keep_columns
    if by == "all":
        return
    if job.input.text_column is None:
        hint = 'Set input.text_column, or reduce.by = "all".'
        raise JobError(f"reduce.by: {by!r} is a column, and without input.text_column there are none", hint=hint)
    if by not in kept if kept is not None else by == job.input.text_column:
        raise JobError(f"reduce.by: {by!r} is no kept column", hint="Name it in input.keep_columns.")


def _info(settings: EndpointSettings) -> ModelInfo:
    extra = Path(settings.catalogue) if settings.catalogue else None
    return model_info(settings.provider, settings.name, extra, base_url=settings.base_url)


def _routes(
    asked: Sequence[tuple[EndpointSettings, PricingSettings | None, LimitSettings]],
    infos: Sequence[ModelInfo],
    *,
    capped: bool,
) -> Iterator[Route]:
    """The routes; what is wrong with any of them is told of all at once, with the model that may have been meant."""
    problems: list[JobError] = []
    hints: dict[str, None] = {}
    for each, info in zip(asked, infos, strict=True):
        try:
            yield _route(*each, info, capped=capped)
        except JobError as error:
            problems.append(error)
            extra = Path(each[0].catalogue) if each[0].catalogue else None
            names = (name for name, known in catalogue(extra).items() if known.provider == info.provider)
            hints |= dict.fromkeys(filter(None, (did_you_mean(info.id, names), error.hint)))
    if problems:
        raise JobError("\n".join(each.message for each in problems), hint=" ".join(hints)) from problems[0]


def _route(
    settings: EndpointSettings,
    pricing: PricingSettings | None,
    limits: LimitSettings,
    info: ModelInfo,
    *,
    capped: bool,
) -> Route:
    offline = settings.provider == "offline"
    window, most = window_for(settings.context_window, info), _answer_limit(settings, info)
    if most >= window:
        raise JobError(
            f"model.max_output_tokens: {most} tokens of answer leave nothing of a window of {window}",
            hint="Lower model.max_output_tokens.",
        )
    prices = pricing_for(pricing, info)
    writes_billed = settings.provider == "openai" and prices.lists[0].rates[0].cache_write_5m is not None
    return Route(
        endpoint=OFFLINE if offline else endpoint_of(settings),
        dialect=settings.provider,
        model=OFFLINE_MODEL if offline else settings.name,
        window=window,
        max_output_tokens=most,
        pricing=prices,
        sampling=Sampling(
            temperature=settings.temperature,
            top_p=settings.top_p,
            frequency_penalty=settings.frequency_penalty,
            presence_penalty=settings.presence_penalty,
        ),
        limits=limits,
        forms=_forms(settings, info),
        key_in=settings.api_key_in,
        stream=settings.stream,
        service_tier=asked_tier(settings, capped=capped),
        flex_patience_s=settings.flex_patience_s,
        written_for="5m" if settings.provider == "anthropic" else "1h",
        cache_prefix=settings.provider == "anthropic" or writes_billed,
        writes_billed=writes_billed,
    )


def _meter(route: Route, info: ModelInfo, ledger: Ledger | None, counted: Sequence[Sample]) -> Meter:
    samples = ledger.samples(route.endpoint, route.model) if ledger else []
    samples += [each for each in counted if (each.endpoint, each.model) == (route.endpoint, route.model)]
    prior = info.ratio_prior["prose"]
    exact = prior.low == prior.high == 1.0
    return Meter(route, learn(samples, info.ratio_prior), exact=exact, embedded=route.endpoint == OFFLINE)


def _answer_limit(settings: EndpointSettings, info: ModelInfo) -> int:
    return min(settings.max_output_tokens, info.max_output_tokens or settings.max_output_tokens)


def _input_tokens(job: Job, info: ModelInfo, meter: Meter, ledger: Ledger | None) -> int:
    """The room of a request in our tokens.

    Chunks must be cut the same in every run, or their answers would be paid again: it is kept with the first one, and
    what is learned later changes new plans only."""
    route, calibration = meter.route, meter.calibration
    room = int((route.window - route.max_output_tokens) / (calibration.fit_ratio or info.ratio_prior["prose"].high))
    if calibration.fit_tokens:
        room = min(room, calibration.fit_tokens * 9 // 10)
    if calibration.often_cut(CUT_OFTEN):
        room //= 2
    name = f"input_tokens/{route.endpoint}/{route.model}/{route.window}/{route.max_output_tokens}"
    return ledger.pinned(name, room) if ledger else room


def _plan(job: Job, info: ModelInfo, routes: Sequence[Route], room: int) -> Plan:
    return Plan(
        tokenizer=tokenizer(job.chunking.tokenizer or info.tokenizer, job.chunking.engine),
        input_tokens=room,
        max_output_tokens=routes[0].max_output_tokens,
        system=job.model.system,
        max_chunk_tokens=job.chunking.max_tokens,
        overlap_tokens=job.chunking.overlap_tokens,
        context_tokens=job.chunking.context_tokens,
        models=tuple(route.model for route in routes),
    )


def _forms(settings: EndpointSettings, info: ModelInfo) -> tuple[StructuredOutput, ...]:
    """The forms of structured output to try, the best first: json_schema where the service is known to enforce it,
    else tools, json_schema, prompt. A form that the job names has the prompt behind it."""
    wanted, able = settings.structured_output, info.capabilities
    if wanted != "auto":
        return (wanted,)  # the wire has the prompt behind every form
    strict = able.json_schema or enforces_schemas(settings)
    order: list[StructuredOutput] = ["json_schema", "tools"] if strict else ["tools", "json_schema"]
    known = {"json_schema": able.json_schema, "tools": able.tools}
    forms = [form for form in order if known[form] is not False]  # where nobody says, it is worth one refusal
    return (*forms, "prompt")
