"""What the command adds to a run: signals that end it in order, a view of how far it is, the process's own limits."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from docreduce.cli.control import control_file, read_control
from docreduce.cli.lines import JsonLines
from docreduce.cli.metrics import keep_metrics, metrics_text, write_metrics
from docreduce.cli.progress import show_progress
from docreduce.engine.events import Event, Noted
from docreduce.values.errors import JobError, MachineError
from docreduce.values.money import pusd
from docreduce.values.unicode import printable

if TYPE_CHECKING:
    from docreduce.config import Job
    from docreduce.engine.run import Run
    from rich.console import Console

__all__ = ["View", "connections", "listener", "steering"]

OTHER_FILES = 40
"""What is open beside connections: the ledger, the tables, what is being read, pipes to readers."""
SAME_SIGNAL_S = 1.0
"""A second signal within this is the same one: `timeout` signals a process and its group at once."""


@dataclass(frozen=True, slots=True)
class View:
    """Who sees a run: a terminal or plain lines, JSON lines in their place, and a file of metrics beside."""

    console: Console
    lines: JsonLines | None = None
    metrics: Path | None = None

    def warn(self, message: str) -> None:
        """Say what the user should know."""
        if self.lines is not None:
            self.lines.say("note", "warning", message=message)
            return
        with suppress(OSError):  # the terminal may be what went away
            self.console.print(printable(message), style="yellow", markup=False, soft_wrap=True)


def listener(view: View) -> Callable[[Event], None]:
    """Tells what the user should know as it happens."""
    if view.lines is not None:
        return view.lines

    def listen(event: Event) -> None:
        if isinstance(event, Noted):
            view.warn(event.message)

    return listen


def steering(view: View, reload: Callable[[], Job] | None = None) -> Callable[[Run], AbstractContextManager[None]]:
    """Shows progress, and ends the run in order at SIGINT, SIGTERM and a lost terminal. A second signal ends it at
    once; what is in flight then is booked unknown by the next run. SIGUSR1 makes it read its limits, its cap and
    `pause` anew, from the job file (`reload`) and its control file; that is also read at the start."""

    @contextmanager
    def steer(run: Run) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        # A run started with nohup is told to go on when its terminal goes away.
        ends = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            ends.append(signal.SIGHUP)
        earlier = {number: signal.getsignal(number) for number in ends}
        stop, retune = _stopping(run, view), partial(_retune, run, view, reload or (lambda: run.session.job))
        for number in ends:
            loop.add_signal_handler(number, stop, number)
        loop.add_signal_handler(signal.SIGUSR1, retune)
        if control_file(run.session.job).exists():
            _retune(run, view, reload or (lambda: run.session.job), pauses=False)
        shown = [loop.create_task(show_progress(view.console, run, view.lines))]
        if view.metrics is not None:
            shown.append(loop.create_task(keep_metrics(view.metrics, run, view.warn)))
        try:
            yield
        finally:
            for task in shown:
                task.cancel()
            if view.metrics is not None:
                _last_metrics(view.metrics, run, view)
            for number in (*ends, signal.SIGUSR1):
                loop.remove_signal_handler(number)
            for number, handler in earlier.items():  # of whoever says what is to be said of a run that is over
                signal.signal(number, handler)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # too late to change anything, and no reason to die

    return steer


def _stopping(run: Run, view: View) -> Callable[[int], None]:
    """What a signal to end does: the first one in order, another one at once."""
    first: list[float] = []

    def stop(number: int) -> None:
        now = time.monotonic()
        if first and now - first[0] > SAME_SIGNAL_S:
            os._exit(130)
        if not first:
            first.append(now)
            run.stop(f"interrupted by {signal.Signals(number).name}")
            view.warn(f"stopping: calls in flight have {run.grace_s:.0f} s; once more to stop at once")

    return stop


def _last_metrics(path: Path, run: Run, view: View) -> None:
    """The run's last numbers; it is committed by now, and a file that cannot be written changes nothing of that."""
    try:
        write_metrics(path, metrics_text(run, "ended" if run.desk.halted is None else run.desk.halted.cause.value))
    except MachineError as error:
        view.warn(error.message)


def _retune(run: Run, view: View, reload: Callable[[], Job], *, pauses: bool = True) -> None:
    """Let the run keep what is written now; where that is wrong, say so and change nothing. A run that begins does not
    pause: nobody may be there to let it go on."""
    try:
        job, paused = read_control(control_file(run.session.job), reload)
    except JobError as error:
        view.warn(f"nothing is changed: {error.message}")
        return
    paused = paused and pauses
    cap = job.budget.max_cost_usd
    limits = [job.limits, *(each.limits for each in job.model.fallback)]
    run.retune(limits, None if cap is None else pusd(cap), paused=paused)
    run.grace_s = job.limits.grace_s
    stated = {name: value for name, value in job.limits.model_dump().items() if value is not None}
    shown = ", ".join(f"{name} = {value:g}" for name, value in stated.items())
    view.warn(f"{'paused' if paused else 'goes on'} with {shown}{'' if cap is None else f', max_cost_usd = {cap:g}'}")


def connections() -> int:
    """How many connections this process may have open, its limit on files raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems have a limit beyond the one they tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return 10**6 if soft == resource.RLIM_INFINITY else max(soft - OTHER_FILES, 1)
