"""The account's limits, kept or found: requests a minute, tokens a minute, calls in flight. Sans-IO.

Time is an argument (`now`, monotonic seconds); nothing here waits. `Limiter` composes two token buckets, a
window of calls in flight, an account-wide pause and a time-out that learns.

- A rate that is given, or read from rate headers, is kept. Headers tell rate, level and burst at once: by the
  convention of OpenAI and Anthropic `reset` is the time until the bucket is full, so burst = remaining + rate·reset.
- A rate nobody tells is found. A 429 marks an empty bucket, so what was accepted between two 429s, over the time
  between them, is the refill rate itself; a search by halving is not needed.
- The window grows by one an answer (slow start, Jacobson 1988), after a refusal by one a round (AIMD).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from statistics import median

from pipeline.types import Cause, RateInfo, Rejection, Reply

__all__ = ["Lease", "Limiter"]

_FIRST_CALLS = 5  # in flight before the first answer: the smallest queue a service is known to grant (ModelsLab)
_RECENT_S = 3.0  # how far back leases are remembered
_OVERSHOOT = 1.1  # a rate found too high is put right by the next refusal, one too low only by slow growth
_ASSUMED_BURST_S = 0.25  # seconds of a limit that an unknown bucket is taken to hold
_REFUSALS_HEED = 0.25  # share of overloads (moving average) from which they are no accident
_OUTAGE_FAILURES = 10  # in a row, with no answer between them
_OUTAGE_WAIT_S = (1.0, 60.0)  # first and longest pause between probes
_FLOOR_TIMEOUT_S = 5.0
_MIN_SAMPLES = 8
_DOWN = frozenset({Cause.CONNECTION, Cause.SERVER_ERROR, Cause.OVERLOADED, Cause.TIMEOUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Leave to send one call. `tokens`: the caller's estimate; `reserved`: what the bucket holds back for it;
    `depth`: calls in flight with this one; `before`: calls and tokens accepted before it, as far as known; `probe`: the one call that tries whether an outage is over."""

    id: int
    tokens: int
    started: float
    reserved: float
    depth: int
    before: tuple[float, float]
    probe: bool = False


