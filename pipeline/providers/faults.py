"""Refusals: the error a body holds, what it means, and what it asks of dispatch.

Four shapes are understood, whichever the dialect: `{"status": "error", "message" | "messege"}` (ModelsLab, also
with HTTP 200), `{"error": {"message", "type", "code"}}` (OpenAI), `{"error": {"code": 502, "metadata"}}`
(OpenRouter, HTTP 200 once generation began) and `{"type": "error", "error": {"type"}}` (Anthropic).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from pipeline.providers.dialect import HttpResponse, listing, mapping
from pipeline.providers.rates import rate_info, retry_after_s
from pipeline.types import Billing, Cause, Decision, Rejection, Request

__all__ = ["Fault", "bad_body", "clean", "find_fault", "reject", "request_id"]

MAX_MESSAGE_CHARS = 500
MAX_SEARCHED_CHARS = 4000

Verdict: TypeAlias = tuple[Cause, Decision]

_SPLIT: Verdict = (Cause.CONTEXT_OVERFLOW, Decision.SPLIT)
_CREDIT: Verdict = (Cause.CREDIT, Decision.STOP)
_AUTHENTICATION: Verdict = (Cause.AUTHENTICATION, Decision.STOP)
_PERMISSION: Verdict = (Cause.PERMISSION, Decision.STOP)
_UNKNOWN_MODEL: Verdict = (Cause.UNKNOWN_MODEL, Decision.STOP)
_RATE: Verdict = (Cause.RATE_LIMITED, Decision.RETRY)
_OVERLOADED: Verdict = (Cause.OVERLOADED, Decision.RETRY)
_SERVER: Verdict = (Cause.SERVER_ERROR, Decision.RETRY)
_TIMEOUT: Verdict = (Cause.TIMEOUT, Decision.RETRY)
_BAD_REQUEST: Verdict = (Cause.BAD_REQUEST, Decision.FAIL)
_FILTER: Verdict = (Cause.CONTENT_FILTER, Decision.FAIL)
_UNSUPPORTED: Verdict = (Cause.UNSUPPORTED, Decision.FAIL)

# Values of `error.code` and `error.type` that say more than the HTTP status beside them.
_EXACT: dict[str, Verdict] = {
    "context_length_exceeded": _SPLIT,  # OpenAI
    "exceed_context_size_error": _SPLIT,  # llama.cpp
    "request_too_large": _SPLIT,  # Anthropic, with 413
    "string_above_max_length": _SPLIT,  # OpenAI
    "insufficient_quota": _CREDIT,  # OpenAI, with 429
    "billing_hard_limit_reached": _CREDIT,  # OpenAI, with 400
    "billing_not_active": _CREDIT,  # OpenAI, with 429
    "billing_error": _CREDIT,  # Anthropic, with 402
    "insufficient_credits": _CREDIT,
    "invalid_api_key": _AUTHENTICATION,  # OpenAI
    "authentication_error": _AUTHENTICATION,  # Anthropic, llama.cpp
    "permission_error": _PERMISSION,  # Anthropic, llama.cpp
    "model_not_found": _UNKNOWN_MODEL,  # OpenAI
    "content_filter": _FILTER,  # Azure OpenAI, with 400
    "content_policy_violation": _FILTER,  # OpenAI
}

# The same fields where they say no more than a status would: for errors inside HTTP 200.
_GENERAL: dict[str, Verdict] = {
    "rate_limit_exceeded": _RATE,
    "rate_limit_error": _RATE,
    "overloaded_error": _OVERLOADED,
    "unavailable_error": _OVERLOADED,
    "not_found_error": _UNKNOWN_MODEL,
    "api_error": _SERVER,
    "server_error": _SERVER,
    "timeout_error": _TIMEOUT,
}

_STATUS: dict[int, Verdict] = {
    401: _AUTHENTICATION,
    402: _CREDIT,
    403: _PERMISSION,
    404: _UNKNOWN_MODEL,
    408: _TIMEOUT,
    409: _SERVER,
    413: _SPLIT,
    425: _OVERLOADED,
    429: _RATE,
    503: _OVERLOADED,
    504: _TIMEOUT,
    524: _TIMEOUT,  # Cloudflare: the origin took too long
    529: _OVERLOADED,  # Anthropic
}

# Words, where services put nothing else that tells. Only phrases of the services' own, never single words.
_WORDS: tuple[tuple[re.Pattern[str], Verdict], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), verdict)
    for pattern, verdict in (
        # OpenAI, OpenRouter, vLLM: "This model's maximum context length is …"
        (r"maximum (?:context|model|input) length", _SPLIT),
        # Anthropic: "prompt is too long: 210000 tokens > 200000 maximum"; others: "input is too long"
        (r"(?:prompt|input) is too (?:long|large)", _SPLIT),
        # Anthropic: "input length and `max_tokens` exceed context limit"
        # llama.cpp: "exceeds the available context size"
        (r"exceeds? (?:the |this |your )?(?:\w+'s )?(?:model'?s? )?(?:available |maximum )?context", _SPLIT),
        (r"context (?:length|window|size) (?:is |was )?exceed|reduce the length of", _SPLIT),
        # OpenAI, with 429: "Request too large for … on tokens per min": no wait makes it fit
        (r"request too large", _SPLIT),
        # Anthropic, with 400: "Your credit balance is too low", "reached your specified API usage limits"
        (r"credit balance is too low|reached your specified api usage limits", _CREDIT),
        # ModelsLab: "Insufficient credits."; spend limits of several services, with 429
        (r"insufficient (?:credits?|balance|funds)|(?:spend|spending|billing) limit|out of credits", _CREDIT),
        # ModelsLab: "Invalid API key", also with HTTP 200
        (r"(?:invalid|incorrect|expired) (?:api.?key|key provided)", _AUTHENTICATION),
        # OpenRouter, with 400: "x is not a valid model ID"; ModelsLab and DeepSeek in kin words
        (r"not a valid model|(?:unknown|invalid) model\b|model (?:does )?not (?:found|exist)", _UNKNOWN_MODEL),
        # ModelsLab: "Rate limit exceeded. Maximum 5 queued requests allowed."
        (r"rate limit exceeded|too many requests|queued requests allowed", _RATE),
    )
)
_FORM_WORDS = re.compile(
    r"response_?format|json.?schema|json.?(?:object|mode)|structured.?output|output_config"
    r"|tool.?choice|\btools?\b|function.?call",
    re.IGNORECASE,
)
_JINJA = re.compile(r"requires --jinja", re.IGNORECASE)  # llama.cpp without templates, with 500


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
    if isinstance(error, dict):
        metadata = mapping(error.get("metadata"))
        return Fault(
            message=_text(error.get("message")),
            code=error.get("code"),
            type=error.get("type"),
            param=error.get("param"),
            metadata=metadata,
            retry_after=body.get("retry_after", error.get("retry_after", metadata.get("retry_after"))),
            nested=True,
        )
    status = str(body.get("status", "")).lower() if isinstance(body.get("status"), str) else ""
    if error or status in {"error", "failed", "processing"} or body.get("object") == "error":
        words = error if error and error is not True else body.get("message", body.get("messege"))
        return Fault(
            message=_text(words),
            code=body.get("code"),
            type=body.get("type"),
            metadata={},
            retry_after=body.get("retry_after", body.get("eta")),
            processing=status == "processing",
        )
    return None


def reject(fault: Fault | None, request: Request, response: HttpResponse) -> Rejection:
    """The rejection of an error body, or of a response whose status alone is the error (`fault` None)."""
    now = response.received_at
    if 300 <= response.status < 400:
        return _redirected(response)
    if fault is None:
        fault = Fault(message=_plain(response), metadata={})
    cause, decision = _verdict(fault, request, response.status)
    billing: Billing = "free"
    if cause in (Cause.PROCESSING, Cause.TIMEOUT) or (response.status < 400 and fault.nested):
        # The work was taken on, or (an error inside a 200) had begun: it may be charged.
        billing = "unknown"
    return Rejection(
        cause=cause,
        decision=decision,
        message=clean(f"HTTP {response.status}: {fault.message or cause}"),
        billing=billing,
        http_status=response.status,
        request_id=request_id(response),
        retry_after_s=retry_after_s(response.headers, fault.retry_after, now),
        rate=rate_info(response.headers, now),
    )


def bad_body(response: HttpResponse, what: str) -> Rejection:
    """The rejection of a success that holds no answer. It may be charged."""
    return Rejection(
        cause=Cause.BAD_BODY,
        decision=Decision.RETRY,
        message=clean(f"HTTP {response.status}: {what}"),
        billing="unknown",
        http_status=response.status,
        request_id=request_id(response),
        retry_after_s=retry_after_s(response.headers, None, response.received_at),
        rate=rate_info(response.headers, response.received_at),
    )


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


def _verdict(fault: Fault, request: Request, http_status: int) -> Verdict:
    if fault.processing:
        return Cause.PROCESSING, Decision.RETRY
    status = http_status if http_status >= 400 else _status_in(fault.code)
    terms = [term.lower() for term in (fault.code, fault.type) if isinstance(term, str)]
    said = f"{fault.message} {_text(fault.metadata.get('raw'))}"[:MAX_SEARCHED_CHARS]
    return (
        next((_EXACT[term] for term in terms if term in _EXACT), None)
        # OpenRouter's moderation, with 403: it is about this text, not this account
        or (_FILTER if "flagged_input" in fault.metadata else None)
        or next((verdict for pattern, verdict in _WORDS if pattern.search(said)), None)
        or (_UNSUPPORTED if _refuses_form(fault, request, status, said) else None)
        or _STATUS.get(status or 0)
        or next((_GENERAL[term] for term in terms if term in _GENERAL), None)
        or (_BAD_REQUEST if status is not None and status < 500 else _SERVER)
    )


def _refuses_form(fault: Fault, request: Request, status: int | None, said: str) -> bool:
    if request.structured_output in (None, "prompt"):
        return False
    if status not in (None, 400, 404, 422, 501):
        return bool(_JINJA.search(said))
    return bool(_FORM_WORDS.search(str(fault.param or "")) or _FORM_WORDS.search(said))


def _redirected(response: HttpResponse) -> Rejection:
    return Rejection(
        cause=Cause.BAD_REQUEST,
        decision=Decision.STOP,
        message=clean(
            f"HTTP {response.status}: redirects to {response.headers.get('location', 'nowhere')!r}; redirects are not "
            "followed, so that the key stays with its host: set model.base_url to the API's own address"
        ),
        http_status=response.status,
        request_id=request_id(response),
    )


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
    found = mapping(body)
    return _text(found.get("detail") or found.get("message") or found.get("messege"))


def _text(value: object) -> str:
    """Words in `value`; lists and objects (validation errors) as JSON."""
    return value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()
