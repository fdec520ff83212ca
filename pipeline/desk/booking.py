"""How a reply is booked: its row among the attempts, what it cost, what the ledger keeps of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from docreduce.desk.ledger import Booked, Kept, Reserved
from docreduce.desk.lines import Ticket
from docreduce.models.calibration import sample
from docreduce.models.prices import cost, unpriced
from docreduce.settings import Retry
from docreduce.values import (
    UNSENT,
    Answer,
    Attempt,
    Billing,
    Cause,
    Completion,
    Decision,
    Failure,
    Outcome,
    Rejection,
    Reply,
    Request,
    Usage,
)

__all__ = ["attempt_of", "booked_of", "is_lasting", "may_pass", "misstated", "outcome_of", "reserved_of", "stated"]

TEMPLATE_TOKENS = 8192
"""Room for what a service puts around a request: a chat template and tool instructions are some hundred tokens."""
MOST_OVERRUN = 2
"""An answer may pass its limit where a server does not keep it; not further than this without the text to show."""
MOST_THOUGHT = 131_072
"""Thoughts stand beside the answer in some services, where its limit says nothing of them: the longest known."""
_REMEMBERED = frozenset({Cause.CONTEXT_OVERFLOW, Cause.CONTENT_FILTER})
"""Failures that are about this very text: kept like answers. What is about how we ask, or about now, is kept only where
nothing is to be asked again, and what is about us never."""
_NOTHING = Usage(input_tokens=0, output_tokens=0)


def misstated(ticket: Ticket, reply: Reply) -> Literal["too little", "too much"] | None:
    """Whether the usage that a service stated cannot be true of the call, and on which side; None where it can.

    Nothing for something is no count; a token takes a byte at least; an answer ends about where it had to."""
    usage = reply.usage
    if usage is None or ticket.route.endpoint == "offline":
        return None
    chars = max(reply.chars, len(reply.text)) if isinstance(reply, Answer) else reply.chars
    shown = usage.output_tokens - usage.reasoning_tokens
    if (
        _is_more(usage.input_tokens, ticket.request)
        or shown > max(MOST_OVERRUN * ticket.route.max_output_tokens, 4 * chars)
        or usage.reasoning_tokens > max(MOST_THOUGHT, 4 * chars)
    ):
        return "too much"
    return "too little" if not usage.input_tokens or (chars and not usage.output_tokens) else None


def _is_more(tokens: int, request: Request) -> bool:
    """Whether `tokens` are more than the request has bytes, with its schema said twice and room for a template."""
    texts = [message.content for message in request.messages] + 2 * [request.schema or ""]
    room = tokens - TEMPLATE_TOKENS
    # A character has a byte at least: bytes are counted only where that is not enough, as this is asked of every reply.
    return room > sum(map(len, texts)) and room > sum(len(text.encode("utf-8", "replace")) for text in texts)


def stated(usage: Usage) -> str:
    """What a service said it used, in words."""
    return f"{usage.input_tokens} tokens in and {usage.output_tokens} out"


def attempt_of(ticket: Ticket, reply: Reply, latency_s: float) -> Attempt:
    """The attempt's row. What nobody states, and what nobody can believe, is unknown at the bound."""
    usage, billing, cost_pusd = _bill(ticket, reply)
    answer = reply if isinstance(reply, Answer) else None
    return Attempt(
        key=ticket.key,
        stage=ticket.request.stage,
        chunk=ticket.request.chunk,
        attempt=ticket.attempt,
        started_at=ticket.started_at,
        latency_s=latency_s,
        outcome="ok" if isinstance(reply, Answer) else reply.cause.value,
        billing=billing,
        cost_pusd=cost_pusd,
        model=ticket.route.model,
        endpoint=ticket.route.endpoint,
        usage=usage,
        http_status=reply.http_status,
        finish_reason=reply.finish or (answer.finish_reason if answer else None),
        service_tier=reply.service_tier,
        batch=reply.batch,
        request_id=reply.request_id,
        error=_error(ticket, reply, billing),
    )


def _error(ticket: Ticket, reply: Reply, billing: Billing) -> str | None:
    """What went wrong; of an answer, what of it the price list does not know."""
    if isinstance(reply, Rejection):
        return reply.message
    if billing != "unknown" or reply.usage is None:
        return None
    if side := misstated(ticket, reply):
        return f"the service stated {stated(reply.usage)}, {side} to be true: booked unknown at the bound"
    parts = unpriced(ticket.route.pricing, reply.usage, service_tier=reply.service_tier, batch=ticket.route.batch)
    return f"no price for {', '.join(parts)}: booked unknown at the bound; state it in [pricing]" if parts else None


