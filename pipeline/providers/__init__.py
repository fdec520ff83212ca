"""The wire: a request rendered for a route, sent, and its reply read. One file a dialect, and the registry of them.

The parts, in the order a call passes them: `manner` (how the route is asked now), a dialect (`openai`, `anthropic`,
`modelslab`) with `schemas`, `http` over `transport`, `replies` with `draft`, `usage` and `stream`; or `refusals` with
`faults`, `wording` and `waits`. `secrets` and `addresses` keep the key where it belongs.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Protocol

from docreduce.providers.addresses import checked, enforces, proxy_for, variable_name
from docreduce.values.errors import JobError

if TYPE_CHECKING:
    from docreduce.models.routes import Route
    from docreduce.providers.batches import BatchService
    from docreduce.providers.dialect import Dialect
    from docreduce.providers.http import HttpProvider
    from docreduce.settings import EndpointSettings
    from docreduce.values import Reply, Request

__all__ = ["Provider", "asked_tier", "endpoint", "enforces_schemas", "open_batches", "open_provider"]


class Provider(Protocol):
    """Who answers the requests of one route."""

    @property
    def notes(self) -> list[str]:
        """What is to be said once to the user: how the route is asked otherwise than the job says. It grows."""
        ...

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        """One attempt. Never raises for what the service or the network does."""
        ...

    async def count_tokens(self, request: Request) -> int:
        """Input tokens of `request` by the service's own count. Raises RefusedError where it has none."""
        ...

    async def list_models(self) -> list[str]:
        """The ids of the models the service offers now, sorted. Raises RefusedError if it does not say."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


def open_provider(route: Route, settings: EndpointSettings) -> Provider:
    """The provider that `route` names, at the address and with the key of `settings`.

    Raises JobError for a base URL the key must not travel to, or a key that is not in the environment."""
    from docreduce.providers.http import HttpProvider
    from docreduce.providers.secrets import ApiKey

    dialect = _dialect(settings, route.dialect)
    address = checked(settings.base_url or dialect.base_url, insecure=settings.allow_insecure_base_url)
    variable = variable_name(settings.api_key_env or dialect.key_env)
    key = os.environ.get(variable, "").strip()
    if not key and not address.loopback:
        raise JobError(
            f"model.provider {settings.provider!r} needs a key, and the environment variable {variable} is not set",
            hint=f"Set {variable}, or name another variable in model.api_key_env.",
        )
    if not key.isascii() or not key.isprintable():
        raise JobError(f"the key in {variable} holds characters that no key has")
    return HttpProvider(dialect, route, address, ApiKey(key), proxy=proxy_for(address))


def open_batches(route: Route, settings: EndpointSettings) -> tuple[HttpProvider, BatchService] | None:
    """The provider of `route` and its batch service; None where it has none. Raises as `open_provider`."""
    from docreduce.providers.batches import batch_service
    from docreduce.providers.http import HttpProvider

    if settings.provider not in ("openai", "anthropic"):
        return None
    provider = open_provider(route, settings)
    assert isinstance(provider, HttpProvider)
    service = batch_service(provider, settings.provider, _dialect(settings, route.dialect).chat_path)
    return None if service is None else (provider, service)


def endpoint(settings: EndpointSettings) -> str:
    """The address of the API as bills and ledger name it. Raises JobError for one that a key must not travel to."""
    if settings.provider == "offline":
        return "offline"
    base_url = settings.base_url or _dialect(settings, settings.provider).base_url
    address = checked(base_url, insecure=settings.allow_insecure_base_url)
    return address.below("")


def enforces_schemas(settings: EndpointSettings) -> bool:
    """Whether the service is known to keep to a schema strictly, so that json_schema is the best form to try first."""
    if settings.provider == "offline":
        return False
    return enforces(_dialect(settings, settings.provider), endpoint(settings))


def asked_tier(settings: EndpointSettings, *, capped: bool) -> str | None:
    """The service tier that requests name. A cap is bounded by standard prices: where a project's own setting could
    have calls served dearer, they ask for "default". Raises JobError where the job's tier cannot be asked for."""
    if settings.provider == "offline":
        return None
    tiers = _dialect(settings, settings.provider).tiers
    if settings.service_tier is not None and not tiers:
        raise JobError(
            f"model.service_tier: {settings.provider} has no tier {settings.service_tier!r} to ask for",
            hint="Leave model.service_tier out.",
        )
    return settings.service_tier or ("default" if capped and tiers and enforces_schemas(settings) else None)


def _dialect(settings: EndpointSettings, name: str) -> Dialect:
    """The dialect of the file `name`, or one of ModelsLab's two."""
    two = settings.provider == "modelslab"
    module = importlib.import_module(f"docreduce.providers.{settings.provider if two else name}")
    found: Dialect = module.MESSAGES if two and "anthropic" in (settings.dialect, name) else module.DIALECT
    return found
