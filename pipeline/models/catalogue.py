"""What is known of models: windows, limits, forms of structured output, tokens a word, prices.

It comes from the user's own catalogue file, ours (`catalogue.toml`), or the package genai-prices. What nobody states is
None: a window is then to be given by the job, a price too, and no model is free for lack of one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from docreduce.models.prices import Pricing, stated
from docreduce.models.published import published
from docreduce.settings import PricingSettings, ProviderName, TokenizerName
from docreduce.values.errors import JobError
from docreduce.values.unicode import written
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

__all__ = [
    "EXACT",
    "UNKNOWN",
    "Capabilities",
    "ModelInfo",
    "Ratio",
    "TextKind",
    "catalogue",
    "model_info",
    "window_for",
]

TextKind: TypeAlias = Literal["prose", "code", "digits", "nonlatin"]
"""Kinds of text whose tokens differ between models; nonlatin: Chinese, Cyrillic, Arabic and every other script."""

QUEUED_REQUESTS = 5
"""Calls ModelsLab takes at a time from one pay-as-you-go account, over all its endpoints."""
OFFLINE_WINDOW = 131_072


@dataclass(frozen=True, slots=True)
class Ratio:
    """What is expected and the interval it hardly leaves: the model's tokens for one of ours, or a share of calls."""

    low: float
    expected: float
    high: float

    def __mul__(self, by: Ratio | float) -> Ratio:
        by = by if isinstance(by, Ratio) else Ratio(by, by, by)
        return Ratio(self.low * by.low, self.expected * by.expected, self.high * by.high)


EXACT: Mapping[TextKind, Ratio] = dict.fromkeys(get_args(TextKind), Ratio(1.0, 1.0, 1.0))
UNKNOWN: Mapping[TextKind, Ratio] = {
    "prose": Ratio(0.9, 1.15, 1.6),
    "code": Ratio(0.9, 1.2, 1.7),
    "digits": Ratio(0.9, 1.4, 2.0),
    "nonlatin": Ratio(0.7, 1.15, 1.8),
}
"""Before any answer taught better: the spread that ERNIE 4.5's request logs and Chinese or digit-heavy text span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Forms of structured output a model takes; None where nobody says."""

    tools: bool | None = None
    json_schema: bool | None = None
    json_object: bool | None = None


def _as_in_a_job(value: Any, info: ValidationInfo) -> Any:
    """A price in a catalogue file is written as in a job file."""
    if not isinstance(value, dict):
        return value
    return stated(PricingSettings.model_validate(value), str(info.context))


