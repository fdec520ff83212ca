"""Limits, cap and pause of a run that is under way, as a person has written them since it began."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docreduce.values.errors import JobError

if TYPE_CHECKING:
    from docreduce.config import Job

__all__ = ["control_file", "read_control"]


def control_file(job: Job) -> Path:
    """Where a run of the job looks for its control file."""
    return job.output.folder / job.name / "control.toml"


def read_control(path: Path, reload: Callable[[], Job]) -> tuple[Job, bool]:
    """The job with the limits and the cap that hold now, and whether the run is paused.

    `reload` reads the job file anew; what `path` says, where it is there, goes before it: `pause = true`, [limits] and
    [budget] as in the job file. Raises JobError that says what is wrong; nothing is to change then."""
    from docreduce.settings import BudgetSettings, LimitSettings
    from pydantic import ValidationError

    job = reload()
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return job, False
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise JobError(f"{path}: {error}") from error
    pause, limits, budget = said.pop("pause", False), said.pop("limits", {}), said.pop("budget", {})
    if said or not isinstance(pause, bool) or not isinstance(limits, dict) or not isinstance(budget, dict):
        raise JobError(f"{path}: expected pause = true or false, [limits] and [budget], and nothing else")
    try:
        changed: dict[str, Any] = {
            "limits": LimitSettings.model_validate({**job.limits.model_dump(), **limits}),
            "budget": BudgetSettings.model_validate({**job.budget.model_dump(), **budget}),
        }
    except ValidationError as error:
        problems = (f"{path}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise JobError("\n".join(problems)) from error
    return job.model_copy(update=changed), pause
