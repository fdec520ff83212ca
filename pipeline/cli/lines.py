"""What a run says as it goes, one JSON object a line, for programs that collect logs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import orjson
from docreduce.engine.events import Event, Finished, Noted
from docreduce.values.unicode import well_formed

if TYPE_CHECKING:
    from docreduce.engine.run import Run

__all__ = ["JsonLines", "progress_of"]


class JsonLines:
    """Writes lines to `stream`: `time` (UTC), `level`, `event`, and what belongs to the event. A listener of a run:
    it tells notes, and documents that are not ok."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, event: str, level: str = "info", **fields: Any) -> None:
        """One line."""
        line = {"time": datetime.now(UTC).isoformat(), "level": level, "event": event, **fields}
        self._stream.write(orjson.dumps(well_formed(line), default=str).decode() + "\n")
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        match event:
            case Noted(message):
                self.say("note", "warning", message=message)
            case Finished(row) if row.result.status != "ok":
                self.say(
                    "document",
                    "error" if row.result.status == "failed" else "warning",
                    document_id=row.document_id,
                    uri=row.uri,
                    row=row.row,
                    status=row.result.status,
                    error_kind=row.result.error_kind,
                    error=row.result.error,
                )

    def ended(self, manifest: Mapping[str, Any], exit_code: int) -> None:
        """The run's last line."""
        told = ("run_id", "run_dir", "job", "status", "counts", "cost", "promoted", "not_promoted", "bounded_by")
        fields = {name: manifest.get(name) for name in told}
        if manifest.get("dropped"):
            fields["dropped"] = manifest["dropped"]
        halted = manifest.get("halted")
        message = halted["message"] if halted else None
        self.say("end", "error" if exit_code else "info", exit_code=exit_code, message=message, **fields)


def progress_of(run: Run, now: float) -> dict[str, Any]:
    """How far a run is."""
    counts, paused_s = run.counts, run.desk.paused_s(now)
    return {
        "documents": counts.done,
        "documents_expected": run.total,
        "failed": counts.documents["failed"],
        "calls": counts.calls,
        "reused": counts.reused,
        "input_tokens": counts.usage["input_tokens"],
        "output_tokens": counts.usage["output_tokens"],
        "charged_usd": run.budget.charged / 1e12,
        "unknown_usd": run.budget.unknown / 1e12,
        "cap_usd": None if run.budget.cap_pusd is None else run.budget.cap_pusd / 1e12,
        "trouble": run.desk.halted.message if run.desk.halted else run.desk.trouble,
        "next_try_s": None if paused_s is None else round(paused_s, 1),
    }
