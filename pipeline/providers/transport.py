"""Connections: every dialect over aiohttp's, behind httpx's transport seam, with the proxy on the way.

httpx's own pool looks through all its connections at each request; aiohttp's does not.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import select
import ssl
from contextvars import ContextVar
from typing import cast

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from httpx_aiohttp import AiohttpTransport

__all__ = ["FLIGHT", "Flight", "open_transport"]

KEEPALIVE_S = 4.0
"""Idle connections are dropped before a server's usual 5 s, so that none is closed under a request."""


class Flight:
    """Whether anything of one request has left: between a proxy's refusal and a request there can be any error."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = False


FLIGHT: ContextVar[Flight] = ContextVar("flight")
"""Of the call that this task sends: aiohttp's traces run in its context."""


async def _note_sent(*_: object) -> None:
    if flight := FLIGHT.get(None):
        flight.sent = True


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


def open_transport(proxy: str | None, *, secure: bool) -> AiohttpTransport:
    """A transport without a limit of its own: dispatch holds the slots."""
    # Honours SSL_CERT_FILE and SSL_CERT_DIR; takes 40 ms that a plain address need not wait for.
    context = httpx.create_ssl_context() if secure or proxy else True

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=60)
        made = functools.partial(_Connection, loop=asyncio.get_running_loop())
        connector._factory = cast("functools.partial[ResponseHandler]", made)  # the only place it can be named
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sent)
        return aiohttp.ClientSession(
            connector=connector,
            trace_configs=[trace],
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept",),
        )

    # The session's connector verifies, its default too; nobody asks the context of the transport itself.
    unasked = context if isinstance(context, ssl.SSLContext) else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return AiohttpTransport(verify=unasked, client=session, proxy=_proxy(proxy) if proxy else None)


def _proxy(address: str) -> httpx.Proxy:
    """The proxy at `address`. aiohttp takes an authorization among a proxy's headers to where it belongs; its own
    argument for it warns, and knows Latin-1 only."""
    proxy = httpx.Proxy(address)
    if proxy.raw_auth is None:
        return proxy
    basic = base64.b64encode(b":".join(proxy.raw_auth)).decode()
    return httpx.Proxy(proxy.url, headers={"authorization": f"Basic {basic}"})
