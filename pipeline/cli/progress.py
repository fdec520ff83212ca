"""What a run has done so far, while it runs: a few live lines on a terminal, a plain one now and then elsewhere."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from docreduce.cli.lines import JsonLines, progress_of
from docreduce.report.progress import SEPARATOR, Progress

if TYPE_CHECKING:
    from docreduce.engine.run import Run
    from rich.console import Console

__all__ = ["show_progress"]

PLAIN_LINE_S = 15.0
BAR_S = 0.25


async def show_progress(console: Console, run: Run, lines: JsonLines | None = None) -> None:
    """Shows how far the run is until cancelled: live lines on a terminal, else a plain line now and then, as JSON where
    `lines` are asked for."""
    progress = Progress(run)

    # A terminal that went away must not end the run: nothing more can be shown there, that is all.
    with suppress(asyncio.CancelledError, OSError):
        while lines is not None:
            await asyncio.sleep(PLAIN_LINE_S)
            lines.say("progress", **progress_of(run, time.monotonic()))
        if not console.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_LINE_S)
                line = SEPARATOR.join(progress.lines(time.monotonic()))
                stamped = f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}"
                console.print(stamped, highlight=False, markup=False, soft_wrap=True)
        from rich.live import Live
        from rich.text import Text

        def view() -> Text:
            return Text("\n".join(progress.lines(time.monotonic())))

        with Live(view(), console=console, auto_refresh=False, transient=True) as live:
            while True:
                await asyncio.sleep(BAR_S)
                live.update(view(), refresh=True)