Positive: TypeAlias = Annotated[int, Field(ge=1)]
Priced: TypeAlias = Annotated[Pricing, BeforeValidator(_as_in_a_job)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What is known of a model. None: not known. `concurrency`: calls the account may have in flight.

    `context_window` is as advertised, `safe_window` what may be relied on, both in the model's own tokens, input and
    output together. `other_pricing`: further prices the service states for it. `chat`: fit for jobs at all."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1)]
    provider: ProviderName = "modelslab"
    maker: str = ""
    context_window: Positive | None = None
    safe_window: Positive | None = None
    max_output_tokens: Positive | None = None
    tokenizer: TokenizerName = "o200k_base"
    ratio_prior: Mapping[TextKind, Ratio] = field(default_factory=lambda: UNKNOWN)
    capabilities: Capabilities = Capabilities()
    concurrency: Positive | None = None
    pricing: Priced | None = None
    other_pricing: tuple[Priced, ...] = ()
    chat: bool = True
    notes: str = ""


_OFFLINE = ModelInfo(
    id="",
    provider="offline",
    context_window=OFFLINE_WINDOW,
    safe_window=OFFLINE_WINDOW,
    ratio_prior=EXACT,
    pricing=stated(PricingSettings(input_usd_per_million=0, output_usd_per_million=0), "offline"),
    notes="extracts sentences on this machine; costs nothing",
)

# --- the catalogue -----------------------------------------------------------------------------------------------


class _Catalogue(BaseModel):
    """A catalogue file."""

    model_config = ConfigDict(extra="forbid")

    model: list[ModelInfo]


def catalogue(extra: Path | None = None) -> dict[str, ModelInfo]:
    """The models of the default service by id, and those of the user's own file `extra`, which win over ours.

    Raises JobError that names the file and the key if `extra` is no catalogue."""
    models = dict(_packaged())
    if extra is not None:
        try:
            text = written(extra.read_bytes())
        except (OSError, UnicodeDecodeError) as error:
            raise JobError(f"{extra}: the catalogue cannot be read: {error}") from error
        models.update(_parse(text, str(extra)))
    return models


@cache
def _packaged() -> Mapping[str, ModelInfo]:
    text = (resources.files("docreduce.models") / "catalogue.toml").read_text(encoding="utf-8")
    return _parse(text, "catalogue")


def _parse(text: str, source: str) -> dict[str, ModelInfo]:
    try:
        models = _Catalogue.model_validate(tomllib.loads(text), context=source).model
    except tomllib.TOMLDecodeError as error:
        raise JobError(f"{source}: not valid TOML: {error}") from error
    except ValidationError as error:
        problems = (f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        raise JobError("\n".join(f"{source}: {problem}" for problem in problems)) from error
    return {
        info.id: replace(
            info,
            safe_window=info.safe_window or info.context_window,
            ratio_prior={**UNKNOWN, **info.ratio_prior},
            concurrency=info.concurrency or (QUEUED_REQUESTS if info.provider == "modelslab" else None),
        )
        for info in models
    }


def model_info(
    provider: ProviderName, name: str, extra: Path | None = None, *, base_url: str | None = None
) -> ModelInfo:
    """What is known of `name` at `provider`: from the user's catalogue, ours, or the package genai-prices.

    A model nobody knows comes back with neither window nor price. Raises JobError for a model without a chat form."""
    if provider == "offline":
        return replace(_OFFLINE, id=name)
    info = catalogue(extra).get(name)
    if info is not None and info.provider == provider:
        if not info.chat:
            raise JobError(f"model.name: {name}: {info.notes or 'it has no chat form'}", hint="`docreduce models`")
        return info
    if provider in ("openai", "anthropic"):
        return _from_genai_prices(provider, name, base_url)
    concurrency = QUEUED_REQUESTS if provider == "modelslab" else None
    return ModelInfo(id=name, provider=provider, concurrency=concurrency, notes="not in the catalogue")


def _from_genai_prices(provider: ProviderName, name: str, base_url: str | None) -> ModelInfo:
    import genai_prices

    info = ModelInfo(id=name, provider=provider, notes="not known to genai-prices")
    if provider == "openai" and not base_url:
        tokenizer = _openai_tokenizer(name)
        info = replace(info, tokenizer=tokenizer or "o200k_base", ratio_prior=EXACT if tokenizer else UNKNOWN)
    # Another host has its own prices: known where the package knows the host, otherwise not.
    nothing = genai_prices.Usage(input_tokens=0)
    try:
        if base_url:
            found = genai_prices.calc_price(nothing, name, provider_api_url=base_url)
        else:
            found = genai_prices.calc_price(nothing, name, provider_id=provider)
    except LookupError:
        return info
    window = found.model.context_window
    return replace(
        info,
        maker=found.provider.name,
        context_window=window,
        safe_window=window,
        pricing=published(found),
        notes="",
    )


def _openai_tokenizer(name: str) -> TokenizerName | None:
    """The tokenizer of an OpenAI model as tiktoken names it; None where it does not know the model."""
    import tiktoken

    try:
        encoding = tiktoken.encoding_name_for_model(name)
    except KeyError:
        return None
    return next((known for known in get_args(TokenizerName) if known == encoding), None)


def window_for(stated_window: int | None, info: ModelInfo) -> int:
    """The context window to plan with, in the model's tokens: the job's, else the safe one.

    Raises JobError if neither the job nor the catalogue states one."""
    window = stated_window or info.safe_window
    if window is None:
        raise JobError(
            f"model.context_window: nobody states the window of {info.id}",
            hint="Set model.context_window to what the model's page says, in tokens.",
        )
    return window
