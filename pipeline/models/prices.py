"""What calls cost, to the pico-dollar, and what no call of a size can cost more than.

A price list is a table of rates: a row for each length of input (a tier makes every token of a longer call dearer), a
column for each kind of token. There is one list for each way of being served: standard, batch, flex, priority, hours of
the day. A call's tokens fall into six kinds that do not overlap: of the input plain, read from a cache, written to one
for five minutes or for an hour; of the output answer and reasoning. A call costs its own price and the sum over the
kinds, rounded half up once.

Rates are whole yocto-dollars (10**-24 USD): 10**-18 USD a million tokens, the finest price anybody publishes, is one.
What nobody states a price for is never free: `cost` is None for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from docreduce.settings import PricingSettings
from docreduce.values import Usage
from docreduce.values.errors import JobError

if TYPE_CHECKING:
    from docreduce.models.catalogue import ModelInfo

__all__ = [
    "STANDARD", "STANDARD_WORDS", "YOCTO", "PriceList", "Pricing", "Rates", "WrittenFor",
    "bound", "cost", "pricing_for", "stated", "unpriced",
]  # fmt: skip

YOCTO = 10**24
"""Yocto-dollars in a dollar."""
_YOCTO_IN_PICO = 10**12
_MILLION = 10**6

Mode: TypeAlias = Literal["per_token", "per_call", "flat"]
WrittenFor: TypeAlias = Literal["none", "5m", "1h"]

STANDARD = "standard"
STANDARD_WORDS = frozenset({STANDARD, "", "default", "auto", "standard_only", "on_demand"})
"""As services call the tier nobody asked for: OpenAI, Anthropic, Groq; auto as a request's word."""
_CHEAPER_WORDS = frozenset({"flex"})
"""Tiers that cost no more than standard: without a price of their own they are booked at that, as genai-prices does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Yocto-dollars a token of each kind where the input is longer than `above_input_tokens`, and for the `call`
    itself. None: nobody states it."""

    above_input_tokens: int = 0
    call: int = 0
    input: int = 0
    cached_input: int = 0
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int = 0
    reasoning: int = 0

    def total(self, usage: Usage) -> int | None:
        """Yocto-dollars of `usage`; None if one of its kinds has no price."""
        # A service that states more of a part than of the whole must not earn a price for tokens that are not there.
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        written_1h = min(usage.cache_write_1h_tokens, written)
        written_5m = written - written_1h
        reasoning = min(usage.reasoning_tokens, usage.output_tokens)
        total = (
            self.call
            + (usage.input_tokens - cached - written) * self.input
            + cached * self.cached_input
            + (usage.output_tokens - reasoning) * self.output
            + reasoning * self.reasoning
        )
        if written_5m:
            if self.cache_write_5m is None:
                return None
            total += written_5m * self.cache_write_5m
        if written_1h:
            if self.cache_write_1h is None:
                return None
            total += written_1h * self.cache_write_1h
        return total

    def dearest(self, input_tokens: int, output_tokens: int, written_for: WrittenFor) -> int:
        """Yocto-dollars of that many tokens, every one of the dearest kind it can be."""
        dearest_input = max(self.input, self.cached_input)
        if written_for != "none":
            dearest_input = max(dearest_input, self.cache_write_5m or 0)
        if written_for == "1h":
            dearest_input = max(dearest_input, self.cache_write_1h or 0)
        return self.call + input_tokens * dearest_input + output_tokens * max(self.output, self.reasoning)

    def times(self, share: Fraction) -> Rates:
        """A share of every rate."""
        return replace(self, **{name: round(rate * share) for name in _RATES if (rate := getattr(self, name))})

    def as_dict(self) -> dict[str, float | int | None]:
        """As a job states them, in USD; null: no price."""
        told: dict[str, float | int | None] = {}
        if self.above_input_tokens:
            told["above_input_tokens"] = self.above_input_tokens
        if self.call:
            told["usd_per_call"] = _usd(self.call)
        for name in _RATES[1:]:
            rate = getattr(self, name)
            told[f"{name}_usd_per_million"] = None if rate is None else _usd(rate * _MILLION)
        return told


