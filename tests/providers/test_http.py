"""The transport against real sockets: what the service and the network do comes back as a value."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import subprocess
import threading
from collections.abc import Callable, Coroutine
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TypeVar

import orjson
import pytest
import uvloop
from docreduce.config import ModelSettings
from docreduce.providers import list_models, open_provider
from docreduce.providers.http import MAX_BODY_BYTES, ApiKey, HttpProvider
from docreduce.values import Answer, Cause, Decision, Rejection, Reply, Usage
from docreduce.values.errors import RefusedError
from loopback import Script, Seen, ask, response, sends, serve

KEY = "sk-secret-0123456789abcdef"
T = TypeVar("T")
SCHEMA = '{"properties":{"items":{"items":{"type":"object"},"type":"array"}},"required":["items"],"type":"object"}'

CHAT = {
    "id": "gen-1",
    "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 25, "completion_tokens": 8},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 25, "output_tokens": 8},
}
KINDS: dict[str, tuple[dict, dict]] = {
    "openai": ({"provider": "openai"}, CHAT),
    "anthropic": ({"provider": "anthropic"}, MESSAGE),
    "modelslab": ({"provider": "modelslab"}, CHAT),
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MODELSLAB_API_KEY"):
        monkeypatch.setenv(name, KEY)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def run(work: Coroutine[None, None, T]) -> T:
    return asyncio.run(work)


def connect(port: int, kind: str = "openai", scheme: str = "http", **fields: object) -> HttpProvider:
    settings = ModelSettings(**(KINDS[kind][0] | {"base_url": f"{scheme}://127.0.0.1:{port}/base"} | fields))
    provider = open_provider(settings, tokenizer=None)  # type: ignore[arg-type]
    assert isinstance(provider, HttpProvider)
    return provider


async def attempt(
    script: Script, kind: str = "openai", timeout_s: float = 5.0, asked: dict | None = None, **fields: object
) -> tuple[Reply, Seen]:
    async with serve(script) as seen:
        provider = connect(seen.port, kind, **fields)
        try:
            return await provider.send(ask(**(asked or {})), timeout_s=timeout_s), seen
        finally:
            await provider.aclose()


def rejected(script: Script, **options: object) -> Rejection:
    got, _ = run(attempt(script, **options))  # type: ignore[arg-type]
    assert isinstance(got, Rejection)
    return got


# -- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_comes_back_with_its_usage_in_every_dialect(kind: str) -> None:
    got, seen = run(attempt(sends(response(KINDS[kind][1], x_request_id="r-1")), kind))
    assert got == Answer(
        text="Hello",
        finish_reason="stop",
        usage=Usage(input_tokens=25, output_tokens=8),
        http_status=200,
        request_id="r-1",
    )
    assert seen.json()["max_tokens"] == 100


def test_openai_sends_the_messages_and_the_key_in_its_header() -> None:
    _, seen = run(attempt(sends(response(CHAT))))
    line, headers, _ = seen.requests[0]
    assert line == "POST /base/chat/completions HTTP/1.1"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert seen.json() == {
        "model": "some-model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is said?"}],
        "max_tokens": 100,
        "temperature": 0.7,
        "top_p": 0.9,
    }


@pytest.mark.parametrize("model", ["o3", "o4-mini", "openai/o1", "gpt-5-nano"])
def test_openai_asks_reasoning_models_in_the_only_way_they_take(model: str) -> None:
    _, seen = run(attempt(sends(response(CHAT)), asked={"model": model}))
    assert seen.json()["max_completion_tokens"] == 100
    assert not {"max_tokens", "temperature", "top_p"} & set(seen.json())


def test_anthropic_sends_the_system_apart_and_the_version() -> None:
    _, seen = run(attempt(sends(response(MESSAGE)), "anthropic", asked={"temperature": 1.5}))
    line, headers, _ = seen.requests[0]
    assert line == "POST /base/v1/messages HTTP/1.1"
    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert seen.json() == {
        "model": "some-model",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "What is said?"}],
        "max_tokens": 100,
        "temperature": 1.0,
    }


def test_a_base_url_that_ends_in_v1_is_taken_for_anthropic_too() -> None:
    async def work() -> str:
        async with serve(sends(response(MESSAGE))) as seen:
            provider = connect(seen.port, "anthropic", base_url=f"http://127.0.0.1:{seen.port}/v1/")
            await provider.send(ask(), timeout_s=5)
            await provider.aclose()
            return seen.requests[0][0]

    assert run(work()) == "POST /v1/messages HTTP/1.1"


@pytest.mark.parametrize("place", ["header", "body"])
def test_modelslab_sends_the_key_in_one_place_only(place: str) -> None:
    _, seen = run(attempt(sends(response(CHAT)), "modelslab", api_key_in=place))
    _, headers, body = seen.requests[0]
    assert (KEY in " ".join(headers.values())) == (place == "header")
    assert (KEY.encode() in body) == (place == "body")
    assert seen.json()["model_id"] == "some-model"
    assert seen.json()["top_p"] == 0.9


@pytest.mark.parametrize("kind", ["openai", "modelslab"])
def test_the_schema_goes_verbatim_into_each_form_of_structured_output(kind: str) -> None:
    bodies = {}
    for form in ("tools", "json_schema", "json_object", "prompt"):
        asked = {"structured_output": form, "schema": SCHEMA}
        _, seen = run(attempt(sends(response(CHAT)), kind, asked=asked))
        bodies[form] = seen.json()
        assert (SCHEMA.encode() in seen.requests[0][2]) == (form in ("tools", "json_schema"))
    (tool,) = bodies["tools"]["tools"]
    assert tool["function"]["parameters"] == orjson.loads(SCHEMA)
    assert bodies["tools"]["tool_choice"] == {"type": "function", "function": {"name": tool["function"]["name"]}}
    assert bodies["json_schema"]["response_format"]["json_schema"]["schema"] == orjson.loads(SCHEMA)
    assert bodies["json_object"]["response_format"] == {"type": "json_object"}
    assert not {"tools", "response_format"} & set(bodies["prompt"])


def test_anthropic_forces_its_tool_and_states_its_schema() -> None:
    _, seen = run(
        attempt(sends(response(MESSAGE)), "anthropic", asked={"structured_output": "tools", "schema": SCHEMA})
    )
    (tool,) = seen.json()["tools"]
    assert tool["input_schema"] == orjson.loads(SCHEMA)
    assert seen.json()["tool_choice"]["name"] == tool["name"]
    asked = {"structured_output": "json_schema", "schema": SCHEMA}
    _, seen = run(attempt(sends(response(MESSAGE)), "anthropic", asked=asked))
    assert seen.json()["output_config"]["format"] == {"type": "json_schema", "schema": orjson.loads(SCHEMA)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_surrogate_is_sent_as_a_replacement_character(kind: str) -> None:
    _, seen = run(attempt(sends(response(KINDS[kind][1])), kind, asked={"text": "a\ud83db😀", "schema": "{}"}))
    assert seen.json()["messages"][-1]["content"] == "a�b😀"


def test_a_body_of_several_megabytes_arrives_whole() -> None:
    text = "0123456789" * 350_000
    _, seen = run(attempt(sends(response(CHAT)), asked={"text": text}))
    assert seen.json()["messages"][-1]["content"] == text
    assert "transfer-encoding" not in seen.requests[0][1]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connections_are_used_again(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = _certificate(tmp_path) if scheme == "https" else None
    if context:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))

    async def work() -> int:
        async with serve(sends(response(CHAT)), tls=context) as seen:
            provider = connect(seen.port, scheme=scheme)
            for _ in range(20):
                assert isinstance(await provider.send(ask(), timeout_s=5), Answer)
            await provider.aclose()
            return seen.connections

    assert run(work()) == 1


def test_a_server_that_closes_after_each_answer_fails_no_call() -> None:
    async def work() -> list[Reply]:
        async with serve(sends(response(CHAT), close=True)) as seen:
            provider = connect(seen.port)
            got = [await provider.send(ask(), timeout_s=5) for _ in range(30)]
            await provider.aclose()
            assert len(seen.requests) == 30
            return got

    assert all(isinstance(reply, Answer) for reply in run(work()))


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_closed_while_the_loop_was_busy_takes_no_request(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    closed = threading.Semaphore(0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.wfile.write(response(CHAT))

        def log_message(self, *_: object) -> None:
            return

    class Server(HTTPServer):
        def shutdown_request(self, request: object) -> None:
            super().shutdown_request(request)  # type: ignore[arg-type]
            closed.release()

    async def work(port: int) -> list[Reply]:
        provider = connect(port)
        got = []
        for _ in range(10):
            got.append(await provider.send(ask(), timeout_s=5))
            assert closed.acquire(timeout=5)  # the loop stands still meanwhile
        await provider.aclose()
        return got

    with Server(("127.0.0.1", 0), Handler) as server, asyncio.Runner(loop_factory=loop_factory) as runner:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            got = runner.run(work(server.server_port))
        finally:
            server.shutdown()
            thread.join()
    assert all(isinstance(reply, Answer) for reply in got)


# -- the network ----------------------------------------------------------------------------------------------------


def test_a_refused_connection_is_free() -> None:
    async def work() -> Reply:
        async with serve(sends(b"")) as seen:
            port = seen.port
        provider = connect(port)
        try:
            return await provider.send(ask(), timeout_s=5)
        finally:
            await provider.aclose()

    got = run(work())
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (Cause.CONNECTION, Decision.RETRY, "free")


def test_an_unknown_host_is_free() -> None:
    async def work() -> Reply:
        provider = connect(1, base_url="https://no-such-host.invalid/v1")
        try:
            return await provider.send(ask(), timeout_s=20)
        finally:
            await provider.aclose()

    got = run(work())
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (Cause.CONNECTION, Decision.RETRY, "free")


async def _reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def _trickle(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b"1\r\n \r\n")
        await asyncio.sleep(0.02)


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b"100000\r\n" + b" " * 2**20 + b"\r\n")
        await writer.drain()


FAULTS: dict[str, tuple[Script, Cause]] = {
    "reset after sending": (_reset, Cause.CONNECTION),
    "closed without a word": (sends(b"", close=True), Cause.CONNECTION),
    "hang": (_hang, Cause.TIMEOUT),
    "a body that never ends": (_trickle, Cause.TIMEOUT),
    "a body cut short": (sends(response(CHAT)[:-20], close=True), Cause.BAD_BODY),
    "a chunked body cut short": (
        sends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":", close=True),
        Cause.BAD_BODY,
    ),
    "no http at all": (sends(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", close=True), Cause.BAD_BODY),
    "100 MB announced": (sends(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n{"), Cause.BAD_BODY),
    "a body without bound": (_endless, Cause.BAD_BODY),
    "a bomb": (
        sends(response(gzip.compress(b" " * (MAX_BODY_BYTES + 1)), content_encoding="gzip")),
        Cause.BAD_BODY,
    ),
    "a coding nobody asked for": (sends(response(b"\x8b\x01", content_encoding="br")), Cause.BAD_BODY),
    "broken gzip": (sends(response(b"nonsense", content_encoding="gzip")), Cause.BAD_BODY),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_after_sending_may_be_charged_and_is_tried_again(fault: str) -> None:
    script, cause = FAULTS[fault]
    got = rejected(script, timeout_s=2.0 if cause == Cause.BAD_BODY else 0.4)
    assert (got.cause, got.decision, got.billing) == (cause, Decision.RETRY, "unknown")


def test_an_early_refusal_of_a_large_body_is_heard() -> None:
    async def work() -> Reply:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response({"error": {"message": "too large"}}, 413, connection="close"))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        provider = connect(server.sockets[0].getsockname()[1])
        got = await provider.send(ask("x" * 4_000_000), timeout_s=5)
        await provider.aclose()
        server.close()
        return got

    got = run(work())
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (Cause.CONTEXT_OVERFLOW, Decision.SPLIT, "free")


def test_a_gzip_answer_is_read() -> None:
    got, _ = run(attempt(sends(response(gzip.compress(orjson.dumps(CHAT)), content_encoding="gzip"))))
    assert isinstance(got, Answer)


def test_an_answer_with_the_wrong_content_type_that_is_whole_is_not_paid_twice() -> None:
    got, _ = run(attempt(sends(response(CHAT, kind="text/html"))))
    assert isinstance(got, Answer)


def test_a_cancelled_call_is_cancelled() -> None:
    async def work() -> None:
        async with serve(_hang) as seen:
            provider = connect(seen.port)
            task = asyncio.create_task(provider.send(ask(), timeout_s=5))
            while not seen.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await provider.aclose()

    run(work())


# -- the key --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", KINDS)
def test_a_redirect_is_refused_and_the_key_does_not_follow(status: int, kind: str) -> None:
    async def work() -> tuple[Reply, Seen]:
        async with serve(sends(response(KINDS[kind][1]))) as other:
            script = sends(response({}, status, location=f"http://127.0.0.1:{other.port}/base/chat/completions"))
            got, _ = await attempt(script, kind)
            return got, other

    got, other = run(work())
    assert isinstance(got, Rejection)
    assert (got.decision, got.billing) == (Decision.STOP, "free")
    assert "redirect" in got.message
    assert other.connections == 0


def _certificate(folder: Path) -> ssl.SSLContext:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no openssl command to make a certificate with: {error}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize("trusted", [False, True])
def test_a_certificate_nobody_signed_is_refused_before_the_key_is_sent(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = _certificate(tmp_path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))

    async def work() -> tuple[Reply, Seen]:
        async with serve(sends(response(CHAT)), tls=context) as seen:
            provider = connect(seen.port, scheme="https")
            got = await provider.send(ask(), timeout_s=5)
            await provider.aclose()
            await asyncio.sleep(0.05)
            return got, seen

    got, seen = run(work())
    if trusted:
        assert isinstance(got, Answer)
        return
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (Cause.CONNECTION, Decision.STOP, "free")
    assert "certificate" in got.message.lower()
    assert seen.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_echoes_the_key_does_not_get_it_into_any_reply(stream: bool) -> None:
    spelled = "".join(f"\\u{ord(char):04x}" for char in KEY)
    texts = [
        response({"error": {"message": "x" * 480 + KEY}}, 400, x_request_id=KEY),
        response(f'{{"error": {{"message": "bad key {spelled}"}}}}'.encode(), 400),
        response(f'{{"choices": [{{"message": {{"content": "{spelled}"}}}}]}}'.encode(), 200),
        response(KEY.encode(), 500, "text/plain"),
        response({}, 302, location=f"http://{'x' * 380}/{KEY}"),
        response(
            f'data: {{"choices":[{{"delta":{{"content":"{spelled}"}},"finish_reason":"stop"}}]}}\n\n'.encode(),
            kind="text/event-stream",
        ),
    ]
    for raw in texts:
        got, _ = run(attempt(sends(raw), stream=stream))
        assert KEY not in repr(got)
        assert KEY[:12] not in repr(got)


def test_the_key_shows_in_no_repr_and_cannot_be_pickled() -> None:
    key = ApiKey(KEY)
    provider = connect(1)
    call = provider._dialect.encode(ask(), provider._settings, KEY)
    assert KEY not in f"{key!r} {key} {provider!r} {call!r}"
    with pytest.raises(TypeError):
        key.__reduce__()


def test_a_placeholder_for_a_key_does_not_change_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "Hello")
    got, seen = run(attempt(sends(response(CHAT))))
    assert isinstance(got, Answer)
    assert got.text == "Hello"
    assert seen.requests[0][1]["authorization"] == "Bearer Hello"


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> tuple[Reply, str]:
        async with serve(sends(response(CHAT))) as seen:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{seen.port}")
            provider = connect(1, base_url="http://service.invalid/v1", allow_insecure_base_url=True)
            got = await provider.send(ask(), timeout_s=5)
            await provider.aclose()
            return got, seen.requests[0][0]

    got, line = run(work())
    assert isinstance(got, Answer)
    assert line == "POST http://service.invalid/v1/chat/completions HTTP/1.1"


# -- streams --------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("empty", [b": ping\n\n", sse(delta(""))])
def test_a_stream_that_only_pings_times_out(empty: bytes) -> None:
    async def pings(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        while not writer.transport.is_closing():
            writer.write(empty)
            await asyncio.sleep(0.02)

    got = rejected(pings, stream=True, timeout_s=0.3)
    assert (got.cause, got.billing) == (Cause.TIMEOUT, "unknown")


# -- what else a service tells --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_models_are_listed(kind: str) -> None:
    async def work() -> tuple[list[str], Seen]:
        raw = response({"object": "list", "data": [{"id": "b"}, {"id": "a"}, {"id": None}, 7]})
        async with serve(sends(raw)) as seen:
            settings = ModelSettings(**KINDS[kind][0], base_url=f"http://127.0.0.1:{seen.port}/base")
            return await list_models(settings), seen

    names, seen = run(work())
    assert names == ["a", "b"]
    line, headers, _ = seen.requests[0]
    assert line.startswith("GET /base/models" if kind == "openai" else "GET /base/v1/models")
    assert KEY in " ".join(headers.values())


def test_a_refused_list_of_models_says_so_without_the_key() -> None:
    async def work() -> None:
        async with serve(sends(response({"error": {"message": f"bad {KEY}"}}, 401))) as seen:
            provider = connect(seen.port)
            try:
                await provider.list_models()
            finally:
                await provider.aclose()

    with pytest.raises(RefusedError) as caught:
        run(work())
    assert "HTTP 401" in caught.value.message
    assert KEY not in caught.value.message


def test_tokens_are_counted_by_the_service() -> None:
    async def work() -> tuple[int, Seen]:
        async with serve(sends(response({"input_tokens": 15}))) as seen:
            provider = connect(seen.port, "anthropic")
            try:
                return await provider.count_tokens(ask(structured_output="tools", schema=SCHEMA)), seen
            finally:
                await provider.aclose()

    count, seen = run(work())
    assert count == 15
    assert seen.requests[0][0] == "POST /base/v1/messages/count_tokens HTTP/1.1"
    assert set(seen.json()) == {"model", "system", "messages", "tools", "tool_choice"}
