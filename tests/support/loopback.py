"""A real server on loopback that does exactly what a test's script says, well-formed HTTP or not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import orjson
from docreduce.desk import Ticket
from docreduce.desk.booking import attempt_of
from docreduce.models.prices import Pricing, stated
from docreduce.models.routes import Route, Sampling
from docreduce.providers import open_provider
from docreduce.providers.http import HttpProvider
from docreduce.settings import EndpointSettings, PricingSettings
from docreduce.values import Attempt, Message, Rejection, Reply, Request

T = TypeVar("T")
PRICE = stated(PricingSettings(input_usd_per_million=1, output_usd_per_million=1), "test")
Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Seen:
    """What the server received: (request line, headers in lower case, body) of each request. `script` can change."""

    script: Script
    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0

    def json(self, index: int = -1) -> dict:
        return orjson.loads(self.requests[index][2])


@contextlib.asynccontextmanager
async def serve(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Seen]:
    """Runs `script` on every request; the connection lives until the script closes it."""
    seen = Seen(script)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode("latin-1").strip().split("\r\n")
                headers = {name.lower(): value for name, value in (row.split(": ", 1) for row in rest)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                seen.requests.append((line, headers, body))
                await seen.script(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone, which is how a connection ends
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        # Let the handlers of closed connections end before the loop does.
        for _ in range(3):
            await asyncio.sleep(0)


def response(body: bytes | dict, status: int = 200, kind: str = "application/json", **headers: str) -> bytes:
    """A whole HTTP response."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Word\r\ncontent-type: {kind}\r\n{extra}content-length: {len(raw)}\r\n\r\n"
    return head.encode() + raw


def sends(raw: bytes, *, close: bool = False) -> Script:
    """A script that writes `raw`."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        if close:
            await writer.drain()
            writer.close()

    return script


def ask(text: str = "What is said?", **fields: Any) -> Request:
    """A request with a system and a user message."""
    messages = (Message("system", "Be brief."), Message("user", text))
    return Request(**({"messages": messages, "tokens": 30 + len(text) // 4} | fields))


def route(**fields: Any) -> Route:
    """A route to some model that gives a hundred tokens and is sampled as the default service's page shows."""
    defaults: dict[str, Any] = {
        "endpoint": "https://service.example/v1",
        "dialect": "openai",
        "model": "some-model",
        "window": 8192,
        "max_output_tokens": 100,
        "pricing": Pricing(mode="per_token", source="test", lists=()),
        "sampling": Sampling(temperature=0.7, top_p=0.9),
    }
    return Route(**(defaults | fields))


def booked(reply: Reply, request: Request, to: Route) -> Attempt:
    """The row of the call that `reply` ended: what the desk makes of its bill."""
    to = replace(to, pricing=PRICE)
    bound = {"document_id": "doc", "attempt": 1, "bound_pusd": 10**9, "tokens": request.tokens, "kind": "latin0"}
    return attempt_of(Ticket(id=1, key=request.key, request=request, route=to, **bound), reply, 1.0)  # type: ignore[arg-type]


def connect(base_url: str, settings: dict[str, Any] | None = None, **fields: Any) -> HttpProvider:
    """A provider at `base_url`; `settings` are of its endpoint, `fields` of its route."""
    endpoint = EndpointSettings(**({"provider": "openai", "base_url": base_url} | (settings or {})))
    provider = open_provider(route(**({"endpoint": base_url, "dialect": endpoint.provider} | fields)), endpoint)
    assert isinstance(provider, HttpProvider)
    return provider


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
    "modelslab messages": ({"provider": "modelslab", "dialect": "anthropic"}, MESSAGE),
}
FINISH = {"openai": "stop", "anthropic": "end_turn", "modelslab": "stop", "modelslab messages": "end_turn"}


def run(work: Coroutine[None, None, T]) -> T:
    return asyncio.run(work)


def connect_to(port: int, kind: str = "openai", scheme: str = "http", **fields: object) -> HttpProvider:
    settings = {**KINDS[kind][0]}
    settings |= {name: fields.pop(name) for name in ("base_url", "allow_insecure_base_url") if name in fields}
    return connect(f"{scheme}://127.0.0.1:{port}/base", settings, **fields)


async def attempt(
    script: Script, kind: str = "openai", timeout_s: float = 5.0, asked: dict | None = None, **fields: object
) -> tuple[Reply, Seen]:
    async with serve(script) as seen:
        provider = connect_to(seen.port, kind, **fields)
        try:
            return await provider.send(ask(**(asked or {})), timeout_s=timeout_s), seen
        finally:
            await provider.aclose()


def rejected(script: Script, **options: object) -> Rejection:
    got, _ = run(attempt(script, **options))  # type: ignore[arg-type]
    assert isinstance(got, Rejection)
    return got
