"""run.json: what a run was, did and cost."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from docreduce.engine.forecast import compared
from docreduce.values import Cause
from docreduce.values.money import usd

if TYPE_CHECKING:
    from docreduce.engine.run import Run

__all__ = ["manifest_of"]

LIBRARIES = ("polars", "pyarrow", "tiktoken", "genai-prices", "httpx", "aiohttp")
_STATUS = {Cause.BUDGET: "budget", Cause.DEADLINE: "deadline", Cause.STOPPED: "interrupted"}


def manifest_of(run: Run) -> dict[str, Any]:
    """The manifest of a run whose documents are all finished."""
    session, counts, halted = run.session, run.counts, run.desk.halted
    job, plan, route = session.job, session.plan, session.routes[0]
    estimate = run.forecast.as_dict()
    finished = datetime.now(UTC)
    actual = {
        "calls": counts.calls,
        "input_tokens": counts.usage["input_tokens"],
        "output_tokens": counts.usage["output_tokens"],
        "cost_usd": float(usd(counts.cost_pusd["charged"])),
        "duration_s": round((finished - run.started).total_seconds(), 1),
    }
    stopped = None
    if halted is not None:
        stopped = {"kind": halted.cause.value, "message": halted.message, "unread": run.unread}
    return {
        "run_id": run.run_id,
        "job": job.name,
        "job_sha256": job.sha256,
        "kind": job.kind,
        "status": "complete" if halted is None else _STATUS.get(halted.cause, "refused"),
        "limited": run.options.limit is not None,
        "halted": stopped,
        "started_at": run.started.isoformat(),
        "finished_at": finished.isoformat(),
        "counts": counts.as_dict(),
        "left_out": run.left_out,
        "usage": dict(counts.usage),
        "cost": {
            "charged_usd": float(usd(counts.cost_pusd["charged"])),
            "unknown_usd": float(usd(counts.cost_pusd["unknown"])),
            "reused_usd": float(usd(counts.cost_pusd["reused"])),
            "carried_usd": float(usd(run.carried.charged_pusd + run.carried.unknown_pusd)),
            "carried_unknown_usd": float(usd(run.carried.unknown_pusd)),
            "cap_usd": job.budget.max_cost_usd,
        },
        "estimate": estimate,
        "actual": actual,
        "difference": compared(estimate, actual),  # as a share of what was expected
        "pricing": route.pricing.as_dict(),
        "model": {
            "provider": job.model.provider,
            "name": route.model,
            "endpoint": route.endpoint,
            "fallback": [each.model for each in session.routes[1:]],
            "tokenizer": plan.tokenizer.name,
            "engine": plan.tokenizer.engine,
            "input_tokens": plan.input_tokens,
            "max_output_tokens": plan.max_output_tokens,
            "extractive": session.offline,
        },
        "limits": job.limits.model_dump(),
        "notes": list(counts.notes),
        "versions": {name: metadata.version(name) for name in ("docreduce", *LIBRARIES)},
    }
