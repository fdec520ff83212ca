"""Refusals: the error a body holds, what it means, and what it asks of dispatch.

Four shapes are understood, whichever the dialect: `{"status": "error", "message" | "messege"}` (ModelsLab, also
with HTTP 200), `{"error": {"message", "type", "code"}}` (OpenAI), `{"error": {"code": 502, "metadata"}}`
(OpenRouter, HTTP 200 once generation began) and `{"type": "error", "error": {"type"}}` (Anthropic).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from docreduce.providers.dialect import HttpResponse, listing, mapping
from docreduce.providers.rates import rate_info, retry_after_s
from docreduce.values import Billing, Cause, Decision, Rejection, Request, Usage

__all__ = ["Fault", "bad_body", "clean", "find_fault", "reject", "rejection", "request_id"]

MAX_MESSAGE_CHARS = 500
MAX_SEARCHED_CHARS = 4000


def _causes(words: Mapping[Cause, str]) -> dict[str, Cause]:
    return {word: cause for cause, listed in words.items() for word in listed.split()}


# Values of `error.code` and `error.type` that say more than the HTTP status beside them.
_EXACT = _causes(
    {
        Cause.CONTEXT_OVERFLOW: "context_length_exceeded exceed_context_size_error request_too_large"
        " string_above_max_length",
        Cause.CREDIT: "insufficient_quota billing_hard_limit_reached billing_not_active billing_error"
        " insufficient_credits",
        Cause.AUTHENTICATION: "invalid_api_key authentication_error",
        Cause.PERMISSION: "permission_error",
        Cause.UNKNOWN_MODEL: "model_not_found",
        Cause.CONTENT_FILTER: "content_filter content_policy_violation",
    }
)
# Statuses; and the same fields where they say no more than a status would: for errors inside HTTP 200.
_GENERAL = _causes(
    {
        Cause.AUTHENTICATION: "401",
        Cause.CREDIT: "402",
        Cause.PERMISSION: "403",
        Cause.UNKNOWN_MODEL: "404 not_found_error",
        Cause.TIMEOUT: "408 504 524 timeout_error",  # 524 is Cloudflare's: the origin took too long
        Cause.SERVER_ERROR: "409 api_error server_error",
        Cause.CONTEXT_OVERFLOW: "413",
        Cause.OVERLOADED: "425 503 529 overloaded_error unavailable_error",  # 529 is Anthropic's
        Cause.RATE_LIMITED: "429 rate_limit_exceeded rate_limit_error",
    }
)

# Words, where services put nothing else that tells. Only phrases of the services' own, never single words.
_WORDS = tuple(
    (re.compile(pattern, re.IGNORECASE), cause)
    for pattern, cause in (
        # OpenAI, OpenRouter, vLLM: "This model's maximum context length is …"
        (r"maximum (?:context|model|input) length", Cause.CONTEXT_OVERFLOW),
        # Anthropic: "prompt is too long: 210000 tokens > 200000 maximum"; others: "input is too long"
        (r"(?:prompt|input) is too (?:long|large)", Cause.CONTEXT_OVERFLOW),
        # Anthropic: "input length and `max_tokens` exceed context limit"
        # llama.cpp: "exceeds the available context size"
        (
            r"exceeds? (?:the |this |your )?(?:\w+'s )?(?:model'?s? )?(?:available |maximum )?context",
            Cause.CONTEXT_OVERFLOW,
        ),
        (r"context (?:length|window|size) (?:is |was )?exceed|reduce the length of", Cause.CONTEXT_OVERFLOW),
        # OpenAI, with 429: "Request too large for … on tokens per min": no wait makes it fit
        (r"request too large", Cause.CONTEXT_OVERFLOW),
        # Anthropic, with 400: "Your credit balance is too low", "reached your specified API usage limits"
        (r"credit balance is too low|reached your specified api usage limits", Cause.CREDIT),
        # ModelsLab: "Insufficient credits."; spend limits of several services, with 429
        (r"insufficient (?:credits?|balance|funds)|(?:spend|spending|billing) limit|out of credits", Cause.CREDIT),
        # ModelsLab: "Invalid API key", also with HTTP 200
        (r"(?:invalid|incorrect|expired) (?:api.?key|key provided)", Cause.AUTHENTICATION),
        # OpenRouter, with 400: "x is not a valid model ID"; ModelsLab and DeepSeek in kin words
        (r"not a valid model|(?:unknown|invalid) model\b|model (?:does )?not (?:found|exist)", Cause.UNKNOWN_MODEL),
        # ModelsLab: "Rate limit exceeded. Maximum 5 queued requests allowed."
        (r"rate limit exceeded|too many requests|queued requests allowed", Cause.RATE_LIMITED),
    )
)
_FORM_WORDS = re.compile(
    r"response_?format|json.?schema|json.?(?:object|mode)|structured.?output|output_config"
    r"|tool.?choice|\btools?\b|function.?call",
    re.IGNORECASE,
)
_JINJA = re.compile(r"requires --jinja", re.IGNORECASE)  # llama.cpp without templates, with 500

_DECISIONS = {
    Cause.CONTEXT_OVERFLOW: Decision.SPLIT,
    **dict.fromkeys((Cause.BAD_REQUEST, Cause.CONTENT_FILTER, Cause.UNSUPPORTED), Decision.FAIL),
    **dict.fromkeys((Cause.AUTHENTICATION, Cause.CREDIT, Cause.PERMISSION, Cause.UNKNOWN_MODEL), Decision.STOP),
}
"""What a cause asks of dispatch; any other asks for another try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error as a body states it. `nested`: inside `error`, the shape that comes after generation began."""

    message: str
    code: object = None
    type: object = None
    param: object = None
    metadata: Mapping[str, Any]
    retry_after: object = None
    nested: bool = False
    processing: bool = False


def find_fault(body: Mapping[str, Any]) -> Fault | None:
    """The error in `body`, None if it holds none."""
    error = body.get("error") or next((mapping(c).get("error") for c in listing(body.get("choices"))[:1]), None)
    nested = isinstance(error, dict)
    status = body.get("status")
    status = status.lower() if isinstance(status, str) else ""
    if not (error or status in {"error", "failed", "processing"} or body.get("object") == "error"):
        return None
    stated: Mapping[str, Any] = error if isinstance(error, dict) else body
    metadata = mapping(stated.get("metadata")) if nested else {}
    waits = (body.get("retry_after"), stated.get("retry_after"), metadata.get("retry_after"), body.get("eta"))
    return Fault(
        message=_text(_said(stated) if nested or not error or error is True else error),
        code=stated.get("code"),
        type=stated.get("type"),
        param=stated.get("param"),
        metadata=metadata,
        retry_after=next((wait for wait in waits if wait is not None), None),
        nested=nested,
        processing=status == "processing" and not nested,
    )


def rejection(
    cause: Cause,
    message: str,
    response: HttpResponse,
    billing: Billing = "unknown",
    *,
    decision: Decision | None = None,
    usage: Usage | None = None,
    identity: str | None = None,
    wait: object = None,
) -> Rejection:
    """A rejection with all that `response` says. `decision`: where it is not what the cause asks for; `identity`: the
    answer's id, where no header states the request's; `wait`: what a body states of it."""
    return Rejection(
        cause=cause,
        decision=decision or _DECISIONS.get(cause, Decision.RETRY),
        message=clean(message),
        billing=billing,
        usage=usage,
        http_status=response.status,
        request_id=request_id(response) or identity,
        retry_after_s=retry_after_s(response.headers, wait, response.received_at),
        rate=rate_info(response.headers, response.received_at),
    )


def reject(fault: Fault | None, request: Request, response: HttpResponse, usage: Usage | None = None) -> Rejection:
    """The rejection of an error body, or of a response whose status alone is the error (`fault` None)."""
    if 300 <= response.status < 400:
        words = (
            f"HTTP {response.status}: redirects to {response.headers.get('location', 'nowhere')!r}; they are not "
            "followed, so that the key stays with its host: set model.base_url to the API's own address"
        )
        return rejection(Cause.BAD_REQUEST, words, response, "free", decision=Decision.STOP)
    fault = fault or Fault(message=_plain(response), metadata={})
    cause = _cause(fault, request, response.status)
    # The work was taken on, or (an error inside a 200) had begun: it may be charged.
    begun = cause in (Cause.PROCESSING, Cause.TIMEOUT) or (response.status < 400 and fault.nested)
    billing: Billing = "charged" if usage else "unknown" if begun else "free"
    words = f"HTTP {response.status}: {fault.message or cause}"
    return rejection(cause, words, response, billing, usage=usage, wait=fault.retry_after)


def bad_body(response: HttpResponse, what: str) -> Rejection:
    """The rejection of a success that holds no answer. It may be charged."""
    return rejection(Cause.BAD_BODY, f"HTTP {response.status}: {what}", response)


def request_id(response: HttpResponse) -> str | None:
    """The id the service gave this request, for its support."""
    found = response.headers.get("x-request-id") or response.headers.get("request-id")
    return clean(found)[:200] if found else None


def clean(message: str) -> str:
    """`message` on one line, without control, format and bidirectional characters, at most 500 characters."""
    message = message[:MAX_SEARCHED_CHARS]
    if not message.isprintable():
        message = "".join(char if char.isprintable() else " " for char in message)
    message = " ".join(message.split())
    return message if len(message) <= MAX_MESSAGE_CHARS else message[: MAX_MESSAGE_CHARS - 1] + "…"


def _cause(fault: Fault, request: Request, http_status: int) -> Cause:
    if fault.processing:
        return Cause.PROCESSING
    status = http_status if http_status >= 400 else _status_in(fault.code)
    terms = [term.lower() for term in (fault.code, fault.type) if isinstance(term, str) and not term.isdecimal()]
    said = f"{fault.message} {_text(fault.metadata.get('raw'))}"[:MAX_SEARCHED_CHARS]
    return (
        next((_EXACT[term] for term in terms if term in _EXACT), None)
        # OpenRouter's moderation, with 403: it is about this text, not this account
        or (Cause.CONTENT_FILTER if "flagged_input" in fault.metadata else None)
        or next((cause for pattern, cause in _WORDS if pattern.search(said)), None)
        or (Cause.UNSUPPORTED if _refuses_form(fault, request, status, said) else None)
        or next((_GENERAL[term] for term in (str(status), *terms) if term in _GENERAL), None)
        or (Cause.BAD_REQUEST if status is not None and status < 500 else Cause.SERVER_ERROR)
    )


def _refuses_form(fault: Fault, request: Request, status: int | None, said: str) -> bool:
    if request.structured_output in (None, "prompt"):
        return False
    if status not in (None, 400, 404, 422, 501):
        return bool(_JINJA.search(said))
    return bool(_FORM_WORDS.search(str(fault.param or "")) or _FORM_WORDS.search(said))


def _status_in(code: object) -> int | None:
    """An HTTP status in the body's own `code`: OpenRouter's number, or the same in digits."""
    if isinstance(code, str) and len(code) == 3 and code.isdecimal():
        code = int(code)
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _plain(response: HttpResponse) -> str:
    """Words of an error body in no known shape: FastAPI's `detail`, a bare `message`, plain text, never markup."""
    try:
        body = orjson.loads(response.body)
    except ValueError:
        text = response.body[:MAX_SEARCHED_CHARS].decode("utf-8", "replace").strip()
        return "" if text.startswith("<") else text
    return _text(mapping(body).get("detail") or _said(mapping(body)))


def _said(stated: Mapping[str, Any]) -> object:
    return stated.get("message", stated.get("messege"))


def _text(value: object) -> str:
    """Words in `value`; lists and objects (validation errors) as JSON."""
    return value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()
