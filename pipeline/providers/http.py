"""A provider over HTTP, the same for every dialect: a request sent, its response read, whole or as a stream.

What the service or the network does comes back as a value, never as an exception. Redirects are not followed: the key
stays with its host.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import httpx
from docreduce.providers.addresses import enforces
from docreduce.providers.dialect import (
    MOST_TOKENS,
    Call,
    Dialect,
    HttpRequest,
    HttpResponse,
    listing,
    mapping,
    token_count,
    word,
)
from docreduce.providers.faults import SHOWN_HEADERS, clean, find_fault, parse
from docreduce.providers.manner import TIER, Asking, Manner
from docreduce.providers.network import (
    MAX_BODY_BYTES,
    TooLargeError,
    Unpacking,
    UnpackingError,
    failed,
    network_failure,
    shown,
    unsent,
)
from docreduce.providers.refusals import bad_body
from docreduce.providers.replies import StreamReader, decode
from docreduce.providers.transport import FLIGHT, Flight, open_transport
from docreduce.values import Answer, Billing, Cause, Rejection, Reply, Request
from docreduce.values.errors import JobError, RefusedError

if TYPE_CHECKING:
    from docreduce.models.routes import Route
    from docreduce.providers.addresses import Address
    from docreduce.providers.secrets import ApiKey

__all__ = ["HttpProvider"]

CONNECT_TIMEOUT_S = 10.0
STREAM_TOTAL_FACTOR = 10
"""A stream has an idle time-out; one that trickles for ever ends after this many of them."""

LISTING_TIMEOUT_S = 30.0
_PROXY_AUTH = 407

_SLICE_BYTES = 2**20
"""A larger body is written in slices, so that it does not hold the loop (aiohttp warns of it)."""


class HttpProvider:
    """A service behind an address, as `Provider`. Made inside or outside a loop, used in one loop.

    Raises JobError for an address or a `proxy` that is none."""

    def __init__(
        self, dialect: Dialect, route: Route, address: Address, key: ApiKey, *, proxy: str | None = None
    ) -> None:
        self.name = dialect.name
        self._dialect = dialect
        self._route = route
        self._address = address
        self._key = key
        self._proxy = proxy
        self._asking = Asking.begin(route, dialect, strict=enforces(dialect, address.base))
        self._urls: dict[str, httpx.URL] = {}
        self._refused_since: float | None = None  # by the flex tier, with no answer since
        try:
            self._url(dialect.chat_path)
        except httpx.InvalidURL as error:
            raise JobError(f"model.base_url {address.base!r}: {error}") from error
        try:
            self._transport = open_transport(proxy, secure=not address.base.lower().startswith("http:"))
        except (ValueError, httpx.InvalidURL) as error:
            raise JobError(f"the proxy that the environment names is none: {type(error).__name__}") from error

    @property
    def notes(self) -> list[str]:
        """What is to be said once to the user: how the route is asked otherwise than the job says."""
        return self._asking.notes

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        """One attempt. For an answer that streams, `timeout_s` is the longest silence, otherwise the whole time."""
        manner = self._asking.manner
        sent = self._dialect.encode(request, self._route, manner, self._key.reveal())
        call = Call(
            request=request,
            route=self._route,
            manner=manner,
            asking=self._asking,
            sent=sent,
            redact=self._key.redact,
        )
        flight = Flight()
        FLIGHT.set(flight)
        try:
            async with asyncio.timeout(timeout_s) as deadline, self._opened(sent, timeout_s) as response:
                if _is_stream(response):
                    reply = await self._read_stream(call, response, deadline, timeout_s)
                else:
                    reply = decode(self._dialect, call, await self._read(response))
        except TimeoutError:
            # What was sent may be charged.
            billing: Billing = "unknown" if flight.sent else "free"
            reply = failed(Cause.TIMEOUT, f"no complete answer in {timeout_s:g} s", billing)
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            reply = network_failure(error, self._proxy, sent=flight.sent)
        except TooLargeError:
            reply = bad_body(_head(response), f"a body of more than {MAX_BODY_BYTES} bytes")
        except UnpackingError as error:
            reply = bad_body(_head(response), str(error))
        if self._route.flex and TIER in sent.keys:
            self._watch_capacity(reply, manner)
        return self._redacted(reply)

    def _watch_capacity(self, reply: Reply, manner: Manner) -> None:
        """Ask as standard from now on where the flex tier had no capacity for all the time it was given."""
        # "Resource unavailable" comes with 429; a limit on rates that lasts as long is met alike.
        if isinstance(reply, Rejection) and reply.cause in (Cause.OVERLOADED, Cause.RATE_LIMITED):
            now = time.monotonic()
            self._refused_since = now if self._refused_since is None else self._refused_since
            if now - self._refused_since >= self._route.flex_patience_s and self._asking.refused(TIER, manner):
                waited = f"no flex capacity for {self._route.flex_patience_s:g} s"
                self._asking.notes[-1] = f"{self._route.model}: {waited}: asked as standard from now on"
        elif isinstance(reply, Answer):
            self._refused_since = None

    def rendered(self, request: Request) -> HttpRequest:
        """The POST that `request` is now."""
        return self._dialect.encode(request, self._route, self._asking.manner, self._key.reveal())

    def read(self, request: Request, response: HttpResponse) -> Reply:
        """What `response` says, which came another way than as the response to `request` alone."""
        call = Call(
            request=request,
            route=self._route,
            manner=self._asking.manner,
            asking=self._asking,
            sent=self.rendered(request),
            redact=self._key.redact,
        )
        return self._redacted(decode(self._dialect, call, response))

    async def exchange(self, call: HttpRequest, *, timeout_s: float, max_bytes: int = MAX_BODY_BYTES) -> HttpResponse:
        """The response to a call that is no completion, whatever its status; `call.headers` without what
        authenticates. Raises RefusedError, kind "unsent" where nothing of it can have arrived."""
        flight = Flight()
        FLIGHT.set(flight)
        asked = replace(call, headers={**self._dialect.headers(self._key.reveal()), **call.headers})
        try:
            async with asyncio.timeout(timeout_s), self._opened(asked, timeout_s) as response:
                head = self._safe(_head(response))
                return replace(head, body=b"".join([part async for part in _bounded(response, head, max_bytes)]))
        except (httpx.HTTPError, aiohttp.ClientError, OSError, TooLargeError, UnpackingError) as error:
            said = self._key.redact(clean(f"{self.name}: {error or type(error).__name__}"))
            raise RefusedError(said, kind="" if flight.sent else "unsent") from error

    async def list_models(self) -> list[str]:
        """The ids of the models the service offers. Raises RefusedError if it does not say."""
        headers = self._dialect.headers(self._key.reveal())
        body = await self._ask(HttpRequest(path=self._dialect.models_path, headers=headers, body=b""))
        rows = body if isinstance(body, list) else listing(body.get("data"))  # Together answers with the bare list
        found = [word(mapping(row).get("id")) for row in rows]
        return sorted(name for name in found if name)

    async def count_tokens(self, request: Request) -> int:
        """Input tokens of `request` by the service's own count. Raises RefusedError if it has none."""
        if self._dialect.count is None:
            raise RefusedError(f"{self.name} does not count tokens")
        call = self._dialect.count(request, self._route, self._asking.manner, self._key.reveal())
        count = token_count(mapping(await self._ask(call)).get("input_tokens"))
        if count is None or count > MOST_TOKENS:
            raise RefusedError(f"{self.name} answered without a count of tokens")
        return count

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    @asynccontextmanager
    async def _opened(self, call: HttpRequest, timeout_s: float) -> AsyncIterator[httpx.Response]:
        """The response to `call`, a GET if it has no body; its body is still to be read."""
        url = self._url(call.path)
        connect_s = min(CONNECT_TIMEOUT_S, timeout_s * 0.8)
        headers = {**_HEADERS, **call.headers, "content-length": str(len(call.body))}
        if "api-version=" in self._address.query and (key := self._key.reveal()):
            headers = {name: value for name, value in headers.items() if name != "authorization"}
            headers["api-key"] = key  # Azure's name for it; its bearers are Entra's tokens

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
            if not unsent(error):
                raise
            # The server closed an idle connection as we took it (llama.cpp after each stream): a fresh one, once.
            response = await attempt()
        try:
            yield response
        finally:
            await response.aclose()

    def _url(self, path: str) -> httpx.URL:
        return self._urls.get(path) or self._urls.setdefault(path, httpx.URL(self._address.below(path)))

    async def _read(self, response: httpx.Response) -> HttpResponse:
        head = self._safe(_head(response))
        return replace(head, body=b"".join([part async for part in _bounded(response, head)]))

    def _safe(self, head: HttpResponse) -> HttpResponse:
        """`head` without the key, before anything is cut to length."""
        shown = {name: self._key.redact(head.headers[name]) for name in SHOWN_HEADERS if name in head.headers}
        return replace(head, headers={**head.headers, **shown})

    async def _read_stream(
        self, call: Call, response: httpx.Response, deadline: asyncio.Timeout, timeout_s: float
    ) -> Reply:
        loop = asyncio.get_running_loop()
        end = loop.time() + STREAM_TOTAL_FACTOR * timeout_s
        head = self._safe(_head(response))
        reader = StreamReader(self._dialect, call, head)
        async with aclosing(_bounded(response, head)) as parts:
            async for part in parts:
                if reader.feed(part):
                    deadline.reschedule(min(loop.time() + timeout_s, end))
                if reader.reply is not None:
                    return reader.reply
        return reader.finish()

    async def _ask(self, call: HttpRequest) -> Any:
        try:
            async with asyncio.timeout(LISTING_TIMEOUT_S), self._opened(call, LISTING_TIMEOUT_S) as response:
                whole = await self._read(response)
        except (httpx.HTTPError, aiohttp.ClientError) as error:
            raise RefusedError(
                f"{self.name}: {self._key.redact(network_failure(error, self._proxy, sent=True).message)}"
            ) from error
        except (OSError, TooLargeError, UnpackingError) as error:
            raise RefusedError(self._key.redact(clean(f"{self.name}: {error or type(error).__name__}"))) from error
        found = parse(whole.body)
        fault = find_fault(found)
        if whole.status != 200 or not isinstance(found, (dict, list)) or fault:
            words = fault.message if fault else whole.body.decode("utf-8", "replace")
            raise RefusedError(clean(f"{self.name}: HTTP {whole.status}: {self._key.redact(words)}"))
        return found

    def _redacted(self, reply: Reply) -> Reply:
        """`reply` without the key, however it was spelled in the body."""
        if isinstance(reply, Rejection):
            asks = f"the proxy {shown(self._proxy)} wants a password: " if reply.http_status == _PROXY_AUTH else ""
            return replace(reply, message=self._key.redact(asks + reply.message))
        text = self._key.redact_answer(reply.text)
        return reply if text is reply.text else replace(reply, text=text)