def _bill(ticket: Ticket, reply: Reply) -> tuple[Usage | None, Billing, int]:
    """Tokens, billing and pico-dollars of an attempt."""
    usage, bound = None if misstated(ticket, reply) else reply.usage, ticket.bound_pusd
    if usage is not None and (isinstance(reply, Answer) or reply.billing == "charged"):
        exact = cost(ticket.route.pricing, usage, service_tier=reply.service_tier, batch=ticket.route.batch)
        return (usage, "charged", exact) if exact is not None else (usage, "unknown", bound)
    if isinstance(reply, Answer):
        # About four characters a token: only for the count, the money is booked at its bound.
        guess = Usage(input_tokens=ticket.request.tokens, output_tokens=len(reply.text) // 4)
        return guess, "unknown", bound
    if reply.billing == "free":
        return usage, "free", 0
    return usage, "unknown", bound


def may_pass(cause: Cause) -> bool:
    """Whether a failure that was kept is not about the text: another try may end otherwise."""
    return cause not in _REMEMBERED | {Cause.EMPTY}


def is_lasting(reply: Reply, retry: Retry) -> bool:
    """Whether the failure of a call that is over is kept though it may pass: where nothing is to be asked again."""
    return retry == "never" and isinstance(reply, Rejection) and reply.cause not in UNSENT


def booked_of(
    reserved: Reserved, ticket: Ticket, reply: Reply, attempt: Attempt, *, sampled: bool, stands: bool = False
) -> Booked:
    """What the ledger is to hold of `reply`. `stands`: it is a failure that came again when it was asked once more, or
    that nobody is to ask again."""
    cut = isinstance(reply, Answer) and reply.finish_reason == "length"
    sampled = sampled and not (isinstance(reply, Answer) and reply.truncated)  # it teaches nothing
    taught = sample(ticket.request, attempt, ticket.route, cut=cut) if sampled else None
    return Booked(reserved=reserved, attempt=attempt, kept=_kept(ticket, reply, attempt, stands), sample=taught)


def _would_come_again(refused: Rejection) -> bool:
    """Whether the same request would be refused alike; thinking that took all the room there was takes it again."""
    if refused.cause is Cause.EMPTY:
        return refused.decision is Decision.FAIL
    return refused.cause in _REMEMBERED and refused.decision is not Decision.STOP


def _kept(ticket: Ticket, reply: Reply, attempt: Attempt, stands: bool) -> Kept | None:
    """The answer, so that nobody pays for it again, or a refusal that would come again; else None."""
    if isinstance(reply, Rejection) and not (stands or _would_come_again(reply)):
        return None
    return Kept(
        endpoint=ticket.route.endpoint,
        setting=ticket.route.setting,
        key=ticket.key,
        model=ticket.route.model,
        text=reply.text if isinstance(reply, Answer) else "",
        finish_reason=reply.finish_reason if isinstance(reply, Answer) else "error",
        usage=attempt.usage or _NOTHING,
        cost_pusd=attempt.cost_pusd,
        cause=reply.cause if isinstance(reply, Rejection) else None,
        message=reply.message if isinstance(reply, Rejection) else Cause.TRUNCATED_INPUT if reply.truncated else "",
    )


def reserved_of(ticket: Ticket, run_id: str) -> Reserved:
    """The ticket's row among the reservations."""
    return Reserved(
        id=ticket.id,
        run_id=run_id,
        document_id=ticket.document_id,
        key=ticket.key,
        stage=ticket.request.stage,
        chunk=ticket.request.chunk,
        attempt=ticket.attempt,
        started_at=ticket.started_at,
        endpoint=ticket.route.endpoint,
        model=ticket.route.model,
        bound_pusd=ticket.bound_pusd,
    )


def outcome_of(ticket: Ticket, reply: Reply, attempt: Attempt, halted: Failure | None) -> Outcome:
    """What the call came to. Where the run was `halted`, that is why one that would have been asked again failed."""
    if isinstance(reply, Rejection):
        if halted and reply.decision is Decision.RETRY:
            return replace(halted, key=ticket.key)
        return Failure(key=ticket.key, cause=reply.cause, message=reply.message)
    return Completion(
        key=ticket.key,
        text=reply.text,
        finish_reason=reply.finish_reason,
        usage=attempt.usage or _NOTHING,
        cost_pusd=attempt.cost_pusd,
        model=attempt.model,
        endpoint=attempt.endpoint,
        truncated=reply.truncated,
    )
