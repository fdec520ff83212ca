"""Whether refusals follow the pace at all: some services refuse at random, or for what others send."""

from __future__ import annotations

import math
from enum import Enum

__all__ = ["Doubt", "Verdict"]

SURPRISES = 2
"""Refusals in a row at a pace that was measured to be within the limit, before it is looked into."""
CHECKED = (6, 60)
"""Calls at half the pace: as many as brought the surprises, at least and at most these."""
ROUND = 20
"""Calls after which a pace that is not to blame is doubled."""
WORSE = (1.5, 0.05)
"""It is to blame after all where the share of refusals is more than this multiple of the former, and so much."""
QUIET = 60
"""Answers in a row that end the doubt."""


class Verdict(Enum):
    """What to do about the pace."""

    LEAVE = "leave"
    CUT = "cut"
    HALVE = "halve"
    DOUBLE = "double"
    ACQUIT = "acquit"  # it is not to blame: put it up and forget what was measured


class Doubt:
    """An experiment. A limit does not refuse at half of what it is known to grant: where that happens the pace is not
    the cause, and slowing down would only cost time. Then it is doubled as long as refusals get no more."""

    def __init__(self) -> None:
        self._patience = SURPRISES
        self._surprises = 0
        self._clean = 0  # answers since the last refusal
        self._check = 0  # calls that the check at half the pace takes; 0: none is going on
        self._share: float | None = None  # of refusals, that the pace is not to blame for; None: it is
        self._calls = self._refused = 0  # since the last verdict
        self._before = (0, 0)  # the same of the time before the check
        self._since = -math.inf

    def answered(self, started: float, now: float) -> Verdict:
        """Count the answer to a call sent at `started`."""
        self._clean += 1
        if started <= self._since:
            return Verdict.LEAVE
        self._calls += 1
        if self._check and self._calls >= self._check:  # clean at half the pace: the pace was the cause
            self._check = 0
            self._patience *= 2
            return self._begin(now, Verdict.DOUBLE)
        if self._clean >= QUIET:
            self._share = None
        return self._round(now)

    def refused(self, started: float, now: float, *, episode: bool, surprise: bool) -> Verdict:
        """Count a refusal; `episode`: of a call sent after the last refusals were known; `surprise`: at a pace that
        was measured to be within the limit."""
        self._clean = 0
        later = started > self._since
        self._calls += later
        self._refused += later
        if self._share is not None:
            return self._round(now)
        if self._check:
            return self._acquit(now) if later else Verdict.LEAVE
        return self._doubt(now, surprise) if episode else Verdict.LEAVE

    def _doubt(self, now: float, surprise: bool) -> Verdict:
        """A refusal in ordinary times: how many of them were surprises?"""
        if not surprise:
            return self._begin(now, Verdict.CUT)
        self._surprises += 1
        if self._surprises < self._patience:
            return Verdict.CUT
        self._check = min(CHECKED[1], max(CHECKED[0], self._calls))
        self._before = (self._refused, self._calls)
        return self._begin(now, Verdict.HALVE)

    def _acquit(self, now: float) -> Verdict:
        """A refusal at half the pace."""
        self._share = (self._refused + self._before[0]) / (self._calls + self._before[1])
        self._check, self._patience = 0, SURPRISES
        return self._begin(now, Verdict.ACQUIT)

    def _round(self, now: float) -> Verdict:
        """Where the pace is not to blame: at the end of a round, whether that still holds."""
        if self._share is None or self._calls < ROUND:
            return Verdict.LEAVE
        share = self._refused / self._calls
        worse = share > WORSE[0] * self._share + WORSE[1]
        self._share = None if worse else (self._share + share) / 2
        return self._begin(now, Verdict.LEAVE if worse else Verdict.DOUBLE)

    def _begin(self, now: float, verdict: Verdict) -> Verdict:
        self._surprises = self._calls = self._refused = 0
        self._since = now
        return verdict
