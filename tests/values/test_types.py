"""What travels: identity of requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from docreduce.models.prices import Pricing
from docreduce.models.routes import Route, Sampling
from docreduce.values import Message, Request

REQUEST = Request(messages=(Message("system", "s"), Message("user", "text")))
ROUTE = Route(
    endpoint="https://a.example/v1",
    dialect="openai",
    model="m",
    window=1000,
    max_output_tokens=10,
    pricing=Pricing(mode="per_token", source="test", lists=()),
    sampling=Sampling(temperature=0.7),
)


def test_a_key_depends_on_what_is_asked() -> None:
    keys = {
        request.key
        for request in (
            REQUEST,
            replace(REQUEST, messages=(Message("user", "text"),)),
            replace(REQUEST, messages=(Message("user", "s"), Message("user", "text"))),
            replace(REQUEST, max_words=11),
            replace(REQUEST, schema="{}"),
            replace(REQUEST, salt="again"),
            replace(REQUEST, voice="again"),
        )
    }
    assert len(keys) == 7


def test_a_key_does_not_depend_on_where_a_request_belongs() -> None:
    moved = replace(REQUEST, stage="reduce", chunk=7, tokens=99, serves=(3,))
    assert moved.key == REQUEST.key
    assert moved == REQUEST
    assert hash(moved) == hash(REQUEST)


def test_a_key_is_the_same_in_every_process() -> None:
    assert REQUEST.key == "f6bbf0b69864f2e4175e9351397f9b8886fcb9e14fa777010c0a711e7da490fa"


@pytest.mark.parametrize(
    "change", [{"model": "other"}, {"max_output_tokens": 11}, {"sampling": Sampling(temperature=0.0)},
               {"sampling": Sampling(temperature=0.7, top_p=0.9)}]
)  # fmt: skip
def test_a_routes_setting_says_model_sampling_and_answer_limit(change: dict[str, object]) -> None:
    assert replace(ROUTE, **change).setting != ROUTE.setting  # type: ignore[arg-type]


def test_a_routes_setting_does_not_depend_on_price_window_or_form() -> None:
    same = replace(ROUTE, window=9, forms=("tools",), stream=True, endpoint="https://b.example/v1", dialect="anthropic")
    assert same.setting == ROUTE.setting
