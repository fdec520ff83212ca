"""What one attempt brought: an answer, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

__all__ = [
    "STOPPING",
    "UNSENT",
    "Answer",
    "Billing",
    "Cause",
    "Decision",
    "FinishReason",
    "RateInfo",
    "Rejection",
    "Reply",
    "Usage",
]

Billing: TypeAlias = Literal["charged", "free", "unknown", "reused"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error"]
"""The OpenAI terms; other services' words are translated to them by the wire."""


class Cause(StrEnum):
    """Why a call, a chunk or a document failed: the values of every `error` column."""

    # worth another try
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    BAD_BODY = "bad_body"  # an answer that is no answer: truncated JSON, wrong content type
    PROCESSING = "processing"  # "come back later" where an answer was due
    EMPTY = "empty"
    LOOP = "loop"
    UNSUPPORTED = "unsupported"  # the service refuses a parameter or a form, and is to be asked another way
    # the chunk must get smaller
    CONTEXT_OVERFLOW = "context_overflow"
    CUT = "cut"
    # this request cannot succeed
    BAD_REQUEST = "bad_request"
    CONTENT_FILTER = "content_filter"
    INVALID_OUTPUT = "invalid_output"
    TRUNCATED_INPUT = "truncated_input"  # the service read less than it was sent
    # no request can succeed
    AUTHENTICATION = "authentication"
    CREDIT = "credit"
    PERMISSION = "permission"
    UNKNOWN_MODEL = "unknown_model"
    QUOTA = "quota"  # used up, with its reset far away
    UNREACHABLE = "unreachable"  # nothing but failure for too long
    # we did not send it
    BUDGET = "budget"
    DEADLINE = "deadline"
    STOPPED = "stopped"
    WAITING = "waiting"  # it is out in a provider's batch: a later run fetches the answer
    TOO_LARGE = "too_large"  # larger than the token limit of a whole minute


STOPPING = frozenset({Cause.AUTHENTICATION, Cause.CREDIT, Cause.PERMISSION, Cause.UNKNOWN_MODEL, Cause.QUOTA})
"""Refusals for good: they close a route."""
UNSENT = STOPPING | {Cause.BUDGET, Cause.DEADLINE, Cause.STOPPED, Cause.UNREACHABLE, Cause.WAITING}
"""Causes that say nothing about the document: its run ended before it was done, and the next one goes on."""


class Decision(StrEnum):
    """What a rejection asks of the desk."""

    RETRY = "retry"
    AGAIN = "again"  # at once, and it counts as no attempt: the wire will ask another way
    SPLIT = "split"
    FAIL = "fail"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the service counts them. Cached and cache writes are parts of input, reasoning is part of output;
    writes that live for an hour are part of the writes."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateInfo:
    """What rate-limit headers said; None where they said nothing. Limits are per minute, resets in s."""

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A service's whole answer to one attempt, or one cut by its limit (`length`). `usage` is None where the service
    sent none; `finish` is its own word for why it ended, `service_tier` what served it, `batch` the provider's batch
    it came in; `truncated`: by its own count of the input it read far less than it was sent; `chars`: characters that
    came, thoughts included."""

    text: str
    finish_reason: FinishReason
    usage: Usage | None
    finish: str | None = None
    service_tier: str | None = None
    batch: str | None = None
    http_status: int | None = None
    request_id: str | None = None
    rate: RateInfo | None = None
    truncated: bool = False
    chars: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A service's refusal, or the lack of an answer, and what it asks of the desk.

    `billing` is unknown where the service may have charged for it (a time-out after sending, an answer that broke
    off), free where it cannot have. `usage` where the service stated it, as it did; `chars`: characters of an answer
    that came all the same, thoughts included."""

    cause: Cause
    decision: Decision
    message: str
    billing: Billing = "free"
    usage: Usage | None = None
    finish: str | None = None
    service_tier: str | None = None
    batch: str | None = None
    http_status: int | None = None
    request_id: str | None = None
    retry_after_s: float | None = None
    rate: RateInfo | None = None
    chars: int = 0


Reply: TypeAlias = Answer | Rejection
