"""The simulator over real HTTP: dialects, faults, limits, and books that agree to the token."""

import asyncio
import json
import math
import re
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from docreduce.simulator import (
    BILLED_FAULTS,
    FREE_FAULTS,
    UNSEEN_FAULTS,
    Ask,
    Server,
    Settings,
    echo,
    gold,
    gold_from_files,
    serve,
)
from docreduce.simulator.account import Bucket
from docreduce.simulator.cli import load_settings, simulate
from docreduce.simulator.dialects import _duration, rate_headers
from docreduce.simulator.settings import parse_settings
from docreduce.values import Message
from docreduce.values.errors import JobError, MachineError
from places import DATA

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
LAB_CHAT, LAB_MESSAGES = "/api/v7/llm/chat/completions", "/api/v7/llm/v1/messages"
PATHS = (CHAT, MESSAGES, LAB_CHAT, LAB_MESSAGES)
TEXT = "The quick brown fox jumps over the lazy dog. " * 8
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # made once: a client's own takes 20 ms
SCHEMA = {"type": "object", "properties": {"items": {"type": "array"}}}


def ask(text: str = TEXT, **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": text}], **more}


def settings(**values: Any) -> Settings:
    return parse_settings({"tokenizer": "bytes", **values}, "test")


Talk = Callable[[httpx.AsyncClient, Server], Awaitable[Any]]


@asynccontextmanager
async def client_of(server: Server):
    async with httpx.AsyncClient(base_url=server.url, timeout=10, verify=NO_TLS) as client:
        yield client


def talk(chosen: Settings, work: Talk, answerer: Callable[[Ask], str] | None = None) -> Any:
    async def run() -> Any:
        async with serve(chosen, answerer) as server, client_of(server) as client:
            return await work(client, server)

    return asyncio.run(run())


def usage_of(answer: dict[str, Any]) -> tuple[int, int]:
    usage = answer["usage"]
    if "prompt_tokens" in usage:
        return usage["prompt_tokens"], usage["completion_tokens"]
    return usage["input_tokens"] + usage.get("cache_read_input_tokens", 0), usage["output_tokens"]


def text_of(answer: dict[str, Any]) -> str:
    if "choices" in answer:
        return answer["choices"][0]["message"]["content"]
    return answer["content"][0]["text"]


@pytest.mark.parametrize("path", PATHS)
def test_each_dialect_answers_and_is_billed_to_the_token(path: str) -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        answers = [(await client.post(path, json=ask(TEXT + str(n)))).json() for n in range(3)]
        assert text_of(answers[0]) == " ".join((TEXT + "0").split())
        stats = (await client.get("/stats")).json()
        assert stats["accepted"] == stats["billed_calls"] == stats["unique_ok"] == 3
        assert (stats["input_tokens"], stats["output_tokens"]) == tuple(
            map(sum, zip(*map(usage_of, answers), strict=True))
        )
        assert stats["cost_pusd"] == stats["input_tokens"] * 70_000 + stats["output_tokens"] * 280_000
        assert stats["unseen_calls"] == stats["in_flight"] == 0

    talk(settings(), work)


def test_the_tokenizers_count_times_the_ratio_is_what_is_billed() -> None:
    from docreduce.text.tokens import tokenizer

    async def work(client: httpx.AsyncClient, server: Server) -> None:
        counter = tokenizer("o200k_base")
        answer = (await client.post(LAB_CHAT, json=ask())).json()
        said = counter.count(text_of(answer))
        assert usage_of(answer) == (round(1.5 * (counter.count(TEXT) + 10)), round(1.5 * said))
        counted = (await client.post("/api/v7/llm/v1/messages/count_tokens", json=ask())).json()
        assert counted == {"input_tokens": usage_of(answer)[0]}

    talk(settings(tokenizer="o200k_base", ratio=1.5), work)


def test_cached_and_reasoning_tokens_are_parts_told_in_each_dialects_way() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        chat = (await client.post(CHAT, json=ask())).json()["usage"]
        assert chat["prompt_tokens_details"]["cached_tokens"] == chat["prompt_tokens"] // 2
        assert chat["completion_tokens_details"]["reasoning_tokens"] == chat["completion_tokens"] // 4
        messages = (await client.post(MESSAGES, json=ask())).json()["usage"]
        assert messages["input_tokens"] + messages["cache_read_input_tokens"] == chat["prompt_tokens"]
        assert server.stats()["cached_input_tokens"] == 2 * (chat["prompt_tokens"] // 2)

    talk(settings(cached_share=0.5, reasoning_share=0.25), work)


def test_model_id_blocks_and_a_key_in_the_body_are_understood() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        body = ask([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}])  # type: ignore[arg-type]
        del body["model"]
        answer = await client.post(LAB_CHAT, json={**body, "model_id": "ernie", "key": "k"})
        assert (text_of(answer.json()), answer.json()["model"]) == ("one two", "ernie")
        for headers in ({"authorization": "Bearer k"}, {"x-api-key": "k"}):
            assert (await client.post(CHAT, json=ask(), headers=headers)).status_code == 200
        refused = await client.post(LAB_CHAT, json=ask(), headers={"authorization": "Bearer no"})
        assert (refused.status_code, refused.json()) == (401, {"status": "error", "message": "Invalid API key"})

    talk(settings(keys=["k"]), work)


def test_a_forced_tool_is_answered_as_its_arguments() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        tool = {"type": "function", "function": {"name": "record", "parameters": SCHEMA}}
        choice = {"type": "function", "function": {"name": "record"}}
        chat = (await client.post(CHAT, json=ask(tools=[tool], tool_choice=choice))).json()["choices"][0]
        assert chat["finish_reason"] == "tool_calls"
        assert chat["message"]["tool_calls"][0]["function"] == {"name": "record", "arguments": '{"items":[]}'}
        tool = {"name": "record", "input_schema": SCHEMA}
        messages = (await client.post(MESSAGES, json=ask(tools=[tool]))).json()
        assert messages["stop_reason"] == "tool_use"
        assert messages["content"][0]["input"] == {"items": []}

    talk(settings(), work)


def test_forms_of_structured_output_can_be_refused() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        refused = await client.post(LAB_CHAT, json=ask(response_format=form))
        assert (refused.status_code, refused.json()["message"]) == (
            400,
            "response_format is not supported by this model",
        )
        assert (await client.post(LAB_CHAT, json=ask(response_format={"type": "json_object"}))).status_code == 200
        assert server.stats()["rejected"] == {"unsupported_parameter": 1}

    talk(settings(refuse=["json_schema"]), work)


def test_the_answerer_sees_messages_schema_and_limit_also_when_the_prompt_quotes_the_schema() -> None:
    seen: list[Ask] = []

    def answerer(request: Ask) -> str:
        seen.append(request)
        return "{}"

    async def work(client: httpx.AsyncClient, server: Server) -> None:
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        await client.post(CHAT, json=ask(response_format=form))
        await client.post(MESSAGES, json=ask(system=f"Answer {{as}} one object: {json.dumps(SCHEMA)}. Thanks."))

    talk(settings(), work, answerer)
    assert [request.schema for request in seen] == [SCHEMA, SCHEMA]
    assert [request.structured for request in seen] == ["json_schema", None]
    assert seen[0].text == TEXT
    assert seen[1].max_output_tokens == 500


def test_an_answerer_that_fails_is_heard_of_and_leaves_no_client_waiting(caplog: pytest.LogCaptureFixture) -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        assert (await client.post(CHAT, json=ask())).status_code == 500

    def answerer(request: Ask) -> str:
        raise ZeroDivisionError

    talk(settings(), work, answerer)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_says_the_same_as_a_whole_answer_and_ends_with_the_usage(path: str) -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        whole = (await client.post(path, json=ask())).json()
        response = await client.post(path, json=ask(stream=True))
        assert response.headers["content-type"] == "text/event-stream"
        events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
        if "choices" in whole:
            text = "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"])
            usage = usage_of(events[-1])
            assert response.text.endswith("data: [DONE]\n\n")
        else:
            text = "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta")
            usage = (events[0]["message"]["usage"]["input_tokens"], events[-2]["usage"]["output_tokens"])
            assert events[-1] == {"type": "message_stop"}
        assert (text, usage) == (text_of(whole), usage_of(whole))
        assert server.stats()["output_tokens"] == 2 * usage[1]

    talk(settings(), work)


