"""What faults of the network mean: was it sent, who refused it; and bodies unpacked within bounds."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import unquote, urlsplit

import aiohttp
import httpx
from docreduce.providers.faults import clean
from docreduce.values import Billing, Cause, Decision, Rejection

__all__ = ["MAX_BODY_BYTES", "TooLargeError", "Unpacking", "failed", "network_failure", "shown", "unsent"]

MAX_BODY_BYTES = 16 * 2**20
"""No answer is this long: reading stops here, whatever the service goes on to send."""
MAX_CODINGS = 3
"""Nobody packs a body more often than this but to harm."""


class TooLargeError(Exception):
    """A body past its bound."""


class UnpackingError(Exception):
    """A body that is not packed as it says."""


class Unpacking:
    """The codings of a body undone, part by part, each within `MAX_BODY_BYTES`: a small body can unpack to gigabytes.

    Raises UnpackingError for a coding that nobody asked for and for bytes that are none of it, TooLargeError."""

    def __init__(self, codings: str) -> None:
        names = [name for part in codings.lower().split(",") if (name := part.strip()) not in ("", "identity")]
        if len(names) > MAX_CODINGS or not {"gzip", "x-gzip", "deflate"}.issuperset(names):
            raise UnpackingError(f"content-encoding {codings[:80]!r} was not asked for")
        self._layers = [zlib.decompressobj(32 + zlib.MAX_WBITS) for _ in names]
        self._room = [MAX_BODY_BYTES for _ in names]

    def feed(self, part: bytes) -> bytes:
        """What `part` unpacks to."""
        for number in reversed(range(len(self._layers))):
            try:
                part = self._layers[number].decompress(part, self._room[number] + 1)
            except zlib.error as error:
                raise UnpackingError(f"a body that is not packed as it says: {error}") from error
            self._room[number] -= len(part)
            if self._room[number] < 0:
                raise TooLargeError
        return part


def unsent(error: Exception) -> bool:
    """Whether the body could not be written: a request cut short cannot be answered, nor charged.

    aiohttp says so in words only (3.12 to 3.14)."""
    return isinstance(error.__cause__, aiohttp.ClientOSError) and "Can not write request body" in str(error.__cause__)


def network_failure(error: Exception, proxy: str | None, *, sent: bool) -> Rejection:
    """What a fault of the network means; `sent`: whether anything of the request had left. The transport blurs kinds;
    what it was raised from tells them apart."""
    origin = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    reply = _meaning(error, origin, shown(proxy))
    billing: Billing = reply.billing if sent else "free"
    return replace(reply, billing=billing, message=_without_password(reply.message, proxy))


def failed(cause: Cause, message: str, billing: Billing, decision: Decision = Decision.RETRY) -> Rejection:
    """The rejection of a call that brought no response."""
    return Rejection(cause=cause, decision=decision, message=clean(message), billing=billing)


_KINDS: tuple[tuple[type[BaseException], Cause, Billing, Decision], ...] = (
    (aiohttp.ClientConnectorCertificateError, Cause.CONNECTION, "free", Decision.STOP),
    (
        aiohttp.ClientConnectorError,
        Cause.CONNECTION,
        "free",
        Decision.RETRY,
    ),  # also unresolved hosts, other TLS failures
    (aiohttp.ConnectionTimeoutError, Cause.CONNECTION, "free", Decision.RETRY),
    (aiohttp.ServerTimeoutError, Cause.TIMEOUT, "unknown", Decision.RETRY),
    (aiohttp.ClientPayloadError, Cause.BAD_BODY, "unknown", Decision.RETRY),
    (aiohttp.ClientResponseError, Cause.BAD_BODY, "unknown", Decision.RETRY),
)
"""What a fault means, the first that fits; any other is a connection that broke after sending."""


def _meaning(error: Exception, origin: BaseException, proxy: str) -> Rejection:
    if isinstance(origin, aiohttp.ClientHttpProxyError):  # it answered CONNECT: nothing went further
        words = f"the proxy {proxy} refuses the tunnel: HTTP {origin.status} {origin.message}"
        cause = {407: Cause.AUTHENTICATION, 401: Cause.PERMISSION, 403: Cause.PERMISSION}.get(origin.status)
        return failed(cause or Cause.CONNECTION, words, "free", Decision.STOP if cause else Decision.RETRY)
    if isinstance(origin, aiohttp.ClientProxyConnectionError):
        return failed(Cause.CONNECTION, f"the proxy {proxy} cannot be reached: {origin.os_error}", "free")
    words = f"{type(origin).__name__}: {origin}"
    if isinstance(origin, aiohttp.ClientConnectorError) and not isinstance(origin, aiohttp.ClientSSLError):
        words = f"cannot connect to {origin.host}:{origin.port}: {_why(origin.os_error)}"
    if unsent(error):
        return failed(Cause.CONNECTION, words, "free")
    found = next((kind[1:] for kind in _KINDS if isinstance(origin, kind[0])), None)
    cause, billing, decision = found or (Cause.CONNECTION, "unknown", Decision.RETRY)
    return failed(cause, words, billing, decision)


def _why(error: OSError) -> str:
    """The reason in the system's own words, where it has some: "connection refused"."""
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved ({error.strerror})"
    return os.strerror(error.errno).lower() if error.errno else str(error)


def shown(proxy: str | None) -> str:
    """The proxy's address without user and password."""
    return f"{urlsplit(proxy).scheme}://{urlsplit(proxy).netloc.rpartition('@')[2]}" if proxy else "of the environment"


def _without_password(message: str, proxy: str | None) -> str:
    password = urlsplit(proxy).password if proxy else None
    spellings: Sequence[str] = (password, unquote(password)) if password else ()
    for spelling in spellings:
        message = message.replace(spelling, "[password]")
    return message
