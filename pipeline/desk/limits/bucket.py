"""A token bucket that mirrors the service's own: its rate given, read from headers, or measured between refusals."""

from __future__ import annotations

import math

__all__ = ["Bucket"]

ASSUMED_BURST_S = 0.25
"""Seconds of its rate that a bucket is taken to hold until headers tell more."""
MARGIN_S = 0.04
"""What refills in this time is left in a bucket read from headers, for calls that arrive bunched."""
GUESS = 1.1
"""Of what is guessed at the first refusal: a rate found too high is put right by the next one."""
LEAST_GUESS = 5
"""Calls a second, or in the wait asked for: a first refusal that comes before much was accepted says little."""
UNMEASURED = 0.7
"""Of a guess that is refused before anything could be measured."""
ENOUGH = (5, 2)
"""Between two refusals, typical calls and calls like the refused one that make a measurement."""
MEASURED = 0.98
"""Of a measured rate this share is used, so that the next refusal is far."""
IDLE = 0.85
"""Of the present rate is kept at least if the bucket may have been full since: that was no measurement, but a bound."""
GUESS_GROWTH = 0.02
"""A second, of a rate that was guessed."""
MEASURED_GROWTH = (0.015, 0.001)
"""Of one that was measured: over the seconds it was measured for, as it is the surer the longer that was; and at
least a second."""
BRAKED_S = 1.0
FORGET_S = 60.0


