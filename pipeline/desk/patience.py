"""When a run that no line answers any more ends, also while nothing is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from docreduce.desk.lines import Line

__all__ = ["Patience"]


@dataclass(slots=True)
class Patience:
    """Looks at lines that rest. Time in which nothing is asked of them is no failure of theirs."""

    _idle_since: float | None = None
    _worked_at: float = -math.inf  # when a line that does not fail was last open

    def look(self, lines: Sequence[Line], now: float, *, asking: bool) -> float:
        """Give up lines whose time is over; seconds until the next one's is (math.inf: not before a reply). `asking`:
        whether there are calls to be sent, and they may be.

        While one line works the others may rest; a call in flight, or out in a batch, may still be answered."""
        if not asking:
            self._idle_since = now if self._idle_since is None else self._idle_since
            return math.inf
        if self._idle_since is not None:
            for line in lines:
                line.postpone(now - self._idle_since, now)
            self._idle_since = None
        opened = [line for line in lines if not line.closed]
        if any(line.failing_since is None for line in opened):
            self._worked_at = now
            return math.inf
        if any(line.leases or line.route.batch for line in opened):
            return math.inf
        for line in opened:
            line.give_up(now, self._worked_at)
        return min((line.patience_left_s(now, self._worked_at) for line in opened if not line.closed), default=math.inf)
