"""What travels between the rooms: frozen values, no behaviour beyond their own identity.

The way of one document:
Document -> Chunk -> Request -> Completion | Failure -> Result -> rows.
Offsets are Unicode code points, half-open. Money is whole pico-dollars (1 USD = 10**12), so that a
price of $0.07 per million tokens is the integer 70,000 a token and sums are exact.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias

import orjson

__all__ = [
    "Answer",
    "Attempt",
    "Billing",
    "Cause",
    "Chunk",
    "ChunkResult",
    "Completion",
    "Decision",
    "Document",
    "Evidence",
    "Failure",
    "FinishReason",
    "Mark",
    "Message",
    "Outcome",
    "Provider",
    "ProviderName",
    "RateInfo",
    "Rejection",
    "Reply",
    "Request",
    "Result",
    "Span",
    "Stage",
    "Status",
    "Steps",
    "TokenizerName",
    "Usage",
]

ProviderName: TypeAlias = Literal["offline", "modelslab", "openai", "anthropic"]
TokenizerName: TypeAlias = Literal["o200k_base", "cl100k_base"]
Status: TypeAlias = Literal["ok", "partial", "failed", "skipped"]
Stage: TypeAlias = Literal["map", "reduce", "repair", "resolve"]
Billing: TypeAlias = Literal["charged", "free", "unknown", "reused"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error"]
"""The OpenAI terms; Anthropic's stop reasons are translated to them by their provider."""


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
    # the chunk must get smaller
    CONTEXT_OVERFLOW = "context_overflow"
    CUT = "cut"
    # this request cannot succeed
    BAD_REQUEST = "bad_request"
    CONTENT_FILTER = "content_filter"
    INVALID_OUTPUT = "invalid_output"
    UNSUPPORTED = "unsupported"  # the provider refuses this form of structured output
    # no request can succeed
    AUTHENTICATION = "authentication"
    CREDIT = "credit"
    PERMISSION = "permission"
    UNKNOWN_MODEL = "unknown_model"
    # we did not send it
    BUDGET = "budget"
    STOPPED = "stopped"
    TOO_LARGE = "too_large"  # larger than the token limit of a whole minute


class Decision(StrEnum):
    """What a provider's rejection asks of dispatch."""

    RETRY = "retry"
    SPLIT = "split"
    FAIL = "fail"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Span:
    """Code points `start` up to, not including, `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Mark:
    """A page or a heading that begins at code point `start`. `level`: 1–6 for headings, 0 for pages.

    A page's `label` is its number, from "1"; a heading's is its text."""

    kind: Literal["page", "heading"]
    start: int
    label: str
    level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text to work on. `id` is a hash of what the document is, never of where it stands.

    `row` is the 0-based row in its table, None for a file; `columns` are the kept columns of that row."""

    id: str
    uri: str
    text: str
    media_type: str
    row: int | None = None
    marks: tuple[Mark, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A span of a document that fits the budget. `tokens` is exact in the job's tokenizer.

    Pages are 1-based numbers; `heading` is the last heading at or before the start."""

    index: int
    span: Span
    tokens: int
    heading: str | None = None
    page_start: int | None = None
    page_end: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to a model. The source text stands verbatim and alone in the last user message.

    Fields below `stage` say where the request belongs and how large it is; they are no part of its
    identity, so equal requests are paid once."""

    provider: str
    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int
    temperature: float
    top_p: float
    schema: str | None = None  # JSON Schema of the answer as canonical JSON text
    structured_output: Literal["tools", "json_schema", "json_object", "prompt"] | None = None
    max_words: int | None = None  # the length asked for in the prompt, for the offline provider
    salt: str = ""  # set to ask the very same question again

    stage: Stage = field(default="map", compare=False)
    chunk: int | None = field(default=None, compare=False)
    input_tokens: int = field(default=0, compare=False)  # our count of all messages, frame included
    documents: tuple[int, ...] = field(default=(0,), compare=False)  # which of its unit's documents it serves

    @property
    def key(self) -> str:
        """SHA-256 (hex) of the request's canonical JSON: the idempotency key of everything."""
        identity = [
            self.provider,
            self.model,
            [[m.role, m.content] for m in self.messages],
            self.max_output_tokens,
            self.temperature,
            self.top_p,
            self.schema,
            self.structured_output,
            self.max_words,
            self.salt,
        ]
        try:
            canonical = orjson.dumps(identity)
        except TypeError:  # a lone surrogate: orjson writes strict UTF-8 only
            canonical = json.dumps(identity, separators=(",", ":")).encode()
        return hashlib.sha256(canonical).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counts them. Cached is part of input, reasoning is part of output."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
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
    """A provider's answer to one attempt. `usage` is None where the provider sent none."""

    text: str
    finish_reason: FinishReason
    usage: Usage | None
    http_status: int | None = None
    request_id: str | None = None
    rate: RateInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A provider's refusal, or the lack of an answer, and what it asks of dispatch.

    `billing` is unknown where the provider may have charged for it (a time-out after sending, an
    answer that broke off), free where it cannot have. `usage` where the provider stated it."""

    cause: Cause
    decision: Decision
    message: str
    billing: Billing = "free"
    usage: Usage | None = None
    http_status: int | None = None
    request_id: str | None = None
    retry_after_s: float | None = None
    rate: RateInfo | None = None


Reply: TypeAlias = Answer | Rejection


class Provider(Protocol):
    """A service that answers requests. `send` makes one attempt, never raises for what the service or
    the network does, and gives up after `timeout_s` seconds with a TIMEOUT rejection."""

    name: str

    async def send(self, request: Request, *, timeout_s: float) -> Reply: ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A row of calls.parquet: one attempt at a call, or an answer reused from the ledger."""

    key: str
    stage: Stage
    chunk: int | None
    attempt: int  # from 1; 0 for a reused answer
    started_at: float  # seconds since the epoch, UTC
    latency_s: float
    outcome: str  # "ok" or a Cause
    billing: Billing
    cost_pusd: int  # of a reused answer: what it once cost
    usage: Usage | None = None
    http_status: int | None = None
    finish_reason: str | None = None
    request_id: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer that is stored and paid for. `reused`: the ledger had it, this run paid nothing."""

    key: str
    text: str
    finish_reason: FinishReason
    usage: Usage
    cost_pusd: int = 0  # what it cost when it was paid for
    reused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A call that brought no answer, after all its attempts."""

    key: str
    cause: Cause
    message: str


Outcome: TypeAlias = Completion | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The words a field's value came from. `span` is into the document; None where none were found."""

    item: int
    field: str
    value: str  # the value as JSON
    quote: str | None
    span: Span | None
    alignment: Literal["exact", "normalized", "fuzzy", "none"]
    chunk: int
    page: int | None = None
    support: int = 1
    conflict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResult:
    """What became of one chunk: `output` is the text the model gave for it."""

    chunk: Chunk
    status: Status
    error: str | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a kind makes of one document. `rejected` names answers that led to failure, so that
    --retry-failed can ask them again."""

    status: Status
    error_kind: str | None = None
    error: str | None = None
    summary: str | None = None
    chunks: Sequence[ChunkResult] = ()
    records: Sequence[Mapping[str, Any]] = ()
    evidence: Sequence[Evidence] = ()
    rejected: Sequence[str] = ()


Steps: TypeAlias = Generator[list[Request], list[Outcome], list[Result]]
"""A job kind at work on a unit of documents (one, or the short rows that share a request): yields
requests, receives their outcomes in the same order, returns one Result a document, in order."""
