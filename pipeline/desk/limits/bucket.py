"""A token bucket that mirrors the service's own: its rate given, told by headers, or found by experiment."""

from __future__ import annotations

import math

__all__ = ["LONGEST_RESET_S", "Bucket"]

ASSUMED_BURST_S = 0.25
"""Seconds of its rate that a bucket is taken to hold until headers tell more."""
MINUTE_S = 60.05
"""What a given minute is taken for: calls may reach the service a little closer together than they were leased."""
MARGIN_S = 0.04
"""What refills in this time is left in a bucket read from headers, for calls that arrive bunched."""
LONGEST_RESET_S = 65.0
"""A reset further away belongs to a window longer than a minute."""
BRAKED_S = 1.0


class Bucket:
    """Rates are a second; infinite where nobody told one and none was found. `synced`: headers are trusted."""

    def __init__(self, per_minute: float | None, now: float) -> None:
        self.synced = False
        self.spent = 0.0  # accepted by the service as far as we know
        self.braked_at = self._emptied_at = -math.inf  # when it last held a call back, when it was last found empty
        self._at = now
        self._widest = 0.0  # cost of a call
        self.level = math.inf
        self.retune(per_minute, now)

    def retune(self, per_minute: float | None, now: float) -> None:
        """Keep `per_minute` from now on; what was taken stays taken."""
        if self.level < math.inf:
            self.refill(now)
        elif self.spent:
            self.level = 0.0  # nobody counted what went out lately
        self._given = self.ceiling = math.inf if per_minute is None else per_minute / 60
        if per_minute is not None:
            # Less the burst beyond its first call: a service that counts a sliding minute is not overrun either.
            self.ceiling = (per_minute - max(0.0, ASSUMED_BURST_S * self._given - 1)) / MINUTE_S
        self.largest = max(1.0, 60 * self._given)  # cost that can ever be admitted
        self.synced = False
        self.find(math.inf)

    def find(self, rate: float) -> None:
        """Use `rate`, as far as it is below the ceiling."""
        self.rate = min(rate, self.ceiling)
        self.burst = max(1.0, self.rate * ASSUMED_BURST_S, 0.0 if self.known else self._widest)
        self.level = math.inf if self.rate == math.inf else min(self.level, self.burst)

    @property
    def known(self) -> bool:
        """Whether the limit was given or told, and so must be kept."""
        return self.ceiling < math.inf

    def refill(self, now: float) -> None:
        """Bring the level up to `now`; a clock that goes back is held still."""
        if self.rate < math.inf:
            self.level = min(self.burst, self.level + self.rate * max(0.0, now - self._at))
        self._at = max(self._at, now)

    def wait_s(self, cost: float, now: float) -> float:
        """Seconds until `cost` may be taken. A call larger than the burst goes when the bucket is full, but where the
        rate was found: there nothing but what has come in since is in hand."""
        if self.rate == math.inf:
            return 0.0
        if not self.known and cost > self.burst:
            self.burst = self._widest = cost
        self.refill(now)
        margin = min(MARGIN_S * self.burst, MARGIN_S * self.rate) if self.synced else 0.0
        short = min(cost + margin, self.burst) - self.level
        if short <= 1e-9 * max(1.0, cost):
            return 0.0
        self.braked_at = now
        return max(0.0, self._at - now) + short / self.rate

    def take(self, cost: float) -> None:
        """Take `cost`, after `wait_s` said 0."""
        self.spent += cost
        self.level -= cost

    def correct(self, delta: float, started: float) -> None:
        """Book `delta` more (less if negative) than was taken by a call sent at `started`."""
        self.spent += delta
        if started >= self._emptied_at:  # else the level was set since, without that call
            self.level = min(self.burst, self.level - delta)

    def empty(self, now: float) -> None:
        """A refusal that no header explains: nothing is in hand at `now`."""
        if not self.synced and self.rate < math.inf:
            self.level, self._emptied_at, self._at = min(self.level, 0.0), now, max(self._at, now)

    def braked(self, now: float) -> bool:
        """Whether this bucket held calls back lately."""
        return now - self.braked_at < BRAKED_S

    def sync(self, limit: int | None, remaining: int | None, reset_s: float | None, unseen: float, now: float) -> None:
        """Take over what headers say. By the convention of OpenAI and Anthropic `reset` is the time until the bucket
        is full, so its size is remaining + rate·reset. `unseen`: cost of calls that may not have arrived when they
        were written: the true level lies in [remaining - unseen, remaining], and the mirror is moved only into it."""
        if limit is None or remaining is None or limit <= 0:
            return
        long = reset_s is not None and reset_s > LONGEST_RESET_S
        told = max(limit - remaining, 1) / reset_s if long and reset_s else limit / 60
        self.refill(now)
        if self._given < 0.99 * told:  # the account has more than the user gave: its burst is not ours to spend
            self.level = min(self.level, remaining)
            return
        first, self.synced = not self.synced, True
        self.rate = self.ceiling = min(self._given, told)
        full = limit if reset_s is None else min(limit, remaining + self.rate * reset_s)
        self.burst = max(1.0, remaining, full)
        self.largest = self.burst if first else max(self.largest, self.burst)
        low = remaining - unseen
        self.level = low if first else min(max(self.level, low), remaining)