_HEADERS = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "docreduce"}


_STREAMS = ("text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl")


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _SLICE_BYTES):
        yield body[start : start + _SLICE_BYTES]


def _is_stream(response: httpx.Response) -> bool:
    kind = response.headers.get("content-type", "").lower()
    return response.status_code == 200 and kind.startswith(_STREAMS)


def _head(response: httpx.Response) -> HttpResponse:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}
    return HttpResponse(status=response.status_code, headers=headers, body=b"", received_at=time.time())


async def _bounded(
    response: httpx.Response, head: HttpResponse, most: int = MAX_BODY_BYTES
) -> AsyncGenerator[bytes, None]:
    """The body's parts, unpacked. Raises TooLargeError, UnpackingError."""
    length, coded = head.headers.get("content-length", ""), head.headers.get("content-encoding")
    if length.isdecimal() and int(length) > most:
        raise TooLargeError
    # Packing was not asked for; httpx's own unpacking has no bound.
    unpacking = Unpacking(coded) if coded else None
    seen = 0
    parts = cast(AsyncGenerator[bytes, None], aiter(cast(httpx.AsyncByteStream, response.stream)))
    async with aclosing(parts):
        async for part in parts:
            whole = unpacking.feed(part) if unpacking else part
            seen += len(whole)
            if seen > most:
                raise TooLargeError
            yield whole