class _Bucket:
    """A token bucket that mirrors the service's own. Rates are per second; an unknown one is infinite."""

    __slots__ = (
        "at",
        "braked_at",
        "burst",
        "ceiling",
        "episodes",
        "first",
        "given",
        "level",
        "mark",
        "rate",
        "spent",
        "synced",
        "zeroed_at",
    )

    def __init__(self, per_minute: float | None, now: float) -> None:
        self.given = self.ceiling = math.inf if per_minute is None else per_minute / 60
        self.synced = False  # a header has told rate, burst and level
        self.burst = math.inf if per_minute is None else max(1.0, self.ceiling * _ASSUMED_BURST_S)
        # Less the burst, so that a service that counts over a sliding minute is never overrun either.
        self.rate = math.inf if per_minute is None else max(self.ceiling - self.burst / 60, self.ceiling / 2)
        self.level = self.burst
        self.at = now
        self.spent = 0.0  # accepted by the service as far as we know
        self.first: float | None = None  # when the first call was sent
        self.mark: tuple[float, float] | None = None  # (time, spent) at which the bucket was surely empty
        self.episodes = 0
        self.braked_at = self.zeroed_at = -math.inf

    def refill(self, now: float) -> None:
        if self.rate < math.inf:
            self.level = min(self.burst, self.level + self.rate * max(0.0, now - self.at))
        self.at = max(self.at, now)

    def wait_s(self, cost: float, now: float) -> float:
        """Seconds until `cost` may be taken. A call larger than the burst goes when the bucket is full."""
        if self.rate == math.inf:
            return 0.0
        self.refill(now)
        # Send and arrival jitter: what is refilled in 40 ms is not spent while the mirror is all we have.
        margin = min(0.04 * self.burst, 0.04 * self.rate) if self.synced else 0.0
        short = min(cost + margin, self.burst) - self.level
        if short <= 1e-9 * max(1.0, cost):
            return 0.0
        self.braked_at = now
        return short / self.rate

    def take(self, cost: float, now: float) -> None:
        self.first = now if self.first is None else self.first
        self.spent += cost
        if self.rate < math.inf:
            self.level -= cost

    def correct(self, delta: float, started: float) -> None:
        """Book `delta` more (less if negative) than was taken by a call sent at `started`."""
        self.spent += delta
        if self.rate < math.inf and started >= self.zeroed_at:
            self.level = min(self.burst, self.level - delta)

    def sync(self, limit: int | None, remaining: int | None, reset_s: float | None, unseen: float, now: float) -> None:
        """Take over what a reply's headers say. `unseen`: cost of calls that may not have arrived when they were
        written, so the true level lies in [remaining - unseen, remaining]; the mirror is moved only into there."""
        if limit is None or remaining is None or limit <= 0:
            return
        told = limit / 60
        if self.given < 0.99 * told:
            return  # the user gave less than the account has: the account's burst is not ours to spend
        self.refill(now)
        first, self.synced = not self.synced, True
        self.ceiling = self.rate = min(self.given, told)
        self.burst = max(1.0, remaining, min(limit, remaining + self.rate * reset_s) if reset_s is not None else 0)
        low = remaining - unseen
        self.level = low if first else min(max(self.level, low), remaining)

    def emptied(self, lease: Lease, spent: float, cost: float, densest: float, resume_at: float) -> None:
        """A refusal of `lease` that no header explains, when `spent` was accepted: the bucket, if it is the cause,
        was empty then. Learn the refill rate. `densest`: the most that was accepted a second lately."""
        if self.synced or self.first is None:
            return
        at, self.level, self.zeroed_at = lease.started, 0.0, resume_at
        if self.mark is None:
            # One equation for rate and burst: assume a burst of a second. Too high is put right at the next refusal.
            self._found(_OVERSHOOT * max(densest, spent / (at - self.first + 1)))
            self.mark = (at, spent)
            self.at = resume_at
            return
        elapsed, accepted = at - self.mark[0], spent - self.mark[1]
        if elapsed >= 1 and accepted >= _FIRST_CALLS * cost:
            self._found(0.98 * accepted / elapsed)
            held = self.mark[1] - self.rate * (self.mark[0] - self.first)
            self.burst = min(max(self.burst, 0.8 * held), 60 * self.rate)
        else:
            self._found(0.85 * self.rate)
        if elapsed > 60:  # accounts change: forget the minute before last
            self.first, self.mark = self.mark[0], (at, spent)
        self.at = at

    def _found(self, rate: float) -> None:
        self.episodes += 1
        self.rate = min(self.ceiling, max(rate, 1 / 60))
        self.burst = max(1.0, self.rate * _ASSUMED_BURST_S)

    def grow(self, now: float, elapsed_s: float) -> None:
        """A found rate grows while it is what brakes: 2% a second at first, 0.2% once it has been measured."""
        if self.episodes and not self.synced and now - self.braked_at < 1.0:
            share = 0.02 if self.episodes == 1 else 0.002
            self.rate = min(self.ceiling, self.rate * (1 + share * min(elapsed_s, 1.0)))


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
        self._requests = _Bucket(requests_per_minute, now)
        self._tokens = _Bucket(tokens_per_minute, now)
        self._known_concurrency = concurrency is not None
        self._most = concurrency if concurrency is not None else max_concurrency
        self._window = float(min(self._most, _FIRST_CALLS))
        self._slow_start = True
        self._refused_depth: tuple[int, float] | None = None  # calls in flight at a refusal, and when
        self._open: dict[int, Lease] = {}
        self._recent: deque[Lease] = deque()  # leased within the last seconds
        self._leases = 0
        self._mean_tokens = 0.0
        self._size_spread = 0.0  # mean absolute deviation over the mean
        self._answered_depth = 0  # most calls in flight that a call was ever answered among
        self._lag_s = 0.25  # a call leased this shortly ago may not be counted in a reply's headers
        self._pause_until = -math.inf
        self._episode_at = -math.inf
        self._grown_at = now
        self._window_braked = False
        self._overload_share = 0.0
        self._failures = 0  # in a row
        self._outage_s = 0.0  # length of the present pause between probes; 0: none
        self._outage_at = -math.inf
        self._configured_timeout_s = timeout_s
        self._latencies: deque[tuple[float, int]] = deque(maxlen=128)  # (s, tokens), timed-out ones included
        self._slowest_s: deque[float] = deque(maxlen=128)
        self._base_latency_s = math.inf
        self._answers = 0
        self._widen()

    # what may be sent

    def lease(self, tokens: int, now: float) -> Lease | float:
        """A Lease if a call of `tokens` (in + out, estimated) may be sent now, else the seconds to wait before asking
        again; math.inf: not before a lease is settled."""
        if now < self._pause_until:
            return max(self._pause_until - now, 1e-3)
        if self._outage_s and self._open:
            return math.inf
        if len(self._open) >= int(self._window):
            self._window_braked = True
            return math.inf
        wait_s = max(self._requests.wait_s(1, now), self._tokens.wait_s(tokens, now))
        if wait_s > 0:
            return max(wait_s, 1e-3)
        before = (self._requests.spent, self._tokens.spent)
        self._requests.take(1, now)
        self._tokens.take(tokens, now)
        self._leases += 1
        weight = 1 / min(self._leases, 50)
        self._mean_tokens += (tokens - self._mean_tokens) * weight
        spread = abs(tokens - self._mean_tokens) / max(1.0, self._mean_tokens)
        self._size_spread += (spread - self._size_spread) * weight
        lease = Lease(
            id=self._leases,
            tokens=tokens,
            started=now,
            reserved=float(tokens),
            depth=len(self._open) + 1,
            before=before,
            probe=self._outage_s > 0,
        )
        self._open[lease.id] = lease
        self._recent.append(lease)
        while self._recent[0].started < now - _RECENT_S:
            self._recent.popleft()
        return lease

    def fits(self, tokens: int) -> bool:
        """Whether a call of `tokens` can ever be admitted: not if it is larger than the token bucket (once headers
        told its size) or than a whole minute's limit."""
        bucket = self._tokens
        return tokens <= (bucket.burst if bucket.synced else max(1.0, 60 * bucket.ceiling))

    def slots(self, now: float) -> int:
        """How many calls it makes sense to have open, in flight and waiting together: what may be in flight, as far
        as the rates let it be reached in the next two seconds, and some ready to take a freed slot. At least 1."""
        window = int(self._window)
        if self._outage_s or now < self._pause_until - 2:
            return len(self._open) + 1
        soon = math.inf
        for bucket, cost in ((self._requests, 1.0), (self._tokens, max(1.0, self._mean_tokens))):
            if bucket.rate < math.inf:
                soon = min(soon, (max(0.0, bucket.level) + 2 * bucket.rate) / cost)
        return int(min(window, len(self._open) + soon)) + 1 + window // 8

    def paused_until(self, now: float) -> float | None:
        """Until when (on the clock of `now`) nothing is sent: a Retry-After, an outage. None if not paused."""
        return self._pause_until if now < self._pause_until else None

    def timeout_s(self, now: float, *, tokens: int = 0, attempt: int = 1) -> float:
        """Seconds to give a call sent now: five times the 95th percentile of the latencies seen, or three times the
        longest answer, whichever is more; in proportion more for a call larger than the median, twice as long with
        each further attempt; at least 5 s, never above the configured time-out."""
        if len(self._latencies) < _MIN_SAMPLES:
            return self._configured_timeout_s
        ordered = sorted(latency for latency, _ in self._latencies)
        quantile = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        usual = median(size for _, size in self._latencies)
        larger = max(1.0, tokens / usual) if usual > 0 else 1.0
        learned = max(5 * quantile, 3 * max(self._slowest_s, default=0.0), _FLOOR_TIMEOUT_S)
        return min(self._configured_timeout_s, learned * larger * 2.0 ** min(attempt - 1, 10))

    # what came of it

    def settle(self, lease: Lease, now: float, reply: Reply | None, used_tokens: int | None = None) -> None:
        """Give the lease's slot back and learn from `reply` (None: cancelled here). `used_tokens`: in + out as the
        service counted them, None where it did not say. A lease that was settled before is left alone."""
        if self._open.pop(lease.id, None) is None:
            return
        cause = reply.cause if isinstance(reply, Rejection) else None
        if used_tokens is not None:
            self._tokens.correct(used_tokens - lease.reserved, lease.started)
        if cause is Cause.RATE_LIMITED:  # a refused call is not charged
            self._requests.correct(-1, lease.started)
            self._tokens.correct(-lease.reserved, lease.started)
        if reply is None:
            return
        self._lag_s = min(self._lag_s, max(now - lease.started, 0.02))  # no call travels longer than this one took
        if reply.rate is not None:
            self._read(reply.rate, lease, now)
        if isinstance(reply, Rejection) and reply.retry_after_s is not None:
            self._pause_until = max(self._pause_until, now + reply.retry_after_s)
        if cause is Cause.RATE_LIMITED:
            self._refused(lease, now, reply)
        elif cause in _DOWN:
            self._failed(lease, now, cause)
        else:
            self._answered(lease, now)

    def _answered(self, lease: Lease, now: float) -> None:
        latency_s = now - lease.started
        self._latencies.append((latency_s, lease.tokens))
        self._slowest_s.append(latency_s)
        self._answers += 1
        self._answered_depth = max(self._answered_depth, lease.depth)
        self._failures = 0
        self._overload_share *= 0.9
        if self._outage_s:
            self._outage_s = 0.0
            self._pause_until = now
        elapsed_s, self._grown_at = now - self._grown_at, now
        self._requests.grow(now, elapsed_s)
        self._tokens.grow(now, elapsed_s)
        slowed = self._watch_latency()
        if self._window_braked and not slowed:
            self._window += 1.0 if self._slow_start else 1 / self._window
            self._window_braked = len(self._open) >= int(self._window) - 1
        self._widen()

    def _widen(self) -> None:
        """Where a rate is known, the window need not be found by slow start: room for twice what the rate keeps in
        flight. Never beyond a depth that was refused within the last half minute, nor beyond the known limit."""
        if self._slow_start:
            pace = min(self._requests.rate, self._tokens.rate / max(1.0, self._mean_tokens))
            if pace < math.inf:
                latency_s = median(s for s, _ in self._latencies) if self._latencies else 1.0
                all_at_once = self._known_concurrency and self._requests.synced
                self._window = max(self._window, self._most if all_at_once else 2 * pace * latency_s)
        if self._refused_depth is not None and self._grown_at - self._refused_depth[1] < 30:
            self._window = min(self._window, max(1, self._refused_depth[0] - 1))
        self._window = min(self._window, self._most)

    def _watch_latency(self) -> bool:
        """Whether answers take twice as long as they did: then more calls in flight only queue at the service."""
        if self._known_concurrency or len(self._slowest_s) < 16:
            return False
        lately = median(list(self._slowest_s)[-16:])
        self._base_latency_s = min(self._base_latency_s * 1.001, lately)
        if lately > 3 * self._base_latency_s and self._answers % 16 == 0:
            self._slow_start = False
            self._window = max(1.0, 0.8 * self._window)
        return lately > 2 * self._base_latency_s

    def _refused(self, lease: Lease, now: float, rejection: Reply) -> None:
        """A 429. Shrink once an episode: refusals of calls sent before the last shrink say nothing new."""
        if lease.started <= self._episode_at:
            return
        self._episode_at = now
        rate = rejection.rate
        told_requests = self._requests.synced and rate is not None and rate.remaining_requests == 0
        told_tokens = self._tokens.synced and rate is not None and (rate.remaining_tokens or math.inf) < lease.reserved
        if told_requests or told_tokens:  # explained: the mirror ran ahead, so trust it less
            self._lag_s = min(1.0, 2 * self._lag_s)
            return
        resume_at = max(now, self._pause_until)
        # Where calls differ in size it is rather the tokens that ran out: leave the requests some room.
        room = 1.5 if self._size_spread > 0.3 else 1.0
        for bucket, cost, kind in ((self._requests, 1.0, 0), (self._tokens, lease.reserved, 1)):
            bucket.emptied(lease, lease.before[kind], cost, self._densest(lease, kind), resume_at)
        if not self._requests.synced:
            self._requests.rate = min(self._requests.ceiling, self._requests.rate * room)
        if lease.depth > self._answered_depth:
            self._refused_depth = (lease.depth, now)
            self._shrink(0.7)

    def _densest(self, lease: Lease, kind: int) -> float:
        """Calls (kind 0) or tokens (1) a second that were accepted up to `lease`, over the stretch of the last seconds
        where it was most, if the bucket held one second of its rate at the start of it: the rate is hardly less."""
        return max(
            (lease.before[kind] - other.before[kind]) / (lease.started - other.started + 1)
            for other in (lease, *self._recent)
            if other.started <= lease.started
        )

    def _shrink(self, factor: float) -> None:
        self._slow_start = False
        self._window = max(1.0, factor * min(self._window, len(self._open) + 1))

    def _failed(self, lease: Lease, now: float, cause: Cause) -> None:
        if cause is Cause.TIMEOUT:  # censored, and so counted: a service that got slow is not cut off for ever
            self._latencies.append((now - lease.started, lease.tokens))
        if cause is not Cause.CONNECTION:
            self._overload_share += 0.1 * (1 - self._overload_share)
        if self._overload_share > _REFUSALS_HEED and lease.started > self._episode_at:
            self._episode_at = now
            self._overload_share = 0.0
            self._shrink(0.7)
        self._failures += 1
        if self._failures >= _OUTAGE_FAILURES and lease.started > self._outage_at:
            first, most = _OUTAGE_WAIT_S
            self._outage_s = min(most, max(first, 2 * self._outage_s))
            self._outage_at = now
            self._pause_until = max(self._pause_until, now + self._outage_s)

    def _read(self, rate: RateInfo, lease: Lease, now: float) -> None:
        unseen = list(takewhile(lambda other: other.started > now - self._lag_s, reversed(self._recent)))
        self._requests.sync(rate.limit_requests, rate.remaining_requests, rate.reset_requests_s, len(unseen), now)
        reserved = sum(other.reserved for other in unseen)
        self._tokens.sync(rate.limit_tokens, rate.remaining_tokens, rate.reset_tokens_s, reserved, now)
