"""Three gates for every call, kept or found: requests a minute, tokens a minute, calls in flight.

Time is an argument (`now`, monotonic seconds); nothing here waits. Two token buckets, a window of calls in flight, an
account-wide pause and a time-out that learns, in one object. The window grows by one an answer (slow start, Jacobson
1988) while it is what brakes, after a refusal by one a round; it shrinks once an episode (AIMD).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from docreduce.desk.limits.bucket import Bucket
from docreduce.desk.limits.doubt import Doubt, Verdict
from docreduce.desk.limits.latency import Latency
from docreduce.desk.limits.outage import Outage
from docreduce.values import Answer, Cause, RateInfo, Rejection, Reply

__all__ = ["Lease", "Limiter"]

FIRST_CALLS = 5
"""In flight before the first answer: the smallest queue a service is known to grant (ModelsLab)."""
UNANSWERED_CALLS = 16
TRICKLE_S = 0.05
"""One call more in this time, up to UNANSWERED_CALLS, until the first answer: so no bucket stands full for long."""
RECENT_S = 3.0
"""How far back leases are remembered."""
LAG_S = (0.04, 0.25)
"""Least and most that a call is first taken to be on its way, there and its headers back."""
SOON_S = 0.5
"""Calls are opened this far ahead of their turn: a retry stands behind them."""
UNLIKE = 0.3
"""Calls differ in size from this mean deviation over the mean."""
HELD_S = (1.0, 4.0)
"""Seconds of its rate that a bucket is taken to have held at first, when it is first found empty by calls that are
alike, and by calls that differ: these measure less well, so the next refusal had better come later."""
ROOM = 1.5
"""Of the rate of the bucket that is the likelier cause, for the other one."""
SHRINK = 0.7
REFUSED_DEPTH_S = 30.0
"""A depth that was refused is not tried again for this long."""
OVERLOADED = (0.03, 0.2)
"""Weight of one more in the moving average of failures, and the average from which they are no accident."""

_UNSENT = frozenset({Cause.STOPPED, Cause.BUDGET, Cause.TOO_LARGE})
_GENERATED = frozenset({Cause.EMPTY, Cause.LOOP, Cause.CUT, Cause.BAD_BODY, Cause.CONTENT_FILTER})
_DOWN = frozenset({Cause.CONNECTION, Cause.SERVER_ERROR, Cause.OVERLOADED, Cause.TIMEOUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Leave to send one call of `tokens` (the caller's estimate), of which `reserved` are held back. `depth`: calls in
    flight with this one; `before`: calls and tokens accepted before it, as far as known; `probe`: the one call that
    tries whether an outage is over."""

    id: int
    tokens: int
    reserved: float
    started: float
    depth: int
    before: tuple[float, float]
    probe: bool = False


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
        now: float,
    ) -> None:
        self._requests = Bucket(requests_per_minute, now)
        self._tokens = Bucket(tokens_per_minute, now)
        self._buckets = (self._requests, self._tokens)
        self._latency = Latency(timeout_s)
        self._doubt = Doubt()
        self._outage = Outage()
        self._known_concurrency = concurrency is not None
        self._most = concurrency if concurrency is not None else max_concurrency
        self._window = float(min(self._most, FIRST_CALLS))
        self._slow_start = True
        self._full_at = -math.inf  # when the window last held a call back
        self._answered_depth = 0  # most calls in flight that a call was ever answered among
        self._refused_depth: tuple[int, float] | None = None  # the same of a refused one, and when
        self._open: dict[int, Lease] = {}
        self._recent: deque[Lease] = deque()
        self._leases = 0
        self._answers = 0
        self._answered_at = now
        self._mean_tokens = 0.0
        self._unused_tokens = 0.0  # of a call's tokens, on average: it may not need all its output
        self._size_spread = 0.0  # mean absolute deviation over the mean
        self._lag_factor = 1.0
        self._pause_until = -math.inf
        self._episode_at = -math.inf
        self._overload_share = 0.0
        self._widen(now)

    # what may be sent

    def lease(self, tokens: int, now: float) -> Lease | float:
        """A Lease if a call of `tokens` (in + out, estimated) may be sent now, else the seconds to wait before asking
        again; math.inf: not before a lease is settled."""
        if now < self._pause_until:
            return max(self._pause_until - now, 1e-3)
        if self._outage.wait_s and any(other.probe for other in self._open.values()):
            return math.inf
        if len(self._open) >= int(self._window):
            self._full_at = now
            wait_s = self._trickle_s(now)
        else:
            # A limit that is known is never to be passed; one that was found is in tokens used, not in tokens allowed.
            reserved = float(tokens) if self._tokens.known else max(tokens - self._unused_tokens, tokens / 10)
            wait_s = max(self._requests.wait_s(1, now), self._tokens.wait_s(reserved, now))
            if wait_s <= 0:
                return self._lease(tokens, reserved, now)
        return max(wait_s, 1e-3)

    def _lease(self, tokens: int, reserved: float, now: float) -> Lease:
        lease = Lease(
            id=self._leases,
            tokens=tokens,
            reserved=reserved,
            started=now,
            depth=len(self._open) + 1,
            before=(self._requests.spent, self._tokens.spent),
            probe=self._outage.wait_s > 0,
        )
        idle = not any(bucket.braked(now) for bucket in self._buckets)
        for bucket, cost in zip(self._buckets, (1.0, reserved), strict=True):
            bucket.idle = bucket.idle or idle
            bucket.take(cost, now)
        self._leases += 1
        weight = 1 / min(self._leases, 50)
        self._mean_tokens += (tokens - self._mean_tokens) * weight
        spread = abs(tokens - self._mean_tokens) / max(1.0, self._mean_tokens)
        self._size_spread += (spread - self._size_spread) * weight
        self._open[lease.id] = lease
        self._recent.append(lease)
        while self._recent[0].started < now - RECENT_S:
            self._recent.popleft()
        return lease

    def _trickle_s(self, now: float) -> float:
        """With the window full: seconds until it is one wider, while nothing has come back; else math.inf."""
        if self._silent and len(self._open) < min(UNANSWERED_CALLS, self._most):
            wait_s = self._recent[-1].started + TRICKLE_S - now
            if wait_s > 1e-9:
                return wait_s
            self._window = len(self._open) + 1.0
            return 1e-3
        return math.inf

    @property
    def _silent(self) -> bool:
        """Whether calls were sent and none has come back."""
        return 0 < self._leases == len(self._open)

    def fits(self, tokens: int) -> bool:
        """Whether a call of `tokens` can ever be admitted: not if it is larger than the token bucket, once headers
        have told its size, or than a whole minute's limit."""
        return tokens <= self._tokens.largest

    def slots(self, now: float) -> int:
        """How many calls it makes sense to have open, in flight and waiting together: what may be in flight, as far
        as the rates let it be reached in the next half second, and some ready to take a freed slot. At least 1."""
        if self._outage.wait_s or now < self._pause_until - 2:
            return len(self._open) + 1
        window = int(self._window)
        if not self._answers:
            window = max(window, min(self._most, UNANSWERED_CALLS))
        soon = math.inf
        for bucket, cost in ((self._requests, 1.0), (self._tokens, max(1.0, self._mean_tokens))):
            if bucket.rate < math.inf:
                bucket.refill(now)
                soon = min(soon, (max(0.0, bucket.level) + SOON_S * bucket.rate) / cost)
        return int(min(window, len(self._open) + soon)) + 1 + window // 8

    def paused_until(self, now: float) -> float | None:
        """Until when (on the clock of `now`) nothing is sent: a Retry-After, an outage. None if not paused."""
        return self._pause_until if now < self._pause_until else None

    @property
    def troubled(self) -> bool:
        """Whether failures are more than accidents: then a failed call should back off for long; else it need not."""
        return self._outage.near or self._overload_share > OVERLOADED[1] / 2

    def timeout_s(self, now: float, *, tokens: int = 0, attempt: int = 1) -> float:
        """Seconds to give a call of `tokens` sent now, as `Latency.timeout_s` has learned them."""
        return self._latency.timeout_s(tokens, attempt)

    # what came of it

    def settle(self, lease: Lease, now: float, reply: Reply | None, used_tokens: int | None = None) -> None:
        """Give the lease's slot back and learn from `reply` (None: cancelled here). `used_tokens`: in + out as the
        service counted them, None where it did not say. A lease that was settled before is left alone."""
        if self._open.pop(lease.id, None) is None:
            return
        if used_tokens is not None:
            self._tokens.correct(used_tokens - lease.reserved, lease.started)
            self._unused_tokens += (lease.tokens - used_tokens - self._unused_tokens) / min(10, self._answers + 1)
        if isinstance(reply, Answer):
            self._answered(lease, now, reply.rate)
        elif reply is not None and reply.cause not in _UNSENT:
            self._rejected(lease, now, reply)

    def _answered(self, lease: Lease, now: float, rate: RateInfo | None) -> None:
        self._latency.answered(now - lease.started, lease.tokens)
        self._read(rate, now)
        self._answers += 1
        self._answered_depth = max(self._answered_depth, lease.depth)
        self._overload_share *= 1 - OVERLOADED[0]
        self._outage.alive(lease.started)
        elapsed_s, self._answered_at = now - self._answered_at, now
        for bucket in self._buckets:
            bucket.grow(now, elapsed_s)
        # More calls in flight only queue at a service that takes twice as long as it did.
        if not self._known_concurrency and self._latency.slowed(3.0) and self._answers % 16 == 0:
            self._slow_start = False
            self._window = max(1.0, 0.8 * self._window)
        elif lease.started <= self._full_at and (self._known_concurrency or not self._latency.slowed(2.0)):
            self._window += 1.0 if self._slow_start else 1 / self._window
        self._widen(now)
        self._repace(self._doubt.answered(lease.started, now), now)

    def _rejected(self, lease: Lease, now: float, rejection: Rejection) -> None:
        if rejection.retry_after_s is not None:  # for the account, not just for this call
            self._pause_until = max(self._pause_until, now + rejection.retry_after_s)
        if rejection.cause in _GENERATED:
            self._answered(lease, now, rejection.rate)
            return
        if rejection.cause is Cause.RATE_LIMITED:  # a refused call is not charged
            self._requests.correct(-1, lease.started)
            self._tokens.correct(-lease.reserved, lease.started)
        self._read(rejection.rate, now)
        if rejection.cause in _DOWN:
            self._failed(lease, now, rejection.cause)
            return
        self._outage.alive(lease.started)
        if rejection.cause is Cause.RATE_LIMITED:
            self._refused(lease, now, rejection.rate)

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

    def _widen(self, now: float) -> None:
        """Where a rate is known, the window need not be found by slow start: room for twice what the rate keeps in
        flight. Never as deep as was refused within the last half minute, never beyond the known limit."""
        if self._slow_start:
            pace = min(self._requests.rate, self._tokens.rate / max(1.0, self._mean_tokens))
            if self._known_concurrency and self._requests.synced:
                self._window = float(self._most)
            elif pace < math.inf:
                self._window = max(self._window, 2 * pace * self._latency.usual_s)
        if self._refused_depth is not None and now - self._refused_depth[1] < REFUSED_DEPTH_S:
            self._window = min(self._window, max(1, self._refused_depth[0] - 1))
        self._window = min(self._window, self._most)

    def _refused(self, lease: Lease, now: float, rate: RateInfo | None) -> None:
        """A 429: look for its cause, once an episode."""
        episode = lease.started > self._episode_at  # of calls sent before, refusals say nothing new
        brakes = [bucket for bucket in self._buckets if bucket.braked(lease.started)]
        surprise = bool(brakes) and max(brakes, key=lambda bucket: bucket.braked_at).surprised
        verdict = self._doubt.refused(lease.started, now, episode=episode, surprise=surprise)
        if episode:
            self._episode_at = now
            for bucket in self._buckets if brakes else ():
                bucket.empty(max(now, self._pause_until))
        if verdict is not Verdict.CUT:
            self._repace(verdict, now)
        elif rate is not None and (
            (self._requests.synced and rate.remaining_requests == 0)
            or (self._tokens.synced and rate.remaining_tokens is not None and rate.remaining_tokens < lease.tokens)
        ):
            self._lag_factor = min(8.0, 2 * self._lag_factor)  # explained: the mirror ran ahead, trust it less
        else:
            if brakes:
                self._measure(lease, now)
            if lease.depth > max(1, self._answered_depth):  # a depth that was answered before is not the cause
                self._answered_depth = lease.depth - 1
                self._refused_depth = (lease.depth, now)
                self._shrink()

    def _measure(self, lease: Lease, now: float) -> None:
        """Let both buckets learn from the refusal of `lease`. Where calls differ in size it is rather the tokens that
        ran out; where not, one of the two is enough."""
        alike = self._size_spread <= UNLIKE
        held_s = HELD_S[0] if alike else HELD_S[1]
        for kind, cost, typical in ((0, 1.0, 1.0), (1, lease.reserved, self._mean_tokens)):
            self._buckets[kind].refused(
                lease.started,
                lease.before[kind],
                cost,
                typical=typical,
                densest=self._densest(lease, kind, held_s),
                held_s=held_s,
                resume_at=max(now, self._pause_until),
            )
        if alike:
            self._tokens.leave_room(ROOM * self._requests.rate * self._mean_tokens)
        else:
            self._requests.leave_room(ROOM * self._tokens.rate / max(1.0, self._mean_tokens))

    def _repace(self, verdict: Verdict, now: float) -> None:
        """Do what the doubt calls for: half the pace to see whether it matters, or more since it does not."""
        if verdict is not Verdict.LEAVE:
            for bucket in self._buckets:
                bucket.scale({Verdict.HALVE: 0.5, Verdict.DOUBLE: 2.0}.get(verdict, 4.0), now)
                if verdict is Verdict.ACQUIT:
                    bucket.acquit(now)

    def _densest(self, lease: Lease, kind: int, held_s: float) -> float:
        """Calls (kind 0) or tokens (1) a second that were accepted up to `lease`, over the stretch of the last seconds
        where it was most, if the bucket held `held_s` of its rate at the start of it: the rate is hardly less."""
        return max(
            (lease.before[kind] - other.before[kind]) / (lease.started - other.started + held_s)
            for other in (lease, *self._recent)
            if other.started <= lease.started
        )

    def _failed(self, lease: Lease, now: float, cause: Cause) -> None:
        if cause is Cause.TIMEOUT:
            self._latency.timed_out(now - lease.started, lease.tokens)
        if cause is not Cause.CONNECTION:
            self._overload_share += OVERLOADED[0] * (1 - self._overload_share)
        if self._overload_share > OVERLOADED[1] and lease.started > self._episode_at:
            self._episode_at, self._overload_share = now, 0.0
            self._shrink()
        self._pause_until = max(self._pause_until, now + self._outage.failed(lease.started, now))

    def _shrink(self) -> None:
        self._slow_start = False
        self._window = max(1.0, SHRINK * min(self._window, len(self._open) + 1))
