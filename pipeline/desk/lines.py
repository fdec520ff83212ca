"""A line: one route with its account's limits, its meter, its circuit, and the reserved calls that wait to be sent."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus

from docreduce.desk.limits import Enqueued, Lease, Limiter
from docreduce.desk.turns import Ask
from docreduce.models.meter import Meter, kind_of
from docreduce.models.routes import Route
from docreduce.settings import LimitSettings
from docreduce.values import STOPPING, Answer, Cause, Decision, Failure, Rejection, Reply, Request, Stage

__all__ = ["LONG_REST_S", "Line", "Ticket"]

LOADING_S = 3600.0
"""A model that says it is loading is not failing, for so long at most: no model that is served takes longer."""
FIRST_ANSWER_S = 120.0
"""Before its first answer a line is given up after this, or two time-outs: what never answered is no outage."""
LONG_REST_S = 15.0
"""A line that rests for longer is passed by where another one is open."""
UNBOOKED = 4
"""Of the calls that may be in flight, one in so many more, two at least, may be sent before the answers of others are
durable: a slot seldom waits for the disk (busy 0.99 with five slots and answers of 50 ms), and a crash leaves little
unknown."""
ALIKE = 3
"""First calls that are all refused as bad requests, with nothing else between them: the way we ask is wrong."""
_FAILING = frozenset(
    {Cause.CONNECTION, Cause.TIMEOUT, Cause.SERVER_ERROR, Cause.OVERLOADED, Cause.RATE_LIMITED, Cause.BAD_BODY}
)
_CAPACITY = frozenset({Cause.OVERLOADED, Cause.RATE_LIMITED})

_LOADING = re.compile(r"\bloading\b", re.IGNORECASE)
"""With HTTP 503: llama.cpp ("Loading model") and Hugging Face ("... is currently loading") say so, in words alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A call that may be made: reserved in the budget and durably in the ledger, under `id`."""

    id: int
    key: str
    request: Request
    document_id: str
    route: Route
    attempt: int
    bound_pusd: int
    tokens: int
    kind: str
    prefix: str = ""  # of a request whose prefix is to be kept in the service's cache
    started_at: float = 0.0  # seconds since the epoch
    timeout_s: float = 0.0

    @property
    def carrier(self) -> str:
        """Who carries it: endpoint and model, by batch or not."""
        return self.route.carrier


@dataclass(slots=True, kw_only=True, eq=False)
class Line:
    """`closed` is the refusal that ended it, None while it is open. `smallest_overflow`: our count of the smallest
    request that its service found too long. `stages` are those it takes; None: all."""

    route: Route
    meter: Meter
    limiter: Limiter | Enqueued
    give_up_s: float
    timeout_s: float
    stages: frozenset[Stage] | None = None
    closed: Failure | None = None
    smallest_overflow: float = float("inf")
    ready: deque[Ticket] = field(default_factory=deque)
    leases: dict[int, Lease] = field(default_factory=dict)  # of the calls in flight, by ticket
    # Of a kind of text that nobody counted, or a prefix: the call that leads; 0 once one was answered.
    unbooked: int = 0  # replies that no turn has made durable yet
    leading: dict[str, int] = field(default_factory=dict)
    answered: int = 0
    refused_alike: int = 0
    failing_since: float | None = None
    failures: int = 0  # since then
    last_failure: str = ""
    last_cause: Cause | None = None
    loading_since: float | None = None
    concurrency: int | None = None  # where the job states none
    tuned: LimitSettings | None = None  # what a person told since the start

    @property
    def full(self) -> bool:
        """Whether so many calls are sent and not yet booked that a crash now would leave too many unknown."""
        window = self.limiter.window
        return len(self.leases) + self.unbooked >= window + max(2, window // UNBOOKED)

    @property
    def troubled(self) -> bool:
        """Whether it has failed, or been loading, since its last answer."""
        return self.failing_since is not None or self.loading_since is not None

    @property
    def trouble(self) -> str:
        """The newest reason why it fails, and how often it did."""
        return f"{self.last_failure} ({self.failures:,} {'try' if self.failures == 1 else 'tries'})"

    def retune(self, limits: LimitSettings, now: float) -> None:
        """Keep these limits from now on; what was found out stays where nothing is changed."""
        self.give_up_s = limits.give_up_s
        before = self.tuned or self.route.limits
        rates = ("requests_per_minute", "tokens_per_minute", "concurrency")
        self.tuned = limits
        if any(getattr(before, name) != getattr(limits, name) for name in rates):
            self.limiter.retune(
                now,
                requests_per_minute=limits.requests_per_minute,
                tokens_per_minute=limits.tokens_per_minute,
                concurrency=limits.concurrency or self.concurrency,
            )

    def close(self, cause: Cause, message: str) -> None:
        """Send nothing more here."""
        self.closed = self.closed or Failure(key="", cause=cause, message=message)

    def rests(self, now: float) -> bool:
        """Whether nothing is sent for some time."""
        until = self.limiter.paused_until(now)
        return until is not None and until - now > LONG_REST_S

    def takes(self, request: Request) -> bool:
        """Whether it takes the stage, its service has not found a smaller request too long, and the account's limit can
        ever hold it."""
        if self.stages is not None and request.stage not in self.stages:
            return False
        tokens = self.meter.expected_tokens(request, kind_of(request))
        return request.tokens < self.smallest_overflow and self.limiter.fits(tokens)

    def ticket(self, ask: Ask, number: int, attempt: int, started_at: float) -> Ticket:
        """A ticket for `ask` on this line, `started_at` seconds since the epoch."""
        kind = kind_of(ask.request)
        return Ticket(
            id=number,
            key=ask.key,
            request=ask.request,
            document_id=ask.document_id,
            route=self.route,
            attempt=attempt,
            bound_pusd=self.meter.cost_bound(ask.request, kind),
            tokens=self.meter.expected_tokens(ask.request, kind),
            kind=kind,
            prefix=ask.request.prefix if self.route.caches(ask.request) else "",
            started_at=started_at,
        )

    def leads(self, ticket: Ticket, *, capped: bool) -> bool:
        """Whether the call may go though nobody counted its kind of text yet, where there is a cap, or nobody has
        written its prefix to the service's cache: it then leads the others."""
        firsts = [ticket.kind] if capped and not self.meter.known(ticket.kind) else []
        firsts += [ticket.prefix] if ticket.prefix else []
        if any(self.leading.get(first, ticket.id) not in (0, ticket.id) for first in firsts):
            return False
        for first in firsts:
            self.leading.setdefault(first, ticket.id)
        return True

    def led(self, ticket: Ticket, *, answered: bool = False) -> None:
        """The call has ended: where it led, another one may, and after an answer all others."""
        for first in (ticket.kind, ticket.prefix):
            if first and self.leading.get(first) == ticket.id:
                del self.leading[first]
                if answered:
                    self.leading[first] = 0

    def learn(self, ticket: Ticket, reply: Reply, now: float) -> None:
        """Take in what a reply says about the line as a whole."""
        if isinstance(reply, Answer):
            self.answered += 1
            self.failing_since, self.loading_since, self.failures, self.refused_alike = None, None, 0, 0
            return
        self.last_failure, self.last_cause = reply.message, reply.cause
        if reply.decision is Decision.STOP or reply.cause in STOPPING:
            self.close(reply.cause, reply.message)
        elif reply.cause is Cause.CONTEXT_OVERFLOW:
            self.smallest_overflow = min(self.smallest_overflow, ticket.request.tokens)
        elif reply.cause is Cause.BAD_REQUEST and not self.answered:
            self.refused_alike += 1
            if self.refused_alike >= ALIKE:
                self.close(Cause.BAD_REQUEST, f"the first {ALIKE} calls were all refused: {reply.message}")
        self._judge(reply, now)

    def _judge(self, reply: Rejection, now: float) -> None:
        """Whether there has been nothing but failure for too long."""
        if reply.retry_after_s is not None and reply.retry_after_s > self.give_up_s:
            wait = f"asks to wait {reply.retry_after_s:.0f} s, longer than limits.give_up_s"
            self.close(Cause.QUOTA, f"the service {wait}: {reply.message}")
        if reply.cause not in _FAILING:
            self.failing_since, self.failures = None, 0
            return
        self.failures += 1
        if reply.http_status == HTTPStatus.SERVICE_UNAVAILABLE and _LOADING.search(reply.message):
            self.loading_since = now if self.loading_since is None else self.loading_since
            if now - self.loading_since < LOADING_S:
                self.failing_since = None
                return
        if self.failing_since is None:
            self.failing_since = now
        self.give_up(now)

    def patience_left_s(self, now: float, since: float = -math.inf) -> float:
        """Seconds until it has failed for too long, what was before `since` not counted; math.inf where it does not."""
        if self.failing_since is None:
            return math.inf
        patience_s = self.give_up_s if self.answered else min(self.give_up_s, max(FIRST_ANSWER_S, 2 * self.timeout_s))
        if (
            self.route.flex and self.last_cause in _CAPACITY
        ):  # it has its own patience, and goes on as standard after it
            patience_s += self.route.flex_patience_s
        return max(self.failing_since, since) + patience_s - now

    def give_up(self, now: float, since: float = -math.inf) -> None:
        """Close it where it has failed for too long since then."""
        if self.failing_since is not None and self.patience_left_s(now, since) <= 0:
            message = f"nothing but failure for {now - self.failing_since:.0f} s: {self.last_failure}"
            self.close(Cause.UNREACHABLE, message)

    def postpone(self, seconds: float, now: float) -> None:
        """Nothing was asked of it for so long: that was no failure."""
        if self.failing_since is not None:
            self.failing_since = min(now, self.failing_since + seconds)
