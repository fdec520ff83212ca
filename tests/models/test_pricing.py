"""Prices to the pico-dollar, the catalogue, and a budget whose cap holds."""

from decimal import Decimal
from pathlib import Path

import pytest
from docreduce.config import Job
from docreduce.desk.budget import Budget
from docreduce.models import pricing
from docreduce.models.pricing import Pricing, bound, catalogue, cost, model_info, pricing_for, window_for
from docreduce.values import Usage
from docreduce.values.errors import JobError
from docreduce.values.money import PICO, money, usd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

ERNIE = "baidu-ernie-4.5-21b-a3b"


def job(**tables: object) -> Job:
    return Job.model_validate({"name": "j", "kind": "summarize", "input": {"paths": ["x"]}, **tables})


def ernie() -> Pricing:
    found = catalogue()[ERNIE].pricing
    assert found is not None
    return found


def test_the_public_names_are_the_ones_listed() -> None:
    assert all(hasattr(pricing, name) for name in pricing.__all__)


def test_the_default_model_is_complete_with_its_three_prices() -> None:
    info = catalogue()[ERNIE]
    assert (info.context_window, info.safe_window, info.max_output_tokens) == (131_072, 120_000, 8_000)
    assert (ernie().input_pusd, ernie().output_pusd) == (70_000, 280_000)
    assert [(p.mode, p.call_pusd or p.output_pusd) for p in info.other_pricing] == [
        ("per_call", 175_000_000_000),
        ("flat", 175_000),
    ]
    assert (info.capabilities.tools, info.capabilities.json_schema, info.concurrency) == (True, False, 5)
    assert info.ratio_prior["digits"].expected == 1.6


def test_a_real_receipt_is_reproduced_to_the_pico_dollar() -> None:
    paid = cost(ernie(), Usage(input_tokens=4_680, output_tokens=1_247))
    assert usd(paid) == Decimal("0.00067676")
    assert money(paid) == "$0.000677"


def test_every_model_of_the_page_is_there_and_only_ernie_has_a_price() -> None:
    models = catalogue()
    assert len(models) == 18
    assert [name for name, info in models.items() if info.pricing] == [ERNIE]
    assert all(info.safe_window == info.context_window for name, info in models.items() if name != ERNIE)


def test_an_unpriced_model_is_an_error_that_says_how_to_give_a_price() -> None:
    with pytest.raises(JobError, match="no price is known for mistralai-mistral-nemo") as caught:
        pricing_for(job(), model_info("modelslab", "mistralai-mistral-nemo"))
    assert "[pricing]" in caught.value.hint


def test_a_model_without_a_stated_window_asks_for_one_and_the_job_can_give_it() -> None:
    info = model_info("modelslab", "qwen-qwen3.5-35b-a3b")
    with pytest.raises(JobError, match=r"model\.context_window"):
        window_for(job(), info)
    assert window_for(job(model={"context_window": 32_000}), info) == 32_000
    assert window_for(job(), model_info("modelslab", ERNIE)) == 120_000


def test_a_base_model_is_refused() -> None:
    with pytest.raises(JobError, match="not for jobs"):
        model_info("modelslab", "meta-llama-Meta-Llama-3.1-70B")


def test_a_model_nobody_knows_has_neither_window_nor_price() -> None:
    for provider in ("modelslab", "openai", "anthropic"):
        info = model_info(provider, "no-such-model")
        assert (info.safe_window, info.pricing) == (None, None)


def test_other_providers_prices_come_from_genai_prices_with_its_version() -> None:
    info = model_info("openai", "gpt-4o-mini")
    assert info.safe_window == 128_000
    assert info.tokenizer == "o200k_base"
    assert info.ratio_prior["prose"].high == 1.0
    assert info.pricing is not None
    assert info.pricing.source.startswith("genai-prices 0.2")
    assert 0 < info.pricing.cached_input_pusd < info.pricing.input_pusd < info.pricing.output_pusd
    claude = model_info("anthropic", "claude-sonnet-4-5")
    # Tiers that begin at the window's end are never reached.
    assert claude.pricing is not None
    assert claude.pricing.input_pusd == 3_000_000


