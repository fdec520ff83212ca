"""Whether a call that brought no answer is asked again, and when."""

from __future__ import annotations

import tenacity
from docreduce.desk.lines import LONG_REST_S, Line, Ticket
from docreduce.desk.routing import Call, Routing
from docreduce.values import Cause, Decision, Rejection

__all__ = ["again_s", "counts", "is_mute"]

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
ACCIDENT_BACKOFF_S = 0.5
"""One call's failure among many that are answered says nothing of the service: it is not waited out."""
MUTE_ATTEMPTS = 2
"""An answer of nothing but thoughts is paid for, and comes again as a rule: it is asked for once more."""
OUTAGE_ATTEMPTS = 100
"""Attempts a call may make in all where failures of the whole service do not count as its own."""
LONGEST_WINDOW_S = 65.0
"""A minute's limit is over by then: a rate-limited call is given up only if its attempts span as much."""
_SERVICE = frozenset({Cause.CONNECTION, Cause.OVERLOADED, Cause.SERVER_ERROR, Cause.RATE_LIMITED})
_NO_CAPACITY = frozenset({Cause.OVERLOADED, Cause.RATE_LIMITED})
_ELSEWHERE = frozenset({Cause.CONTENT_FILTER, Cause.CONTEXT_OVERFLOW})
"""Refusals that another model may not make."""
_BACKOFF = tenacity.wait_random_exponential(multiplier=FIRST_BACKOFF_S, max=LONGEST_BACKOFF_S)
"""Full jitter (AWS, "Exponential Backoff And Jitter"), where the service states no wait."""
_RETRYING = tenacity.Retrying()


def counts(reply: object, line: Line, now: float) -> bool:
    """Whether the attempt counts against its call: not where all of the service failed, or is asked another way."""
    if not isinstance(reply, Rejection):
        return True
    if line.route.flex and reply.cause in _NO_CAPACITY:  # the wire asks as standard once patience is over
        return False
    of_the_service = reply.cause in _SERVICE and line.limiter.paused_until(now) is not None
    return not (of_the_service or reply.decision is Decision.AGAIN)


def is_mute(reply: object) -> bool:
    """Whether the attempt was paid for and brought nothing but thoughts, though there was room for an answer."""
    if not isinstance(reply, Rejection) or reply.cause is not Cause.EMPTY or reply.decision is not Decision.RETRY:
        return False
    return bool(reply.chars) and reply.billing != "free"


def again_s(
    ticket: Ticket, reply: Rejection, call: Call, routing: Routing, max_attempts: int, now: float
) -> float | None:
    """Seconds after which the call is to be asked again, at its line or the next; None: it has failed."""
    line, request = routing.of(ticket), ticket.request
    if line.closed or reply.cause in _ELSEWHERE:
        return 0.0 if routing.move(call, request) else None
    if reply.decision not in {Decision.AGAIN, Decision.RETRY} or call.attempts >= OUTAGE_ATTEMPTS:
        return None
    too_long = (reply.retry_after_s or 0.0) > LONG_REST_S and routing.move(call, request)
    # Asked another way, or elsewhere: nothing is to be waited for.
    if reply.decision is Decision.AGAIN or too_long or routing.leaves(line, request, now):
        return 0.0
    return None if _exhausted(ticket, reply, call, max_attempts) else _wait_s(line, reply, call.attempts)


def _exhausted(ticket: Ticket, reply: Rejection, call: Call, max_attempts: int) -> bool:
    """Whether the call has had its attempts; a rate-limited one is asked until they span the longest window."""
    if is_mute(reply) and call.mute >= MUTE_ATTEMPTS:
        return True
    spans_s = ticket.started_at - (call.began or ticket.started_at)
    return call.counted >= max_attempts and (reply.cause is not Cause.RATE_LIMITED or spans_s >= LONGEST_WINDOW_S)


def _wait_s(line: Line, reply: Rejection, attempts: int) -> float:
    if line.route.batch:  # all of a batch come back together, to go out in one again
        return max(reply.retry_after_s or 0.0, min(FIRST_BACKOFF_S * 2.0**attempts, LONGEST_BACKOFF_S))
    if reply.retry_after_s is not None:  # the limits pace those that come back together
        return reply.retry_after_s
    state = tenacity.RetryCallState(_RETRYING, None, (), {})
    state.attempt_number = attempts
    wait = float(_BACKOFF(state))
    accident = reply.cause not in {Cause.RATE_LIMITED, Cause.OVERLOADED} and not line.limiter.troubled
    return min(wait, ACCIDENT_BACKOFF_S) if accident else wait
