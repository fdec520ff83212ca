"""Desks for tests: real ledgers and limiters, prices that are easy to add up, and time as an argument."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from docreduce.desk import Ask, Budget, Desk, Ledger, Limiter, Line, Ticket
from docreduce.models.calibration import learn
from docreduce.models.catalogue import UNKNOWN
from docreduce.models.meter import Meter
from docreduce.models.prices import Pricing, stated
from docreduce.models.routes import Route
from docreduce.settings import PricingSettings
from docreduce.values import (
    Answer,
    Attempt,
    Cause,
    Decision,
    Message,
    Outcome,
    Rejection,
    Reply,
    Request,
    Usage,
)

__all__ = [
    "BOUND",
    "COST",
    "PRICE",
    "USAGE",
    "Played",
    "answer",
    "desk",
    "line",
    "play",
    "rejection",
    "request",
    "route",
]

USAGE = Usage(input_tokens=10, output_tokens=5)
TOKENS, LIMIT = 20, 50
PRICE = stated(PricingSettings(input_usd_per_million=0.00001, output_usd_per_million=0.0001), "test")
COST = 10 * 10 + 5 * 100
BOUND = TOKENS * 10 + LIMIT * 100
"""Pico-dollars that a call of `request` can cost at most, on a `line` that counts as we do."""


def request(text: object = "text", **changes: Any) -> Request:
    """A request of 20 tokens."""
    return Request(**{"messages": (Message("user", str(text)),), "tokens": TOKENS, "chunk": 0, **changes})


def answer(text: str = "fine", **changes: Any) -> Answer:
    """A whole answer that costs COST."""
    return Answer(**{"text": text, "finish_reason": "stop", "usage": USAGE, "http_status": 200, **changes})


def rejection(cause: Cause, decision: Decision = Decision.RETRY, **changes: Any) -> Rejection:
    """A refusal that is free unless it says otherwise."""
    return Rejection(cause=cause, decision=decision, message=f"said {cause}", **changes)


def route(name: str = "m", pricing: Pricing = PRICE, **changes: Any) -> Route:
    """A model at an address of its own."""
    given: dict[str, Any] = {"window": 10_000, "max_output_tokens": LIMIT, "pricing": pricing, **changes}
    return Route(endpoint=f"https://{name}.example/v1", dialect="openai", model=name, **given)


def line(asked: Route | None = None, *, counted: bool = True, give_up_s: float = 900.0, **limits: Any) -> Line:
    """A line to a route, at time 0. `counted`: its service counts as we do; else each kind of text is found out."""
    asked = asked or route()
    limits = {"concurrency": 4, "now": 0.0, **limits}
    meter = Meter(asked, learn([], UNKNOWN), exact=False, embedded=counted)
    return Line(route=asked, meter=meter, limiter=Limiter(**limits), give_up_s=give_up_s, timeout_s=120.0)


def desk(ledger: Ledger, *lines: Line, cap: int | None = None, **changes: Any) -> Desk:
    """A desk of a run called "run", whose calls are tried three times."""
    given = {"max_attempts": 3, "wall": 0.0, **changes}
    return Desk(run_id="run", lines=lines or (line(),), ledger=ledger, budget=Budget(cap), **given)


MOST_ROUNDS = 100_000
"""A play of any test takes a few thousand: a desk that gets nowhere fails it."""


@dataclass
class Played:
    """What came of a play, by key; `sent` and `sent_at` in order; `now` when it ended."""

    now: float
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    sent: list[Ticket] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    most_in_flight: int = 0

    def of(self, asked: Request) -> tuple[Outcome, list[Attempt]]:
        """The outcome of a request and its attempts."""
        return self.outcomes[asked.key], self.attempts.get(asked.key, [])


def play(  # noqa: C901 - one loop, so that the order of events is plain to see
    decides: Desk,
    requests: Sequence[Request],
    service: Callable[[Ticket, float], Reply],
    *,
    latency_s: float = 1.0,
    now: float = 0.0,
    each: Callable[[float], None] = lambda _: None,
) -> Played:
    """Ask for all `requests` of a desk whose calls `service` answers after `latency_s`; time jumps to what is next.

    `each` is called with the time after every turn."""
    played, ties = Played(now), count()
    later = [(0.0, next(ties), Ask(asked.key, asked, "doc")) for asked in requests]
    flying: list[tuple[float, int, Ticket]] = []
    replies: list[tuple[Ticket, Reply, float]] = []
    blocked: list[Ask] = []
    rounds = count()
    while later or flying or replies or blocked or any(each.ready for each in decides.lines):
        assert next(rounds) < MOST_ROUNDS, "it does not come to an end"
        while isinstance(taken := decides.take(now), Ticket):
            played.sent.append(taken)
            played.sent_at.append(now)
            heapq.heappush(flying, (now + latency_s, next(ties), taken))
        played.most_in_flight = max(played.most_in_flight, len(flying))
        due: list[Ask] = []
        if replies or decides.halted:
            due, blocked = blocked, []
        while later and (decides.halted or (later[0][0] <= now and len(due) < decides.room(now))):
            due.append(heapq.heappop(later)[2])
        if replies or due or decides.stranded(now):
            turn = decides.turn(replies, due, now)
            replies = []
            blocked += turn.waiting
            for settled in turn.settled:
                if settled.attempt is not None:
                    played.attempts.setdefault(settled.ask.key, []).append(settled.attempt)
                if settled.outcome is None:
                    heapq.heappush(later, (settled.not_before, next(ties), settled.ask))
                else:
                    assert settled.ask.key not in played.outcomes, "two outcomes for one request"
                    played.outcomes[settled.ask.key] = settled.outcome
            each(now)
            continue
        soonest = min(now + taken, flying[0][0] if flying else math.inf)
        if later and decides.room(now) > 0:
            soonest = min(soonest, later[0][0])
        assert soonest < math.inf, "nothing is to come, and not all is settled"
        now = max(soonest, now + 1e-6)
        while flying and flying[0][0] <= now:
            ticket = heapq.heappop(flying)[2]
            reply = service(ticket, now)
            decides.arrived(ticket, reply, now)
            replies.append((ticket, reply, latency_s))
    played.now = now
    return played
