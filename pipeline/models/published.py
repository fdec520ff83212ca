"""Published prices: those of the package genai-prices, asked of it once for each rate.

Its own sum of a call takes 130 µs, too long for one before and one after each of thousands of calls a second. Sums are
linear between two tiers, so a rate is what one token more of a kind adds to it. Which price holds for which token,
length, date and way of being served is the package's knowledge and not repeated here; the tests hold every model it
knows against its own sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from fractions import Fraction
from importlib import metadata
from typing import TYPE_CHECKING

from docreduce.models.prices import STANDARD, STANDARD_WORDS, YOCTO, PriceList, Pricing, Rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, PriceCalculation

__all__ = ["published"]

_DAY_S = 86_400


def published(found: PriceCalculation, now: datetime | None = None) -> Pricing | None:
    """Prices of a model that genai-prices found, as of `now`; None where it has none of input or output tokens."""
    if found.model_price.input_mtok is None or found.model_price.output_mtok is None:
        return None
    now = now or datetime.now(UTC)
    variants = found.model.price_variants or ()
    words = {word for variant in variants for key, word in variant.when.items() if key in ("service_tier", "speed")}
    lists: list[PriceList] = []
    for tier in (STANDARD, *sorted(words - STANDARD_WORDS)):
        context = {} if tier == STANDARD else {"service_tier": tier, "speed": tier}
        live = tuple(_hours(found, context, now, tier))
        batch = tuple(_hours(found, {**context, "processing": "batch"}, now, tier))
        lists += live
        if batch != live:
            lists += (replace(hour, batch=True) for hour in batch)
    source = f"genai-prices {metadata.version('genai-prices')}"
    return Pricing(mode="per_token", source=source, lists=tuple(lists), every_tier=False)


def _hours(found: PriceCalculation, context: Mapping[str, str], now: datetime, tier: str) -> Iterator[PriceList]:
    """The lists of a day, each from the second at which its prices begin; one where they do not change."""
    last: tuple[Rates, ...] = ()
    for from_s in _changes_of_a_day(found.model):
        at = datetime.combine(now.date(), time(), UTC) + timedelta(seconds=from_s)
        rates = tuple(_rates(found, context, at))
        if rates != last:
            yield PriceList(rates=rates, service_tier=tier, from_s=from_s)
        last = rates


def _changes_of_a_day(model: ModelInfo) -> list[int]:
    """Seconds of the day (UTC) at which a price may begin or end, 0 among them."""
    from genai_prices.types import TimeOfDateConstraint

    prices = model.prices if isinstance(model.prices, list) else []
    daily = (
        price.constraint
        for price in (*prices, *(model.price_variants or ()))
        if isinstance(price.constraint, TimeOfDateConstraint)
    )
    return sorted({0, *(_second(at) for hours in daily for at in (hours.start_time, hours.end_time))})


def _second(at: time) -> int:
    offset = at.utcoffset() or timedelta()
    return int((timedelta(hours=at.hour, minutes=at.minute, seconds=at.second) - offset).total_seconds()) % _DAY_S


def _rates(found: PriceCalculation, context: Mapping[str, str], at: datetime) -> Iterator[Rates]:
    """The rates of each length of input."""
    from genai_prices import Usage
    from genai_prices.types import TieredPrices

    def asked(**tokens: int) -> Fraction:
        calculated = found.model.calc_price(
            Usage(**tokens), found.provider, genai_request_timestamp=at, price_context=context
        )
        return Fraction(calculated.total_price) * YOCTO

    prices = vars(found.model.get_prices(at, context)).values()
    call = asked()
    starts = {tier.start for price in prices if isinstance(price, TieredPrices) for tier in price.tiers}
    for start in sorted({0, *starts}):
        length = start + 1
        whole = asked(input_tokens=length)
        rate = (whole - call) / length
        yield Rates(
            above_input_tokens=start,
            call=round(call),
            input=round(rate),
            cached_input=round(rate + asked(input_tokens=length, cache_read_tokens=1) - whole),
            cache_write_5m=round(
                rate + asked(input_tokens=length, cache_write_tokens=1, cache_write_5m_tokens=1) - whole
            ),
            cache_write_1h=round(
                rate + asked(input_tokens=length, cache_write_tokens=1, cache_write_1h_tokens=1) - whole
            ),
            output=round(asked(input_tokens=length, output_tokens=1) - whole),
            reasoning=round(asked(input_tokens=length, output_tokens=1, output_reasoning_tokens=1) - whole),
        )
