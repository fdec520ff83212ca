"""The ledger's rows: from values to columns and back."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from operator import attrgetter
from typing import Any, TypeAlias

from docreduce.models.calibration import Sample
from docreduce.values import Attempt, Cause, Completion, Failure, FinishReason, Outcome, Stage, Usage

__all__ = ["ANSWER", "SAMPLE", "Booked", "Kept", "Reserved", "Value", "answer_row", "attempt_row", "outcome_of"]

Value: TypeAlias = str | bytes | int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """An attempt that is about to be made, and the most it can cost."""

    id: int
    run_id: str
    document_id: str
    key: str
    stage: Stage
    chunk: int | None
    attempt: int
    started_at: float
    endpoint: str
    model: str
    bound_pusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer, or a failure that would come again (`cause`, `message`), under its identity: `endpoint`, `setting`
    (model and sampling), `key`. `cost_pusd` is what it cost; an answer's `message` says whether its input was cut."""

    endpoint: str
    setting: str
    key: str
    model: str
    text: str
    finish_reason: FinishReason
    usage: Usage
    cost_pusd: int
    cause: Cause | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What became of a reserved attempt; None: it was never sent, and nothing remains of it."""

    reserved: Reserved
    attempt: Attempt | None
    kept: Kept | None = None
    sample: Sample | None = None


# Columns are called like the attributes that they hold.
_USAGE = tuple(field.name for field in fields(Usage))
_CALL = tuple(field.name for field in fields(Attempt) if field.name != "usage")
_HEAD = ("endpoint", "setting", "key", "model", "finish_reason", "cost_pusd", "cause", "message")
RESERVATION = ", ".join(field.name for field in fields(Reserved))
ATTEMPT = ", ".join(("id", "run_id", "document_id", *_CALL, *_USAGE))
ANSWER = ", ".join((*_HEAD, *_USAGE, "text", "crc"))
SAMPLE = ", ".join(field.name for field in fields(Sample))
_call, _usage, _head = attrgetter(*_CALL), attrgetter(*_USAGE), attrgetter(*_HEAD)


def attempt_row(reserved: Reserved, attempt: Attempt) -> tuple[Value, ...]:
    """A row of the columns ATTEMPT."""
    tokens = _usage(attempt.usage) if attempt.usage else (None,) * len(_USAGE)
    return (reserved.id, reserved.run_id, reserved.document_id, *_call(attempt), *tokens)


def answer_row(kept: Kept) -> tuple[Value, ...]:
    """A row of the columns ANSWER. The text is kept as bytes, with a checksum."""
    text = kept.text.encode()
    return (*_head(kept), *_usage(kept.usage), text, zlib.crc32(text))


def outcome_of(row: Sequence[Any]) -> Outcome | None:
    """A row of the columns ANSWER as the outcome it is; None if its text is not what was written."""
    endpoint, _, key, model, finish_reason, cost_pusd, cause, message, *tokens, text, crc = row
    if not isinstance(text, bytes) or zlib.crc32(text) != crc:  # a flipped bit makes it another type, too
        return None
    if cause:
        return Failure(key=key, cause=Cause(cause), message=message)
    return Completion(
        key=key,
        text=text.decode(),
        finish_reason=finish_reason,
        usage=Usage(**dict(zip(_USAGE, tokens, strict=True))),
        cost_pusd=cost_pusd,
        model=model,
        endpoint=endpoint,
        truncated=message == Cause.TRUNCATED_INPUT,
        reused=True,
    )


def sample_row(sample: Sample) -> tuple[Value, ...]:
    """A row of the columns SAMPLE."""
    return astuple(sample)
