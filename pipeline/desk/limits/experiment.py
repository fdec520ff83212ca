"""The one place where a limit that nobody told is found: from what is accepted between refusals."""

from __future__ import annotations

from dataclasses import dataclass

from docreduce.desk.limits.bucket import Bucket

__all__ = ["Experiment", "Refusal"]

GUESS = 1.1
"""Of what was accepted lately, at the first refusal: a rate found too high is put right by the next one."""
LEAST_GUESS = 5
"""Calls a second, or in the wait asked for: a first refusal that comes before much was accepted says little."""
UNMEASURED = 0.7
"""Of a guess that is refused before anything could be measured."""
ENOUGH = (5, 2)
"""Between two refusals, typical calls and calls like the refused one that make a measurement."""
MEASURED = 0.98
"""Of a measured rate this share is used, so that the next refusal is far."""
STEP, STEPS = 0.05, 2
"""A measured rate is lowered by this share at a refusal, so often: a limit grants nine tenths of itself."""
GROWTH_GUESSED, GROWTH_MEASURED = 0.02, 0.002
"""A second, of clean answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Of call `number` of `cost` sent at `at`, when `spent` was accepted. `typical`: cost of most calls; `densest`: the
    most that was accepted a second lately, if the bucket held `held_s` seconds of its rate at first.
    `wait_s`: asked for."""

    number: int
    at: float
    spent: float
    cost: float
    typical: float
    densest: float
    held_s: float
    wait_s: float


class Experiment:
    """Works on one bucket. `noisy`: refusals come by chance too, so that only those beyond chance count."""

    def __init__(self, bucket: Bucket, begin: float, noisy: bool) -> None:
        self._bucket = bucket
        self._begin = begin
        self._mark: tuple[float, float, float, int] | None = None  # time, spent, cost, number of a refused call
        self._measured = self._baseline = 0.0  # rate, and the cost it was measured over
        self._steps = 0
        self._noisy = noisy

    def counts(self, at: float, alarm: bool) -> bool:
        """Whether the refusal of a call sent at `at` says something of the rate; `alarm`: it is beyond chance."""
        if self._mark is None:
            return alarm
        lone = not self._noisy and (not self._bucket.known or self._measured > 0)
        return self._bucket.braked(at) and (alarm or lone)

    def refused(self, refusal: Refusal) -> bool:
        """Learn from a refusal that counts: if this bucket is the cause it held less than the call's cost then. So what
        is accepted between two refusals, over the time between them, is the refill rate itself. False: the pace was
        found not to be to blame."""
        bucket, here = self._bucket, (refusal.at, refusal.spent, refusal.cost, refusal.number)
        if self._mark is None:
            self._mark = here
            if not bucket.known:
                overall = refusal.spent / (refusal.at - self._begin + refusal.held_s)
                self._pace(
                    max(
                        GUESS * refusal.densest,
                        GUESS * overall,
                        LEAST_GUESS * refusal.typical / max(1.0, refusal.wait_s),
                    )
                )
        elif not self._noisy and self._surprised(refusal.typical):
            self._noisy, self._mark, self._measured, self._baseline = True, None, 0.0, 0.0
            self._pace(bucket.ceiling)
            return False
        else:
            self._measure(refusal)
        bucket.empty(refusal.at)
        return True

    def _surprised(self, typical: float) -> bool:
        """Whether the pace was lowered again and again below what was granted, as exact as that is, and still is
        refused."""
        exact = 0.99 - typical / self._baseline if self._baseline else 0.0
        self._steps = self._steps + 1 if self._bucket.rate < exact * self._measured else 1
        return self._steps > STEPS

    def _measure(self, refusal: Refusal) -> None:
        assert self._mark is not None
        since, base, first_cost, _ = self._mark
        elapsed, accepted = refusal.at - since, refusal.spent - base
        typical, like = ENOUGH
        if elapsed >= 1 and accepted >= max(typical * refusal.typical, like * refusal.cost, 2 * self._baseline):
            left = (refusal.cost - first_cost) / 2  # on average the bucket held half of a refused call
            self._measured, self._baseline = (accepted + left) / elapsed, accepted
            self._pace(MEASURED * self._measured)
        elif self._measured:
            self._pace(self._bucket.rate - max(STEP, refusal.typical / self._baseline / 2) * self._measured)
        elif not self._bucket.known:
            self._pace(UNMEASURED * self._bucket.rate)

    def answered(self, now: float, elapsed_s: float) -> None:
        """An answer, `elapsed_s` after the one before: a found rate grows while it is what brakes."""
        if self._mark is not None and self._bucket.braked(now):
            share = GROWTH_MEASURED if self._measured else GROWTH_GUESSED
            self._pace(self._bucket.rate * (1 + share * min(elapsed_s, 1.0)))

    def rested(self, rest_s: float, until: float) -> None:
        """Sending rests for `rest_s`: of that, only what a call like the refused one takes to refill is the limit's."""
        if self._mark is not None:
            since, base, cost, number = self._mark
            self._mark = (since + max(0.0, rest_s - cost / self._bucket.rate - 1), base, cost, number)
            if not self._measured:  # what a guess would bring until then is not to be counted on
                self._bucket.empty(until)

    def correct(self, delta: float, number: int) -> None:
        """What was taken by call `number` was `delta` more."""
        if self._mark is not None and number < self._mark[3]:
            since, base, cost, first = self._mark
            self._mark = (since, base + delta, cost, first)

    def _pace(self, rate: float) -> None:
        if not self._bucket.synced:
            self._bucket.find(rate)
