"""A real server on loopback that does exactly what a test's script says, well-formed HTTP or not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import orjson
from docreduce.values import Message, Request

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Seen:
    """What the server received: (request line, headers in lower case, body) of each request."""

    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0

    def json(self, index: int = -1) -> dict:
        return orjson.loads(self.requests[index][2])


@contextlib.asynccontextmanager
async def serve(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Seen]:
    """Runs `script` on every request; the connection lives until the script closes it."""
    seen = Seen()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode("latin-1").strip().split("\r\n")
                headers = {name.lower(): value for name, value in (row.split(": ", 1) for row in rest)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                seen.requests.append((line, headers, body))
                await script(writer)
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


def ask(text: str = "What is said?", **fields: object) -> Request:
    """A request with a system and a user message."""
    defaults: dict = {
        "provider": "openai",
        "model": "some-model",
        "messages": (Message("system", "Be brief."), Message("user", text)),
        "max_output_tokens": 100,
        "temperature": 0.7,
        "top_p": 0.9,
    }
    return Request(**(defaults | fields))
