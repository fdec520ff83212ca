"""The offline provider answers like any provider: text, usage, a finish reason, and the same again."""

from __future__ import annotations

import asyncio
import json

import pytest
from docreduce.providers.offline import DEFAULT_MAX_WORDS, MODEL, OfflineProvider
from docreduce.text.tokens import tokenizer
from docreduce.values import Answer, Cause, Message, Rejection, Reply, Request, Stage

TEXT = " ".join(
    f"The committee of district {n} approved the budget of {n} million euros for the bridge over the river."
    for n in range(90)
)
SCHEMA = json.dumps({"type": "object", "properties": {"email": {"type": "string", "format": "email"}}})


def request(
    text: str, *, schema: str | None = None, max_words: int | None = None, tokens: int = 800, stage: Stage = "map"
) -> Request:
    return Request(
        provider="offline",
        model=MODEL,
        messages=(Message("system", "Summarize."), Message("user", text)),
        max_output_tokens=tokens,
        temperature=0.0,
        top_p=1.0,
        schema=schema,
        max_words=max_words,
        stage=stage,
    )


def send(one: Request, *, timeout_s: float = 30) -> Reply:
    async def run() -> Reply:
        provider = OfflineProvider(tokenizer("o200k_base"))
        try:
            return await provider.send(one, timeout_s=timeout_s)
        finally:
            await provider.aclose()

    return asyncio.run(run())


def answer(one: Request) -> Answer:
    reply = send(one)
    assert isinstance(reply, Answer)
    assert reply.finish_reason == "stop"
    return reply


def test_usage_counts_the_messages_and_the_answer() -> None:
    count = tokenizer("o200k_base").count
    reply = answer(request(TEXT))
    assert reply.usage is not None
    assert reply.usage.input_tokens == count("Summarize.") + count(TEXT)
    assert reply.usage.output_tokens == count(reply.text) > 0


def test_the_same_request_has_the_same_answer() -> None:
    assert answer(request(TEXT)) == answer(request(TEXT))


def test_a_summary_keeps_to_the_words_and_tokens_asked_for() -> None:
    assert len(answer(request(TEXT, max_words=40)).text.split()) <= 40
    assert len(answer(request(TEXT)).text.split()) <= DEFAULT_MAX_WORDS
    for tokens in (3, 30, 90):
        usage = answer(request(TEXT, tokens=tokens)).usage
        assert usage is not None
        assert 0 < usage.output_tokens <= tokens


def test_a_reduce_takes_from_all_its_parts() -> None:
    parts = [f"The {name} was repaired in {year}. The {name} is open again since May." for name, year in
             (("bridge", 2001), ("harbour", 2002), ("railway", 2003), ("theatre", 2004))]  # fmt: skip
    text = answer(request("\n\n".join(parts), max_words=30, stage="reduce")).text
    assert all(name in text for name in ("bridge", "harbour", "railway", "theatre"))


def test_a_schema_asks_for_fields() -> None:
    found = json.loads(answer(request("Write to a@b.example.", schema=SCHEMA)).text)
    assert found == {"items": [{"email": "a@b.example", "evidence": {"email": "a@b.example"}}]}
    assert json.loads(answer(request("Nothing.", schema=SCHEMA)).text) == {"items": []}


def test_empty_text_has_an_empty_summary() -> None:
    assert answer(request(" \n ")).text == ""


def test_a_lone_surrogate_does_not_reach_the_answer() -> None:
    text = "Title: \ud800 one \udfff\n" + TEXT[:160]
    for schema in (None, json.dumps({"type": "object", "properties": {"title": {"type": "string"}}})):
        reply = answer(request(text, schema=schema))
        assert reply.text.encode()
    assert json.loads(reply.text)["items"][0]["title"] == "\ufffd one \ufffd"


def test_no_object_schema_is_a_bad_request_and_no_time_a_timeout() -> None:
    refused = send(request(TEXT, schema="[]"))
    assert isinstance(refused, Rejection)
    assert refused.cause is Cause.BAD_REQUEST
    late = send(request(TEXT * 50), timeout_s=1e-9)
    assert isinstance(late, Rejection)
    assert late.cause is Cause.TIMEOUT
    assert late.billing == "free"


@pytest.mark.parametrize("stage", ["map", "reduce"])
def test_special_tokens_are_plain_text(stage: Stage) -> None:
    assert answer(request("<|endoftext|> " * 400, stage=stage)).text.startswith("<|endoftext|>")
