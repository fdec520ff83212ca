"""The bill is the price list, to the pico-dollar, and no call costs more than its bound."""

import json
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from docreduce.models import prices
from docreduce.models.catalogue import catalogue, model_info
from docreduce.models.prices import Pricing, bound, cost, pricing_for, stated, unpriced
from docreduce.models.published import published
from docreduce.settings import PricingSettings
from docreduce.values import Usage
from docreduce.values.money import money, pusd, usd
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

ERNIE = "baidu-ernie-4.5-21b-a3b"
DATES = {
    "before any change": datetime(2023, 3, 17, 11, 42, tzinfo=UTC),
    "after every announced change": datetime(2100, 3, 17, 11, 42, tzinfo=UTC),
}
NOW = DATES["after every announced change"]


def test_the_public_names_are_the_ones_listed() -> None:
    assert all(hasattr(prices, name) for name in prices.__all__)


# --- published prices, held against the package's own sums ---------------------------------------------------------

KINDS: dict[str, dict[str, int]] = {
    "plain": {},
    "cached read": {"cached_input_tokens": 501},
    "5-minute write": {"cache_write_tokens": 503},
    "1-hour write": {"cache_write_tokens": 503, "cache_write_1h_tokens": 503},
    "all of them": {
        "cached_input_tokens": 101, "cache_write_tokens": 307, "cache_write_1h_tokens": 103, "reasoning_tokens": 11,
    },
}  # fmt: skip
WAYS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "nothing said": ({}, {}),
    "default": ({"service_tier": "default"}, {"service_tier": "default"}),
    "batch": ({"batch": True}, {"processing": "batch"}),
    "flex": ({"service_tier": "flex"}, {"service_tier": "flex"}),
    "priority": ({"service_tier": "priority"}, {"service_tier": "priority"}),
    "fast": ({"service_tier": "fast"}, {"service_tier": "fast", "speed": "fast"}),
}
DEARER = ("priority", "fast")


def model(provider: Provider, info: ModelInfo, at: datetime = NOW) -> Pricing | None:
    found = info.calc_price(genai_prices.Usage(input_tokens=0), provider, genai_request_timestamp=at)
    return published(found, at)


def own_sum(provider: Provider, info: ModelInfo, usage: Usage, context: dict[str, str], at: datetime = NOW) -> int:
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_5m_tokens=usage.cache_write_tokens - usage.cache_write_1h_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    found = info.calc_price(tokens, provider, genai_request_timestamp=at, price_context=context)
    return pusd(found.total_price)


def usages(pricing: Pricing) -> Iterator[Usage]:
    starts = {row.above_input_tokens for listed in pricing.lists for row in listed.rates}
    lengths = {1_009, *(start + more for start in starts if start for more in (0, 1, 40_001))}
    for length in sorted(lengths):
        for parts in KINDS.values():
            yield Usage(input_tokens=length, output_tokens=997, **parts)


def provider_named(name: str) -> Provider:
    return next(provider for provider in get_snapshot().providers if provider.id == name)


@pytest.mark.long
@pytest.mark.parametrize("at", DATES.values(), ids=DATES)
@pytest.mark.parametrize(("name", "at_least"), [("openai", 80), ("anthropic", 27), ("google", 40)])
def test_every_published_price_of_a_chat_model_is_billed_as_its_list_says(
    name: str, at_least: int, at: datetime
) -> None:
    provider = provider_named(name)
    models = compared = 0
    for info in provider.models:
        pricing = model(provider, info, at)
        if pricing is None:
            continue
        models += 1
        priced = {word for variant in info.price_variants or () for word in variant.when.values()}
        for usage in usages(pricing):
            for way, (how, context) in WAYS.items():
                paid = cost(pricing, usage, **how)
                if way in DEARER and way not in priced:
                    assert paid is None, (info.id, way)  # what has no price is not standard's, and never free
                    continue
                assert paid == own_sum(provider, info, usage, context, at), (info.id, way, usage)
                assert paid <= bound(pricing, usage.input_tokens, usage.output_tokens, **how), (info.id, way, usage)
                compared += 1
    assert models >= at_least
    assert compared >= models * len(KINDS) * 4


