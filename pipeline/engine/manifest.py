"""run.json: what a run was, did and cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from docreduce.engine.forecast import compared
from docreduce.engine.takeover import settings_sha256, versions
from docreduce.values import Cause
from docreduce.values.condition import STATUSES, holds
from docreduce.values.money import usd

if TYPE_CHECKING:
    from docreduce.engine.run import Run

__all__ = ["manifest_of", "unfit_for_latest"]

_STATUS = {Cause.BUDGET: "budget", Cause.DEADLINE: "deadline", Cause.STOPPED: "interrupted"}


def unfit_for_latest(manifest: Mapping[str, Any], promote: str | None) -> str | None:
    """Why `latest` does not move to the run; None where it does. `promote`: the job's condition."""
    counts = manifest["counts"]
    if manifest["limited"]:
        return "a run of the first documents only is never `latest`"
    if manifest["halted"] and manifest["halted"]["unread"]:
        return "not all of the input was read"
    if promote is None:
        return None if manifest["status"] == "complete" else f"the run is not complete: {manifest['status']}"
    if holds(promote, counts):
        return None
    shown = ", ".join(f"{counts[name]:,} {name}" for name in STATUSES if counts[name]) or "no documents"
    return f'output.promote = "{promote}" does not hold: {shown}'


def manifest_of(run: Run) -> dict[str, Any]:
    """The manifest of a run whose documents are all finished."""
    session, counts, halted = run.session, run.counts, run.desk.halted
    job, plan, route = session.job, session.plan, session.routes[0]
    estimate = run.forecast.as_dict()
    groups = run.groups
    waits = halted is None and (counts.errors[Cause.WAITING] or (groups is not None and groups.errors[Cause.WAITING]))
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
    if waits:
        message = f"{len(run.desk.out):,} calls are out in provider batches: run the same command again, or with --wait"
        stopped = {"kind": Cause.WAITING.value, "message": message, "unread": False}
    status = "waiting" if waits else "complete"
    return {
        "run_id": run.run_id,
        "job": job.name,
        "job_sha256": job.sha256,
        "settings_sha256": settings_sha256(session),
        "kind": job.kind,
        "status": status if halted is None else _STATUS.get(halted.cause, "refused"),
        "limited": run.options.limit is not None,
        **({"shard": run.options.shard.as_dict()} if run.options.shard else {}),
        "halted": stopped,
        "started_at": run.started.isoformat(),
        "finished_at": finished.isoformat(),
        "counts": counts.as_dict(),
        **({"groups": groups.as_dict()} if groups is not None else {}),
        **({"quality": session.work.quality(counts.own)} if session.work.quality else {}),
        "left_out": run.left_out,
        "changes": run.takeover.as_dict(whole=run.options.limit is None and halted is None),
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
            "engine": plan.tokenizer.counted_by,
            "input_tokens": plan.input_tokens,
            "max_output_tokens": plan.max_output_tokens,
            "extractive": session.offline,
        },
        "limits": job.limits.model_dump(),
        "bounded_by": run.bounded_by,
        "input": job.input.model_dump(exclude={"paths"}),  # so that a document can be read once more
        "notes": list(counts.notes),
        "versions": versions(),
    }
