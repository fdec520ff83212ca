"""What services are known to send, refuse and bill differently: the rows of cases.toml, each over real HTTP."""

from __future__ import annotations

import asyncio
import re
import time
import tomllib
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from docreduce.models.routes import Sampling
from docreduce.values import Answer, Rejection, Reply, Usage
from loopback import Seen, ask, booked, connect, response, route, sends, serve

CASES: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "cases.toml").read_text("utf-8"))["case"]
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MODELSLAB_API_KEY")
SERVICES = {
    *("OpenAI", "Anthropic", "Gemini", "OpenRouter", "Groq", "DeepSeek", "Mistral", "Together", "Azure", "vLLM"),
    *("Ollama", "llama.cpp", "LM Studio", "LiteLLM", "xAI", "ModelsLab"),
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "sk-secret-0123456789abcdef")


def dated(text: str) -> str:
    """`text` with `{+N}` for the epoch in N seconds, `{@+N}` for that moment in UTC."""
    now = time.time()
    text = re.sub(r"\{\+(\d+)\}", lambda found: str(int(now) + int(found[1])), text)
    moment = datetime.fromtimestamp(now, UTC)
    return re.sub(r"\{@\+(\d+)\}", lambda found: f"{moment + timedelta(seconds=int(found[1])):%Y-%m-%d %H:%M:%S}", text)


def whole(case: dict[str, Any]) -> bytes:
    """The response of a row."""
    body = dated(case["body"])
    if case.get("raw"):
        body = body.removeprefix("\n")
    elif case.get("sse"):
        body = "".join(f"data: {line}\n\n" for line in body.split("\n") if line)
    headers = {name: dated(value) for name, value in case.get("headers", {}).items()}
    kind = headers.pop("content-type", "text/event-stream" if case.get("sse") else "application/json")
    return response(body.encode(), case.get("status", 200), kind, **headers)


async def played(case: dict[str, Any]) -> tuple[Reply, Seen, list[str]]:
    """The reply to a row, what the server saw of two requests, and what the wire has to say."""
    fields = dict(case.get("route", {}))
    if "sampling" in fields:
        fields["sampling"] = Sampling(**fields["sampling"])
    if "forms" in fields:
        fields["forms"] = tuple(fields["forms"])
    async with serve(sends(whole(case))) as seen:
        settings = {"provider": case.get("dialect", "openai"), **case.get("settings", {})}
        provider = connect(f"http://127.0.0.1:{seen.port}{case.get('path', '/v1')}", settings, **fields)
        request = ask(case.get("asks", "What is said?") * case.get("times", 1), **case.get("asked", {}))
        try:
            got = await provider.send(request, timeout_s=10)
            if "then" in case:
                await provider.send(request, timeout_s=10)
            return got, seen, provider.notes
        finally:
            await provider.aclose()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['service']}: {case['name']}")
def test_a_service_is_understood_as_it_speaks(case: dict[str, Any]) -> None:
    got, seen, notes = asyncio.run(played(case))
    wanted = case["is"]
    if "text" in wanted:
        assert isinstance(got, Answer), got
        assert got.text == wanted["text"]
        assert got.finish_reason == wanted.get("ending", "stop")
        assert got.truncated == wanted.get("truncated", False)
    else:
        assert isinstance(got, Rejection), got
        assert (got.cause, got.decision, got.billing) == (wanted["cause"], wanted["decision"], wanted["billing"]), got
        assert wanted.get("says", "") in got.message
    if "wait_s" in wanted:
        assert isinstance(got, Rejection)
        assert got.retry_after_s == pytest.approx(wanted["wait_s"], abs=1.5)  # moments are whole seconds
    if case.get("no_wait"):
        assert isinstance(got, Rejection)
        assert got.retry_after_s is None
    billed(case, got)
    if "rate" in wanted:
        limits = (got.rate.limit_requests, got.rate.limit_tokens) if got.rate else (None, None)
        assert limits == tuple(limit or None for limit in wanted["rate"])
    for name in ("finish", "tier"):
        if name in wanted:
            assert (got.finish if name == "finish" else got.service_tier) == wanted[name]
    sent_as(wanted, seen)
    if "then" in case:
        following(case["then"], seen, notes)


def billed(case: dict[str, Any], got: Reply) -> None:
    """The bill is what was used, or unknown."""
    wanted = case["is"]
    if "usage" in wanted:
        taken, given, cached, written, reasoning = wanted["usage"]
        assert got.usage == Usage(
            input_tokens=taken,
            output_tokens=given,
            cached_input_tokens=cached,
            cache_write_tokens=written,
            cache_write_1h_tokens=wanted.get("hour", 0),
            reasoning_tokens=reasoning,
        )
    if wanted.get("unknown"):
        limit = case.get("route", {}).get("max_output_tokens", 100)
        assert booked(got, ask(case.get("asks", "What is said?")), route(max_output_tokens=limit)).billing == "unknown"


def sent_as(wanted: dict[str, Any], seen: Seen) -> None:
    """The first request had this line and these headers."""
    if "line" in wanted:
        assert seen.requests[0][0] == wanted["line"]
    for name in wanted.get("headers", ()):
        assert name in seen.requests[0][1]
    for name in wanted.get("no_headers", ()):
        assert name not in seen.requests[0][1]


def following(then: dict[str, Any], seen: Seen, notes: list[str]) -> None:
    """The next request is asked in the other way, and the user is told once."""
    body = seen.requests[1][2].decode()
    for key in then.get("has", ()):
        assert key in orjson.loads(body), body
    for key in then.get("lacks", ()):
        assert key not in body if key.startswith('"') else key not in orjson.loads(body), body
    assert then.get("says", "") in body
    assert len(notes) >= 1


def test_the_table_covers_the_services_and_names_its_sources() -> None:
    counts = Counter(case["service"] for case in CASES)
    assert len(CASES) >= 80
    assert set(counts) >= SERVICES
    assert all(case["source"] for case in CASES)
    assert len({(case["service"], case["name"]) for case in CASES}) == len(CASES)