def rare(info: ModelInfo) -> bool:
    """Whether a model has prices that the three above hardly have: by the hour, a call, reasoning, fine fractions."""
    told = repr((info.prices, info.price_variants))
    fine = any(
        isinstance(price, Decimal) and -int(price.as_tuple().exponent) > 6
        for listed in (info.prices if isinstance(info.prices, list) else [info])
        for price in vars(listed.prices).values()
    )
    return fine or any(word in told for word in ("TimeOfDate", "requests_kcount", "output_reasoning_mtok"))


def test_prices_by_the_hour_of_calls_of_reasoning_and_below_a_pico_dollar_are_billed_too() -> None:
    hours = [NOW.replace(hour=hour, minute=minute) for hour, minute in ((0, 10), (2, 0), (7, 59), (12, 30), (20, 0))]
    seen = set()
    for provider in get_snapshot().providers:
        for info in filter(rare, provider.models):
            pricing = model(provider, info)
            if pricing is None:
                continue
            for usage in usages(pricing):
                sums = [own_sum(provider, info, usage, {}, at) for at in hours]
                assert [cost(pricing, usage, at_s=at.timestamp()) for at in hours] == sums, (info.id, usage)
                dearest = cost(pricing, usage)
                assert dearest is not None
                assert max(sums) <= dearest <= bound(pricing, usage.input_tokens, usage.output_tokens)
            seen.add(provider.id)
    assert {"deepseek", "perplexity", "openrouter"} <= seen


def test_only_resellers_prices_are_no_whole_pico_dollars_a_token_and_a_call_is_rounded_once() -> None:
    pico = 10**12
    fractions = {
        provider.id
        for provider in get_snapshot().providers
        for info in provider.models
        if rare(info) and (pricing := model(provider, info))
        for listed in pricing.lists
        for row in listed.rates
        if (row.input % pico, row.output % pico, (row.cache_write_5m or 0) % pico) != (0, 0, 0)
    }
    assert fractions == {"openrouter", "huggingface_together"}
    third = stated(PricingSettings(input_usd_per_million=0.0000005, output_usd_per_million=0.0000004), "test")
    assert [cost(third, Usage(input_tokens=n, output_tokens=0)) for n in (1, 2, 3)] == [1, 1, 2]  # 0.5, 1.0, 1.5
    assert cost(third, Usage(input_tokens=1, output_tokens=1)) == 1  # 0.9: the sum is rounded, not its parts


def test_a_price_of_a_fraction_of_a_cent_a_million_tokens_is_exact() -> None:
    tiny = stated(PricingSettings(input_usd_per_million=0.0375, output_usd_per_million=0.15), "test")
    assert cost(tiny, Usage(input_tokens=1, output_tokens=0)) == 37_500


def test_a_long_call_of_a_tiered_model_is_billed_at_the_tier_it_reaches() -> None:
    claude = pricing_for(None, model_info("anthropic", "claude-sonnet-4-5"))
    assert cost(claude, Usage(input_tokens=200_000, output_tokens=1)) == 200_000 * 3_000_000 + 15_000_000
    assert cost(claude, Usage(input_tokens=200_001, output_tokens=1)) == 200_001 * 6_000_000 + 22_500_000


def test_a_bound_counts_cache_writes_only_as_far_as_a_call_can_have_them() -> None:
    claude = pricing_for(None, model_info("anthropic", "claude-sonnet-4-5"))
    answer = 100 * 15_000_000
    assert bound(claude, 9_000, 100, written_for="none") == 9_000 * 3_000_000 + answer
    assert bound(claude, 9_000, 100, written_for="5m") == 9_000 * 3_750_000 + answer
    assert bound(claude, 9_000, 100) == 9_000 * 6_000_000 + answer


def test_a_tier_of_service_without_a_price_is_unknown_and_its_bound_the_dearest_known() -> None:
    pricing = pricing_for(None, model_info("openai", "gpt-4o-mini"))
    usage = Usage(input_tokens=1_000, output_tokens=10)
    assert cost(pricing, usage, service_tier="turbo") is None
    assert unpriced(pricing, usage, service_tier="turbo") == ("service tier turbo",)
    assert unpriced(pricing, usage, service_tier="flex") == ()
    standard, priority = cost(pricing, usage), cost(pricing, usage, service_tier="priority")
    assert standard is not None
    assert priority is not None
    assert bound(pricing, 1_000, 10, service_tier="turbo") >= priority > standard


