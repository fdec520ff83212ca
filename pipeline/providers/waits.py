"""How long to wait and what is allowed, wherever a service says it. Pure: the wall clock is an argument.

Headers are matched by their parts, in any order and with any prefix: "ratelimit", what is counted (requests, tokens),
what is said of it (limit, remaining, reset), over which window. A limit whose window is longer than a minute is never
given as a minute's: its window is named, or its reset lies further away, or what is used up of it refills too slowly.

Sources: OpenAI's, Anthropic's, Groq's, Mistral's, Cerebras', OpenRouter's and LiteLLM's documents on rate limits;
google.rpc.RetryInfo; RFC 9110 §10.2.3 (Retry-After).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Literal

from docreduce.providers.dialect import listing, mapping
from docreduce.values import RateInfo

__all__ = ["exhausted_s", "rate_info", "reset_s", "retry_after_s"]

_DURATION = re.compile(
    r"(?:P(?=T?\d))?(?:(\d+)d)?(?:T(?=\d))?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?",
    re.IGNORECASE,
)
"""As Go writes them (6m0s, 12ms), or ISO 8601 (PT1M30S)."""
_EPOCH_S = 1e9  # a bare number past this is a time, not a wait
_EPOCH_MS = 1e12
_MINUTE_S = 61.0
"""A minute's window resets within a minute; one second for clocks that differ."""
_DAY_S = 86_400.0
_DAY_SLACK = 0.02
"""OpenAI and Groq state a day's requests under a minute's name, refilled drop by drop: reset = used x day / limit."""

_PARTS = re.compile(r"[-_./]")
_UNITS: Mapping[str, Literal["requests", "tokens"]] = {
    **dict.fromkeys(("requests", "request", "req"), "requests"),
    **dict.fromkeys(("tokens", "token", "tokenlimit", "ratelimitbysize"), "tokens"),  # Together, Mistral
}
_LONG = frozenset({"hour", "day", "daily", "week", "month", "monthly", "1h", "24h", "1d"})
_FIELDS = frozenset({"limit", "remaining", "reset"})
_SILENT = frozenset({"output", "priority", "fast", "renewalperiod", "over", "policy", "type", "second", "1s"})
"""Parts that make another header of it: limits of output alone, of a paid tier, of a second, policies."""
_PAIR = re.compile(r"\b(r|t|limit|remaining|reset)=(\d+)")
_SHORT = {"r": "remaining", "t": "reset"}
"""IETF's draft of RateLimit fields, older and newer form."""
_FOREIGN = ("llm_provider-",)  # LiteLLM passes on what the service behind it said of its own account

