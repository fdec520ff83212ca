"""What a refusal means, and what it asks of the desk. Pure.

A refusal is about one of four things:
- *this text*: too long (split), filtered (fail); only these are true of the same request tomorrow;
- *how we ask*: a form, parameter or role: the route's manner takes a step and the call is asked again;
- *us*: key, credit, permission, model, a quota that stays used up: stop, whatever the status;
- *now*: load, limits, accidents of generation, somebody's page in between: try again.

Status, code and type decide. Words are looked at only where those say nothing, and only words of the service: what
also stands in the request may be an echo of the document.
"""

from __future__ import annotations

from datetime import UTC, datetime

from docreduce.providers.dialect import Call, HttpResponse
from docreduce.providers.faults import MOST_SEARCHED_CHARS, Fault, clean, request_id, stated_fault
from docreduce.providers.waits import exhausted_s, rate_info, retry_after_s
from docreduce.providers.wording import Said, by_status, by_terms
from docreduce.values import Billing, Cause, Decision, Rejection, Usage

__all__ = ["bad_body", "ignored_form", "reject", "rejection"]

_DECISIONS = {
    Cause.CONTEXT_OVERFLOW: Decision.SPLIT,
    **dict.fromkeys((Cause.BAD_REQUEST, Cause.CONTENT_FILTER, Cause.UNSUPPORTED, Cause.LOOP), Decision.FAIL),
    **dict.fromkeys(
        (Cause.AUTHENTICATION, Cause.CREDIT, Cause.PERMISSION, Cause.UNKNOWN_MODEL, Cause.QUOTA), Decision.STOP
    ),
}
"""What a cause asks of the desk; any other asks for another try."""

_NOBODY = "a page or nothing at all, where the API would have said why"
_ABOUT_US = frozenset({Cause.AUTHENTICATION, Cause.CREDIT, Cause.PERMISSION, Cause.UNKNOWN_MODEL})
_ABOUT_RATES = frozenset({Cause.CREDIT, Cause.QUOTA})
_ABOUT_ALL = frozenset({Cause.CONTENT_FILTER, Cause.QUOTA, Cause.RATE_LIMITED})
_VAGUE = frozenset({400, 403, 409, 422})
"""Statuses that services put on refusals of every kind."""
_OWN_FAILURES = frozenset({500, 501, 502})
"""Statuses with which small servers (llama.cpp, Ollama, LM Studio) also say that a text or a form is too much."""
_MANNER_STATUSES = frozenset({None, 400, 403, 404, 422})
_NOT_THERE = frozenset({404, 405, 410})
"""Statuses of an address at which there is no such endpoint, or no such model (any more)."""
_LENGTH_STATUSES = frozenset({None, 400, 422})
_WAITING = frozenset({Cause.RATE_LIMITED, Cause.QUOTA, Cause.OVERLOADED, Cause.SERVER_ERROR})


def reject(fault: Fault | None, call: Call, response: HttpResponse, usage: Usage | None = None) -> Rejection:
    """The rejection of an error body, or of a response whose status alone is the error (`fault` None)."""
    if 300 <= response.status < 400:
        words = (
            f"HTTP {response.status}: redirects to {response.headers.get('location', 'nowhere')!r}; they are not "
            "followed, so that the key stays with its host: set model.base_url to the API's own address"
        )
        return rejection(Cause.BAD_REQUEST, words, response, "free", decision=Decision.STOP)
    fault = fault or stated_fault(response, call.asked)
    said = Said(f"{fault.message[:MOST_SEARCHED_CHARS]} {fault.param}", call)
    status = response.status if response.status >= 400 else fault.code
    decision = None
    cause = _cause(fault, said, status)
    if cause is None and status in _MANNER_STATUSES and (refused := said.manner(fault)):
        cause, decision = Cause.UNSUPPORTED, _again(call, *refused)
    elif cause is Cause.UNSUPPORTED:
        decision = _again(call, said.breaks() or "form")
    cause = cause or _by_words(said, status) or by_status(status, fault.terms)
    if cause is None and status in _MANNER_STATUSES:
        cause = said.cause({Cause.SERVER_ERROR})
    ours = status is not None and status < 500 and not fault.page
    cause = cause or (Cause.BAD_REQUEST if ours else Cause.SERVER_ERROR)
    # The work was taken on, or (an error inside a 200) had begun: it may be charged. For nobody it was not.
    begun = cause in (Cause.PROCESSING, Cause.TIMEOUT, Cause.BAD_BODY) or (
        response.status < 400 and fault.nested and cause not in _ABOUT_US
    )
    billing: Billing = "charged" if usage and usage.input_tokens else "unknown" if begun else "free"
    # Before anything is cut to length: of a key cut in two little is found any more.
    nobody = f"{_NOBODY} ({call.redact(fault.title)!r})" if fault.title else _NOBODY
    words = f"HTTP {response.status}: {call.redact(fault.message) or (nobody if fault.page else cause)}"
    if response.status in _NOT_THERE and cause is Cause.UNKNOWN_MODEL:
        words += "; is model.base_url the root of the API, and model.name one of its models?"
    # Where nothing is to be waited for, times in the words are the document's.
    about = (fault.body, fault.message) if cause in _WAITING or cause is Cause.PROCESSING else ({}, "")
    wait_s = retry_after_s(response.headers, *about, response.received_at)
    if wait_s is None and cause in (Cause.RATE_LIMITED, Cause.QUOTA):
        wait_s = exhausted_s(response.headers, response.received_at)
    if cause in _WAITING and decision is None:
        cause, decision, words = _patience(cause, wait_s, by_terms(fault.terms) is Cause.QUOTA, call, response, words)
    return rejection(cause, words, response, billing, decision=decision, usage=usage, wait_s=wait_s)


