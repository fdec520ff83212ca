"""What a job kind is: its settings, its generator, its tables, its predicted and its offline answers, in one place.

A kind is a plain generator that yields requests and receives outcomes. It does no I/O and knows no clock, so that a
run, a resume, an estimate and a rehearsal drive the same one. The rest of the house asks a kind's `Work` for what it
needs and never which kind it is: one that lives in somebody else's package (entry point group `docreduce.kinds`) is
worth as much as ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from docreduce.kinds.plan import Plan
from docreduce.results.schema import Settle, TableSpec
from docreduce.values import Document, Request, Result, Steps
from pydantic import BaseModel

__all__ = ["Kind", "Pack", "Plan", "TableSpec", "Work"]


@dataclass(frozen=True, slots=True)
class Pack:
    """Short rows that may share a request: at most `max_rows`, of at most `room_tokens` with `frame_tokens` a row."""

    max_rows: int
    room_tokens: int
    frame_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A kind made ready for a job.

    `steps` makes the generator of one unit of documents. `tables` are written beside documents, chunks and calls.
    `pack`: rows are put together by it, None where each document is a unit. `predict(request, tokens)` is a valid
    answer of about so many tokens, `offline(request)` one from the text alone (None: this kind needs a model).
    `reduce(group, results)` makes one result of many, a row of the table `groups`. `quality(counts)`: what the manifest
    says of the sums of all documents' counts; those with a "/" in their name are told there alone. `settle(counts)`:
    what, by these sums, is still to be filled in in its tables once all documents are finished. `notes` are said to the
    user before anything is sent."""

    steps: Callable[[Sequence[Document]], Steps]
    predict: Callable[[Request, int], str]
    offline: Callable[[Request], str] | None = None
    tables: Mapping[str, TableSpec] = field(default_factory=dict)
    pack: Pack | None = None
    reduce: Callable[[str, Sequence[Result]], Steps] | None = None
    groups: TableSpec | None = None
    quality: Callable[[Mapping[str, int]], Mapping[str, Any]] | None = None
    settle: Callable[[Mapping[str, int]], Mapping[str, Settle]] | None = None
    notes: Sequence[str] = ()


class Kind(Protocol):
    """`name` is the word in the job file, `settings` its table there."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> type[BaseModel]: ...

    def prepare(self, settings: Any, plan: Plan) -> Work:
        """The work for `settings`. Raises JobError for all that can be refused before anything is sent."""
        ...