def test_tiers_within_the_window_are_priced_at_the_dearest() -> None:
    from genai_prices.types import Tier, TieredPrices

    tiers = TieredPrices(base=Decimal(3), tiers=[Tier(start=200_000, price=Decimal(6))])
    assert pricing._dearest(tiers, 1_000_000) == 6
    assert pricing._dearest(tiers, 200_000) == 3


def test_another_host_does_not_get_the_makers_price() -> None:
    assert model_info("openai", "gpt-4o-mini", base_url="http://127.0.0.1:8080/v1").pricing is None


def test_the_offline_provider_costs_nothing() -> None:
    info = model_info("offline", ERNIE)
    assert window_for(job(), info) == 131_072
    assert cost(pricing_for(job(), info), Usage(input_tokens=10**6, output_tokens=10**6)) == 0


def test_the_jobs_own_price_wins_and_is_exact() -> None:
    own = pricing_for(
        job(pricing={"mode": "per_token", "input_usd_per_million": 0.1, "output_usd_per_million": 0.0000015}),
        model_info("modelslab", ERNIE),
    )
    assert own.source == "job file"
    assert own.input_pusd == own.cached_input_pusd == 100_000
    assert own.output_pusd == own.reasoning_pusd == 2  # 1.5 pico-dollars, half up


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mode": "per_call", "usd_per_call": 0.175}, 175_000_000_000),
        ({"mode": "flat", "usd_per_million": 0.175}, 175_000 * 150),
        (
            {
                "input_usd_per_million": 2,
                "output_usd_per_million": 8,
                "cached_input_usd_per_million": 0.5,
                "reasoning_usd_per_million": 9,
            },
            60 * 2_000_000 + 40 * 500_000 + 20 * 8_000_000 + 30 * 9_000_000,
        ),
    ],
)
def test_each_mode_prices_cached_and_reasoning_tokens_as_parts_of_the_whole(
    settings: dict[str, object], expected: int
) -> None:
    chosen = pricing_for(job(pricing=settings), model_info("modelslab", "any"))
    usage = Usage(input_tokens=100, output_tokens=50, cached_input_tokens=40, reasoning_tokens=30)
    assert cost(chosen, usage) == expected


RATES = st.integers(0, 10**9)
PRICINGS = st.builds(
    Pricing,
    mode=st.sampled_from(["per_token", "per_call", "flat"]),
    source=st.just("test"),
    input_pusd=RATES,
    output_pusd=RATES,
    cached_input_pusd=RATES,
    reasoning_pusd=RATES,
    call_pusd=RATES,
)
TOKENS = st.integers(0, 10**6)


@given(PRICINGS, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
def test_no_call_within_its_size_costs_more_than_its_bound(
    rates: Pricing, tokens_in: int, tokens_out: int, cached: int, reasoning: int, more_in: int, more_out: int
) -> None:
    usage = Usage(
        input_tokens=tokens_in, output_tokens=tokens_out, cached_input_tokens=cached, reasoning_tokens=reasoning
    )
    assert 0 <= cost(rates, usage) <= bound(rates, tokens_in + more_in, tokens_out + more_out)


def test_a_users_catalogue_adds_models_and_replaces_ours(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        f'[[model]]\nid = "{ERNIE}"\ncontext_window = 9000\n[[model]]\nid = "mine"\nprovider = "openai"\n'
        'context_window = 4096\n[model.pricing]\nmode = "flat"\nusd_per_million = 1\n'
    )
    assert model_info("modelslab", ERNIE, own).safe_window == 9_000
    mine = model_info("openai", "mine", own, base_url="http://127.0.0.1:1/v1")
    assert mine.pricing == Pricing(
        mode="flat",
        source=str(own),
        input_pusd=1_000_000,
        output_pusd=1_000_000,
        cached_input_pusd=1_000_000,
        reasoning_pusd=1_000_000,
    )
    assert len(catalogue(own)) == 19


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[[model]]\nid = 3\n", r"model\.0\.id"),
        ('[[model]]\nid = "x"\nwindow = 3\n', r"model\.0\.window"),
        ("[[model]\n", "not valid TOML"),
        ('model = "x"\n', "model: "),
        ('[[model]]\nid = "x"\nprovider = "y"\n', r"model\.0\.provider"),
        ('[[model]]\nid = "x"\npricing = 3\n', r"model\.0\.pricing"),
        ('[[model]]\nid = "x"\n[model.pricing]\nmode = "flat"\n', "usd_per_million"),
    ],
)
def test_a_wrong_catalogue_is_an_error_that_names_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(JobError, match=named) as caught:
        catalogue(own)
    assert str(own) in caught.value.message
    with pytest.raises(JobError, match="cannot be read"):
        catalogue(tmp_path / "none.toml")


