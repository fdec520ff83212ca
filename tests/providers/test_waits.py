"""Limits and waits as headers state them."""

from __future__ import annotations

import math

import pytest
from docreduce.providers.waits import rate_info, reset_s, retry_after_s
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
        "x-ratelimit-reset-tokens": "59.5s",
    }
    assert rate_info(headers, NOW) == RateInfo(
        limit_requests=1500,
        remaining_requests=1499,
        reset_requests_s=0.04,
        limit_tokens=1000000,
        remaining_tokens=None,
        reset_tokens_s=59.5,
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


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 1.898s.", 1.898),
        ("Please try again in 7m12s. Need more tokens?", 432.0),
        ("Please try again in 2h9m36s.", 7776.0),
        ("Please retry in 45.578569677s.", 45.578569677),
        ("Please retry after 9 seconds.", 9.0),
        ("Try again in 30 seconds.", 30.0),
        ("Please wait 5 minutes", 300.0),
        ("try again in 250ms", 0.25),
        ("Limit resets at: 2023-11-14 22:13:50 UTC", 30.0),
        ("Limit resets at 2023-11-14T22:13:50Z", 30.0),
        ("Limit resets at 2023-11-14 22:13:50", 30.0),
        ("resets at 2023-99-99 22:13:50", None),
        ("Limit 30000, Used 29000, Requested 2000.", None),
        ("try again in 3 documents", None),
        ("Zu viele Anfragen. Bitte versuchen Sie es in 20 Sekunden erneut.", 20.0),
        ("Bitte in 1 Stunde und 5 Minuten noch einmal anfragen", 3900.0),
        ("Bitte warten Sie 2,5 Minuten", 150.0),
        ("Trop de requêtes. Veuillez réessayer dans 20 secondes.", 20.0),
        ("Réessayez dans 1 minute et 20 secondes", 80.0),
        ("Demasiadas solicitudes. Inténtelo de nuevo en 2 horas.", 7200.0),
        ("Vuelva a intentarlo en 20 segundos", 20.0),
        ("请求过于频繁，请在 20 秒后重试", 20.0),
        ("Next request allowed in 12 s", 12.0),
        ("You can retry your request after 2m30s", 150.0),
        ("Please wait approximately 30 seconds before retrying.", 30.0),
        ("retry_after=7", 7.0),
        ("60 requests are allowed per 60 seconds", None),
        ("Your quota resets every 24 hours", None),
        ("Requests available each 24 hours: 50", None),
        ("已达到 5 小时的使用上限。您的限额将在 2023-11-15 06:13:50 重置。", 30.0),
        ("Erlaubt sind 60 Anfragen in 60 Sekunden.", None),
        ("60 requêtes en 60 secondes sont permises", None),
        ("每 60 秒 10 次请求", None),
        ("", None),
    ],
)
def test_a_wait_in_words_is_read(message: str, seconds: float | None) -> None:
    got = retry_after_s({}, {}, message, NOW)
    assert got == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"retry_after": 30}, 30.0),
        ({"retry_after_ms": 2500}, 2.5),
        ({"error": {"retry_after": "12"}}, 12.0),
        ({"error": {"details": [{"retryDelay": "34s"}]}}, 34.0),
        ({"error": {"details": [{"@type": "Help"}, {"retryDelay": "34.074824224s"}]}}, 34.074824224),
        ({"error": {"metadata": {"retry_after_seconds": 8}}}, 8.0),
        ({"error": {"metadata": {"headers": {"Retry-After": "8"}}}}, 8.0),
        (
            {"error": {"metadata": {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000030000"}}}},
            30.0,
        ),
        ({"error": {"retryAfterMs": 8000}}, 8.0),
        ({"error": {"details": [{"metadata": {"quotaResetDelay": "373.801628ms"}}]}}, 0.373801628),
        ({"error": {"cooldown_seconds": 8}}, 8.0),
        ({"retry-after": 8}, 8.0),
        ({"error": {"max_retries": 8, "retry": 3, "retry_count": 2}}, None),
        ({"eta": 4}, 4.0),
        ({"error": {"details": "soon", "metadata": [1]}}, None),
    ],
)
def test_a_wait_in_a_body_is_read_wherever_it_stands(body: dict, seconds: float | None) -> None:
    assert retry_after_s({}, body, "", NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20 seconds"}, 20.0),
        ({"retry-after": "20, 20"}, 20.0),
        ({"retry-after": "soon", "x-ratelimit-retry-after": "15"}, 15.0),
        ({"x-retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "9", "retry-after-ms": "8500"}, 8.5),
        ({"llm_provider-retry-after": "15"}, None),
    ],
)
def test_a_wait_in_a_header_is_read_however_it_is_spelled(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, {}, "", NOW) == seconds


LONG = {
    "a day by name": {"x-ratelimit-limit-requests-day": "14400", "x-ratelimit-remaining-requests-day": "14399"},
    "a month by name": {"x-ratelimit-limit-tokens-month": "1000000", "x-ratelimit-remaining-tokens-month": "999999"},
    "hours by its reset": {"x-ratelimit-limit": "50", "x-ratelimit-remaining": "49", "x-ratelimit-reset": "28800"},
    "hours by its reset in milliseconds": {"x-ratelimit-limit": "50", "x-ratelimit-reset": "1700028800000"},
    "hours by a time": {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-reset": "2023-11-15T06:13:20Z",
    },
    "a day, refilled drop by drop": {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14370",
        "x-ratelimit-reset-requests": "2m59.56s",
    },
    "a day, its first drop": {
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "8.64s",
    },
    "a second": {"x-ratelimit-limit-requests-second": "5", "x-ratelimit-remaining-requests-second": "4"},
    "a service behind a router": {"llm_provider-x-ratelimit-limit-requests": "14400"},
}


@pytest.mark.parametrize("window", LONG)
def test_a_window_of_another_length_is_never_taken_for_a_minute(window: str) -> None:
    assert rate_info(LONG[window], NOW) is None


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        ({"x-ratelimit-limit-req-minute": "60", "x-ratelimit-limit-tokens-minute": "500000"}, (60, 500000)),
        ({"x-ratelimit-api_key-limit-requests": "3", "x-ratelimit-api_key-limit-tokens": "9000"}, (3, 9000)),
        ({"x-ratelimit-limit": "10", "x-tokenlimit-limit": "9000"}, (10, 9000)),
        ({"x-ratelimit-limit-requests": "60", "x-ratelimit-limit-requests-day": "9000"}, (60, None)),
        ({"x-ratelimit-limit-tokens": "7000", "x-ratelimit-api_key-limit-tokens": "9000"}, (None, 7000)),
        ({"anthropic-ratelimit-output-tokens-limit": "8000"}, (None, None)),
    ],
)
def test_headers_are_matched_by_their_parts(headers: dict, limits: tuple[int | None, int | None]) -> None:
    got = rate_info(headers, NOW)
    assert (got.limit_requests if got else None, got.limit_tokens if got else None) == limits


def test_a_minute_that_is_just_begun_stays_one() -> None:
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "59s",
    }
    got = rate_info(headers, NOW)
    assert got is not None
    assert (got.limit_requests, got.reset_requests_s) == (60, 59.0)
