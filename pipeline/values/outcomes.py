"""What became of a request, and of a document.

The way of one document: Document -> Chunk -> Request -> Reply -> Attempt, Outcome -> Result -> rows.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from docreduce.values.documents import Chunk
from docreduce.values.replies import Billing, Cause, FinishReason, Usage
from docreduce.values.requests import Request, Stage

__all__ = ["Attempt", "ChunkResult", "Completion", "Failure", "Outcome", "Result", "Status", "Steps"]

Status: TypeAlias = Literal["ok", "partial", "failed", "skipped"]


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
    model: str = ""
    endpoint: str = ""
    usage: Usage | None = None
    http_status: int | None = None
    finish_reason: str | None = None  # the service's own word
    service_tier: str | None = None
    batch: str | None = None
    request_id: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer that is stored and paid for. `truncated`: the service read less than it was sent; `reused`: the ledger
    had it, this run paid nothing."""

    key: str
    text: str
    finish_reason: FinishReason
    usage: Usage
    cost_pusd: int = 0  # what it cost when it was paid for
    model: str = ""
    endpoint: str = ""
    truncated: bool = False
    reused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A call that brought no answer, after all its attempts."""

    key: str
    cause: Cause
    message: str


Outcome: TypeAlias = Completion | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResult:
    """What became of one chunk: `output` is the text that the model at the endpoint gave for it."""

    chunk: Chunk
    status: Status
    error: str | None = None
    output: str | None = None
    model: str | None = None
    endpoint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a kind makes of one document. `tables` holds rows by column for each of the kind's own tables; `counts`
    what the run's manifest adds up; `rejected` names answers that led to failure, so that --retry-failed can ask them
    again."""

    status: Status
    error_kind: str | None = None
    error: str | None = None
    summary: str | None = None
    chunks: Sequence[ChunkResult] = ()
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    rejected: Sequence[str] = ()


Steps: TypeAlias = Generator[list[Request], list[Outcome], list[Result]]
"""A job kind at work on a unit of documents (one, or the short rows that share a request): yields requests, receives
their outcomes in the same order, returns one Result a document, in order."""
