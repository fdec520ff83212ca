"""What a run has done so far: counted once, shown as a bar on a terminal or as plain lines elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from docreduce.desk.budget import Budget
from docreduce.values import Attempt, Billing, Usage
from docreduce.values.money import money

if TYPE_CHECKING:
    from collections.abc import Callable

    from docreduce.results import DocumentRow
    from rich.console import Console

__all__ = ["Counts", "printable", "show_progress"]

PLAIN_LINE_S = 15.0
BAR_S = 0.25


@dataclass(slots=True)
class Counts:
    """Numbers of one run. `documents` counts by status; `usage` holds the tokens paid for now, by the names of Usage;
    `cost_pusd` is by billing."""

    documents: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    chunks: int = 0
    calls: int = 0
    attempts: int = 0
    reused: int = 0
    failed_attempts: int = 0
    rate_limited: int = 0
    usage: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(Usage.__slots__, 0)))
    cost_pusd: Counter[Billing] = field(default_factory=Counter)
    unfound_evidence: int = 0

    def attempted(self, attempt: Attempt) -> None:
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

    def finished(self, row: DocumentRow) -> None:
        result = row.result
        self.documents[result.status] += 1
        self.chunks += len(result.chunks)
        if result.error_kind:
            self.errors[result.error_kind] += 1
        self.unfound_evidence += sum(evidence.alignment == "none" for evidence in result.evidence)

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
            "evidence_not_found": self.unfound_evidence,
        }


def printable(text: object) -> str:
    """Text from a document, a file name or a service: control and direction characters shown, never obeyed."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in str(text))


def _line(counts: Counts, budget: Budget, elapsed_s: float, total: int | None, note: str | None) -> str:
    """Documents, calls, tokens, money, time."""
    documents = f"{counts.done:,}/{total:,}" if total else f"{counts.done:,}"
    parts = [
        f"documents {documents}",
        f"calls {counts.calls:,}" + (f" (+{counts.reused:,} reused)" if counts.reused else ""),
        f"tokens {counts.usage['input_tokens']:,} in {counts.usage['output_tokens']:,} out",
        money(budget.charged) + (f" (+{money(budget.unknown)} unknown)" if budget.unknown else ""),
        f"{_clock(elapsed_s)}",
    ]
    if total and 0 < counts.done < total:
        parts.append(f"{_clock(elapsed_s / counts.done * (total - counts.done))} left")
    if counts.documents["failed"]:
        parts.insert(1, f"failed {counts.documents['failed']:,}")
    if note:
        parts.append(note)
    return " · ".join(parts)


async def show_progress(
    console: Console, counts: Counts, budget: Budget, total: int | None, note: Callable[[], str | None]
) -> None:
    """Shows the counts until cancelled: a live line on a terminal, else a plain line now and then.

    `total` is the number of documents where it is known; `note` is a word on what holds the run up."""
    started = time.monotonic()

    def line() -> str:
        return _line(counts, budget, time.monotonic() - started, total, note())

    # A terminal that went away must not end the run: nothing more can be shown there, that is all.
    with suppress(asyncio.CancelledError, OSError):
        if not console.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_LINE_S)
                console.print(line(), highlight=False, markup=False, soft_wrap=True)
        from rich.live import Live
        from rich.text import Text

        with Live(Text(line()), console=console, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.sleep(BAR_S)
                live.update(Text(line()), refresh=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
