"""What bounded a run: the seconds it spent held back by each thing, so that its owner knows what to change.

The driver says at each of its rounds what holds it back now; the time until the next round goes there. Where the
process was busy computing for nearly all of a stretch, that stretch was the machine's, whatever else was waited for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Literal, TypeAlias

from docreduce.desk import Held

__all__ = ["BOUND_NAMES", "Bounds", "HeldBy"]

HeldBy: TypeAlias = Held | Literal["reading", "cpu", "cap"]

STRETCH_S = 1.0
"""Processor time is compared with the clock over stretches of this length."""
BUSY = 0.9
"""Share of a stretch: Python computes on one processor at a time, and this process did little but."""
BOUND_NAMES: dict[HeldBy, str] = {
    "requests": "the account's requests a minute",
    "tokens": "the account's tokens a minute",
    "slots": "the calls in flight that the account allows",
    "latency": "the service's answers",
    "rest": "the service's refusals and outages",
    "reading": "reading the input",
    "cpu": "this machine's processor",
    "cap": "calls that the cap lets go one after the other",
    "ledger": "this machine's disk",
    "pause": "a pause that was asked for",
}
"""In words for people."""


@dataclass(slots=True)
class Bounds:
    """Seconds by what held the run back; `now` on any clock, `cpu_s` the process's processor time so far."""

    seconds: dict[HeldBy, float] = field(default_factory=lambda: defaultdict(float))
    _stretch: dict[HeldBy, float] = field(default_factory=lambda: defaultdict(float))
    _held: HeldBy | None = None
    _at: float | None = None
    _began: tuple[float, float] = (0.0, 0.0)

    def holds(self, held: HeldBy | None, now: float, cpu_s: float) -> None:
        """From `now` on the run is held back by that."""
        if self._at is None:
            self._began = (now, cpu_s)
        elif self._held is not None:
            self._stretch[self._held] += max(0.0, now - self._at)
        self._held, self._at = held, now
        if now - self._began[0] >= STRETCH_S:
            self.end(now, cpu_s)

    def end(self, now: float, cpu_s: float) -> None:
        """Close the present stretch."""
        elapsed_s = now - self._began[0]
        if elapsed_s > 0 and cpu_s - self._began[1] >= BUSY * elapsed_s:
            self.seconds["cpu"] += elapsed_s
        else:
            for held, seconds in self._stretch.items():
                self.seconds[held] += seconds
        self._stretch.clear()
        self._began = (now, cpu_s)

    def as_dict(self) -> dict[str, float]:
        """Seconds by name, the most first."""
        most = sorted(self.seconds.items(), key=itemgetter(1), reverse=True)
        return {name: round(seconds, 1) for name, seconds in most if seconds >= 0.05}
