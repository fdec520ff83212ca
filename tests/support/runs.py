"""What the tests of whole runs share: a simulator, a job file, a run's tables."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from docreduce.simulator import Ask, Server, serve
from docreduce.simulator.settings import parse_settings

__all__ = ["serving", "table", "write_job"]


@contextmanager
def serving(answerer: Callable[[Ask], str] | None = None, **settings: Any) -> Iterator[Server]:
    """A simulator in a thread of its own."""
    started: queue.Queue[tuple[Server, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def live() -> None:
        async with serve(parse_settings(settings, "test"), answerer) as server:
            stop = asyncio.Event()
            started.put((server, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    server, loop, stop = started.get(timeout=10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def write_job(folder: Path, name: str, kind: str, tables: Mapping[str, Mapping[str, Any]]) -> Path:
    """`folder`/job.toml with these tables, in JSON's values."""
    lines = [f'name = "{name}"', f'kind = "{kind}"']
    for title, keys in tables.items():
        lines += [f"[{title}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path = folder / "job.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def table(manifest: Mapping[str, Any], name: str) -> pl.DataFrame:
    """A table of a committed run."""
    return pl.read_parquet(Path(manifest["run_dir"]) / f"{name}.parquet")
