"""What is known of models: the packaged catalogue, a user's own, and the package of published prices."""

from pathlib import Path

import pytest
from docreduce.models import catalogue as room
from docreduce.models.catalogue import catalogue, model_info, window_for
from docreduce.models.prices import Pricing, pricing_for, stated
from docreduce.settings import PricingSettings
from docreduce.values.errors import JobError

ERNIE = "baidu-ernie-4.5-21b-a3b"


def test_the_public_names_are_the_ones_listed() -> None:
    assert all(hasattr(room, name) for name in room.__all__)


def test_the_default_model_is_complete_with_its_three_prices() -> None:
    info = catalogue()[ERNIE]
    assert (info.context_window, info.safe_window, info.max_output_tokens) == (131_072, 120_000, 8_000)
    assert [pricing.as_dict() for pricing in (info.pricing, *info.other_pricing) if pricing] == [
        {
            "mode": "per_token",
            "source": "catalogue",
            "input_usd_per_million": 0.07,
            "output_usd_per_million": 0.28,
            "cached_input_usd_per_million": 0.07,
            "reasoning_usd_per_million": 0.28,
            "cache_write_5m_usd_per_million": None,
            "cache_write_1h_usd_per_million": None,
        },
        {"mode": "per_call", "source": "catalogue", "usd_per_call": 0.175},
        {"mode": "flat", "source": "catalogue", "usd_per_million": 0.175},
    ]
    assert (info.capabilities.tools, info.capabilities.json_schema, info.concurrency) == (True, False, 5)
    assert info.ratio_prior["digits"].expected == 1.6


def test_every_model_of_the_page_is_there_and_only_ernie_has_a_price() -> None:
    models = catalogue()
    assert len(models) == 18
    assert [name for name, info in models.items() if info.pricing] == [ERNIE]
    assert all(info.safe_window == info.context_window for name, info in models.items() if name != ERNIE)


def test_an_unpriced_model_is_an_error_that_says_how_to_give_a_price() -> None:
    with pytest.raises(JobError, match="no price is known for mistralai-mistral-nemo") as caught:
        pricing_for(None, model_info("modelslab", "mistralai-mistral-nemo"))
    assert "[pricing]" in caught.value.hint


def test_a_model_without_a_stated_window_asks_for_one_and_the_job_can_give_it() -> None:
    info = model_info("modelslab", "qwen-qwen3.5-35b-a3b")
    with pytest.raises(JobError, match=r"model\.context_window"):
        window_for(None, info)
    assert window_for(32_000, info) == 32_000
    assert window_for(None, model_info("modelslab", ERNIE)) == 120_000
    assert window_for(None, model_info("offline", ERNIE)) == 131_072


def test_a_base_model_is_refused() -> None:
    with pytest.raises(JobError, match="not for jobs"):
        model_info("modelslab", "meta-llama-Meta-Llama-3.1-70B")


def test_a_model_nobody_knows_has_neither_window_nor_price() -> None:
    for provider in ("modelslab", "openai", "anthropic"):
        info = model_info(provider, "no-such-model")
        assert (info.safe_window, info.pricing) == (None, None)


def test_other_providers_models_come_from_genai_prices_with_its_version() -> None:
    info = model_info("openai", "gpt-4o-mini")
    assert (info.safe_window, info.tokenizer, info.ratio_prior["prose"].high) == (128_000, "o200k_base", 1.0)
    assert info.pricing is not None
    assert info.pricing.source.startswith("genai-prices 0.2")


@pytest.mark.parametrize(
    ("base_url", "known"),
    [
        ("http://127.0.0.1:8080/v1", False),
        ("https://example.com/v1", False),
        ("https://api.openai.com/v1", True),
    ],
)
def test_another_host_gets_its_own_price_and_never_the_makers(base_url: str, known: bool) -> None:
    info = model_info("openai", "gpt-4o-mini", base_url=base_url)
    assert (info.pricing is not None) == known


def test_a_hosts_own_price_list_is_used_where_the_package_knows_the_host() -> None:
    google = model_info("openai", "gemini-2.5-pro", base_url="https://generativelanguage.googleapis.com/v1beta/openai")
    assert google.maker == "Google"
    assert google.pricing is not None
    assert [row.above_input_tokens for row in google.pricing.lists[0].rates] == [0, 200_000]


def test_a_users_catalogue_adds_models_and_replaces_ours(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        f'[[model]]\nid = "{ERNIE}"\ncontext_window = 9000\n[[model]]\nid = "mine"\nprovider = "openai"\n'
        'context_window = 4096\n[model.pricing]\nmode = "flat"\nusd_per_million = 1\n'
        '[[model]]\nid = "tiered"\nprovider = "anthropic"\n[model.pricing]\n'
        "input_usd_per_million = 1\noutput_usd_per_million = 2\nbatch_discount = 0.5\n"
        "tiers = [{ above_input_tokens = 1000, input_usd_per_million = 2 }]\n"
    )
    assert model_info("modelslab", ERNIE, own).safe_window == 9_000
    mine = model_info("openai", "mine", own, base_url="http://127.0.0.1:1/v1")
    assert mine.pricing == stated(PricingSettings(mode="flat", usd_per_million=1), str(own))
    tiered = model_info("anthropic", "tiered", own).pricing
    assert isinstance(tiered, Pricing)
    assert (len(tiered.lists), len(tiered.lists[0].rates)) == (2, 2)
    assert len(catalogue(own)) == 20


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
        (
            '[[model]]\nid = "x"\n[model.pricing]\ninput_usd_per_million = 1\noutput_usd_per_million = 1\n'
            "tiers = [{ above_input_tokens = 0 }]\n",
            r"model\.0\.pricing.*tiers\.0\.above_input_tokens|greater than or equal to 1",
        ),
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
