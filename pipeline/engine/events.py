"""What happens in a run, as values: bars, plain lines, logs and metrics listen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from docreduce.results import DocumentRow, Unchanged
from docreduce.values import Attempt, Billing, Usage

__all__ = ["Attempted", "Counts", "Event", "Finished", "Listener", "Noted", "TakenOver"]


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt was booked, or an answer reused."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Finished:
    """A document is finished, whatever became of it."""

    row: DocumentRow


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that the user should know."""

    message: str


@dataclass(frozen=True, slots=True)
class TakenOver:
    """Unchanged documents are finished: their results are those of the last run."""

    stretch: Unchanged


Event: TypeAlias = Attempted | Finished | TakenOver | Noted
Listener: TypeAlias = Callable[[Event], None]


@dataclass(slots=True)
class Counts:
    """Numbers of one run, a listener. `documents` counts by status; `usage` holds the tokens paid for now, by the
    names of Usage; `cost_pusd` is by billing; `own` is what the kind counts."""

    documents: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    chunks: int = 0
    calls: int = 0
    attempts: int = 0
    reused: int = 0
    failed_attempts: int = 0
    rate_limited: int = 0
    kept_failures: int = 0  # documents whose failure an earlier run brought
    usage: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(Usage.__slots__, 0)))
    cost_pusd: Counter[Billing] = field(default_factory=Counter)
    own: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        match event:
            case Attempted(attempt):
                self._attempted(attempt)
            case Finished(row):
                self._finished(row)
            case TakenOver(stretch):
                self._taken_over(stretch)
            case Noted(message):
                self.notes.append(message)

    def _attempted(self, attempt: Attempt) -> None:
        self.cost_pusd[attempt.billing] += attempt.cost_pusd
        if attempt.billing == "reused":
            self.reused += 1
            return
        self.attempts += 1
        self.calls += attempt.attempt == 1
        self.failed_attempts += attempt.outcome != "ok"
        self.rate_limited += attempt.http_status == 429
        if attempt.usage is not None and attempt.billing == "charged":
            self.usage.update(asdict(attempt.usage))

    def _finished(self, row: DocumentRow) -> None:
        result = row.result
        self.documents[result.status] += 1
        self.chunks += len(result.chunks)
        self.own.update(result.counts)
        if result.error_kind:
            self.errors[result.error_kind] += 1
        self.kept_failures += bool(
            result.status == "failed" and result.rejected and all(each.billing == "reused" for each in row.borne)
        )

    def _taken_over(self, stretch: Unchanged) -> None:
        self.documents.update(stretch.statuses)
        self.chunks += stretch.chunks
        self.reused += stretch.calls
        self.cost_pusd["reused"] += stretch.cost_pusd
        for kind, counts in stretch.told():
            self.own.update(counts)
            if kind:
                self.errors[kind] += 1

    @property
    def done(self) -> int:
        """Documents finished, whatever became of them."""
        return self.documents.total()

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "documents": self.done,
            **{status: self.documents[status] for status in ("ok", "partial", "failed", "skipped")},
            "errors": dict(sorted(self.errors.items())),
            "chunks": self.chunks,
            "calls": self.calls,
            "attempts": self.attempts,
            "failed_attempts": self.failed_attempts,
            "rate_limited": self.rate_limited,
            "reused_calls": self.reused,
            "evidence_not_found": self.own["evidence_not_found"],
            **{
                name: number
                for name, number in sorted(self.own.items())
                if name != "evidence_not_found" and "/" not in name
            },
        }
