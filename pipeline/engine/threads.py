"""The threads beside the loop, one for each thing that blocks, and the tasks that wait for them.

A thread that does not hear the end of a run is left behind: nothing waits for it any more, and it ends with the
process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

__all__ = ["NAMES", "Threads"]

T = TypeVar("T")
NAMES = ("read", "step", "desk", "write")


class Threads:
    """`ended` hears of each task that ends, with its error if it had one. In the thread of the loop."""

    def __init__(self, ended: Callable[[BaseException | None], None]) -> None:
        self._ended = ended
        self._pools = {name: ThreadPoolExecutor(1, name) for name in NAMES}
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._left: list[ThreadPoolExecutor] = []

    def __contains__(self, name: str) -> bool:
        """Whether there is a task for the thread."""
        return name in self._busy

    @property
    def busy(self) -> bool:
        """Whether there is a task for any."""
        return bool(self._busy)

    def pool(self, name: str) -> ThreadPoolExecutor:
        """The thread, as an executor: another one once it was left."""
        return self._pools[name]

    def start(self, name: str, work: Callable[..., Coroutine[None, None, None]], *given: Any) -> None:
        """Run `work`, which uses the thread, unless it is busy."""
        if name in self._busy:
            return
        task = asyncio.get_running_loop().create_task(work(*given), name=name)
        self._busy[name] = task
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._busy.get(task.get_name()) is task:  # else it was left behind
            del self._busy[task.get_name()]
        # Asked for also where an earlier one is told: else asyncio prints it.
        self._ended(None if task.cancelled() else task.exception())

    async def call(self, name: str, work: Callable[..., T], *given: Any) -> T:
        """What `work` returns, done in the thread; in the one after it where it is left before its turn comes."""
        while True:
            pool = self._pools[name]
            try:
                return await asyncio.get_running_loop().run_in_executor(pool, work, *given)
            except asyncio.CancelledError:
                if self._pools[name] is pool:
                    raise

    def leave(self, name: str) -> None:
        """Wait no longer for what the thread is at; another one does what comes."""
        self._pools[name].shutdown(wait=False, cancel_futures=True)
        self._left.append(self._pools[name])
        self._pools[name] = ThreadPoolExecutor(1, name)
        self._busy.pop(name, None)

    async def cancel(self, but: str) -> None:
        """End all tasks but those of the thread `but`, which are waited for."""
        for task in self._tasks:
            if task.get_name() != but:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Wait until the threads have ended, not on the loop: a second signal must be heard meanwhile."""
        for pool in self._pools.values():
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)
