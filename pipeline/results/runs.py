"""The runs of an output folder, from their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from docreduce.storage import machine_errors

__all__ = ["RunInfo", "list_runs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What a run's manifest says; status "damaged" and nothing more where it cannot be read. Times are ISO 8601."""

    job: str
    run_id: str
    path: Path
    status: str
    started_at: str = ""
    finished_at: str = ""
    counts: Mapping[str, Any]
    charged_usd: float = 0.0
    unknown_usd: float = 0.0


def list_runs(output: Path) -> list[RunInfo]:
    """Every committed run under `output`, the newest first. Raises MachineError if the folder cannot be read."""
    with machine_errors(output):
        places = [path.parent for path in output.glob("*/*/run.json") if not path.parent.is_symlink()]
        runs = [_run(place) for place in places if not place.name.startswith(".")]
    return sorted(runs, key=lambda run: (run.started_at, run.run_id), reverse=True)


def _run(place: Path) -> RunInfo:
    found = partial(RunInfo, job=place.parent.name, run_id=place.name, path=place)
    try:
        manifest = orjson.loads((place / "run.json").read_bytes())
        cost = manifest.get("cost") or {}
        return found(
            status=str(manifest["status"]),
            started_at=str(manifest.get("started_at") or ""),
            finished_at=str(manifest.get("finished_at") or ""),
            counts=manifest.get("counts") or {},
            charged_usd=float(cost.get("charged_usd") or 0),
            unknown_usd=float(cost.get("unknown_usd") or 0),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return found(status="damaged", counts={})
