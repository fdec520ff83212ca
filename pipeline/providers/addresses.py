"""Where calls go: a base URL that a key may travel to, the address of each operation, the proxy on the way."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies, proxy_bypass

from docreduce.values.errors import JobError

if TYPE_CHECKING:
    from docreduce.providers.dialect import Dialect

__all__ = ["Address", "checked", "enforces", "proxy_for", "variable_name"]

_SECRET_NAME = re.compile(r"key|token|secret|sig|pass|auth|cred|code|session", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w.+/=~-]{16,}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_OPERATION = re.compile(r"/(?:chat/completions|completions|v1/messages|messages|models|responses)/?$")


class Address(NamedTuple):
    """A base URL without its query, which stays last in the address of every operation."""

    base: str
    query: str = ""
    loopback: bool = False

    def below(self, path: str) -> str:
        """The address of the operation at `path`; a `/v1` that both state is stated once."""
        root, _, own = path.partition("?")
        root = self.base + (root.removeprefix("/v1") if self.base.endswith("/v1") else root)
        query = "&".join(part for part in (own, self.query) if part)
        return f"{root}?{query}" if query else root


def checked(base_url: str, *, insecure: bool) -> Address:
    """`base_url`, cut back to the root of the API. Raises JobError if a key must not be sent there, or stands in it."""
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise JobError(f"model.base_url is no address: {error}") from error
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise JobError("model.base_url holds a user name or password", hint="Keys belong in the environment.")
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "api-version" and (_SECRET_NAME.search(name) or _SECRET_VALUE.fullmatch(value)):
            raise JobError(
                f"model.base_url holds what looks like a secret in its query ({name[:32]!r})",
                hint="Keys belong in the environment; name the variable in model.api_key_env.",
            )
    shown = base_url.split("?", maxsplit=1)[0]
    if parts.scheme not in ("http", "https") or not host:
        raise JobError(f"model.base_url {shown!r} is not an http or https address")
    if parts.fragment or not shown.isprintable() or " " in shown:
        raise JobError(f"model.base_url {shown!r} holds what no address of an API has")
    loopback = _is_loopback(host)
    if parts.scheme == "http" and not loopback and not insecure:
        raise JobError(
            f"model.base_url {shown!r}: over http the key would travel readable",
            hint="Use https, or set model.allow_insecure_base_url = true.",
        )
    path = _OPERATION.sub("", parts.path).rstrip("/")
    return Address(f"{parts.scheme}://{parts.netloc}{path}", parts.query, loopback)


def proxy_for(address: Address) -> str | None:
    """The proxy that the environment names for this address: HTTPS_PROXY or HTTP_PROXY, else ALL_PROXY, unless
    NO_PROXY names the host. Raises JobError for a kind of proxy that does not work here, and for what is no address."""
    parts = urlsplit(address.base)
    if address.loopback or proxy_bypass(parts.hostname or ""):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"  # as curl takes it
    scheme, _, rest = proxy.partition("://")
    shown = f"{scheme}://{rest.rpartition('@')[2]}"
    if scheme.lower().startswith("socks"):
        raise JobError(
            f"the environment names a SOCKS proxy, {shown}, and only http and https proxies work here",
            hint="Name an HTTP proxy in HTTPS_PROXY, or except the host in NO_PROXY.",
        )
    if scheme.lower() not in ("http", "https") or not _is_host(proxy):
        raise JobError(
            f"the proxy that the environment names is none: {shown}",
            hint="It is http://USER:PASSWORD@HOST:PORT; in user and password, / # ? @ are written %2F %23 %3F %40.",
        )
    return proxy


def _is_host(proxy: str) -> bool:
    """Whether an address has a host, and a port that is one; a password with a slash would be cut into both."""
    try:
        parts = urlsplit(proxy)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.hostname) and not any("@" in part for part in (parts.path, parts.query, parts.fragment))


def enforces(dialect: Dialect, address: str) -> bool:
    """Whether the service at `address` is one of those that `dialect` knows to keep to a schema."""
    host = urlsplit(address).hostname or ""
    return any(host == known or (known.startswith(".") and host.endswith(known)) for known in dialect.enforces)


def variable_name(name: str) -> str:
    """`name`, where it is the name of an environment variable. Raises JobError for a key in its place, unshown."""
    if name in os.environ:
        return name
    likely_key = len(name) >= 20 and re.search(r"\d", name) and re.search(r"[a-z]", name)
    if likely_key or not _VARIABLE.fullmatch(name):
        raise JobError(
            "model.api_key_env holds something that is no name of an environment variable",
            hint="Name the variable that holds the key, never the key itself.",
        )
    return name


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