def test_a_streamed_tool_call_comes_in_pieces() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        tool = {"type": "function", "function": {"name": "record", "parameters": SCHEMA}}
        lines = (await client.post(CHAT, json=ask(stream=True, tools=[tool]))).text.splitlines()
        deltas = [json.loads(line[6:])["choices"] for line in lines if line.startswith("data: {")]
        calls = [c[0]["delta"]["tool_calls"][0]["function"] for c in deltas if c and "tool_calls" in c[0]["delta"]]
        assert len(calls) > 1
        assert calls[0]["name"] == "record"
        assert "".join(call["arguments"] for call in calls) == '{"items":[]}'

    talk(settings(), work)


def test_a_stream_given_up_early_is_billed_for_what_was_made_and_unseen() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        async with client.stream("POST", CHAT, json=ask(stream=True)) as response:
            async for _ in response.aiter_bytes():
                break
        while server.stats()["in_flight"]:
            await asyncio.sleep(0.01)
        stats = server.stats()
        assert stats["outcomes"]["abandoned"]["calls"] == stats["unseen_calls"] == 1
        assert 0 <= stats["output_tokens"] < len(TEXT) // 4
        assert stats["input_tokens"] == stats["unseen_input_tokens"] > 0

    talk(settings(latency_s=0.4, latency_sigma=0), work)


