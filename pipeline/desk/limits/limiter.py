"""Which call may be sent when, and what its reply tells. The theory stands at the head of this room."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from docreduce.desk.limits.bucket import LONGEST_RESET_S, Bucket
from docreduce.desk.limits.chance import ALARM, Chance
from docreduce.desk.limits.experiment import Experiment, Refusal
from docreduce.desk.limits.latency import Latency
from docreduce.values import Answer, Cause, RateInfo, Rejection, Reply

__all__ = ["Bound", "Lease", "Limiter"]

Bound = Literal["requests", "tokens", "slots", "rest", "latency"]

FIRST_CALLS = 5
"""In flight before the first answer: the smallest queue a service is known to grant (ModelsLab)."""
UNANSWERED_CALLS, TRICKLE_S = 16, 0.05
"""Until the first answer one call more in this time, up to so many: so no bucket stands full for long."""
RECENT_S = 3.0
"""How far back leases are remembered."""
LAG_S = (0.04, 0.25)
"""Least and most that a call is first taken to be on its way, there and its headers back."""
SOON_S = 0.5
"""Calls are opened this far ahead of their turn."""
UNLIKE = 0.3
"""Calls differ in size from this mean deviation over the mean."""
HELD_S = (1.0, 4.0)
"""Seconds of its rate that a bucket is taken to have held at first, when it is first found empty by calls that are
alike, and by calls that differ: these measure less well, so the next refusal had better come later."""
SHRINK, REFUSED_DEPTH_S = 0.7, 30.0
"""Of the window, where a depth was refused that never was answered; not tried again for so long."""
REST_S = (1.0, 60.0)
"""First and longest rest where the service states none."""

_UNSENT = frozenset({Cause.STOPPED, Cause.BUDGET, Cause.TOO_LARGE})
_GENERATED = frozenset({Cause.EMPTY, Cause.LOOP, Cause.CUT, Cause.BAD_BODY, Cause.CONTENT_FILTER})
_FAILED = frozenset(
    {Cause.RATE_LIMITED, Cause.OVERLOADED, Cause.SERVER_ERROR, Cause.CONNECTION, Cause.TIMEOUT, Cause.PROCESSING}
)
_REFUSED = frozenset({Cause.RATE_LIMITED, Cause.OVERLOADED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Leave to send one call of `tokens` (the caller's estimate), of which `reserved` are held back. `depth`: calls in
    flight with this one; `before`: calls and tokens accepted before it, as far as known."""

    id: int
    tokens: int
    reserved: float
    started: float
    depth: int
    before: tuple[float, float]