def rejection(
    cause: Cause,
    message: str,
    response: HttpResponse,
    billing: Billing = "unknown",
    *,
    decision: Decision | None = None,
    usage: Usage | None = None,
    wait_s: float | None = None,
) -> Rejection:
    """A rejection with all that `response` says. `decision`: where it is not what the cause asks for."""
    return Rejection(
        cause=cause,
        decision=decision or _DECISIONS.get(cause, Decision.RETRY),
        message=clean(message),
        billing=billing,
        usage=usage,
        http_status=response.status,
        request_id=request_id(response),
        retry_after_s=wait_s,
        rate=rate_info(response.headers, response.received_at),
    )


def bad_body(response: HttpResponse, what: str) -> Rejection:
    """The rejection of a success that holds no answer. It may be charged."""
    return rejection(Cause.BAD_BODY, f"HTTP {response.status}: {what}", response)


def ignored_form(call: Call, response: HttpResponse, usage: Usage | None) -> Rejection:
    """The rejection of an answer in another form than was asked for: the service passes over it in silence."""
    words = f"HTTP {response.status}: the service ignores {call.sent.form}: its answer is none by the schema"
    billing: Billing = "charged" if usage else "unknown"
    decision = _again(call, "form")
    return rejection(Cause.UNSUPPORTED, words, response, billing, decision=decision, usage=usage)


def _again(call: Call, what: str, most: int | None = None) -> Decision:
    return Decision.AGAIN if call.asking.refused(what, call.manner, most) else Decision.FAIL


def _cause(fault: Fault, said: Said, status: int | None) -> Cause | None:
    """What fields, the status, or words that stand before it, say; None where it may be about the manner."""
    if exact := _by_fields(fault, status):
        return exact
    if status == 429:
        return Cause.CONTEXT_OVERFLOW if said.is_too_large_a_call() else None
    if status is None or status in _VAGUE or status in _NOT_THERE:
        if said.overflows():
            return Cause.CONTEXT_OVERFLOW
        return said.cause(_ABOUT_US | {Cause.BAD_BODY}) or (Cause.UNKNOWN_MODEL if fault.param == "model" else None)
    found = None
    if status in _OWN_FAILURES:
        broken = Cause.UNSUPPORTED if said.breaks() else said.cause(_ABOUT_US)
        found = Cause.CONTEXT_OVERFLOW if said.overflows() else broken
    return found or by_status(status, fault.terms)


def _by_fields(fault: Fault, status: int | None) -> Cause | None:
    # OpenRouter's moderation, with 403: it is about this text, not this account
    if "flagged_input" in fault.metadata:
        return Cause.CONTENT_FILTER
    if not (fault.message or fault.terms or fault.param) and status in _VAGUE:  # somebody's page in between, or nothing
        return Cause.SERVER_ERROR
    return Cause.PROCESSING if fault.processing else by_terms(fault.terms)


def _by_words(said: Said, status: int | None) -> Cause | None:
    if status == 429:
        return said.cause(_ABOUT_RATES)
    if status in _LENGTH_STATUSES and said.counts_too_many():
        return Cause.CONTEXT_OVERFLOW
    if status == 403 and (found := said.cause(_ABOUT_ALL | {Cause.SERVER_ERROR})):  # "temporarily overloaded"
        return found
    return said.cause(_ABOUT_ALL) if status in _MANNER_STATUSES - {404} else None


def _patience(
    cause: Cause, wait_s: float | None, a_day: bool, call: Call, response: HttpResponse, words: str
) -> tuple[Cause, Decision, str]:
    """A wait within what the job gives is kept; a longer one, or a day that is used up, ends the route in order."""
    within = wait_s is not None and wait_s <= call.route.limits.give_up_s
    if cause is Cause.QUOTA and within and not a_day:
        return Cause.RATE_LIMITED, Decision.RETRY, words
    if cause is not Cause.QUOTA and (within or wait_s is None):
        return cause, Decision.RETRY, words
    if wait_s is None or within:
        when = "when it can go on is not said"
    else:
        moment = datetime.fromtimestamp(min(response.received_at + wait_s, _LAST_MOMENT_S), UTC)
        when = f"it can go on at {moment:%Y-%m-%d %H:%M} UTC, in {wait_s / 3600:.1f} h"
    stopped = Cause.QUOTA if cause in (Cause.RATE_LIMITED, Cause.QUOTA) else cause
    return stopped, Decision.STOP, f"{when}: {words}"


_LAST_MOMENT_S = 4e9  # of 2096; no calendar ends before it
