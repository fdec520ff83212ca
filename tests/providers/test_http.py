"""The transport against real sockets: what the service and the network do comes back as a value."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import subprocess
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TypeVar

import orjson
import pytest
import uvloop
from docreduce.models.routes import Sampling
from docreduce.providers.network import MAX_BODY_BYTES, TooLargeError, Unpacking
from docreduce.providers.secrets import ApiKey
from docreduce.values import Answer, Cause, Decision, Rejection, Reply, Usage
from docreduce.values.errors import RefusedError
from loopback import (
    CHAT,
    FINISH,
    KINDS,
    MESSAGE,
    Script,
    Seen,
    ask,
    attempt,
    connect_to,
    rejected,
    response,
    route,
    run,
    sends,
    serve,
)

KEY = "sk-secret-0123456789abcdef"
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
T = TypeVar("T")
CLOSED = '{"properties":{"items":{"items":{"type":"string"},"type":"array"}},"required":["items"],"type":"object"}'
SCHEMA = '{"properties":{"items":{"items":{"type":"object"},"type":"array"}},"required":["items"],"type":"object"}'


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MODELSLAB_API_KEY"):
        monkeypatch.setenv(name, KEY)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "NO_PROXY", *CERTIFICATES):
        monkeypatch.delenv(name, raising=False)


# -- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_comes_back_with_its_usage_in_every_dialect(kind: str) -> None:
    got, seen = run(attempt(sends(response(KINDS[kind][1], x_request_id="r-1")), kind))
    assert got == Answer(
        text="Hello",
        finish_reason="stop",
        usage=Usage(input_tokens=25, output_tokens=8),
        finish=FINISH[kind],
        chars=5,
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


def test_a_job_that_states_no_sampling_sends_none() -> None:
    for kind in KINDS:
        _, seen = run(attempt(sends(response(KINDS[kind][1])), kind, sampling=Sampling()))
        assert not {"temperature", "top_p", "frequency_penalty", "presence_penalty"} & set(seen.json())


def test_penalties_are_sent_where_a_job_states_them() -> None:
    sampling = Sampling(frequency_penalty=0.5, presence_penalty=-0.5)
    for kind in ("openai", "modelslab"):
        _, seen = run(attempt(sends(response(CHAT)), kind, sampling=sampling))
        assert (seen.json()["frequency_penalty"], seen.json()["presence_penalty"]) == (0.5, -0.5)


def test_a_parameter_that_a_dialect_does_not_have_is_left_out_with_a_word() -> None:
    async def work() -> tuple[list[str], Seen]:
        async with serve(sends(response(MESSAGE))) as seen:
            provider = connect_to(seen.port, "anthropic", sampling=Sampling(temperature=1.5, frequency_penalty=0.5))
            await provider.send(ask(), timeout_s=5)
            await provider.aclose()
            return provider.notes, seen

    notes, seen = run(work())
    assert [note.split()[0] for note in notes] == ["frequency_penalty", "temperature"]
    assert "frequency_penalty" not in seen.json()
    assert seen.json()["temperature"] == 1.0


def test_anthropic_sends_the_system_apart_and_the_version() -> None:
    _, seen = run(attempt(sends(response(MESSAGE)), "anthropic"))
    line, headers, _ = seen.requests[0]
    assert line == "POST /base/v1/messages HTTP/1.1"
    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert seen.json() == {
        "model": "some-model",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "What is said?"}],
        "max_tokens": 100,
        "temperature": 0.7,
        "top_p": 0.9,
    }


def test_a_base_url_that_ends_in_v1_is_taken_for_anthropic_too() -> None:
    async def work() -> str:
        async with serve(sends(response(MESSAGE))) as seen:
            provider = connect_to(seen.port, "anthropic", base_url=f"http://127.0.0.1:{seen.port}/v1/")
            await provider.send(ask(), timeout_s=5)
            await provider.aclose()
            return seen.requests[0][0]

    assert run(work()) == "POST /v1/messages HTTP/1.1"


@pytest.mark.parametrize("place", ["header", "body"])
def test_modelslab_sends_the_key_in_one_place_only(place: str) -> None:
    _, seen = run(attempt(sends(response(CHAT)), "modelslab", key_in=place))
    _, headers, body = seen.requests[0]
    assert (KEY in " ".join(headers.values())) == (place == "header")
    assert (KEY.encode() in body) == (place == "body")
    assert seen.json()["model_id"] == "some-model"
    assert seen.json()["top_p"] == 0.9


@pytest.mark.parametrize("kind", ["openai", "modelslab"])
def test_the_schema_goes_verbatim_into_each_form_of_structured_output(kind: str) -> None:
    bodies, raw = {}, {}
    for form in ("tools", "json_schema", "json_object", "prompt"):
        _, seen = run(attempt(sends(response(CHAT)), kind, asked={"schema": SCHEMA}, forms=(form,)))
        bodies[form], raw[form] = seen.json(), seen.requests[0][2]
    for form in ("tools", "json_schema"):
        assert SCHEMA.encode() in raw[form]
        assert bodies[form]["messages"][0]["content"] == "Be brief."
    for form in ("json_object", "prompt"):
        assert SCHEMA.encode() not in raw[form]
        system = bodies[form]["messages"][0]["content"]
        assert system.startswith("Be brief.\n\n")
        assert system.endswith(SCHEMA)
    (tool,) = bodies["tools"]["tools"]
    assert tool["function"]["parameters"] == orjson.loads(SCHEMA)
    assert bodies["tools"]["tool_choice"] == {"type": "function", "function": {"name": tool["function"]["name"]}}
    assert bodies["json_schema"]["response_format"]["json_schema"]["schema"] == orjson.loads(SCHEMA)
    assert bodies["json_object"]["response_format"] == {"type": "json_object"}
    assert not {"tools", "response_format"} & set(bodies["prompt"])


def test_anthropic_forces_its_tool_and_states_its_schema() -> None:
    _, seen = run(attempt(sends(response(MESSAGE)), "anthropic", asked={"schema": CLOSED}, forms=("tools",)))
    (tool,) = seen.json()["tools"]
    assert tool["input_schema"] == orjson.loads(CLOSED)
    assert seen.json()["tool_choice"]["name"] == tool["name"]
    _, seen = run(attempt(sends(response(MESSAGE)), "anthropic", asked={"schema": CLOSED}, forms=("json_schema",)))
    wanted = {"type": "json_schema", "schema": orjson.loads(CLOSED) | {"additionalProperties": False}}
    assert seen.json()["output_config"]["format"] == wanted


def test_a_schema_that_anthropics_form_cannot_say_goes_by_the_next_form() -> None:
    free = '{"properties":{"any":{"type":"object"}},"type":"object"}'
    forms = ("json_schema", "tools")
    _, seen = run(attempt(sends(response(MESSAGE)), "anthropic", asked={"schema": free}, forms=forms))
    assert "output_config" not in seen.json()
    assert seen.json()["tools"][0]["input_schema"] == orjson.loads(free)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_surrogate_is_sent_as_a_replacement_character(kind: str) -> None:
    _, seen = run(attempt(sends(response(KINDS[kind][1])), kind, asked={"text": "a\ud83db😀"}))
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
            provider = connect_to(seen.port, scheme=scheme)
            for _ in range(20):
                assert isinstance(await provider.send(ask(), timeout_s=5), Answer)
            await provider.aclose()
            return seen.connections

    assert run(work()) == 1


def test_a_server_that_closes_after_each_answer_fails_no_call() -> None:
    async def work() -> list[Reply]:
        async with serve(sends(response(CHAT), close=True)) as seen:
            provider = connect_to(seen.port)
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
        provider = connect_to(port)
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
        provider = connect_to(port)
        try:
            return await provider.send(ask(), timeout_s=5)
        finally:
            await provider.aclose()

    got = run(work())
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (Cause.CONNECTION, Decision.RETRY, "free")


def test_an_unknown_host_is_free() -> None:
    async def work() -> Reply:
        provider = connect_to(1, base_url="https://no-such-host.invalid/v1")
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
    "a bomb in a bomb": (
        sends(response(gzip.compress(gzip.compress(bytes(2**26))), content_encoding="gzip, gzip")),
        Cause.BAD_BODY,
    ),
    "packed too often": (sends(response(b"x", content_encoding="gzip, gzip, gzip, gzip")), Cause.BAD_BODY),
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
        provider = connect_to(server.sockets[0].getsockname()[1])
        got = await provider.send(ask("x" * 4_000_000), timeout_s=5)
        await provider.aclose()
        server.close()
        return got

    got = run(work())
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (Cause.CONTEXT_OVERFLOW, Decision.SPLIT, "free")


@pytest.mark.parametrize("codings", ["gzip", "gzip, gzip", "identity", "deflate"])
def test_a_packed_answer_is_read(codings: str) -> None:
    body = orjson.dumps(CHAT)
    for coding in codings.split(", "):
        body = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[coding](body)
    got, _ = run(attempt(sends(response(body, content_encoding=codings))))
    assert isinstance(got, Answer)


def test_a_body_that_unpacks_to_gigabytes_takes_no_such_memory() -> None:
    packed = gzip.compress(gzip.compress(bytes(2**27)))
    assert len(packed) < 2**12
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            Unpacking("gzip, gzip").feed(packed)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


def test_an_answer_with_the_wrong_content_type_that_is_whole_is_not_paid_twice() -> None:
    got, _ = run(attempt(sends(response(CHAT, kind="text/html"))))
    assert isinstance(got, Answer)


def test_a_cancelled_call_is_cancelled() -> None:
    async def work() -> None:
        async with serve(_hang) as seen:
            provider = connect_to(seen.port)
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
            provider = connect_to(seen.port, scheme="https")
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
    provider = connect_to(1)
    call = provider._dialect.encode(ask(), route(), provider._asking.manner, KEY)
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
            provider = connect_to(1, base_url="http://service.invalid/v1", allow_insecure_base_url=True)
            got = await provider.send(ask(), timeout_s=5)
            await provider.aclose()
            return got, seen.requests[0][0]

    got, line = run(work())
    assert isinstance(got, Answer)
    assert line == "POST http://service.invalid/v1/chat/completions HTTP/1.1"


# -- what else a service tells --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_models_are_listed(kind: str) -> None:
    async def work() -> tuple[list[str], Seen]:
        raw = response({"object": "list", "data": [{"id": "b"}, {"id": "a"}, {"id": None}, 7]})
        async with serve(sends(raw)) as seen:
            provider = connect_to(seen.port, kind)
            names = await provider.list_models()
            await provider.aclose()
            return names, seen

    names, seen = run(work())
    assert names == ["a", "b"]
    line, headers, _ = seen.requests[0]
    assert line.startswith("GET /base/models" if kind == "openai" else "GET /base/v1/models")
    assert KEY in " ".join(headers.values())


def test_a_refused_list_of_models_says_so_without_the_key() -> None:
    async def work() -> None:
        async with serve(sends(response({"error": {"message": f"bad {KEY}"}}, 401))) as seen:
            provider = connect_to(seen.port)
            try:
                await provider.list_models()
            finally:
                await provider.aclose()

    with pytest.raises(RefusedError) as caught:
        run(work())
    assert "HTTP 401" in caught.value.message
    assert KEY not in caught.value.message


@pytest.mark.parametrize("kind", ["anthropic", "modelslab", "modelslab messages"])
def test_tokens_are_counted_by_the_service(kind: str) -> None:
    async def work() -> tuple[int, Seen]:
        async with serve(sends(response({"input_tokens": 15}))) as seen:
            provider = connect_to(seen.port, kind, forms=("tools",))
            try:
                return await provider.count_tokens(ask(schema=SCHEMA)), seen
            finally:
                await provider.aclose()

    count, seen = run(work())
    assert count == 15
    assert seen.requests[0][0] == "POST /base/v1/messages/count_tokens HTTP/1.1"
    assert set(seen.json()) == {"model", "system", "messages", "tools", "tool_choice"}


def test_a_service_that_does_not_count_says_so() -> None:
    async def work() -> None:
        provider = connect_to(1)
        try:
            await provider.count_tokens(ask())
        finally:
            await provider.aclose()

    with pytest.raises(RefusedError, match="does not count tokens"):
        run(work())