def test_a_flex_call_is_bounded_by_standard_since_it_may_be_served_so() -> None:
    pricing = pricing_for(None, model_info("openai", "gpt-5"))
    usage = Usage(input_tokens=1_000, output_tokens=10)
    standard = cost(pricing, usage, service_tier="default")
    assert standard is not None
    assert cost(pricing, usage, service_tier="flex") == standard // 2
    assert bound(pricing, 1_000, 10, service_tier="flex") >= standard
    assert bound(pricing, 1_000, 10, batch=True) < standard
    assert cost(pricing, usage, service_tier="batch") == cost(pricing, usage, batch=True)


# --- prices that a job states --------------------------------------------------------------------------------------


def test_a_real_receipt_is_reproduced_to_the_pico_dollar() -> None:
    pricing = catalogue()[ERNIE].pricing
    assert pricing is not None
    paid = cost(pricing, Usage(input_tokens=4_680, output_tokens=1_247))
    assert paid is not None
    assert usd(paid) == Decimal("0.00067676")
    assert money(paid) == "$0.000677"


def test_the_offline_provider_costs_nothing() -> None:
    pricing = pricing_for(None, model_info("offline", ERNIE))
    assert cost(pricing, Usage(input_tokens=10**6, output_tokens=10**6)) == 0


def test_the_jobs_own_price_wins() -> None:
    own = pricing_for(
        PricingSettings(input_usd_per_million=0.1, output_usd_per_million=0.2), model_info("modelslab", ERNIE)
    )
    assert own.source == "job file"
    assert cost(own, Usage(input_tokens=1, output_tokens=1)) == 300_000


USAGE = Usage(
    input_tokens=100,
    output_tokens=50,
    cached_input_tokens=40,
    cache_write_tokens=30,
    cache_write_1h_tokens=10,
    reasoning_tokens=30,
)
LISTED = {
    "input_usd_per_million": 2,
    "output_usd_per_million": 8,
    "cached_input_usd_per_million": 0.5,
    "cache_write_5m_usd_per_million": 2.5,
    "cache_write_1h_usd_per_million": 4,
    "reasoning_usd_per_million": 9,
}
LISTED_PUSD = 30 * 2_000_000 + 40 * 500_000 + 20 * 2_500_000 + 10 * 4_000_000 + 20 * 8_000_000 + 30 * 9_000_000
TIERS = [
    {"above_input_tokens": 200, "input_usd_per_million": 5, "output_usd_per_million": 10},
    {"above_input_tokens": 99, "input_usd_per_million": 3},
]