_MOMENT = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"
_WORDS = re.compile(
    r"(?:try|retry|wait|available|next request|come back|resets?|back ?off)(?: (?!per|every|each|within)[a-z]+){0,3}?"
    r"(?: (?:again|in|for|after|about|approximately|around|at least|another))*:? ?"
    r"(?P<spell>(?:\d+(?:\.\d+)? ?"
    r"(?:ms|milliseconds?|d|days?|h|hours?|m|min|mins|minutes?|s|secs?|seconds?)(?![a-z])[ ,]*(?:and )?)+)"
    rf"|(?:resets?|try again|retry|available)(?: again)? (?:at|after|until|on):? ?(?P<moment>{_MOMENT})"
    r"|retry after['\"]?[:=] ?['\"]?(?P<bare>\d+(?:\.\d+)?)(?![\w.])"
    rf"|将在 ?(?P<china>{_MOMENT}) ?重置",
    re.IGNORECASE,
)
_SPELL = (
    r"(?:(?<!\d)\d+(?:[.,]\d+)? ?(?:sek(?:unden?)?|secondes?|segundos?|min(?:uten?|utes?|utos?)?|stunden?|std"
    r"|heures?|horas?|tage?n?|jours?|d[ií]as?|秒|分钟?|小时|[hms])(?![a-z])\.?,? ?(?:(?:und|et|y) )?)+"
)
_FOREIGN_WORDS = re.compile(
    r"\b(?:versuch|wart|erneut|r[ée]essa[iy]|patient|attend|(?:re)?int[ée]nt|esper)[^.\d\n]{0,40}?"
    rf"(?P<after>{_SPELL})|(?:\bin |\bnach )(?P<before>{_SPELL})(?:erneut|wieder|noch)|(?P<later>{_SPELL})[后後]",
    re.IGNORECASE,
)
"""The same in German, French, Spanish and Chinese: a word for waiting or for another try, and a time beside it."""
_ONE = re.compile(r"\b(?:an?|one) (?=(?:second|minute|hour|day)\b)", re.IGNORECASE)
_WAIT_NAME = re.compile(
    r"(?:\w+_)?(?:(?:retry|resets?|try_again)(?:_?(?:after|at|in|delay|time|until))+|wait|wait_time|cooldown|backoff)"
    r"(?:_?(?P<unit>ms|millis|milliseconds|s|sec|secs|seconds?))?|estimated_time|time_(?:to|until)_reset",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|-")
_CHINA = timezone(timedelta(hours=8))  # who says it in Chinese, and names no zone
_MOST_WORDS = 2000
_DEPTH, _WIDTH = 5, 16
"""Of a body that is looked through for waits; a field in it may be the document, echoed."""
_SPELLED = re.compile(r"(\d+(?:[.,]\d+)?) ?(ms|milli|stunde|std|tag|jour|d|h|m|s|秒|分|小)", re.IGNORECASE)
_SCALE = {
    **dict.fromkeys(("ms", "milli"), 0.001),
    **dict.fromkeys(("s", "秒"), 1.0),
    **dict.fromkeys(("m", "分"), 60.0),
    **dict.fromkeys(("h", "stunde", "std", "小"), 3600.0),
    **dict.fromkeys(("d", "tag", "jour"), _DAY_S),
}


@dataclass(slots=True)
class _Window:
    """What is said of one counted thing over one window. `rank`: parts of the name that say something else."""

    rank: int
    long: bool
    limit: float | None = None
    remaining: float | None = None
    reset_s: float | None = None

    def is_minute(self) -> bool:
        if self.long or (self.reset_s is not None and self.reset_s > _MINUTE_S):
            return False
        if self.limit and self.remaining is not None and self.reset_s and (used := self.limit - self.remaining) > 0:
            return abs(self.reset_s * self.limit / used / _DAY_S - 1) > _DAY_SLACK
        return True


def rate_info(headers: Mapping[str, str], now: float) -> RateInfo | None:
    """What the rate headers say of a minute, None if that is nothing. `now`: wall-clock seconds, for resets that are
    times."""
    found = _windows(headers, now)
    values: dict[str, Any] = {}
    for unit in ("requests", "tokens"):
        minutes = [window for (of, _), window in found.items() if of == unit and window.is_minute()]
        if window := min(minutes, key=lambda window: window.rank, default=None):
            values |= {
                f"limit_{unit}": None if window.limit is None else int(window.limit),
                f"remaining_{unit}": None if window.remaining is None else int(window.remaining),
                f"reset_{unit}_s": window.reset_s,
            }
    info = RateInfo(**values)
    return None if info == RateInfo() else info


def exhausted_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until what is used up comes back, where a call was just refused; None where the headers do not say."""
    gone = [w.reset_s for w in _windows(headers, now).values() if not w.remaining and w.reset_s is not None]
    return max(gone, default=None)


def reset_s(text: str | None, now: float) -> float | None:
    """Seconds until a reset: `12ms`, `6m0s`, `PT30S`, a bare number, an RFC 3339 time, an HTTP
    date; None for `-1` and nonsense."""
    if not text or not (text := text.strip()):
        return None
    number = _number(text)
    if number is not None:
        if number >= _EPOCH_S:
            return max(0.0, (number / 1000 if number >= _EPOCH_MS else number) - now)
        return number if number >= 0 else None
    if match := _DURATION.fullmatch(text):
        days, hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
        return days * _DAY_S + hours * 3600 + minutes * 60 + seconds + millis / 1000
    try:
        moment = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
        return max(0.0, moment.timestamp() - now) if moment.tzinfo else None
    except (ValueError, OverflowError, TypeError):
        return None


def retry_after_s(headers: Mapping[str, str], body: Mapping[str, Any], message: str, now: float) -> float | None:
    """The wait asked for: retry-after-ms, else retry-after (seconds or an HTTP date), else a field of the body, else
    words of its `message`. What a body passes on of another service's headers is read like headers."""
    return next((wait for wait in _waits(headers, body, message, now) if wait is not None), None)


def _waits(headers: Mapping[str, str], body: Mapping[str, Any], message: str, now: float) -> Iterator[float | None]:
    yield _from_headers(headers, now)
    yield from _in_fields(body, now)
    metadata = mapping(mapping(body.get("error")).get("metadata"))
    passed = {str(name).lower(): str(value) for name, value in mapping(metadata.get("headers")).items()}
    yield _from_headers(passed, now)
    yield exhausted_s(passed, now)
    yield _in_words(message, now)
    yield _stated(body.get("eta"), now)


def _in_fields(body: Mapping[str, Any], now: float) -> Iterator[float | None]:
    """Waits in fields named for one, the outermost first, wherever in the body they stand."""
    places: list[Any] = [body]
    for _ in range(_DEPTH):
        for place in places:
            for name, value in mapping(place).items():
                if found := _WAIT_NAME.fullmatch(_HUMP.sub("_", name)):
                    wait = _stated(mapping(value).get("seconds", value), now)  # google.protobuf.Duration
                    millis = (found["unit"] or "").lower().startswith("m") and _number(value) is not None
                    yield wait / 1000 if wait is not None and millis else wait
        places = [
            inner
            for place in places
            for inner in (listing(place) or [v for k, v in mapping(place).items() if k != "headers"])[:_WIDTH]
            if isinstance(inner, (dict, list))
        ]


def _from_headers(headers: Mapping[str, str], now: float) -> float | None:
    """What a header says whose name ends in retry-after or retry-after-ms; that of the standard goes first."""
    named = [name for name in headers if "retry-after" in name and not name.startswith(_FOREIGN)]
    for name in sorted(named, key=lambda name: (len(name.removesuffix("-ms")), -len(name))):
        stated = headers[name].split(",")[0] if headers[name][:1].isdigit() else headers[name]  # sent twice, joined
        if name.endswith("-ms"):
            wait = None if (millis := _number(stated)) is None else max(0.0, millis / 1000)
        else:
            wait = _stated(stated, now)
            wait = _in_words(f"wait {stated}", now) if wait is None else wait
        if wait is not None:
            return wait
    return None  # not a wait in any form: the body may state one


def _stated(value: object, now: float) -> float | None:
    """A wait in a field: a number of seconds, digits, "34s", a time; what lies behind us is no wait at all."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    number = _number(value)
    if number is not None and number < 0:
        return 0.0
    return reset_s(str(value), now)


def _in_words(message: str, now: float) -> float | None:
    message = message[:_MOST_WORDS]
    found = _WORDS.search(_ONE.sub("1 ", message.replace("_", " ").replace("retry-after", "retry after")))
    if found is None:
        foreign = _FOREIGN_WORDS.search(message)
        return _spelled(foreign["after"] or foreign["before"] or foreign["later"]) if foreign else None
    if found["bare"]:
        return reset_s(found["bare"], now)
    if text := found["moment"] or found["china"]:
        text = text.upper().replace(" UTC", "Z").replace("UTC", "Z")
        moment = datetime.fromisoformat(text) if _is_moment(text) else None
        if moment is None:
            return None
        zone = _CHINA if found["china"] else UTC
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() - now)
    return _spelled(found["spell"])


def _spelled(text: str) -> float:
    """Seconds of a time in words."""
    parts = _SPELLED.findall(text)
    return sum(float(number.replace(",", ".")) * _SCALE[unit.lower()] for number, unit in parts)


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).year > 1970
    except ValueError:
        return False


def _windows(headers: Mapping[str, str], now: float) -> dict[tuple[str, tuple[str, ...]], _Window]:
    """What the headers say, by what is counted and by the rest of the header's name."""
    found: dict[tuple[str, tuple[str, ...]], _Window] = {}
    for name, value in _single(headers):
        if "limit" not in name or (said := _header(name)) is None:
            continue
        unit, field, rest, long = said
        window = found.setdefault((unit, rest), _Window(len(rest), long))
        if field == "reset":
            window.reset_s = reset_s(value, now)
        elif (count := _number(value)) is not None and count >= 0:
            setattr(window, field, count)
    return found


def _single(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The headers, those of one name for all their windows (`ratelimit: "day";r=0;t=30`) as one each."""
    for name, value in headers.items():
        if name != "ratelimit":
            yield name.replace("rate-limit", "ratelimit"), value
            continue
        for number, window in enumerate(value.split(",") if ";" in value else [value]):
            for field, stated in _PAIR.findall(window):
                yield f"ratelimit-{_SHORT.get(field, field)}-{number}", stated


@lru_cache(maxsize=256)  # the same names come with every response
def _header(name: str) -> tuple[str, str, tuple[str, ...], bool] | None:
    """What a header of this name states: of which unit, which field, what else its name says, whether over more than
    a minute; None for any other header."""
    parts = [part for part in _PARTS.split(name) if part != "x"]
    named = any("ratelimit" in part or part == "tokenlimit" for part in parts)
    field = next((part for part in ("remaining", "reset", "limit") if part in parts), None)
    if not named or field is None or _SILENT & set(parts) or name.startswith(_FOREIGN):
        return None
    unit = next((_UNITS[part] for part in parts if part in _UNITS), "requests")
    rest = tuple(p for p in parts if p not in _FIELDS and p not in _UNITS and p not in ("ratelimit", "minute"))
    return unit, field, rest, bool(_LONG & set(parts))


def _number(value: str | float | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
