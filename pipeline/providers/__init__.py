"""One file a dialect, and the registry that finds them by the job file's `model.provider`."""

from __future__ import annotations

import importlib
import ipaddress
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from docreduce.config import ModelSettings
from docreduce.values import Provider
from docreduce.values.errors import JobError

if TYPE_CHECKING:
    from docreduce.providers.http import HttpProvider
    from docreduce.text.tokens import Tokenizer

__all__ = ["list_models", "open_provider"]


def open_provider(settings: ModelSettings, *, tokenizer: Tokenizer) -> Provider:
    """The provider the job file names. `tokenizer` counts for the offline one; services count themselves.

    Raises JobError for a base URL the key must not travel to, or a key that is not in the environment."""
    if settings.provider == "offline":
        from docreduce.providers.offline import OfflineProvider

        return OfflineProvider(tokenizer)
    return _open_http(settings)


async def list_models(settings: ModelSettings) -> list[str]:
    """The ids of the models the service offers now, sorted. Raises JobError as `open_provider`, RefusedError."""
    if settings.provider == "offline":
        return []
    provider = _open_http(settings)
    try:
        return await provider.list_models()
    finally:
        await provider.aclose()


def _open_http(settings: ModelSettings) -> HttpProvider:
    from docreduce.providers.http import ApiKey, HttpProvider
    from httpx import InvalidURL

    dialect = importlib.import_module(f"docreduce.providers.{settings.provider}").DIALECT
    base_url = settings.base_url or dialect.base_url
    loopback = _checked(base_url, settings.allow_insecure_base_url)
    variable = settings.api_key_env or dialect.key_env
    key = os.environ.get(variable, "").strip()
    if not key and not loopback:
        raise JobError(
            f"model.provider {settings.provider!r} needs a key, and the environment variable {variable} is not set",
            hint=f"Set {variable}, or name another variable in model.api_key_env.",
        )
    if not key.isascii() or not key.isprintable():
        raise JobError(f"the key in {variable} holds characters that no key has")
    proxy = None if loopback else _proxy(base_url)
    try:
        return HttpProvider(dialect, settings, ApiKey(key), proxy=proxy)
    except InvalidURL as error:
        raise JobError(f"model.base_url {base_url!r}: {error}") from error
    except ValueError as error:
        raise JobError(f"the proxy that the environment names is none: {error}") from error


def _checked(base_url: str, allow_insecure: bool) -> bool:
    """Whether `base_url` is this machine. Raises JobError if a key must not be sent there."""
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise JobError(f"model.base_url {base_url!r}: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise JobError(f"model.base_url {base_url!r} is not an http or https address")
    if parts.username is not None or parts.password is not None:
        raise JobError("model.base_url holds a user name or password", hint="Keys belong in the environment.")
    loopback = _is_loopback(host)
    if parts.scheme == "http" and not loopback and not allow_insecure:
        raise JobError(
            f"model.base_url {base_url!r}: over http the key would travel readable",
            hint="Use https, or set model.allow_insecure_base_url = true.",
        )
    return loopback


def _proxy(base_url: str) -> str | None:
    """The proxy that the environment names for this address (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(base_url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
