"""Past one machine: the command that makes one dataset of a job's shards."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from docreduce.cli.reporting import print_json, reported
from docreduce.values.errors import JobError, MachineError

if TYPE_CHECKING:
    from docreduce.config import Job
    from docreduce.engine.merging import Merged
    from docreduce.engine.ray_executor import Progress
    from rich.console import Console

__all__ = ["check_shard_options", "merge", "run_ray"]

PLAIN_LINE_S = 15.0


@click.command()
@click.argument("output_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("job", required=False)
@click.option("--partial", is_flag=True, help="Merge what is there, also where shards are missing or incomplete.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else there.")
def merge(output_dir: Path, job: str | None, partial: bool, as_json: bool) -> None:
    """Make one dataset of the shards of a job (JOB: its name); says which are missing."""
    with reported(as_json):
        from docreduce.engine.merging import merge_shards

        merged = merge_shards(output_dir, job, partial=partial)
        _show(merged, as_json)
    dropped = merged.manifest.get("dropped", ())
    for lost in dropped:
        click.echo(f"no {lost['format']} was written, the Parquet stands: {lost['error']}", err=True)
    sys.exit(MachineError.exit_code if dropped else 0 if merged.whole else 1)


_MEANT_FOR = {
    "scratch": ("--shard I/N", "--executor ray"),
    "at_once": ("--shard I/N",),
    "shards": ("--executor ray",),
    "workers": ("--executor ray",),
    "ray_address": ("--executor ray",),
}
"""By option, what it says something of."""


def check_shard_options(executor: str, options: Mapping[str, Any]) -> None:
    """Raises JobError for an option of shards where the run has none that it could speak of."""
    there = {"--shard I/N": options["shard"] is not None, "--executor ray": executor == "ray"}
    for name, meant in _MEANT_FOR.items():
        if options[name] is not None and not any(there[each] for each in meant):
            wanted = " or ".join(meant)
            raise JobError(
                f"--{name.replace('_', '-')} goes with {wanted}", hint=f"Give {wanted} too, or leave it out."
            )


def run_ray(job: Job, chosen: dict[str, Any], options: dict[str, Any], terminal: Console) -> int:
    """Run all shards of `job` on Ray and merge them, with one line for all of them on `terminal`: the exit code."""
    import signal

    from docreduce.cli.steering import connections
    from docreduce.engine.ray_executor import Cluster, run_on_ray
    from docreduce.engine.run import RunOptions, exit_code
    from docreduce.engine.shards import check_shared

    check_shared(job)
    if options["shard"] is not None or options["limit"] is not None:
        raise JobError("--executor ray runs all shards whole", hint="Leave out --shard and --limit.")
    workers = options["workers"]
    cluster = Cluster(
        shards=options["shards"] or 4 * (workers or 2),
        workers=workers,
        address=options["ray_address"],
        scratch=options["scratch"],
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the shards end in order
    with contextlib.redirect_stdout(sys.stderr):  # Ray says there what became of its processes
        merged = run_on_ray(job, cluster, RunOptions(max_in_flight=connections(), **chosen), _View(terminal))
    _show(merged, options["as_json"])
    if not merged.whole:
        ends = {"ended with budget": 3, "ended with deadline": 3, "ended with refused": 4}
        return next((ends[end] for why in merged.incomplete.values() for end in ends if end in why), 1)
    return exit_code(dict(merged.manifest))


def _show(merged: Merged, as_json: bool) -> None:
    if as_json:
        print_json(merged.as_dict())
        return
    for line in merged.lines():
        click.echo(line, err=True)
    if merged.run_dir is not None:
        click.echo(merged.run_dir)


class _View:
    """One line for all shards: live on a terminal, a plain one now and then elsewhere."""

    def __init__(self, terminal: Console) -> None:
        self._terminal = terminal
        self._started = time.monotonic()
        self._said_at = 0.0

    def __call__(self, news: Progress | str) -> None:
        now = time.monotonic()
        if isinstance(news, str):
            self._terminal.print(news, style="yellow", soft_wrap=True)
        elif self._terminal.is_terminal:
            self._terminal.print(self._line(news, now), end="\r", soft_wrap=True)
        elif now - self._said_at >= PLAIN_LINE_S or news.done == news.shards:
            self._said_at = now
            self._terminal.print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {self._line(news, now)}", soft_wrap=True)

    def _line(self, news: Progress, now: float) -> str:
        from docreduce.values.money import money

        parts = [f"shards {news.done:,}/{news.shards:,}, {news.running:,} at work", f"documents {news.documents:,}"]
        if news.failed:
            parts.append(f"failed {news.failed:,}")
        parts += [f"calls {news.calls:,}", money(news.spent_pusd), f"{now - self._started:,.0f} s"]
        if news.rate_limited:
            parts.append(f"refused by limits {news.rate_limited:,}")
        if news.restarts:
            parts.append(f"restarts {news.restarts:,}")
        return " · ".join(parts)