def test_an_answer_past_the_limit_is_cut_and_billed_at_the_limit() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        chat = (await client.post(CHAT, json=ask(max_tokens=20))).json()
        assert chat["choices"][0]["finish_reason"] == "length"
        assert chat["usage"]["completion_tokens"] == 20
        assert TEXT.startswith(text_of(chat))
        assert (await client.post(MESSAGES, json=ask(max_tokens=20))).json()["stop_reason"] == "max_tokens"

    talk(settings(), work)


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        (CHAT, lambda body: body["error"]["code"] == "context_length_exceeded"),
        (MESSAGES, lambda body: body["error"]["message"].startswith("prompt is too long")),
        (LAB_CHAT, lambda body: body["error"]["code"] == 400 and "maximum context length" in body["error"]["message"]),
    ],
)
def test_the_window_holds_input_and_output_together(path: str, shape: Callable[[Any], bool]) -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        tokens = math.ceil(len(TEXT) / 4) + 10
        assert (await client.post(path, json=ask(max_tokens=300 - tokens))).status_code == 200
        over = await client.post(path, json=ask(max_tokens=301 - tokens))
        assert over.status_code == 400
        assert shape(over.json())
        assert server.stats()["billed_calls"] == 1

    talk(settings(context_window=300), work)


def test_the_models_are_listed_and_an_unknown_one_is_not_answered() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        listed = (await client.get("/api/v7/llm/v1/models")).json()["data"]
        assert [model["id"] for model in listed] == ["m", "n"]
        assert (await client.post(CHAT, json=ask())).status_code == 200
        unknown = await client.post(CHAT, json=ask(model="o"))
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.post(CHAT, content=b"{")).status_code == 400
        assert (await client.post(CHAT, json={"model": "m"})).status_code == 400

    talk(settings(models=["m", "n"]), work)


# --- faults ------------------------------------------------------------------------------------------------------

STATUS = {"408": 408, "500": 500, "502": 502, "503": 503, "504": 504, "529": 529, "overflow": 400, "redirect": 307}
STATUS |= {name: 429 for name in FREE_FAULTS if name.startswith("429")}


