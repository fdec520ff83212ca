"""The limits of a provider's batch service: nothing is paced there, and much may be out."""

from __future__ import annotations

import math

from docreduce.desk.limits.limiter import Bound, Lease
from docreduce.values import Reply

__all__ = ["Enqueued"]

MOST_CALLS = 50_000
"""Lines of one batch at OpenAI, the smallest such limit; what is gathered beyond waits for the next one."""


class Enqueued:
    """Stands where a `Limiter` does for a line whose calls go out in batches, at most so many at once. Sans-IO."""

    troubled = False
    bounded_by: Bound | None = None

    def __init__(self, most: int = MOST_CALLS) -> None:
        self._most = most
        self._leases = 0
        self._open: set[int] = set()

    @property
    def window(self) -> int:
        """Calls that may be out at once."""
        return self._most

    def lease(self, tokens: int, now: float) -> Lease | float:
        """Leave to add one call to a batch, or math.inf where there is no room before another one is settled."""
        if len(self._open) >= self._most:
            return math.inf
        self._leases += 1
        self._open.add(self._leases)
        return Lease(
            id=self._leases, tokens=tokens, reserved=0.0, started=now, depth=len(self._open), before=(0.0, 0.0)
        )

    def settle(self, lease: Lease, now: float, reply: Reply | None, used_tokens: int | None = None) -> None:
        """Give the lease back; a batch teaches nothing of rates."""
        self._open.discard(lease.id)

    def retune(self, now: float, **limits: int | None) -> None:
        """Nothing: what is told of live calls says nothing of batches."""

    def fits(self, tokens: int) -> bool:
        """Whether a call of that size can ever go."""
        return True

    def slots(self, now: float) -> int:
        """Calls that may be out."""
        return self._most

    def paused_until(self, now: float) -> float | None:
        """Never: whatever refuses a batch refuses its calls one by one."""
        return None

    def timeout_s(self, now: float, *, tokens: int = 0, attempt: int = 1) -> float:
        """Batches end by themselves."""
        return math.inf
