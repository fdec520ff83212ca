"""Who is asked: a model at an address, how it samples, what it takes and costs, and what the account there allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import orjson
from docreduce.models.prices import Pricing
from docreduce.settings import LimitSettings, StructuredOutput

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
    structured output to try, the best first; `key_in` says where the key is sent."""

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

    @property
    def setting(self) -> str:
        """Model, sampling and answer limit in canonical JSON: beside endpoint and request an answer's identity."""
        return orjson.dumps([self.model, self.max_output_tokens, self.sampling.stated()]).decode()
