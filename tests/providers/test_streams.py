"""Streams of events: the same answers as whole bodies, kept alive by what grows, cut where they go in circles."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from docreduce.values import Answer, Cause, Usage
from loopback import CHAT, FINISH, KINDS, MESSAGE, attempt, rejected, response, run, sends

KEY = "sk-secret-0123456789abcdef"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MODELSLAB_API_KEY"):
        monkeypatch.setenv(name, KEY)


def sse(*events: dict | bytes, end: bytes = b"") -> bytes:
    return b"".join(b"data: " + (e if isinstance(e, bytes) else orjson.dumps(e)) + b"\n\n" for e in events) + end


def delta(text: str, finish: str | None = None) -> dict:
    return {"id": "gen-1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def call_delta(arguments: str, index: int = 0) -> dict:
    return {"choices": [{"delta": {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 25, "completion_tokens": 8}}
CHAT_STREAM = sse(delta("Hel"), delta("lo"), delta("", "stop"), USAGE, b"[DONE]")
MESSAGE_STREAM = b"".join(
    b"event: " + event["type"].encode() + b"\n" + sse(event)
    for event in (
        {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 25, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 8}},
        {"type": "message_stop"},
    )
)


def streamed(raw: bytes, **headers: str) -> bytes:
    return response(raw, kind="text/event-stream; charset=utf-8", **headers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_gives_the_same_answer_as_a_whole_body(kind: str) -> None:
    raw = MESSAGE_STREAM if KINDS[kind][1] is MESSAGE else CHAT_STREAM
    got, seen = run(attempt(sends(streamed(raw, x_request_id="r-1")), kind, stream=True))
    assert got == Answer(
        text="Hello",
        finish_reason="stop",
        usage=Usage(input_tokens=25, output_tokens=8),
        finish=FINISH[kind],
        chars=5,
        http_status=200,
        request_id="r-1",
    )
    assert seen.json()["stream"] is True
    includes = seen.json().get("stream_options")
    assert includes == ({"include_usage": True} if KINDS[kind][1] is CHAT else None)


def test_a_server_that_does_not_stream_is_read_all_the_same() -> None:
    got, _ = run(attempt(sends(response(CHAT)), stream=True))
    assert isinstance(got, Answer)


def test_streamed_tool_calls_are_put_together() -> None:
    events = sse(call_delta('{"it'), call_delta('ems":[]}'), delta("", "tool_calls"), USAGE, b"[DONE]")
    got, _ = run(attempt(sends(streamed(events)), stream=True))
    assert isinstance(got, Answer)
    assert (got.text, got.finish_reason) == ('{"items":[]}', "tool_calls")


@pytest.mark.parametrize(
    ("raw", "cause", "billing"),
    [
        (sse(delta("Hel")), Cause.BAD_BODY, "unknown"),  # it broke off
        (b"", Cause.BAD_BODY, "unknown"),
        (sse(b"{not json"), Cause.BAD_BODY, "unknown"),
        (sse(delta("Hel"), {"error": {"code": 502, "message": "Upstream"}}), Cause.SERVER_ERROR, "unknown"),
        (sse({"type": "error", "error": {"type": "overloaded_error"}}), Cause.OVERLOADED, "unknown"),
        (sse({"status": "error", "message": "Insufficient credits."}), Cause.CREDIT, "free"),
        (sse(delta("", "length"), USAGE, b"[DONE]"), Cause.EMPTY, "charged"),
        (sse(*[delta("The party agrees. ")] * 200), Cause.LOOP, "unknown"),
    ],
)
def test_a_stream_that_is_no_answer_says_why(raw: bytes, cause: Cause, billing: str) -> None:
    got = rejected(sends(streamed(raw)), stream=True)
    assert (got.cause, got.billing) == (cause, billing)


def test_a_loop_is_cut_while_the_server_still_sends() -> None:
    async def looping(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        while not writer.transport.is_closing():
            writer.write(sse(*[delta("The party agrees to pay. ")] * 10))
            await writer.drain()
            await asyncio.sleep(0.001)

    assert rejected(looping, stream=True, timeout_s=20).cause == Cause.LOOP


@pytest.mark.long
def test_a_slow_stream_outlives_the_time_out_as_long_as_it_grows() -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for number in range(8):
            writer.write(sse(delta(f"{number} ")))
            await writer.drain()
            await asyncio.sleep(0.1)
        writer.write(sse(delta("", "stop"), USAGE, b"[DONE]"))
        await writer.drain()
        writer.close()

    got, _ = run(attempt(slow, stream=True, timeout_s=0.4))
    assert isinstance(got, Answer)
    assert got.text == "0 1 2 3 4 5 6 7 "


THOUGHTS = {
    "reasoning": ("openai", {"choices": [{"index": 0, "delta": {"reasoning": "hmm "}}]}),
    "reasoning_content": (
        "openai",
        {"choices": [{"index": 0, "delta": {"content": None, "reasoning_content": "hmm "}}]},
    ),
    "thinking_delta": ("anthropic", {"type": "content_block_delta", "index": 0, "delta": {"thinking": "hmm "}}),
}


@pytest.mark.long
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("field", THOUGHTS)
def test_thoughts_keep_a_stream_alive_and_are_no_answer(field: str, asked: bool) -> None:
    kind, thought = THOUGHTS[field]
    end = MESSAGE_STREAM if kind == "anthropic" else CHAT_STREAM

    async def thinks(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        for _ in range(8):
            writer.write(sse(thought))
            await writer.drain()
            await asyncio.sleep(0.1)
        writer.write(end)
        await writer.drain()
        writer.close()

    got, _ = run(attempt(thinks, kind, stream=asked, timeout_s=0.4))
    assert isinstance(got, Answer)
    assert got.text == "Hello"


@pytest.mark.parametrize("empty", [b": ping\n\n", sse(delta(""))])
def test_a_stream_that_only_pings_times_out(empty: bytes) -> None:
    async def pings(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        while not writer.transport.is_closing():
            writer.write(empty)
            await asyncio.sleep(0.02)

    got = rejected(pings, stream=True, timeout_s=0.3)
    assert (got.cause, got.billing) == (Cause.TIMEOUT, "unknown")
