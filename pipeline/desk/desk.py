"""The desk: money, limits and ledger, and every decision that rests on them.

Theory of operation. A request that is to be paid is an *ask*. It passes these states, and nothing else holds it:

    asked ──turn──▶ reserved ──take──▶ in flight ──arrived──▶ replied ──turn──▶ settled
      ▲                                                                 │
      └───────────────── again, not before a time ◀─────────────────────┘

- `turn` is the only place where money and ledger change: it books the replies that came, then reserves a prefix of the
  asks, and commits both in one transaction. What it returns is durable. It blocks on the disk, so it runs in a thread
  of its own; replies and asks that gather meanwhile go into the next one.
- `take` and `arrived` are instant and belong to the event loop: the limits say which reserved call may go now, and
  learn from each reply the moment it comes. Reservations run ahead of sending, so that a freed slot never waits for a
  disk; a call that waits out a refusal is an ask with a time and holds nothing.
- A call goes to the first line that is open, does not rest for long, and can take its size. A refusal for good closes
  its line; on grounds of safety, or where the text is too long, the call alone goes to the next one. When no line is
  open the desk is halted: asks come back as failures, what is reserved and unsent is given back.
- An attempt counts against the call, unless it was the whole service's failure (the line rests) or the wire is to ask
  another way. A rate-limited call is not given up before its attempts span the longest window.

The budget counts charged + unknown + reserved. A bound is what no attempt can cost more than (`models.meter`); until a
kind of text has been counted once, one call of it leads where there is a cap.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from docreduce.desk.booking import attempt_of, booked_of, is_lasting, misstated, outcome_of, reserved_of
from docreduce.desk.budget import Budget
from docreduce.desk.known import known
from docreduce.desk.ledger import Booked, Ledger, Out, Reserved
from docreduce.desk.limits import Bound
from docreduce.desk.lines import Line, Ticket
from docreduce.desk.outstanding import Outstanding
from docreduce.desk.patience import Patience
from docreduce.desk.retries import again_s, counts, is_mute
from docreduce.desk.routing import Call, Routing
from docreduce.desk.turns import Ask, Settled, Turn
from docreduce.desk.watch import Watch
from docreduce.settings import LimitSettings, Retry
from docreduce.values import (
    Answer,
    Cause,
    Failure,
    Outcome,
    Rejection,
    Reply,
    Request,
)

__all__ = ["Desk", "Held"]

Held: TypeAlias = Bound | Literal["ledger", "pause"]

SAMPLES, SAMPLE_EVERY = 2_000, 32
"""Attempts of a run that are kept for calibration: so many, then one of so many."""


@dataclass(slots=True, kw_only=True, eq=False)
class Desk:
    """Decides for one run. `halted` is the failure that ended it for all calls not yet sent."""

    run_id: str
    lines: Sequence[Line]
    ledger: Ledger
    budget: Budget
    max_attempts: int = 6
    retry: Retry = "transient"
    fresh: bool = False
    halted: Failure | None = None
    paused: bool = False  # by a person: nothing is sent until it is over
    wall: float = field(default_factory=time.time)  # seconds since the epoch at `now` = 0; set by the engine
    routing: Routing = field(init=False)
    out: Outstanding = field(default_factory=Outstanding)
    _calls: dict[str, Call] = field(default_factory=dict)
    _now_answered: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)  # keys of answers that led to a failure
    _samples: int = 0
    _watch: Watch = field(default_factory=Watch)
    _patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        self.routing = Routing(self.lines)

    # --- instant, on the loop ---------------------------------------------------------------------------------

    def take(self, now: float) -> Ticket | float:
        """The next call that may be made now; else the seconds until asking again makes sense, math.inf: not before
        a reply or a turn."""
        soonest = self._patience.look(self.lines, now, asking=bool(self._calls) and not self.paused)
        self._halt_where_all_are_closed()
        for line in self.lines:
            if not line.ready or self.halted or self.paused or line.closed or line.full:
                continue
            try:
                ticket = line.ready.popleft()
            except IndexError:  # a turn has just given it back
                continue
            lease = line.limiter.lease(ticket.tokens, now)
            if isinstance(lease, (int, float)):
                line.ready.appendleft(ticket)
                soonest = min(soonest, lease)
                continue
            timeout_s = line.limiter.timeout_s(now, tokens=ticket.tokens, attempt=ticket.attempt)
            ticket = replace(ticket, started_at=self.wall + now, timeout_s=timeout_s)
            line.leases[ticket.id] = lease
            if not line.route.batch:  # a batch says so itself before it goes out
                self.ledger.sending(ticket.id)
            return ticket
        return soonest

    def arrived(self, ticket: Ticket, reply: Reply, now: float) -> None:
        """Give the call's slot back, and learn from what came. It is booked in the next turn."""
        line = self.routing.of(ticket)
        lease = line.leases.pop(ticket.id)
        line.unbooked += 1
        own = isinstance(reply, Rejection) and reply.cause in (Cause.STOPPED, Cause.WAITING)
        usage = None if misstated(ticket, reply) else reply.usage
        used = usage.input_tokens + usage.output_tokens if usage else None
        line.limiter.settle(lease, now, None if own else reply, used)
        if not own:
            line.learn(ticket, reply, now)
            self._halt_where_all_are_closed(line)

    def _halt_where_all_are_closed(self, newest: Line | None = None) -> None:
        if all(line.closed for line in self.lines) and (closed := (newest or self.lines[-1]).closed):
            self.halt(closed.cause, closed.message)

    def room(self, now: float) -> int:
        """How many more asks it makes sense to bring now: what may be in flight, and some that are reserved ahead."""
        return self.routing.room(now)

    def stranded(self, now: float) -> bool:
        """Whether calls are reserved that are not to be sent where they are: the next turn gives them back."""
        return any(self._leaves(line, ticket, now) for line in self.lines for ticket in list(line.ready))

    def _leaves(self, line: Line, ticket: Ticket, now: float) -> bool:
        return self.halted is not None or self.routing.leaves(line, ticket.request, now)

    def paused_s(self, now: float) -> float | None:
        """Seconds for which no line sends anything; None where one does."""
        return self.routing.paused_s(now)

    def bound(self) -> Held | None:
        """What holds the next reserved call back; None where nothing is reserved, or nothing holds it."""
        line = next((line for line in self.lines if line.ready and not line.closed), None)
        if self.paused:
            return "pause"
        return None if line is None else "ledger" if line.full else line.limiter.bounded_by

    @property
    def trouble(self) -> str | None:
        """The newest reason why a line that fails does so, and how often; None where none does."""
        return next((line.trouble for line in self.lines if line.troubled), None)

    @property
    def live(self) -> list[Line]:
        """The lines of the routes, in their order, without that of a provider's batches, which has no limits."""
        return [line for line in self.lines if not line.route.batch]

    def retune(
        self, limits: Sequence[LimitSettings], cap_pusd: int | None, now: float, *, paused: bool = False
    ) -> None:
        """Keep these limits from now on, one a `live` line, and this cap; what is out stays booked. A cap below what
        is spent already ends the run as any cap does, when the next call is to be reserved."""
        for line, given in zip(self.live, limits, strict=True):
            line.retune(given, now)
        self.max_attempts = limits[0].max_attempts
        self.budget.cap_pusd = cap_pusd
        self.paused = paused

    def halt(self, cause: Cause, message: str) -> None:
        """Send nothing more; what is in flight goes on. The first cause stays, but a stop goes before the cap."""
        if self.halted is None or (cause is Cause.STOPPED and self.halted.cause is Cause.BUDGET):
            self.halted = Failure(key="", cause=cause, message=message)

    # --- what is known, in bulk and free ----------------------------------------------------------------------

    def known(self, asks: Mapping[str, Request]) -> dict[str, Outcome]:
        """The outcomes that the ledger holds, by key. With `fresh` only what this run has asked itself."""
        wanted = {key: asks[key] for key in asks if key in self._now_answered} if self.fresh else asks
        return known(self.ledger, [line.route for line in self.lines], wanted, retry=self.retry)

    # --- the turn, in the desk's thread -----------------------------------------------------------------------

    def turn(
        self,
        replies: Sequence[tuple[Ticket, Reply, float]],
        asks: Sequence[Ask],
        now: float,
        rejected: Sequence[str] = (),
    ) -> Turn:
        """Book `replies` (with their latency, s), reserve a prefix of `asks`, mark answers that led to a failure, and
        commit it all. Raises MachineError if the ledger cannot be written: then nothing more may be sent."""
        settled: list[Settled] = []
        booked: list[Booked] = []
        for ticket, reply, latency_s in replies:
            result, row = self._book(ticket, reply, latency_s, now)
            settled.append(result)
            booked += [row] if row else []
        booked += self._give_back(settled, now)
        reserved, more, waiting = self._reserve(asks, now)
        settled += more
        self.failed.update(rejected)
        if reserved or booked or rejected:
            self.ledger.commit([row for row, _, _ in reserved if row], booked, rejected)
        for _, ticket, line in reserved:
            line.ready.append(ticket)
        for ticket, _, _ in replies:
            self.routing.of(ticket).unbooked -= 1
        return Turn(settled, waiting)

    def _book(self, ticket: Ticket, reply: Reply, latency_s: float, now: float) -> tuple[Settled, Booked | None]:
        if isinstance(reply, Rejection) and reply.cause is Cause.WAITING:
            return self._left_out(ticket, reply.message), None
        self.out.settle(ticket)
        line, call = self.routing.of(ticket), self._calls[ticket.key]
        attempt = attempt_of(ticket, reply, latency_s)
        charged, unknown = (attempt.cost_pusd * (attempt.billing == kind) for kind in ("charged", "unknown"))
        self.budget.settle(ticket.bound_pusd, charged, unknown)
        line.led(ticket, answered=isinstance(reply, Answer))
        whole = not (isinstance(reply, Answer) and reply.truncated)
        if attempt.usage is not None and attempt.billing == "charged" and whole:
            line.meter.learn(ticket.request, ticket.kind, attempt.usage)
        if trouble := self._watch.look(ticket, reply, attempt, capped=self.budget.cap_pusd is not None):
            self.halt(*trouble)
        ask = Ask(ticket.key, ticket.request, ticket.document_id)
        sampled = bool(ticket.kind) and self._is_sampled()  # of a request that nobody asks any more, no text is there
        call.began = ticket.started_at if call.began is None else call.began
        call.counted += counts(reply, line, now)
        call.mute += is_mute(reply)
        wait: float | None = None
        if isinstance(reply, Rejection) and not self.halted:
            wait = again_s(ticket, reply, call, self.routing, self.max_attempts, now)
        lasting = is_lasting(reply, self.retry) and not (line.closed or self.fresh)  # `fresh` has answers to keep
        stands = (is_mute(reply) or lasting) and wait is None and not self.halted
        booked = booked_of(reserved_of(ticket, self.run_id), ticket, reply, attempt, sampled=sampled, stands=stands)
        if wait is not None:
            return Settled(ask, attempt, None, now + wait), booked
        outcome = outcome_of(ticket, reply, attempt, self.halted)
        del self._calls[ticket.key]
        if self.fresh:
            self._now_answered.add(ticket.key)
        return Settled(ask, attempt, outcome), booked

    def _reserve(
        self, asks: Sequence[Ask], now: float
    ) -> tuple[list[tuple[Reserved | None, Ticket, Line]], list[Settled], list[Ask]]:
        """Reserve a prefix of `asks`: (reservations, asks that have failed already, asks that wait)."""
        reserved: list[tuple[Reserved | None, Ticket, Line]] = []
        failed: list[Settled] = []
        waiting: list[Ask] = []
        for at, ask in enumerate(asks):
            if not self.halted and (taken_up := self._adopt(ask)):
                reserved.append((None, *taken_up))
                continue
            call = self._calls.setdefault(ask.key, Call())
            line = None if self.halted else self.routing.choose(call, ask.request, now)
            refusal = self.halted or (None if line else self.routing.refusal(call, ask.request))
            if refusal or line is None:
                del self._calls[ask.key]
                failed.append(Settled(ask, None, replace(refusal, key=ask.key)) if refusal else Settled(ask))
                continue
            ticket = line.ticket(ask, self.ledger.next_id, call.attempts + 1, self.wall + now)
            # A batch waits for no lead.
            if not line.route.batch and not line.leads(ticket, capped=self.budget.cap_pusd is not None):
                waiting.append(ask)
                continue
            if not self.budget.reserve(ticket.bound_pusd):
                line.led(ticket)
                if self.budget.reserved > self.out.pusd:  # what is in flight may come to less than its bound
                    waiting += asks[at:]
                    break
                self.halt(Cause.BUDGET, self.budget.too_dear(ticket.bound_pusd))
                failed.append(Settled(ask, None, replace(self.halted, key=ask.key)))  # type: ignore[type-var]
                del self._calls[ask.key]
                continue
            call.attempts += 1
            self.ledger.next_id += 1
            reserved.append((reserved_of(ticket, self.run_id), ticket, line))
        return reserved, failed, waiting

    def _give_back(self, settled: list[Settled], now: float) -> list[Booked]:
        """Reservations that are not to be sent, free: after a halt failures for those who wait, else asked anew."""
        given: list[Booked] = []
        for line in self.lines:
            for _ in range(len(line.ready)):
                try:
                    ticket = line.ready.popleft()
                except IndexError:  # sent in the meantime
                    break
                if not self._leaves(line, ticket, now):
                    line.ready.append(ticket)
                    continue
                if ticket in self.out:
                    settled.append(self._left_out(ticket, "its batch is still out"))
                    continue
                self.budget.settle(ticket.bound_pusd, 0)
                line.led(ticket)
                given.append(Booked(reserved=reserved_of(ticket, self.run_id), attempt=None))
                ask = Ask(ticket.key, ticket.request, ticket.document_id)
                if self.halted:
                    del self._calls[ticket.key]
                    settled.append(Settled(ask, None, replace(self.halted, key=ticket.key)))
                else:
                    self._calls[ticket.key].attempts -= 1
                    settled.append(Settled(ask))
        return given

    # --- what is out in batches -------------------------------------------------------------------------------

    def add_line(self, line: Line) -> None:
        """Ask by `line` what it takes, before any other."""
        self.lines = [line, *self.lines]
        self.routing = Routing(self.lines)

    def take_up(self, tickets: Sequence[Out]) -> None:
        """Know what earlier runs left out in batches: it is not asked again, and its bounds count against the cap."""
        for each in tickets:
            self.budget.reserved += each.bound_pusd
            self.out.put(each)

    def orphans(self) -> list[Ticket]:
        """Tickets that are out and that no document asked for in this run, each with a stand-in for its request: for
        replies to be booked once their batch has ended."""
        return list(self.out.orphans(self.lines))

    def book_orphans(self, replies: Sequence[tuple[Ticket, Reply]], now: float) -> Turn:
        """Book `replies` to `orphans`, as `turn`."""
        for ticket, _ in replies:
            self._claim(ticket)
            self.routing.of(ticket).unbooked += 1
        return self.turn([(ticket, reply, 0.0) for ticket, reply in replies], [], now)

    def _adopt(self, ask: Ask) -> tuple[Ticket, Line] | None:
        """The ticket under which the request is out already, where it is."""
        ticket = self.out.find(ask.key, ask.request, self.lines)
        if ticket is None:
            return None
        self._claim(ticket)
        return ticket, self.routing.of(ticket)

    def _claim(self, ticket: Ticket) -> None:
        each = self.out.claim(ticket)
        self._calls[ticket.key] = Call(line=self.lines.index(self.routing.of(ticket)), attempts=each.attempt)

    def _left_out(self, ticket: Ticket, message: str) -> Settled:
        """Its reservation stays: a later run takes it up."""
        del self._calls[ticket.key]
        self.out.put_back(ticket)
        ask = Ask(ticket.key, ticket.request, ticket.document_id)
        return Settled(ask, None, Failure(key=ticket.key, cause=Cause.WAITING, message=message))

    def _is_sampled(self) -> bool:
        """Whether the attempt is kept for calibration: of a long run, a part is enough."""
        self._samples += 1
        return self._samples <= SAMPLES or self._samples % SAMPLE_EVERY == 0
