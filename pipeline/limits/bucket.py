"""A token bucket that mirrors the service's own: its rate given, read from headers, or measured between refusals."""

from __future__ import annotations

import math

__all__ = ["Bucket"]

ASSUMED_BURST_S = 0.25
"""Seconds of its rate that a bucket is taken to hold until headers tell more."""
MARGIN_S = 0.04
"""What refills in this time is left in a bucket read from headers, for calls that arrive bunched."""
OVERSHOOT = 1.1
"""A rate found too high is put right by the next refusal, one too low only by slow growth."""
MEASURED = 0.98
"""Of a measured rate this share is used, so that the next refusal is far."""
ENOUGH = 5
"""Calls between two refusals that make a measurement."""
GROWTH = (0.02, 0.004)
"""A second, of a rate that was guessed, and of one that was measured."""
FORGET_S = 60.0


class Bucket:
    """Rates are per second; infinite where nobody told one and none was found. `synced`: headers are trusted."""

    __slots__ = (
        "_at",
        "_braked_at",
        "_ceiling",
        "_emptied_at",
        "_episodes",
        "_first",
        "_given",
        "_mark",
        "burst",
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
        self._at = now
        self._first: float | None = None  # when the first call was sent
        self._mark: tuple[float, float] | None = None  # (time, spent) at which the bucket was surely empty
        self._episodes = 0
        self._braked_at = self._emptied_at = -math.inf

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
        self._braked_at = now
        return max(0.0, self._at - now) + short / self.rate

    def take(self, cost: float, now: float) -> None:
        """Take `cost`, after `wait_s` said 0."""
        self._first = now if self._first is None else self._first
        self.spent += cost
        if self.rate < math.inf:
            self.level -= cost

    def correct(self, delta: float, started: float) -> None:
        """Book `delta` more (less if negative) than was taken by a call sent at `started`."""
        self.spent += delta
        if self._mark is not None and started < self._mark[0]:
            self._mark = (self._mark[0], self._mark[1] + delta)
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

    def emptied(self, at: float, spent: float, cost: float, densest: float, resume_at: float) -> None:
        """A refusal that no header explains, of a call of `cost` sent at `at`, when `spent` was accepted: if this
        bucket is the cause it was empty then. So what is accepted between two refusals, over the time between them,
        is the refill rate itself. `densest`: the most that was accepted a second lately; `resume_at`: when sending
        goes on."""
        if self.synced or self._first is None:
            return
        self.level, self._emptied_at = 0.0, resume_at
        if self._mark is None:
            one_a_wait = cost / max(1.0, resume_at - at)
            self._found(max(OVERSHOOT * densest, OVERSHOOT * spent / (at - self._first + 1), one_a_wait))
            self._mark = (at, spent)
            self._at = resume_at  # the rate is a guess: do not count on what it would bring until then
            return
        since, base = self._mark
        elapsed, accepted = at - since, spent - base
        if elapsed >= 1 and accepted >= ENOUGH * cost:
            self._found(MEASURED * accepted / elapsed)
            held = base - self.rate * (since - self._first)  # what it held at first, now that the rate is known
            self.burst = min(max(self.burst, 0.8 * held), 60 * self.rate)
        else:
            self._found(max(0.85 * self.rate, cost / FORGET_S))
        if elapsed > FORGET_S:  # accounts change
            self._first, self._mark = since, (at, spent)
        self._at = at

    def relax(self, factor: float) -> None:
        """Leave a found rate some room: another bucket is the likelier cause."""
        if not self.synced and self.rate < math.inf:
            self.rate = min(self._ceiling, self.rate * factor)

    def grow(self, now: float, elapsed_s: float) -> None:
        """Let a found rate grow for `elapsed_s` of clean answers, while it is what brakes."""
        if self._episodes and not self.synced and now - self._braked_at < 1.0:
            share = GROWTH[0] if self._episodes == 1 else GROWTH[1]
            self.rate = min(self._ceiling, self.rate * (1 + share * min(elapsed_s, 1.0)))

    def _found(self, rate: float) -> None:
        self._episodes += 1
        self.rate = min(self._ceiling, rate)
        self.burst = max(1.0, self.rate * ASSUMED_BURST_S)
