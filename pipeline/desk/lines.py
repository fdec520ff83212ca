"""A line: one route with its account's limits, its meter, its circuit, and the reserved calls that wait to be sent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from docreduce.desk.limits import Lease, Limiter
from docreduce.models.meter import Meter, kind_of
from docreduce.models.routes import Route
from docreduce.values import STOPPING, Answer, Cause, Decision, Failure, Rejection, Reply, Request

__all__ = ["LONG_REST_S", "Line", "Ticket"]

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
    started_at: float = 0.0  # seconds since the epoch
    timeout_s: float = 0.0

    @property
    def carrier(self) -> str:
        """Who carries it: endpoint and model."""
        return f"{self.route.endpoint} {self.route.model}"


@dataclass(slots=True, kw_only=True, eq=False)
class Line:
    """`closed` is the refusal that ended it, None while it is open. `smallest_overflow`: our count of the smallest
    request that its service found too long."""

    route: Route
    meter: Meter
    limiter: Limiter
    give_up_s: float
    timeout_s: float
    closed: Failure | None = None
    smallest_overflow: float = float("inf")
    ready: deque[Ticket] = field(default_factory=deque)
    leases: dict[int, Lease] = field(default_factory=dict)  # of the calls in flight, by ticket
    # Of a kind of text that nobody counted: the call that leads; 0 once one was answered.
    unbooked: int = 0  # replies that no turn has made durable yet
    leading: dict[str, int] = field(default_factory=dict)
    answered: int = 0
    refused_alike: int = 0
    failing_since: float | None = None
    last_failure: str = ""

    @property
    def full(self) -> bool:
        """Whether so many calls are sent and not yet booked that a crash now would leave too many unknown."""
        window = self.limiter.window
        return len(self.leases) + self.unbooked >= window + max(2, window // UNBOOKED)

    def close(self, cause: Cause, message: str) -> None:
        """Send nothing more here."""
        self.closed = self.closed or Failure(key="", cause=cause, message=message)

    def rests(self, now: float) -> bool:
        """Whether nothing is sent for some time."""
        until = self.limiter.paused_until(now)
        return until is not None and until - now > LONG_REST_S

    def takes(self, request: Request) -> bool:
        """Whether its service has not found a smaller request too long, and the account's limit can ever hold it."""
        tokens = self.meter.expected_tokens(request, kind_of(request))
        return request.tokens < self.smallest_overflow and self.limiter.fits(tokens)

    def leads(self, ticket: Ticket) -> bool:
        """Whether the call may go though its kind of text may never have been counted: it then leads the others."""
        if self.meter.known(ticket.kind) or self.leading.get(ticket.kind) == 0:
            return True
        return self.leading.setdefault(ticket.kind, ticket.id) == ticket.id

    def led(self, ticket: Ticket, *, answered: bool = False) -> None:
        """The call has ended: where it led, another one may, and after an answer all others."""
        if self.leading.get(ticket.kind) == ticket.id:
            del self.leading[ticket.kind]
            if answered:
                self.leading[ticket.kind] = 0

    def learn(self, ticket: Ticket, reply: Reply, now: float) -> None:
        """Take in what a reply says about the line as a whole."""
        if isinstance(reply, Answer):
            self.answered += 1
            self.failing_since, self.refused_alike = None, 0
            return
        self.last_failure = reply.message
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
            self.failing_since = None
            return
        if self.failing_since is None:
            self.failing_since = now
        patience_s = self.give_up_s if self.answered else min(self.give_up_s, max(FIRST_ANSWER_S, 2 * self.timeout_s))
        if now - self.failing_since > patience_s:
            self.close(Cause.UNREACHABLE, f"nothing but failure for {now - self.failing_since:.0f} s: {reply.message}")
