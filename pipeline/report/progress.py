"""How far a run is, in lines for people."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from docreduce.values.money import money
from docreduce.values.unicode import printable

if TYPE_CHECKING:
    from docreduce.engine.run import Run

__all__ = ["SEPARATOR", "Progress"]

MINUTE_S, PACED_S = 60.0, 3.0
"""A pace is that of the last minute; before PACED_S it says nothing."""
SEPARATOR = " · "


@dataclass(slots=True)
class Progress:
    """A run's progress in lines of at most 60 columns or so, the same ones all the time, and last what is wrong."""

    run: Run
    started: float = field(default_factory=time.monotonic)
    sent: deque[tuple[float, int]] = field(default_factory=deque)  # attempts up to a time, of the last minute

    def lines(self, now: float) -> list[str]:
        """Documents and time; calls and their pace; tokens and money; what holds the run up, if anything."""
        shown = [self._documents(now - self.started), self._calls(now), self._money()]
        note = _note(self.run)
        return [printable(line) for line in (*shown, *([note] if note else []))]

    def _documents(self, elapsed_s: float) -> str:
        counts, total = self.run.counts, self.run.total
        parts = [f"documents {counts.done:,}/{total:,}" if total else f"documents {counts.done:,}"]
        if counts.documents["failed"]:
            parts.append(f"failed {counts.documents['failed']:,}")
        parts.append(_clock(elapsed_s))
        if total and 0 < counts.done < total:
            parts.append(f"{_clock(elapsed_s / counts.done * (total - counts.done))} left")
        return SEPARATOR.join(parts)

    def _calls(self, now: float) -> str:
        counts = self.run.counts
        self.sent.append((now, counts.attempts))
        while now - self.sent[0][0] > MINUTE_S:
            self.sent.popleft()
        parts = [f"calls {counts.calls:,}" + (f" (+{counts.reused:,} reused)" if counts.reused else "")]
        before, attempts = self.sent[0]
        if now - before >= PACED_S:
            pace = f"{MINUTE_S * (counts.attempts - attempts) / (now - before):,.0f}/min"
            limit = next(((line.tuned or line.route.limits).requests_per_minute for line in self.run.desk.live), None)
            parts.append(f"{pace} of {limit:,}" if limit else pace)
        return SEPARATOR.join(parts)

    def _money(self) -> str:
        usage, budget = self.run.counts.usage, self.run.budget
        spent = money(budget.charged) + (f" (+{money(budget.unknown)} unknown)" if budget.unknown else "")
        capped = f"{spent} of {money(budget.cap_pusd)}" if budget.cap_pusd is not None else spent
        return f"tokens {usage['input_tokens']:,} in, {usage['output_tokens']:,} out{SEPARATOR}{capped}"


def _note(run: Run) -> str | None:
    """What holds the run up, with its reason."""
    desk = run.desk
    if desk.halted is not None:
        return f"stopping: {desk.halted.message}"
    paused_s = desk.paused_s(time.monotonic())
    if desk.paused:
        return "paused, as its control file says"
    trouble = desk.trouble
    if trouble is None and (paused_s is None or paused_s < 1):
        return None
    wait = f"; next in {paused_s:.0f} s" if paused_s and paused_s >= 1 else ""
    return f"{trouble or 'the service asked to wait'}{wait}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
