"""Whether the whole service is down: then single probes go out, ever further apart."""

from __future__ import annotations

import math

__all__ = ["Outage"]

FAILURES = 10
"""In a row, with no answer between them."""
WAIT_S = (1.0, 60.0)
"""First and longest pause between probes."""


class Outage:
    """Counts failures in a row; a call sent before the outage was seen tells nothing of it."""

    def __init__(self) -> None:
        self.wait_s = 0.0  # of the present pause between probes; 0: none
        self._failures = 0
        self._at = -math.inf

    @property
    def near(self) -> bool:
        """Whether failures are more than accidents."""
        return self._failures >= FAILURES // 2

    def failed(self, started: float, now: float) -> float:
        """Count the failure of a call sent at `started`: the seconds to pause for; 0: it may not be down."""
        self._failures += 1
        if self._failures < FAILURES or started <= self._at:
            return 0.0
        self.wait_s = min(WAIT_S[1], max(WAIT_S[0], 2 * self.wait_s))
        self._at = now
        return self.wait_s

    def alive(self, started: float) -> None:
        """The service said something of its own to a call sent at `started`."""
        if started > self._at:
            self._failures = 0
            self.wait_s = 0.0