@pytest.mark.parametrize("path", [CHAT, MESSAGES, LAB_CHAT])
@pytest.mark.parametrize("fault", sorted(FREE_FAULTS - {"hang", "reset"}))
def test_a_free_fault_has_its_status_and_costs_nothing(fault: str, path: str) -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        response = await client.post(path, json=ask())
        assert response.status_code == STATUS.get(fault, 200)
        if fault not in ("redirect", "content_type"):
            body = response.json()
            assert "choices" not in body
            assert "content" not in body
        stats = server.stats()
        assert stats["outcomes"] == {fault: {"calls": 1}}
        assert (stats["accepted"], stats["billed_calls"], stats["input_tokens"]) == (1, 0, 0)
        assert (await client.post(path, json=ask())).status_code == 200  # the second accepted call is clean

    talk(settings(fault_at={1: fault}), work)


def test_each_kind_of_wait_hint_says_the_same_wait() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        kinds = {1: "none", 2: "seconds", 3: "fractional", 4: "date", 5: "ms", 6: "body"}
        got = {kind: await client.post(LAB_CHAT, json=ask()) for kind in kinds.values()}
        assert not {"retry-after", "retry-after-ms"} & {*got["none"].headers, *got["body"].headers}
        assert got["seconds"].headers["retry-after"] == "8"
        assert got["fractional"].headers["retry-after"] == "7.500"
        assert got["date"].headers["retry-after"].endswith("GMT")
        assert got["ms"].headers["retry-after-ms"] == "7500"
        assert got["body"].json() == {"status": "error", "message": "Rate limit exceeded.", "retry_after": 8}

    kinds = ("none", "seconds", "fractional", "date", "ms", "body")
    faults = {n: f"429_{kind}" for n, kind in enumerate(kinds, 1)}
    talk(settings(fault_at=faults, retry_after_s=7.5), work)


def test_the_four_shapes_of_an_error_inside_a_200() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        bodies = [(await client.post(LAB_CHAT, json=ask())).json() for _ in range(5)]
        assert bodies[0] == {"status": "error", "message": "Provider returned error"}
        assert bodies[1] == {"status": "error", "messege": "Provider returned error"}
        assert bodies[2]["error"]["type"] == "server_error"
        assert bodies[3]["error"]["code"] == 502
        assert bodies[4]["type"] == "error"

    kinds = ("message", "messege", "openai", "openrouter", "anthropic")
    talk(settings(fault_at={n: f"200_{kind}" for n, kind in enumerate(kinds, 1)}), work)


@pytest.mark.parametrize("fault", ["reset", "hang", "reset_billed", "hang_billed"])
def test_a_broken_connection_is_billed_only_after_generation(fault: str) -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.post(CHAT, json=ask())
        stats = server.stats()
        billed = fault in BILLED_FAULTS
        assert (stats["billed_calls"], stats["unseen_calls"]) == (billed, billed)
        assert (await client.post(CHAT, json=ask())).status_code == 200

    talk(settings(fault_at={1: fault}, hang_s=0.05), work)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("fault", sorted(BILLED_FAULTS - {"reset_billed", "hang_billed"}))
def test_a_spoilt_answer_is_billed_and_its_usage_is_told_or_counted_as_unseen(fault: str, path: str) -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        response = await client.post(path, json=ask())
        stats = server.stats()
        assert stats["outcomes"][fault]["calls"] == stats["billed_calls"] == 1
        assert stats["unseen_calls"] == (fault in UNSEEN_FAULTS)
        if fault == "truncated":
            with pytest.raises(json.JSONDecodeError):
                response.json()
            return
        answer = response.json()
        if fault == "no_usage":
            assert "usage" not in answer
            return
        assert usage_of(answer) == (stats["input_tokens"], stats["output_tokens"])
        finish = answer["choices"][0]["finish_reason"] if path == CHAT else answer["stop_reason"]
        if fault in ("empty", "cut", "repeat"):
            assert finish in ("length", "max_tokens")
            assert stats["output_tokens"] == 500
        elif fault == "filter":
            assert finish in ("content_filter", "refusal")
        else:
            assert finish in ("stop", "end_turn")
        if fault == "repeat":
            assert text_of(answer).count("The quick brown fox jumps") > 20
        if fault == "invalid_json":
            with pytest.raises(json.JSONDecodeError):
                json.loads(text_of(answer))
        if fault == "huge":
            assert len(response.content) > 10_000

    talk(settings(fault_at={1: fault}, slow_s=0.03, huge_bytes=10_000), work)


