"""Limits and waits as headers state them."""

from __future__ import annotations

import math

import pytest
from docreduce.providers.rates import rate_info, reset_s
from docreduce.values import RateInfo
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("1m12ms", 60.012),
        ("30", 30.0),
        ("0.5", 0.5),
        ("-1", None),
        ("1700000030", 30.0),
        ("1700000030000", 30.0),
        ("2023-11-14T22:13:50Z", 30.0),
        ("2023-11-14T23:13:50.5+01:00", 30.5),
        ("2023-11-14T22:00:00Z", 0.0),
        ("2023-11-14T22:13:50", None),  # of no zone
        ("", None),
        ("soon", None),
        ("nan", None),
        (None, None),
    ],
)
def test_a_reset_is_read_in_every_form(text: str | None, seconds: float | None) -> None:
    got = reset_s(text, NOW)
    assert got == (None if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=20) | st.from_regex(r"[0-9hms.]{1,12}"))
def test_any_reset_is_a_finite_wait_or_none(text: str) -> None:
    got = reset_s(text, NOW)
    assert got is None or (math.isfinite(got) and got >= 0)


def test_openai_headers_are_read() -> None:
    headers = {
        "x-ratelimit-limit-requests": "1500",
        "x-ratelimit-remaining-requests": "1499",
        "x-ratelimit-reset-requests": "40ms",
        "x-ratelimit-limit-tokens": "1000000",
        "x-ratelimit-remaining-tokens": "-1",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert rate_info(headers, NOW) == RateInfo(
        limit_requests=1500,
        remaining_requests=1499,
        reset_requests_s=0.04,
        limit_tokens=1000000,
        remaining_tokens=None,
        reset_tokens_s=360.0,
    )


def test_anthropic_headers_are_read_with_their_times() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:21Z",
        "anthropic-ratelimit-input-tokens-limit": "40000",
        "anthropic-ratelimit-input-tokens-remaining": "39000",
        "anthropic-ratelimit-input-tokens-reset": "2023-11-14T22:13:22Z",
    }
    assert rate_info(headers, NOW) == RateInfo(
        limit_requests=50,
        remaining_requests=49,
        reset_requests_s=1.0,
        limit_tokens=40000,
        remaining_tokens=39000,
        reset_tokens_s=2.0,
    )


def test_headers_that_say_nothing_are_none() -> None:
    assert rate_info({"content-type": "application/json"}, NOW) is None
    assert rate_info({"x-ratelimit-limit-requests": "many"}, NOW) is None
