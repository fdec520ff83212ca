"""A run's numbers as an OpenMetrics text file, for a collector that watches a folder (node_exporter's textfile).

The file is replaced in one step, every few seconds while the run goes on and once at its end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docreduce.values.errors import MachineError

if TYPE_CHECKING:
    from docreduce.engine.run import Run
    from prometheus_client import Metric

__all__ = ["keep_metrics", "metrics_text", "write_metrics"]

EVERY_S = 5.0
PUSD = 1e12
RUNNING = "running"


def metrics_text(run: Run, status: str = RUNNING) -> bytes:
    """The numbers of `run` as OpenMetrics text (openmetrics.io, version 1.0), labelled with its job."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.openmetrics.exposition import generate_latest
    from prometheus_client.registry import Collector

    class Numbers(Collector):
        def collect(self) -> Iterator[Metric]:
            return _families(run, status)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Numbers())
    return bytes(generate_latest(registry))  # type: ignore[no-untyped-call]


def _families(run: Run, status: str) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

    counts, budget, job = run.counts, run.budget, run.session.job.name

    def family(kind: Any, name: str, help_: str, numbers: dict[str, float], *labels: str) -> Metric:
        found: Metric = kind(f"docreduce_{name}", help_, labels=["job", *labels])
        for label, number in numbers.items():
            found.add_metric([job, *([label] if labels else [])], number)  # type: ignore[attr-defined]
        return found

    info = InfoMetricFamily("docreduce_run", "The run", labels=["job"])
    info.add_metric([job], {"run_id": run.run_id, "status": status})
    yield info
    statuses = {name: float(counts.documents[name]) for name in ("ok", "partial", "failed", "skipped")}
    yield family(CounterMetricFamily, "documents", "Documents finished", statuses, "status")
    errors = {name: float(number) for name, number in counts.errors.items()}
    yield family(CounterMetricFamily, "errors", "Documents not ok, by reason", errors, "kind")
    numbers = {
        "calls": ("Requests asked at least once", counts.calls),
        "attempts": ("Attempts at calls", counts.attempts),
        "failed_attempts": ("Attempts without an answer", counts.failed_attempts),
        "rate_limited": ("Attempts refused by a limit", counts.rate_limited),
        "reused": ("Answers reused, for nothing", counts.reused),
    }
    for name, (help_, number) in numbers.items():
        yield family(CounterMetricFamily, name, help_, {"": float(number)})
    tokens = {name: float(number) for name, number in counts.usage.items()}
    yield family(CounterMetricFamily, "tokens", "Tokens charged", tokens, "kind")
    cost = {name: counts.cost_pusd[name] / PUSD for name in ("charged", "unknown")}
    yield family(CounterMetricFamily, "cost_usd", "What this run was charged and may have been", cost, "billing")
    if budget.cap_pusd is not None:
        yield family(GaugeMetricFamily, "cap_usd", "The cap of the job", {"": budget.cap_pusd / PUSD})
        left = max(0, budget.left or 0) / PUSD
        yield family(GaugeMetricFamily, "cap_left_usd", "What the cap still leaves", {"": left})
    if run.total is not None:
        yield family(GaugeMetricFamily, "documents_expected", "Documents in the input", {"": float(run.total)})
    held = {str(name): seconds for name, seconds in run.bounded_by.items()}
    yield family(CounterMetricFamily, "bounded_seconds", "Seconds held back, by what", held, "by")
    trouble = float(run.desk.trouble is not None or run.desk.halted is not None)
    yield family(GaugeMetricFamily, "trouble", "1 while the service only fails, or the run ends early", {"": trouble})
    yield family(GaugeMetricFamily, "started_seconds", "When the run began", {"": run.started.timestamp()})
    yield family(GaugeMetricFamily, "updated_seconds", "When this was written", {"": time.time()})


def write_metrics(path: Path, text: bytes) -> None:
    """Put `text` at `path` in one step. Raises MachineError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_bytes(text)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise MachineError(f"{path}: {error.strerror}", hint="--metrics names a file that can be written.") from error


async def keep_metrics(path: Path, run: Run, warn: Callable[[str], None]) -> None:
    """Writes the file until cancelled. A disk that takes none ends no run: it is said once."""
    warned = False
    while True:
        try:
            write_metrics(path, metrics_text(run))
        except MachineError as error:
            if not warned:
                warn(error.message)
            warned = True
        await asyncio.sleep(EVERY_S)
