"""From a response to an `Answer` or a `Rejection`, the same for every dialect. Pure, and total: any bytes will do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
from docreduce.providers.dialect import FINISH, Dialect, Draft, HttpResponse, mapping
from docreduce.providers.faults import bad_body, clean, find_fault, reject, rejection, request_id
from docreduce.providers.rates import rate_info
from docreduce.values import Answer, Billing, Cause, Rejection, Reply, Request
from docreduce.values.unicode import well_formed

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
        return reject(fault, request, response, dialect.usage(mapping(body.get("usage"))) if body else None)
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
            found = orjson.loads(well_formed(json.dumps(json.loads(body), ensure_ascii=False)))
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def settle(dialect: Dialect, request: Request, response: HttpResponse, draft: Draft) -> Reply:
    """A draft that is complete, as the answer it is: cut, empty, looping and filtered ones by their cause."""
    if not draft.found:
        return bad_body(response, "JSON without an answer")
    usage = dialect.usage(draft.usage)
    text = draft.text
    finish = FINISH.get((draft.finish or "").lower())
    if finish is None:  # a reason nobody knows: the budget tells whether the answer was cut
        finish = "length" if usage and usage.output_tokens >= request.max_output_tokens else "stop"
    identity = request_id(response) or (clean(draft.id)[:200] if draft.id else None)

    def refused(cause: Cause, message: str) -> Rejection:
        billing: Billing = "charged" if usage and cause != Cause.SERVER_ERROR else "unknown"
        return rejection(cause, message, response, billing, usage=usage, identity=identity)

    if draft.refusal or finish == "content_filter":
        return refused(Cause.CONTENT_FILTER, draft.refusal or "the answer was withheld by a filter")
    if finish == "error":
        return refused(Cause.SERVER_ERROR, "generation ended in an error")
    if not text.strip():
        spent = f" after {usage.output_tokens} output tokens" if usage else ""
        return refused(Cause.EMPTY, f"empty content ({draft.finish}){spent}")
    if finish == "length" and loops(request, text):
        return refused(Cause.LOOP, f"the answer repeats itself: …{text[-80:]}")
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
