"""What a run has done so far, while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from docreduce.cli.lines import JsonLines, progress_of
from docreduce.values.money import money
from docreduce.values.unicode import printable

if TYPE_CHECKING:
    from docreduce.engine.run import Run
    from rich.console import Console

__all__ = ["show_progress"]

PLAIN_LINE_S = 15.0
BAR_S = 0.25


def _line(run: Run, elapsed_s: float) -> str:
    """Documents, calls, tokens, money, time."""
    counts, budget, total = run.counts, run.budget, run.total
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
    if note := _note(run):
        parts.append(note)
    return " · ".join(parts)


def _note(run: Run) -> str | None:
    """What holds the run up, with its reason."""
    desk = run.desk
    if desk.halted is not None:
        return f"stopping: {desk.halted.message}"
    paused_s = desk.paused_s(time.monotonic())
    if desk.paused:
        return "paused, as its control file says"
    trouble = desk.trouble
    if trouble is None and (paused_s is None or paused_s < 1):
        return None
    wait = f"; next in {paused_s:.0f} s" if paused_s and paused_s >= 1 else ""
    return f"{trouble or 'the service asked to wait'}{wait}"


async def show_progress(console: Console, run: Run, lines: JsonLines | None = None) -> None:
    """Shows how far the run is until cancelled: a live line on a terminal, else a plain line now and then, as JSON
    where `lines` are asked for."""
    started = time.monotonic()

    def line() -> str:
        return printable(_line(run, time.monotonic() - started))

    # A terminal that went away must not end the run: nothing more can be shown there, that is all.
    with suppress(asyncio.CancelledError, OSError):
        while lines is not None:
            await asyncio.sleep(PLAIN_LINE_S)
            lines.say("progress", **progress_of(run, time.monotonic()))
        if not console.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_LINE_S)
                stamped = f"{datetime.now():%Y-%m-%d %H:%M:%S} {line()}"
                console.print(stamped, highlight=False, markup=False, soft_wrap=True)
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
