"""From a response to an `Answer` or a `Rejection`, the same for every dialect. Pure, and total: any bytes will do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from pipeline.providers.dialect import Dialect, Draft, HttpResponse, mapping
from pipeline.providers.faults import bad_body, clean, find_fault, reject, request_id
from pipeline.providers.rates import rate_info
from pipeline.types import Answer, Billing, Cause, Decision, FinishReason, Rejection, Reply, Request, Usage

__all__ = ["decode", "looping", "loops", "parse", "settle"]

_PROBE_CHARS = 24
_MIN_REPEATS = 6
_MIN_LOOP_CHARS = 300
_MIN_JSON_LOOP_CHARS = 2000  # rows that are truly equal occur in tables
_MAX_CANDIDATES = 32


def decode(dialect: Dialect, request: Request, response: HttpResponse) -> Reply:
    """The answer in `response`, or why there is none. Never raises."""
    body = parse(response.body)
    fault = find_fault(body) if body else None
    if fault or not 200 <= response.status < 300:
        rejection = reject(fault, request, response)
        stated = dialect.usage(mapping(body.get("usage"))) if body else None
        return replace(rejection, usage=stated, billing="charged") if stated else rejection
    if body is None:
        kind = response.headers.get("content-type", "no content type")
        return bad_body(response, f"no JSON object ({kind}, {len(response.body)} bytes)")
    draft = Draft()
    dialect.read(body, draft)
    return settle(dialect, request, response, draft)


def parse(body: bytes) -> Mapping[str, Any] | None:
    """The JSON object in `body`, None if there is none. A lone surrogate escape, which orjson refuses, is U+FFFD."""
    try:
        found = orjson.loads(body)
    except ValueError:
        if b"\\ud" not in body and b"\\uD" not in body:
            return None
        try:
            text = json.dumps(json.loads(body), ensure_ascii=False)
            found = orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def settle(dialect: Dialect, request: Request, response: HttpResponse, draft: Draft) -> Reply:
    """A draft that is complete, as the answer it is: cut, empty, looping and filtered ones by their cause."""
    if not draft.found:
        return bad_body(response, "JSON without an answer")
    usage = dialect.usage(draft.usage)
    text = draft.text
    finish = _finish(dialect, request, draft, usage)
    identity = request_id(response) or (clean(draft.id)[:200] if draft.id else None)

    def refused(cause: Cause, decision: Decision, message: str, billing: Billing = "charged") -> Rejection:
        return Rejection(
            cause=cause,
            decision=decision,
            message=clean(message),
            billing=billing if usage else "unknown",
            usage=usage,
            http_status=response.status,
            request_id=identity,
            rate=rate_info(response.headers, response.received_at),
        )

    if draft.refusal or finish == "content_filter":
        return refused(Cause.CONTENT_FILTER, Decision.FAIL, draft.refusal or "the answer was withheld by a filter")
    if finish == "error":
        return refused(Cause.SERVER_ERROR, Decision.RETRY, "generation ended in an error", "unknown")
    if not text.strip():
        spent = f" after {usage.output_tokens} output tokens" if usage else ""
        return refused(Cause.EMPTY, Decision.RETRY, f"empty content ({draft.finish}){spent}")
    if finish == "length" and loops(request, text):
        return refused(Cause.LOOP, Decision.RETRY, f"the answer repeats itself: …{text[-80:]}")
    return Answer(
        text=text,
        finish_reason=finish,
        usage=usage,
        http_status=response.status,
        request_id=identity,
        rate=rate_info(response.headers, response.received_at),
    )


def loops(request: Request, text: str) -> bool:
    """`looping`, with more patience for JSON, where equal rows may be true."""
    structured = request.structured_output not in (None, "prompt")
    return looping(text, min_chars=_MIN_JSON_LOOP_CHARS if structured else _MIN_LOOP_CHARS)


def looping(text: str, *, min_chars: int = _MIN_LOOP_CHARS) -> bool:
    """Whether the end of `text` is one passage at least six times over, in `min_chars` characters or more.

    The passage may be cut at the very end. Its length is found by where the last words stood before."""
    probe = text[-_PROBE_CHARS:]
    if len(text) < min_chars:
        return False
    at = len(text) - len(probe)
    for _ in range(_MAX_CANDIDATES):
        at = text.rfind(probe, 0, at + len(probe) - 1)
        period = len(text) - len(probe) - at
        if at < 0 or period * _MIN_REPEATS > len(text):
            return False
        size = max(period * _MIN_REPEATS, min_chars)
        if text[-size:-period] == text[-size + period :]:
            return True
    return False


def _finish(dialect: Dialect, request: Request, draft: Draft, usage: Usage | None) -> FinishReason:
    known = dialect.finish.get((draft.finish or "").lower())
    if known:
        return known
    # A reason nobody knows: the budget tells whether the answer was cut.
    return "length" if usage and usage.output_tokens >= request.max_output_tokens else "stop"
