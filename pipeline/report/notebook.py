"""A run's progress in the output of a notebook's cell."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from docreduce.report.progress import Progress

if TYPE_CHECKING:
    from docreduce.engine.run import Run

__all__ = ["Cell", "cell"]

EVERY_S = 0.5
Cell = Callable[[str], None]
"""Puts text in the place of what stood in the output."""


def cell() -> Cell | None:
    """The output of the notebook's cell that is running; None where there is no notebook. To be called in its thread:
    what other threads show may be put elsewhere."""
    ipython = sys.modules.get("IPython")  # a notebook has it already
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display  # type: ignore[import-not-found]

    shown = display({"text/plain": "docreduce …"}, raw=True, display_id=True)
    return lambda text: shown.update({"text/plain": text}, raw=True)


@contextmanager
def shown_in(place: Cell | None, run: Run) -> Iterator[None]:
    """Keeps the progress of `run` in a cell until the block ends. In the loop's thread."""
    if place is None:
        yield
        return
    progress = Progress(run)

    def show() -> None:
        place("\n".join(progress.lines(time.monotonic())))

    async def keep_showing() -> None:
        while True:
            show()
            await asyncio.sleep(EVERY_S)

    task = asyncio.get_running_loop().create_task(keep_showing())
    try:
        yield
    finally:
        task.cancel()
        show()
