"""What the ledger answers for nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from docreduce.desk.booking import may_pass
from docreduce.desk.ledger import Ledger
from docreduce.models.routes import Route
from docreduce.settings import Retry
from docreduce.values import Completion, Failure, Outcome, Request

__all__ = ["known"]


def known(
    ledger: Ledger, routes: Sequence[Route], asks: Mapping[str, Request], *, retry: Retry = "never"
) -> dict[str, Outcome]:
    """The outcomes that the ledger holds of `asks`, by key: those of the first route that answered.

    A remembered failure that is about the text stands where every route has one: else another one may still answer.
    One that may pass was kept when all routes had been tried, and stands where nothing is to be asked again."""
    outcomes: dict[str, Outcome] = {}
    failed: Counter[str] = Counter()
    for route in routes:
        keys = [
            key
            for key, asked in asks.items()
            if asked.voice in {"", route.model} and not isinstance(outcomes.get(key), Completion)
        ]
        found = ledger.answers(route.endpoint, route.setting, keys, retry=retry) if keys else {}
        for key, outcome in list(found.items()):
            if isinstance(outcome, Failure) and may_pass(outcome.cause):
                failed[key] += len(routes)
                if retry != "never":
                    del found[key]
            elif isinstance(outcome, Failure):
                failed[key] += 1
        outcomes |= found
    return {
        key: outcome
        for key, outcome in outcomes.items()
        if isinstance(outcome, Completion) or asks[key].voice or failed[key] >= len(routes)
    }