@pytest.mark.parametrize("fault", sorted(BILLED_FAULTS))
def test_a_spoilt_stream_is_billed_alike(fault: str) -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        broken = fault in ("truncated", "reset_billed", "hang_billed")
        try:
            response = await client.post(CHAT, json=ask(stream=True))
        except (httpx.RemoteProtocolError, httpx.ReadError):
            assert broken
        else:
            assert not broken
            assert ('"usage"' in response.text) == (fault != "no_usage")
        stats = server.stats()
        assert stats["billed_calls"] == 1
        assert stats["unseen_calls"] == (fault in UNSEEN_FAULTS)

    talk(settings(fault_at={1: fault}, slow_s=0.03, huge_bytes=10_000, hang_s=0.05), work)


@pytest.mark.parametrize("fault", ["200_openrouter", "200_anthropic"])
def test_a_stream_can_break_off_with_an_error_event(fault: str) -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        response = await client.post(CHAT, json=ask(stream=True))
        events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
        assert (response.status_code, "choices" in events[0], "error" in events[-1]) == (200, True, True)
        assert server.stats()["billed_calls"] == 0

    talk(settings(fault_at={1: fault}), work)


@pytest.mark.long
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [None, "slow", "hang", "hang_billed"])
def test_a_client_that_gave_up_leaves_no_trace_but_its_bill(fault: str | None, stream: bool) -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(CHAT, json=ask("waits", stream=stream), timeout=0.05)
        while server.stats()["in_flight"]:
            await asyncio.sleep(0.01)
        stats = server.stats()
        billed = fault != "hang"
        assert (stats["billed_calls"], stats["unseen_calls"], stats["unique_ok"]) == (billed, billed, 0)
        assert (await client.post(CHAT, json=ask("goes on"))).status_code == 200

    slow = {"latency_s": 0.2, "latency_sigma": 0, "slow_s": 0.3, "hang_s": 5}
    talk(settings(fault_at={1: fault} if fault else {}, **slow), work)


def faults_of(seed: int, at_once: int) -> dict[str, int]:
    rates = {"500": 0.2, "200_message": 0.1, "cut": 0.1}

    async def work(client: httpx.AsyncClient, server: Server) -> dict[str, int]:
        bodies = [ask(f"{TEXT} {n}") for n in range(120)]
        gate = asyncio.Semaphore(at_once)

        async def send(body: dict[str, Any]) -> None:
            async with gate:
                for _ in range(2):
                    await client.post(CHAT, json=body)

        await asyncio.gather(*map(send, bodies))
        stats = server.stats()
        assert stats["accepted"] == 240
        assert stats["max_in_flight"] <= at_once
        counts = {name: outcome["calls"] for name, outcome in stats["outcomes"].items()}
        return counts | {"in": stats["input_tokens"], "out": stats["output_tokens"]}

    return talk(settings(seed=seed, faults=rates, latency_s=0.002), work)


@pytest.mark.long
def test_a_seed_gives_the_same_faults_at_any_concurrency() -> None:
    alone, together, other = faults_of(1, 1), faults_of(1, 30), faults_of(2, 30)
    assert alone == together
    assert alone != other
    assert 24 <= alone["500"] <= 72  # 240 calls at 0.2, more than four deviations wide


# --- limits ------------------------------------------------------------------------------------------------------


def test_the_bucket_lends_nothing_and_fills_at_its_rate() -> None:
    bucket = Bucket(60, burst_s=5, start=1.0, now=0.0)
    for _ in range(5):
        assert bucket.wait_s(1, 0.0) == 0
        bucket.level -= 1
    assert bucket.wait_s(1, 0.0) == 1.0
    assert bucket.wait_s(1, 0.75) == 0.25
    assert bucket.wait_s(1, 1.0) == 0
    assert bucket.wait_s(5, 100.0) == 0  # no fuller than its burst
    assert math.isinf(bucket.wait_s(5.01, 100.0))
    told = rate_headers("openai", {"requests": bucket})
    assert told == {
        "x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "0ms"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.012, "12ms"), (1, "1.000s"), (59.5, "1m0s"), (360, "6m0s"), (0, "0ms")]
)
def test_resets_are_told_as_openai_tells_them(seconds: float, told: str) -> None:
    assert _duration(seconds) == told