_RATES = tuple(field.name for field in fields(Rates))[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Rates by length of input, the shortest first, for one way of being served.

    Prices may differ by hour: `from_s` is the second of the day (UTC) from which this list holds."""

    rates: tuple[Rates, ...]
    service_tier: str = STANDARD
    batch: bool = False
    from_s: int = 0

    def total(self, usage: Usage) -> int | None:
        """Yocto-dollars of `usage`; None if one of its kinds has no price."""
        reached = self.rates[0]
        for rates in self.rates[1:]:
            if usage.input_tokens > rates.above_input_tokens:
                reached = rates
        return reached.total(usage)

    def dearest(self, input_tokens: int, output_tokens: int, written_for: WrittenFor) -> int:
        """Yocto-dollars that no call of up to that many tokens passes, whichever tier its length reaches."""
        longest = [*(rates.above_input_tokens for rates in self.rates[1:]), input_tokens]
        return max(
            rates.dearest(min(most, input_tokens), output_tokens, written_for)
            for rates, most in zip(self.rates, longest, strict=True)
            if rates is self.rates[0] or rates.above_input_tokens < input_tokens
        )

    def as_dict(self, mode: Mode) -> dict[str, Any]:
        """As a job states it, in USD."""
        first, *longer = self.rates
        if mode == "per_call":
            return {"usd_per_call": _usd(first.call)}
        if mode == "flat":
            return {"usd_per_million": _usd(first.input * _MILLION)}
        return first.as_dict() | ({"tiers": [rates.as_dict() for rates in longer]} if longer else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """What calls cost. `mode` is how it was stated; flat is one rate for all tokens.

    `source` says where it comes from: job file, catalogue, genai-prices and its version, offline. The first of `lists`
    is the standard one. `minimum` is in yocto-dollars a call. `every_tier`: it holds whatever tier a service names."""

    mode: Mode
    source: str
    lists: tuple[PriceList, ...]
    minimum: int = 0
    every_tier: bool = True

    @property
    def output_pusd(self) -> float:
        """Pico-dollars a token of an answer to a short input, served as standard."""
        return self.lists[0].rates[0].output / _YOCTO_IN_PICO

    def as_dict(self) -> dict[str, Any]:
        """For the manifest, in USD: mode, source, the standard prices as a job states them, and the `other_lists`."""
        first, *others = self.lists
        told: dict[str, Any] = {"mode": self.mode, "source": self.source, **first.as_dict(self.mode)}
        if self.minimum:
            told["min_usd_per_call"] = _usd(self.minimum)
        if others:
            told["other_lists"] = [
                {
                    "service_tier": other.service_tier,
                    "batch": other.batch,
                    "from_s": other.from_s,
                    **other.as_dict(self.mode),
                }
                for other in others
            ]
        return told


# --- what a call costs -------------------------------------------------------------------------------------------


def cost(
    pricing: Pricing, usage: Usage, *, service_tier: str | None = None, batch: bool = False, at_s: float | None = None
) -> int | None:
    """Pico-dollars of one answered call; None if a kind of token or the service tier has no price.

    `service_tier` is what the answer says served it. `at_s`, seconds since the epoch, matters where prices differ by
    the hour; without it the dearest hour counts."""
    dearest = -1
    for served in _served(pricing, service_tier, batch, at_s):
        total = served.total(usage)
        if total is None:
            return None
        dearest = max(dearest, total)
    return None if dearest < 0 else _rounded(max(dearest, pricing.minimum))


def bound(
    pricing: Pricing,
    input_tokens: int,
    output_tokens: int,
    *,
    service_tier: str | None = None,
    batch: bool = False,
    written_for: WrittenFor = "1h",
) -> int:
    """Pico-dollars that no call of up to so many tokens can cost, however they divide into kinds.

    `service_tier` is what is asked for: a live call may be served as standard instead, so it is no less than that.
    `written_for` is the longest that the call may have its input kept in a cache: "none" where the service keeps
    nothing unasked and is not asked. A tier without a price is bounded by the dearest known, tokens without one by the
    dearest of the others."""
    lists = _served(pricing, service_tier, batch, None)
    if not lists:
        lists = pricing.lists
    elif not batch and service_tier is not None:
        lists = (*lists, *_served(pricing, None, False, None))
    dearest = max(served.dearest(input_tokens, output_tokens, written_for) for served in lists)
    return _rounded(max(dearest, pricing.minimum))


def unpriced(
    pricing: Pricing, usage: Usage, *, service_tier: str | None = None, batch: bool = False
) -> tuple[str, ...]:
    """What of a call has no price, in words for a person; nothing where `cost` knows it."""
    lists = _served(pricing, service_tier, batch, None)
    if not lists:
        return (f"service tier {service_tier}",)
    for_1h = min(usage.cache_write_1h_tokens, usage.cache_write_tokens)
    parts = {
        "cache_write_5m": replace(usage, cache_write_tokens=usage.cache_write_tokens - for_1h, cache_write_1h_tokens=0),
        "cache_write_1h": replace(usage, cache_write_tokens=for_1h),
    }
    return tuple(
        f"{part.cache_write_tokens} {name} tokens"
        for name, part in parts.items()
        if any(served.total(part) is None for served in lists)
    )


def _served(pricing: Pricing, service_tier: str | None, batch: bool, at_s: float | None) -> tuple[PriceList, ...]:
    """The lists of one way of being served, one an hour that `at_s` leaves open; none where it has no price."""
    tier = (service_tier or STANDARD).lower()
    if tier == "batch":  # Anthropic's word for it
        tier, batch = STANDARD, True
    elif tier in STANDARD_WORDS:
        tier = STANDARD
    ways = [(tier, batch), (tier, False)]
    if tier != STANDARD and (pricing.every_tier or tier in _CHEAPER_WORDS):
        ways += (STANDARD, batch), (STANDARD, False)
    for way in ways:
        lists = tuple(served for served in pricing.lists if (served.service_tier, served.batch) == way)
        if lists:
            return lists if at_s is None or len(lists) == 1 else (_at(lists, at_s),)
    return ()


def _at(lists: Sequence[PriceList], at_s: float) -> PriceList:
    return next(served for served in reversed(lists) if served.from_s <= at_s % 86_400)


def _rounded(yocto: int) -> int:
    """Whole pico-dollars, half up."""
    return (2 * yocto + _YOCTO_IN_PICO) // (2 * _YOCTO_IN_PICO)


def _usd(yocto: int) -> float:
    return float(Decimal(yocto).scaleb(-24))


# --- where prices come from --------------------------------------------------------------------------------------


def pricing_for(job_pricing: PricingSettings | None, info: ModelInfo) -> Pricing:
    """The job's own prices, else the model's. Raises JobError if neither states one."""
    if job_pricing is not None:
        return stated(job_pricing, "job file")
    if info.pricing is not None:
        return info.pricing
    raise JobError(
        f"no price is known for {info.id} at {info.provider}",
        hint='Give it in the job file: [pricing] mode = "per_token", input_usd_per_million = …, '
        "output_usd_per_million = …; or mode per_call or flat; or in a catalogue of your own (model.catalogue).",
    )


def stated(settings: PricingSettings, source: str) -> Pricing:
    """Prices as a job or a catalogue file states them."""
    if settings.mode == "per_call":
        rates: tuple[Rates, ...] = (Rates(call=_yocto(settings.usd_per_call or 0), cache_write_5m=0, cache_write_1h=0),)
    elif settings.mode == "flat":
        flat = _yocto(settings.usd_per_million or 0, per=_MILLION)
        rates = (Rates(**dict.fromkeys(_RATES[1:], flat)),)
    else:
        rates = tuple(_by_length(settings))
    lists = [PriceList(rates=rates)]
    for discount, served in (
        (settings.batch_discount, PriceList(rates=rates, batch=True)),
        (settings.flex_discount, PriceList(rates=rates, service_tier="flex")),
    ):
        if discount is not None:
            left = 1 - Fraction(str(discount))
            lists.append(replace(served, rates=tuple(row.times(left) for row in rates)))
    return Pricing(
        mode=settings.mode, source=source, lists=tuple(lists), minimum=_yocto(settings.min_usd_per_call or 0)
    )


def _by_length(settings: PricingSettings) -> Iterator[Rates]:
    given: dict[str, float] = {}
    for tier in (settings, *sorted(settings.tiers, key=lambda tier: tier.above_input_tokens)):
        for name in _RATES[1:]:
            price = getattr(tier, f"{name}_usd_per_million")
            if price is not None:
                given[name] = price
        prices = {"cached_input": given["input"], "reasoning": given["output"], **given}
        rates = {name: _yocto(price, per=_MILLION) for name, price in prices.items()}
        yield Rates(above_input_tokens=getattr(tier, "above_input_tokens", 0), **rates)


def _yocto(usd: float, per: int = 1) -> int:
    # The decimal that was written, not the float's binary expansion.
    return round(Fraction(str(usd)) * YOCTO / per)
