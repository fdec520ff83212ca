"""What the ledger holds, and its rows: from values to columns and back."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from operator import attrgetter
from typing import Any

from pipeline.ledger.writer import Row
from pipeline.types import Attempt, Cause, FinishReason, Stage, Usage

__all__ = [
    "BOOKED", "STORED", "Booking", "Carried", "Reservation", "Sample", "Stored",
    "answer_row", "attempt_row", "booking", "sample_row", "stored",
]  # fmt: skip

_CALL = (
    "key", "stage", "chunk", "attempt", "started_at", "latency_s", "outcome", "billing", "cost_pusd",
    "http_status", "finish_reason", "request_id", "error",
)  # fmt: skip
_USAGE = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")
_ANSWER = ("key", "finish_reason", "cost_pusd", "cause", "message", "rejected")
"""Columns that are attributes of Attempt, Usage and Stored under the same names."""
BOOKED = ", ".join(("id", "run_id", "document_id", *_CALL, *_USAGE))
STORED = ", ".join((*_ANSWER, *_USAGE, "text", "crc"))
_ATTEMPT = "attempt (" + ", ".join(("id", "run_id", "document_id", "bound_pusd", *_CALL, *_USAGE)) + ")"
_SAMPLE = "sample (model, text_kind, stage, ours, theirs, output)"
_call, _usage, _answer = attrgetter(*_CALL), attrgetter(*_USAGE), attrgetter(*_ANSWER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An answer, or a failure that would come again (`cause`, `message`). `cost_pusd` is what it once cost."""

    key: str
    text: str
    finish_reason: FinishReason
    usage: Usage
    cost_pusd: int
    cause: Cause | None = None
    message: str = ""
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """An attempt in flight: where it belongs and the most it can cost."""

    attempt_id: int
    run_id: str
    document_id: str
    bound_pusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """An attempt with where it belongs."""

    attempt_id: int
    run_id: str
    document_id: str
    attempt: Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Pico-dollars that earlier runs of a job spent and may have spent."""

    charged_pusd: int
    unknown_pusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a call really took: our count of its input beside the provider's, and the tokens of its output.

    `text_kind` is a short word for the text, such as latin, cjk, code or digits."""

    model: str
    text_kind: str
    stage: Stage
    counted_tokens: int
    input_tokens: int
    output_tokens: int


def attempt_row(at: Reservation, attempt: Attempt, *, reserved: bool = False) -> Row:
    """An attempt's row; `reserved` while it is in flight."""
    *call, request_id, error = _call(attempt)
    if reserved:
        call[_CALL.index("billing")] = "reserved"
    tokens = _usage(attempt.usage) if attempt.usage else (None,) * len(_USAGE)
    place = (at.attempt_id, at.run_id, _utf8(at.document_id), at.bound_pusd)
    return _ATTEMPT, (*place, *call, _utf8(request_id), _utf8(error), *tokens)


def booking(row: Sequence[Any]) -> Booking:
    """A row of the columns BOOKED."""
    attempt_id, run_id, document_id, *rest = row
    call, tokens = rest[: len(_CALL)], rest[len(_CALL) :]
    usage = None if tokens[0] is None else Usage(**dict(zip(_USAGE, tokens, strict=True)))
    attempt = Attempt(usage=usage, **dict(zip(_CALL, call, strict=True)))
    return Booking(attempt_id=attempt_id, run_id=run_id, document_id=document_id, attempt=attempt)


def answer_row(answer: Stored) -> Row:
    """An answer's row. The text is kept as bytes: it may hold lone surrogates, which SQLite's TEXT may not."""
    text = answer.text.encode("utf-8", "surrogatepass")
    key, finish_reason, cost_pusd, cause, message, rejected = _answer(answer)
    head = (key, finish_reason, cost_pusd, cause, _utf8(message), rejected)
    return f"answer ({STORED})", (*head, *_usage(answer.usage), text, zlib.crc32(text))


def stored(row: Sequence[Any]) -> Stored | None:
    """A row of the columns STORED; None if its text is not what was written."""
    key, finish_reason, cost_pusd, cause, message, rejected, *tokens, text, crc = row
    if zlib.crc32(text) != crc:
        return None
    return Stored(
        key=key,
        text=text.decode("utf-8", "surrogatepass"),
        finish_reason=finish_reason,
        usage=Usage(**dict(zip(_USAGE, tokens, strict=True))),
        cost_pusd=cost_pusd,
        cause=Cause(cause) if cause else None,
        message=message,
        rejected=bool(rejected),
    )


def sample_row(sample: Sample) -> Row:
    """A sample's row."""
    return _SAMPLE, astuple(sample)


def _utf8(text: str | None) -> str | None:
    """SQLite's TEXT is UTF-8: a lone surrogate becomes a question mark."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()