def test_requests_past_the_burst_are_refused_with_a_wait_and_cost_nothing() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        got = [await client.post(CHAT, json=ask(f"{TEXT} {n}")) for n in range(6)]
        assert [response.status_code for response in got] == [200] * 4 + [429] * 2
        assert [response.headers["x-ratelimit-remaining-requests"] for response in got] == [
            "3",
            "2",
            "1",
            "0",
            "0",
            "0",
        ]
        assert got[0].headers["x-ratelimit-limit-requests"] == "2"
        assert 1 <= int(got[4].headers["retry-after"]) <= 30
        assert got[4].json()["error"]["code"] == "rate_limit_exceeded"
        stats = server.stats()
        assert (stats["requests"], stats["accepted"], stats["refused"], stats["billed_calls"]) == (6, 4, 2, 4)

    talk(settings(requests_per_minute=2, burst_s=120), work)


def test_tokens_are_taken_when_a_call_is_accepted_input_and_output() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        first = await client.post(MESSAGES, json=ask())
        spent = sum(usage_of(first.json()))
        assert first.headers["anthropic-ratelimit-tokens-limit"] == "300"
        assert first.headers["anthropic-ratelimit-tokens-remaining"] == str(300 - spent)
        assert re.fullmatch(r"\d{4}-.*Z", first.headers["anthropic-ratelimit-tokens-reset"])
        second = await client.post(MESSAGES, json=ask())
        assert (second.status_code, second.json()["error"]["type"]) == (429, "rate_limit_error")
        never = await client.post(MESSAGES, json=ask(TEXT * 4))
        assert never.status_code == 413

    talk(settings(tokens_per_minute=300, burst_s=60), work)


def test_modelslab_says_its_wait_in_the_body_and_sends_no_rate_headers() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        calls = [client.post(LAB_CHAT, json=ask(f"{TEXT} {n}")) for n in range(6)]
        got = await asyncio.gather(*calls)
        refused = [response for response in got if response.status_code == 429]
        assert [response.json() for response in refused] == [
            {"status": "error", "message": "Rate limit exceeded. Maximum 5 queued requests allowed.", "retry_after": 30}
        ]
        assert not any(name.startswith(("x-ratelimit", "retry-after")) for name in refused[0].headers)
        stats = server.stats()
        assert (stats["accepted"], stats["refused"], stats["max_in_flight"]) == (5, 1, 5)

    talk(settings(queue_limit=5, retry_after_s=30, latency_s=0.2, latency_sigma=0), work)


def test_calls_past_the_slots_wait() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        await asyncio.gather(*(client.post(CHAT, json=ask(f"{TEXT} {n}")) for n in range(6)))
        stats = server.stats()
        assert (stats["accepted"], stats["max_in_flight"]) == (6, 6)
        assert stats["last_response_s"] - stats["first_request_s"] >= 3 * 0.05

    talk(settings(concurrency=2, latency_s=0.05, latency_sigma=0), work)


def test_a_key_expires_and_credit_ends_half_way() -> None:
    async def keys(client: httpx.AsyncClient, server: Server) -> list[int]:
        return [(await client.post(CHAT, json=ask(str(n)))).status_code for n in range(4)]

    assert talk(settings(key_expires_after=2), keys) == [200, 200, 401, 401]
    assert talk(settings(credit_calls=3), keys) == [200, 200, 200, 402]


def test_an_outage_refuses_everything_while_it_lasts() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        assert (await client.post(CHAT, json=ask())).status_code == 503
        server.began -= 60  # a minute later
        assert (await client.post(CHAT, json=ask())).status_code == 200

    talk(settings(outage_s=[0, 30]), work)