class Bucket:
    """Rates are per second; infinite where nobody told one and none was found. `synced`: headers are trusted."""

    __slots__ = (
        "_at",
        "_ceiling",
        "_emptied_at",
        "_given",
        "_mark",
        "_measured",
        "_start",
        "braked_at",
        "burst",
        "idle",
        "largest",
        "level",
        "rate",
        "spent",
        "synced",
    )

    def __init__(self, per_minute: float | None, now: float) -> None:
        self._given = self._ceiling = math.inf if per_minute is None else per_minute / 60
        self.synced = False
        self.burst = math.inf if per_minute is None else max(1.0, self._given * ASSUMED_BURST_S)
        # Less the burst, so that a service that counts over a sliding minute is never overrun either.
        self.rate = math.inf if per_minute is None else max(self._given - self.burst / 60, self._given / 2)
        self.largest = max(1.0, 60 * self._given)  # cost that can ever be admitted
        self.level = self.burst
        self.spent = 0.0  # accepted by the service as far as we know
        self.idle = False  # since the last refusal that counted, a call went which no rate had held back
        self.braked_at = -math.inf  # when this bucket last held a call back
        self._at = now
        self._emptied_at = -math.inf
        self._start: tuple[float, float] | None = None  # time of the first call, and what was spent before it
        # Time, spent and cost of a refused call: the bucket held less than that cost then.
        self._mark: tuple[float, float, float] | None = None
        self._measured = 0.0  # rate; 0: nothing was measured, a found rate is a guess

    @property
    def known(self) -> bool:
        """Whether the limit was given or told, and so must be kept."""
        return self.synced or self._given < math.inf

    def refill(self, now: float) -> None:
        """Bring the level up to `now`; a clock that goes back is held still."""
        if self.rate < math.inf:
            self.level = min(self.burst, self.level + self.rate * max(0.0, now - self._at))
        self._at = max(self._at, now)

    def wait_s(self, cost: float, now: float) -> float:
        """Seconds until `cost` may be taken. A call larger than the burst goes when the bucket is full."""
        if self.rate == math.inf:
            return 0.0
        self.refill(now)
        margin = min(MARGIN_S * self.burst, MARGIN_S * self.rate) if self.synced else 0.0
        short = min(cost + margin, self.burst) - self.level
        if short <= 1e-9 * max(1.0, cost):
            return 0.0
        self.braked_at = now
        return max(0.0, self._at - now) + short / self.rate

    def take(self, cost: float, now: float) -> None:
        """Take `cost`, after `wait_s` said 0."""
        self._start = self._start or (now, 0.0)
        self.spent += cost
        if self.rate < math.inf:
            self.level -= cost

    def correct(self, delta: float, started: float) -> None:
        """Book `delta` more (less if negative) than was taken by a call sent at `started`."""
        self.spent += delta
        if self._mark is not None and started < self._mark[0]:
            self._mark = (self._mark[0], self._mark[1] + delta, self._mark[2])
        if self.rate < math.inf and started >= self._emptied_at:  # else the level was set since, without that call
            self.level = min(self.burst, self.level - delta)

    def sync(self, limit: int | None, remaining: int | None, reset_s: float | None, unseen: float, now: float) -> None:
        """Take over what headers say. By the convention of OpenAI and Anthropic `reset` is the time until the bucket
        is full, so its size is remaining + rate·reset. `unseen`: cost of calls that may not have arrived when they
        were written: the true level lies in [remaining - unseen, remaining], and the mirror is moved only into it."""
        if limit is None or remaining is None or limit <= 0:
            return
        told = limit / 60
        self.refill(now)
        if self._given < 0.99 * told:  # the account has more than the user gave: its burst is not ours to spend
            self.level = min(self.level, remaining)
            return
        first, self.synced = not self.synced, True
        self.rate = self._ceiling = min(self._given, told)
        full = limit if reset_s is None else min(limit, remaining + self.rate * reset_s)
        self.burst = max(1.0, remaining, full)
        self.largest = self.burst if first else max(self.largest, self.burst)
        low = remaining - unseen
        self.level = low if first else min(max(self.level, low), remaining)

    def braked(self, now: float) -> bool:
        """Whether this bucket holds calls back at present, or may be the limit without our knowing."""
        return self._mark is None or now - max(self.braked_at, self._emptied_at) < BRAKED_S

    @property
    def surprised(self) -> bool:
        """Whether the pace is within what was measured, so that a refusal now is a surprise."""
        return not self.synced and self.rate <= 1.01 * self._measured

    def empty(self, resume_at: float) -> None:
        """A refusal that no header explains: nothing is in hand when sending goes on at `resume_at`."""
        if not self.synced and self.rate < math.inf:
            self.level, self._emptied_at = 0.0, resume_at

    def refused(
        self, at: float, spent: float, cost: float, *, typical: float, densest: float, held_s: float, resume_at: float
    ) -> None:
        """Learn from the refusal of a call of `cost` sent at `at`, when `spent` was accepted: if this bucket is the
        cause it held less than `cost` then. So what is accepted between two refusals, over the time between them, is
        the refill rate itself. `typical`: cost of most calls; `densest`: the most that was accepted a second lately,
        if the bucket held `held_s` seconds of its rate at first; `resume_at`: when sending goes on."""
        if self.synced or self._start is None:
            return
        if self._mark is None:
            overall = (spent - self._start[1]) / (at - self._start[0] + held_s)
            self._found(max(GUESS * densest, GUESS * overall, LEAST_GUESS * typical / max(1.0, resume_at - at)))
            self._mark, self.idle = (at, spent, cost), False
            self.empty(resume_at)
            self._at = resume_at  # the rate is a guess: do not count on what it would bring until then
            return
        since, base, first_cost = self._mark
        elapsed, accepted = at - since, spent - base
        if elapsed >= 1 and accepted >= max(ENOUGH[0] * typical, ENOUGH[1] * cost):
            left = (cost - first_cost) / 2  # more than then: on average the bucket held half of the refused call
            least = IDLE * self.rate if self.idle else 0.0
            self._measured = max(least, (accepted + left) / elapsed)
            self._found(MEASURED * self._measured)
            held = base - self.rate * (since - self._start[0])  # what it held at first, now that the rate is known
            self.burst = min(max(self.burst, 0.8 * held), 60 * self.rate)
        elif not self._measured:
            self._found(max(UNMEASURED * self.rate, cost / FORGET_S))
        if self._measured and (self.idle or elapsed > FORGET_S):  # accounts change
            self._start, self._mark, self.idle = (since, self._start[1]), (at, spent, cost), False
        self._at = at

    def leave_room(self, rate: float) -> None:
        """Let a found rate be at least `rate`: another bucket is the likelier cause."""
        if not self.synced and self.rate < math.inf:
            self.rate = max(self.rate, min(self._ceiling, rate))

    def scale(self, factor: float, now: float) -> None:
        """Multiply a found rate; a higher one is of use only where the present one brakes."""
        if not self.synced and (factor < 1 or self.braked(now)):
            self.rate = min(self._ceiling, factor * self.rate)
            self._measured *= factor

    def acquit(self, now: float) -> None:
        """Forget what was measured: the refusals had another cause. The present rate stays, for what it is worth."""
        if not self.synced:
            self._start, self._mark, self._measured = (now, self.spent), None, 0.0

    def grow(self, now: float, elapsed_s: float) -> None:
        """Let a found rate grow for `elapsed_s` of clean answers, while it is what brakes."""
        if self._mark is not None and not self.synced and now - self.braked_at < BRAKED_S:
            over, least = MEASURED_GROWTH
            share = max(least, over / max(1.0, now - self._mark[0])) if self._measured else GUESS_GROWTH
            self.rate = min(self._ceiling, self.rate * (1 + share * min(elapsed_s, 1.0)))

    def _found(self, rate: float) -> None:
        self.rate = min(self._ceiling, rate)
        self.burst = max(1.0, self.rate * ASSUMED_BURST_S)