@pytest.mark.parametrize(
    ("settings", "how", "expected"),
    [
        ({"mode": "per_call", "usd_per_call": 0.175}, {}, 175_000_000_000),
        ({"mode": "flat", "usd_per_million": 0.175}, {}, 175_000 * 150),
        (LISTED, {}, LISTED_PUSD),
        (LISTED, {"service_tier": "whatever the service calls it"}, LISTED_PUSD),
        (LISTED, {"service_tier": "flex"}, LISTED_PUSD),
        (LISTED, {"batch": True}, LISTED_PUSD),
        ({**LISTED, "batch_discount": 0.5}, {"batch": True}, LISTED_PUSD // 2),
        ({**LISTED, "batch_discount": 0.5}, {"batch": True, "service_tier": "default"}, LISTED_PUSD // 2),
        ({**LISTED, "batch_discount": 0.5}, {}, LISTED_PUSD),
        ({**LISTED, "flex_discount": 0.25}, {"service_tier": "flex"}, LISTED_PUSD * 3 // 4),
        ({**LISTED, "min_usd_per_call": 0.01}, {}, 10_000_000_000),
        ({**LISTED, "min_usd_per_call": 0.0000001}, {}, LISTED_PUSD),
        # Tiers in any order; what one leaves out stays as below it.
        ({**LISTED, "tiers": TIERS}, {}, LISTED_PUSD + 30 * 1_000_000),
        ({"mode": "per_call", "usd_per_call": 1, "batch_discount": 0.1}, {"batch": True}, 900_000_000_000),
    ],
)  # fmt: skip
def test_a_stated_price_is_billed_as_it_was_stated(
    settings: dict[str, Any], how: dict[str, Any], expected: int
) -> None:
    pricing = stated(PricingSettings.model_validate(settings), "test")
    assert cost(pricing, USAGE, **how) == expected
    assert bound(pricing, 100, 50, **how) >= expected


def test_kinds_that_cost_no_more_than_the_whole_default_to_its_price_in_every_tier() -> None:
    settings = {"input_usd_per_million": 1, "output_usd_per_million": 1, "tiers": TIERS}
    pricing = stated(PricingSettings.model_validate(settings), "test")
    usage = Usage(input_tokens=201, output_tokens=2, cached_input_tokens=201, reasoning_tokens=2)
    assert cost(pricing, usage) == 201 * 5_000_000 + 2 * 10_000_000


def test_a_kind_of_token_without_a_price_is_unknown_and_said_and_never_free() -> None:
    stated_5m = {"input_usd_per_million": 1, "output_usd_per_million": 1, "cache_write_5m_usd_per_million": 1.25}
    pricing = stated(PricingSettings.model_validate(stated_5m), "test")
    written = Usage(input_tokens=100, output_tokens=1, cache_write_tokens=70, cache_write_1h_tokens=0)
    for_an_hour = Usage(input_tokens=100, output_tokens=1, cache_write_tokens=70, cache_write_1h_tokens=30)
    assert cost(pricing, written) == 30 * 1_000_000 + 70 * 1_250_000 + 1_000_000
    assert unpriced(pricing, written) == ()
    assert cost(pricing, for_an_hour) is None
    assert unpriced(pricing, for_an_hour) == ("30 cache_write_1h tokens",)


def test_parts_stated_larger_than_the_whole_are_no_tokens_that_are_not_there() -> None:
    pricing = stated(PricingSettings.model_validate(LISTED), "test")
    usage = Usage(input_tokens=10, output_tokens=1, cached_input_tokens=90, cache_write_tokens=90, reasoning_tokens=9)
    assert cost(pricing, usage) == 10 * 500_000 + 9_000_000


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"mode": "flat"}, "usd_per_million"),
        ({**LISTED, "batch_discount": 1.5}, "batch_discount"),
        ({**LISTED, "cache_write_5m_usd_per_million": -1}, "cache_write_5m"),
        ({**LISTED, "tiers": [{"input_usd_per_million": 1}]}, "above_input_tokens"),
        ({**LISTED, "tiers": [TIERS[0], TIERS[0]]}, "same number"),
        ({**LISTED, "audio_usd_per_million": 1}, "audio"),
    ],
)
def test_a_price_list_that_cannot_be_meant_is_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        PricingSettings.model_validate(settings)


def test_a_pricing_travels_compares_by_value_and_says_what_it_is() -> None:
    settings = PricingSettings.model_validate({**LISTED, "tiers": TIERS, "batch_discount": 0.5, "min_usd_per_call": 1})
    for pricing in (stated(settings, "job file"), pricing_for(None, model_info("openai", "gpt-5.4"))):
        assert pickle.loads(pickle.dumps(pricing)) == pricing
    told = json.loads(json.dumps(stated(settings, "job file").as_dict()))
    batch = told.pop("other_lists")[0]
    assert (batch["batch"], batch["input_usd_per_million"], len(batch["tiers"])) == (True, 1.0, 2)
    again = PricingSettings.model_validate({key: value for key, value in told.items() if key != "source"})
    assert stated(again, "").lists[0] == stated(settings, "").lists[0]  # what it says is what a job would state
    per_call = stated(PricingSettings(mode="per_call", usd_per_call=0.175, batch_discount=0.5), "test")
    assert [listed["usd_per_call"] for listed in (per_call.as_dict(), *per_call.as_dict()["other_lists"])] == [
        0.175,
        0.0875,
    ]
    assert stated(settings, "a") == stated(settings, "a") != stated(settings, "b")


# --- the bound -----------------------------------------------------------------------------------------------------

