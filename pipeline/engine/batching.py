"""The way of a run by its provider's batch service: whether there is one, what it takes, what it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from docreduce.desk import Desk, Enqueued, Ledger, Line, Out
from docreduce.engine.batched import Batched
from docreduce.engine.events import Attempted, Event, Noted
from docreduce.engine.session import Session
from docreduce.models.routes import Route
from docreduce.providers import open_batches
from docreduce.settings import EndpointSettings
from docreduce.values import Stage
from docreduce.values.errors import JobError

__all__ = ["BatchWay", "cancel_batches", "open_batched"]

BY_BATCH: frozenset[Stage] = frozenset({"map", "pass"})
"""What goes out in batches: what merges answers waits for nothing else, and goes live."""
_ENDPOINT = frozenset(EndpointSettings.model_fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchWay:
    """A line and its carrier; `out` are the tickets that earlier runs left with the service."""

    route: Route
    line: Line
    carrier: Batched
    out: Sequence[Out]

    async def book_rest(self, desk: Desk, listen: Callable[[Event], None]) -> None:
        """Book what has come for requests that no document asks any more: it is paid for."""
        replies = await self.carrier.rest(desk.orphans())
        if replies:
            turn = desk.book_orphans(replies, time.monotonic())
            for settled in turn.settled:
                if settled.attempt is not None:
                    listen(Attempted(settled.attempt))
            listen(Noted(f"{len(replies):,} answers of batches came for requests that this job does not make any more"))


def open_batched(session: Session, ledger: Ledger, listen: Callable[[Event], None], *, wait: bool) -> BatchWay | None:
    """The batch service of the job's first route, where the job wants it or something is out there; else None.

    Raises JobError where the job wants one and the service has none."""
    settings, meter = session.settings[0], session.meters[0]
    route = replace(meter.route, batch=True, stream=False, service_tier=None, cache_prefix=False)
    out = [each for each in ledger.batches.out() if (each.endpoint, each.setting) == (route.endpoint, route.setting)]
    wanted = settings.mode != "live" and not session.offline
    if not wanted and not out:
        return None
    opened = open_batches(route, settings)
    if opened is None:
        if settings.mode == "batch":
            hint = 'Set model.mode = "live", or "auto" to use batches where there are some.'
            raise JobError(f"model.mode: {settings.provider} has no batch service that is known here", hint=hint)
        return None
    asked = settings.model_dump_json(include=set(_ENDPOINT))
    carrier = Batched(*opened, route, ledger, asked, out=out, wait=wait, note=lambda said: listen(Noted(said)))
    limiter = Enqueued() if wanted else Enqueued(len(out))
    line = Line(
        route=route,
        meter=meter.at(route),
        limiter=limiter,
        give_up_s=route.limits.give_up_s,
        timeout_s=86_400.0,
        stages=BY_BATCH if wanted else frozenset(),
    )
    return BatchWay(route=route, line=line, carrier=carrier, out=out)


async def cancel_batches(ledger: Ledger) -> list[str]:
    """Ask the services to end every batch that is out; their ids. What was done by then is fetched, and booked, by the
    next run. Raises RefusedError where a service cannot be asked."""
    ended = []
    for row in ledger.batches.rows():
        if row.service_id is None:
            continue
        settings = EndpointSettings.model_validate_json(row.asked)
        opened = open_batches(_bare(row.endpoint, settings), settings)
        assert opened is not None  # it was sent there
        provider, service = opened
        try:
            if not (await service.look(row.service_id)).ended:
                await service.cancel(row.service_id)
                ended.append(row.service_id)
        finally:
            await provider.aclose()
    return ended


def _bare(endpoint: str, settings: EndpointSettings) -> Route:
    """A route that is asked nothing."""
    from docreduce.models.prices import Pricing

    return Route(
        endpoint=endpoint,
        dialect=settings.provider,
        model=settings.name,
        window=settings.max_output_tokens + 1,
        max_output_tokens=settings.max_output_tokens,
        pricing=Pricing(mode="per_token", source="none", lists=()),
    )
