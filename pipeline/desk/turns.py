"""What goes into a turn of the desk and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from docreduce.values import Attempt, Outcome, Request

__all__ = ["Ask", "Settled", "Turn"]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that is to be paid, for the document that bears it."""

    key: str
    request: Request
    document_id: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What a reply or an ask came to: the attempt that was made, if one was, and the request's outcome; without one
    the ask is to come again, not before `not_before` (on the clock of `now`)."""

    ask: Ask
    attempt: Attempt | None = None
    outcome: Outcome | None = None
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn decided. `waiting`: asks that were not reserved, in order; they may be after the next reply."""

    settled: Sequence[Settled]
    waiting: Sequence[Ask]
