"""What the simulated service does: limits, speed, prices, and the faults it is to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from docreduce.values.errors import JobError
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

__all__ = ["BILLED_FAULTS", "FREE_FAULTS", "UNSEEN_FAULTS", "Hint", "Settings", "parse_settings"]

Hint: TypeAlias = Literal["none", "seconds", "fractional", "date", "ms", "body"]
Service: TypeAlias = Literal["openai", "anthropic", "modelslab"]
Structured: TypeAlias = Literal["tools", "json_schema", "json_object"]

FREE_FAULTS = frozenset(
    (
        *("429_none", "429_seconds", "429_fractional", "429_date", "429_ms", "429_body", "429_quota"),
        *("408", "500", "502", "503", "504", "529", "overflow", "reset", "hang"),
        *("200_message", "200_messege", "200_openai", "200_openrouter", "200_anthropic"),  # an error inside HTTP 200
        *("processing", "redirect", "content_type"),
    )
)
"""No token is generated, nothing is billed."""
UNSEEN_FAULTS = frozenset(["hang_billed", "reset_billed", "truncated", "huge", "no_usage"])
"""The answer is generated and billed, and the client never learns the usage."""
BILLED_FAULTS = UNSEEN_FAULTS | frozenset(["slow", "empty", "cut", "repeat", "invalid_json", "filter"])
"""Billed: the answer is made, and what arrives is spoilt or late."""
BATCH_FAULTS = frozenset(["failed", "expired", "unseen", "lost", "refused"])
"""Of a whole batch: refused on validation, out of time, made though nobody hears of it, never arrived, refused with
429."""

Rate = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every knob of the simulator; None is no limit. Rates are shares of the accepted calls.

    `burst_s`: seconds of a rate limit that its bucket holds, `start`: the share of it filled at first.
    `concurrency`: calls worked on at a time, the others wait; `queue_limit`: calls in the account at a time, waiting
    ones included, one more is refused. `ratio`: tokens billed for one of the tokenizer's; the tokenizer "bytes" counts
    four UTF-8 bytes as one. `latency_s`, `output_words`: lognormal medians with
    `latency_sigma`, `output_sigma`. `answer`: echo, extractive, or gold with `gold`, its labels. `hint`: how a 429
    of a limit tells its wait. `refuse`: forms of structured output answered 400. `keys`: those accepted, empty for all.
    `fault_at`: the n-th accepted call (from 1) shows that fault. `outage_s`: from, until, in seconds from the start.
    `flex_refused`: the share of calls of the flex tier, which costs the half, that find no capacity.
    `prompt_cache`: keep prefixes of 1,024 tokens and more, as Anthropic and OpenAI's newest models do: written at 1.25
    of the input price, read at 0.1 once an answer to the write has begun. `batch_s`: how long a provider batch takes,
    which stands for its 24 hours; `batch_faults`: shares of whole batches
    that show a fault."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    port: int = 0
    seed: int = 0
    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    burst_s: Annotated[float, Field(gt=0)] = 1.0
    start: Rate = 1.0
    concurrency: Positive | None = None
    queue_limit: Positive | None = None
    latency_s: Amount = 0.0
    latency_sigma: Amount = 0.5

    context_window: Positive | None = None
    max_output_tokens: Positive | None = None
    tokenizer: Literal["bytes", "o200k_base", "cl100k_base"] = "o200k_base"
    ratio: Annotated[float, Field(gt=0)] = 1.0
    frame_tokens: Annotated[int, Field(ge=0)] = 10
    cached_share: Rate = 0.0
    reasoning_share: Rate = 0.0
    answer: Literal["echo", "extractive", "gold"] = "echo"
    gold: str | None = None
    output_words: Positive | None = None
    output_sigma: Amount = 0.0

    models: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    key_expires_after: Annotated[int, Field(ge=0)] | None = None
    credit_calls: Annotated[int, Field(ge=0)] | None = None
    input_usd_per_million: Amount = 0.07
    output_usd_per_million: Amount = 0.28
    refuse: tuple[Structured, ...] = ()
    rate_headers: tuple[Service, ...] = ("openai", "anthropic")
    hint: Hint | None = None

    faults: Mapping[str, Rate] = field(default_factory=dict)
    fault_at: Mapping[int, str] = field(default_factory=dict)
    retry_after_s: Amount = 1.0
    hang_s: Amount = 600.0
    slow_s: Amount = 2.0
    huge_bytes: Positive = 64_000_000
    outage_s: tuple[Amount, Amount] | None = None
    flex_refused: Rate = 0.0
    prompt_cache: bool = False
    batch_s: Amount = 1.0
    batch_faults: Mapping[str, Rate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = FREE_FAULTS | BILLED_FAULTS
        unknown = {*self.faults, *self.fault_at.values()} - known
        if unknown:
            raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        unknown = {*self.batch_faults} - BATCH_FAULTS
        if unknown:
            raise ValueError(f"no such batch fault: {', '.join(sorted(unknown))}; there are {sorted(BATCH_FAULTS)}")
        if sum(self.faults.values()) > 1 or sum(self.batch_faults.values()) > 1:
            raise ValueError("the rates of all faults add up to more than 1")
        if self.answer == "gold" and not self.gold:
            raise ValueError('answer = "gold" needs gold, a file of labels')


def parse_settings(values: Mapping[str, Any], source: str) -> Settings:
    """The settings in `values`; `source` names them in the JobError that a wrong one raises."""
    try:
        return TypeAdapter(Settings).validate_python(values)
    except ValidationError as error:
        problems = (f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise JobError("\n".join(f"{source}: {problem}" for problem in problems)) from error
