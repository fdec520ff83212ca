"""The one transport: every dialect over aiohttp's connections behind httpx's transport seam.

httpx's own pool looks through all its connections at each request; aiohttp's does not. What the service or the
network does comes back as a value, never as an exception. Redirects are not followed: the key stays with its host.
"""

from __future__ import annotations

import asyncio
import functools
import select
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from docreduce.config import ModelSettings
from docreduce.providers.answers import decode, parse
from docreduce.providers.dialect import Dialect, HttpRequest, HttpResponse, listing, mapping, token_count, word
from docreduce.providers.faults import bad_body, clean, find_fault
from docreduce.providers.stream import StreamReader
from docreduce.values import Billing, Cause, Decision, Rejection, Reply, Request
from docreduce.values.errors import RefusedError
from httpx_aiohttp import AiohttpTransport

__all__ = ["MAX_BODY_BYTES", "ApiKey", "HttpProvider"]

MAX_BODY_BYTES = 16 * 2**20
"""No answer is this long: reading stops here, whatever the service goes on to send."""

CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 4.0
"""Idle connections are dropped before a server's usual 5 s, so that none is closed under a request."""

STREAM_TOTAL_FACTOR = 10
"""A stream has an idle time-out; one that trickles for ever ends after this many of them."""

LISTING_TIMEOUT_S = 30.0

_MIN_SECRET_CHARS = 16
_SLICE_BYTES = 2**20
"""A larger body is written in slices, so that it does not hold the loop (aiohttp warns of it)."""


class ApiKey:
    """A key that does not show itself. An empty one means none."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "ApiKey(…)"

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be stored")

    def reveal(self) -> str:
        """The key itself, for a header or a body about to be sent."""
        return self._secret

    def redact(self, text: str) -> str:
        """`text` with the key replaced by `[key]`. A short key is a placeholder ("EMPTY"), and a word like others."""
        return text.replace(self._secret, "[key]") if len(self._secret) >= _MIN_SECRET_CHARS else text

    def redact_bytes(self, body: bytes) -> bytes:
        """The same for bytes."""
        return body.replace(self._secret.encode(), b"[key]") if len(self._secret) >= _MIN_SECRET_CHARS else body


class _TooLargeError(Exception):
    pass


class HttpProvider:
    """A service behind a base URL, as types.Provider. Made inside or outside a loop, used in one loop.

    Raises httpx.InvalidURL for a base URL, ValueError for a `proxy` that is none."""

    def __init__(self, dialect: Dialect, settings: ModelSettings, key: ApiKey, *, proxy: str | None = None) -> None:
        self.name = dialect.name
        self._dialect = dialect
        self._settings = settings
        self._key = key
        self._base = str(httpx.URL(settings.base_url or dialect.base_url))
        self._urls: dict[str, httpx.URL] = {}
        self._transport = _transport(proxy)

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        """One attempt. With `stream`, `timeout_s` is the longest silence, otherwise the whole time."""
        call = self._dialect.encode(request, self._settings, self._key.reveal())
        try:
            async with asyncio.timeout(timeout_s) as deadline, self._opened(call, timeout_s) as response:
                if self._settings.stream and _is_stream(response):
                    reply = await self._read_stream(request, response, deadline, timeout_s)
                else:
                    reply = decode(self._dialect, request, await self._read(response))
        except TimeoutError:
            # A connection has its own, shorter time-out: by now the request was sent and may be charged.
            reply = _failed(Cause.TIMEOUT, f"no complete answer in {timeout_s:g} s", "unknown")
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            reply = _network_failure(error)
        except _TooLargeError:
            reply = bad_body(_head(response), f"a body of more than {MAX_BODY_BYTES} bytes")
        return self._redacted(reply)

    async def list_models(self) -> list[str]:
        """The ids of the models the service offers. Raises RefusedError if it does not say."""
        headers = self._dialect.headers(self._key.reveal())
        body = await self._ask(HttpRequest(path=self._dialect.models_path, headers=headers, body=b""))
        found = [word(mapping(row).get("id")) for row in listing(body.get("data"))]
        return sorted(name for name in found if name)

    async def count_tokens(self, request: Request) -> int:
        """Input tokens of `request` by the service's own count. Raises RefusedError if it has none."""
        if self._dialect.encode_count is None:
            raise RefusedError(f"{self.name} does not count tokens")
        call = self._dialect.encode_count(request, self._settings, self._key.reveal())
        count = token_count((await self._ask(call)).get("input_tokens"))
        if count is None:
            raise RefusedError(f"{self.name} answered without a count of tokens")
        return count

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    @asynccontextmanager
    async def _opened(self, call: HttpRequest, timeout_s: float) -> AsyncIterator[httpx.Response]:
        """The response to `call`, a GET if it has no body; its body is still to be read."""
        url = self._urls.get(call.path) or self._urls.setdefault(call.path, _below(self._base, call.path))
        connect_s = min(CONNECT_TIMEOUT_S, timeout_s * 0.8)
        headers = {**call.headers, **_HEADERS, "content-length": str(len(call.body))}

        async def attempt() -> httpx.Response:
            return await self._transport.handle_async_request(
                httpx.Request(
                    "POST" if call.body else "GET",
                    url,
                    headers=headers,
                    content=call.body if len(call.body) <= _SLICE_BYTES else _slices(call.body),
                    extensions={"timeout": {"connect": connect_s, "pool": connect_s}},
                )
            )

        try:
            response = await attempt()
        except httpx.HTTPError as error:
            if not _unsent(error):
                raise
            # The server closed an idle connection as we took it (llama.cpp after each stream): a fresh one, once.
            response = await attempt()
        try:
            yield response
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response) -> HttpResponse:
        head = _head(response)
        body = b"".join([part async for part in _bounded(response, head)])
        # Before anything is cut to length: a key cut in two is not found any more.
        headers = {name: self._key.redact(value) for name, value in head.headers.items()}
        return replace(head, headers=headers, body=self._key.redact_bytes(body))

    async def _read_stream(
        self, request: Request, response: httpx.Response, deadline: asyncio.Timeout, timeout_s: float
    ) -> Reply:
        loop = asyncio.get_running_loop()
        end = loop.time() + STREAM_TOTAL_FACTOR * timeout_s
        head = _head(response)
        reader = StreamReader(self._dialect, request, head)
        async with aclosing(_bounded(response, head)) as parts:
            async for part in parts:
                if reader.feed(part):
                    deadline.reschedule(min(loop.time() + timeout_s, end))
                if reader.reply is not None:
                    return reader.reply
        return reader.finish()

    async def _ask(self, call: HttpRequest) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(LISTING_TIMEOUT_S), self._opened(call, LISTING_TIMEOUT_S) as response:
                whole = await self._read(response)
        except (TimeoutError, httpx.HTTPError, aiohttp.ClientError, OSError, _TooLargeError) as error:
            raise RefusedError(self._key.redact(clean(f"{self.name}: {error or type(error).__name__}"))) from error
        found = parse(whole.body)
        fault = find_fault(found) if found else None
        if whole.status != 200 or found is None or fault:
            words = fault.message if fault else whole.body[:500].decode("utf-8", "replace")
            raise RefusedError(self._key.redact(clean(f"{self.name}: HTTP {whole.status}: {words}")))
        return found

    def _redacted(self, reply: Reply) -> Reply:
        """`reply` without the key, however it was spelled in the body."""
        words = reply.message if isinstance(reply, Rejection) else reply.text
        safe, identity = self._key.redact(words), reply.request_id and self._key.redact(reply.request_id)
        if (safe, identity) == (words, reply.request_id):
            return reply
        if isinstance(reply, Rejection):
            return replace(reply, message=safe, request_id=identity)
        return replace(reply, text=safe, request_id=identity)