def test_a_refused_reservation_sets_nothing_aside_and_earlier_runs_count() -> None:
    budget = Budget(100)
    budget.carry(charged=30, unknown=20)
    assert not budget.reserve(51)
    assert budget.left == 50
    assert budget.reserve(50)
    assert not budget.reserve(1)
    budget.settle(50, charged=10)
    assert (budget.left, budget.charged, budget.unknown, budget.reserved) == (40, 40, 20, 0)


def test_over_billing_is_booked_as_it_is_and_stops_further_calls() -> None:
    budget = Budget(100)
    assert budget.reserve(90)
    budget.settle(90, charged=150)
    assert (budget.charged, budget.left) == (150, -50)
    assert not budget.reserve(0)


def test_without_a_cap_everything_is_reserved_and_still_counted() -> None:
    budget = Budget()
    assert budget.left is None
    assert budget.reserve(10**18)
    assert budget.reserved == 10**18


def test_settling_what_was_never_reserved_is_a_fault() -> None:
    with pytest.raises(ValueError, match="reserved"):
        Budget(100).settle(1, charged=1)


class Spending(RuleBasedStateMachine):
    """Calls reserved and settled in any order, with time-outs, under a provider that bills within its bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(1_000)
        self.open: list[int] = []
        self.charged = self.unknown = 0

    @rule(amount=st.integers(0, 400))
    def reserve(self, amount: int) -> None:
        before = self.budget.left
        assert before is not None
        if self.budget.reserve(amount):
            self.open.append(amount)
            assert amount <= before
        else:
            assert amount > before

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        amount = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        charged = data.draw(st.integers(0, amount))
        unknown = data.draw(st.sampled_from([0, amount - charged]))
        self.budget.settle(amount, charged, unknown)
        self.charged += charged
        self.unknown += unknown

    @invariant()
    def the_cap_holds_and_nothing_is_lost(self) -> None:
        budget = self.budget
        assert (budget.charged, budget.unknown, budget.reserved) == (self.charged, self.unknown, sum(self.open))
        assert budget.charged + budget.unknown + budget.reserved <= 1_000


TestSpending = Spending.TestCase


@pytest.mark.parametrize(
    ("pusd", "shown"),
    [
        (0, "$0.00"),
        (676_760_000, "$0.000677"),
        (70_000, "$0.0000000700"),
        (PICO // 2, "$0.500"),
        (PICO, "$1.00"),
        (12_345_678 * PICO // 10, "$1,234,567.80"),
        (-PICO // 4, "-$0.250"),
    ],
)
def test_money_is_shown_with_three_digits_below_a_dollar_and_cents_above(pusd: int, shown: str) -> None:
    assert money(pusd) == shown


@given(st.integers(-(10**24), 10**24))
def test_dollars_are_exact(pusd: int) -> None:
    assert usd(pusd) * PICO == pusd
