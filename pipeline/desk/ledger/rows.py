"""What the ledger holds, and its rows: from values to columns and back."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from operator import attrgetter
from typing import Any, TypeAlias

from docreduce.desk.ledger.writer import Row
from docreduce.values import Attempt, Cause, FinishReason, Stage, Usage
from docreduce.values.unicode import well_formed

__all__ = [
    "SAMPLE", "STORED", "Carried", "Place", "Sample", "Stored",
    "answer_row", "attempt_row", "sample_row", "stored",
]  # fmt: skip


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Pico-dollars that earlier runs of a job spent and may have spent."""

    charged_pusd: int
    unknown_pusd: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What a call really took: our count of its input beside the provider's, and the tokens of its output.

    `text_kind` is a short word for the text, such as latin, cjk, code or digits."""

    model: str
    text_kind: str
    stage: Stage
    counted_tokens: int
    input_tokens: int
    output_tokens: int


Place: TypeAlias = tuple[int, str, str | None]
"""Where an attempt belongs: its id, its run, its document."""

# Columns are called like the attributes of Attempt, Usage, Stored and Sample that they hold.
_CALL = tuple(field.name for field in fields(Attempt) if field.name != "usage")
_USAGE = tuple(field.name for field in fields(Usage))
_ANSWER = ("key", "finish_reason", "cost_pusd", "cause", "rejected", "message")
STORED = ", ".join((*_ANSWER, *_USAGE, "text", "crc"))
SAMPLE = ", ".join(field.name for field in fields(Sample))
_ATTEMPT = f"attempt ({', '.join(('id', 'run_id', 'document_id', *_CALL, *_USAGE))})"
_call, _usage, _answer = attrgetter(*_CALL), attrgetter(*_USAGE), attrgetter(*_ANSWER)
_BILLING = _CALL.index("billing")


def attempt_row(place: Place, attempt: Attempt, *, reserved: bool = False) -> Row:
    """An attempt's row; while it is in flight (`reserved`), its cost is the most it can cost."""
    *call, request_id, error = _call(attempt)
    if reserved:
        call[_BILLING] = "reserved"
    tokens = _usage(attempt.usage) if attempt.usage else (None,) * len(_USAGE)
    return _ATTEMPT, (*place, *call, well_formed(request_id), well_formed(error), *tokens)


def answer_row(answer: Stored) -> Row:
    """An answer's row. The text is kept as bytes: it may hold lone surrogates, which SQLite's TEXT may not."""
    text = answer.text.encode("utf-8", "surrogatepass")
    *head, message = _answer(answer)
    return f"answer ({STORED})", (*head, well_formed(message), *_usage(answer.usage), text, zlib.crc32(text))


def stored(row: Sequence[Any]) -> Stored | None:
    """A row of the columns STORED; None if its text is not what was written."""
    key, finish_reason, cost_pusd, cause, rejected, message, *tokens, text, crc = row
    if not isinstance(text, bytes) or zlib.crc32(text) != crc:  # a flipped bit makes it another type, too
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
    return f"sample ({SAMPLE})", astuple(sample)
