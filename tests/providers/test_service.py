"""All dialects against the simulated service: each of its faults has its cause, and the books agree."""

from __future__ import annotations

import asyncio

import pytest
from docreduce.simulator import BILLED_FAULTS, FREE_FAULTS, Settings, serve
from docreduce.values import Answer, Cause, Rejection, Reply
from loopback import ask, connect

CAUSES = {
    **dict.fromkeys(
        ("429_none", "429_seconds", "429_fractional", "429_date", "429_ms", "429_body"), Cause.RATE_LIMITED
    ),
    **dict.fromkeys(("500", "502", "200_message", "200_messege", "200_openai", "200_openrouter"), Cause.SERVER_ERROR),
    **dict.fromkeys(("408", "504", "hang", "hang_billed"), Cause.TIMEOUT),
    **dict.fromkeys(("503", "529"), Cause.OVERLOADED),
    **dict.fromkeys(("content_type", "truncated"), Cause.BAD_BODY),
    "200_anthropic": Cause.SERVER_ERROR,
    "overflow": Cause.CONTEXT_OVERFLOW,
    "processing": Cause.PROCESSING,
    "redirect": Cause.BAD_REQUEST,
    "reset": Cause.CONNECTION,
    "empty": Cause.EMPTY,
    "repeat": Cause.LOOP,
    "filter": Cause.CONTENT_FILTER,
}
ANSWERS = {"slow", "cut", "invalid_json", "no_usage"}
UNLIKE = {"429_quota", "huge", "reset_billed"}  # their reply depends on the dialect or on where the stream was


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("provider", "dialect", "root"),
    [
        ("openai", None, "/v1"),
        ("anthropic", None, ""),
        ("modelslab", None, "/api/v7/llm"),
        ("modelslab", "anthropic", "/api/v7/llm"),
    ],
)
def test_each_fault_has_its_cause_and_no_bill_is_wrong(
    provider: str, dialect: str | None, root: str, stream: bool
) -> None:
    faults = sorted(FREE_FAULTS | BILLED_FAULTS)

    async def work() -> dict[str, tuple[Reply, int]]:
        replies = {}
        async with serve(Settings()) as server:
            client = connect(
                server.url + root, {"provider": provider, "dialect": dialect}, stream=stream, max_output_tokens=900
            )
            for fault in faults:
                server.reset(Settings(fault_at={1: fault}, output_words=60, hang_s=5, slow_s=0.05))
                got = await client.send(ask("Some words to echo. " * 300), timeout_s=0.4)
                stats = server.stats()
                replies[fault] = got, stats["input_tokens"] + stats["output_tokens"]
            await client.aclose()
        return replies

    replies = asyncio.run(work())
    for fault, (got, billed_tokens) in replies.items():
        if fault not in UNLIKE:
            assert isinstance(got, Answer) == (fault in ANSWERS), (fault, got)
        if isinstance(got, Rejection) and fault not in UNLIKE:
            assert got.cause == CAUSES[fault], fault
        if got.usage is not None:
            assert got.usage.input_tokens + got.usage.output_tokens == billed_tokens, fault
        elif isinstance(got, Rejection) and got.billing == "free":
            assert billed_tokens == 0, fault
