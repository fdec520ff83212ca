"""What the ledger answers for nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from docreduce.desk.ledger import Ledger
from docreduce.models.routes import Route
from docreduce.settings import Retry
from docreduce.values import Completion, Failure, Outcome, Request

__all__ = ["known"]


def known(
    ledger: Ledger, routes: Sequence[Route], asks: Mapping[str, Request], *, retry: Retry = "never"
) -> dict[str, Outcome]:
    """The outcomes that the ledger holds of `asks`, by key: those of the first route that answered.

    A remembered failure stands where every route has one: else another one may still answer."""
    outcomes: dict[str, Outcome] = {}
    failed: Counter[str] = Counter()
    for route in routes:
        keys = [
            key
            for key, asked in asks.items()
            if asked.voice in {"", route.model} and not isinstance(outcomes.get(key), Completion)
        ]
        found = ledger.answers(route.endpoint, route.setting, keys, retry=retry) if keys else {}
        failed.update(key for key, outcome in found.items() if isinstance(outcome, Failure))
        outcomes |= found
    return {
        key: outcome
        for key, outcome in outcomes.items()
        if isinstance(outcome, Completion) or asks[key].voice or failed[key] == len(routes)
    }
