"""How long answers take: what a time-out may be, and whether the service slows down."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

__all__ = ["Latency"]

SAMPLES, LATELY, ENOUGH = 128, 16, 8
FLOOR_S = 5.0


class Latency:
    """Latencies seen, in seconds. A call that timed out counts with the time it was given, so that a service which
    got slow is not cut off for ever."""

    def __init__(self, timeout_s: float) -> None:
        self.fastest_s = math.inf  # of all answers
        self.usual_s = 1.0  # median; a second until there is an answer
        self._configured_s = self._learned_s = timeout_s
        self._all: deque[tuple[float, int]] = deque(maxlen=SAMPLES)  # (s, tokens), timed-out calls too
        self._answers: deque[float] = deque(maxlen=SAMPLES)
        self._count = 0
        self._usual_tokens = 1.0
        self._base_s = math.inf
        self._lately_s = 0.0

    def answered(self, latency_s: float, tokens: int) -> None:
        """A call of `tokens` was answered after `latency_s`."""
        self.fastest_s = min(self.fastest_s, latency_s)
        self._answers.append(latency_s)
        self.timed_out(latency_s, tokens)

    def timed_out(self, latency_s: float, tokens: int) -> None:
        """A call of `tokens` was given up after `latency_s`."""
        self._all.append((latency_s, tokens))
        self._count += 1
        if self._count <= ENOUGH or self._count % ENOUGH == 0:  # sorting for every call would cost more than it tells
            self._learn()

    def timeout_s(self, tokens: int, attempt: int) -> float:
        """Seconds to give a call: five times the 95th percentile of the latencies seen, or three times the longest
        answer, whichever is more; in proportion more for a call larger than the median, twice as long with each
        further attempt; at least 5 s, never above the configured time-out (which is all until 8 calls came back)."""
        if self._count < ENOUGH or self._configured_s == math.inf:
            return self._configured_s
        larger = max(1.0, tokens / self._usual_tokens)
        return min(self._configured_s, self._learned_s * larger * 2.0 ** min(attempt - 1, 10))

    def slowed(self, factor: float) -> bool:
        """Whether the last answers took `factor` times as long as at the best time."""
        return self._lately_s > factor * self._base_s

    def _learn(self) -> None:
        ordered = sorted(latency for latency, _ in self._all)
        high = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        self._learned_s = max(5 * high, 3 * max(self._answers, default=0.0), FLOOR_S)
        self._usual_tokens = max(1.0, median(size for _, size in self._all))
        if self._answers:
            self.usual_s = median(self._answers)
        if len(self._answers) >= LATELY:
            self._lately_s = median(list(self._answers)[-LATELY:])
            # A base that creeps up: what was the best an hour ago may never come back.
            self._base_s = min(1.01 * self._base_s, self._lately_s)