RATE = st.integers(0, 10**9).map(lambda micro: micro / 10**6)
TIER = st.fixed_dictionaries(
    {"above_input_tokens": st.integers(1, 10**6)},
    optional=dict.fromkeys(LISTED, RATE),
)
WHOLE = ("input_usd_per_million", "output_usd_per_million")
SHARE = st.integers(0, 1000).map(lambda mille: mille / 1000)
SETTINGS = st.one_of(
    st.fixed_dictionaries(
        dict.fromkeys(WHOLE, RATE),
        optional={
            **{name: RATE for name in LISTED if name not in WHOLE},
            "tiers": st.lists(TIER, max_size=3, unique_by=lambda tier: tier["above_input_tokens"]),
            "batch_discount": SHARE,
            "flex_discount": SHARE,
            "min_usd_per_call": RATE,
        },
    ),
    st.fixed_dictionaries({"mode": st.just("per_call"), "usd_per_call": RATE}, optional={"batch_discount": SHARE}),
    st.fixed_dictionaries({"mode": st.just("flat"), "usd_per_million": RATE}, optional={"flex_discount": SHARE}),
)
PUBLISHED = [
    pricing
    for provider, name in (
        ("openai", "gpt-5.4"), ("openai", "gpt-5.6"), ("openai", "gpt-4o-mini"), ("openai", "gpt-5"),
        ("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-opus-4-6"), ("anthropic", "claude-haiku-4-5"),
    )
    if (pricing := model_info(provider, name).pricing)  # type: ignore[arg-type]
]  # fmt: skip
PRICINGS = st.one_of(
    SETTINGS.map(lambda settings: stated(PricingSettings.model_validate(settings), "test")), st.sampled_from(PUBLISHED)
)
TOKENS = st.one_of(st.integers(0, 10**6), st.sampled_from([0, 1, 200_000, 200_001, 272_000, 272_001]))
USAGES = st.builds(
    Usage,
    input_tokens=TOKENS,
    output_tokens=TOKENS,
    cached_input_tokens=TOKENS,
    cache_write_tokens=TOKENS,
    cache_write_1h_tokens=TOKENS,
    reasoning_tokens=TOKENS,
)
HOW = st.fixed_dictionaries(
    {},
    optional={
        "service_tier": st.sampled_from([None, "default", "flex", "priority", "fast", "batch", "turbo"]),
        "batch": st.booleans(),
    },
)


@pytest.mark.long
@settings(max_examples=1_000, deadline=None)
@given(PRICINGS, USAGES, TOKENS, TOKENS, HOW)
def test_no_call_within_its_size_costs_more_than_its_bound(
    pricing: Pricing, usage: Usage, more_in: int, more_out: int, how: dict[str, Any]
) -> None:
    paid = cost(pricing, usage, **how)
    if paid is None:
        assert unpriced(pricing, usage, **how)
        return
    most = usage.input_tokens + more_in, usage.output_tokens + more_out
    assert 0 <= paid <= bound(pricing, *most, **how)
    if not usage.cache_write_1h_tokens:
        assert paid <= bound(pricing, *most, **how, written_for="5m")
    if not usage.cache_write_tokens:
        assert paid <= bound(pricing, *most, **how, written_for="none")
    for served in ("default", None):  # whatever was asked for, a live call may be served as standard
        if not how.get("batch") and how.get("service_tier") != "batch":
            standard = cost(pricing, usage, service_tier=served)
            assert standard is not None
            assert standard <= bound(pricing, *most, **how)


@pytest.mark.parametrize("length", [0, 1, 99, 100, 200, 201, 500])
def test_the_bound_is_what_the_dearest_call_of_that_size_costs(length: int) -> None:
    pricing = stated(PricingSettings.model_validate({**LISTED, "tiers": TIERS}), "test")
    parts: list[dict[str, int]] = [
        {},
        {"cached_input_tokens": length},
        {"cache_write_tokens": length},
        {"cache_write_tokens": length, "cache_write_1h_tokens": length},
    ]
    costs = [
        cost(pricing, Usage(input_tokens=length, output_tokens=7, reasoning_tokens=reasoning, **part))
        for part in parts
        for reasoning in (0, 7)
    ]
    assert bound(pricing, length, 7) == max(paid for paid in costs if paid is not None)