# --- answers and control -----------------------------------------------------------------------------------------


def test_echoed_answers_have_the_length_that_is_set_and_the_same_for_a_seed() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> list[int]:
        answers = [(await client.post(CHAT, json=ask(f"{n} {TEXT}"))).json() for n in range(40)]
        return [len(text_of(answer).split()) for answer in answers]

    lengths = talk(settings(output_words=30, output_sigma=0.5, seed=3), work)
    assert lengths == talk(settings(output_words=30, output_sigma=0.5, seed=3), work)
    assert len(set(lengths)) > 10
    assert 20 <= sorted(lengths)[20] <= 45
    assert set(talk(settings(output_words=30), work)) == {30}


def test_extractive_answers_are_the_embedded_providers() -> None:
    pytest.importorskip("docreduce.kinds.extract.offline")
    text = "The mill was built in 1871 by the river. It burned down in 1902 and was rebuilt in brick. " * 3

    async def work(client: httpx.AsyncClient, server: Server) -> None:
        answer = text_of((await client.post(CHAT, json=ask(text))).json())
        assert 0 < len(answer.split()) <= 20
        assert answer.split(".")[0] in text

    talk(settings(answer="extractive", output_words=20), work)


def test_gold_answers_hold_what_of_each_span_stands_in_the_chunk() -> None:
    text = "Between Ann and Bob. Law of Ohio. Ann pays Bob."
    rows = [("Parties", 8, 11), ("Parties", 16, 19), ("Governing Law", 28, 32)]
    labels = [
        {"file": "f", "category": category, "answer_text": text[a:b], "char_start": a, "char_end": b}
        for category, a, b in rows
    ]

    def items(answerer: Callable[[Ask], str], chunk: str) -> list[dict[str, Any]]:
        request = Ask(service="openai", model="m", messages=(Message("user", chunk),), max_output_tokens=9)
        return json.loads(answerer(request))["items"]

    many = gold({"f": text}, labels)
    assert [item["text"] for item in items(many, text)] == ["Ann", "Bob", "Ohio"]
    assert [item["text"] for item in items(many, text[12:30])] == ["Bob", "Oh"]
    assert items(many, text[12:20])[0]["evidence"] == {"text": "Bob"}
    assert items(many, text[34:]) == []
    assert items(many, "of another text") == []


def test_gold_answers_come_from_a_labels_file(tmp_path: Path) -> None:
    (tmp_path / "txt").mkdir()
    (tmp_path / "txt" / "a.txt").write_text("Signed in Ohio.")
    row = {"file": "a.txt", "category": "Law", "answer_text": "Ohio", "char_start": 10, "char_end": 14}
    labels = tmp_path / "gold.jsonl"
    labels.write_text(json.dumps({**row, "present": True}) + "\n" + json.dumps({**row, "present": False}) + "\n")

    async def work(client: httpx.AsyncClient, server: Server) -> None:
        answer = json.loads(text_of((await client.post(CHAT, json=ask("Signed in Ohio."))).json()))
        assert [item["text"] for item in answer["items"]] == ["Ohio"]

    talk(settings(answer="gold", gold=str(labels)), work)
    with pytest.raises(JobError, match="no gold labels"):
        talk(settings(answer="gold", gold=str(tmp_path / "none.jsonl")), work)


def test_gold_answers_over_the_real_contracts_hold_every_span() -> None:
    labels = DATA / "contracts" / "gold_labels.parquet"
    if not labels.is_file():
        pytest.skip("the contracts are not beside the project")
    import polars as pl

    rows = pl.read_parquet(labels).filter("present")
    answerer = gold_from_files(labels)
    for (file,), spans in rows.group_by(["file"]):
        text = (labels.parent / "txt" / str(file)).read_bytes().decode()
        request = Ask(service="openai", model="m", messages=(Message("user", text),), max_output_tokens=9)
        items = json.loads(answerer(request))["items"]
        assert sorted((i["category"], i["text"]) for i in items) == sorted(spans["category", "answer_text"].iter_rows())


