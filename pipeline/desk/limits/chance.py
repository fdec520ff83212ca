"""Whether failures are more than chance: the cumulative sum of their log-likelihood ratio (Page 1954, CUSUM)."""

from __future__ import annotations

import math

__all__ = ["Chance"]

PRIOR = (1, 32)
"""Failures in calls that are taken as seen before the first one: shared services refuse a few in a hundred."""
MEMORY = 400
"""Calls; what came before fades."""
WALL = 2.0
"""What is looked for is a pace so many times too high; whatever refuses all shows the sooner."""
ALARM = 3 * math.log((1 - (1 - PRIOR[0] / PRIOR[1]) / WALL) * PRIOR[1] / PRIOR[0]) - 0.01
"""Three in a row after nothing but answers. By chance alone this comes once in e^ALARM = 4,000 calls at the most."""


class Chance:
    """The share of calls that fail by chance, as learned, and the evidence that something else refuses them. A refusal
    is known long before an answer, so calls are counted in the order they were sent: one that was sent between two
    failures and is still out was not refused."""

    def __init__(self) -> None:
        self._failures, self._calls = map(float, PRIOR)
        self._last = -1  # number of the last call that failed
        self._before = self.share  # before the failures in a row
        self._answered = 0  # of the calls sent after it
        self.evidence = 0.0
        self.lone = 0  # failures that did not come close after another
        self.in_a_row = 0  # failures with nothing else between them

    @property
    def share(self) -> float:
        """Of calls that fail by chance."""
        return self._failures / self._calls

    def answered(self, number: int) -> None:
        """Call `number` was answered."""
        self._answered += number > self._last

    def failed(self, number: int) -> None:
        """Call `number` failed, which the service might have answered."""
        between = max(number - self._last - 1, self._answered)
        self._last, self._answered = max(number, self._last), 0
        fade = (1 - 1 / MEMORY) ** between if self._calls > MEMORY else 1.0
        self._failures, self._calls = fade * self._failures, fade * self._calls + between
        self.in_a_row = 1 if between else self.in_a_row + 1
        if between or self.in_a_row == 1:
            self._before = self.share
        chance = self._before
        wall = 1 - (1 - chance) / WALL
        self.evidence += between * math.log((1 - wall) / (1 - chance))
        if self.evidence <= 0:
            self.evidence = 0.0
            self.lone += 1
        self.evidence += math.log(wall / chance)
        self._failures, self._calls = self._failures + 1, self._calls + 1
