"""Who is asked: a model at an address, how it samples, what it takes and costs, and what the account there allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import orjson
from docreduce.models.prices import Pricing, WrittenFor
from docreduce.settings import LimitSettings, StructuredOutput
from docreduce.values import CACHED_FROM_TOKENS, Request

__all__ = ["Route", "Sampling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a model draws its words; None: as the service does where nothing is said."""

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None

    def stated(self) -> dict[str, float]:
        """What was said, by the names of OpenAI's API."""
        names = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way to an answer.

    `endpoint` is the address of the API, as bills and ledger name it ("offline" for the embedded answers); `dialect`
    names the file in `providers/`; `window` and `max_output_tokens` are in the model's tokens. `forms` are those of
    structured output to try, the best first; `key_in` says where the key is sent.

    `service_tier` is what is asked for (None: nothing is said), "flex" for `flex_patience_s` seconds of refusals at
    most. `batch`: calls go out through the provider's batch service. `written_for` is the longest that the service may
    keep input in a cache for this route, and bill it. `cache_prefix`: a long static prefix is marked to be kept;
    `writes_billed`: the service keeps the last message unasked, and bills it: it is told not to."""

    endpoint: str
    dialect: str
    model: str
    window: int
    max_output_tokens: int
    pricing: Pricing
    sampling: Sampling = Sampling()
    limits: LimitSettings = LimitSettings()  # noqa: RUF009 - frozen
    forms: tuple[StructuredOutput, ...] = ("prompt",)
    key_in: Literal["header", "body"] = "header"
    stream: bool = False
    service_tier: str | None = None
    flex_patience_s: float = 900.0
    batch: bool = False
    written_for: WrittenFor = "1h"
    cache_prefix: bool = False
    writes_billed: bool = False

    def caches(self, request: Request) -> bool:
        """Whether a breakpoint stands after the static prefix of `request`."""
        return self.cache_prefix and request.prefix_tokens >= CACHED_FROM_TOKENS

    @property
    def carrier(self) -> str:
        """Who carries its calls."""
        return f"{self.endpoint} {self.model}{' by batch' if self.batch else ''}"

    @property
    def flex(self) -> bool:
        """Whether answers come when the service has capacity to spare."""
        return self.service_tier == "flex"

    @property
    def setting(self) -> str:
        """Model, sampling and answer limit in canonical JSON: beside endpoint and request an answer's identity."""
        return orjson.dumps([self.model, self.max_output_tokens, self.sampling.stated()]).decode()
