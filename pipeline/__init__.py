"""docreduce: long documents to summaries and typed records, with every token and cent accounted for.

From Python: `run` and `estimate` take a job file or a dict; `summarize`, `extract` and `map` take a frame and give it
back with their columns added. They are loaded when they are first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docreduce.api import Estimate, Run, estimate, extract, map, run, summarize  # noqa: A004

__version__ = "0.1.0"

__all__ = ["Estimate", "Run", "__version__", "estimate", "extract", "map", "run", "summarize"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("docreduce.api"), name)


def __dir__() -> list[str]:
    return __all__