class Limiter:
    """Hands out leases so that no limit is overrun. Ask for the head of the line only: the wait that comes back
    is exact as long as no other call is leased in between, and so nothing starves."""

    def __init__(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        concurrency: int | None = None,
        max_concurrency: int = 1024,
        timeout_s: float = 120.0,
        timeout_stated: bool = False,
        now: float,
    ) -> None:
        self._requests = Bucket(requests_per_minute, now)
        self._tokens = Bucket(tokens_per_minute, now)
        self._experiment: Experiment | None = None
        self._refusals, self._failures = Chance(), Chance()
        self._latency = Latency(timeout_s)
        self._stated_s = timeout_s if timeout_stated else None
        self._largest_window = max_concurrency
        self._concurrency = concurrency
        self._width = float(min(self._most, FIRST_CALLS))
        self._slow_start = True
        self._full_at = -math.inf  # when the window last held a call back
        self._answered_depth = 0  # most calls in flight that a call was ever answered among
        self._refused_depth: tuple[int, float] | None = None  # the same of a refused one, and when
        self._open: dict[int, Lease] = {}
        self._recent: deque[Lease] = deque()
        self._leases = self._answers = 0
        self._begin = self._answered_at = now
        self._kind = 0  # what the experiment counts: 0 calls, 1 tokens
        self._mean_tokens = self._unused_tokens = self._size_spread = 0.0
        self._lag_factor = 1.0
        self._rest_until = self._alarm_at = -math.inf
        self._rest_s = 0.0  # the last rest; 0: the service answers
        self._probe_s = 0.0  # how long failures took to be known, while it rests
        self._probing, self._probed_at = False, -math.inf
        self.failing_since: float | None = None
        self.bounded_by: Bound | None = None
        self._widen(now)

    # what may be sent

    @property
    def _most(self) -> int:
        return self._largest_window if self._concurrency is None else self._concurrency

    @property
    def window(self) -> int:
        """Calls that may be in flight at once."""
        return max(1, int(self._width))

    def lease(self, tokens: int, now: float) -> Lease | float:
        """A Lease if a call of `tokens` (in + out, estimated) may be sent now, else the seconds to wait before asking
        again; math.inf: not before a lease is settled."""
        wait_s, bound = self._wait(tokens, now)
        if wait_s > 0:
            self.bounded_by = bound
            return max(wait_s, 1e-3)
        return self._lease(tokens, now)

    def _reserved(self, tokens: int) -> float:
        # A limit that is known is never to be passed; one that was found is in tokens used, not in tokens allowed.
        return float(tokens) if self._tokens.known else max(tokens - self._unused_tokens, tokens / 10)

    def _wait(self, tokens: int, now: float) -> tuple[float, Bound]:
        if now < self._rest_until:
            return self._rest_until - now, "rest"
        if self._probing and self._probed_at >= self._rest_until:
            wait_s = self._probed_at + self._probe_s - now  # the probe that is out will have failed by then
            if wait_s > 1e-9:
                return wait_s, "rest"
            self._probing = False
        if len(self._open) >= self.window:
            self._full_at = now
            return self._trickle_s(now), "latency" if self._concurrency is None else "slots"
        waits: list[tuple[float, Bound]] = [
            (self._requests.wait_s(1, now), "requests"),
            (self._tokens.wait_s(self._reserved(tokens), now), "tokens"),
        ]
        return max(waits)

    def _lease(self, tokens: int, now: float) -> Lease:
        reserved = self._reserved(tokens)
        lease = Lease(
            id=self._leases,
            tokens=tokens,
            reserved=reserved,
            started=now,
            depth=len(self._open) + 1,
            before=(self._requests.spent, self._tokens.spent),
        )
        self._requests.take(1)
        self._tokens.take(reserved)
        self._leases += 1
        weight = 1 / min(self._leases, 50)
        self._mean_tokens += (tokens - self._mean_tokens) * weight
        spread = abs(tokens - self._mean_tokens) / max(1.0, self._mean_tokens)
        self._size_spread += (spread - self._size_spread) * weight
        self._open[lease.id] = lease
        self._probed_at = now
        self._recent.append(lease)
        while self._recent[0].started < now - RECENT_S:
            self._recent.popleft()
        return lease

    def _trickle_s(self, now: float) -> float:
        """With the window full: seconds until it is one wider, while nothing has come back; else math.inf."""
        # Where the rate is known it is the rate that holds back, however long the first answer takes.
        most = self._most if self._requests.known else min(UNANSWERED_CALLS, self._most)
        if 0 < self._leases == len(self._open) < most:
            wait_s = self._recent[-1].started + TRICKLE_S - now
            if wait_s <= 1e-9:
                self._width = len(self._open) + 1.0
            return max(wait_s, 1e-3)
        return math.inf

    def fits(self, tokens: int) -> bool:
        """Whether a call of `tokens` can ever be admitted: not if it is larger than the token bucket, once headers
        have told its size, or than a whole minute's limit."""
        return tokens <= self._tokens.largest

    def slots(self, now: float) -> int:
        """How many calls it makes sense to have open, in flight and reserved ahead: what may be in flight, as far as
        the rates let it be reached in the next half second, and some ready to take a freed slot. At least 1."""
        if self._probing:
            return len(self._open) + 1
        window = self.window if self._answers else max(self.window, min(self._most, UNANSWERED_CALLS))
        soon = math.inf
        for bucket, cost in ((self._requests, 1.0), (self._tokens, max(1.0, self._mean_tokens))):
            if bucket.rate < math.inf:
                bucket.refill(now)
                soon = min(soon, (max(0.0, bucket.level) + SOON_S * bucket.rate) / cost)
        return int(min(window, len(self._open) + soon)) + min(window, FIRST_CALLS + window // 8)

    def paused_until(self, now: float) -> float | None:
        """Until when nothing is sent: an outage, a Retry-After for the account. None if it is not at rest."""
        return self._rest_until if now < self._rest_until else None

    @property
    def troubled(self) -> bool:
        """Whether failures are more than accidents."""
        return self._rest_s > 0 or max(self._refusals.in_a_row, self._failures.in_a_row) >= 5

    def timeout_s(self, now: float, *, tokens: int = 0, attempt: int = 1) -> float:
        """Seconds to give a call of `tokens` sent now: what the job states, else as `Latency.timeout_s` learned."""
        return self._latency.timeout_s(tokens, attempt) if self._stated_s is None else self._stated_s

    def retune(
        self,
        now: float,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Keep these limits from now on (None: not known). Leases that are out stay booked."""
        self._requests.retune(requests_per_minute, now)
        self._tokens.retune(tokens_per_minute, now)
        self._concurrency, self._slow_start, self._experiment = concurrency, True, None
        self._widen(now)

    # what came of it

    def settle(self, lease: Lease, now: float, reply: Reply | None, used_tokens: int | None = None) -> None:
        """Give the lease's slot back and learn from `reply` (None: cancelled here). `used_tokens`: in + out as the
        service counted them, None where it did not say. A lease that was settled before is left alone."""
        if self._open.pop(lease.id, None) is None:
            return
        if used_tokens is not None:
            self._correct(lease, 0.0, used_tokens - lease.reserved)
            self._unused_tokens += (lease.tokens - used_tokens - self._unused_tokens) / min(10, self._answers + 1)
        if isinstance(reply, Answer):
            self._answered(lease, now, reply.rate)
        elif reply is not None and reply.cause not in _UNSENT:
            if reply.cause in _FAILED:
                self._failed(lease, now, reply)
            elif reply.cause in _GENERATED:
                self._answered(lease, now, reply.rate)
            else:
                self._alive(lease)

    def _correct(self, lease: Lease, calls: float, tokens: float) -> None:
        """Book so much more than was taken for `lease`."""
        self._requests.correct(calls, lease.started)
        self._tokens.correct(tokens, lease.started)
        if self._experiment:
            self._experiment.correct(tokens if self._kind else calls, lease.id)

    def _alive(self, lease: Lease) -> None:
        """The service said something of its own."""
        self.failing_since = None
        if lease.started > self._alarm_at:
            self._rest_s, self._probing = 0.0, False

    def _answered(self, lease: Lease, now: float, rate: RateInfo | None) -> None:
        self._alive(lease)
        self._refusals.answered(lease.id)
        self._failures.answered(lease.id)
        self._latency.answered(now - lease.started, lease.tokens)
        self._read(rate, now)
        self._answers += 1
        self._answered_depth = max(self._answered_depth, lease.depth)
        elapsed_s, self._answered_at = now - self._answered_at, now
        if self._experiment:
            self._experiment.answered(now, elapsed_s)
        # More calls in flight only queue at a service that takes twice as long as it did.
        if self._concurrency is None and self._latency.slowed(3.0) and self._answers % 16 == 0:
            self._slow_start = False
            self._width = max(1.0, 0.8 * self._width)
        elif lease.started <= self._full_at and (self._concurrency is not None or not self._latency.slowed(2.0)):
            self._width += 1.0 if self._slow_start else 1 / self._width
        self._widen(now)

    def _widen(self, now: float) -> None:
        """Where a rate is known, the window need not be found by slow start: room for twice what the rate keeps in
        flight. Never as deep as was refused within the last half minute, never beyond the known limit."""
        if self._slow_start:
            pace = min(self._requests.rate, self._tokens.rate / max(1.0, self._mean_tokens))
            if self._concurrency is not None and self._requests.synced:
                self._width = float(self._most)
            elif pace < math.inf:
                self._width = max(self._width, 2 * pace * self._latency.usual_s)
        if self._refused_depth is not None and now - self._refused_depth[1] < REFUSED_DEPTH_S:
            self._width = min(self._width, max(1, self._refused_depth[0] - 1))
        self._width = min(self._width, self._most)

    def _read(self, rate: RateInfo | None, now: float) -> None:
        """Learn from rate headers. A call leased shortly ago may not have arrived when they were written. The way
        there and back is taken for half of the fastest answer; where it was more, a refusal has doubled it."""
        if rate is None:
            return
        lag_s = self._lag_factor * min(LAG_S[1], max(LAG_S[0], self._latency.fastest_s / 2))
        unseen = list(takewhile(lambda other: other.started > now - lag_s, reversed(self._recent)))
        tokens = sum(other.reserved for other in unseen)
        self._requests.sync(rate.limit_requests, rate.remaining_requests, rate.reset_requests_s, len(unseen), now)
        self._tokens.sync(rate.limit_tokens, rate.remaining_tokens, rate.reset_tokens_s, tokens, now)
        for remaining, reset_s in (
            (rate.remaining_requests, rate.reset_requests_s),
            (rate.remaining_tokens, rate.reset_tokens_s),
        ):
            if remaining == 0 and reset_s is not None and reset_s > LONGEST_RESET_S:  # a day's quota is used up
                self._rest_until = max(self._rest_until, now + reset_s)

    def _failed(self, lease: Lease, now: float, rejection: Rejection) -> None:
        if self.failing_since is None:
            self.failing_since = now
        refused = rejection.cause in _REFUSED or (
            rejection.cause is Cause.SERVER_ERROR and rejection.retry_after_s is not None
        )
        if refused:  # and so not charged
            self._correct(lease, -1.0, -lease.reserved)
        if rejection.cause is Cause.TIMEOUT:
            self._latency.timed_out(now - lease.started, lease.tokens)
        self._read(rejection.rate, now)
        if lease.started <= self._alarm_at:
            return
        rate = rejection.rate
        if rate is not None and (
            (self._requests.synced and rate.remaining_requests == 0)
            or (self._tokens.synced and rate.remaining_tokens is not None and rate.remaining_tokens < lease.tokens)
        ):
            self._lag_factor = min(8.0, 2 * self._lag_factor)  # explained: the mirror ran ahead, trust it less
            return
        chance = self._refusals if refused else self._failures
        chance.failed(lease.id)
        alarm = self._probing or chance.evidence > (self._threshold() if refused else ALARM)
        rest = self._probing or chance.in_a_row >= 2 or (refused and self._experiment is None)
        if refused and (self._experiment.counts(lease.started, alarm) if self._experiment else alarm):
            self._learn(lease, now, alarm, rejection.retry_after_s or 0.0)
        if alarm:
            self._alarm_at, chance.evidence = now, 0.0
            if rest:
                self._rest(lease, now, rejection.retry_after_s)

    def _rest(self, lease: Lease, now: float, stated_s: float | None) -> None:
        """Send nothing for as long as the service asks for, else ever longer, and then single probes."""
        self._rest_s = stated_s or min(REST_S[1], max(REST_S[0], 2 * self._rest_s))
        self._rest_until = max(self._rest_until, now + self._rest_s)
        self._probing, self._probe_s = True, max(2 * (now - lease.started), 0.05)
        if self._experiment:
            self._experiment.rested(self._rest_s, self._rest_until)

    def _threshold(self) -> float:
        """Evidence that is beyond chance: a limit that nobody told is looked for, one that is kept is not."""
        if self._requests.known or self._tokens.known or self._refusals.lone >= 2:
            return ALARM
        return 0.0 if self._size_spread > UNLIKE else 2 / 3 * ALARM

    def _learn(self, lease: Lease, now: float, alarm: bool, wait_s: float) -> None:
        """Let the likelier bucket learn from a refusal; a depth that was answered before is not the cause."""
        if lease.depth > max(1, self._answered_depth):
            self._answered_depth = lease.depth - 1
            self._refused_depth = (lease.depth, now)
            self._slow_start = False
            self._width = max(1.0, SHRINK * min(self._width, len(self._open) + 1))
            if self._experiment is not None:
                return
        alike = self._size_spread <= UNLIKE
        if self._experiment is None:
            self._experiment = Experiment(
                self._requests if alike else self._tokens, self._begin, self._refusals.lone >= 2
            )
            self._kind = 0 if alike else 1
        kind, held_s = self._kind, HELD_S[0] if alike else HELD_S[1]
        refusal = Refusal(
            number=lease.id,
            at=lease.started,
            spent=lease.before[kind],
            cost=lease.reserved if kind else 1.0,
            typical=self._mean_tokens if kind else 1.0,
            densest=self._densest(lease, kind, held_s),
            held_s=held_s,
            wait_s=wait_s,
        )
        if not self._experiment.refused(refusal):
            self._slow_start, self._refused_depth = True, None  # nor is the depth

    def _densest(self, lease: Lease, kind: int, held_s: float) -> float:
        """Calls (kind 0) or tokens (1) a second that were accepted up to `lease`, over the stretch of the last seconds
        where it was most, if the bucket held `held_s` of its rate at the start of it: the rate is hardly less."""
        return max(
            (lease.before[kind] - other.before[kind]) / (lease.started - other.started + held_s)
            for other in (lease, *self._recent)
            if other.started <= lease.started
        )
