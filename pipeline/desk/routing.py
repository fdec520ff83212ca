"""Which line a call goes to, and where it goes from there.

A call has a place among the lines, from 0; it moves down and never up: a line that refused it is not asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from docreduce.desk.lines import Line, Ticket
from docreduce.values import Cause, Failure, Request

__all__ = ["Call", "Routing"]


@dataclass(slots=True)
class Call:
    """A request on its way, from its first ask to its outcome: its line, its attempts, those that count against it,
    those of them that brought nothing but thoughts, and when the first one was sent (seconds since the epoch)."""

    line: int = 0
    attempts: int = 0
    counted: int = 0
    mute: int = 0
    began: float | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """The lines of a run, in the order in which they are tried."""

    lines: Sequence[Line]

    def of(self, ticket: Ticket) -> Line:
        """The line of a ticket."""
        return next(line for line in self.lines if line.route is ticket.route)

    def choose(self, call: Call, request: Request, now: float) -> Line | None:
        """The line a call goes to: the first from its own on that is open, takes it and does not rest for long."""
        if request.voice:
            return next((line for line in self._named(request) if not line.closed and line.takes(request)), None)
        fit = [
            at
            for at in range(call.line, len(self.lines))
            if not self.lines[at].closed and self.lines[at].takes(request)
        ]
        if not fit:
            return None
        call.line = next((at for at in fit if not self.lines[at].rests(now)), fit[0])
        return self.lines[call.line]

    def move(self, call: Call, request: Request) -> bool:
        """Send the call to the next line that is open and takes it; False where there is none."""
        # What a model refused by batch it refuses live: its other line is no other service.
        here = self.lines[call.line]
        after = (
            ()
            if request.voice
            else [
                at
                for at in range(call.line + 1, len(self.lines))
                if here.closed
                or (self.lines[at].route.endpoint, self.lines[at].route.model)
                != (here.route.endpoint, here.route.model)
            ]
        )
        at = next((at for at in after if not self.lines[at].closed and self.lines[at].takes(request)), None)
        if at is None:
            return False
        call.line, call.counted, call.mute = at, 0, 0
        return True

    def refusal(self, call: Call, request: Request) -> Failure:
        """Why no line takes the request."""
        lines = self._named(request) if request.voice else self.lines[call.line :]
        there = [line for line in lines if not line.closed]
        if not there:
            unknown = Failure(key="", cause=Cause.UNKNOWN_MODEL, message=f"no route to {request.voice}")
            return next((line.closed for line in reversed(lines) if line.closed), unknown)
        smallest = max(line.smallest_overflow for line in there)
        if request.tokens >= smallest:
            message = f"{request.tokens} tokens: the service found {smallest:.0f} too long"
            return Failure(key="", cause=Cause.CONTEXT_OVERFLOW, message=message)
        message = f"a call of {request.tokens} tokens and its answer can never fit the account's token limit"
        return Failure(key="", cause=Cause.TOO_LARGE, message=message)

    def leaves(self, line: Line, request: Request, now: float) -> bool:
        """Whether a call had better go elsewhere: its line is closed, or rests for long while another one is open."""
        if line.closed:
            return True
        if request.voice or not line.rests(now):
            return False
        after = self.lines[self.lines.index(line) + 1 :]
        return any(not each.closed and not each.rests(now) and each.takes(request) for each in after)

    def room(self, now: float) -> int:
        """How many more asks it makes sense to bring now, for the line that has most room."""
        room = (line.limiter.slots(now) - len(line.leases) - len(line.ready) for line in self.lines if not line.closed)
        return max(room, default=0)

    def paused_s(self, now: float) -> float | None:
        """Seconds for which no line sends anything; None where one does."""
        untils = [line.limiter.paused_until(now) for line in self.lines if not line.closed]
        waits = [until - now for until in untils if until is not None]
        return min(waits) if waits and len(waits) == len(untils) else None

    def _named(self, request: Request) -> list[Line]:
        return [line for line in self.lines if line.route.model == request.voice]
