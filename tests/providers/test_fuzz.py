"""The table of services, distorted: whatever comes, there is a reply, and what it states can be booked."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest
from docreduce.providers import anthropic, modelslab, openai
from docreduce.providers.dialect import Call, HttpResponse, mapping
from docreduce.providers.manner import Asking
from docreduce.providers.replies import StreamReader, decode
from docreduce.values import Answer, Rejection, Reply
from loopback import ask, booked, route

CASES: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "cases.toml").read_text("utf-8"))["case"]
DIALECTS = (openai.DIALECT, anthropic.DIALECT, modelslab.DIALECT, modelslab.MESSAGES)
STATUSES = (200, 200, 200, 301, 400, 403, 404, 413, 422, 429, 500, 503)
FORMS = (("tools", "json_schema"), ("json_schema",), ("prompt",))
NAMES = (
    "error",
    "message",
    "detail",
    "choices",
    "usage",
    "code",
    "type",
    "param",
    "status",
    "metadata",
    "raw",
    "details",
)
HEADERS = ("retry-after", "retry-after-ms", "x-ratelimit-reset-tokens-day", "x-ratelimit-remaining", "content-type")
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1e308, 2**62, 1e15, "", "x", "429", "error", "{", "<think>", "9" * 400, "1e999"),
    *([], {}, [[]], [{}], {"error": {}}, {"message": '{"error": {"code": "insufficient_quota"}}'}),
    *("Please try again in 99999999999999d", "resets at 9999-99-99 99:99:99", "\u202e\x00"),
)
BODIES = 4000


def distorted(value: Any, dice: random.Random) -> Any:
    """`value` with parts of it replaced, left out or added."""
    if dice.random() < 0.15:
        return dice.choice(ODD)
    if isinstance(value, dict):
        kept = {name: distorted(part, dice) for name, part in value.items() if dice.random() > 0.07}
        return kept | ({dice.choice(NAMES): dice.choice(ODD)} if dice.random() < 0.1 else {})
    if isinstance(value, list):
        return [distorted(part, dice) for part in value] * dice.choice([1, 1, 2])
    return value


def damaged(text: str, dice: random.Random) -> bytes:
    """JSON `text` distorted, and now and then cut into."""
    try:
        raw = orjson.dumps(distorted(orjson.loads(text), dice))
    except ValueError:
        raw = text.encode()
    if raw and dice.random() < 0.2:
        at = dice.randrange(len(raw))
        raw = raw[:at] + bytes([dice.randrange(256)]) * dice.randrange(4) + raw[at + dice.randrange(9) :]
    return raw


def replied(case: dict[str, Any], dice: random.Random) -> Reply:
    """The reply to a distorted row in any dialect."""
    dialect = dice.choice(DIALECTS)
    to = route(forms=dice.choice(FORMS), stream=dice.random() < 0.5)
    asking = Asking.begin(to, dialect, strict=dice.random() < 0.3)
    request = ask("words " * dice.choice([1, 500]), schema=dice.choice([None, '{"type":"object"}']))
    sent = dialect.encode(request, to, asking.manner, "")
    call = Call(
        request=request,
        route=to,
        manner=asking.manner,
        asking=asking,
        sent=sent,
    )
    headers = {name.lower(): str(value) for name, value in mapping(case.get("headers")).items()}
    headers[dice.choice(HEADERS)] = str(dice.choice(ODD))
    status = dice.choice([*STATUSES, case.get("status", 200)])
    if not case.get("sse"):
        body = damaged(case["body"], dice)
        return decode(dialect, call, HttpResponse(status=status, headers=headers, body=body, received_at=1.7e9))
    raw = b"".join(b"data: " + damaged(line, dice) + b"\n\n" for line in case["body"].split("\n") if line)
    reader = StreamReader(dialect, call, HttpResponse(status=200, headers=headers, body=b"", received_at=1.7e9))
    step = dice.randrange(1, 90)
    for start in range(0, len(raw), step):
        reader.feed(raw[start : start + step])
    return reader.reply or reader.finish()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_there_is_a_reply_that_can_be_booked(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(BODIES):
        got = replied(dice.choice(CASES), dice)
        if isinstance(got, Rejection):
            assert got.message.isprintable()
            assert len(got.message) <= 500
            assert got.retry_after_s is None or 0 <= got.retry_after_s < float("inf")
            assert got.billing != "charged" or got.usage is not None
        else:
            assert isinstance(got, Answer)
            assert got.text.strip()
        if used := booked(got, ask("words " * 500), route()).usage:
            assert 0 <= used.cached_input_tokens + used.cache_write_tokens <= used.input_tokens <= 10**8
            assert 0 <= used.cache_write_1h_tokens <= used.cache_write_tokens
            assert 0 <= used.reasoning_tokens <= used.output_tokens <= 10**8
