"""The limiter on the event loop's clock."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from docreduce.desk.limits import Lease, Limiter
from docreduce.values import Reply

__all__ = ["Gate"]


class Gate:
    """Hands out the limiter's leases: callers wait their turn, first come first served."""

    def __init__(self, limiter: Limiter, clock: Callable[[], float] = time.monotonic) -> None:
        self.limiter = limiter
        self.clock = clock
        self._waiting: deque[tuple[int, asyncio.Future[Lease]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def slots(self) -> int:
        """How many calls it makes sense to have open now."""
        return self.limiter.slots(self.clock())

    def timeout_s(self, lease: Lease, attempt: int) -> float:
        """Seconds to give the call of `lease`."""
        return self.limiter.timeout_s(self.clock(), tokens=lease.tokens, attempt=attempt)

    def paused_s(self) -> float | None:
        """Seconds for which the account is at rest (a Retry-After, an outage); None where it is not."""
        now = self.clock()
        until = self.limiter.paused_until(now)
        return None if until is None else until - now

    async def acquire(self, tokens: int, *, first: bool = False) -> Lease:
        """A lease for one call of `tokens`, when the limiter grants it; `first`: before all who wait."""
        future: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)((tokens, future))
        self._serve()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.settle(future.result(), None, None)
            raise

    def settle(self, lease: Lease, reply: Reply | None, used_tokens: int | None) -> None:
        """Give the lease back with what it brought; None where the call was not sent or was given up."""
        self.limiter.settle(lease, self.clock(), reply, used_tokens)
        self._serve()

    def _serve(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            tokens, future = self._waiting[0]
            if future.done():  # its caller was cancelled
                self._waiting.popleft()
                continue
            granted = self.limiter.lease(tokens, self.clock())
            if not isinstance(granted, Lease):
                if granted < math.inf:
                    self._timer = asyncio.get_running_loop().call_later(max(granted, 0.0005), self._serve)
                return
            self._waiting.popleft()
            future.set_result(granted)
