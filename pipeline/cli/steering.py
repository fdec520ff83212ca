"""What the command adds to a run: signals that end it in order, a view of how far it is, the process's own limits."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

from docreduce.cli.progress import show_progress
from docreduce.engine.events import Event, Noted
from docreduce.values.unicode import printable

if TYPE_CHECKING:
    from docreduce.engine.run import Run
    from rich.console import Console

__all__ = ["connections", "listener", "steering"]

OTHER_FILES = 40
"""What is open beside connections: the ledger, the tables, what is being read, pipes to readers."""
SAME_SIGNAL_S = 1.0
"""A second signal within this is the same one: `timeout` signals a process and its group at once."""


def listener(console: Console) -> Callable[[Event], None]:
    """Prints what the user should know as it happens."""

    def listen(event: Event) -> None:
        if isinstance(event, Noted):
            with suppress(OSError):
                console.print(printable(event.message), style="yellow", markup=False, soft_wrap=True)

    return listen


def steering(console: Console) -> Callable[[Run], AbstractContextManager[None]]:
    """Shows progress, and ends the run in order at SIGINT, SIGTERM and a lost terminal. A second signal ends it at
    once; what is in flight then is booked unknown by the next run."""

    @contextmanager
    def steer(run: Run) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        first: list[float] = []

        def stop(number: int) -> None:
            now = time.monotonic()
            if first and now - first[0] > SAME_SIGNAL_S:
                os._exit(130)
            if first:
                return
            first.append(now)
            run.stop(f"interrupted by {signal.Signals(number).name}")
            grace_s = run.session.job.limits.grace_s
            with suppress(OSError):  # the terminal may be what went away
                console.print(f"stopping: calls in flight have {grace_s:.0f} s; once more to stop at once")

        # A run started with nohup is told to go on when its terminal goes away.
        wanted = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            wanted.append(signal.SIGHUP)
        for number in wanted:
            loop.add_signal_handler(number, stop, number)
        shown = loop.create_task(show_progress(console, run))
        try:
            yield
        finally:
            shown.cancel()
            for number in wanted:
                loop.remove_signal_handler(number)

    return steer


def connections() -> int:
    """How many connections this process may have open, its limit on files raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems have a limit beyond the one they tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return 10**6 if soft == resource.RLIM_INFINITY else max(soft - OTHER_FILES, 1)
