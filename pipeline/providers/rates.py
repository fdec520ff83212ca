"""Waits and limits as services put them in headers. Pure: the wall clock is an argument.

Sources: OpenAI and Anthropic rate-limit documentation; RFC 9110 §10.2.3 (Retry-After).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from docreduce.values import RateInfo

__all__ = ["rate_info", "reset_s", "retry_after_s"]

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_HEADERS = {
    f"{field}-{unit}": (
        f"x-ratelimit-{field}-{unit}",
        f"anthropic-ratelimit-{unit}-{field}",
        # Anthropic states input apart where the account has no limit over both; others state one limit only.
        *((f"anthropic-ratelimit-input-tokens-{field}",) if unit == "tokens" else (f"x-ratelimit-{field}",)),
    )
    for field in ("limit", "remaining", "reset")
    for unit in ("requests", "tokens")
}
_EPOCH_S = 1e9  # a bare number past this is a time, not a wait
_EPOCH_MS = 1e12


def rate_info(headers: Mapping[str, str], now: float) -> RateInfo | None:
    """What the rate headers say, None if there are none. `now`: wall-clock seconds, for resets that are times."""
    if not any("ratelimit" in name for name in headers):
        return None

    def find(name: str) -> str | None:
        return next((headers[header] for header in _HEADERS[name] if header in headers), None)

    info = RateInfo(
        limit_requests=_count(find("limit-requests")),
        remaining_requests=_count(find("remaining-requests")),
        reset_requests_s=reset_s(find("reset-requests"), now),
        limit_tokens=_count(find("limit-tokens")),
        remaining_tokens=_count(find("remaining-tokens")),
        reset_tokens_s=reset_s(find("reset-tokens"), now),
    )
    return None if info == RateInfo() else info


def reset_s(text: str | None, now: float) -> float | None:
    """Seconds until a reset: `12ms`, `1s`, `6m0s`, a bare number, an RFC 3339 time; None for `-1` and nonsense."""
    if not text or not (text := text.strip()):
        return None
    number = _number(text)
    if number is not None:
        if number >= _EPOCH_S:
            return max(0.0, (number / 1000 if number >= _EPOCH_MS else number) - now)
        return number if number >= 0 else None
    if match := _DURATION.fullmatch(text):
        hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
        return hours * 3600 + minutes * 60 + seconds + millis / 1000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - now) if moment.tzinfo else None


def retry_after_s(headers: Mapping[str, str], body_value: object, now: float) -> float | None:
    """The wait asked for: retry-after-ms, else retry-after (seconds or an HTTP date), else the body's field."""
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return max(0.0, millis / 1000)
    stated = headers.get("retry-after")
    if stated is not None:
        seconds = _number(stated)
        if seconds is not None:
            return max(0.0, seconds)
        try:
            return max(0.0, parsedate_to_datetime(stated).timestamp() - now)
        except (ValueError, OverflowError):
            pass  # not a wait in any form: the body may state one
    if isinstance(body_value, (int, float, str)) and not isinstance(body_value, bool):
        seconds = _number(body_value)
        return None if seconds is None else max(0.0, seconds)
    return None


def _number(value: str | float | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _count(text: str | None) -> int | None:
    number = _number(text)
    return int(number) if number is not None and number >= 0 else None
