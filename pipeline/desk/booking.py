"""How a reply is booked: what it cost, its row among the attempts, what the ledger keeps of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from docreduce.desk.ledger import Stored
from docreduce.models.pricing import Pricing, cost
from docreduce.values import (
    Answer,
    Attempt,
    Billing,
    Cause,
    Completion,
    Decision,
    Failure,
    Outcome,
    Reply,
    Request,
    Usage,
)

__all__ = ["Answered", "Bill", "Forms", "attempt_row", "bill", "completion", "reused_row", "stored"]

_REMEMBERED = frozenset({Cause.CONTEXT_OVERFLOW, Cause.BAD_REQUEST, Cause.CONTENT_FILTER, Cause.UNSUPPORTED})
"""Failures that the same words would meet again: kept in the ledger like answers."""
_NOTHING = Usage(input_tokens=0, output_tokens=0)


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a request, and every attempt it took, in order."""

    outcome: Outcome
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Bill:
    """What an attempt took and cost. Unknown costs stand at their upper bound."""

    usage: Usage | None
    billing: Billing
    cost_pusd: int

    @property
    def charged_pusd(self) -> int:
        return self.cost_pusd if self.billing == "charged" else 0

    @property
    def unknown_pusd(self) -> int:
        return self.cost_pusd if self.billing == "unknown" else 0


def bill(request: Request, reply: Reply, pricing: Pricing, bound_pusd: int) -> Bill:
    """What `reply` cost; what nobody states is unknown, at `bound_pusd`."""
    if reply.usage is not None and (isinstance(reply, Answer) or reply.billing == "charged"):
        return Bill(reply.usage, "charged", cost(pricing, reply.usage))
    if isinstance(reply, Answer):
        # About four characters a token: only for the count, the money is booked at its bound.
        guessed = Usage(input_tokens=request.input_tokens, output_tokens=len(reply.text) // 4)
        return Bill(guessed, "unknown", bound_pusd)
    if reply.billing == "free":
        return Bill(reply.usage, "free", 0)
    return Bill(reply.usage, "unknown", bound_pusd)


def attempt_row(
    request: Request, key: str, reply: Reply, billed: Bill, number: int, started_at: float, latency_s: float
) -> Attempt:
    """The attempt's row."""
    answer = reply if isinstance(reply, Answer) else None
    return Attempt(
        key=key,
        stage=request.stage,
        chunk=request.chunk,
        attempt=number,
        started_at=started_at,
        latency_s=latency_s,
        outcome="ok" if isinstance(reply, Answer) else reply.cause.value,
        billing=billed.billing,
        cost_pusd=billed.cost_pusd,
        usage=billed.usage,
        http_status=reply.http_status,
        finish_reason=answer.finish_reason if answer else None,
        request_id=reply.request_id,
        error=None if isinstance(reply, Answer) else reply.message,
    )


def stored(key: str, reply: Reply, billed: Bill) -> Stored | None:
    """What the ledger keeps of `reply`, so that nobody pays for it again; None where another try may do better."""
    usage = billed.usage or _NOTHING
    if isinstance(reply, Answer):
        return Stored(
            key=key, text=reply.text, finish_reason=reply.finish_reason, usage=usage, cost_pusd=billed.cost_pusd
        )
    if reply.cause not in _REMEMBERED or reply.decision is Decision.STOP:  # what ended the run may be mended
        return None
    return Stored(
        key=key,
        text="",
        finish_reason="error",
        usage=usage,
        cost_pusd=billed.cost_pusd,
        cause=reply.cause,
        message=reply.message,
    )


def completion(key: str, answer: Answer, paid: Attempt) -> Completion:
    """The answer that `paid` brought."""
    return Completion(
        key=key,
        text=answer.text,
        finish_reason=answer.finish_reason,
        usage=paid.usage or _NOTHING,
        cost_pusd=paid.cost_pusd,
    )


class Forms:
    """What is known without a call: what the ledger keeps, and what a refused form of structured output comes to.

    A form whose first request was refused as such is not sent again: its further requests fail alike, here."""

    def __init__(self) -> None:
        self._first: dict[tuple[str | None, str | None], Failure | None] = {}  # refused; None: answered

    def learn(self, request: Request, outcome: Outcome) -> None:
        """Remember the first outcome of the request's form that says whether the service takes it."""
        refused = outcome if isinstance(outcome, Failure) else None
        if refused is None or refused.cause is Cause.UNSUPPORTED:
            self._first.setdefault((request.structured_output, request.schema), refused)

    def reuse(self, kept: Mapping[str, Stored], calls: Iterable[tuple[str, Request]]) -> dict[str, Answered]:
        """What is known of `calls` (key, request), by key; `kept` is what the ledger has of them."""
        known: dict[str, Answered] = {}
        for key, request in calls:
            if key in kept:
                known[key] = _reused(kept[key], request)
                self.learn(request, known[key].outcome)
            elif refused := self._first.get((request.structured_output, request.schema)):
                known[key] = Answered(replace(refused, key=key), ())
        return known


def _reused(kept: Stored, request: Request) -> Answered:
    """What the ledger kept, as the outcome of `request`."""
    if kept.cause is not None:
        return Answered(Failure(key=kept.key, cause=kept.cause, message=kept.message), ())
    again = Completion(
        key=kept.key,
        text=kept.text,
        finish_reason=kept.finish_reason,
        usage=kept.usage,
        cost_pusd=kept.cost_pusd,
        reused=True,
    )
    return Answered(again, (reused_row(again, request),))


def reused_row(again: Completion, request: Request) -> Attempt:
    """The row of an answer that cost nothing this time; the tokens and the money it once took stand in it."""
    return Attempt(
        key=again.key,
        stage=request.stage,
        chunk=request.chunk,
        attempt=0,
        started_at=time.time(),
        latency_s=0.0,
        outcome="ok",
        billing="reused",
        cost_pusd=again.cost_pusd,
        usage=again.usage,
        finish_reason=again.finish_reason,
    )