def test_books_are_reset_and_settings_changed_over_http() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        await client.post(CHAT, json=ask())
        await client.post("/stats/reset")
        assert server.stats()["accepted"] == 0
        assert (await client.post("/config", json={"tokenizer": "bytes", "fault_at": {"1": "500"}})).status_code == 200
        assert (await client.post(CHAT, json=ask())).status_code == 500
        wrong = await client.post("/config", json={"latency": 3})
        assert (wrong.status_code, "latency" in wrong.text) == (400, True)

    talk(settings(), work)


def test_what_is_not_http_is_refused_and_pipelined_requests_are_answered_in_order() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        port = httpx.URL(server.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for word, close in (("first", ""), ("second", "connection: close\r\n")):
            body = json.dumps(ask(word))
            writer.write(
                f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n{close}content-length: {len(body)}\r\n\r\n{body}".encode()
            )
        got = (await reader.read()).decode()
        assert 0 < got.index('"first"') < got.index('"second"')
        writer.close()

    talk(settings(), work)


def test_a_port_in_use_is_an_error_of_this_machine() -> None:
    async def work(client: httpx.AsyncClient, server: Server) -> None:
        with pytest.raises(MachineError, match="port"):
            async with serve(settings(port=httpx.URL(server.url).port)):
                pass

    talk(settings(), work)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"latency": 1}, "latency"),
        ({"faults": {"5000": 0.1}}, "no such fault: 5000"),
        ({"faults": {"500": 0.9, "502": 0.2}}, "more than 1"),
        ({"answer": "gold"}, "needs gold"),
        ({"burst_s": 0}, "burst_s"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(JobError, match=named):
        parse_settings(values, "here")


def test_the_command_prints_its_url_first_and_takes_options_over_its_file(tmp_path: Path) -> None:
    config = tmp_path / "slow.toml"
    config.write_text('latency_s = 30.0\ntokenizer = "bytes"\n[fault_at]\n1 = "500"\n')
    assert load_settings(config)["fault_at"] == {"1": "500"}

    async def run() -> None:
        options = ("--config", str(config), "--latency-s", "0", "--keys", "a", "--keys", "b", "--fault-at", "1=503")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "docreduce.simulator", *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        url = (await process.stdout.readline()).decode().strip()
        async with httpx.AsyncClient(base_url=url) as client:
            headers = {"authorization": "Bearer b"}
            assert (await client.post(CHAT, json=ask(), headers=headers)).status_code == 503
            assert (await client.post(CHAT, json=ask(), headers=headers)).status_code == 200
            await client.post("/config", json={"tokenizer": "bytes", "latency_s": 0.2, "latency_sigma": 0})
            for stream in (False, True):
                with pytest.raises(httpx.ReadTimeout):
                    await client.post(CHAT, json=ask(stream=stream), timeout=0.05)
            while (await client.get("/stats")).json()["in_flight"]:
                await asyncio.sleep(0.01)
        process.terminate()
        assert await process.stderr.read() == b""  # a client that gave up is no error of the server's
        await process.wait()

    asyncio.run(run())


def test_the_command_names_a_wrong_option_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for options, named in ((["--burst-s", "no"], "burst_s"), (["--fault", "500"], "'500' is no pair")):
        with pytest.raises(SystemExit) as caught:
            simulate.main(options)
        assert caught.value.code == 2
        assert named in capsys.readouterr().err


def test_every_setting_is_an_option() -> None:
    import dataclasses

    options = {name for parameter in simulate.params for name in parameter.opts}
    for setting in dataclasses.fields(Settings):
        name = setting.name.replace("_", "-").replace("faults", "fault")  # given once a fault
        assert f"--{name}" in options


def test_echo_repeats_short_sources_and_has_words_for_empty_ones() -> None:
    request = Ask(service="openai", model="m", messages=(Message("user", "a b"),), max_output_tokens=9)
    assert echo(request, 5) == "a b a b a"
    empty = Ask(service="openai", model="m", messages=(), max_output_tokens=9)
    assert echo(empty, 2) == "nothing nothing"