_HEADERS = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "docreduce"}


class _Connection(ResponseHandler):
    """A connection that is not used again once its server has closed it.

    The loop may be too busy to have read so: aiohttp would write to it, and what it wrote counts as sent."""

    def is_connected(self) -> bool:
        """As the pool asks it of an idle connection, where nothing but the end can be waiting to be read."""
        if self.transport is None or self.transport.is_closing():
            return False
        waiting = select.poll()
        waiting.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not waiting.poll(0)


def _transport(proxy: str | None) -> AiohttpTransport:
    """A transport without a limit of its own: dispatch holds the slots."""
    context = httpx.create_ssl_context()  # honours SSL_CERT_FILE and SSL_CERT_DIR

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=60)
        made = functools.partial(_Connection, loop=asyncio.get_running_loop())
        connector._factory = cast("functools.partial[ResponseHandler]", made)  # the only place it can be named
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept",),
        )

    return AiohttpTransport(verify=context, client=session, proxy=httpx.Proxy(proxy) if proxy else None)


def _below(base: str, path: str) -> httpx.URL:
    root = base.rstrip("/")
    return httpx.URL(root + (path.removeprefix("/v1") if root.endswith("/v1") else path))


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _SLICE_BYTES):
        yield body[start : start + _SLICE_BYTES]


def _is_stream(response: httpx.Response) -> bool:
    kind = response.headers.get("content-type", "")
    return response.status_code == 200 and kind.lower().startswith("text/event-stream")


def _head(response: httpx.Response) -> HttpResponse:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}
    return HttpResponse(status=response.status_code, headers=headers, body=b"", received_at=time.time())


async def _bounded(response: httpx.Response, head: HttpResponse) -> AsyncGenerator[bytes, None]:
    """The body's parts, decompressed. Raises _TooLargeError."""
    length, coded = head.headers.get("content-length", ""), "content-encoding" in head.headers
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise _TooLargeError
    seen = 0
    # Decoding was not asked for, and costs even those that need none.
    parts = cast(
        AsyncGenerator[bytes, None],
        response.aiter_bytes() if coded else aiter(cast(httpx.AsyncByteStream, response.stream)),
    )
    async with aclosing(parts):
        async for part in parts:
            seen += len(part)
            if seen > MAX_BODY_BYTES:
                raise _TooLargeError
            yield part


def _unsent(error: Exception) -> bool:
    """Whether the body could not be written: a request cut short cannot be answered, nor charged.

    aiohttp says so in words only (3.12 to 3.14)."""
    return isinstance(error.__cause__, aiohttp.ClientOSError) and "Can not write request body" in str(error.__cause__)


def _network_failure(error: Exception) -> Rejection:
    """What a fault of the network means. The transport blurs kinds; what it was raised from tells them apart."""
    origin = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    words = f"{type(origin).__name__}: {origin}"
    if isinstance(origin, aiohttp.ClientConnectorCertificateError):
        return replace(_failed(Cause.CONNECTION, words, "free"), decision=Decision.STOP)
    if _unsent(error) or isinstance(origin, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return _failed(Cause.CONNECTION, words, "free")
    if isinstance(origin, aiohttp.ServerTimeoutError):
        return _failed(Cause.TIMEOUT, words, "unknown")
    if isinstance(error, httpx.DecodingError) or isinstance(
        origin, (aiohttp.ClientPayloadError, aiohttp.ClientResponseError)
    ):
        return _failed(Cause.BAD_BODY, words, "unknown")
    return _failed(Cause.CONNECTION, words, "unknown")


def _failed(cause: Cause, message: str, billing: Billing) -> Rejection:
    return Rejection(cause=cause, decision=Decision.RETRY, message=clean(message), billing=billing)
